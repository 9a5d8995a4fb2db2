"""Writing: rows are staged once, then resolved against the table as often as the race for the commit needs.

Staging reads the input. Resolving decides which stored rows go and writes the snapshot's metadata; nothing is
visible until the prepared write's updates are committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
from pyroaring import BitMap64

from cordillera.errors import InvalidInputError, NotAllowedError
from cordillera.spec.commit import SetProperties, Update
from cordillera.spec.explanation import FileAction, WriteExplanation
from cordillera.spec.expression import RowFilter
from cordillera.spec.manifest import Manifest
from cordillera.spec.merge import TOMBSTONES_PROPERTY, Operation
from cordillera.spec.requirements import AssertCurrentSchemaId, AssertProperty, Requirement
from cordillera.spec.snapshot_summary import CONTRACT_SUMMARY, OPERATION_SUMMARY
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.conditional_merge import ConditionalMerge
from cordillera.table.content_file import ContentFile
from cordillera.table.data_file import FILE_INDEX, POSITION
from cordillera.table.data_writer import ROW_ID
from cordillera.table.describe import describe_changes
from cordillera.table.explanation import NotingLookup, NotingReader, Searched, explained_files, foreseen_changes
from cordillera.table.file_changes import ChangesBuilder, build_changes
from cordillera.table.keyed_write import computes_rows, merged
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import positions_by_file
from cordillera.table.partitions import RowsOfPartitions
from cordillera.table.prepared_write import Basis, PreparedWrite, StagedWrite
from cordillera.table.pruning import FilterCover, FilterPruner
from cordillera.table.reader import ReadOptions
from cordillera.table.snapshot_producer import FileChanges, SnapshotProducer
from cordillera.table.staging import WriteStaging
from cordillera.table.stored_keys import as_live, refuse_stored_keys
from cordillera.table.tombstones import Tombstones


@dataclass(frozen=True, slots=True)
class _Resolved:
    """What a staged write does to the table, before metadata is written."""

    changes: FileChanges
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    late: int = 0
    tombstones: pa.Table | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[LiveFile, BitMap64] | None = None
    """The rows taken out, if the write has looked at no others."""


class TableWriter(WriteStaging):
    """Prepares writes to tables.

    Args:
        io: Access to the tables' files.
        dataset: The dataset's name, for error messages.
    """

    def resolve(self, staged: StagedWrite, metadata: TableMetadata) -> PreparedWrite:
        """Decide what a staged write does to the table as it is, and write the snapshot's metadata.

        Raises:
            DuplicateKeyError: If an append or a replacement brings a key that is stored and stays.
        """
        with self._journal.all_or_nothing():
            return self._prepare(staged, metadata)

    def discard(self, prepared: PreparedWrite) -> None:
        """Remove what resolving wrote for a commit that did not happen."""
        self._io.storage.delete(prepared.written)

    def explain(self, staged: StagedWrite, metadata: TableMetadata) -> WriteExplanation:
        """Work out what a staged write does to the table as it is, without writing anything."""
        searched = Searched()
        self._io.reader = NotingReader(self._io.storage, self._io.files, searched)
        self._io.keys = NotingLookup(self._io.storage, self._io.files, searched)
        with self._journal.all_or_nothing():
            resolved = self._resolve(staged, metadata, foreseen_changes)
        changes, live = resolved.changes, self._live(metadata)
        files = explained_files(changes, metadata.write_mode)
        return WriteExplanation(
            operation=staged.operation,
            write_mode=metadata.write_mode,
            rows_inserted=resolved.inserted,
            rows_updated=resolved.updated,
            rows_deleted=resolved.deleted,
            rows_late=resolved.late,
            files_in_table=len(live),
            files_searched=searched.files,
            bytes_searched=searched.size,
            bytes_rewritten=sum(file.size for file in files if file.action is FileAction.REWRITE),
            files_written=len(changes.added),
            bytes_written=sum(file.file_size_in_bytes for file in changes.added),
            vectors_written=len(changes.vectors),
            files=files,
        )

    def _prepare(self, staged: StagedWrite, metadata: TableMetadata) -> PreparedWrite:
        resolved = self._resolve(staged, metadata)
        updates: list[Update] = []
        staged_paths = {file.file_path for file in staged.files}
        written = [vector.file_path for _, vector in resolved.changes.vectors]
        written += [f.file_path for f in resolved.changes.added if f.file_path not in staged_paths]
        requirements: list[Requirement] = [AssertCurrentSchemaId(metadata.current_schema_id)]
        if metadata.semantics.sequence:
            requirements.append(AssertProperty(metadata.tombstones_property, metadata.tombstones))
        index = metadata.tombstones
        beside: tuple[str, ...] = ()
        if resolved.tombstones is not None:
            index, beside = self._tombstones(metadata).added(resolved.tombstones)
            updates.append(SetProperties({metadata.tombstones_property: index}))
            written += beside
        requirements += [AssertProperty(name, metadata.properties.get(name)) for name in resolved.properties]
        updates += [SetProperties(resolved.properties)] if resolved.properties else []
        manifest = self._manifest(staged, resolved, metadata)
        snapshot = basis = None
        # Tombstones belong to a snapshot, even if no row went: a branch is made with those of its own.
        if resolved.changes or resolved.tombstones is not None:
            if resolved.removed is not None:
                basis = Basis(metadata, resolved.changes, resolved.removed, tuple(requirements), tuple(updates), beside)
            said = {OPERATION_SUMMARY: staged.operation.value, CONTRACT_SUMMARY: self._contract}
            produced = self._producer(metadata).produce(resolved.changes, {**said, TOMBSTONES_PROPERTY: index or ""})
            snapshot, written = produced.snapshot, [*written, *produced.written]
            requirements, updates = [*requirements, *produced.requirements], [*updates, *produced.updates]
        else:  # that no row changes follows from the rows there are; tombstones alone would miss rows that come
            requirements += self._producer(metadata).requirements
        written = list(dict.fromkeys(written))
        return PreparedWrite(tuple(requirements), tuple(updates), manifest, snapshot, tuple(written), basis)

    def _resolve(
        self, staged: StagedWrite, metadata: TableMetadata, build: ChangesBuilder = build_changes
    ) -> _Resolved:
        if staged.batch is not None:
            return self._merge(staged, metadata, staged.batch, build)
        if staged.operation is Operation.APPEND:
            self.refuse_stored_keys(staged.files, metadata, self._live(metadata), {})
            return replace(_replaced(staged, ()), removed={})
        if staged.operation is Operation.REPLACE_PARTITIONS:
            return self._replace_rows(staged, metadata, self._same_partitions(staged.files, metadata), build)
        if staged.where is None:
            return _replaced(staged, self._live(metadata))
        return self._replace_where(staged, metadata, staged.where, build)

    def _merge(self, staged: StagedWrite, metadata: TableMetadata, batch: pa.Table, build: ChangesBuilder) -> _Resolved:
        live = self._live(metadata)
        if staged.clauses:
            result = ConditionalMerge(self._io, metadata, live, staged.clauses, self._dataset).merge(batch)
        else:
            result = merged(self._io, staged.operation, batch, metadata, live, self._dataset)
        _pass_on(staged.inspect(iter(result.rows.drop_columns([ROW_ID]).to_batches())))
        if staged.operation is Operation.PARTIAL_UPDATE and result.new is not None:
            _pass_on(staged.inspect_new(iter(result.new.to_batches())))
        changes = build(self._io, metadata, result.rows, result.removed, result.placed)
        semantics = metadata.semantics
        computed = computes_rows(staged.operation, batch.column_names, semantics)
        looked_at_others = result.late or staged.clauses or computed or semantics.history is not None
        removed = None if looked_at_others else result.removed
        counts = (result.inserted, result.updated, result.deleted, result.late)
        return _Resolved(changes, *counts, result.tombstones, result.properties, removed)

    def _replace_where(
        self, staged: StagedWrite, metadata: TableMetadata, where: RowFilter, build: ChangesBuilder
    ) -> _Resolved:
        """Take out the rows a filter is true for, and put in the staged ones, which all have to satisfy it."""
        strangers = self._count_outside(staged.files, metadata, where)
        if strangers:
            raise InvalidInputError(
                f"{strangers} of the rows that replace {where.sql} in {self._dataset} do not satisfy that condition.",
                hint="Leave them out, or widen the condition.",
            )
        return self._replace_rows(staged, metadata, self.matching(where, metadata, self._live(metadata)), build)

    def _replace_rows(
        self, staged: StagedWrite, metadata: TableMetadata, gone: Mapping[LiveFile, BitMap64], build: ChangesBuilder
    ) -> _Resolved:
        """Take out rows and put in the staged ones."""
        rest = [live for live in self._live(metadata) if len(gone.get(live, ())) < live.live_rows]
        self.refuse_stored_keys(staged.files, metadata, rest, gone)
        built = build(self._io, metadata, None, gone, None)
        deleted = sum(min(len(positions), live.live_rows) for live, positions in gone.items())
        changes = replace(built, added=(*built.added, *staged.files))
        removed = gone if staged.operation is Operation.DELETE else None
        return _Resolved(changes, sum(f.record_count for f in staged.files), 0, deleted, removed=removed)

    def _count_outside(self, files: Sequence[ContentFile], metadata: TableMetadata, where: RowFilter) -> int:
        if not files:
            return 0
        rows = self._stream(files, metadata, where.columns or [metadata.schema.fields[0].name])
        counted = self._io.engine.table(
            f"SELECT count(*) AS n FROM source WHERE ({where.sql}) IS NOT TRUE", {"source": rows}
        )
        return int(counted.column("n")[0].as_py())

    def matching(
        self, where: RowFilter, metadata: TableMetadata, live_files: Sequence[LiveFile]
    ) -> dict[LiveFile, BitMap64]:
        """Return the positions of live rows that a filter is true for; all of a file where statistics tell so."""
        pruner = FilterPruner(metadata, metadata.schema, where.pruning)
        covers = FilterCover(metadata.schema, where.columns, where.certain)
        candidates = [live for live in live_files if pruner(live.file)]
        covered = {live: live.every_position() for live in candidates if covers(live.file)}
        candidates = [live for live in candidates if live not in covered]
        if not candidates:
            return covered
        read = metadata.schema.select(*(where.columns or [metadata.schema.fields[0].name]))
        options = ReadOptions(read, (FILE_INDEX, POSITION), pruner)
        found = self._io.engine.table(
            f"SELECT {FILE_INDEX}, {POSITION} FROM stored WHERE {where.sql}",
            {"stored": self._io.reader.stream(candidates, options)},
        )
        return {**covered, **positions_by_file(found, candidates)}

    def refuse_stored_keys(
        self,
        files: Sequence[ContentFile],
        metadata: TableMetadata,
        stored: Sequence[LiveFile],
        leaving: Mapping[LiveFile, BitMap64],
    ) -> None:
        """Refuse new data files that repeat a key which is stored and stays; see ``cordillera.table.stored_keys``."""
        refuse_stored_keys(self._io, as_live(files), metadata, stored, leaving, self._dataset)

    def _same_partitions(self, files: Sequence[ContentFile], metadata: TableMetadata) -> dict[LiveFile, BitMap64]:
        """Return the stored rows of the partitions that files are of."""
        if not metadata.partition_spec.fields:
            raise NotAllowedError(
                f"{self._dataset} has no partitions to replace.",
                hint="Use replace, or replace with a condition.",
            )
        partitions = {file.partition for file in files}
        return RowsOfPartitions(self._io, metadata, partitions).find(self._live(metadata))

    def _live(self, metadata: TableMetadata) -> tuple[LiveFile, ...]:
        return self._io.files.live(metadata.current_snapshot)

    def _tombstones(self, metadata: TableMetadata) -> Tombstones:
        return Tombstones(self._io.storage, self._io.engine, metadata, self._io.clock.new_id)

    def _producer(self, metadata: TableMetadata) -> SnapshotProducer:
        return SnapshotProducer(self._io.storage, self._io.files, metadata, self._io.clock.new_id, self._io.now_ms())

    def _manifest(self, staged: StagedWrite, resolved: _Resolved, metadata: TableMetadata) -> Manifest:
        entries = describe_changes(resolved.changes, metadata)
        return Manifest(
            operation=staged.operation,
            key=metadata.semantics.key,
            rows_inserted=resolved.inserted,
            rows_updated=resolved.updated,
            rows_deleted=resolved.deleted,
            rows_late=resolved.late,
            partitions=tuple(sorted({entry.partition for entry in entries})),
            entries=entries,
        )


def _replaced(staged: StagedWrite, gone: Sequence[LiveFile]) -> _Resolved:
    inserted = sum(file.record_count for file in staged.files)
    deleted = sum(live.live_rows for live in gone)
    return _Resolved(FileChanges(staged.files, tuple(gone)), inserted, 0, deleted)


def _pass_on(batches: Iterator[pa.RecordBatch]) -> None:
    """Let whoever looks at rows see them all."""
    for _ in batches:
        pass
