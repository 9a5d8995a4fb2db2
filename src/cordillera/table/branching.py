"""Going back to a snapshot, or taking one over from another branch: new snapshots out of files that are there."""

from __future__ import annotations

from dataclasses import replace

from pyroaring import BitMap64

from cordillera.errors import NotAllowedError
from cordillera.spec.commit import RemoveProperties, SetProperties, Update
from cordillera.spec.manifest import Manifest, TableOperation
from cordillera.spec.merge import TOMBSTONES_PROPERTY
from cordillera.spec.refs import ancestors
from cordillera.spec.requirements import AssertProperty
from cordillera.spec.snapshot_summary import CONTRACT_SUMMARY, OPERATION_SUMMARY, is_own
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.content_file import ContentFile
from cordillera.table.describe import describe_changes, describe_files
from cordillera.table.file_changes import build_changes
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.prepared_write import PreparedWrite
from cordillera.table.snapshot_producer import FileChanges, ProducedSnapshot, SnapshotProducer
from cordillera.table.tombstones import tombstones_as_of
from cordillera.table.write import TableWriter

SOURCE_SUMMARY = "source-snapshot-id"
"""Iceberg's entry of a cherry-picked snapshot's summary: the snapshot it was taken from."""


def tombstones_update(metadata: TableMetadata, index: str | None) -> tuple[Update, ...]:
    """Return what gives a branch other tombstones."""
    if index == metadata.tombstones:
        return ()
    name = metadata.tombstones_property
    return (RemoveProperties((name,)) if index is None else SetProperties({name: index}),)


class BranchWriter:
    """Prepares snapshots from earlier ones. No data file is written, unless a copy-on-write table needs it.

    Args:
        io: Access to the tables' files.
        dataset: The dataset's name, for error messages.
    """

    def __init__(self, io: TableIO, dataset: str) -> None:
        self._io, self._dataset = io, dataset

    def first(self, metadata: TableMetadata) -> PreparedWrite:
        """Prepare a snapshot without rows, for a branch of a table that has no snapshot yet."""
        produced = self._producer(metadata).produce(FileChanges(), {})
        return self._prepared(produced, Manifest(None, metadata.semantics.key), metadata, metadata.tombstones)

    def rollback(self, metadata: TableMetadata, earlier: IcebergSnapshot) -> PreparedWrite:
        """Prepare a snapshot with the files, deletes and tombstones of an earlier one.

        It gets a number of its own, so that whoever follows the table sees a commit like any other.
        """
        index = tombstones_as_of(metadata, earlier)
        summary = {
            OPERATION_SUMMARY: TableOperation.ROLLBACK.value,
            "cordillera.rollback-to": str(earlier.snapshot_id),
            TOMBSTONES_PROPERTY: index or "",
        }
        produced = self._producer(metadata).restore(earlier, summary)
        entries = describe_files(
            self._files_beside(earlier, metadata.current_snapshot),
            self._files_beside(metadata.current_snapshot, earlier),
            metadata,
        )
        partitions = tuple(sorted({entry.partition for entry in entries}))
        manifest = Manifest(TableOperation.ROLLBACK, metadata.semantics.key, partitions=partitions, entries=entries)
        return self._prepared(produced, manifest, metadata, index)

    def cherry_pick(self, metadata: TableMetadata, picked: IcebergSnapshot, manifest: Manifest | None) -> PreparedWrite:
        """Prepare a snapshot that does to a branch what another snapshot did to its parent.

        Args:
            metadata: The table, seen on the branch that takes it over.
            picked: The snapshot.
            manifest: What it changed.

        Raises:
            NotAllowedError: If the branch has it already, or has changed the rows that it changed.
            DuplicateKeyError: If it brings keys that the branch has got meanwhile.
        """
        self._refuse_known(metadata, picked)
        parent = self._parent(metadata, picked)
        index = self._tombstones(metadata, parent, picked)
        before, after = self._live(parent), self._live(picked)
        now = self._live(metadata.current_snapshot)
        gone = {now_live: rows for now_live, rows in self._gone(before, after, now, picked).items() if rows}
        fresh = [live for path, live in after.items() if path not in before]
        if any(live.vector or live.deletes for live in fresh):
            raise NotAllowedError(
                f"Snapshot {picked.sequence_number} of {self._dataset} adds rows that it deletes itself, which cannot "
                "be taken over by another branch.",
                hint="Read the rows from the branch and write them again.",
            )
        added = tuple(replace(live.file, first_row_id=None) for live in fresh)
        known = {live.key for live in before.values()}
        others = [live for live in now.values() if live.key not in known]
        TableWriter(self._io, self._dataset).refuse_stored_keys(added, metadata, others, gone)
        built = build_changes(self._io, metadata, None, gone)
        changes = replace(built, added=(*added, *built.added))
        said = picked.summary if is_own(picked) else {}
        summary = {
            **{name: said.get(name, "") for name in (OPERATION_SUMMARY, CONTRACT_SUMMARY)},
            SOURCE_SUMMARY: str(picked.snapshot_id),
            TOMBSTONES_PROPERTY: index or "",
        }
        produced = self._producer(metadata).produce(changes, summary)
        described = replace(
            manifest or Manifest(None, metadata.semantics.key), entries=describe_changes(changes, metadata)
        )
        prepared = self._prepared(produced, described, metadata, index)
        written = [file.file_path for file in built.added] + [vector.file_path for _, vector in built.vectors]
        return replace(prepared, written=(*prepared.written, *dict.fromkeys(written)))

    # --- what a snapshot changed -----------------------------------------------------------------------------------

    def _gone(
        self,
        before: dict[str, LiveFile],
        after: dict[str, LiveFile],
        now: dict[str, LiveFile],
        picked: IcebergSnapshot,
    ) -> dict[LiveFile, BitMap64]:
        """Return the rows that a snapshot took out, where they are now.

        Raises:
            NotAllowedError: If some of them are not there any more.
        """
        gone: dict[LiveFile, BitMap64] = {}
        for path, live in before.items():
            successor = after.get(path)
            if successor is not None and successor.key == live.key:
                continue
            earlier = self._deleted(live)
            rows = BitMap64(range(live.file.record_count)) if successor is None else self._deleted(successor)
            if earlier - rows:
                raise NotAllowedError(
                    f"Snapshot {picked.sequence_number} of {self._dataset} brings deleted rows back, which cannot be "
                    "taken over by another branch.",
                    hint="Roll the branch back itself, or publish the other one.",
                )
            here = now.get(path)
            if here is None or (self._deleted(here) & (rows - earlier)):
                raise NotAllowedError(
                    f"Snapshot {picked.sequence_number} of {self._dataset} changes rows that have been changed or "
                    "moved since.",
                    hint="Read the rows from the branch and write them again.",
                )
            gone[here] = rows - earlier
        return gone

    def _refuse_known(self, metadata: TableMetadata, picked: IcebergSnapshot) -> None:
        for snapshot in ancestors(metadata, metadata.current_snapshot_id):
            if picked.snapshot_id == snapshot.snapshot_id or str(picked.snapshot_id) == snapshot.summary.get(
                SOURCE_SUMMARY
            ):
                raise NotAllowedError(
                    f"The branch {metadata.branch} of {self._dataset} has snapshot {picked.sequence_number} already.",
                    hint=f"It is there as snapshot {snapshot.sequence_number}.",
                )

    def _parent(self, metadata: TableMetadata, picked: IcebergSnapshot) -> IcebergSnapshot | None:
        if picked.parent_snapshot_id is None:
            return None
        parent = metadata.snapshot_by_id(picked.parent_snapshot_id)
        if parent is None:
            raise NotAllowedError(
                f"What snapshot {picked.sequence_number} of {self._dataset} changed cannot be told: the one before it "
                "has expired.",
                hint="Read the rows from the branch and write them again.",
            )
        return parent

    def _tombstones(
        self, metadata: TableMetadata, parent: IcebergSnapshot | None, picked: IcebergSnapshot
    ) -> str | None:
        """Return the tombstones the branch has afterwards; both sides must not have added some."""
        before = tombstones_as_of(metadata, parent) if parent else None
        if metadata.semantics.sequence and before != metadata.tombstones:
            raise NotAllowedError(
                f"Rows of {self._dataset} have been deleted on one branch and not on the other, so it cannot be told "
                f"which rows of snapshot {picked.sequence_number} are late.",
                hint="Read the rows from the branch and write them again.",
            )
        return tombstones_as_of(metadata, picked)

    def _live(self, snapshot: IcebergSnapshot | None) -> dict[str, LiveFile]:
        return {live.path: live for live in self._io.files.live(snapshot)}

    def _deleted(self, live: LiveFile) -> BitMap64:
        return self._io.files.deleted_positions(live) or BitMap64()

    def _files_beside(self, one: IcebergSnapshot | None, other: IcebergSnapshot | None) -> list[ContentFile]:
        """Return the data files and vectors of a snapshot that another one does not have."""
        theirs = self._live(other)
        found = []
        for path, live in self._live(one).items():
            if path not in theirs:
                found.append(live.file)
            if live.vector is not None and (path not in theirs or theirs[path].key != live.key):
                found.append(live.vector.file)
        return found

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _prepared(
        self, produced: ProducedSnapshot, manifest: Manifest, metadata: TableMetadata, index: str | None
    ) -> PreparedWrite:
        unchanged = AssertProperty(metadata.tombstones_property, metadata.tombstones)
        return PreparedWrite(
            (*produced.requirements, unchanged),
            (*produced.updates, *tombstones_update(metadata, index)),
            manifest,
            produced.snapshot,
            produced.written,
        )

    def _producer(self, metadata: TableMetadata) -> SnapshotProducer:
        return SnapshotProducer(self._io.storage, self._io.files, metadata, self._io.clock.new_id, self._io.now_ms())
