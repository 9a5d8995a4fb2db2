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
        threads: How many files are read at the same time when many are streamed.
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
        wanted = [*columns.values(), *(lineage.values() if options.metadata_columns else ())]
        selection, schema = self._selection(live, options), options.arrow_schema()
        if names := _as_dictionaries(parquet, columns, options, selection):
            parquet = open_parquet(source, live, parquet.metadata, names)

        def made(stored: tuple[pa.RecordBatch, int]) -> pa.RecordBatch | None:
            batch, positions = _selected(stored[0], columns, options, selection, stored[1])
            if not batch.num_rows:
                return None
            arrays = [
                array if field.name in options.dictionaries else plain(array)
                for field, array in zip(options.schema.fields, project(batch, columns, options.schema), strict=True)
            ]
            arrays += [
                metadata_column(name, batch, live, lineage, positions, file_index) for name in options.metadata_columns
            ]
            return pa.RecordBatch.from_arrays(
                arrays, schema=with_dictionaries(schema, [array.type for array in arrays])
            )

        groups = list(_row_groups(parquet, live, options, columns, selection))
        holding = (one for one in groups if _may_hold_values(parquet, source, one[0], options, columns))
        batches = _stored_batches(parquet, live, holding, wanted)
        if selection is None or len(groups) < 2:  # rows are left out while the next ones are decoded
            yield from (batch for batch in map(made, batches) if batch is not None)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="cordillera-select") as pool:
            yield from (batch for batch in in_threads(pool, made, batches, 1) if batch is not None)

    def _selection(self, live: LiveFile, options: ReadOptions) -> RowSelection | None:
        if (only := options.only.get(live.path)) is not None:
            return RowSelection(positions_of(only), kept=True)
        deleted = options.deleted.get(live.path) or self._files.deleted_positions(live)
        return RowSelection(positions_of(deleted)) if deleted else None

    def read_group(
        self, parquet: pq.ParquetFile, live: LiveFile, options: ReadOptions, group: int, first: int
    ) -> pa.RecordBatch:
        """Read one row group of an open file, deleted rows too. What it was opened to read as dictionaries is such.

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
        table = parquet.read_row_group(group, columns=wanted or [stored.names[0]])
        check_complete(live, parquet.metadata, group, table.num_rows)
        batch = table.combine_chunks().to_batches()[0]
        arrays = project(batch, columns, options.schema)
        positions = np.arange(first, first + batch.num_rows)
        arrays += [metadata_column(n, batch, live, lineage, positions, 0) for n in options.metadata_columns]
        return pa.RecordBatch.from_arrays(arrays, names=options.arrow_schema().names)


def _stored_batches(
    parquet: pq.ParquetFile, live: LiveFile, groups: Iterable[tuple[int, int]], columns: Sequence[str]
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield the rows of row groups, deleted ones too, each batch with the position of its first row."""
    for group, first in groups:
        position = first
        for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
            yield batch, position
            position += batch.num_rows
        check_complete(live, parquet.metadata, group, position - first)


def _selected(
    batch: pa.RecordBatch,
    columns: dict[int, str],
    options: ReadOptions,
    selection: RowSelection | None,
    first: int,
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """Return the rows of a batch that are wanted, with their positions in the file.

    Rows are left out before anything is made of them: of a few keys' row groups hardly any row remains.
    """
    mask = None if selection is None else selection.mask(first, batch.num_rows)
    for column, values in options.values:
        found = pc.is_in(plain(project(batch, columns, column)[0]), value_set=values)
        mask = found if mask is None else pc.and_(mask, found)
    if mask is None:
        return batch, np.arange(first, first + batch.num_rows)
    return batch.filter(mask), first + np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _as_dictionaries(
    parquet: pq.ParquetFile, columns: dict[int, str], options: ReadOptions, selection: RowSelection | None
) -> list[str]:
    """Return the columns to read as dictionaries: those that are to stay such, and where rows are left out those of few
    values, as it takes longer to leave out texts than their numbers.
    """
    if not options.dictionaries and selection is None:
        return []
    groups = range(parquet.metadata.num_row_groups)
    asked = {columns.get(field.field_id) for field in options.schema.fields if field.name in options.dictionaries}
    found = [name for name in dictionary_columns(parquet.metadata, groups) if name in asked] if asked else []
    if selection is not None:
        found += [
            name
            for name in dictionary_columns(parquet.metadata, groups, small=True)
            if name not in asked and name in columns.values()
        ]
    return found


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
