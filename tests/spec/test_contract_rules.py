"""Compiled predicates and aggregates, run by real DuckDB over Arrow, against a plain reading of what the rule says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.spec.contract import Contract, examples_sql, to_arrow_schema
from tests.spec.contract_support import bad_rows, broken, contract, integer, query, text, values

against_duckdb = settings(max_examples=50, deadline=None)


def rows_of(read: Contract, column: str, cells: list[Any]) -> pa.Table:
    """Return a table of one column in the type the contract declares, with an index to tell rows apart."""
    field = to_arrow_schema(read).field(column)
    return pa.table({"index": pa.array(range(len(cells)), pa.int64()), column: pa.array(cells, field.type)})


def assert_agrees(read: Contract, column: str, cells: list[Any], valid: Callable[[Any], bool]) -> None:
    """Check that the contract's only rule breaks for exactly the cells that are not ``valid``; NULL is valid."""
    (rule,) = read.row_rules
    rows = rows_of(read, column, cells)
    expected = [index for index, cell in enumerate(cells) if cell is not None and not valid(cell)]
    assert broken(read.row_rules, rows) == ({rule.name: len(expected)} if expected else {})
    found = query(examples_sql(rule, "rows", ["index"], len(cells) + 1), rows)
    assert sorted(row["index"] for row in found) == expected


LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda value, limit: value >= limit,
    "maximum": lambda value, limit: value <= limit,
    "exclusiveMinimum": lambda value, limit: value > limit,
    "exclusiveMaximum": lambda value, limit: value < limit,
}
INT64 = st.integers(-(2**63), 2**63 - 1)
NEAR = st.integers(-5, 5)


@against_duckdb
@given(st.sampled_from(sorted(LIMITS)), NEAR | INT64, st.lists(st.none() | NEAR | INT64, max_size=20))
def test_limits_of_integers(name: str, limit: int, cells: list[int | None]) -> None:
    read = contract(integer("a", **{name: limit}))
    assert_agrees(read, "a", cells, lambda value: LIMITS[name](value, limit))


@against_duckdb
@given(
    st.sampled_from(sorted(LIMITS)),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.none() | st.floats() | st.sampled_from([0.0, -0.0, 0.1, 0.1 + 0.2]), max_size=20),
    st.data(),
)
def test_limits_of_numbers(name: str, limit: float, cells: list[float | None], data: st.DataObject) -> None:
    """NaN is within no limits; the limit itself is compared exactly, whatever its digits."""
    limit = data.draw(st.sampled_from([limit, *(c for c in cells if c is not None and math.isfinite(c))]))
    column = {"name": "a", "logicalType": "number", "logicalTypeOptions": {name: limit}}
    assert_agrees(contract(column), "a", cells, lambda value: LIMITS[name](value, limit))


@against_duckdb
@given(st.sampled_from(sorted(LIMITS)), st.lists(st.none() | st.decimals(-99, 99, places=2), max_size=20))
def test_limits_of_decimals(name: str, cells: list[Decimal | None]) -> None:
    column = {"name": "a", "logicalType": "number", "physicalType": "decimal(10,2)", "logicalTypeOptions": {name: 0.1}}
    assert_agrees(contract(column), "a", cells, lambda value: LIMITS[name](value, Decimal("0.1")))


@against_duckdb
@given(st.sampled_from(sorted(LIMITS)), st.dates(), st.lists(st.none() | st.dates(), max_size=10))
def test_limits_of_dates(name: str, limit: date, cells: list[date | None]) -> None:
    column = {"name": "a", "logicalType": "date", "logicalTypeOptions": {name: limit.isoformat()}}
    assert_agrees(contract(column), "a", [*cells, limit], lambda value: LIMITS[name](value, limit))


@against_duckdb
@given(st.sampled_from(sorted(LIMITS)), st.times(), st.lists(st.none() | st.times(), max_size=10))
def test_limits_of_times(name: str, limit: time, cells: list[time | None]) -> None:
    column = {"name": "a", "logicalType": "time", "logicalTypeOptions": {name: limit.isoformat()}}
    assert_agrees(contract(column), "a", [*cells, limit], lambda value: LIMITS[name](value, limit))


MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))


@against_duckdb
@given(st.sampled_from(sorted(LIMITS)), MOMENTS, st.integers(-12, 12), st.lists(st.none() | MOMENTS, max_size=10))
def test_limits_of_timestamps(name: str, limit: datetime, hours: int, cells: list[datetime | None]) -> None:
    naive = {"name": "a", "logicalType": "timestamp", "logicalTypeOptions": {name: limit.isoformat()}}
    assert_agrees(contract(naive), "a", [*cells, limit], lambda value: LIMITS[name](value, limit))

    offset = limit.replace(tzinfo=UTC) + timedelta(hours=hours)
    zoned = {**naive, "logicalTypeOptions": {name: offset.isoformat(), "timezone": True}}
    moments = [cell and cell.replace(tzinfo=UTC) for cell in cells]
    assert_agrees(contract(zoned), "a", [*moments, offset], lambda value: LIMITS[name](value, offset))


@against_duckdb
@given(st.integers(0, 4), st.booleans(), st.lists(st.none() | st.text(max_size=6), max_size=20))
def test_lengths_count_characters(limit: int, longest: bool, cells: list[str | None]) -> None:
    read = contract(text("a", **{"maxLength" if longest else "minLength": limit}))
    assert_agrees(read, "a", cells, lambda value: len(value) <= limit if longest else len(value) >= limit)


PATTERNS = [r"^[A-Z0-9]{2}$", r"a+b?", r"^(EWR|JFK)$", r"\d{2,3}", r"[^x]", r"^$", r"'", r"a.c", r"^a|b$"]


@against_duckdb
@given(st.sampled_from(PATTERNS), st.lists(st.none() | st.text("abcxEWRJFK019'\n%_\\", max_size=5), max_size=20))
def test_patterns_are_searched_for(pattern: str, cells: list[str | None]) -> None:
    # ECMA-262's $ is the very end, as in RE2; Python's also matches before a last line break, its \Z does not.
    expression = re.compile(pattern.replace("$", r"\Z"))
    assert_agrees(contract(text("a", pattern=pattern)), "a", cells, lambda value: bool(expression.search(value)))


@against_duckdb
@given(st.integers(1, 7), st.lists(st.none() | st.integers(-(2**40), 2**40), max_size=20))
def test_multiples_of_integers(step: int, cells: list[int | None]) -> None:
    assert_agrees(contract(integer("a", multipleOf=step)), "a", cells, lambda value: value % step == 0)


@pytest.mark.parametrize("physical", ["double", "decimal(12,3)", None])
def test_multiples_of_fractions(physical: str | None) -> None:
    column = {"name": "a", "logicalType": "number", "logicalTypeOptions": {"multipleOf": 0.01}}
    read = contract({**column, **({"physicalType": physical} if physical else {})})
    cells = ["0.07", "1.1", "0", "-3.14", "123456.78", "0.071", "1.005", None]
    convert = Decimal if physical and physical.startswith("decimal") else float
    typed = [None if cell is None else convert(cell) for cell in cells]
    assert [row["index"] for row in bad_rows(read.row_rules[0], rows_of(read, "a", typed), "index")] == [5, 6]


def test_nan_and_infinity_are_no_multiples() -> None:
    read = contract({"name": "a", "logicalType": "number", "logicalTypeOptions": {"multipleOf": 2}})
    assert broken(read.row_rules, rows_of(read, "a", [4.0, float("nan"), float("inf"), None])) == {"a.multipleOf": 2}


def test_limits_of_narrow_floats_are_in_their_own_precision() -> None:
    options = {"maximum": 0.1, "minimum": 0.1, "format": "f32"}
    read = contract({"name": "a", "logicalType": "number", "logicalTypeOptions": options})
    assert broken(read.row_rules, rows_of(read, "a", [0.1, None])) == {}
    assert broken(read.row_rules, rows_of(read, "a", [0.2, 0.0, float("nan")])) == {"a.maximum": 2, "a.minimum": 2}


def test_integer_formats_narrower_than_their_column_are_checked() -> None:
    read = contract(integer("a", format="u8"))
    assert broken(read.row_rules, rows_of(read, "a", [0, 255, None])) == {}
    assert broken(read.row_rules, rows_of(read, "a", [-1, 256])) == {"a.format": 2}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("email", ["a@b.co", "x.y+z@mail.example.com"], ["a@b", "a b@c.de", "@c.de", ""]),
        ("uuid", ["7d5b7c1e-4c0f-4f0e-9a53-2c4a3a0c9b11"], ["7d5b7c1e4c0f4f0e9a532c4a3a0c9b11", "x"]),
        ("uri", ["https://example.com/a?b#c", "mailto:a@b.co", "urn:x:y"], ["example.com", "a b:c", ""]),
        ("hostname", ["localhost", "a-b.example.com"], ["-a.com", "a..b", "a_b", ""]),
        ("ipv4", ["0.0.0.0", "255.255.255.255", "10.1.2.3"], ["256.1.1.1", "1.2.3", "1.2.3.4.5"]),
        ("byte", ["", "aGk=", "aGVsbG8h", "YQ=="], ["a", "aGk", "a!k="]),
    ],
)
def test_string_formats(name: str, good: list[str], bad: list[str]) -> None:
    read = contract(text("a", format=name))
    assert_agrees(read, "a", [*good, *bad, None], lambda value: value in good)


def test_required_breaks_on_null_alone() -> None:
    read = contract({**integer("a"), "required": True})
    assert broken(read.row_rules, rows_of(read, "a", [1, None, 0])) == {"a.required": 1}


def test_arrays() -> None:
    column = {"name": "a", "logicalType": "array", "items": integer("x")}
    options = {"minItems": 1, "maxItems": 2, "uniqueItems": True}
    read = contract({**column, "logicalTypeOptions": options})
    rows = rows_of(read, "a", [[1], [1, 2], [], [1, 2, 3], [1, 1], [None, None], None])
    assert broken(read.row_rules, rows) == {"a.minItems": 1, "a.maxItems": 1, "a.uniqueItems": 1}


def test_fields_inside_objects() -> None:
    read = contract(
        {
            "name": "a",
            "logicalType": "object",
            "logicalTypeOptions": {"required": ["x"]},
            "properties": [
                {
                    **integer("x", minimum=1),
                    "quality": [{"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": [2]}}],
                },
                {
                    **text("it's"),
                    "quality": [{"type": "custom", "engine": "cordillera", "implementation": "length({property}) < 3"}],
                },
            ],
        }
    )
    cells = [None, {"x": 2, "it's": "ok"}, {"x": None, "it's": None}, {"x": 0, "it's": "long"}]
    assert broken(read.row_rules, rows_of(read, "a", cells)) == {
        **{"a.x.required": 1, "a.x.minimum": 1, "a.x.invalidValues": 1, "a.it's.custom": 1},
    }
    assert {rule.columns for rule in read.row_rules} == {("a",)}


# --- metrics --------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["a", "b", "", "N/A", "it's", 'qu"ote', "NULL", "-- x", "é"])


def quality(column: dict[str, Any], rule: dict[str, Any]) -> Contract:
    return contract({**column, "quality": [rule]})


@against_duckdb
@given(st.lists(WORDS | st.none(), min_size=1, max_size=4), st.lists(st.none() | WORDS, max_size=20))
def test_valid_values(listed: list[str | None], cells: list[str | None]) -> None:
    rule = {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": listed}}
    assert_agrees(quality(text("a"), rule), "a", cells, lambda value: value in listed)


@against_duckdb
@given(st.lists(WORDS | st.none(), min_size=1, max_size=4), st.lists(st.none() | WORDS, max_size=20))
def test_missing_values(listed: list[str | None], cells: list[str | None]) -> None:
    rule = {"metric": "missingValues", "mustBeLessThan": 1, "arguments": {"missingValues": listed}}
    read = quality(text("a"), rule)
    expected = sum(cell in listed for cell in cells)
    rows = rows_of(read, "a", cells)
    assert broken(read.row_rules, rows) == ({"a.missingValues": expected} if expected else {})


@pytest.mark.parametrize(
    ("column", "listed", "cells", "expected"),
    [
        (integer("a"), [1, -2], [1, -2, 3, None], 1),
        ({"name": "a", "logicalType": "number"}, [0.1, 2], [0.1, 2.0, 0.3, float("nan"), None], 2),
        (
            {"name": "a", "logicalType": "number", "physicalType": "decimal(5,2)"},
            [0.1],
            [Decimal("0.10"), Decimal(1)],
            1,
        ),
        ({"name": "a", "logicalType": "boolean"}, [True], [True, False, None], 1),
        ({"name": "a", "logicalType": "date"}, ["2020-01-01"], [date(2020, 1, 1), date(2020, 1, 2)], 1),
        (
            {"name": "a", "logicalType": "timestamp", "physicalType": "timestamptz"},
            ["2020-01-01T00:00:00+01:00"],
            [datetime(2019, 12, 31, 23, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)],
            1,
        ),
    ],
)
def test_valid_values_of_other_types(
    column: dict[str, Any], listed: list[Any], cells: list[Any], expected: int
) -> None:
    rule = {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": listed}}
    read = quality(column, rule)
    assert broken(read.row_rules, rows_of(read, "a", cells)) == {"a.invalidValues": expected}


def test_valid_values_of_uuids() -> None:
    known = "7d5b7c1e-4c0f-4f0e-9a53-2c4a3a0c9b11"
    rule = {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": [known.upper()]}}
    read = quality({"name": "a", "logicalType": "string", "physicalType": "uuid"}, rule)
    cells = pa.array([bytes.fromhex(known.replace("-", "")), bytes(16), None], pa.binary(16))
    rows = pa.table({"a": pa.ExtensionArray.from_storage(pa.uuid(), cells)})
    assert broken(read.row_rules, rows) == {"a.invalidValues": 1}


def test_valid_values_and_a_pattern_both_apply() -> None:
    rule = {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": ["ab", "c"], "pattern": "^a"}}
    assert broken(quality(text("a"), rule).row_rules, pa.table({"a": ["ab", "c", "ax", None]})) == {
        "a.invalidValues": 2
    }


@pytest.mark.parametrize(
    ("operators", "by_row"),
    [
        ({"mustBe": 0}, True),
        ({"mustBeLessThan": 1}, True),
        ({"mustBeLessOrEqualTo": 0}, True),
        ({"mustBe": 0, "unit": "percent"}, True),
        ({"mustBeLessOrEqualTo": 0, "unit": "percent"}, True),
        ({"mustBeGreaterOrEqualTo": 0, "mustBeLessThan": 1}, True),
        ({"mustBeLessThan": 1, "unit": "percent"}, False),
        ({"mustBeLessThan": 2}, False),
        ({"mustBeLessThan": 0}, False),
        ({"mustBe": 1}, False),
        ({"mustBe": 0, "mustNotBe": 0}, False),
        ({"mustNotBe": 0}, False),
        ({"mustBeBetween": [-1, 1]}, False),
    ],
)
def test_only_a_metric_that_tolerates_nothing_is_checked_row_by_row(operators: dict[str, Any], by_row: bool) -> None:
    read = quality(text("a"), {"metric": "nullValues", **operators})
    assert (len(read.row_rules), len(read.aggregate_rules)) == ((1, 0) if by_row else (0, 1))


CELLS = st.lists(st.none() | st.sampled_from(["a", "b", "c"]), max_size=12)


@against_duckdb
@given(CELLS)
def test_counts_and_shares(cells: list[str | None]) -> None:
    rules = [
        {"name": "nulls", "metric": "nullValues", "mustBeLessThan": 5},
        {"name": "null share", "metric": "nullValues", "mustBeLessThan": 5, "unit": "percent"},
        {"name": "bad", "metric": "invalidValues", "arguments": {"validValues": ["a"]}, "mustBeLessThan": 5},
        {
            "name": "bad share",
            "metric": "invalidValues",
            "arguments": {"validValues": ["a"]},
            "mustBeLessThan": 5,
            "unit": "percent",
        },
        {"name": "repeated", "metric": "duplicateValues", "mustBe": 0},
        {"name": "repeated share", "metric": "duplicateValues", "mustBeLessThan": 5, "unit": "percent"},
    ]
    read = contract(
        {**text("a"), "quality": rules}, quality=[{"name": "all", "metric": "rowCount", "mustBeGreaterThan": 1}]
    )
    given_cells = [cell for cell in cells if cell is not None]
    nulls, wrong = len(cells) - len(given_cells), sum(cell != "a" for cell in given_cells)
    repeated = len(given_cells) - len(set(given_cells))
    share = 100 / len(cells) if cells else 0
    assert values(read.aggregate_rules, pa.table({"a": pa.array(cells, pa.string())})) == {
        **{"nulls": nulls, "bad": wrong, "repeated": repeated, "all": len(cells)},
        "null share": pytest.approx(nulls * share),
        "bad share": pytest.approx(wrong * share),
        "repeated share": pytest.approx(repeated * share),
    }


PAIRS = st.lists(st.tuples(st.none() | st.integers(0, 2), st.none() | st.sampled_from("xy")), max_size=12)


@against_duckdb
@given(PAIRS)
def test_duplicates_over_several_columns(pairs: list[tuple[int | None, str | None]]) -> None:
    rule = {"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["a", "b"]}}
    read = contract(integer("a"), {**text("b"), "physicalName": "b_1"}, quality=[rule])
    complete = [pair for pair in pairs if None not in pair]
    columns = [pa.array([pair[0] for pair in pairs], pa.int64()), pa.array([pair[1] for pair in pairs], pa.string())]
    found = values(read.aggregate_rules, pa.table(columns, ["a", "b_1"]))
    assert found == {"duplicateValues": len(complete) - len(set(complete))}
    assert read.aggregate_rules[0].columns == ("a", "b_1")


def test_unique_columns_are_counted_unless_they_are_the_key() -> None:
    read = contract({**integer("a"), "unique": True})
    assert values(read.aggregate_rules, pa.table({"a": [1, 1, 2, None, None]})) == {"a.unique": 1}
    assert contract({**integer("a"), "unique": True, "primaryKey": True}).aggregate_rules == ()
    two = contract({**integer("a"), "unique": True, "primaryKey": True}, {**integer("b"), "primaryKey": True})
    assert [rule.name for rule in two.aggregate_rules] == ["a.unique"]


# --- sql and custom -------------------------------------------------------------------------------------------------


@against_duckdb
@given(st.lists(st.none() | st.integers(-2, 2), max_size=12))
def test_a_count_that_must_be_zero_is_checked_row_by_row(cells: list[int | None]) -> None:
    text_of = "SELECT count(*) FROM {object} WHERE {property} <= 0 OR {property} > 1"
    read = quality(integer("a"), {"type": "sql", "query": text_of, "mustBe": 0})
    assert_agrees(read, "a", cells, lambda value: 0 < value <= 1)
    assert read.aggregate_rules == ()


def test_other_queries_are_computed_as_one_value() -> None:
    rules = [
        {"name": "sum", "type": "sql", "query": "SELECT sum(a) FROM orders;", "mustBeGreaterThan": 0},
        {"name": "flag", "type": "sql", "query": "SELECT max(a) < 5 FROM ${table}", "mustBe": True},
        {
            "name": "repeated",
            "type": "sql",
            "query": "SELECT count(*) FROM (SELECT a FROM {object} GROUP BY a HAVING count(*) > 1)",
            "mustBe": 0,
        },
    ]
    read = contract(integer("a"), quality=rules)
    found = values(read.aggregate_rules, pa.table({"a": [1, 1, 7]}))
    assert found == {"sum": 9, "flag": False, "repeated": 1}
    assert [rule.holds(found[rule.name]) for rule in read.aggregate_rules] == [True, False, False]
    nothing = values(read.aggregate_rules, pa.table({"a": pa.array([], pa.int64())}))
    assert nothing == {"sum": None, "flag": None, "repeated": 0}
    assert all(rule.holds(nothing[rule.name]) for rule in read.aggregate_rules)


def test_a_predicate_holds_where_it_is_null() -> None:
    rule = {"type": "custom", "engine": "Cordillera", "implementation": "a > b  -- only later rows\nOR a = 0"}
    read = contract(integer("a"), integer("b"), quality=[rule])
    rows = pa.table({"a": [2, 1, 0, None, 1], "b": [1, 2, 5, 1, None]})
    assert bad_rows(read.row_rules[0], rows, "a", "b") == [{"a": 1, "b": 2}]
    assert read.row_rules[0].columns == ("a", "b")


def test_names_with_quotes_are_quoted() -> None:
    name = "we\"ird '; DROP"
    rule = {"type": "custom", "engine": "cordillera", "implementation": "{property} <> 3"}
    read = contract({**integer(name, minimum=1), "unique": True, "quality": [rule]})
    rows = pa.table({name: [0, 3, 3]})
    assert broken(read.row_rules, rows) == {f"{name}.minimum": 1, f"{name}.custom": 2}
    assert values(read.aggregate_rules, rows) == {f"{name}.unique": 1}
