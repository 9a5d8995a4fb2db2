"""Searching keys that are integers finds what comparing each with each finds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.table.integer_keys import IntegerSearch, IntegerSieve, KeyNumbers, integers, repeats

numbers = st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1))
pairs = st.tuples(st.integers(-2, 2), st.one_of(st.integers(-2, 2), st.sampled_from([-(2**63), -(2**61), 2**63 - 1])))


@given(
    sought=st.lists(numbers, unique=True, max_size=12),
    stored=st.lists(st.one_of(st.none(), numbers), max_size=20),
    is_sorted=st.booleans(),
)
def test_it_finds_each_stored_row_whose_key_is_sought(
    sought: list[int], stored: list[int | None], is_sorted: bool
) -> None:
    if is_sorted:
        stored = sorted(one for one in stored if one is not None)
    keys = KeyNumbers.of(pa.table({"k": pa.array(sought, pa.int64())}), ["k"])
    assert keys is not None or not sought
    rows, places = IntegerSearch(keys).find([pa.array(stored, pa.int64())]) if keys else ([], [])
    expected = [(row, sought.index(key)) for row, key in enumerate(stored) if key is not None and key in sought]
    assert sorted(zip(rows, places, strict=True)) == expected


@given(
    sought=st.lists(pairs, unique=True, min_size=1, max_size=12),
    stored=st.lists(st.tuples(st.one_of(st.none(), numbers), st.one_of(st.none(), numbers)), max_size=20),
    copies=st.integers(0, 2),
)
def test_it_finds_keys_of_several_columns(
    sought: list[tuple[int, int]], stored: list[tuple[int | None, int | None]], copies: int
) -> None:
    stored = stored + sought[::2] * copies
    keys = KeyNumbers.of(_pairs(sought), ["a", "b"])
    spans = [max(column) - min(column) + 1 for column in zip(*sought, strict=True)]
    assert (keys is not None) == (spans[0] * spans[1] < 2**63)
    if keys is None:
        return
    assert np.argsort(keys.numbers).tolist() == sorted(range(len(sought)), key=sought.__getitem__)
    rows, places = IntegerSearch(keys).find([column.combine_chunks() for column in _pairs(stored).columns])
    expected = [(row, sought.index(key)) for row, key in enumerate(stored) if key in sought]
    assert sorted(zip(rows.tolist(), places.tolist(), strict=True)) == expected


def _pairs(rows: Sequence[tuple[int | None, int | None]]) -> pa.Table:
    columns = {"a": [a for a, _ in rows], "b": [b for _, b in rows]}
    return pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()})


@given(sought=st.lists(numbers, unique=True, min_size=1, max_size=40), stored=st.lists(numbers, max_size=40))
def test_a_sieve_finds_the_numbers_that_are_sought(sought: list[int], stored: list[int]) -> None:
    sieve = IntegerSieve(np.array(sorted(sought), np.int64))
    found = sieve.among(np.array(stored, np.int64)).tolist()
    assert found == [place for place, number in enumerate(stored) if number in sought]


@given(st.lists(numbers, max_size=12))
def test_repeats(values: list[int]) -> None:
    assert repeats(np.array(values, np.int64)) == (len(set(values)) < len(values))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([3, -1, 2], pa.int32()),
        pa.array([date(2013, 1, 3), date(1969, 12, 1), date(2013, 1, 1)]),
        pa.array([datetime(2013, 1, 1, tzinfo=UTC) + timedelta(microseconds=n) for n in (3, -1, 2)]),
        pa.array([datetime(1960, 1, 1) + timedelta(microseconds=n) for n in (3, -1, 2)], pa.timestamp("us")),
        pa.chunked_array([[3], [-1, 2]], pa.int64()),
    ],
    ids=lambda values: str(values.type),
)
def test_dates_and_times_have_the_order_of_their_numbers(values: pa.Array) -> None:
    found = integers(values)
    assert found is not None
    assert np.argsort(found).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    "values",
    [pa.array([1, None]), pa.array([1.0, float("nan")]), pa.array(["a"]), pa.array([True]), pa.array([b"a"])],
    ids=["with NULL", "double", "text", "boolean", "bytes"],
)
def test_other_keys_are_left_to_others(values: pa.Array) -> None:
    assert integers(values) is None


def test_a_key_with_a_column_of_another_kind_is_left_to_others() -> None:
    rows = pa.table({"a": [1], "b": ["x"]})
    assert KeyNumbers.of(rows, ["a", "b"]) is None
    assert KeyNumbers.of(rows, ["a"]) is not None
