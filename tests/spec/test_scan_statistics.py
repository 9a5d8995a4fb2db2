from __future__ import annotations

from datetime import date

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.schema import Schema
from pyiceberg.types import DateType, LongType, NestedField, StringType

from cordillera.spec.expression import parse_row_filter
from cordillera.spec.scan_statistics import (
    ALL_COLUMNS,
    ColumnReport,
    ColumnScans,
    ColumnUse,
    Narrowing,
    ScanReport,
    counts_of,
    narrowings,
)

SCHEMA = Schema(
    NestedField(1, "id", LongType()), NestedField(2, "day", DateType()), NestedField(3, "place", StringType())
)
OTHER = Narrowing(ColumnUse.OTHER)


def _equal(values: int) -> Narrowing:
    return Narrowing(ColumnUse.EQUALITY, values)


def _range(low: int | None = None, high: int | None = None) -> Narrowing:
    return Narrowing(ColumnUse.RANGE, low=low, high=high)


def _days(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("id = 7", {"id": _equal(1)}),
        ("id IN (1, 2, 3)", {"id": _equal(3)}),
        ("id = 7 OR id = 8", {"id": _equal(2)}),
        ("id > 5 AND id <= 9", {"id": _range(5, 9)}),
        ("id BETWEEN 5 AND 9 AND id >= 6 AND id < 100", {"id": _range(6, 9)}),
        ("id < 5 OR id < 9", {"id": _range(None, 9)}),
        ("id BETWEEN 1 AND 2 OR id BETWEEN 8 AND 9", {"id": _range(1, 9)}),
        ("id < 5 OR id > 9", {"id": _range()}),
        ("id > 3 AND id = 7", {"id": _equal(1)}),
        ("id = 7 AND id > 3", {"id": _equal(1)}),
        ("id > 3 OR id = 1", {"id": OTHER}),
        ("id = 7 AND place = 'x'", {"id": _equal(1), "place": _equal(1)}),
        ("id = 7 OR place = 'x'", {"id": OTHER, "place": OTHER}),
        ("(id = 7 OR place = 'x') AND id < 9", {"id": _range(None, 9), "place": OTHER}),
        ("day >= DATE '2026-01-31'", {"day": _range(_days("2026-01-31"))}),
        ("lower(place) = 'x' AND id IS NULL", {"place": OTHER, "id": OTHER}),
        ("id + 1 = 7", {"id": OTHER}),
        ("true", {}),
    ],
)
def test_a_condition_tells_how_it_narrows_columns(condition: str, expected: dict[str, Narrowing]) -> None:
    parsed = parse_row_filter(condition, SCHEMA)
    assert narrowings(parsed.pruning, parsed.columns) == expected


bounds = st.integers(-5, 5)
conditions = st.recursive(
    st.one_of(
        st.builds("{} {} {}".format, st.just("id"), st.sampled_from(["<", "<=", ">", ">=", "="]), bounds),
        st.builds("id BETWEEN {} AND {}".format, bounds, bounds),
        st.lists(bounds, min_size=1, max_size=3).map(lambda values: f"id IN ({', '.join(map(str, values))})"),
    ),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner),
    max_leaves=5,
)


@given(conditions)
def test_what_a_condition_allows_lies_within_the_range_it_is_said_to_narrow_to(condition: str) -> None:
    found = narrowings(parse_row_filter(condition, SCHEMA).pruning)["id"]
    allowed = [value for value in range(-7, 8) if _holds(condition, value)]
    if found.use is ColumnUse.RANGE:
        low = -99 if found.low is None else found.low
        high = 99 if found.high is None else found.high
        assert all(low <= value <= high for value in allowed), condition
    elif found.use is ColumnUse.EQUALITY:
        assert len(allowed) <= found.values, condition


def _holds(condition: str, value: int) -> bool:
    answer = duckdb.execute(f"SELECT {condition} FROM (SELECT {value} AS id)").fetchone()
    return answer == (True,)


def test_a_scan_counts_for_its_table_and_for_each_column() -> None:
    columns = (
        ColumnReport(1, ColumnUse.RANGE, fraction=0.25),
        ColumnReport(2, ColumnUse.EQUALITY, values=3),
        ColumnReport(3, ColumnUse.OTHER),
    )
    report = ScanReport(columns, files=10, bytes=1000, files_read=4, bytes_read=400)
    assert list(counts_of(report)) == [
        ColumnScans(ALL_COLUMNS, ColumnUse.ANY, 1, 0, 10, 4, 1000, 400),
        ColumnScans(1, ColumnUse.RANGE, 1, 0, 10, 4, 1000, 400, measured=1, fraction=0.25),
        ColumnScans(2, ColumnUse.EQUALITY, 1, 0, 10, 4, 1000, 400, values=3),
        ColumnScans(3, ColumnUse.OTHER, 1, 0, 10, 4, 1000, 400),
    ]


def test_a_scan_that_one_column_narrows_counts_as_alone() -> None:
    columns = (ColumnReport(1, ColumnUse.RANGE, fraction=0.25), ColumnReport(3, ColumnUse.OTHER))
    counts = {one.column_id: one.alone for one in counts_of(ScanReport(columns, 1, 1, 1, 1))}
    assert counts == {ALL_COLUMNS: 0, 1: 1, 3: 0}
