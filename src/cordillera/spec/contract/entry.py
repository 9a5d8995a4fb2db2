"""One ``quality`` entry of a contract: what every type of rule has in common (operators, severity, scope, name)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cordillera.spec.contract.document import Node
from cordillera.spec.contract.model import (
    OPERATORS,
    AggregateRule,
    Column,
    Comparison,
    RowRule,
    Scope,
    Severity,
)
from cordillera.spec.contract.rules import Target
from cordillera.spec.sql import quote

_SEVERITIES = {"error": Severity.ERROR, "warning": Severity.WARNING, "warn": Severity.WARNING, "info": Severity.WARNING}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a list of quality entries is about.

    Attributes:
        target: The property they stand on; None for the object as a whole.
        columns: The contract's columns by the name the document gives them.
        object_names: Names by which queries may call the object.
    """

    target: Target | None
    columns: dict[str, Column]
    object_names: tuple[str, ...]

    @property
    def label(self) -> str | None:
        """The property's dotted name, or None for the object."""
        return self.target.label if self.target else None

    def column_names(self) -> list[str]:
        """Return the names of the columns as they are stored."""
        return [column.name for column in self.columns.values()]

    def column_sql(self) -> str | None:
        """Return the property as a query may write it."""
        return ".".join(quote(part) for part in self.target.label.split(".")) if self.target else None


def severity_of(node: Node) -> Severity:
    """Return the severity of an entry; one that states none is an error: a contract is there to be kept."""
    stated = node.get("severity")
    if stated is None:
        return Severity.ERROR
    try:
        return _SEVERITIES[stated.text().lower()]
    except KeyError:
        raise stated.problem(
            f"the severity {stated.text()[:40]!r} has no meaning here.",
            "Use error (the write is refused), or warning or info (it is reported).",
        ) from None


@dataclass(frozen=True, slots=True)
class Entry:
    """A quality entry with its subject; builds the rule once its type knows what to check."""

    node: Node
    subject: Subject

    def severity(self) -> Severity:
        """Return the entry's severity."""
        return severity_of(self.node)

    def scope(self) -> Scope | None:
        """Return the scope the entry asks for in the custom property ``scope``, or None."""
        for entry in self.node.list_at("customProperties"):
            if entry.text_at("property") == "scope":
                value = entry.required_text("value")
                if value not in tuple(Scope):
                    raise entry.problem(f"the scope {value[:40]!r} has no meaning here.", "Use batch or table.")
                return Scope(value)
        return None

    def comparisons(self, *, booleans: bool = False) -> tuple[Comparison, ...]:
        """Return the entry's operators; all of them have to hold. With ``booleans``, true and false can be compared.

        Raises:
            InvalidContractError: If there is none, or one does not compare with a number.
        """
        found = [_comparison(value, name, booleans) for name in OPERATORS if (value := self.node.get(name))]
        if not found:
            raise self.node.problem("the rule compares with nothing.", "Add an operator, for example mustBe: 0.")
        return tuple(found)

    def row_rule(self, what: str, predicate: str, says: str, columns: tuple[str, ...]) -> RowRule:
        """Return the entry as a rule on every row; ``says`` describes it where the document does not."""
        description = self.node.text_at("description") or says
        return RowRule(self._name(what), self.subject.label, predicate, self.severity(), description, columns)

    def aggregate_rule(
        self, what: str, value: str, comparisons: tuple[Comparison, ...], unit: str, columns: tuple[str, ...]
    ) -> AggregateRule:
        """Return the entry as a rule on one value over many rows."""
        label = self.subject.label
        limits = " and ".join(str(comparison) for comparison in comparisons)
        says = f"{what}{f' of {label}' if label else ''} {limits}{' percent' if unit == 'percent' else ''}."
        return AggregateRule(
            name=self._name(what),
            column=label,
            value_sql=value,
            comparisons=comparisons,
            unit=unit,
            severity=self.severity(),
            description=self.node.text_at("description") or says,
            scope=self.scope() or Scope.TABLE,
            columns=columns,
        )

    def _name(self, what: str) -> str:
        label = self.subject.label
        return self.node.text_at("name") or self.node.text_at("id") or (f"{label}.{what}" if label else what)


def _comparison(value: Node, operator: str, booleans: bool) -> Comparison:
    if operator in ("mustBeBetween", "mustNotBeBetween"):
        ends = [end.number() for end in value.elements()]
        if len(ends) != 2 or ends[0] >= ends[1]:
            raise value.problem(f"{operator} needs two numbers, the smaller one first.", f"{operator}: [0, 100]")
        return Comparison(operator, tuple(ends))
    if booleans and operator in ("mustBe", "mustNotBe") and isinstance(value.value, bool):
        return Comparison(operator, (value.value,))
    return Comparison(operator, (value.number(),))


def tolerates_none(comparisons: Sequence[Comparison], unit: str) -> bool:
    """Tell whether 0 is the only count (or percentage) of bad rows that satisfies the comparisons."""

    def forces_zero(comparison: Comparison) -> bool:
        limit = comparison.operands[0]
        match comparison.operator:
            case "mustBe":
                return limit == 0
            case "mustBeLessOrEqualTo":
                return 0 <= limit < 1 if unit == "rows" else limit == 0
            case "mustBeLessThan":
                return unit == "rows" and 0 < limit <= 1
            case _:
                return False

    return any(forces_zero(c) for c in comparisons) and all(c.holds(0) for c in comparisons)
