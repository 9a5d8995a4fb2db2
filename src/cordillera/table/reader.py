"""Reading the live rows of data files: projected, without deleted rows, with row lineage where asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.schema import Schema
from pyroaring import BitMap64

from cordillera.ports.storage import Storage
from cordillera.spec.arrow_types import to_arrow_schema
from cordillera.table.bloom_filter import BloomFilter, filter_locations, hashes_of, is_filtered
from cordillera.table.data_file import (
    METADATA_COLUMNS,
    MayContain,
    check_complete,
    lineage_columns,
    metadata_column,
    named_when_corrupt,
    open_parquet,
    row_group_as_file,
)
from cordillera.table.deletion_vector import positions_of
from cordillera.table.dictionaries import dictionary_columns, plain, with_dictionaries
from cordillera.table.live_files import LiveFile, SnapshotFiles
from cordillera.table.projection import file_columns, project
from cordillera.table.row_selection import RowSelection
from cordillera.table.threads import in_threads

_BATCH_ROWS = 122_880
_PREFETCHED_FILES = 4
_SMALL_BYTES = 32 * 1024 * 1024
"""Of a row group, not compressed: of such ones several are decoded at the same time."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What to read of each file.

    Attributes:
        schema: Columns wanted, in order; a projection of a table schema.
        metadata_columns: Of ``_row_id``, ``_last_updated_sequence_number``, ``_pos``, ``_file_index``; they follow
        the others. may_contain: Passes over row groups; a row group's statistics are given as a ``ContentFile``.
        deleted: Positions to leave out, by data file path, for files whose own deletes do not apply.
        only: The only positions to read, by data file path; deletes of such a file do not apply.
        dictionaries: Columns of texts or bytes to give as the dictionaries that a file stores them as; ``batches`` can.
        values: Columns (schemas of one field) and the only values of interest in them: rows with another value in one
            of these columns are left out.
    """

    schema: Schema
    metadata_columns: tuple[str, ...] = ()
    may_contain: MayContain | None = None
    deleted: Mapping[str, BitMap64] = field(default_factory=dict)
    values: Sequence[tuple[Schema, pa.Array]] = ()
    only: Mapping[str, BitMap64] = field(default_factory=dict)
    dictionaries: Set[str] = frozenset()

    def arrow_schema(self) -> pa.Schema:
        """Return the schema of the batches that are read."""
        columns = [field.remove_metadata() for field in to_arrow_schema(self.schema)]
        return pa.schema([*columns, *(METADATA_COLUMNS[name] for name in self.metadata_columns)])


class FileReader:
    """Reads live rows of data files.

    Args:
        storage: Where the files are.
        files: Supplies deletion vectors.
        threads: How many files, or row groups of a file, are read at the same time when many are streamed.
    """

    def __init__(self, storage: Storage, files: SnapshotFiles, threads: int = 2) -> None:
        self._storage, self._files, self._threads = storage, files, threads

    def stream(self, live_files: Sequence[LiveFile], options: ReadOptions) -> pa.RecordBatchReader:
        """Stream the rows of many files, file by file in order; ``_file_index`` counts them from 0."""
        return pa.RecordBatchReader.from_batches(options.arrow_schema(), self.batches(live_files, options))

    def batches(self, live_files: Sequence[LiveFile], options: ReadOptions) -> Iterator[pa.RecordBatch]:
        """Yield the rows of many files as ``stream`` does; batches differ in which columns are dictionaries.

        Small files are read ahead in threads; a file of several row groups is streamed, to bound memory.
        """
        if len(live_files) == 1:  # to start threads takes longer than to read what a small commit wrote
            yield from self.read(live_files[0], options)
            return
        ahead: deque[Future[list[pa.RecordBatch]] | int] = deque()
        pending = iter(enumerate(live_files))
        with ThreadPoolExecutor(self._threads, thread_name_prefix="cordillera-read") as pool:
            while True:
                while len(ahead) < _PREFETCHED_FILES and (item := next(pending, None)) is not None:
                    index, live = item
                    small = live.file.record_count <= _BATCH_ROWS
                    ahead.append(pool.submit(self._read_whole, live, options, index) if small else index)
                if not ahead:
                    return
                head = ahead.popleft()
                if isinstance(head, int):
                    yield from self.read(live_files[head], options, head)
                else:
                    yield from head.result()

    def _read_whole(self, live: LiveFile, options: ReadOptions, file_index: int) -> list[pa.RecordBatch]:
        return list(self.read(live, options, file_index))

    def read(self, live: LiveFile, options: ReadOptions, file_index: int = 0) -> Iterator[pa.RecordBatch]:
        """Read the rows of one file in their stored order.

        Raises:
            CorruptDataError: If the file is missing, is not Parquet, or does not hold what its manifest says.
        """
        with named_when_corrupt(live), self._storage.open_input(live.path) as source:
            parquet = open_parquet(source, live)
            yield from self._read(parquet, source, live, options, file_index)

    def _read(
        self, parquet: pq.ParquetFile, source: pa.NativeFile, live: LiveFile, options: ReadOptions, file_index: int
    ) -> Iterator[pa.RecordBatch]:
        columns, lineage = file_columns(parquet.schema_arrow, options.schema), lineage_columns(parquet.schema_arrow)
        selection, schema = self._selection(live, options), options.arrow_schema()
        wanted = _Wanted(live, options, schema, columns, lineage, selection, file_index)
        groups = list(_row_groups(parquet, live, options, columns, selection))
        holding = (one for one in groups if _may_hold_values(parquet, source, one[0], options, columns))
        names = _as_dictionaries(parquet, columns, options, groups)

        def opened() -> pq.ParquetFile:  # whose parts are decoded in one thread each
            return open_parquet(source, live, parquet.metadata, names)

        if len(groups) < 2:
            yield from _present(map(wanted.rows, wanted.stored(opened(), holding)))
            return
        with ThreadPoolExecutor(self._threads, thread_name_prefix="cordillera-decode") as pool:
            if _are_small(parquet.metadata, groups):
                parts = in_threads(pool, lambda group: wanted.of_group(opened(), group), holding, self._threads)
                yield from (batch for part in parts for batch in part)
            else:  # rows are left out while the next ones are decoded
                yield from _present(in_threads(pool, wanted.rows, wanted.stored(opened(), holding), 1))

    def _selection(self, live: LiveFile, options: ReadOptions) -> RowSelection | None:
        if (only := options.only.get(live.path)) is not None:
            return RowSelection(positions_of(only), kept=True)
        deleted = options.deleted.get(live.path) or self._files.deleted_positions(live)
        return RowSelection(positions_of(deleted)) if deleted else None

    def read_group(
        self, parquet: pq.ParquetFile, live: LiveFile, options: ReadOptions, group: int, first: int
    ) -> pa.RecordBatch:
        """Read one row group of an open file in this thread, deleted rows too.

        What the file was opened to read as dictionaries is such.

        Args:
            parquet: The file.
            live: What the manifests say about it.
            options: The columns wanted.
            group: The row group's number.
            first: The position of its first row.
        """
        stored = parquet.schema_arrow
        columns, lineage = file_columns(stored, options.schema), lineage_columns(stored)
        wanted = [*columns.values(), *(lineage.values() if options.metadata_columns else ())]
        # Without columns a batch would not know how many rows it has.
        table = parquet.read_row_group(group, columns=wanted or [stored.names[0]], use_threads=False)
        check_complete(live, parquet.metadata, group, table.num_rows)
        batch = table.combine_chunks().to_batches()[0]
        arrays = project(batch, columns, options.schema)
        positions = np.arange(first, first + batch.num_rows)
        arrays += [metadata_column(n, batch, live, lineage, positions, 0) for n in options.metadata_columns]
        return pa.RecordBatch.from_arrays(arrays, names=options.arrow_schema().names)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is read of one file.

    Attributes:
        live: The file.
        options: What to read.
        schema: Of the batches.
        columns: Its names of the columns wanted, by field id.
        lineage: Its names of the columns of row lineage, by field id.
        selection: Which rows; None for all.
        file_index: The number that stands for it.
    """

    live: LiveFile
    options: ReadOptions
    schema: pa.Schema
    columns: dict[int, str]
    lineage: dict[int | None, str]
    selection: RowSelection | None
    file_index: int

    def of_group(self, parquet: pq.ParquetFile, group: tuple[int, int]) -> list[pa.RecordBatch]:
        """Read a row group, given with the position of its first row, in this thread alone."""
        return list(_present(map(self.rows, self.stored(parquet, [group], use_threads=False))))

    def stored(
        self, parquet: pq.ParquetFile, groups: Iterable[tuple[int, int]], *, use_threads: bool = True
    ) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Yield the rows of row groups, deleted ones too, each batch with the position of its first row."""
        names = [*self.columns.values(), *(self.lineage.values() if self.options.metadata_columns else ())]
        for group, first in groups:
            position = first
            for batch in parquet.iter_batches(_BATCH_ROWS, [group], names, use_threads=use_threads):
                yield batch, position
                position += batch.num_rows
            check_complete(self.live, parquet.metadata, group, position - first)

    def rows(self, stored: tuple[pa.RecordBatch, int]) -> pa.RecordBatch | None:
        """Return what is wanted of the rows of a batch; None if there are none."""
        options = self.options
        batch, positions = self._selected(*stored)
        if not batch.num_rows:
            return None
        arrays = [
            array if field.name in options.dictionaries else plain(array)
            for field, array in zip(options.schema.fields, project(batch, self.columns, options.schema), strict=True)
        ]
        arrays += [
            metadata_column(name, batch, self.live, self.lineage, positions, self.file_index)
            for name in options.metadata_columns
        ]
        schema = with_dictionaries(self.schema, [array.type for array in arrays])
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _selected(self, batch: pa.RecordBatch, first: int) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """Return the rows of a batch that are wanted, with their positions in the file.

        Rows are left out before anything is made of them: of a few keys' row groups hardly any row remains.
        """
        mask = None if self.selection is None else self.selection.mask(first, batch.num_rows)
        for column, values in self.options.values:
            found = pc.is_in(plain(project(batch, self.columns, column)[0]), value_set=values)
            mask = found if mask is None else pc.and_(mask, found)
        if mask is None:
            return batch, np.arange(first, first + batch.num_rows)
        return batch.filter(mask), first + np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _present(batches: Iterable[pa.RecordBatch | None]) -> Iterator[pa.RecordBatch]:
    return (batch for batch in batches if batch is not None)


def _are_small(footer: pq.FileMetaData, groups: Sequence[tuple[int, int]]) -> bool:
    """Tell whether row groups are so small that several fit into memory: then each is decoded in a thread of its own,
    which takes less time than decoding the columns of one in several, as these differ in what they take.
    """
    found = [footer.row_group(index) for index, _ in groups]
    return all(one.num_rows <= _BATCH_ROWS and one.total_byte_size <= _SMALL_BYTES for one in found)


def _as_dictionaries(
    parquet: pq.ParquetFile, columns: dict[int, str], options: ReadOptions, groups: Sequence[tuple[int, int]]
) -> list[str]:
    """Return the columns to read as dictionaries: those that are to stay such, and those of few values, as it takes
    longer to decode texts one by one, and to leave some out, than to look up their numbers in the end.
    """
    footer, numbers = parquet.metadata, [index for index, _ in groups]
    asked = {columns.get(field.field_id) for field in options.schema.fields if field.name in options.dictionaries}
    found = [name for name in dictionary_columns(footer, numbers) if name in asked] if asked else []
    small = set(dictionary_columns(footer, numbers, small=True)) & set(columns.values())
    return [*found, *small.difference(asked)]


def _row_groups(
    parquet: pq.ParquetFile,
    live: LiveFile,
    options: ReadOptions,
    columns: dict[int, str],
    selection: RowSelection | None,
) -> Iterator[tuple[int, int]]:
    """Yield the row groups to read, each with the position of its first row."""
    # A column stored under another name may be confused with a later column of that name: it does not prune.
    same_name = Schema(*(f for f in options.schema.fields if columns.get(f.field_id) == f.name))
    prune = options.may_contain if parquet.metadata.num_row_groups > 1 else None
    first = 0
    for index in range(parquet.metadata.num_row_groups):
        rows = parquet.metadata.row_group(index).num_rows
        wanted = selection is None or selection.reads_any(first, rows)
        if wanted and (prune is None or prune(row_group_as_file(parquet.metadata, index, live.file, same_name))):
            yield index, first
        first += rows


def _may_hold_values(
    parquet: pq.ParquetFile, source: pa.NativeFile, group: int, options: ReadOptions, columns: dict[int, str]
) -> bool:
    """Tell whether the Bloom filters of a row group leave some of the only values of interest, in each column."""
    if not options.values:
        return True
    stored, locations = parquet.schema_arrow, filter_locations(parquet.metadata, group, columns)
    for column, values in options.values:
        field = column.fields[0]
        location = locations.get(field.field_id)
        if location is not None and is_filtered(field, stored.field(columns[field.field_id]).type):
            bloom = BloomFilter(source.read_at(location.length, location.offset))
            if not bloom.may_contain(hashes_of(pc.drop_null(values))).any():
                return False
    return True
