"""Compiling a contract's ``quality`` entries into rules (ODCS, "Data Quality").

A rule that tolerates no single bad row becomes a row rule, and so does ``SELECT count(*) … WHERE condition`` that
must be 0: checking those costs what the write costs. Everything else is one value over many rows, an aggregate rule.
The standard's metrics describe the whole object, so aggregate rules look at the whole table unless the entry carries
the custom property ``scope: batch``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cordillera.errors import InvalidContractError
from cordillera.spec.contract.document import Node
from cordillera.spec.contract.entry import Entry, Subject, tolerates_none
from cordillera.spec.contract.fragments import fill_placeholders, row_predicate, scalar_query
from cordillera.spec.contract.literals import RefusedSql
from cordillera.spec.contract.metrics import metric_rule
from cordillera.spec.contract.model import OPERATORS, AggregateRule, RowRule, Scope
from cordillera.spec.contract.rules import RuleBook

ENGINE = "cordillera"
"""The ``engine`` of custom rules that are checked here: their implementation is a predicate over one row."""

_COMMON = (
    *(
        "id",
        "name",
        "description",
        "type",
        "dimension",
        "severity",
        "businessImpact",
        "method",
        "schedule",
        "scheduler",
    ),
    *("unit", "tags", "customProperties", "authoritativeDefinitions"),
)
_KEYS = {
    "library": (*_COMMON, *OPERATORS, "metric", "rule", "arguments", "validValues"),
    "sql": (*_COMMON, *OPERATORS, "query"),
    "custom": (*_COMMON, "engine", "implementation"),
    "text": _COMMON,
}


DOCUMENTING = frozenset(_COMMON) - {"type", "severity", "unit", "customProperties"}
"""Keys of an entry that say nothing about what is checked."""


def acts(node: Node) -> bool:
    """Tell whether an entry is checked here."""
    kind = _kind(node)
    return kind != "text" and (kind != "custom" or node.required_text("engine").lower() == ENGINE)


def add_quality(book: RuleBook, entries: Sequence[Node], subject: Subject) -> None:
    """Compile quality entries and add their rules.

    Raises:
        InvalidContractError: If an entry breaks the standard, or states a rule that can never be checked as written.
    """
    for node in entries:
        entry, kind = Entry(node, subject), _kind(node)
        node.check_keys(_KEYS[kind])
        entry.severity()
        engine = node.required_text("engine") if kind == "custom" else ENGINE
        if kind == "text":
            book.leave_out(node.path, "it is documentation (type text)")
        elif engine.lower() != ENGINE:
            book.leave_out(node.path, f"it is written for the engine {engine[:40]!r}")
        elif kind == "library":
            book.add(metric_rule(entry))
        else:
            book.add(_query_rule(entry) if kind == "sql" else _predicate_rule(entry))


def _kind(node: Node) -> str:
    stated = node.get("type")
    if stated is None:
        if node.get("metric") or node.get("rule"):
            return "library"
        raise node.problem("the rule has neither a type nor a metric.", "Add a metric, or type: text, sql or custom.")
    if stated.text() not in _KEYS:
        raise stated.problem(f"{stated.text()[:40]!r} is not a type of rule.", f"Use one of {', '.join(_KEYS)}.")
    return stated.text()


def _query_rule(entry: Entry) -> RowRule | AggregateRule:
    text = entry.node.required_text("query").strip().removesuffix(";")
    comparisons = entry.comparisons(booleans=True)
    subject = entry.subject
    try:
        filled = fill_placeholders(text, subject.column_sql())
        query = scalar_query(filled, subject.object_names, subject.column_names())
    except RefusedSql as error:
        raise _refused(entry.node.entries()["query"], error) from error
    condition = query.counted_condition
    if condition and entry.scope() != Scope.TABLE and tolerates_none(comparisons, "rows"):
        return entry.row_rule("sql", f"({condition}) IS NOT TRUE", f"No row has {condition}", query.columns)
    return entry.aggregate_rule("sql", query.sql, comparisons, entry.node.text_at("unit"), query.columns)


def _predicate_rule(entry: Entry) -> RowRule:
    text = entry.node.required_text("implementation").strip()
    try:
        filled = fill_placeholders(text, entry.subject.column_sql())
        predicate = row_predicate(filled, entry.subject.column_names())
    except RefusedSql as error:
        raise _refused(entry.node.entries()["implementation"], error) from error
    return entry.row_rule("custom", predicate.sql, text, predicate.columns)


def _refused(node: Node, error: RefusedSql) -> InvalidContractError:
    return node.problem(
        f"this SQL cannot be used: {error}",
        "Use DuckDB SQL over the columns of the object, and only functions that the documentation of contracts lists.",
    )
