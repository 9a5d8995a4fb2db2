"""What changed about the quality rules of a contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from cordillera.spec.contract.changes import (
    ContractChange,
    compatible,
    documented,
    loosened,
    replaced,
    tightened,
)
from cordillera.spec.contract.document import Node
from cordillera.spec.contract.entry import severity_of
from cordillera.spec.contract.model import Severity
from cordillera.spec.contract.quality import DOCUMENTING, acts

_UPPER = ("mustBeLessThan", "mustBeLessOrEqualTo")
_LOWER = ("mustBeGreaterThan", "mustBeGreaterOrEqualTo")
_SIGNS = ("metric", "rule", "query", "implementation", "description")
"""What tells an entry without id and name from others; the first there is."""


def rule_changes(old: Node, new: Node, new_names: Mapping[str, str]) -> Iterator[ContractChange]:
    """Yield what changed about the quality entries of a schema object and of the properties that stay in it.

    Args:
        old, new: The schema object.
        new_names: Old name → new name of those properties; the rules of others come and go with them.
    """
    before = dict(_entries(old, new_names))
    after = dict(_entries(new, {name: name for name in new_names.values()}))
    for name in dict.fromkeys((*before, *after)):
        element = f"rules.{name}"
        if name not in after:
            yield _removed(element, name, before[name])
        elif name not in before:
            yield _added(element, name, after[name])
        elif before[name].plain() != after[name].plain():
            yield _changed(element, name, before[name], after[name])


def _entries(schema_object: Node, names: Mapping[str, str]) -> Iterator[tuple[str, Node]]:
    """Yield every quality entry under a name of its own: where it stands, and what it is called or checks."""
    seen: Counter[str] = Counter()
    inside = [(names.get(name, ""), inner) for name, inner in _properties(schema_object)]
    found = [*(("", entry) for entry in schema_object.list_at("quality"))]
    found += [entry for name, inner in inside if name for entry in _all(inner, name)]
    for place, node in found:
        told = node.text_at("id") or node.text_at("name") or next(filter(None, map(node.text_at, _SIGNS)), "")
        name = f"{place}.{told}" if place else told
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name} ({seen[name]})"), node


def _properties(described: Node) -> list[tuple[str, Node]]:
    return [(node.text_at("physicalName") or node.text_at("name"), node) for node in described.list_at("properties")]


def _all(described: Node, place: str) -> Iterator[tuple[str, Node]]:
    for entry in described.list_at("quality"):
        yield place, entry
    for name, inner in _properties(described):
        yield from _all(inner, f"{place}.{name}")
    items = described.get("items")
    if items is not None:
        yield from _all(items, f"{place}.element")


def _refuses(node: Node) -> bool:
    return acts(node) and severity_of(node) is Severity.ERROR


def _added(element: str, name: str, node: Node) -> ContractChange:
    message = f"The rule {name} is added"
    if _refuses(node):
        return tightened(element, f"{message}, as an error.")
    return compatible(element, f"{message}.", "It refuses nothing.")


def _removed(element: str, name: str, node: Node) -> ContractChange:
    message = f"The rule {name} is removed."
    return loosened(element, message) if _refuses(node) else compatible(element, message, "It refused nothing.")


def _changed(element: str, name: str, old: Node, new: Node) -> ContractChange:
    if _refuses(old) != _refuses(new):
        if _refuses(new):
            return tightened(element, f"Breaking the rule {name} becomes an error.")
        return loosened(element, f"Breaking the rule {name} is an error no longer.")
    was, becomes = old.plain(), new.plain()
    differing = {key for key in {*was, *becomes} if was.get(key) != becomes.get(key)}
    if differing <= DOCUMENTING:
        return documented(element, f"What is documented of the rule {name} changes.")
    message = f"The rule {name} changes."
    if not _refuses(new):
        return compatible(element, message, "It refuses nothing.")
    operator = next(iter(differing - DOCUMENTING)) if len(differing - DOCUMENTING) == 1 else ""
    if operator in (*_UPPER, *_LOWER) and operator in was and operator in becomes:
        message = f"The rule {name}: {operator} changes from {was[operator]} to {becomes[operator]}."
        rises = becomes[operator] > was[operator]
        return loosened(element, message) if rises == (operator in _UPPER) else tightened(element, message)
    return replaced(element, message)
