"""What changed about the promises about time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from typing import Any

from cordillera.spec.contract.changes import ContractChange, breaking, compatible, documented, loosened
from cordillera.spec.contract.document import Node
from cordillera.spec.contract.model import Availability, Contract, Period, ServiceLevel, end_moment
from cordillera.spec.contract.service_level import promise_of

_ENDS = {"end": "end of support", "end_of_life": "end of life"}
_ACTS = ("value", "valueExt", "unit")
_SEASONS = (date(2024, 1, 15), date(2024, 7, 15))
"""Days on which times of day in different zones are compared: summer time may hold on one of them only."""


def service_level_changes(
    before: Contract, after: Contract, old_root: Node, new_root: Node
) -> Iterator[ContractChange]:
    """Yield what changed about promises that act, and about entries that document others."""
    for promise in fields(ServiceLevel):
        old, new = (getattr(side.service_level, promise.name) for side in (before, after))
        if old != new:
            yield _promise_change(promise.name, old, new)
    old_entries, new_entries = _documentation(old_root), _documentation(new_root)
    for name in dict.fromkeys((*old_entries, *new_entries)):
        if old_entries.get(name) != new_entries.get(name):
            yield documented(f"slaProperties.{name}", f"What is documented of the service level {name} changes.")


def _promise_change(name: str, old: Any, new: Any) -> ContractChange:
    element = f"service_level.{name}"
    if name in _ENDS:
        return _end_change(element, _ENDS[name], old, new)
    if old is None:
        return compatible(element, f"The {name} of {_words(new)} is promised.", "Consumers are promised more.")
    if new is None:
        return loosened(element, f"The {name} of {_words(old)} is no longer promised.")
    message = f"The promised {name} changes from {_words(old)} to {_words(new)}."
    return (
        loosened(element, message) if _is_looser(name, old, new) else compatible(element, message, "It is no looser.")
    )


def _is_looser(name: str, old: Period | Availability, new: Period | Availability) -> bool:
    if isinstance(old, Availability) and isinstance(new, Availability):
        return any(new.due(day) > old.due(day) for day in _SEASONS)
    assert isinstance(old, Period), "a promise has one form"
    assert isinstance(new, Period), "a promise has one form"
    return new.longest < old.longest if name == "retention" else new.longest > old.longest


def _end_change(element: str, what: str, old: date | None, new: date | None) -> ContractChange:
    message = f"The {what} changes from {old or 'never'} to {new or 'never'}."
    if new is not None and (old is None or end_moment(new) < end_moment(old)):
        return breaking(element, message, "Consumers have to be off it by then.")
    return compatible(element, message, "Consumers may stay longer.")


def _words(value: Period | Availability) -> str:
    if isinstance(value, Period):
        return str(value)
    return f"{value.at:%H:%M} {value.timezone}, {value.days_after} days after"


def _documentation(root: Node) -> dict[str, dict[str, Any]]:
    """Return what entries say beside promises that act; all of it where they state none, or one stated before."""
    seen: Counter[str] = Counter()
    found = {}
    for node in root.list_at("slaProperties"):
        stated = promise_of(node) or node.required_text("property")
        seen[stated] += 1
        acts = promise_of(node) is not None and seen[stated] == 1
        name = stated if seen[stated] == 1 else f"{stated}[{seen[stated]}]"
        told = {key: value for key, value in node.plain().items() if key != "property" and not (acts and key in _ACTS)}
        if told or not acts:
            found[name] = told
    return found
