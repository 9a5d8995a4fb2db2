"""The table of types between Arrow and MariaDB (see ``mariadb``), and how columns are sent and read.

Rows are sent as the literals of INSERT statements, made whole columns at a time, and are read as the texts that the
server gives of values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cordillera.adapters.synchronizers.columns import is_bytes, is_nested
from cordillera.adapters.synchronizers.text import (
    JsonReader,
    from_hex,
    layout,
    refuse_odd_years,
    time_of_day,
    to_hex,
    to_json,
    to_microseconds,
)
from cordillera.errors import TypeMismatchError
from cordillera.ports.synchronizer import TargetColumn

MOST_KEY_BYTES = 3072
MOST_STATEMENT_BYTES = 4 * 1024 * 1024
COLLATION = "utf8mb4_nopad_bin"
"""By which texts are equal if all of their bytes are, blanks at the end included."""

_TYPES = {
    pa.bool_(): "tinyint(1)",
    pa.int32(): "int(11)",
    pa.int64(): "bigint(20)",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
    pa.time64("us"): "time(6)",
    pa.string(): "longtext",
    pa.uuid(): "uuid",
    pa.binary(): "longblob",
}
_MOST_BINARY = 255  # bytes of the type that keeps all values alike long
_BYTES_A_CHARACTER, _MOST_KEY_CHARACTERS = 4, MOST_KEY_BYTES // 4
_FIXED_KEY_BYTES = 20  # more than any key column takes that is neither text nor binary


def sql_type(kind: pa.DataType) -> str:
    """Return the MariaDB type that keeps values of an Arrow type, as ``information_schema`` spells it."""
    if is_nested(kind):
        return "longtext"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "datetime(6)"
    if is_bytes(kind):
        fixed = pa.types.is_fixed_size_binary(kind) and kind.byte_width <= _MOST_BINARY
        return f"binary({kind.byte_width})" if fixed else "longblob"
    return _TYPES[kind]


def column_types(columns: Sequence[TargetColumn], key: Sequence[str]) -> dict[str, str]:
    """Return the types by the names of all columns of a table.

    Texts and binary values have no limit but in a key, which takes 3,072 bytes: what other key columns leave of them is
    divided among those.
    """
    types = {column.name: sql_type(column.type) for column in columns}
    unlimited = [name for name in key if types[name] in ("longtext", "longblob")]
    if unlimited:
        share = (MOST_KEY_BYTES - _FIXED_KEY_BYTES * (len(key) - len(unlimited))) // len(unlimited)
        for name in unlimited:
            text = types[name] == "longtext"
            types[name] = f"varchar({share // _BYTES_A_CHARACTER})" if text else f"varbinary({share})"
    return types


def is_text(sql: str) -> bool:
    """Tell whether a MariaDB type is one of texts, which are compared by a collation."""
    return sql == "longtext" or sql.startswith("varchar")


# --- to MariaDB -----------------------------------------------------------------------------------------------------


def insertions(batch: pa.RecordBatch, into: str, most_bytes: int) -> Iterator[bytes]:
    """Yield INSERT statements that put the rows of a batch into a table.

    Args:
        batch: The rows.
        into: The table and its columns, as an INSERT names them.
        most_bytes: How large a statement may be.

    Raises:
        TypeMismatchError: Naming the column of a value that MariaDB cannot keep as it is, or takes in no statement.
    """
    names = batch.schema.names
    values = [_literal(column, name) for column, name in zip(batch.columns, names, strict=True)]
    between = [part for value in values for part in (",", value)][1:]
    offsets, data = layout(pc.binary_join_element_wise(",(", *between, ")", ""))
    head, ends, view = f"INSERT INTO {into} VALUES ".encode(), offsets.to_numpy(), memoryview(data)
    room, start = min(most_bytes, MOST_STATEMENT_BYTES) - len(head), 0
    while start < batch.num_rows:
        stop = max(int(np.searchsorted(ends, ends[start] + room, side="right")) - 1, start + 1)
        if ends[stop] - ends[start] > most_bytes - len(head):
            sizes = {name: len(value[start].as_py()) for name, value in zip(names, values, strict=True)}
            raise _too_large(sizes, most_bytes)
        yield b"".join((head, view[ends[start] + 1 : ends[stop]]))
        start = stop


def _too_large(sizes: Mapping[str, int], most_bytes: int) -> TypeMismatchError:
    name = max(sizes, key=lambda each: sizes[each])
    return TypeMismatchError(
        f"Column {name!r} has a value for which the server takes no statement: with the rest of its row it would have "
        f"more than {most_bytes:,} bytes.",
        hint="Raise max_allowed_packet on the server, or leave the column out of the subscription.",
    )


def _literal(column: pa.Array, name: str) -> pa.Array:
    """Return values as literals. What is no whole number is in quotes: bare decimals may become doubles on the way."""
    kind = column.type
    if pa.types.is_boolean(kind):
        text = column.cast(pa.int8()).cast(pa.string())
    elif pa.types.is_integer(kind):
        text = column.cast(pa.string())
    elif is_bytes(kind):
        text = pc.binary_join_element_wise("x'", to_hex(column), "'", "")
    else:
        text = pc.binary_join_element_wise("'", _quotable(column, name), "'", "")
    return pc.fill_null(text, "NULL")


def _quotable(column: pa.Array, name: str) -> pa.Array:
    """Return values as texts that stand between quotes."""
    kind = column.type
    if is_nested(kind):
        return _escaped(to_json(column, name))
    if pa.types.is_string(kind):
        return _escaped(column)
    if pa.types.is_floating(kind):
        # As the double that it is: to round what was rounded to fewer digits could make another float of it.
        doubles = column.cast(pa.float64())
        if not pc.all(pc.is_finite(doubles), min_count=0).as_py():
            raise TypeMismatchError(
                f"Column {name!r} has NaN or an infinity, which MariaDB cannot keep.",
                hint="Filter such rows out of the subscription, or leave the column out.",
            )
        return doubles.cast(pa.string())
    if pa.types.is_timestamp(kind):
        column = to_microseconds(column, name).cast(pa.int64()).cast(pa.timestamp("us"))
    text = to_hex(column) if isinstance(kind, pa.UuidType) else column.cast(pa.string())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        refuse_odd_years(text, name)
    return text


def _escaped(text: pa.Array) -> pa.Array:
    return pc.replace_substring(pc.replace_substring(text, "\\", "\\\\"), "'", "\\'")


# --- from MariaDB ---------------------------------------------------------------------------------------------------


def selected(value: str, kind: pa.DataType) -> str:
    """Return the SQL of a value in the form that ``decode`` understands: bare floats come with six digits."""
    return f"CAST({value} AS DOUBLE)" if kind == pa.float32() else value


def decode(rows: Sequence[Sequence[Any]], columns: Sequence[TargetColumn], json_reader: JsonReader) -> pa.RecordBatch:
    """Return rows that were selected by ``selected`` as a batch with these columns."""
    schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in columns])
    values = [
        _decoded(found, column, json_reader) for found, column in zip(zip(*rows, strict=True), columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(values, schema=schema)


def _decoded(values: Sequence[Any], column: TargetColumn, json_reader: JsonReader) -> pa.Array:
    kind = column.type
    if is_bytes(kind):
        return pa.array(values, kind)
    text = pa.array(values, pa.string())
    if is_nested(kind):
        return json_reader.from_json(text, kind, column.name)
    if isinstance(kind, pa.UuidType):
        return from_hex(pc.replace_substring(text, "-", ""), kind)
    if pa.types.is_boolean(kind):
        return text.cast(pa.int8()).cast(kind)
    if pa.types.is_time(kind):
        return time_of_day(text, kind)
    if pa.types.is_timestamp(kind):
        return text.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.timestamp("us", kind.tz)).cast(kind)
    return text.cast(kind)
