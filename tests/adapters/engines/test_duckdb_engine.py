"""Queries over Arrow data: conditions DuckDB cannot hand down to its scan, and streams, which it reads itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pyarrow as pa
import pytest

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.errors import InvalidSqlError

ROWS = pa.table({"x": [1, 2, None], "y": ["a", "b", "c"], "f": [0.5, None, float("nan")]})


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("x IS NOT DISTINCT FROM 1 OR x = 2", ["a", "b"]),
        ("x IS DISTINCT FROM 1 OR x IS DISTINCT FROM 2", ["a", "b", "c"]),
        ("f IS NOT DISTINCT FROM NULL OR f > 1", ["b", "c"]),
        ("y IS NOT DISTINCT FROM NULL OR y IS NOT DISTINCT FROM 'c'", ["c"]),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_conditions_that_arrow_cannot_do(condition: str, expected: list[str], streamed: bool) -> None:
    engine = DuckDBEngine()
    relation = ROWS.to_reader(max_chunksize=1) if streamed else ROWS
    found = engine.query(f"SELECT y FROM rows WHERE {condition} ORDER BY y", {"rows": relation}).read_all()
    assert found.column("y").to_pylist() == expected
    engine.close()


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.list_(pa.float64())])
def test_the_sign_of_zero_stays_where_one_row_of_a_group_does(kind: pa.DataType) -> None:
    value = [-0.0] if pa.types.is_list(kind) else -0.0
    rows = pa.table({"key": ["a", "a"], "number": [1, 2], "value": pa.array([value, value], kind)})
    engine = DuckDBEngine()
    query = "SELECT value FROM rows QUALIFY row_number() OVER (PARTITION BY key ORDER BY number DESC) = 1"
    assert repr(engine.table(query, {"rows": rows}).column("value").to_pylist()) == repr([value])
    engine.close()


def test_what_the_engine_does_not_have_is_said_once() -> None:
    engine = DuckDBEngine()
    with pytest.raises(InvalidSqlError, match="no_such_function"):
        engine.table("SELECT no_such_function(x) FROM rows", {"rows": ROWS})
    engine.close()


def test_a_stream_is_read_as_far_as_is_needed_and_closed() -> None:
    engine, read, closed = DuckDBEngine(threads=1), list[int](), list[bool]()

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for number in range(1000):
                read.append(number)
                yield pa.record_batch({"x": list(range(5000))})
        finally:
            closed.append(True)

    stream = pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), batches())
    found = engine.query("SELECT x FROM rows LIMIT 3", {"rows": stream}).read_all()
    del stream
    gc.collect()
    assert found.num_rows == 3
    assert (len(read) < 10, closed) == (True, [True])
    engine.close()
