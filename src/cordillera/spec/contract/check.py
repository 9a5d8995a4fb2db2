"""The statements that check rows against a contract's rules, and what is said when rows break them.

Nothing here runs: an engine executes the statements against a relation it knows by name. However many row rules there
are, one pass over the rows counts what breaks them; examples are fetched only for rules that are broken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cordillera.errors import ContractViolationError
from cordillera.spec.contract.document import shorten
from cordillera.spec.contract.fragments import ROWS
from cordillera.spec.contract.model import AggregateRule, Contract, RowRule, Severity
from cordillera.spec.counting import counted
from cordillera.spec.sql import columns as column_list
from cordillera.spec.sql import quote

MAX_EXAMPLES = 5
HIDDEN = "•••"
"""Stands in the place of values whose classification keeps them out of messages."""

_MAX_VALUE_LENGTH = 40
_ROW_COUNT = 'count(*) AS "rows"'


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule. Sensitive values are already hidden, so that a violation may be shown and logged.

    Attributes:
        rule: The rule's name.
        column: The column it is stated on, or None.
        rows: How many rows break it; None for a rule on one value over many rows.
        examples: Some of those rows, as values that JSON can carry.
        severity: Whether the write is refused.
        message: One sentence that says all of it.
    """

    rule: str
    column: str | None
    rows: int | None
    examples: tuple[dict[str, Any], ...]
    severity: Severity
    message: str


def count_sql(rules: Sequence[RowRule], relation: str) -> str:
    """Return the query that counts, in a single pass, the rows that break each rule.

    Its result is one row: ``rows`` (how many there are) and ``rule_0``, ``rule_1`` … in the order of ``rules``.

    Args:
        rules: The row rules to check.
        relation: The name of the table or view that holds the rows; it is read once.
    """
    broken = [f"count(*) FILTER (WHERE {_broken(rule)}) AS rule_{index}" for index, rule in enumerate(rules)]
    return f"SELECT {', '.join([_ROW_COUNT, *broken])} FROM {quote(relation)}"


def examples_sql(rule: RowRule, relation: str, columns: Sequence[str], limit: int = MAX_EXAMPLES) -> str:
    """Return the query that finds rows breaking a rule.

    Args:
        rule: The broken rule.
        relation: The name of the table or view that holds the rows.
        columns: What to show of them, usually the key and ``rule.columns``.
        limit: At most this many rows.
    """
    shown = column_list(dict.fromkeys(columns)) or "*"
    return f"SELECT {shown} FROM {quote(relation)} WHERE {_broken(rule)} LIMIT {int(limit)}"


def values_sql(rules: Sequence[AggregateRule], relation: str) -> str:
    """Return the query that computes the value of each rule.

    Its result is one row: ``rows`` (how many there are) and ``rule_0``, ``rule_1`` … in the order of ``rules``.

    Args:
        rules: The aggregate rules to check, of one scope.
        relation: The name of the table or view that holds the rows of that scope. Rules written as queries read it once
            more each, so it must be readable repeatedly.
    """
    values = [f"{rule.value_sql} AS rule_{index}" for index, rule in enumerate(rules)]
    rows = f"WITH {ROWS} AS NOT MATERIALIZED (SELECT * FROM {quote(relation)})"
    return f"{rows} SELECT {', '.join([_ROW_COUNT, *values])} FROM {ROWS}"


def _broken(rule: RowRule) -> str:
    """Return the condition that a row breaks the rule.

    ``IS FALSE`` rather than ``NOT``: DuckDB hands a plain comparison down to Arrow, for which NaN is in no order, while
    for DuckDB it is the greatest number. Counts and examples would disagree.
    """
    return f"({rule.predicate_sql}) IS FALSE"


def row_violation(contract: Contract, rule: RowRule, rows: int, examples: Sequence[Mapping[str, Any]]) -> Violation:
    """Describe a broken row rule.

    Args:
        contract: The contract, which says what must not be shown.
        rule: The broken rule.
        rows: How many rows break it.
        examples: Some of them, by column; at most ``MAX_EXAMPLES`` are kept.
    """
    shown = tuple(_shown(contract, example) for example in examples[:MAX_EXAMPLES])
    listed = "; ".join(", ".join(f"{name} = {_text(value)}" for name, value in row.items()) for row in shown)
    count = counted(rows, "row breaks it", "rows break it")
    message = f"{rule.name}: {_sentence(rule.description)} {count}{f', for example {listed}' if listed else ''}."
    return Violation(rule.name, rule.column, rows, shown, rule.severity, message)


def aggregate_violation(contract: Contract, rule: AggregateRule, value: Any) -> Violation | None:
    """Describe an aggregate rule that its computed value breaks; None where the value satisfies it."""
    if rule.holds(value):
        return None
    hidden = _sensitive(contract)
    seen = HIDDEN if hidden & set(rule.columns) else _text(_plain(value))
    limits = " and ".join(str(comparison) for comparison in rule.comparisons)
    unit = {"percent": " percent", "rows": " rows"}.get(rule.unit, "")
    of = f"this {rule.scope}" if rule.scope == "batch" else "the table"
    message = f"{rule.name}: {_sentence(rule.description)} For {of} it is {seen}{unit}, which {limits}."
    return Violation(rule.name, rule.column, None, (), rule.severity, message)


def describe_violations(
    dataset: str, violations: Sequence[Violation], outcome: str = "Nothing was written."
) -> ContractViolationError:
    """Return the error that refuses a write, naming the dataset, every broken rule, row counts and examples.

    Args:
        dataset: Its name.
        violations: What is broken.
        outcome: What became of the rows, as a sentence.
    """
    warned = {Severity.WARNING: " (warning)", Severity.ERROR: ""}
    lines = [f"{violation.message}{warned[violation.severity]}" for violation in violations]
    return ContractViolationError(
        f"The rows for {dataset} break its contract. {' '.join(lines)} {outcome}",
        hint="Correct the rows and write them again, or change the contract if it is wrong.",
        details={
            "dataset": dataset,
            "violations": [
                {
                    "rule": violation.rule,
                    "column": violation.column,
                    "rows": violation.rows,
                    "severity": str(violation.severity),
                    "examples": list(violation.examples),
                    "message": violation.message,
                }
                for violation in violations
            ],
        },
    )


def _sensitive(contract: Contract) -> set[str]:
    return {column.name for column in contract.columns if column.sensitive}


def _shown(contract: Contract, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with long values cut, and those that are sensitive or of unknown columns hidden."""
    public = {column.name for column in contract.columns} - _sensitive(contract)
    return {name: _plain(value) if name in public or value is None else HIDDEN for name, value in row.items()}


def _plain(value: Any) -> Any:
    """Return a value that JSON can carry, not too long to read."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return shorten(value.hex() if isinstance(value, bytes) else str(value), _MAX_VALUE_LENGTH)


def _text(value: Any) -> str:
    if value is None:
        return "NULL"
    return repr(value) if isinstance(value, str) and value != HIDDEN else str(value)


def _sentence(text: str) -> str:
    stripped = " ".join(text.split())
    return stripped if stripped.endswith((".", "!", "?")) else f"{stripped}."
