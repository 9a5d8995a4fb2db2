"""Everything that is wrong or noteworthy in a contract document, with the lines where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cordillera.errors import InvalidContractError
from cordillera.spec.contract.columns import read_columns
from cordillera.spec.contract.document import Node, read_document
from cordillera.spec.contract.entry import Subject
from cordillera.spec.contract.model import Column, Severity, key_of
from cordillera.spec.contract.parse import check_kind, choose_object, parse_contract, read_support, read_team
from cordillera.spec.contract.partials import costs, stated_types
from cordillera.spec.contract.quality import add_quality
from cordillera.spec.contract.rules import RuleBook, Target
from cordillera.spec.contract.service_level import read_service_level


@dataclass(frozen=True, slots=True)
class LintFinding:
    """Something in a document that is wrong (error), or that nothing acts on (warning).

    Attributes:
        line: Where it stands, from 1; None where that cannot be told.
        path: The place in the document, for example ``schema[0].properties[2].name``.
    """

    line: int | None
    path: str
    severity: Severity
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ContractCheck:
    """What there is to say of a document by itself.

    Attributes:
        findings: All that is wrong, or where nothing is, what is stated and not enforced; by line.
        costs: By rule, what checking it grows with: the change that is committed, or the table, and why. A dataset's
            own types and key can make it less. Empty where something is wrong.
    """

    findings: tuple[LintFinding, ...]
    costs: Mapping[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> bool:
        """Whether it can be no contract."""
        return any(one.severity is Severity.ERROR for one in self.findings)


def check_contract(text: str | bytes) -> ContractCheck:
    """Return what is wrong with a document, or where nothing is, what would be enforced at what cost."""
    found = ContractCheck(tuple(lint_contract(text)))
    if found.wrong:
        return found
    contract = parse_contract(text)
    return replace(found, costs=costs(contract, stated_types(contract), key_of(contract)))


def lint_contract(text: str | bytes) -> list[LintFinding]:
    """Return what is wrong with a document, or where nothing is, what of it is not enforced; by line.

    Each entry is looked at by itself, so that an error in one hides none in another.
    """
    try:
        root = read_document(text)
        errors = [_finding(error) for error in _errors(root)]
        if errors:
            return sorted(set(errors), key=lambda finding: finding.line or 0)
        unenforced = parse_contract(text).unenforced
    except InvalidContractError as error:
        return [_finding(error)]
    lines = dict(_lines(root))
    found = [
        LintFinding(lines.get(one.path), one.path, Severity.WARNING, f"Not enforced: {one.reason}.")
        for one in unenforced
    ]
    return sorted(found, key=lambda finding: finding.line or 0)


def _finding(error: InvalidContractError) -> LintFinding:
    line = error.details.get("line")
    return LintFinding(line, str(error.details.get("path", "")), Severity.ERROR, error.message, error.hint)


def _lines(node: Node) -> Iterator[tuple[str, int]]:
    yield node.path, node.line
    inside = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    for one in inside:
        yield from _lines(one)


def _errors(root: Node) -> Iterator[InvalidContractError]:
    """Yield the first error of every entry of a document."""
    for key in ("id", "version", "status"):
        yield from _error(root.required_text, key)
    for read in (check_kind, read_team, read_support):
        yield from _error(read, root)
    try:
        chosen = choose_object(root, None)
        name = chosen.required_text("name")
        promises, quality = root.list_at("slaProperties"), chosen.list_at("quality")
        properties = chosen.list_at("properties")
    except InvalidContractError as error:
        yield error
        return
    for promise in promises:
        yield from _error(read_service_level, RuleBook(), [promise], name)
    yield from _column_errors(properties)
    readable = [(node, column) for node in properties for column in _readable(node)]
    columns = {column.name: column for _, column in readable}
    for node, column in readable:
        yield from _rule_errors(node.get("quality"), Subject(Target.of_column(column), columns, (name,)))
    for entry in quality:
        yield from _error(add_quality, RuleBook(), [entry], Subject(None, columns, (name,)))


def _column_errors(nodes: Sequence[Node]) -> Iterator[InvalidContractError]:
    for node in nodes:
        yield from _error(read_columns, [node])
    if all(map(_readable, nodes)):
        yield from _error(read_columns, nodes)


def _rule_errors(quality: Node | None, subject: Subject) -> Iterator[InvalidContractError]:
    try:
        entries = quality.elements() if quality else []
    except InvalidContractError as error:
        yield error
        return
    for entry in entries:
        yield from _error(add_quality, RuleBook(), [entry], subject)


def _readable(node: Node) -> tuple[Column, ...]:
    """Return a property as the column that it is, or nothing if it cannot be read."""
    try:
        return read_columns([node])
    except InvalidContractError:
        return ()


def _error(read: Callable[..., object], *arguments: object) -> Iterator[InvalidContractError]:
    """Yield the error that reading an entry raises, if it does."""
    try:
        read(*arguments)
    except InvalidContractError as error:
        yield error
