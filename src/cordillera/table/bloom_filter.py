"""Bloom filters of Parquet files (Parquet's "Split block Bloom filter", hash XXH64): which row groups surely lack a
value, where extremes tell nothing because values lie scattered, as identifiers made at random do.

They are written for columns that table properties ask for, under Iceberg's names for these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    DateType,
    FixedType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    UUIDType,
)

from cordillera.errors import InvalidSchemaError
from cordillera.table import thrift

ENABLED = "write.parquet.bloom-filter-enabled.column."
FALSE_POSITIVES = "write.parquet.bloom-filter-fpp.column."
FILTER_PROPERTIES = (ENABLED, FALSE_POSITIVES)
"""What table properties about Bloom filters begin with."""
_DEFAULT_FALSE_POSITIVES = 0.01
_NUM_BYTES = 1  # of BloomFilterHeader
_PHYSICAL: dict[type[IcebergType], str] = {
    IntegerType: "INT32",
    DateType: "INT32",
    LongType: "INT64",
    StringType: "BYTE_ARRAY",
    BinaryType: "BYTE_ARRAY",
    FixedType: "FIXED_LEN_BYTE_ARRAY",
    UUIDType: "FIXED_LEN_BYTE_ARRAY",
}
"""Types whose values have one form in files, whoever wrote them."""
Hashes = npt.NDArray[np.uint64]


def filter_options(properties: Mapping[str, str], schema: pa.Schema, rows: int) -> dict[str, dict[str, float]]:
    """Return pyarrow's options for the filters that table properties ask for.

    Args:
        properties: Of the table. Columns that do not exist (any more) are passed over.
        schema: Of the files.
        rows: About how many rows a row group has.

    Raises:
        ValueError: If a false positive probability is no number between 0 and 1.
    """
    options = {}
    for name, value in properties.items():
        column = name.removeprefix(ENABLED)
        if not name.startswith(ENABLED) or value.lower() != "true" or column not in schema.names:
            continue
        if not pa.types.is_boolean(schema.field(column).type):  # Parquet has none for these
            share = float(properties.get(FALSE_POSITIVES + column, _DEFAULT_FALSE_POSITIVES))
            if not 0 < share < 1:
                raise ValueError(f"{FALSE_POSITIVES}{column} is {share}, which is not between 0 and 1")
            options[column] = {"ndv": max(rows, 1), "fpp": share}
    return options


def check_filter_properties(properties: Mapping[str, str], schema: pa.Schema) -> None:
    """Make sure that what properties say about Bloom filters makes sense for a new table.

    Raises:
        InvalidSchemaError: If a column does not exist or can have no filter, or a probability is none.
    """
    for prefix in FILTER_PROPERTIES:
        for column in (name.removeprefix(prefix) for name in properties if name.startswith(prefix)):
            if column not in schema.names:
                raise InvalidSchemaError(
                    f"The property {prefix}{column} is about a column that does not exist.",
                    hint=f"Columns: {', '.join(schema.names)}.",
                )
    try:
        filter_options(properties, schema, 1)
    except ValueError as error:
        raise InvalidSchemaError(f"{error}.", hint="A usual probability is 0.01.") from error


def can_be_filtered(kind: IcebergType) -> bool:
    """Tell whether values of a type are looked up in Bloom filters."""
    return type(kind) in _PHYSICAL


def filtered_columns(properties: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns that table properties ask filters for, by name."""
    asked = (name.removeprefix(ENABLED) for name, value in properties.items() if value.lower() == "true")
    return tuple(sorted(column for column in asked if ENABLED + column in properties))


def filter_properties(columns: Iterable[str], schema: Schema, false_positives: float) -> dict[str, str]:
    """Return the table properties that ask for filters of columns.

    Args:
        columns: Top-level columns.
        schema: The table's.
        false_positives: How often a filter may say "perhaps" wrongly, between 0 and 1.

    Raises:
        InvalidSchemaError: If a column does not exist or filters of its type are of no use, or the share is none.
    """
    if not 0 < false_positives < 1:
        raise InvalidSchemaError(
            f"A share of false positives of {false_positives} cannot be.", hint="A usual share is 0.01."
        )
    kinds = {field.name: field.field_type for field in schema.fields}
    for column in columns:
        if column not in kinds:
            raise InvalidSchemaError(
                f"There is no column {column!r} to have Bloom filters.", hint=f"Columns: {', '.join(kinds)}."
            )
        if not can_be_filtered(kinds[column]):
            raise InvalidSchemaError(
                f"The column {column!r} is a {kinds[column]}, whose values are not looked up in Bloom filters.",
                hint="Choose whole numbers, dates, strings, binary values or UUIDs.",
            )
    return {
        **{ENABLED + column: "true" for column in columns},
        **{FALSE_POSITIVES + column: str(false_positives) for column in columns},
    }


def properties_of_filters(properties: Mapping[str, str]) -> dict[str, str]:
    """Return those table properties that are about Bloom filters of columns."""
    return {name: value for name, value in properties.items() if name.startswith((ENABLED, FALSE_POSITIVES))}


def evolved_filter_properties(properties: Mapping[str, str], before: Schema, after: Schema) -> dict[str, str]:
    """Return the properties about Bloom filters under another schema: of columns that stay, by their names."""
    ids, evolved = {field.name: field.field_id for field in before.fields}, {}
    for name, value in properties_of_filters(properties).items():
        prefix = ENABLED if name.startswith(ENABLED) else FALSE_POSITIVES
        field_id = ids.get(name.removeprefix(prefix))
        column = after.find_column_name(field_id) if field_id is not None else None
        if column is not None:
            evolved[prefix + column] = value
    return evolved


@dataclass(frozen=True, slots=True)
class FilterLocation:
    """Where the filter of a column chunk lies in its file."""

    offset: int
    length: int


def filter_locations(footer: pq.FileMetaData, group: int, columns: Mapping[int, str]) -> dict[int, FilterLocation]:
    """Return the filters of a row group by field id.

    Args:
        footer: The file's.
        group: The row group's number.
        columns: Top-level columns of the file by field id.
    """
    by_path = {name: field_id for field_id, name in columns.items()}
    found = {}
    row_group = footer.row_group(group)
    for chunk in (row_group.column(index) for index in range(row_group.num_columns)):
        field_id = by_path.get(chunk.path_in_schema)
        if field_id is not None and chunk.bloom_filter_offset and chunk.bloom_filter_length:
            found[field_id] = FilterLocation(chunk.bloom_filter_offset, chunk.bloom_filter_length)
    return found


def is_filtered(field: NestedField, stored: pa.DataType) -> bool:
    """Tell whether a filter of a column that is stored as another type answers for the field's values."""
    kind = _PHYSICAL.get(type(field.field_type))
    width = {"INT32": 32, "INT64": 64}.get(kind or "")
    plain = stored.storage_type if isinstance(stored, pa.BaseExtensionType) else stored
    if width is not None:
        return bool((pa.types.is_signed_integer(plain) or pa.types.is_date32(plain)) and plain.bit_width == width)
    if kind == "BYTE_ARRAY":
        return bool(pa.types.is_string(plain) or pa.types.is_binary(plain))
    return bool(kind is not None and pa.types.is_fixed_size_binary(plain))


class BloomFilter:
    """The filter of a column chunk.

    Args:
        data: Header and bits as they are stored.

    Raises:
        ValueError: If it is none.
    """

    def __init__(self, data: bytes) -> None:
        size = thrift.decode(data).value(_NUM_BYTES) or 0
        if size <= 0 or size % 32 or size >= len(data):
            raise ValueError("a Bloom filter has another size than it says")
        self._blocks = np.frombuffer(data, dtype="<u4", offset=len(data) - size).reshape(-1, 8)

    @property
    def nbytes(self) -> int:
        """Its size."""
        return int(self._blocks.nbytes)

    def may_contain(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Tell for each hash whether the chunk may hold its value."""
        block = ((hashes >> np.uint64(32)) * np.uint64(len(self._blocks))) >> np.uint64(32)
        low = hashes.astype(np.uint32)
        bits = np.uint32(1) << ((low[:, None] * _SALT[None, :]) >> np.uint32(27))
        found: npt.NDArray[np.bool_] = ((self._blocks[block.astype(np.int64)] & bits) != 0).all(axis=1)
        return found


_SALT = np.array(
    [0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31], dtype=np.uint32
)


# --- hashing -------------------------------------------------------------------------------------------------------

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)


def hashes_of(values: pa.Array) -> Hashes:
    """Return the XXH64 of values without NULLs, each in Parquet's plain encoding without length."""
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.cast(values.type.storage_type)
    result = np.zeros(len(values), np.uint64)
    for rows, matrix in _by_length(values):
        result[rows] = _xxh64(matrix)
    return result


def _by_length(values: pa.Array) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """Yield the rows of one length, with their bytes as a matrix."""
    if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        _, offset_buffer, data = values.buffers()
        offsets = np.frombuffer(offset_buffer, np.int32)[values.offset : values.offset + len(values) + 1]
        stored = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        lengths = np.diff(offsets)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            yield rows, stored[offsets[rows].astype(np.int64)[:, None] + np.arange(length)]
        return
    width = values.type.bit_width // 8
    stored = np.frombuffer(values.buffers()[1], np.uint8)[values.offset * width : (values.offset + len(values)) * width]
    yield np.arange(len(values)), stored.reshape(-1, width)


def _xxh64(rows: npt.NDArray[np.uint8]) -> Hashes:
    """Return the XXH64 (seed 0) of each row of a matrix of bytes."""
    count, length = rows.shape
    with np.errstate(over="ignore"):
        end = length // 32 * 32
        if end:
            lanes = _words(rows[:, :end], "<u8").reshape(count, -1, 4)
            zero = np.zeros(count, np.uint64)
            states = [zero + _P1 + _P2, zero + _P2, zero, zero - _P1]
            for stripe in range(lanes.shape[1]):
                states = [_round(state, lanes[:, stripe, lane]) for lane, state in enumerate(states)]
            result = sum((_rotated(s, by) for s, by in zip(states, (1, 7, 12, 18), strict=True)), zero)
            for state in states:
                result = (result ^ _round(zero, state)) * _P1 + _P4
        else:
            result = np.full(count, _P5)
        result = result + np.uint64(length)
        eights = (length - end) // 8 * 8
        for lane in _words(rows[:, end : end + eights], "<u8").T:
            result = _rotated(result ^ _round(np.zeros(count, np.uint64), lane), 27) * _P1 + _P4
        end += eights
        fours = (length - end) // 4 * 4
        for lane in _words(rows[:, end : end + fours], "<u4").T:
            result = _rotated(result ^ (lane.astype(np.uint64) * _P1), 23) * _P2 + _P3
        for byte in rows[:, end + fours :].T:
            result = _rotated(result ^ (byte.astype(np.uint64) * _P5), 11) * _P1
        result = (result ^ (result >> np.uint64(33))) * _P2
        result = (result ^ (result >> np.uint64(29))) * _P3
        return result ^ (result >> np.uint64(32))


def _words(rows: npt.NDArray[np.uint8], kind: str) -> npt.NDArray[np.unsignedinteger]:
    size = np.dtype(kind).itemsize
    return np.ascontiguousarray(rows).view(kind) if rows.shape[1] else np.zeros((len(rows), 0), f"<u{size}")


def _round(state: Hashes, lane: npt.NDArray[np.unsignedinteger]) -> Hashes:
    return _rotated(state + lane.astype(np.uint64) * _P2, 31) * _P1


def _rotated(value: Hashes, by: int) -> Hashes:
    return (value << np.uint64(by)) | (value >> np.uint64(64 - by))
