"""Putting a Parquet file together from column chunks that exist already, as bytes.

What did not change is neither decoded nor encoded: its pages are copied, and only the offsets in the footer and in the
page indexes become new ones. Field numbers are those of ``parquet.thrift``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from cordillera.table import thrift
from cordillera.table.thrift import ThriftStruct

_MAGIC = b"PAR1"


class _Footer:
    """Field ids of FileMetaData."""

    SCHEMA, NUM_ROWS, ROW_GROUPS = 2, 3, 4


class _Element:
    """Field ids of SchemaElement."""

    NAME, NUM_CHILDREN = 4, 5


class _Group:
    """Field ids of RowGroup."""

    COLUMNS, TOTAL_BYTES, NUM_ROWS, SORTING, FILE_OFFSET, COMPRESSED, ORDINAL = 1, 2, 3, 4, 5, 6, 7


class _Chunk:
    """Field ids of ColumnChunk."""

    FILE_OFFSET, META, OFFSET_INDEX, OFFSET_INDEX_LENGTH, COLUMN_INDEX, COLUMN_INDEX_LENGTH = 2, 3, 4, 5, 6, 7


class _Column:
    """Field ids of ColumnMetaData."""

    PATH, UNCOMPRESSED, COMPRESSED, DATA_PAGE, DICTIONARY_PAGE, STATISTICS = 3, 6, 7, 9, 11, 12
    BLOOM_FILTER, BLOOM_FILTER_LENGTH = 14, 15


_NULL_COUNT = 3  # of Statistics
_LOCATIONS, _LOCATION_OFFSET = 1, 1  # of OffsetIndex and PageLocation


class Sink(Protocol):
    """Where an assembled file goes."""

    def write(self, data: bytes | pa.Buffer) -> object:
        """Append bytes."""

    def tell(self) -> int:
        """Return how many bytes were written."""


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """A column of a row group, in the file it is stored in."""

    source: ParquetSource
    field: ThriftStruct

    @property
    def null_count(self) -> int | None:
        """NULLs by the chunk's statistics, where it has them."""
        statistics = self._meta.value(_Column.STATISTICS)
        count: int | None = statistics.value(_NULL_COUNT) if statistics is not None else None
        return count

    @property
    def _meta(self) -> ThriftStruct:
        meta: ThriftStruct = self.field.value(_Chunk.META)
        return meta


class ParquetSource:
    """A Parquet file to take column chunks from.

    Args:
        file: Open for random access, and kept open by the caller.

    Raises:
        ValueError: If it is no Parquet file.
    """

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        size = file.size()
        length, magic = struct.unpack("<I4s", self.read(size - 8, 8)) if size >= 12 else (0, b"")
        if magic != _MAGIC or length > size - 12:
            raise ValueError("it does not end like a Parquet file")
        self.footer = thrift.decode(self.read(size - 8 - length, length))
        self.groups = self.footer.structs(_Footer.ROW_GROUPS)
        self.layout = _layout(self.footer.structs(_Footer.SCHEMA))

    def chunks(self, group: int) -> dict[str, ColumnChunk]:
        """Return the column chunks of a row group by their paths in the schema."""
        return {_path(field): ColumnChunk(self, field) for field in self.groups[group].structs(_Group.COLUMNS)}

    def rows(self, group: int) -> int:
        """Return how many rows a row group has."""
        rows: int = self.groups[group].value(_Group.NUM_ROWS)
        return rows

    def read(self, offset: int, length: int) -> bytes:
        """Return a range of the file."""
        data: bytes = self._file.read_at(length, offset)
        return data


class ParquetAssembler:
    """Writes one Parquet file out of column chunks.

    Args:
        sink: Where the file goes.
        template: A file of the schema to write; its row groups do not matter.
    """

    def __init__(self, sink: Sink, template: ParquetSource) -> None:
        self._sink, self._footer = sink, template.footer.copy()
        self.layout = template.layout
        self._groups: list[ThriftStruct] = []
        self._rows = 0
        sink.write(_MAGIC)

    def fits(self, source: ParquetSource, path: str) -> bool:
        """Tell whether a column is stored in a source exactly as this file declares it."""
        return path in self.layout and source.layout.get(path) == self.layout[path]

    def add_group(self, chunks: Mapping[str, ColumnChunk], rows: int) -> None:
        """Append a row group. ``chunks`` holds every column of the schema, by path."""
        start = self._sink.tell()
        columns = [self._copy(chunks[path]) for path in self.layout]
        metas = [column.value(_Chunk.META) for column in columns]
        group = ThriftStruct()
        group.set_structs(_Group.COLUMNS, columns)
        group.set_i64(_Group.TOTAL_BYTES, sum(meta.value(_Column.UNCOMPRESSED) for meta in metas))
        group.set_i64(_Group.NUM_ROWS, rows)
        group.set_i64(_Group.FILE_OFFSET, start)
        group.set_i64(_Group.COMPRESSED, sum(meta.value(_Column.COMPRESSED) for meta in metas))
        group.set_i16(_Group.ORDINAL, len(self._groups))
        self._groups.append(group)
        self._rows += rows

    def close(self) -> pq.FileMetaData:
        """Write page indexes and footer; return the footer as pyarrow reads it."""
        for group in self._groups:
            for column in group.structs(_Group.COLUMNS):
                self._place_indexes(column)
        self._footer.set_i64(_Footer.NUM_ROWS, self._rows)
        self._footer.set_structs(_Footer.ROW_GROUPS, self._groups)
        footer = thrift.encode(self._footer)
        ending = footer + struct.pack("<I", len(footer)) + _MAGIC
        self._sink.write(ending)
        return pq.read_metadata(pa.BufferReader(_MAGIC + ending))

    def _copy(self, chunk: ColumnChunk) -> ThriftStruct:
        """Copy the pages of a chunk; its indexes and Bloom filter wait for the end of the file."""
        field, meta = chunk.field.copy(), chunk.field.value(_Chunk.META).copy()
        first = meta.value(_Column.DICTIONARY_PAGE) or meta.value(_Column.DATA_PAGE)
        shift = self._sink.tell() - first
        self._sink.write(chunk.source.read(first, meta.value(_Column.COMPRESSED)))
        for position in (_Column.DATA_PAGE, _Column.DICTIONARY_PAGE):
            if meta.value(position):
                meta.set_i64(position, meta.value(position) + shift)
        field.set_i64(_Chunk.FILE_OFFSET, 0)  # deprecated: readers go by the column's metadata
        self._hold_indexes(chunk, field, meta, shift)
        field[_Chunk.META] = (field[_Chunk.META][0], meta)
        return field

    def _hold_indexes(self, chunk: ColumnChunk, field: ThriftStruct, meta: ThriftStruct, shift: int) -> None:
        """Read what lies apart from the pages, with offsets made new, under the fields that will say where it is."""
        source = chunk.source
        if field.value(_Chunk.OFFSET_INDEX):
            stored = source.read(field.value(_Chunk.OFFSET_INDEX), field.value(_Chunk.OFFSET_INDEX_LENGTH))
            index = thrift.decode(stored)
            for location in index.structs(_LOCATIONS):
                location.set_i64(_LOCATION_OFFSET, location.value(_LOCATION_OFFSET) + shift)
            field[_Chunk.OFFSET_INDEX] = (_HELD, thrift.encode(index))
        if field.value(_Chunk.COLUMN_INDEX):
            stored = source.read(field.value(_Chunk.COLUMN_INDEX), field.value(_Chunk.COLUMN_INDEX_LENGTH))
            field[_Chunk.COLUMN_INDEX] = (_HELD, stored)
        if meta.value(_Column.BLOOM_FILTER):
            length = meta.value(_Column.BLOOM_FILTER_LENGTH)
            if length is None:  # written before lengths were: a reader would need the filter's own header
                del meta[_Column.BLOOM_FILTER]
            else:
                meta[_Column.BLOOM_FILTER] = (_HELD, source.read(meta.value(_Column.BLOOM_FILTER), length))

    def _place_indexes(self, column: ThriftStruct) -> None:
        meta = column.value(_Chunk.META)
        for owner, place, length in (
            (meta, _Column.BLOOM_FILTER, _Column.BLOOM_FILTER_LENGTH),
            (column, _Chunk.COLUMN_INDEX, _Chunk.COLUMN_INDEX_LENGTH),
            (column, _Chunk.OFFSET_INDEX, _Chunk.OFFSET_INDEX_LENGTH),
        ):
            if place in owner:
                data = owner.value(place)
                owner.set_i64(place, self._sink.tell())
                owner.set_i32(length, len(data))
                self._sink.write(data)


_HELD = -1
"""Marks a field that holds bytes yet to be written where their offset will stand."""


def _path(field: ThriftStruct) -> str:
    return ".".join(part.decode() for part in field.value(_Chunk.META).value(_Column.PATH).items)


def _layout(elements: Sequence[ThriftStruct]) -> dict[str, tuple[ThriftStruct, ...]]:
    """Return, by path and in order, how each leaf column is declared: all elements on the way to it."""
    leaves: dict[str, tuple[ThriftStruct, ...]] = {}
    remaining = iter(elements[1:])

    def walk(count: int, above: tuple[ThriftStruct, ...]) -> None:
        for _ in range(count):
            element = next(remaining)
            way = (*above, element)
            if element.value(_Element.NUM_CHILDREN):
                walk(element.value(_Element.NUM_CHILDREN), way)
            else:
                leaves[".".join(one.value(_Element.NAME).decode() for one in way)] = way

    walk(elements[0].value(_Element.NUM_CHILDREN, 0), ())
    return leaves
