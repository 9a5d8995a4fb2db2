"""Reading the live rows of data files: projected, without deleted rows, with row lineage where asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.schema import Schema
from pyroaring import BitMap64

from cordillera.errors import CorruptDataError
from cordillera.ports.storage import Storage
from cordillera.spec.arrow_types import field_id_of, to_arrow_schema
from cordillera.table.column_statistics import collect_statistics
from cordillera.table.content_file import Content, ContentFile
from cordillera.table.data_writer import LAST_UPDATED, LAST_UPDATED_FIELD_ID, ROW_ID, ROW_ID_FIELD_ID
from cordillera.table.deletion_vector import keep_mask, positions_of
from cordillera.table.live_files import LiveFile, SnapshotFiles
from cordillera.table.projection import file_columns, project

POSITION = "_pos"
FILE_INDEX = "_file_index"
_METADATA_COLUMNS = {
    ROW_ID: pa.field(ROW_ID, pa.int64()),
    LAST_UPDATED: pa.field(LAST_UPDATED, pa.int64()),
    POSITION: pa.field(POSITION, pa.int64()),
    FILE_INDEX: pa.field(FILE_INDEX, pa.int32()),
}
_BATCH_ROWS = 122_880
_PREFETCHED_FILES = 4

MayContain = Callable[[ContentFile], bool]
"""Tells from a file's (or a row group's) statistics whether it may hold rows of interest."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What to read of each file.

    Attributes:
        schema: Columns wanted, in order; a projection of a table schema.
        metadata_columns: Of ``_row_id``, ``_last_updated_sequence_number``, ``_pos``, ``_file_index``; they follow
        the others. may_contain: Passes over row groups; a row group's statistics are given as a ``ContentFile``.
        deleted: Positions to leave out, by data file path, for files whose own deletion vector does not apply.
        values: Columns (schemas of one field) and the only values of interest in them: rows with another value in one
            of these columns are left out.
    """

    schema: Schema
    metadata_columns: tuple[str, ...] = ()
    may_contain: MayContain | None = None
    deleted: Mapping[str, BitMap64] = field(default_factory=dict)
    values: Sequence[tuple[Schema, pa.Array]] = ()

    def arrow_schema(self) -> pa.Schema:
        """Return the schema of the batches that are read."""
        columns = [field.remove_metadata() for field in to_arrow_schema(self.schema)]
        return pa.schema([*columns, *(_METADATA_COLUMNS[name] for name in self.metadata_columns)])


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
        return pa.RecordBatchReader.from_batches(options.arrow_schema(), self._batches(live_files, options))

    def _batches(self, live_files: Sequence[LiveFile], options: ReadOptions) -> Iterator[pa.RecordBatch]:
        """Read small files ahead in threads; a file of several row groups is streamed, to bound memory."""
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
            yield from self._read(parquet, live, options, file_index)

    def _read(
        self, parquet: pq.ParquetFile, live: LiveFile, options: ReadOptions, file_index: int
    ) -> Iterator[pa.RecordBatch]:
        stored = parquet.schema_arrow
        columns = file_columns(stored, options.schema)
        lineage = _lineage_columns(stored)
        wanted = [*columns.values(), *(lineage.values() if options.metadata_columns else ())]
        bitmap = options.deleted.get(live.path) or self._files.deleted_positions(live)
        deleted = positions_of(bitmap) if bitmap else None
        schema = options.arrow_schema()
        for group, first in _row_groups(parquet, live, options, columns):
            position = first
            for stored_rows in parquet.iter_batches(_BATCH_ROWS, row_groups=[group], columns=wanted):
                batch, positions = _selected(stored_rows, columns, options, deleted, position)
                position += stored_rows.num_rows
                if not batch.num_rows:
                    continue
                arrays = project(batch, columns, options.schema)
                arrays += [
                    self._metadata_column(name, batch, live, lineage, positions, file_index)
                    for name in options.metadata_columns
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def read_group(
        self, parquet: pq.ParquetFile, live: LiveFile, options: ReadOptions, group: int, first: int
    ) -> pa.RecordBatch:
        """Read one row group of an open file, deleted rows too.

        Args:
            parquet: The file.
            live: What the manifests say about it.
            options: The columns wanted.
            group: The row group's number.
            first: The position of its first row.
        """
        stored = parquet.schema_arrow
        columns, lineage = file_columns(stored, options.schema), _lineage_columns(stored)
        wanted = [*columns.values(), *(lineage.values() if options.metadata_columns else ())]
        # Without columns a batch would not know how many rows it has.
        table = parquet.read_row_group(group, columns=wanted or [stored.names[0]])
        batch = table.combine_chunks().to_batches()[0]
        arrays = project(batch, columns, options.schema)
        positions = np.arange(first, first + batch.num_rows)
        arrays += [self._metadata_column(n, batch, live, lineage, positions, 0) for n in options.metadata_columns]
        return pa.RecordBatch.from_arrays(arrays, schema=options.arrow_schema())

    def _metadata_column(
        self,
        name: str,
        batch: pa.RecordBatch,
        live: LiveFile,
        lineage: dict[int | None, str],
        positions: npt.NDArray[np.int64],
        index: int,
    ) -> pa.Array:
        rows = len(positions)
        if name == FILE_INDEX:
            return pa.repeat(pa.scalar(index, pa.int32()), rows)
        if name == POSITION:
            return pa.array(positions)
        if name == ROW_ID:
            first = live.file.first_row_id
            inherited = pa.nulls(rows, pa.int64()) if first is None else pa.array(first + positions)
            stored = lineage.get(ROW_ID_FIELD_ID)
        else:
            sequence = None if live.file.first_row_id is None else live.data.sequence_number
            inherited = pa.repeat(pa.scalar(sequence, pa.int64()), rows)
            stored = lineage.get(LAST_UPDATED_FIELD_ID)
        return inherited if stored is None else pc.coalesce(batch.column(stored), inherited)


@contextmanager
def named_when_corrupt(live: LiveFile) -> Iterator[None]:
    """Turn what libraries raise about a damaged data file into an error that names it.

    Raises:
        CorruptDataError: In their place.
    """
    try:
        yield
    except (pa.ArrowInvalid, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorruptDataError(
            f"The data file {live.path} cannot be read: {error}",
            hint="Restore it, or roll the dataset back.",
        ) from error


def open_parquet(source: pa.NativeFile, live: LiveFile) -> pq.ParquetFile:
    """Open a data file.

    Raises:
        CorruptDataError: If it has another number of rows than its manifest says.
    """
    parquet = pq.ParquetFile(source, pre_buffer=True)
    if parquet.metadata.num_rows != live.file.record_count:
        raise CorruptDataError(
            f"The data file {live.path} has {parquet.metadata.num_rows} rows, its manifest says "
            f"{live.file.record_count}."
        )
    return parquet


def _lineage_columns(stored: pa.Schema) -> dict[int | None, str]:
    return {field_id_of(f): f.name for f in stored if field_id_of(f) in (ROW_ID_FIELD_ID, LAST_UPDATED_FIELD_ID)}


def _selected(
    batch: pa.RecordBatch,
    columns: dict[int, str],
    options: ReadOptions,
    deleted: npt.NDArray[np.int64] | None,
    first: int,
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """Return the rows of a batch that are wanted, with their positions in the file.

    Rows are left out before anything is made of them: of a few keys' row groups hardly any row remains.
    """
    mask = None if deleted is None else keep_mask(deleted, first, batch.num_rows)
    for column, values in options.values:
        found = pc.is_in(project(batch, columns, column)[0], value_set=values)
        mask = found if mask is None else pc.and_(mask, found)
    if mask is None:
        return batch, np.arange(first, first + batch.num_rows)
    return batch.filter(mask), first + np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _row_groups(
    parquet: pq.ParquetFile, live: LiveFile, options: ReadOptions, columns: dict[int, str]
) -> Iterator[tuple[int, int]]:
    """Yield the row groups to read, each with the position of its first row."""
    # A column stored under another name may be confused with a later column of that name: it does not prune.
    same_name = Schema(*(f for f in options.schema.fields if columns.get(f.field_id) == f.name))
    several = parquet.metadata.num_row_groups > 1
    first = 0
    for index in range(parquet.metadata.num_row_groups):
        if not several or options.may_contain is None or options.may_contain(_as_file(parquet, index, live, same_name)):
            yield index, first
        first += parquet.metadata.row_group(index).num_rows


def _as_file(parquet: pq.ParquetFile, index: int, live: LiveFile, schema: Schema) -> ContentFile:
    """Describe a row group as if it were a file, so that one rule prunes both."""
    group = parquet.metadata.row_group(index)
    statistics = collect_statistics(parquet.metadata, schema, only_group=index)
    return ContentFile(
        Content.DATA, live.path, "PARQUET", live.file.spec_id, live.file.partition, group.num_rows,
        group.total_byte_size, **statistics,
    )  # fmt: skip
