"""The table of types between Arrow and Snowflake (see ``snowflake``), and how columns are staged and read.

A column travels in a Parquet file as a text, a number or a boolean, which every reader takes for the same. It lands in
a column of ``staged_type``, and is turned into ``sql_type`` by ``loaded`` when its row is put into the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cordillera.adapters.synchronizers.columns import is_bytes, is_nested
from cordillera.adapters.synchronizers.text import (
    JsonReader,
    from_hex,
    refuse_larger,
    refuse_nul,
    refuse_odd_years,
    to_hex,
    to_json,
    to_microseconds,
    uuid_text,
)
from cordillera.ports.synchronizer import TargetColumn

MOST_TEXT_BYTES = 16 * 1024 * 1024
MOST_BINARY_BYTES = 8 * 1024 * 1024
"""The largest values that every account takes; newer ones take larger where a column says so."""

EPOCH_DAY = "'1970-01-01'::DATE"
MIDNIGHT = "'00:00:00'::TIME(6)"

_HERE = "Snowflake"
_NUMBER = "NUMBER(38,0)"
_LOCAL, _INSTANT = "TIMESTAMP_NTZ(6)", "TIMESTAMP_TZ(6)"
_SQL_TYPES = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): _NUMBER,
    pa.int64(): _NUMBER,
    pa.float32(): "FLOAT",
    pa.float64(): "FLOAT",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME(6)",
    pa.string(): "VARCHAR",
    pa.uuid(): "VARCHAR(36)",
}


def sql_type(kind: pa.DataType) -> str:
    """Return the Snowflake type that keeps values of an Arrow type."""
    if is_nested(kind):
        return "VARIANT"
    if pa.types.is_decimal(kind):
        return f"NUMBER({kind.precision},{kind.scale})"
    if is_bytes(kind):
        return "BINARY"
    if pa.types.is_timestamp(kind):
        return _INSTANT if kind.tz else _LOCAL
    return _SQL_TYPES[kind]


def catalog_type(kind: pa.DataType) -> str:
    """Return the type as ``described_type`` tells it of a column that has it."""
    told = sql_type(kind)
    return told if told.startswith("NUMBER") else told.partition("(")[0].replace("VARCHAR", "TEXT")


def described_type(name: str, precision: int | None, scale: int | None) -> str:
    """Return the type of a column by what the information schema says of it."""
    return f"NUMBER({precision},{scale})" if name == "NUMBER" else name


# --- to Snowflake ---------------------------------------------------------------------------------------------------


def staged_type(kind: pa.DataType) -> str:
    """Return the type of the column of a staging table that COPY loads."""
    if pa.types.is_integer(kind) or pa.types.is_date(kind):
        return _NUMBER
    return sql_type(kind) if pa.types.is_boolean(kind) or pa.types.is_decimal(kind) else "VARCHAR"


def loaded(kind: pa.DataType) -> str:
    """Return the SQL, around ``{}`` for a column of a staging table, of the value as the table keeps it."""
    if is_nested(kind):
        return "PARSE_JSON({})"
    if pa.types.is_floating(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind):
        return f"{{}}::{sql_type(kind)}"
    if pa.types.is_date(kind):
        return f"DATEADD(DAY, {{}}, {EPOCH_DAY})"
    return "TO_BINARY({}, 'HEX')" if is_bytes(kind) else "{}"


def file_schema(columns: Sequence[TargetColumn]) -> pa.Schema:
    """Return the schema of the Parquet files in which rows with these columns travel, named by their place."""
    return pa.schema([pa.field(f"c{place}", _file_type(column.type)) for place, column in enumerate(columns)])


def _file_type(kind: pa.DataType) -> pa.DataType:
    told = staged_type(kind)
    return {_NUMBER: pa.int64(), "VARCHAR": pa.string()}.get(told, kind) if not pa.types.is_decimal(kind) else kind


def encode(batch: pa.RecordBatch, key: Sequence[str], schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch as it is written into a Parquet file of a schema that ``file_schema`` made.

    Raises:
        TypeMismatchError: Naming the column, and the key of the row where there is one, of a value that Snowflake
            cannot store as it is.
    """
    encoded = []
    for column, name in zip(batch.columns, batch.schema.names, strict=True):
        if is_bytes(column.type):
            stored = column.cast(pa.binary())
            refuse_larger(pc.binary_length(stored), MOST_BINARY_BYTES, batch, name, key, _HERE)
        made = _encoded(column, name)
        if pa.types.is_string(made.type) and not is_bytes(column.type):
            refuse_larger(pc.binary_length(made), MOST_TEXT_BYTES, batch, name, key, _HERE)
        encoded.append(made)
    return pa.RecordBatch.from_arrays(encoded, schema=schema)


def _encoded(column: pa.Array, name: str) -> pa.Array:
    kind = column.type
    if is_nested(kind):
        return to_json(column, name)
    if pa.types.is_string(kind):
        refuse_nul(column, name)
    elif isinstance(kind, pa.UuidType):
        return uuid_text(column)
    elif is_bytes(kind):
        return to_hex(column)
    elif pa.types.is_floating(kind):
        # As the double that it is kept as: fewer digits could be those of another one.
        return column.cast(pa.float64()).cast(pa.string())
    elif pa.types.is_time(kind):
        return column.cast(pa.string())
    elif pa.types.is_integer(kind):
        return column.cast(pa.int64())
    elif pa.types.is_timestamp(kind):
        text = to_microseconds(column, name).cast(pa.int64()).cast(pa.timestamp("us")).cast(pa.string())
        refuse_odd_years(text, name)
        text = pc.replace_substring(text, " ", "T")  # as ISO 8601 has it
        return pc.binary_join_element_wise(text, "+00:00", "") if kind.tz else text
    elif pa.types.is_date(kind):
        refuse_odd_years(column.cast(pa.string()), name)
        return column.cast(pa.int32()).cast(pa.int64())
    return column


# --- from Snowflake -------------------------------------------------------------------------------------------------


def selected(kind: pa.DataType) -> str:
    """Return the SQL, around ``{}`` for the column, that yields values in the form ``decode`` understands."""
    if is_nested(kind):
        return "TO_JSON({})"
    if pa.types.is_date(kind):
        return f"DATEDIFF(DAY, {EPOCH_DAY}, {{}})"
    if pa.types.is_time(kind):
        return f"DATEDIFF(MICROSECOND, {MIDNIGHT}, {{}})"
    if pa.types.is_timestamp(kind):
        return "DATE_PART(EPOCH_MICROSECOND, {})"
    return "{}"


def decode(batch: pa.RecordBatch, columns: Sequence[TargetColumn], json_reader: JsonReader) -> pa.RecordBatch:
    """Return rows that were selected by ``selected`` as a batch with these columns."""
    schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in columns])
    values = [_decoded(found, column, json_reader) for found, column in zip(batch.columns, columns, strict=True)]
    return pa.RecordBatch.from_arrays(values, schema=schema)


def _decoded(values: pa.Array, column: TargetColumn, json_reader: JsonReader) -> pa.Array:
    kind = column.type
    if is_nested(kind):
        return json_reader.from_json(values.cast(pa.string()), kind, column.name)
    if isinstance(kind, pa.UuidType):
        return from_hex(pc.replace_substring(values.cast(pa.string()), "-", ""), kind)
    if pa.types.is_date(kind):
        return values.cast(pa.int32()).cast(kind)
    if pa.types.is_time(kind):
        return values.cast(pa.int64()).cast(kind)
    if pa.types.is_timestamp(kind):
        return values.cast(pa.int64()).cast(pa.timestamp("us", kind.tz)).cast(kind)
    return values.cast(kind, safe=not pa.types.is_floating(kind))
