"""Explaining what a write does to a table's files, without writing any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any

import pyarrow as pa
from pyiceberg.schema import Schema
from pyroaring import BitMap64

from cordillera.ports.storage import Storage
from cordillera.spec.explanation import FileAction, FileExplanation, reason
from cordillera.spec.maintenance import DEFAULT_TARGET_FILE_SIZE, TARGET_FILE_SIZE_PROPERTY, TableCounters
from cordillera.spec.merge import WriteMode
from cordillera.spec.partition_values import source_columns, split_by_partition
from cordillera.spec.table_metadata import TableMetadata
from cordillera.spec.write_cost import TouchedFile
from cordillera.table.content_file import Content, ContentFile
from cordillera.table.data_file import MayContain
from cordillera.table.file_changes import plan_changes
from cordillera.table.integer_keys import IntegerSearch
from cordillera.table.io import TableIO
from cordillera.table.key_lookup import KeyLookup
from cordillera.table.live_files import LiveFile, SnapshotFiles
from cordillera.table.parquet_encoding import ROW_GROUP_ROWS
from cordillera.table.pruning import KeyRange
from cordillera.table.reader import FileReader, ReadOptions
from cordillera.table.rewrite import PlacedRows
from cordillera.table.snapshot_producer import FileChanges


class Searched:
    """Of which files which columns are looked at."""

    def __init__(self) -> None:
        self._columns: dict[LiveFile, set[int]] = {}

    def note(self, live: LiveFile, schema: Schema) -> None:
        """Note that columns of a file are looked at."""
        self._columns.setdefault(live, set()).update(schema.field_ids)

    @property
    def files(self) -> int:
        """How many files are looked at."""
        return len(self._columns)

    @property
    def size(self) -> int:
        """The bytes of the columns, as they are stored."""
        sizes = ((live.file.column_sizes, columns) for live, columns in self._columns.items())
        return sum(size for known, columns in sizes for number, size in known.items() if number in columns)


class NotingReader(FileReader):
    """A reader that notes what it reads."""

    def __init__(self, storage: Storage, files: SnapshotFiles, searched: Searched) -> None:
        super().__init__(storage, files)
        self._searched = searched

    def read(self, live: LiveFile, options: ReadOptions, file_index: int = 0) -> Iterator[pa.RecordBatch]:
        """Read the rows of one file, and note it."""
        self._searched.note(live, options.schema)
        return super().read(live, options, file_index)


class NotingLookup(KeyLookup):
    """A lookup of keys that notes where it looks."""

    def __init__(self, storage: Storage, files: SnapshotFiles, searched: Searched) -> None:
        super().__init__(storage, files)
        self._searched = searched

    def find(self, live_files: Sequence[LiveFile], schema: Schema, keys: Sequence[KeyRange]) -> pa.Table:
        """Find the rows of keys, and note where they are looked for."""
        for live in live_files:
            self._searched.note(live, schema)
        return super().find(live_files, schema, keys)

    def stream(
        self,
        live_files: Sequence[LiveFile],
        schema: Schema,
        may_contain: MayContain,
        sought: IntegerSearch | None = None,
    ) -> pa.RecordBatchReader:
        """Stream the rows of files, and note them."""
        for live in live_files:
            self._searched.note(live, schema)
        return super().stream(live_files, schema, may_contain, sought)


def foreseen_changes(
    io: TableIO,
    metadata: TableMetadata,
    rows: pa.Table | None,
    removed: Mapping[LiveFile, BitMap64],
    placed: Mapping[LiveFile, PlacedRows] | None = None,
) -> FileChanges:
    """Return what ``build_changes`` would, without writing anything: new files are as large as their rows are now.

    Where rows go that leave the partitions of an earlier partitioning is told from the columns they are laid out by.
    """
    placed = placed or {}
    plan = plan_changes(io, metadata, removed, placed)
    alone = [
        _new_file(live.file.spec_id, live.file.partition, *_kept(live, gone, placed.get(live)))
        for live, gone in plan.copied.items()
        if live not in plan.gathered
    ]
    together = _Together(metadata)
    for live in plan.gathered:
        together.add_remaining(io, live, plan.copied[live])
    together.add_new(rows, removed)
    vectors = tuple((live, _vector(live, len(gone))) for live, gone in plan.marked.items())
    return FileChanges((*alone, *together.files()), (*plan.emptied, *plan.copied), vectors, plan.touched)


class _Together:
    """Rows of several origins that go to new files, by partition."""

    def __init__(self, metadata: TableMetadata) -> None:
        self._metadata, self._spec = metadata, metadata.partition_spec
        self._target = int(metadata.properties.get(TARGET_FILE_SIZE_PROPERTY, DEFAULT_TARGET_FILE_SIZE))
        self._rows: dict[tuple[Any, ...], int] = {}
        self._bytes: dict[tuple[Any, ...], float] = {}

    def add_remaining(self, io: TableIO, live: LiveFile, gone: BitMap64) -> None:
        """Add what remains of a file."""
        rows, size = _kept(live, gone, None)
        if live.file.spec_id == self._spec.spec_id or not self._spec.fields:
            self._add(live.file.partition if self._spec.fields else (), rows, size)
            return
        names = source_columns(self._spec, self._metadata.schema)
        read = ReadOptions(self._metadata.schema.select(*names), deleted={live.path: gone})
        for batch in io.reader.stream([live], read):
            self._add_batch(batch, size / max(rows, 1))

    def add_new(self, rows: pa.Table | None, removed: Mapping[LiveFile, BitMap64]) -> None:
        """Add new rows; each is taken to need as much as one of the files that rows leave, else of the table."""
        if rows is None or not rows.num_rows:
            return
        counters = TableCounters.of(self._metadata)
        size, number = counters.bytes, counters.records
        if removed:
            size = sum(live.file.file_size_in_bytes for live in removed)
            number = sum(live.file.record_count for live in removed)
        each = size / number if number else rows.nbytes / rows.num_rows
        for batch in rows.to_batches():
            self._add_batch(batch, each)

    def files(self) -> Iterator[ContentFile]:
        """Yield the files."""
        for partition, rows in self._rows.items():
            size = self._bytes[partition]
            group = max(size * ROW_GROUP_ROWS / max(rows, 1), 1)  # no file ends within one
            number = max(ceil(size / (ceil(self._target / group) * group)), 1)
            for index in range(number):
                share = rows * (index + 1) // number - rows * index // number
                yield _new_file(self._spec.spec_id, partition, share, round(size / number))

    def _add_batch(self, batch: pa.RecordBatch, each: float) -> None:
        for partition, rows in split_by_partition(self._spec, self._metadata.schema, batch):
            self._add(partition, rows.num_rows, rows.num_rows * each)

    def _add(self, partition: tuple[Any, ...], rows: int, size: float) -> None:
        self._rows[partition] = self._rows.get(partition, 0) + rows
        self._bytes[partition] = self._bytes.get(partition, 0.0) + size


def _kept(live: LiveFile, gone: BitMap64, placed: PlacedRows | None) -> tuple[int, int]:
    """Return how many rows a file has once it is written anew, and about how many bytes."""
    rows = live.file.record_count - len(gone) + (placed.rows.num_rows if placed else 0)
    return rows, round(live.file.file_size_in_bytes * rows / live.file.record_count)


def _new_file(spec_id: int, partition: tuple[Any, ...], rows: int, size: int) -> ContentFile:
    return ContentFile(Content.DATA, "", "PARQUET", spec_id, partition, rows, size)


def _vector(live: LiveFile, rows: int) -> ContentFile:
    return ContentFile(Content.POSITION_DELETES, "", "PUFFIN", live.file.spec_id, live.file.partition, rows, 0)


def explained_files(changes: FileChanges, mode: WriteMode) -> tuple[FileExplanation, ...]:
    """Tell what happens to each file that rows are taken out of."""
    actions = {live: FileAction.REWRITE if live in changes.touched else FileAction.DROP for live in changes.removed}
    actions.update((live, FileAction.MARK) for live, _ in changes.vectors)
    return tuple(_explained(live, action, mode, changes) for live, action in actions.items())


def _explained(live: LiveFile, action: FileAction, mode: WriteMode, changes: FileChanges) -> FileExplanation:
    rows = live.file.record_count
    file = changes.touched.get(live) or TouchedFile(live.file.file_size_in_bytes, rows, rows)
    return FileExplanation(live.path, action, reason(action, mode, file), file.size, file.rows, file.deleted)
