"""Finding the stored rows of few keys: what a small batch needs, however large the table is.

Only the key columns of a few row groups have to be looked at. Where they lie is told by footers, which are kept in
memory, and so are the key columns last looked at: small batches come one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial, reduce
from itertools import chain
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from cordillera.ports.storage import Storage
from cordillera.spec.arrow_types import to_arrow_type
from cordillera.table.bloom_filter import BloomFilter, FilterLocation, filter_locations, hashes_of, is_filtered
from cordillera.table.content_file import ContentFile
from cordillera.table.data_file import (
    FILE_INDEX,
    POSITION,
    MayContain,
    check_complete,
    lineage_columns,
    metadata_column,
    named_when_corrupt,
    open_parquet,
    row_group_as_file,
)
from cordillera.table.data_writer import ROW_ID, ROW_ID_FIELD_ID, Keeper
from cordillera.table.deletion_vector import bitmap_of, positions_of
from cordillera.table.dictionaries import plain
from cordillera.table.integer_keys import IntegerSearch, IntegerSieve, integers
from cordillera.table.live_files import LiveFile, LruCache, SnapshotFiles
from cordillera.table.projection import file_columns, project, project_column
from cordillera.table.pruning import KeyRange
from cordillera.table.reader import ReadOptions
from cordillera.table.row_selection import RowSelection
from cordillera.table.threads import in_threads

_METADATA = (FILE_INDEX, POSITION, ROW_ID)
_ROW_ID_FIELD = NestedField(ROW_ID_FIELD_ID, ROW_ID, LongType())
_TEXT_BYTES = 40
"""What a value of varying length is taken to need in memory."""
_KEY_BYTES = 128 * 1024 * 1024
"""How much of key columns is kept in memory."""
_FILTER_BYTES = 64 * 1024 * 1024
"""How much of Bloom filters is."""
_FILES_AT_A_TIME = 2
_ROW_GROUPS = 20_000
"""How many row groups' descriptions are."""
_COMPARED_SINGLY = 8
"""So few values are compared with a column one by one, which is faster than looking each row up among them."""
_FEW_ROWS = 1_000
"""So few rows are looked up among the deleted ones of their file; for more of them all of these are listed."""


@dataclass(frozen=True, slots=True)
class _RowGroup:
    """A row group: its number, its first row's position, its statistics as if it were a file, its Bloom filters."""

    index: int
    first: int
    described: ContentFile
    filters: Mapping[int, FilterLocation]


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the footer of a file says that a lookup needs.

    Attributes:
        footer: All of it.
        columns: The file's names of the columns wanted, by field id.
        lineage: Its names of the columns of row lineage, by field id.
        groups: Its row groups.
    """

    footer: pq.FileMetaData
    columns: dict[int, str]
    lineage: dict[int | None, str]
    groups: tuple[_RowGroup, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a lookup reads of every file: the columns, what is kept of them is found by, the schema of what it returns.

    A file is read by field ids, but described by names; both are part of ``shape``.
    """

    columns: Schema
    shape: tuple[tuple[int, str, str], ...]
    result: pa.Schema

    @classmethod
    def of(cls, columns: Schema) -> _Wanted:
        shape = tuple((field.field_id, field.name, str(field.field_type)) for field in columns.fields)
        return cls(columns, shape, ReadOptions(columns, _METADATA).arrow_schema())


@dataclass(frozen=True, slots=True)
class _Sought:
    """The few values of a key column, and how stored ones are told apart from others, if they are whole numbers."""

    range: KeyRange
    sieve: IntegerSieve | None

    @classmethod
    def of(cls, key: KeyRange) -> _Sought:
        numbers = integers(key.column) if len(key.values) > _COMPARED_SINGLY else None
        return cls(key, None if numbers is None else IntegerSieve(numbers))

    def among(self, column: pa.Array, values: pa.Array) -> npt.NDArray[np.int64]:
        """Return the numbers of the rows of a column that hold one of those values that it may hold."""
        if len(values) <= _COMPARED_SINGLY:
            mask = reduce(pc.or_, (pc.equal(column, value) for value in values))
        elif self.sieve is not None and column.type == values.type and (numbers := integers(column)) is not None:
            return self.sieve.among(numbers)
        else:
            mask = pc.is_in(column, value_set=values)
        return np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))


_Found: TypeAlias = tuple[pa.RecordBatch, npt.NDArray[np.int64] | None]
"""Columns of a row group, and the numbers of the rows chosen; None for all."""
_Choice: TypeAlias = Callable[[_Layout, _RowGroup, Callable[[], pa.RecordBatch]], _Found | None]


class KeyLookup:
    """Finds the rows of keys.

    Args:
        storage: Where data files are.
        files: Supplies deletion vectors.
    """

    def __init__(self, storage: Storage, files: SnapshotFiles) -> None:
        self._storage, self._files = storage, files
        self._layouts: LruCache[object, _Layout] = LruCache(_ROW_GROUPS, lambda layout: len(layout.groups) + 1)
        self._filters: LruCache[object, BloomFilter] = LruCache(_FILTER_BYTES, lambda bloom: bloom.nbytes)
        self._stored: LruCache[object, pa.RecordBatch] = LruCache(_KEY_BYTES, lambda batch: batch.nbytes)

    def find(self, live_files: Sequence[LiveFile], schema: Schema, keys: Sequence[KeyRange]) -> pa.Table:
        """Return the live rows that hold, in each key column, one of the values given.

        Args:
            live_files: Where to look; ``_file_index`` counts them from 0.
            schema: The columns wanted.
            keys: The few values of every key column.

        Returns:
            These columns, ``_file_index``, ``_pos`` and ``_row_id``. Where a key has several columns, rows of other
            keys may be among them.

        Raises:
            CorruptDataError: If a file is damaged.
        """
        wanted, sought = _Wanted.of(schema), [_Sought.of(key) for key in keys]
        batches = [
            batch
            for index, live in enumerate(live_files)
            for batch in self._in_file(index, live, wanted, partial(self._matching, live=live, keys=sought))
        ]
        return pa.Table.from_batches(batches, wanted.result)

    def fits(self, live_files: Sequence[LiveFile], schema: Schema) -> bool:
        """Tell whether columns of files can be kept in memory, with room for those of other tables."""
        width = sum(map(_width, schema.fields)) + _width(_ROW_ID_FIELD)
        return sum(live.file.record_count for live in live_files) * width <= _KEY_BYTES // 2

    def stream(
        self,
        live_files: Sequence[LiveFile],
        schema: Schema,
        may_contain: MayContain,
        sought: IntegerSearch | None = None,
    ) -> pa.RecordBatchReader:
        """Stream the live rows of row groups that may be of interest, and keep their columns in memory.

        Args:
            live_files: Where to look; ``_file_index`` counts them from 0.
            schema: The columns wanted.
            may_contain: Tells of a row group's statistics whether it may be of interest.
            sought: Finds the rows of interest; None if all are.

        Returns:
            These columns, ``_file_index``, ``_pos`` and ``_row_id``.
        """
        wanted = _Wanted.of(schema)
        key = [schema.find_field(name) for name in sought.key] if sought else []

        def choose(layout: _Layout, group: _RowGroup, stored: Callable[[], pa.RecordBatch]) -> _Found | None:
            if not may_contain(group.described):
                return None
            rows = stored()
            if sought is None:
                return rows, None
            return rows, sought.find([project_column(rows, layout.columns, field) for field in key])[0]

        batches = self._in_files(live_files, partial(self._in_file, wanted=wanted, choose=choose))
        return pa.RecordBatchReader.from_batches(wanted.result, batches)

    def _in_files(
        self, live_files: Sequence[LiveFile], rows_of: Callable[[int, LiveFile], Iterator[pa.RecordBatch]]
    ) -> Iterator[pa.RecordBatch]:
        """Yield what is found in files, a few of which are looked through at a time."""
        with ThreadPoolExecutor(_FILES_AT_A_TIME, thread_name_prefix="cordillera-lookup") as pool:
            found = in_threads(pool, lambda one: list(rows_of(*one)), enumerate(live_files), _FILES_AT_A_TIME)
            yield from chain.from_iterable(found)

    def keeper(self, schema: Schema) -> Keeper:
        """Return what keeps in memory what lookups will want of files that are being written.

        Args:
            schema: The columns that they will want.
        """
        return _WrittenKeys(schema, self._layouts, self._stored)

    def _in_file(self, index: int, live: LiveFile, wanted: _Wanted, choose: _Choice) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file that ``choose`` takes of each row group, without the deleted ones."""
        footer: pq.FileMetaData | None = None  # of a file whose layout is known the footer need not be read
        with ExitStack() as stack:
            opened = cache(lambda: stack.enter_context(self._opened(live, footer)))
            layout = self._layouts.get(
                (live.path, wanted.shape), lambda: _layout(opened().metadata, live.file, wanted.columns)
            )
            footer = layout.footer
            for group in layout.groups:
                found = choose(layout, group, partial(self._columns, live, wanted, layout, group, opened))
                if found is None:
                    continue
                stored, chosen = found
                rows = self._live_rows(live, group, stored.num_rows, chosen)
                if len(rows):
                    whole = len(rows) == stored.num_rows
                    taken = stored if whole else stored.take(pa.array(rows))
                    at = rows + group.first
                    metadata = (metadata_column(n, taken, live, layout.lineage, at, index) for n in _METADATA)
                    arrays = [*project(taken, layout.columns, wanted.columns), *metadata]
                    yield pa.RecordBatch.from_arrays(arrays, schema=wanted.result)

    def _columns(
        self,
        live: LiveFile,
        wanted: _Wanted,
        layout: _Layout,
        group: _RowGroup,
        opened: Callable[[], pq.ParquetFile],
    ) -> pa.RecordBatch:
        """Return the columns of a row group that a lookup needs; they are read where they are not kept."""
        key = live.path, wanted.shape, group.index
        stored = self._stored.get(key, lambda: _read(opened(), layout, group))
        check_complete(live, layout.footer, group.index, stored.num_rows)
        return stored

    def _matching(
        self,
        layout: _Layout,
        group: _RowGroup,
        stored: Callable[[], pa.RecordBatch],
        *,
        live: LiveFile,
        keys: Sequence[_Sought],
    ) -> _Found | None:
        """Choose the rows of a row group that hold one of the values of every key column."""
        wanted = [(key, key.range.meeting(group.described)) for key in keys]
        if not all(len(values) for _, values in wanted):
            return None
        if group.filters and not self._may_hold(live, group, wanted):
            return None
        rows = stored()
        return rows, _matching(rows, layout.columns, wanted)

    @contextmanager
    def _opened(self, live: LiveFile, footer: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
        with named_when_corrupt(live), self._storage.open_input(live.path) as source:
            yield open_parquet(source, live, footer)

    def _may_hold(self, live: LiveFile, group: _RowGroup, wanted: Sequence[tuple[_Sought, pa.Array]]) -> bool:
        """Tell whether the Bloom filters of a row group leave some of the values, in each key column."""
        for key, values in wanted:
            place = group.filters.get(key.range.field.field_id)
            if place is None:
                continue
            bloom = self._filters.get((live.path, place.offset), partial(self._read_filter, live, place))
            if not bloom.may_contain(hashes_of(values)).any():
                return False
        return True

    def _read_filter(self, live: LiveFile, place: FilterLocation) -> BloomFilter:
        with named_when_corrupt(live):
            return BloomFilter(self._storage.read(live.path, place.offset, place.length))

    def _live_rows(
        self, live: LiveFile, group: _RowGroup, count: int, chosen: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        """Return the rows chosen of those of a row group, without the deleted ones."""
        rows = np.arange(count) if chosen is None else chosen
        deleted = self._files.deleted_positions(live) if len(rows) else None
        if deleted is None:
            return rows
        if len(rows) > _FEW_ROWS:
            kept = RowSelection(positions_of(deleted)).mask(group.first, count)
            return rows if kept is None else rows[kept.to_numpy(zero_copy_only=False)[rows]]
        gone = positions_of(deleted & bitmap_of(pa.array(rows + group.first)))
        return rows[~np.isin(rows + group.first, gone)] if len(gone) else rows


class _WrittenKeys:
    """Puts what is written where a lookup keeps what it has read.

    Args:
        schema: The columns that lookups want.
        layouts: Where they keep layouts.
        stored: Where they keep columns of row groups.
    """

    def __init__(
        self, schema: Schema, layouts: LruCache[object, _Layout], stored: LruCache[object, pa.RecordBatch]
    ) -> None:
        self._wanted, self._layouts, self._stored = _Wanted.of(schema), layouts, stored

    def keep_rows(self, path: str, group: int, rows: pa.Table) -> None:
        """Keep a copy of the columns wanted, and of row ids that rows have already."""
        names = [field.name for field in self._wanted.columns.fields] + [ROW_ID]
        columns = {name: rows.column(name).chunks for name in names if name in rows.column_names}
        copies = {name: pa.concat_arrays([plain(chunk) for chunk in chunks]) for name, chunks in columns.items()}
        self._stored.put((path, self._wanted.shape, group), pa.record_batch(copies))

    def keep_file(self, file: ContentFile, footer: pq.FileMetaData) -> None:
        """Keep the layout of a file."""
        self._layouts.put((file.file_path, self._wanted.shape), _layout(footer, file, self._wanted.columns))


def _layout(footer: pq.FileMetaData, file: ContentFile, schema: Schema) -> _Layout:
    stored = footer.schema.to_arrow_schema()
    columns = file_columns(stored, schema)
    # A column stored under another name may be confused with a later column of that name: it does not prune.
    same_name = Schema(*(field for field in schema.fields if columns.get(field.field_id) == field.name))
    types = {field_id: stored.field(name).type for field_id, name in columns.items()}
    groups, first = [], 0
    for number in range(footer.num_row_groups):
        found = filter_locations(footer, number, columns)
        filters = {i: place for i, place in found.items() if is_filtered(schema.find_field(i), types[i])}
        groups.append(_RowGroup(number, first, _described(footer, number, file, same_name), filters))
        first += footer.row_group(number).num_rows
    return _Layout(footer, columns, lineage_columns(stored), tuple(groups))


def _described(footer: pq.FileMetaData, group: int, file: ContentFile, schema: Schema) -> ContentFile:
    """Describe a row group; its manifest describes the only one of a file, unless it leaves bounds of columns out."""
    bounds = file.lower_bounds.keys() & file.upper_bounds.keys()
    if footer.num_row_groups == 1 and bounds.issuperset(field.field_id for field in schema.fields):
        return file
    return row_group_as_file(footer, group, file, schema)


def _read(parquet: pq.ParquetFile, layout: _Layout, group: _RowGroup) -> pa.RecordBatch:
    """Read the columns of a row group that a lookup needs."""
    lineage = layout.lineage.get(ROW_ID_FIELD_ID)
    wanted = [*layout.columns.values(), *([lineage] if lineage else [])] or [layout.footer.schema.names[0]]
    return parquet.read_row_group(group.index, columns=wanted, use_threads=False).combine_chunks().to_batches()[0]


def _matching(
    stored: pa.RecordBatch, columns: dict[int, str], wanted: Sequence[tuple[_Sought, pa.Array]]
) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows that hold one of the values of every key column.

    The column that most rows fail by is looked at first, and the others in what remains.
    """
    rows: npt.NDArray[np.int64] | None = None
    for key, values in sorted(wanted, key=lambda one: one[0].range.share_of(one[1])):
        column = project_column(stored, columns, key.range.field)
        found = key.among(column if rows is None else column.take(pa.array(rows)), values)
        rows = found if rows is None else rows[found]
        if not len(rows):
            break
    return np.arange(stored.num_rows) if rows is None else rows


def _width(field: NestedField) -> int:
    """Return about how many bytes a value of a column has in memory."""
    kind = to_arrow_type(field.field_type)
    return kind.bit_width // 8 + 1 if pa.types.is_primitive(kind) else _TEXT_BYTES
