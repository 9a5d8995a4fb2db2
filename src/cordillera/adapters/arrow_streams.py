"""Streams of Arrow data for DuckDB, which calls for batches from threads of its own and tells little of failures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import copy_context

import pyarrow as pa


def read_by_duckdb(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], failures: list[BaseException]
) -> pa.RecordBatchReader:
    """Return a stream for DuckDB to read.

    Its batches are called for one after the other, by whichever thread, in the context of whoever calls this function.
    Nested columns are copied: DuckDB 1.5.5 misreads structs inside structs where an array is a slice of another.

    Args:
        schema: The schema of the batches.
        batches: What is streamed.
        failures: Gets what the batches raise, of which DuckDB only passes on the text.
    """
    nested = any(pa.types.is_nested(field.type) for field in schema)
    context = copy_context()

    def read() -> Iterator[pa.RecordBatch]:
        source = iter(batches)
        try:
            while (batch := context.run(next, source, None)) is not None:
                yield pa.ipc.read_record_batch(batch.serialize(), batch.schema) if nested else batch
        except BaseException as error:
            failures.append(error)
            raise

    return pa.RecordBatchReader.from_batches(schema, read())
