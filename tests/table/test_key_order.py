"""Rows are put in the order of their keys, few and many alike, and many without taking memory for them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.spec.arrow_types import from_arrow_schema
from cordillera.spec.merge import MergeSemantics
from cordillera.spec.partition_values import split_by_partition
from cordillera.spec.partitioning import parse_partitioning
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table import key_order, source_rows
from cordillera.table.key_order import in_key_order
from cordillera.table.source_rows import SOURCE, without

ENGINE = DuckDBEngine(threads=1)
KEYS = st.lists(st.tuples(st.sampled_from("aBé~"), st.integers(-5, 5)), unique=True, max_size=12)


def metadata(rows: pa.Table, key: list[str], partitioning: list[str] | None = None) -> TableMetadata:
    """Return a table of such rows."""
    schema = from_arrow_schema(rows.schema, tuple(key))
    spec = parse_partitioning(partitioning or [], schema)
    properties = MergeSemantics(tuple(key)).to_properties(schema)
    return TableMetadata(3, "t", "memory://t", 0, 0, 9, (schema,), 0, (spec,), 0, 1002, properties=properties)


def table(keys: list[tuple[str, int]]) -> pa.Table:
    texts, numbers = [text for text, _ in keys], [number for _, number in keys]
    notes = [f"note {text} {number}" if number else None for text, number in keys]
    return pa.table(
        {
            "text": pa.array(texts, pa.string()),
            "number": pa.array(numbers, pa.int64()),
            "note": pa.array(notes, pa.string()),
        }
    )


@given(KEYS, st.sampled_from([["text", "number"], ["number", "text"]]), st.sampled_from([0, 10**9]))
def test_they_are_sorted_by_all_of_the_key(keys: list[tuple[str, int]], key: list[str], in_memory: int) -> None:
    rows = table(keys)
    stored = metadata(rows, key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_order, "MOST_IN_MEMORY", in_memory)
        ordered = in_key_order(rows, stored, ENGINE)
    assert ordered.schema == rows.schema
    assert ordered.to_pylist() == sorted(rows.to_pylist(), key=lambda row: tuple(row[name] for name in key))


def test_rows_in_order_are_not_copied() -> None:
    rows = table([("a", 1), ("a", 2), ("b", 1)])
    assert in_key_order(rows, metadata(rows, ["text", "number"]), ENGINE) is rows


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5), st.sampled_from([None, 0, 1])), max_size=12))
def test_keys_of_numbers_come_partition_by_partition(values: list[tuple[int, int, int | None]]) -> None:
    unique = list({(a, b): c for a, b, c in values}.items())
    columns = {"a": [a for (a, _), _ in unique], "b": [b for (_, b), _ in unique], "c": [c for _, c in unique]}
    rows = pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()})
    stored = metadata(rows, ["a", "b"], ["c", "bucket(2, a)"])
    found = in_key_order(rows, stored, ENGINE)
    assert sorted(map(str, found.to_pylist())) == sorted(map(str, rows.to_pylist()))
    if found is rows:
        return  # none had to move
    batch = found.combine_chunks().to_batches()[0]
    split = [part.to_pylist() for _, part in split_by_partition(stored.partition_spec, stored.schema, batch)]
    in_parts = sorted(split, key=lambda part: found.to_pylist().index(part[0]))
    assert found.to_pylist() == [row for part in in_parts for row in part]
    for part in split:
        keys = [(row["a"], row["b"]) for row in part]
        assert keys == sorted(keys)


@pytest.mark.parametrize("in_memory", [0, 10**9])
def test_some_of_many_rows_are_the_same_as_some_of_few(monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(source_rows, "MOST_IN_MEMORY", in_memory)
    numbers = pa.chunked_array([np.arange(0, 7), np.arange(7, 7), np.arange(7, 20)], pa.int64())
    left = without(pa.table({SOURCE: numbers}), pa.array([0, 6, 7, 19]))
    assert left.column(SOURCE).to_pylist() == [*range(1, 6), *range(8, 19)]
