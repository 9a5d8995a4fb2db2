"""The table of types between Arrow and ClickHouse (see ``clickhouse``), and how columns are sent and read.

Rows travel both ways as Arrow, whose types ClickHouse has too. What it has not is sent as something it has: nested
values as JSON, and timestamps without a zone as if they were in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.adapters.synchronizers.text import JsonReader, to_json
from cordillera.errors import TypeMismatchError
from cordillera.ports.synchronizer import TargetColumn

_TYPES = {
    pa.bool_(): "Bool",
    pa.int32(): "Int32",
    pa.int64(): "Int64",
    pa.float32(): "Float32",
    pa.float64(): "Float64",
    pa.date32(): "Date32",
    pa.time64("us"): "Time64(6)",
    pa.string(): "String",
    pa.binary(): "String",
    pa.uuid(): "UUID",
}
_DIGITS = {"us": 6, "ns": 9}
_SECONDS_A_DAY = 86_400
_EPOCH = date(1970, 1, 1).toordinal()


class Years(NamedTuple):
    """The first and the last year whose dates a server keeps."""

    first: int
    last: int


EVERY_YEAR, OLDER_YEARS = Years(1, 9999), Years(1900, 2299)
"""What ClickHouse keeps, and what its earlier releases did."""


def sql_type(kind: pa.DataType) -> str:
    """Return the ClickHouse type that keeps values of an Arrow type, as ClickHouse spells it."""
    if is_nested(kind):
        return "String"
    if pa.types.is_decimal(kind):
        return f"Decimal({kind.precision}, {kind.scale})"
    if pa.types.is_fixed_size_binary(kind) and not isinstance(kind, pa.UuidType):
        return f"FixedString({kind.byte_width})"
    if pa.types.is_timestamp(kind):
        return f"DateTime64({_DIGITS[kind.unit]}, 'UTC')"
    return _TYPES[kind]


def column_type(column: TargetColumn, key: Sequence[str]) -> str:
    """Return the whole type of a column: one that may be NULL says so, and key columns may not."""
    kept = sql_type(column.type)
    return f"Nullable({kept})" if column.nullable and column.name not in key else kept


# --- to ClickHouse --------------------------------------------------------------------------------------------------


def sent_schema(columns: Sequence[TargetColumn]) -> pa.Schema:
    """Return the schema in which rows with these columns are sent."""
    return pa.schema([pa.field(column.name, _sent_type(column.type)) for column in columns])


def _sent_type(kind: pa.DataType) -> pa.DataType:
    if is_nested(kind) or pa.types.is_string(kind):
        return pa.binary()
    if isinstance(kind, pa.UuidType):
        return kind.storage_type
    return pa.timestamp(kind.unit, "UTC") if pa.types.is_timestamp(kind) else kind


def encode(batch: pa.RecordBatch, schema: pa.Schema, years: Years) -> pa.RecordBatch:
    """Return a batch as it is sent.

    Args:
        batch: The rows.
        schema: What ``sent_schema`` says of their columns.
        years: Those whose dates the server keeps.

    Raises:
        TypeMismatchError: Naming the column of a value that ClickHouse cannot keep as it is.
    """
    pairs = zip(batch.columns, schema, strict=True)
    return pa.RecordBatch.from_arrays([_encoded(column, field, years) for column, field in pairs], schema=schema)


def _encoded(column: pa.Array, field: pa.Field, years: Years) -> pa.Array:
    kind = column.type
    if is_nested(kind):
        return to_json(column, field.name).cast(pa.binary())
    if isinstance(kind, pa.UuidType):
        return column.storage
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        _refuse_other_years(column, field.name, years)
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64()).cast(field.type)
    return column.cast(field.type)


def _refuse_other_years(column: pa.Array, name: str, years: Years) -> None:
    kind, first, last = column.type, date(years.first, 1, 1).toordinal(), date(years.last, 12, 31).toordinal()
    counts = column.cast(pa.int32() if pa.types.is_date(kind) else pa.int64())
    per_day = 1 if pa.types.is_date(kind) else _SECONDS_A_DAY * 10 ** _DIGITS[kind.unit]
    found = [end for end in pc.min_max(counts).as_py().values() if end is not None]
    if any(not first <= end // per_day + _EPOCH <= last for end in found):
        raise TypeMismatchError(
            f"Column {name!r} has a date outside the years {years.first} to {years.last}, which this ClickHouse "
            "cannot keep.",
            hint="Filter such rows out of the subscription, or leave the column out."
            + ("" if years == EVERY_YEAR else " Later releases of ClickHouse keep the years 1 to 9999."),
        )


# --- from ClickHouse ------------------------------------------------------------------------------------------------


def decode(batch: pa.RecordBatch, columns: Sequence[TargetColumn], json_reader: JsonReader) -> pa.RecordBatch:
    """Return rows as they were read, in the order of these columns, as a batch with them."""
    schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in columns])
    pairs = zip(batch.columns, columns, strict=True)
    return pa.RecordBatch.from_arrays([_decoded(found, wanted, json_reader) for found, wanted in pairs], schema=schema)


def _decoded(found: pa.Array, column: TargetColumn, json_reader: JsonReader) -> pa.Array:
    kind = column.type
    if is_nested(kind):
        return json_reader.from_json(found.cast(pa.string()), kind, column.name)
    if pa.types.is_timestamp(kind):
        return found.cast(pa.int64()).cast(kind)
    return found if found.type == kind else found.cast(kind)
