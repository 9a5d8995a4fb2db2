"""Carrying a prepared write over to a table that has changed meanwhile, without working it out again.

That is possible where the outcome would be the same: the rows that the write takes out are still there, and no row came
that it would have looked at. Data files stay as they are then; only deletion vectors, which say what is deleted of
files that others deleted rows of too, and the snapshot's metadata are written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
from pyroaring import BitMap64

from cordillera.spec.merge import TOMBSTONES_PROPERTY, WriteMode
from cordillera.spec.snapshot_summary import CONTRACT_SUMMARY, OPERATION_SUMMARY
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.describe import describe_changes
from cordillera.table.difference import differing_files
from cordillera.table.file_changes import build_changes
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import Merge
from cordillera.table.prepared_write import Basis, PreparedWrite, StagedWrite
from cordillera.table.snapshot_producer import FileChanges, SnapshotProducer
from cordillera.table.source_rows import SOURCE
from cordillera.table.tombstones import Tombstones
from cordillera.table.write import TableWriter


class Rebase:
    """Looks at what has become of a table since a write was prepared for it.

    Args:
        writer: Prepared it.
        staged, prepared: The write.
        before: The table as it was when the write began.
        now: The table as it is.
    """

    def __init__(
        self,
        writer: TableWriter,
        staged: StagedWrite,
        prepared: PreparedWrite,
        before: TableMetadata,
        now: TableMetadata,
    ) -> None:
        self._writer, self._io = writer, writer.io
        self._staged, self._prepared, self._now = staged, prepared, now
        self._before = prepared.basis.metadata if prepared.basis else before

    def conflicts(self) -> bool:
        """Tell whether rows have changed that the write changes too, or rows have come that it would look at.

        Rows that were only moved, as compactions do, have not changed.

        Raises:
            DuplicateKeyError: If rows have come that have the key of an appended one.
        """
        before, now, basis = self._before.current_snapshot, self._now.current_snapshot, self._prepared.basis
        changed = differing_files(self._io, self._now, before, now)
        if basis is None:
            return bool(changed)
        touched = {live.path for live in changed.before}
        removed = {live: positions for live, positions in basis.removed.items() if live.path in touched}
        return self._found(removed, {live.path: live for live in changed.after}) is None

    def carried_over(self) -> PreparedWrite | None:
        """Return the write prepared for the table as it is; None if it has to be worked out again.

        Raises:
            DuplicateKeyError: If rows have come that have the key of an appended one.
        """
        basis = self._prepared.basis
        if basis is None or not self._same_rules():
            return None
        here = {live.path: live for live in self._io.files.live(self._now.current_snapshot)}
        gone = self._found(basis.removed, here)
        if gone is None:
            return None
        same_files = all(old.key == new.key for old, new in zip(basis.removed, gone, strict=True))
        if not same_files and self._now.write_mode is not WriteMode.MERGE_ON_READ:
            return None  # what it has written may hold rows of these files that others have deleted since
        with self._writer.all_or_nothing():
            changes = _moved(basis.changes, here) if same_files else self._rebuilt(basis, gone)
            return self._produced(replace(basis, metadata=self._now, changes=changes, removed=gone))

    # --- what has happened -----------------------------------------------------------------------------------------

    def _same_rules(self) -> bool:
        """Tell whether the table has the schema, partitioning, properties and tombstones that it had."""
        before, now = self._before, self._now
        return (
            before.current_schema_id == now.current_schema_id
            and before.default_spec_id == now.default_spec_id
            and before.format_version == now.format_version
            and before.tombstones == now.tombstones
            and _own_properties(before) == _own_properties(now)
        )

    def _found(
        self, removed: Mapping[LiveFile, BitMap64], here: Mapping[str, LiveFile]
    ) -> dict[LiveFile, BitMap64] | None:
        """Return rows that the write takes out, where they are now; None if it would look at others by now.

        Args:
            removed: The rows.
            here: Live files by path: all, or those that have changed.
        """
        gone: dict[LiveFile, BitMap64] = {}
        for live, positions in removed.items():
            found = here.get(live.path)
            if found is None or (found.key != live.key and self._deleted(found) & positions):
                return None
            gone[found] = positions
        return None if self._rows_came(here) else gone

    def _rows_came(self, here: Mapping[str, LiveFile]) -> bool:
        """Tell whether rows have come since that the write would have looked at."""
        before = {live.path: live for live in self._io.files.live(self._before.current_snapshot)}
        fresh = [live for path, live in here.items() if path not in before or self._came_back(before[path], live)]
        if not fresh:
            return False
        staged, now = self._staged, self._now
        if staged.batch is not None:
            tombstones = Tombstones(self._io.storage, self._io.engine, now, self._io.clock.new_id)
            merge = Merge(now, fresh, self._io, tombstones)
            keys = _numbered_keys(staged.batch, now)
            return bool(merge.match(keys, merge.candidates(keys)).num_rows)
        if staged.where is not None:
            return bool(self._writer.matching(staged.where, now, fresh))
        self._writer.refuse_stored_keys(staged.files, now, fresh, {})
        return False

    def _came_back(self, before: LiveFile, now: LiveFile) -> bool:
        """Tell whether rows of a file are there again that were deleted, as after a rollback."""
        return before.key != now.key and bool(self._deleted(before) - self._deleted(now))

    def _deleted(self, live: LiveFile) -> BitMap64:
        return self._io.files.deleted_positions(live) or BitMap64()

    # --- the new snapshot ------------------------------------------------------------------------------------------

    def _rebuilt(self, basis: Basis, gone: Mapping[LiveFile, BitMap64]) -> FileChanges:
        built = build_changes(self._io, self._now, None, gone)
        return replace(built, added=(*basis.changes.added, *built.added))

    def _produced(self, basis: Basis) -> PreparedWrite:
        prepared, io, now, changes = self._prepared, self._io, self._now, basis.changes
        assert prepared.snapshot is not None, "what has a basis has a snapshot"
        said = prepared.snapshot.summary
        summary = {name: said.get(name, "") for name in (OPERATION_SUMMARY, CONTRACT_SUMMARY, TOMBSTONES_PROPERTY)}
        producer = SnapshotProducer(io.storage, io.files, now, io.clock.new_id, io.now_ms())
        produced = producer.produce(changes, summary)
        entries = describe_changes(changes, now)
        lasting = {file.file_path for file in changes.added} | {vector.file_path for _, vector in changes.vectors}
        kept = [path for path in prepared.written if path in lasting or path in basis.written]
        vectors = [vector.file_path for _, vector in changes.vectors]
        written = tuple(dict.fromkeys([*kept, *vectors, *produced.written]))
        self._io.storage.delete(path for path in prepared.written if path not in written)
        return PreparedWrite(
            (*basis.requirements, *produced.requirements),
            (*basis.updates, *produced.updates),
            replace(
                prepared.manifest, entries=entries, partitions=tuple(sorted({entry.partition for entry in entries}))
            ),
            produced.snapshot,
            written,
            basis,
        )


def _moved(changes: FileChanges, here: Mapping[str, LiveFile]) -> FileChanges:
    """Return changes about the same files as the table has them now."""
    return FileChanges(
        changes.added,
        tuple(here[live.path] for live in changes.removed),
        tuple((here[live.path], vector) for live, vector in changes.vectors),
    )


def _numbered_keys(batch: pa.Table, metadata: TableMetadata) -> pa.Table:
    keys = batch.select(metadata.semantics.identifying)
    return keys.append_column(SOURCE, pa.array(np.arange(batch.num_rows, dtype=np.int64)))


def _own_properties(metadata: TableMetadata) -> dict[str, str]:
    return {name: value for name, value in metadata.properties.items() if not name.startswith(TOMBSTONES_PROPERTY)}
