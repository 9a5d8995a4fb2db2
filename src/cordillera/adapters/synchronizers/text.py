"""Arrow columns as text and back, a whole column at a time: hexadecimal, dates and times, and nested values as JSON.

JSON of nested values (lists, structs, and maps as lists of ``{"key": …, "value": …}``), made so that every value comes
back exactly:

    ================================  =====================================================================
    boolean, integers                 JSON booleans and numbers
    floating point                    JSON numbers; ``"NaN"``, ``"Infinity"``, ``"-Infinity"``, ``"-0.0"`` as strings
    string                            string; one with a NUL character is refused, as JSON in databases cannot hold it
    decimal                           string, because readers of JSON numbers round them: ``"12.50"``
    uuid; binary, fixed               string in 8-4-4-4-12 form; string of hexadecimal digits
    date, time, timestamp, with zone  ISO 8601 string; years 1 to 9999, others are refused
    ================================  =====================================================================
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.errors import TypeMismatchError

_UUID_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_SHOWN_KEY = 100
_CONTROL = [chr(code) for code in range(0x20)]


# --- hexadecimal ----------------------------------------------------------------------------------------------------


def to_hex(column: pa.Array) -> pa.Array:
    """Return binary, fixed or uuid values as strings of hexadecimal digits."""
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    offsets, data = layout(storage.cast(pa.binary()))
    digits = pa.py_buffer(data.hex().encode())
    text = _from_layout(pa.string(), pc.multiply_checked(offsets, pa.scalar(2, pa.int32())), digits)
    return pc.if_else(column.is_valid(), text, pa.scalar(None, pa.string()))


def from_hex(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return strings of hexadecimal digits as values of a binary, fixed or uuid type."""
    storage = kind.storage_type if isinstance(kind, pa.UuidType) else kind
    fixed = pa.types.is_fixed_size_binary(storage)
    offsets, digits = layout(pc.fill_null(column, "00" * storage.byte_width) if fixed else column)
    data = pa.py_buffer(bytes.fromhex(digits.decode("ascii")))
    if fixed:
        values = pa.FixedSizeBinaryArray.from_buffers(storage, len(column), [None, data])
    else:
        values = _from_layout(storage, pc.divide(offsets, pa.scalar(2, pa.int32())), data)
    values = pc.if_else(column.is_valid(), values, pa.scalar(None, storage))
    return pa.ExtensionArray.from_storage(kind, values) if isinstance(kind, pa.UuidType) else values


def uuid_text(column: pa.Array) -> pa.Array:
    """Return uuids as text of 8-4-4-4-12 hexadecimal digits."""
    digits = to_hex(column)
    return pc.binary_join_element_wise(*(pc.utf8_slice_codeunits(digits, *at) for at in _UUID_GROUPS), "-")


def layout(column: pa.Array) -> tuple[pa.Array, bytes]:
    """Return the offsets, counted from 0, and the bytes of a binary or string array, which may be a slice."""
    if not len(column):
        return pa.array([0], pa.int32()), b""
    _, positions, data = column.buffers()
    offsets = pa.Array.from_buffers(pa.int32(), len(column) + 1, [None, positions], offset=column.offset)
    first, last = offsets[0].as_py(), offsets[-1].as_py()
    return pc.subtract(offsets, offsets[0]), data[first:last].to_pybytes() if data else b""


def _from_layout(kind: pa.DataType, offsets: pa.Array, data: pa.Buffer) -> pa.Array:
    return pa.Array.from_buffers(kind, len(offsets) - 1, [None, offsets.buffers()[1], data])


# --- text that databases cannot hold --------------------------------------------------------------------------------


def refuse_nul(column: pa.Array, name: str) -> None:
    """Refuse strings with a NUL character.

    Raises:
        TypeMismatchError: Naming the column.
    """
    if pc.any(pc.match_substring(column, "\x00")).as_py():
        raise TypeMismatchError(
            f"Column {name!r} has text with a NUL character, which this target cannot store.",
            hint="Remove the character at the source, or keep the column as binary.",
        )


def refuse_larger(lengths: pa.Array, most: int, batch: pa.RecordBatch, name: str, key: Sequence[str], at: str) -> None:
    """Refuse values of more bytes than a target takes.

    Args:
        lengths: How many bytes each value has.
        most: How many it may have.
        batch: The rows, one for each value.
        name: The column, for errors.
        key: The names of the key columns, for errors.
        at: What the target is called.

    Raises:
        TypeMismatchError: Naming the column, and the key of the row where there is one.
    """
    if (pc.max(lengths).as_py() or 0) > most:
        row = batch.slice(pc.index(pc.greater(lengths, most), True).as_py(), 1)
        found = ", ".join(f"{part}={row.column(part)[0]}" for part in key)
        raise too_large(name, most, found[:_SHOWN_KEY], at)


def too_large(name: str, most: int, key: str, at: str) -> TypeMismatchError:
    """Return the error for a value of more bytes than a target takes; see ``refuse_larger``."""
    return TypeMismatchError(
        f"Column {name!r} has a value of more than {most:,} bytes{f' in the row {key}' if key else ''}, which {at} "
        "cannot store.",
        hint="Shorten it at the source, or leave the column out of the subscription.",
    )


def to_microseconds(column: pa.Array, name: str) -> pa.Array:
    """Return timestamps in microseconds.

    Raises:
        TypeMismatchError: Naming the column, when a value has digits beyond them.
    """
    try:
        return column.cast(pa.timestamp("us", column.type.tz))
    except pa.ArrowInvalid:
        raise TypeMismatchError(
            f"Column {name!r} has timestamps finer than a microsecond, which this target cannot store.",
            hint="Round the column to microseconds.",
        ) from None


def time_of_day(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return times of day that were written as ``23:59:59.999999``."""
    instants = pc.binary_join_element_wise("1970-01-01T", text, "").cast(pa.timestamp("us"))
    return instants.cast(pa.int64()).cast(kind)


# --- nested values as JSON ------------------------------------------------------------------------------------------


def to_json(column: pa.Array, name: str) -> pa.Array:
    """Return nested values as JSON text.

    Args:
        column: A struct, list or map array.
        name: The column, for errors.

    Raises:
        TypeMismatchError: If a value has no JSON form.
    """
    return _json(column, name)


def _json(column: pa.Array, name: str) -> pa.Array:
    """Return the JSON text of any array; NULL where the array is NULL."""
    kind = column.type
    if pa.types.is_struct(kind):
        return _json_struct(column, [field.name for field in kind], name)
    if pa.types.is_map(kind):
        entry = pa.struct([pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)])
        return _json_list(column.cast(pa.list_(entry)), name)
    if pa.types.is_list(kind):
        return _json_list(column, name)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        return _json_float(column)
    if pa.types.is_string(kind):
        refuse_nul(column, name)
        return _quoted(_escaped(column))
    return _quoted(_plain_text(column, name))


def _json_struct(column: pa.Array, names: list[str], name: str) -> pa.Array:
    parts: list[Any] = []
    for index, (field_name, child) in enumerate(zip(names, column.flatten(), strict=True)):
        parts += [("," if index else "{") + json.dumps(field_name, ensure_ascii=False) + ":"]
        parts += [pc.fill_null(_json(child, f"{name}.{field_name}"), "null")]
    joined = pc.binary_join_element_wise(*parts, "}", "")
    return pc.if_else(column.is_valid(), joined, pa.scalar(None, pa.string()))


def _json_list(column: pa.Array, name: str) -> pa.Array:
    elements = pc.fill_null(_json(column.flatten(), name), "null")
    texts = pa.ListArray.from_arrays(_offsets(column), elements)
    joined = pc.binary_join_element_wise("[", pc.binary_join(texts, ","), "]", "")
    return pc.if_else(column.is_valid(), joined, pa.scalar(None, pa.string()))


def _offsets(column: pa.Array) -> pa.Array:
    """Return offsets into the flattened values of a list array, where a NULL list takes no values."""
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])


def _json_float(column: pa.Array) -> pa.Array:
    """Floats are written as the doubles they equal: a reader that parses doubles gets them back exactly."""
    doubles = column.cast(pa.float64())
    text = doubles.cast(pa.string())
    special = pc.case_when(
        pc.make_struct(pc.is_nan(doubles), pc.equal(text, "inf"), pc.equal(text, "-inf"), pc.equal(text, "-0")),
        '"NaN"',
        '"Infinity"',
        '"-Infinity"',
        '"-0.0"',
        text,
    )
    return pc.if_else(column.is_valid(), special, pa.scalar(None, pa.string()))


def _plain_text(column: pa.Array, name: str) -> pa.Array:
    """Return the text of uuid, binary, decimal, date and time values."""
    kind = column.type
    if isinstance(kind, pa.UuidType):
        return uuid_text(column)
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return to_hex(column)
    if pa.types.is_timestamp(kind):
        text = to_microseconds(column, name).cast(pa.string())
        refuse_odd_years(text, name)
        return pc.replace_substring(text, " ", "T", max_replacements=1)
    text = column.cast(pa.string())
    if pa.types.is_date(kind):
        refuse_odd_years(text, name)
    return text


def refuse_odd_years(text: pa.Array, name: str) -> None:
    """Refuse dates outside the years 1 to 9999, given as Arrow spells them.

    Raises:
        TypeMismatchError: Naming the column.
    """
    ordinary = pc.match_substring_regex(text, r"^[0-9]{4}-")
    if not pc.all(ordinary, min_count=0).as_py() or pc.any(pc.starts_with(text, "0000")).as_py():
        raise TypeMismatchError(
            f"Column {name!r} has a date outside the years 1 to 9999, which its form as text cannot carry.",
        )


def _quoted(text: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise('"', text, '"', "")


def _escaped(text: pa.Array) -> pa.Array:
    text = pc.replace_substring(pc.replace_substring(text, "\\", "\\\\"), '"', '\\"')
    if not pc.any(pc.match_substring_regex(text, r"[\x00-\x1f]")).as_py():
        return text
    for character in _CONTROL:
        text = pc.replace_substring(text, character, f"\\u{ord(character):04x}")
    return text


class JsonReader:
    """Reads JSON that ``to_json`` made, in a ``with`` block; the first reading opens a DuckDB in memory."""

    def __init__(self) -> None:
        self._opened: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> JsonReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    def from_json(self, column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
        """Return JSON text as values of a nested type.

        Raises:
            TypeMismatchError: If a text is not the JSON of that type.
        """
        if self._opened is None:
            self._opened = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        self._opened.register("texts", pa.table({"text": column}))
        try:
            found = self._opened.execute(
                "SELECT from_json_strict(text, ?) AS value FROM texts", [json.dumps(_structure(kind))]
            ).to_arrow_table()
        except duckdb.Error:
            raise TypeMismatchError(f"Column {name!r} of the target holds JSON that is not {kind}.") from None
        finally:
            self._opened.unregister("texts")
        return _rebuilt(_whole(found.column("value")), kind)


def _structure(kind: pa.DataType) -> Any:
    """Return the shape DuckDB is to read; what JSON has only as text stays text."""
    if pa.types.is_struct(kind):
        return {field.name: _structure(field.type) for field in kind}
    if pa.types.is_map(kind):
        return [{"key": _structure(kind.key_type), "value": _structure(kind.item_type)}]
    if pa.types.is_list(kind):
        return [_structure(kind.value_type)]
    if pa.types.is_boolean(kind):
        return "BOOLEAN"
    if pa.types.is_integer(kind):
        return "BIGINT"
    return "DOUBLE" if pa.types.is_floating(kind) else "VARCHAR"


def _rebuilt(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Turn what DuckDB read into the wanted type, level by level."""
    if not is_nested(kind):
        return _leaf(column, kind)
    empty = column.is_null()
    if pa.types.is_struct(kind):
        children = [_rebuilt(c, f.type) for c, f in zip(column.flatten(), kind, strict=True)]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=empty)
    values = column.flatten()
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(_offsets(column), _rebuilt(values, kind.value_type), type=kind, mask=empty)
    keys, items = values.flatten()
    keys, items = _rebuilt(keys, kind.key_type), _rebuilt(items, kind.item_type)
    return pa.MapArray.from_arrays(_offsets(column), keys, items, type=kind, mask=empty)


def _leaf(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(kind, pa.UuidType):
        return from_hex(pc.replace_substring(column, "-", ""), kind)
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return from_hex(column, kind)
    if pa.types.is_time(kind):
        return time_of_day(column, kind)
    if pa.types.is_floating(kind):
        return column.cast(kind, safe=False)
    return column.cast(kind)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
