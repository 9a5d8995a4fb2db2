"""Compaction: rows move into fewer, larger or better sorted files. No row changes, so no reader sees a difference.

A group of files is rewritten without holding anything; only the commit looks at the table again. Rows that were
deleted from a rewritten file meanwhile are found in the new files by their row ids and deleted there as well. A group
one of whose files is gone by then, or has changed in another way, is stale: its new files are of no use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap64

from cordillera.errors import CorruptDataError
from cordillera.spec import sql
from cordillera.spec.maintenance import Strategy
from cordillera.spec.manifest import Manifest, TableOperation
from cordillera.spec.partition_values import source_columns
from cordillera.spec.table_metadata import UNSORTED, TableMetadata
from cordillera.table.compaction_plan import CompactionPlanner, RewriteGroup, live_bytes
from cordillera.table.content_file import ContentFile, ManifestEntry, Status
from cordillera.table.data_file import FILE_INDEX, POSITION
from cordillera.table.data_writer import ROW_ID, TARGET_FILE_SIZE_PROPERTY
from cordillera.table.describe import describe_changes
from cordillera.table.file_changes import LINEAGE, data_writer, write_vectors
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import positions_by_file
from cordillera.table.prepared_write import PreparedWrite
from cordillera.table.reader import ReadOptions
from cordillera.table.snapshot_producer import FileChanges, SnapshotProducer
from cordillera.table.z_order import z_values

_PLACE = "_place"
_AT_ONCE = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class StagedGroup:
    """A group whose rows have been written to new files."""

    group: RewriteGroup
    files: tuple[ContentFile, ...]
    format_version: int
    spec_id: int


@dataclass(frozen=True, slots=True)
class ResolvedGroups:
    """What can be committed of staged groups, and those that other commits have overtaken."""

    prepared: PreparedWrite | None
    kept: tuple[StagedGroup, ...]
    stale: tuple[StagedGroup, ...]


class Compactor(CompactionPlanner):
    """Plans, stages and prepares compactions of one table.

    Args:
        io: Access to the table's files.
        dataset: The dataset's name, for error messages.
        options: What to do.
    """

    # --- staging -----------------------------------------------------------------------------------------------------

    def still_there(self, groups: Sequence[RewriteGroup], metadata: TableMetadata) -> list[RewriteGroup]:
        """Return the groups none of whose files is gone by now."""
        live = {one.path for one in self._io.files.live(metadata.current_snapshot)}
        return [group for group in groups if all(one.path in live for one in group.files)]

    def stage(self, groups: Sequence[RewriteGroup], metadata: TableMetadata) -> list[StagedGroup]:
        """Write the rows of groups to new files, in bounded memory. On an error nothing remains in storage."""
        staged: list[StagedGroup] = []
        # Sorting has the engine's threads already, and its memory.
        sorting = self._options.strategy is not Strategy.BIN_PACK or self._in_table_order(metadata)
        at_once = 1 if sorting else _AT_ONCE
        with ThreadPoolExecutor(at_once, thread_name_prefix="cordillera-compact") as pool:
            futures = [pool.submit(self._stage, group, metadata) for group in groups]
            failures = [failure for future in futures if (failure := future.exception())]
            staged = [future.result() for future in futures if not future.exception()]
        if failures:
            self.discard(staged)
            raise failures[0]
        return staged

    def discard(self, staged: Sequence[StagedGroup]) -> None:
        """Remove the new files of groups that will not be committed."""
        self._io.storage.delete(file.file_path for one in staged for file in one.files)

    def _stage(self, group: RewriteGroup, metadata: TableMetadata) -> StagedGroup:
        target = self._target(metadata)
        if self._options.strategy is Strategy.BIN_PACK and sum(map(live_bytes, group.files)) <= target:
            target *= 2  # the rows are one file; a little more than was estimated is not to become a second one
        properties = {**metadata.properties, TARGET_FILE_SIZE_PROPERTY: str(target)}
        laid_out = metadata.with_changes(properties=properties)
        if not self._in_table_order(metadata):
            laid_out = laid_out.with_changes(default_sort_order_id=UNSORTED["order-id"])
        files = data_writer(self._io, laid_out).write(self._rows(group, metadata))
        staged = StagedGroup(group, tuple(files), metadata.format_version, metadata.default_spec_id)
        if sum(file.record_count for file in files) != group.rows:
            self.discard([staged])
            raise CorruptDataError(
                f"Compacting {self._dataset} moved {sum(file.record_count for file in files)} of {group.rows} rows, "
                "so it was given up.",
                hint="Look for damaged files with: cordillera doctor.",
            )
        return staged

    def _rows(self, group: RewriteGroup, metadata: TableMetadata) -> Iterator[pa.RecordBatch]:
        lineage = LINEAGE if metadata.format_version >= 3 else ()
        options = ReadOptions(metadata.schema, lineage)
        columns = self._columns(metadata)
        if not columns and not self._in_table_order(metadata):
            return self._io.reader.batches(group.files, replace(options, dictionaries=_kept_as_stored(metadata)))
        rows = self._io.reader.stream(group.files, options)
        if not columns:
            return iter(rows)  # which are sorted as they are written
        match self._options.strategy:
            case Strategy.SORT:
                return self._sorted(rows, ", ".join(_sort_terms(columns, rows.schema)))
            case _:
                return self._sorted(self._placed(rows, group, columns, metadata), _PLACE)

    def _sorted(self, rows: pa.RecordBatchReader, terms: str) -> Iterator[pa.RecordBatch]:
        """Sort by the engine, which spills what its memory does not hold."""
        schema = pa.schema([field for field in rows.schema if field.name != _PLACE])
        ordered = self._io.engine.query(
            f"SELECT {sql.columns(schema.names)} FROM source ORDER BY {terms}", {"source": rows}
        )
        return (batch.cast(schema) for batch in ordered)

    def _placed(
        self, rows: pa.RecordBatchReader, group: RewriteGroup, columns: Sequence[str], metadata: TableMetadata
    ) -> pa.RecordBatchReader:
        """Return the rows with their places on the curve, for which the columns are read beforehand."""
        read = ReadOptions(metadata.schema.select(*columns))
        table = self._io.reader.stream(group.files, read).read_all()
        places = z_values([table.column(name) for name in columns]) if table.num_rows else np.zeros(0, np.uint64)
        schema = rows.schema.append(pa.field(_PLACE, pa.uint64()))

        def batches() -> Iterator[pa.RecordBatch]:
            first = 0
            for batch in rows:
                place = pa.array(places[first : first + batch.num_rows], pa.uint64())
                yield pa.RecordBatch.from_arrays([*batch.columns, place], schema=schema)
                first += batch.num_rows

        return pa.RecordBatchReader.from_batches(schema, batches())

    # --- resolving ---------------------------------------------------------------------------------------------------

    def resolve(self, staged: Sequence[StagedGroup], metadata: TableMetadata) -> ResolvedGroups:
        """Prepare the commit of staged groups on the table as it is now."""
        live = {one.path: one for one in self._io.files.live(metadata.current_snapshot)}
        kept: list[StagedGroup] = []
        removed: list[LiveFile] = []
        late: dict[LiveFile, BitMap64] = {}
        for one in staged:
            now = [live[then.path] for then in one.group.files if then.path in live]
            deletes = self._deleted_meanwhile(one, now, metadata) if len(now) == len(one.group.files) else None
            if deletes is None:
                continue
            kept.append(one)
            removed += now
            late |= deletes
        stale = tuple(one for one in staged if one not in kept)
        if not kept:
            return ResolvedGroups(None, (), stale)
        vectors = write_vectors(self._io, metadata, late)
        added = tuple(file for one in kept for file in one.files)
        changes = FileChanges(added, tuple(removed), vectors)
        return ResolvedGroups(self._prepare(changes, metadata), tuple(kept), stale)

    def _prepare(self, changes: FileChanges, metadata: TableMetadata) -> PreparedWrite:
        summary = {"operation": "replace", "cordillera.operation": TableOperation.COMPACT.value}
        io = self._io
        producer = SnapshotProducer(io.storage, io.files, metadata, io.clock.new_id, io.now_ms())
        produced = producer.produce(changes, summary)
        entries = describe_changes(changes, metadata)
        manifest = Manifest(
            TableOperation.COMPACT,
            metadata.semantics.key,
            partitions=tuple(sorted({entry.partition for entry in entries})),
            entries=entries,
        )
        written = dict.fromkeys([*(vector.file_path for _, vector in changes.vectors), *produced.written])
        return PreparedWrite(produced.requirements, produced.updates, manifest, produced.snapshot, tuple(written))

    def _deleted_meanwhile(
        self, staged: StagedGroup, now: Sequence[LiveFile], metadata: TableMetadata
    ) -> dict[LiveFile, BitMap64] | None:
        """Return where in the new files rows lie that have been deleted from the old ones since; None if it is stale.

        Only deletion vectors are carried over, and only where rows have ids to be found by.
        """
        if metadata.format_version != staged.format_version:
            return None  # after an upgrade the old files have row ids that the new ones do not know
        if metadata.default_spec_id != staged.spec_id:
            return None  # the new files are not laid out as files are by now
        pairs = [pair for pair in zip(staged.group.files, now, strict=True) if pair[0].key != pair[1].key]
        if any(replace(after, vector=before.vector).key != before.key for before, after in pairs):
            return None
        ids = [self._ids_deleted(before, after, metadata) for before, after in pairs]
        wanted = np.concatenate(ids) if ids else np.zeros(0, np.int64)
        if not len(wanted):
            return {}
        return self._positions_of(wanted, staged.files, metadata) if metadata.format_version >= 3 else None

    def _ids_deleted(self, before: LiveFile, after: LiveFile, metadata: TableMetadata) -> Any:
        """Return the row ids of rows that are deleted from a file now and were not before."""
        files = self._io.files
        gone = (files.deleted_positions(after) or BitMap64()) - (files.deleted_positions(before) or BitMap64())
        positions = pa.array(np.asarray(gone.to_array(), dtype=np.int64))
        options = ReadOptions(metadata.schema.select(), (ROW_ID, POSITION))
        rows = self._io.reader.stream([before], options).read_all()
        found = rows.filter(pc.is_in(rows.column(POSITION), value_set=positions))
        return found.column(ROW_ID).to_numpy()

    def _positions_of(
        self, row_ids: Any, files: Sequence[ContentFile], metadata: TableMetadata
    ) -> dict[LiveFile, BitMap64] | None:
        new = [LiveFile(ManifestEntry(Status.ADDED, None, None, None, file), None) for file in files]
        options = ReadOptions(metadata.schema.select(), (FILE_INDEX, POSITION, ROW_ID))
        wanted = pa.array(row_ids)
        found = pa.Table.from_batches(
            (
                batch.filter(pc.is_in(batch.column(ROW_ID), value_set=wanted))
                for batch in self._io.reader.stream(new, options)
            ),
            schema=options.arrow_schema(),
        )
        return positions_by_file(found, new) if found.num_rows == len(wanted) else None


def _kept_as_stored(metadata: TableMetadata) -> frozenset[str]:
    """Return the columns whose values nobody looks at when rows move: all but those of the partitioning."""
    looked_at = source_columns(metadata.partition_spec, metadata.schema)
    return frozenset(field.name for field in metadata.schema.fields if field.name not in looked_at)


def _sort_terms(columns: Sequence[str], schema: pa.Schema) -> list[str]:
    return [f"{sql.sort_terms([name], schema)} NULLS LAST" for name in columns]
