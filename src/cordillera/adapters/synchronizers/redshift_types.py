"""The table of types between Arrow and Amazon Redshift (see ``redshift``), and how columns are staged and read.

A column travels in a Parquet file in a type that COPY certainly loads, lands in a column of ``staged_type``, and is
turned into ``sql_type`` by ``loaded`` when its row is put into the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cordillera.adapters.synchronizers.columns import is_bytes, is_nested, nested_fields
from cordillera.adapters.synchronizers.text import (
    JsonReader,
    from_hex,
    refuse_larger,
    refuse_nul,
    refuse_odd_years,
    to_json,
    to_microseconds,
    too_large,
    uuid_text,
)
from cordillera.ports.synchronizer import TargetColumn

MOST_TEXT_BYTES = 65_535
MOST_ROW_BYTES = 4 * 1024 * 1024
"""The largest row that COPY takes, and so the largest binary or nested value."""

_HERE = "Amazon Redshift"
_UTC_MICROS = pa.timestamp("us", "UTC")
_SQL_TYPES = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "REAL",
    pa.float64(): "DOUBLE PRECISION",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.string(): f"VARCHAR({MOST_TEXT_BYTES})",
    pa.uuid(): "VARCHAR(36)",
}
_BINARY = f"VARBYTE({MOST_ROW_BYTES})"
_CATALOG_NAMES = {
    "bool": "BOOLEAN",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "float4": "REAL",
    "float8": "DOUBLE PRECISION",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "super": "SUPER",
    "varbyte": _BINARY,
}


def sql_type(kind: pa.DataType) -> str:
    """Return the Redshift type that keeps values of an Arrow type."""
    if is_nested(kind):
        return "SUPER"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if is_bytes(kind):
        return _BINARY
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ" if kind.tz else "TIMESTAMP"
    return _SQL_TYPES[kind]


def catalog_type(name: str, modifier: int) -> str:
    """Return a type of the system catalog (``typname`` and ``atttypmod``) as ``sql_type`` spells it."""
    if name == "varchar":
        return f"VARCHAR({modifier - 4})"
    if name == "numeric":
        return f"DECIMAL({(modifier - 4) >> 16},{(modifier - 4) & 0xFFFF})"
    return _CATALOG_NAMES.get(name, name)


def has_text(kind: pa.DataType) -> bool:
    """Tell whether a type is kept as text, whose comparison Redshift makes blind to blanks at the end."""
    return bool(pa.types.is_string(kind))


# --- to Redshift ----------------------------------------------------------------------------------------------------


def staged_type(kind: pa.DataType) -> str:
    """Return the type of the column of a staging table that COPY loads."""
    if is_nested(kind):
        return _BINARY
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP"
    return "VARCHAR(15)" if pa.types.is_time(kind) else sql_type(kind)


def loaded(kind: pa.DataType) -> str:
    """Return the SQL, around ``{}`` for a column of a staging table, of the value as the table keeps it."""
    if is_nested(kind):
        return "JSON_PARSE({})"
    if pa.types.is_time(kind):
        return "{}::TIME"
    return "{} AT TIME ZONE 'UTC'" if pa.types.is_timestamp(kind) and kind.tz else "{}"


def file_schema(columns: Sequence[TargetColumn]) -> pa.Schema:
    """Return the schema of the Parquet files in which rows with these columns travel."""
    return pa.schema([pa.field(column.name, _file_type(column.type)) for column in columns])


def _file_type(kind: pa.DataType) -> pa.DataType:
    if is_nested(kind) or is_bytes(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind):
        return _UTC_MICROS  # the one form of a timestamp in Parquet that old and new readers take for one
    return pa.string() if pa.types.is_time(kind) or isinstance(kind, pa.UuidType) else kind


def encode(batch: pa.RecordBatch, key: Sequence[str]) -> pa.RecordBatch:
    """Return a batch as it is written into a Parquet file for COPY.

    Raises:
        TypeMismatchError: Naming the column, and the key of the row where there is one, of a value that Redshift
            cannot store as it is.
    """
    names = batch.schema.names
    for column, name in zip(batch.columns, names, strict=True):
        _refuse_long(column, name, batch, key)
    encoded = [_encoded(column, name) for column, name in zip(batch.columns, names, strict=True)]
    for column, name in zip(encoded, names, strict=True):
        if pa.types.is_binary(column.type):
            refuse_larger(pc.binary_length(column), MOST_ROW_BYTES, batch, name, key, _HERE)
    return pa.RecordBatch.from_arrays(encoded, names)


def _encoded(column: pa.Array, name: str) -> pa.Array:
    kind = column.type
    if is_nested(kind):
        return to_json(column, name).cast(pa.binary())
    if pa.types.is_string(kind):
        refuse_nul(column, name)
    elif isinstance(kind, pa.UuidType):
        return uuid_text(column)
    elif is_bytes(kind):
        return column.cast(pa.binary())
    elif pa.types.is_time(kind):
        return column.cast(pa.string())
    elif pa.types.is_timestamp(kind):
        micros = to_microseconds(column, name)
        refuse_odd_years(micros.cast(pa.string()), name)
        return micros.cast(pa.timestamp("us")).cast(pa.int64()).cast(_UTC_MICROS)
    elif pa.types.is_date(kind):
        refuse_odd_years(column.cast(pa.string()), name)
    return column


def _refuse_long(column: pa.Array, name: str, batch: pa.RecordBatch, key: Sequence[str]) -> None:
    """Refuse texts, also those inside nested values, that VARCHAR would have to cut."""
    kind = column.type
    if pa.types.is_string(kind):
        if len(column) == batch.num_rows:
            refuse_larger(pc.binary_length(column), MOST_TEXT_BYTES, batch, name, key, _HERE)
        elif (pc.max(pc.binary_length(column)).as_py() or 0) > MOST_TEXT_BYTES:
            raise too_large(name, MOST_TEXT_BYTES, "", _HERE)
    elif is_nested(kind):
        if pa.types.is_map(kind):
            column = column.cast(pa.list_(pa.struct(nested_fields(kind))))
        if pa.types.is_struct(column.type):
            for child, field in zip(column.flatten(), column.type, strict=True):
                _refuse_long(child, f"{name}.{field.name}", batch, key)
        else:
            _refuse_long(column.flatten(), name, batch, key)


# --- from Redshift --------------------------------------------------------------------------------------------------


def selected(kind: pa.DataType) -> str:
    """Return the SQL, around ``{}`` for the column, that yields values in the form ``decode`` understands."""
    if is_nested(kind):
        return "CASE WHEN {0} IS NOT NULL THEN JSON_SERIALIZE_TO_VARBYTE({0}) END"
    if pa.types.is_date(kind):
        return "DATEDIFF(day, DATE '1970-01-01', {})"
    if pa.types.is_time(kind):
        return microseconds("DATE '1970-01-01' + {}", "1970-01-01")
    if pa.types.is_timestamp(kind):
        return microseconds("{} AT TIME ZONE 'UTC'" if kind.tz else "{}", "1970-01-01")
    return "{}"


def microseconds(timestamp: str, day: str) -> str:
    """Return the SQL of the microseconds from the beginning of a day to a timestamp."""
    return f"DATEDIFF(microsecond, TIMESTAMP '{day} 00:00:00', {timestamp})"


def decode(rows: Sequence[Sequence[Any]], columns: Sequence[TargetColumn], json_reader: JsonReader) -> pa.RecordBatch:
    """Return rows that were selected by ``selected`` as a batch with these columns."""
    schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in columns])
    values = [
        _decoded(found, column, json_reader) for found, column in zip(zip(*rows, strict=True), columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(values, schema=schema)


def _decoded(values: Sequence[Any], column: TargetColumn, json_reader: JsonReader) -> pa.Array:
    kind = column.type
    if is_nested(kind):
        return json_reader.from_json(
            from_hex(pa.array(values, pa.string()), pa.binary()).cast(pa.string()), kind, column.name
        )
    if isinstance(kind, pa.UuidType):
        return from_hex(pc.replace_substring(pa.array(values, pa.string()), "-", ""), kind)
    if is_bytes(kind):
        return from_hex(pa.array(values, pa.string()), kind)  # as the driver gives VARBYTE
    if pa.types.is_date(kind):
        return pa.array(values, pa.int32()).cast(kind)
    if pa.types.is_time(kind):
        return pa.array(values, pa.int64()).cast(kind)
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(pa.timestamp("us", kind.tz)).cast(kind)
    return pa.array(values, kind)
