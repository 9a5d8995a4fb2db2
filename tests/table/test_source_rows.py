"""Rows of a batch by their numbers: few at once, many column by column in threads, with the same outcome."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from cordillera.table.source_rows import SOURCE, only, without


def batch(rows: int) -> pa.Table:
    numbers = np.arange(rows, dtype=np.int64)
    columns = {
        SOURCE: pa.array(numbers),
        "note": pa.array([None if number % 7 == 0 else f"note {number}" for number in range(rows)]),
        "kind": pa.array(["old", "new"]).take(pa.array(numbers % 2)).dictionary_encode(),
        "place": pa.StructArray.from_arrays([pa.array(numbers * 2), pa.array(numbers % 3 == 0)], ["x", "y"]),
    }
    whole = pa.table(columns, schema=pa.schema([pa.field(name, one.type) for name, one in columns.items()]))
    return pa.concat_tables([whole.slice(0, rows // 3), whole.slice(rows // 3)])


@pytest.mark.parametrize("rows", [100, 20_000])
def test_rows_are_chosen_by_their_numbers_in_their_order(rows: int) -> None:
    table = batch(rows)
    chosen = [number for number in range(rows) if number % 10 < 3]
    sources = pa.chunked_array([pa.array(chosen[::-1], pa.int64())])
    picked, rest = only(table, sources), without(table, sources)
    assert picked.column(SOURCE).to_pylist() == chosen
    assert rest.column(SOURCE).to_pylist() == [number for number in range(rows) if number % 10 >= 3]
    assert picked.equals(table.take(chosen)), "every column gives the rows of the same numbers"
    assert picked.schema.equals(table.schema)


@pytest.mark.parametrize("rows", [100, 20_000])
def test_of_no_numbers_no_row_is_chosen_and_all_remain(rows: int) -> None:
    table, nothing = batch(rows), pa.array([], pa.int64())
    assert only(table, nothing).num_rows == 0
    assert only(table, nothing).schema.equals(table.schema)
    assert without(table, nothing).equals(table)
