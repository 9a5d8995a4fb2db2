"""Rows from PostgreSQL's COPY in CSV, whole columns at a time, and the table of types (see ``postgres``)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.csv

from cordillera.adapters.synchronizers.columns import is_bytes, is_nested
from cordillera.adapters.synchronizers.text import JsonReader, from_hex
from cordillera.ports.synchronizer import TargetColumn

CHUNK_BYTES = 4 * 1024 * 1024
_SQL_TYPES = {
    pa.bool_(): "boolean",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.date32(): "date",
    pa.time64("us"): "time without time zone",
    pa.string(): "text",
    pa.uuid(): "uuid",
    pa.binary(): "bytea",
}


def sql_type(kind: pa.DataType) -> str:
    """Return the PostgreSQL type that keeps values of an Arrow type, as ``format_type`` spells it."""
    if is_nested(kind):
        return "jsonb"
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    if pa.types.is_fixed_size_binary(kind):
        return "bytea"
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp without time zone"
    return _SQL_TYPES[kind]


def select_expression(kind: pa.DataType) -> str:
    """Return the SQL, around ``{}`` for the column, that yields values in the form ``read_batches`` understands.

    Dates and times travel as counts of days or microseconds since 1970, exact over PostgreSQL's whole range.
    """
    if is_nested(kind):
        return "({})::text"
    if pa.types.is_date(kind):
        return "({} - DATE '1970-01-01')"
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return "(EXTRACT(epoch FROM {}) * 1000000)::bigint"
    if isinstance(kind, pa.UuidType):
        return "replace({}::text, '-', '')"
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "encode({}, 'hex')"
    return "{}"


def read_batches(copied: Iterable[memoryview], columns: Sequence[TargetColumn]) -> Iterator[pa.RecordBatch]:
    """Turn COPY output (CSV, a row a message) into record batches of about ``CHUNK_BYTES`` of text each."""
    schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in columns])
    with JsonReader() as json_reader:
        for chunk in _chunks(copied):
            for batch in _parse(chunk, columns):
                decoded = [
                    _decoded(values, column, json_reader) for values, column in zip(batch.columns, columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(decoded, schema=schema)


def _chunks(copied: Iterable[memoryview]) -> Iterator[bytes]:
    """Gather the messages, which always hold whole rows, into chunks; a row larger than a chunk is one by itself."""
    pending: list[memoryview] = []
    size = 0
    for message in copied:
        pending.append(message)
        size += len(message)
        if size >= CHUNK_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


def _parse(chunk: bytes, columns: Sequence[TargetColumn]) -> list[pa.RecordBatch]:
    names = [str(position) for position in range(len(columns))]
    found = pyarrow.csv.read_csv(
        io.BytesIO(chunk),
        pyarrow.csv.ReadOptions(column_names=names, block_size=len(chunk) + 1, use_threads=False),
        pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        pyarrow.csv.ConvertOptions(
            column_types={name: _wire_type(column.type) for name, column in zip(names, columns, strict=True)},
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    batches: list[pa.RecordBatch] = found.to_batches()
    return batches


def _wire_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_date(kind):
        return pa.int32()
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return pa.int64()
    if isinstance(kind, pa.UuidType) or is_nested(kind) or is_bytes(kind):
        return pa.string()
    return kind


def _decoded(values: pa.Array, column: TargetColumn, json_reader: JsonReader) -> pa.Array:
    kind = column.type
    if is_nested(kind):
        return json_reader.from_json(values, kind, column.name)
    if isinstance(kind, pa.UuidType) or is_bytes(kind):
        return from_hex(values, kind)
    if pa.types.is_timestamp(kind):
        return values.cast(pa.timestamp("us", kind.tz)).cast(kind)
    return values if values.type == kind else values.cast(kind)
