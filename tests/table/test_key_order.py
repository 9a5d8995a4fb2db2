"""Rows are put in the order of their keys, few and many alike, and many without taking memory for them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.table import key_order, source_rows
from cordillera.table.key_order import in_key_order
from cordillera.table.source_rows import SOURCE, without

ENGINE = DuckDBEngine(threads=1)
KEYS = st.lists(st.tuples(st.sampled_from("aBé~"), st.integers(-5, 5)), unique=True, max_size=12)


def table(keys: list[tuple[str, int]]) -> pa.Table:
    texts, numbers = [text for text, _ in keys], [number for _, number in keys]
    notes = [f"note {text} {number}" if number else None for text, number in keys]
    return pa.table({"text": pa.array(texts, pa.string()), "number": pa.array(numbers, pa.int64()), "note": notes})


@given(KEYS, st.sampled_from([["text", "number"], ["number", "text"]]), st.sampled_from([0, 10**9]))
def test_they_are_sorted_by_all_of_the_key(keys: list[tuple[str, int]], key: list[str], in_memory: int) -> None:
    rows = table(keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_order, "MOST_IN_MEMORY", in_memory)
        ordered = in_key_order(rows, key, ENGINE)
    assert ordered.schema == rows.schema
    assert ordered.to_pylist() == sorted(rows.to_pylist(), key=lambda row: tuple(row[name] for name in key))


def test_rows_in_order_are_not_copied() -> None:
    rows = table([("a", 1), ("a", 2), ("b", 1)])
    assert in_key_order(rows, ["text", "number"], ENGINE) is rows


@pytest.mark.parametrize("in_memory", [0, 10**9])
def test_some_of_many_rows_are_the_same_as_some_of_few(monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(source_rows, "MOST_IN_MEMORY", in_memory)
    numbers = pa.chunked_array([np.arange(0, 7), np.arange(7, 7), np.arange(7, 20)], pa.int64())
    left = without(pa.table({SOURCE: numbers}), pa.array([0, 6, 7, 19]))
    assert left.column(SOURCE).to_pylist() == [*range(1, 6), *range(8, 19)]
