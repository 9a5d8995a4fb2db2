"""Compiling the metrics of the ODCS library: nullValues, missingValues, invalidValues, duplicateValues, rowCount."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cordillera.spec.contract.document import Node
from cordillera.spec.contract.entry import Entry, Subject, tolerates_none
from cordillera.spec.contract.literals import RefusedSql
from cordillera.spec.contract.model import OPERATORS, AggregateRule, Column, Comparison, RowRule, Scope
from cordillera.spec.contract.rules import Target, matches, pattern_problem, typed_literal
from cordillera.spec.contract.types import kind_of, parse_value
from cordillera.spec.sql import quote

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "nullValues": (),
    "missingValues": ("missingValues",),
    "invalidValues": ("validValues", "pattern"),
    "duplicateValues": ("properties",),
    "rowCount": (),
}
_OLD_NAMES = {"duplicateCount": "duplicateValues", "validValues": "invalidValues"}
"""Names that ODCS 3.0 gave to metrics, under the key ``rule``."""


def metric_rule(entry: Entry) -> RowRule | AggregateRule:
    """Compile an entry of type library.

    A metric that tolerates no bad value is a rule on every row; the others, and counts of rows and of duplicates, are
    rules on one value.

    Raises:
        InvalidContractError: If the metric, its arguments, its unit or its operators are not the standard's.
    """
    metric = _metric(entry)
    arguments = _arguments(entry.node, metric)
    unit = _unit(entry.node, metric)
    comparisons = _comparisons(entry)
    target = entry.subject.target
    if metric == "rowCount":
        return entry.aggregate_rule(metric, "count(*)", comparisons, unit, ())
    if metric == "duplicateValues":
        value, columns = _duplicates(entry.node, arguments, entry.subject)
        distinct = () if target is not None and target.parent else columns
        return replace(entry.aggregate_rule(metric, _share(value, unit), comparisons, unit, columns), distinct=distinct)
    assert target is not None
    predicate, says = _value_predicate(entry.node, metric, arguments, target)
    if entry.scope() != Scope.TABLE and tolerates_none(comparisons, unit):
        return entry.row_rule(metric, predicate, says, (target.top,))
    bad = f"count(*) FILTER (WHERE ({predicate}) IS FALSE)"
    return entry.aggregate_rule(metric, _share(bad, unit), comparisons, unit, (target.top,))


def _share(value: str, unit: str) -> str:
    return f"coalesce(100.0 * ({value}) / nullif(count(*), 0), 0.0)" if unit == "percent" else value


def _metric(entry: Entry) -> str:
    named = entry.node.get("metric") or entry.node.get("rule")
    if named is None:
        raise entry.node.problem("the metric is missing.", f"Use one of {', '.join(ARGUMENTS)}.")
    metric = _OLD_NAMES.get(named.text(), named.text())
    if metric not in ARGUMENTS:
        raise named.problem(f"{metric[:40]!r} is not a metric of the standard.", f"Use one of {', '.join(ARGUMENTS)}.")
    on_object = entry.subject.target is None
    if metric == "rowCount" and not on_object:
        raise named.problem("rowCount is about the object.", "Move the rule to the quality of the object.")
    if metric not in ("rowCount", "duplicateValues") and on_object:
        raise named.problem(f"{metric} is about a property.", "Move the rule to the quality of the property.")
    return metric


def _comparisons(entry: Entry) -> tuple[Comparison, ...]:
    """Return the operators; ODCS 3.0's ``rule: validValues`` needed none, since no other value was allowed."""
    if entry.node.text_at("rule") == "validValues" and not any(entry.node.get(name) for name in OPERATORS):
        return (Comparison("mustBe", (0,)),)
    return entry.comparisons()


def _arguments(node: Node, metric: str) -> dict[str, Node]:
    stated = node.get("arguments")
    given = dict(stated.entries()) if stated else {}
    listed = node.get("validValues")  # ODCS 3.0 had no arguments
    if listed is not None:
        given["validValues"] = listed
    for name, argument in given.items():
        if name not in ARGUMENTS[metric]:
            known = ", ".join(ARGUMENTS[metric]) or "none"
            raise argument.problem(f"it is not an argument of {metric}.", f"Arguments of {metric}: {known}.")
    return given


def _unit(node: Node, metric: str) -> str:
    stated = node.get("unit")
    if stated is None:
        return "rows"
    known = ("rows",) if metric == "rowCount" else ("rows", "percent")
    if stated.text() not in known:
        raise stated.problem(
            f"the unit {stated.text()[:40]!r} has no meaning for {metric}.", f"Use {' or '.join(known)}."
        )
    return stated.text()


def _duplicates(node: Node, arguments: dict[str, Node], subject: Subject) -> tuple[str, tuple[str, ...]]:
    """Return the SQL that counts rows repeating an earlier one; NULLs repeat nothing, as in SQL's UNIQUE."""
    listed = arguments.get("properties")
    if subject.target is not None:
        if listed is not None:
            raise listed.problem("properties belongs to the rules of the object.", "Remove it, or move the rule.")
        value = subject.target.expression
        return f"count({value}) - count(DISTINCT {value})", (subject.target.top,)
    if listed is None or not listed.elements():
        raise node.problem("duplicateValues needs to know the columns.", "Add arguments: {properties: [a, b]}.")
    columns = tuple(_named_column(argument, subject) for argument in listed.elements())
    together = ", ".join(quote(column) for column in columns)
    given = " AND ".join(f"{quote(column)} IS NOT NULL" for column in columns)
    present = f"FILTER (WHERE {given})"
    return f"count(*) {present} - count(DISTINCT ({together})) {present}", columns


def _named_column(argument: Node, subject: Subject) -> str:
    column = subject.columns.get(argument.text())
    if column is None:
        known = ", ".join(subject.columns)
        raise argument.problem(f"there is no property {argument.text()[:60]!r}.", f"Properties: {known[:300]}.")
    return column.name


def _value_predicate(node: Node, metric: str, arguments: dict[str, Node], target: Target) -> tuple[str, str]:
    """Return the predicate that a value is not null, missing or invalid, and the sentence that says so."""
    value, label = target.expression, target.label
    if metric == "nullValues":
        return f"{value} IS NOT NULL", f"{label} is not null."
    if metric == "invalidValues":
        return _valid(node, arguments, target)
    literals, has_null = _values(arguments.get("missingValues"), node, "missingValues", target)
    parts = [f"{value} IS NOT NULL"] if has_null else []
    parts += [f"{value} NOT IN ({', '.join(literals)})"] if literals else []
    return " AND ".join(parts), f"{label} is none of the values that stand for a missing one."


def _valid(node: Node, arguments: dict[str, Node], target: Target) -> tuple[str, str]:
    value, label = target.expression, target.label
    parts, words = [], []
    if "validValues" in arguments:
        literals, _ = _values(arguments["validValues"], node, "validValues", target)
        parts.append(f"{value} IN ({', '.join(literals)})" if literals else f"{value} IS NULL")
        words.append(f"is one of {', '.join(literals)}" if literals else "is null")
    if "pattern" in arguments:
        stated = arguments["pattern"]
        if kind_of(target.column) != "string":
            raise stated.problem(f"{label} is not text, so no pattern applies.", "Use validValues.")
        problem = pattern_problem(stated.text())
        if problem:
            raise stated.problem(f"the pattern cannot be used: {problem}", "Write it without look-around.")
        parts.append(matches(value, stated.text()))
        words.append(f"matches {stated.text()}")
    if not parts:
        raise node.problem(
            "invalidValues does not say which values are valid.",
            "Add arguments: {validValues: [...]} or {pattern: ...}.",
        )
    return " AND ".join(parts), f"{label} {' and '.join(words)}."


def _values(listed: Node | None, node: Node, name: str, target: Target) -> tuple[list[str], bool]:
    """Return listed values as literals of the column's type, and whether null is among them."""
    if listed is None or not listed.elements():
        raise node.problem(f"{name} is missing.", f"Add arguments: {{{name}: [...]}}.")
    given = [argument for argument in listed.elements() if argument.value is not None]
    return [_literal(argument, target.column) for argument in given], len(given) < len(listed.elements())


def _literal(argument: Node, column: Column) -> str:
    try:
        return typed_literal(_typed_value(argument, column), column)
    except RefusedSql as error:
        raise argument.problem(str(error)) from error


def _typed_value(argument: Node, column: Column) -> Any:
    kind = kind_of(column)
    match kind:
        case "string":
            return argument.text()
        case "integer" | "number":
            return argument.number()
        case "boolean":
            if not isinstance(argument.value, bool):
                raise argument.problem("it is neither true nor false.", "Write true or false without quotes.")
            return argument.value
        case "date" | "timestamp" | "time" | "uuid":
            try:
                return parse_value(argument.text(), column)
            except ValueError as error:
                raise argument.problem(f"it is not a {kind}: {error}.", "Write it as ISO 8601 text.") from error
        case None:
            raise argument.problem("the property has no type to compare with.", "Give the property a logicalType.")
        case _:
            raise argument.problem(f"values of type {kind} cannot be listed.", "Use another rule.")
