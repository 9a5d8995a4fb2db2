"""Rules taken apart: whatever rows come and go, what follows from the changes is what all rows give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.spec.contract import AggregateRule, costs, stated_types
from cordillera.spec.contract.partials import Kind, NotDecomposableError, Partial, decompose, fold
from tests.spec.contract_support import contract, integer, query, text, values

SCHEMA = pa.schema([("n", pa.int64()), ("d", pa.decimal128(12, 2)), ("t", pa.date32()), ("s", pa.string())])
COLUMNS = (
    integer("n"),
    {"name": "d", "logicalType": "number", "physicalType": "decimal(12,2)"},
    {"name": "t", "logicalType": "date"},
    text("s"),
)
QUERIES = {
    "rows": "SELECT count(*) FROM {object}",
    "some": "SELECT count(n) FROM {object} WHERE s = 'it''s' OR d > 0.5",
    "total": "SELECT sum(n) AS total FROM {object}",
    "money": "SELECT sum(d * 2 - n) FROM {object} WHERE n IS DISTINCT FROM 1",
    "mean": "SELECT avg(d) FROM {object}",
    "spread": "SELECT max(n) - min(n) FROM {object}",
    "cheapest": "SELECT min({object}.d) FROM {object} WHERE s <> ''",
    "share": "SELECT 100.0 * count_if(n > 0) FILTER (WHERE d > 0) / count(*) FROM {object}",
    "newest": "SELECT date_diff('day', DATE '2026-01-01', max(t)) FROM {object}",
}
RULES = [{"type": "sql", "id": name, "query": sql, "mustBeGreaterThan": 0} for name, sql in QUERIES.items()]
MISSING = {"metric": "missingValues", "unit": "percent", "mustBeLessThan": 5, "arguments": {"missingValues": ["", "-"]}}
READ = contract(
    *COLUMNS[:3], {**COLUMNS[3], "quality": [MISSING]}, quality=[*RULES, {"metric": "rowCount", "mustBe": 1}]
)
TYPES = {field.name: field.type for field in SCHEMA}
Row = tuple[int | None, Decimal | None, date | None, str | None]
ROWS = st.tuples(
    st.none() | st.integers(-3, 3) | st.just(2**62),
    st.none() | st.decimals(-2, 2, places=2) | st.just(Decimal("9999999999.99")),
    st.none() | st.dates(date(1969, 12, 30), date(1970, 1, 3)),
    st.none() | st.sampled_from(["", "-", "it's"]),
)
CELLS = st.none() | st.integers(-3, 3) | st.just(2**62)
CHANGES = st.lists(st.tuples(st.lists(CELLS, max_size=3), st.sets(st.integers(0, 9))), max_size=6)
OF_ALL: dict[Kind, Callable[[list[int]], int | None]] = {
    Kind.COUNT: len,
    Kind.SUM: sum,
    Kind.MIN: lambda cells: min(cells, default=None),
    Kind.MAX: lambda cells: max(cells, default=None),
}


def table(rows: list[Row]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[]] * 4
    return pa.table([pa.array(list(column), field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)


@given(st.sampled_from(Kind), CHANGES)
def test_partials_of_a_history_of_changes_are_those_of_all_rows(
    kind: Kind, changes: list[tuple[list[int | None], set[int]]]
) -> None:
    def of(cells: list[int | None]) -> int | None:
        return OF_ALL[kind]([cell for cell in cells if cell is not None])

    kept, cells = of([]), list[int | None]()
    for come, places in changes:
        gone = [cell for place, cell in enumerate(cells) if place in places]
        cells = [cell for place, cell in enumerate(cells) if place not in places] + come
        try:
            kept = fold(kind, kept, of(come), of(gone))
        except NotDecomposableError:
            assert kind in (Kind.MIN, Kind.MAX)
            assert kept == of(gone)
            kept = of(cells)
        assert kept == of(cells)


def test_sums_beyond_what_the_engine_has_are_left_to_it() -> None:
    with pytest.raises(NotDecomposableError, match="more than 38 digits"):
        fold(Kind.SUM, 10**38 - 1, 1, None)


@settings(max_examples=10, deadline=None)
@given(st.lists(ROWS, max_size=5))
def test_values_of_partials_are_those_of_the_rules(rows: list[Row]) -> None:
    apart = {rule.name: decompose(rule, TYPES) for rule in READ.aggregate_rules}
    partials = sorted({partial for one in apart.values() for partial in one.partials}, key=repr)
    names = {partial: f"p{index}" for index, partial in enumerate(partials)}
    columns = ", ".join(f"{partial.sql} AS {name}" for partial, name in names.items())
    taken = ", ".join(f'{one.sql(names)} AS "{name}"' for name, one in apart.items())
    [found] = query(f"SELECT {taken} FROM (SELECT {columns} FROM (FROM rows) contract_rows)", table(rows))
    assert found == pytest.approx(values(READ.aggregate_rules, table(rows)), nan_ok=True)


def rule_of(sql: str, *columns: dict[str, Any]) -> AggregateRule:
    [rule] = contract(*columns, quality=[{"type": "sql", "query": sql, "mustBe": 7}]).aggregate_rules
    return rule


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT count(DISTINCT n) FROM {object}", "only all rows tell whether a value is there once"),
        ("SELECT median(n) FROM {object}", "median follows from all rows"),
        ("SELECT max(n, 2) FROM {object}", "max follows from all rows"),
        ("SELECT sum(f) FROM {object}", "values of type double is rounded"),
        ("SELECT sum(n / 3) FROM {object}", "not surely a whole number"),
        ("SELECT sum(n * 1e3) FROM {object}", "not surely a whole number"),
        ("SELECT sum(CAST(n AS DOUBLE)) FROM {object}", "not surely a whole number"),
        ("SELECT sum(n.n) FROM {object}", "not surely a whole number"),
        ("SELECT min(s) FROM {object}", "values of type string"),
        ("SELECT sum(x) FROM {object}", "whether x is whole numbers or decimals is not stated"),
        ("SELECT sum(o.n) FROM {object} AS o", "gives the rows another name"),
        ("SELECT max(c) FROM (SELECT count(*) AS c FROM {object} GROUP BY n)", "a query of its own"),
    ],
)
def test_values_that_only_all_rows_tell_are_not_taken_apart(sql: str, why: str) -> None:
    types: Mapping[str, pa.DataType | None] = {**TYPES, "f": pa.float64(), "x": None}
    rule = rule_of(sql, integer("n"), text("s"), {"name": "f", "logicalType": "number"}, {"name": "x"})
    with pytest.raises(NotDecomposableError, match=why):
        decompose(rule, types)


def test_names_that_only_look_like_aggregates_are_left_alone() -> None:
    rule = rule_of("""SELECT count(*) FILTER (WHERE "sum" = 'sum(n)') AS "max" FROM {object}""", text("sum"))
    assert decompose(rule, {}).parts == (Partial(Kind.COUNT, "*", "\"sum\" = 'sum(n)'"),)


def test_each_rule_says_what_checking_it_grows_with() -> None:
    unique = {"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["n", "s"]}}
    wide = {"type": "sql", "id": "wide", "query": "SELECT median(n) FROM {object}", "mustBe": 1}
    batch = {**wide, "id": "batch", "customProperties": [{"property": "scope", "value": "batch"}]}
    read = contract({**integer("n"), "required": True}, {**text("s"), "unique": True}, quality=[unique, wide, batch])
    found = costs(read, stated_types(read), ["n"])
    assert found == {
        "n.required": "the change",
        "s.unique": "the table: only all rows tell whether a value is there once or more often",
        "duplicateValues": "the change",
        "wide": "the table: median follows from all rows, not from sums and counts",
        "batch": "the change",
    }
    assert "the table" in costs(read, stated_types(read), [])["duplicateValues"]
