"""Turning changes to files into a new snapshot: manifests, manifest list and the updates that a commit needs.

Follows the Iceberg specification, "Snapshots", "Manifests" and "Row Lineage": a removed file's manifest is rewritten
without it, the removed entry is kept once with status DELETED; row ids are assigned to every manifest that does not
have them yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from uuid import UUID

from cordillera.ports.storage import Storage
from cordillera.spec.commit import AddSnapshot, SetSnapshotRef, Update
from cordillera.spec.merge import TOMBSTONES_PROPERTY
from cordillera.spec.requirements import AssertDefaultSpecId, AssertRefSnapshot, AssertTableUuid, Requirement
from cordillera.spec.snapshot_summary import ENGINE_NAME
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.spec.write_cost import TouchedFile
from cordillera.table.content_file import Content, ContentFile, ManifestEntry, ManifestFile, Status
from cordillera.table.live_files import LiveFile, SnapshotFiles
from cordillera.table.manifest_encoding import encode_manifest, encode_manifest_list, partition_summaries
from cordillera.table.manifests import DATA, DELETES

_SMALL_MANIFEST_ENTRIES = 1_000
_SMALL_MANIFESTS_TO_MERGE = 32
MANIFEST_ENTRIES = 8_000
"""Most entries of a manifest that is written anew: some megabytes, as other engines make them."""
_WRITERS = 8
_RETENTION = ("max-ref-age-ms", "max-snapshot-age-ms", "min-snapshots-to-keep")


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What a snapshot does to the files of its parent.

    Attributes:
        added: New data files.
        removed: Live files that go away, with their deletion vectors.
        vectors: New deletion vectors, each with the live file it belongs to; they take the place of earlier ones.
        touched: What was known of the files of which some rows go and some remain, marked or written anew.
    """

    added: tuple[ContentFile, ...] = ()
    removed: tuple[LiveFile, ...] = ()
    vectors: tuple[tuple[LiveFile, ContentFile], ...] = ()
    touched: Mapping[LiveFile, TouchedFile] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.vectors)

    @property
    def operation(self) -> str:
        """Iceberg's name for what the snapshot does."""
        if not self.removed and not self.vectors:
            return "append"
        return "overwrite" if self.added else "delete"


@dataclass(frozen=True, slots=True)
class ProducedSnapshot:
    """A snapshot whose files are written, and what has to be committed to make it visible."""

    snapshot: IcebergSnapshot
    requirements: tuple[Requirement, ...]
    updates: tuple[Update, ...]
    written: tuple[str, ...]


class SnapshotProducer:
    """Writes the manifests of one new snapshot on top of a table's current one, or that of the branch it is seen on.

    Args:
        storage: Where metadata is written.
        files: Knows the manifests of the current snapshot.
        metadata: The table as the writer read it.
        new_id: Mints ids for file names and the snapshot.
        now_ms: The commit's time.
    """

    def __init__(
        self,
        storage: Storage,
        files: SnapshotFiles,
        metadata: TableMetadata,
        new_id: Callable[[], UUID],
        now_ms: int,
    ) -> None:
        self._storage, self._files, self._metadata = storage, files, metadata
        self._new_id, self._now_ms = new_id, now_ms
        self._snapshot_id = new_id().int >> 65  # 63 bits: positive in every language
        self._sequence = metadata.last_sequence_number + 1
        self._written: list[str] = []
        self._unwritten: list[tuple[str, bytes]] = []
        self._entries: dict[str, list[ManifestEntry]] = {}
        self._unneeded: list[ManifestEntry] = []

    def produce(
        self, changes: FileChanges, summary: dict[str, str], *, rewrite_manifests: bool = False
    ) -> ProducedSnapshot:
        """Write the snapshot's manifests and manifest list.

        Args:
            changes: What it does to files.
            summary: Goes into the snapshot's summary, and there before what is worked out; empty values are left out.
            rewrite_manifests: Write all manifests anew, each with the files of few partitions.
        """
        parent = self._metadata.current_snapshot
        self._unneeded = self._unneeded_deletes(parent, changes)
        kept = self._rewrite_manifests(self._files.manifests(parent), changes)
        arranged = self._clustered(kept) if rewrite_manifests else self._merge_small(kept)
        path = self._write_list([*self._added_manifests(changes), *arranged])
        return self._produced(self._snapshot(path, _summary(parent, changes, self._unneeded, summary)))

    def restore(self, earlier: IcebergSnapshot, summary: dict[str, str]) -> ProducedSnapshot:
        """Write a manifest list that has the files of an earlier snapshot again."""
        path = self._write_list([m for m in self._files.manifests(earlier) if _carries(m, self._snapshot_id)])
        totals = {name: value for name, value in earlier.summary.items() if name.startswith("total-")}
        return self._produced(self._snapshot(path, {"operation": "overwrite", **totals, **summary}))

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """What has to hold for the snapshot, and whatever else was worked out from the current one, to be right.

        Once a table is partitioned otherwise, no file comes any more that is laid out as files were before.
        """
        metadata, parent = self._metadata, self._metadata.current_snapshot
        head = AssertRefSnapshot(metadata.branch, parent.snapshot_id if parent else None)
        return AssertTableUuid(metadata.table_uuid), head, AssertDefaultSpecId(metadata.default_spec_id)

    def _write_list(self, manifests: list[ManifestFile]) -> str:
        """Write the manifests that are still to be written, and then the list that refers to them."""
        parent = self._metadata.current_snapshot
        manifests = self._assign_row_ids(manifests)
        self._write_manifests()
        path = self._path(f"snap-{self._snapshot_id}", "avro")
        self._storage.write(
            path,
            encode_manifest_list(
                manifests, self._snapshot_id, parent.snapshot_id if parent else None, self._sequence,
                self._metadata.format_version,
            ),
        )  # fmt: skip
        self._written.append(path)
        self._files.remember(path, manifests, self._entries)
        return path

    def _produced(self, snapshot: IcebergSnapshot) -> ProducedSnapshot:
        branch = self._metadata.branch
        retention = {name: value for name, value in self._metadata.refs.get(branch, {}).items() if name in _RETENTION}
        return ProducedSnapshot(
            snapshot,
            self.requirements,
            (AddSnapshot(snapshot), SetSnapshotRef(branch, snapshot.snapshot_id, options=retention)),
            tuple(self._written),
        )

    # --- manifests ---------------------------------------------------------------------------------------------------

    def _added_manifests(self, changes: FileChanges) -> list[ManifestFile]:
        by_spec: defaultdict[tuple[int, int], list[ManifestEntry]] = defaultdict(list)
        vectors = [vector for _, vector in changes.vectors]
        for file in (*changes.added, *vectors):
            content = DATA if file.content is Content.DATA else DELETES
            entry = ManifestEntry(Status.ADDED, self._snapshot_id, None, None, file)
            by_spec[content, file.spec_id].append(entry)
        return [self._new_manifest(entries, content, spec) for (content, spec), entries in by_spec.items()]

    def _unneeded_deletes(self, parent: IcebergSnapshot | None, changes: FileChanges) -> list[ManifestEntry]:
        """Return delete files that apply to no data file any more.

        A deletion vector takes over the position deletes of its file; equality deletes still apply beside it.
        """
        removed, marked = set(changes.removed), {live for live, _ in changes.vectors}
        touched = {one.file.file_path: one.entry for live in (*removed, *marked) for one in live.deletes}
        if not touched:
            return []
        for live in self._files.live(parent):
            for one in live.deletes if live not in removed else ():
                if one.is_equality or live not in marked:
                    touched.pop(one.file.file_path, None)
        return list(touched.values())

    def _rewrite_manifests(self, manifests: Sequence[ManifestFile], changes: FileChanges) -> list[ManifestFile]:
        """Return the parent's manifests, those with entries that go away rewritten without them."""
        gone = {live.path for live in changes.removed}
        stale = {_entry_key(live.vector) for live in changes.removed if live.vector}
        stale |= {_entry_key(live.vector) for live, _ in changes.vectors if live.vector}
        stale |= {_entry_key(entry) for entry in self._unneeded}
        kept = []
        for manifest in manifests:
            affected = stale if manifest.content == DELETES else gone
            entries = self._files.entries(manifest) if affected else ()
            hit = [entry for entry in entries if entry.status is not Status.DELETED and _entry_key(entry) in affected]
            kept.append(self._without(manifest, entries, hit) if hit else manifest)
        return [manifest for manifest in kept if _carries(manifest, self._snapshot_id)]

    def _without(
        self, manifest: ManifestFile, entries: Sequence[ManifestEntry], hit: Sequence[ManifestEntry]
    ) -> ManifestFile:
        leaving = {_entry_key(entry) for entry in hit}
        rewritten = [
            entry.as_status(Status.DELETED, self._snapshot_id)
            if _entry_key(entry) in leaving
            else entry.as_status(Status.EXISTING)
            for entry in entries
            if entry.status is not Status.DELETED
        ]
        return self._new_manifest(rewritten, manifest.content, manifest.partition_spec_id)

    def _merge_small(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        """Merge small manifests of one kind once there are many, so that planning reads few files."""
        groups: defaultdict[tuple[int, int], list[ManifestFile]] = defaultdict(list)
        for manifest in manifests:
            size = manifest.added_files_count + manifest.existing_files_count
            if size < _SMALL_MANIFEST_ENTRIES and manifest.added_snapshot_id != self._snapshot_id:
                groups[manifest.content, manifest.partition_spec_id].append(manifest)
        merged: list[ManifestFile] = []
        absorbed: set[str] = set()
        for (content, spec_id), small in groups.items():
            if len(small) < _SMALL_MANIFESTS_TO_MERGE:
                continue
            absorbed |= {manifest.manifest_path for manifest in small}
            entries = [
                entry.as_status(Status.EXISTING)
                for manifest in small
                for entry in self._files.entries(manifest)
                if entry.status is not Status.DELETED
            ]
            if entries:
                merged.append(self._new_manifest(entries, content, spec_id))
        return [*merged, *(m for m in manifests if m.manifest_path not in absorbed)]

    def _clustered(self, manifests: Sequence[ManifestFile]) -> list[ManifestFile]:
        """Write the live entries of all manifests into few, those of neighbouring partitions into one."""
        groups: defaultdict[tuple[int, int], list[ManifestEntry]] = defaultdict(list)
        for manifest in manifests:
            live = (e for e in self._files.entries(manifest) if e.status is not Status.DELETED)
            groups[manifest.content, manifest.partition_spec_id] += [e.as_status(Status.EXISTING) for e in live]
        clustered = []
        for (content, spec_id), entries in groups.items():
            entries.sort(key=lambda e: ([(v is None, 0 if v is None else v) for v in e.file.partition]))
            for first in range(0, len(entries), MANIFEST_ENTRIES):
                clustered.append(self._new_manifest(entries[first : first + MANIFEST_ENTRIES], content, spec_id))
        return clustered

    def _new_manifest(self, entries: list[ManifestEntry], content: int, spec_id: int) -> ManifestFile:
        metadata = self._metadata
        spec = metadata.spec_by_id(spec_id)
        data = encode_manifest(entries, content, spec, metadata.schema, metadata.format_version)
        path = self._path(str(self._new_id()), "avro")
        self._unwritten.append((path, data))
        self._entries[path] = entries
        counts = {status: [e for e in entries if e.status is status] for status in Status}
        rows = {status: sum(e.file.record_count for e in found) for status, found in counts.items()}
        known = [e.sequence_number for e in entries if e.sequence_number is not None and e.status is Status.EXISTING]
        return ManifestFile(
            manifest_path=path,
            manifest_length=len(data),
            partition_spec_id=spec_id,
            content=content,
            sequence_number=self._sequence,
            min_sequence_number=min(
                [*known, *([self._sequence] if counts[Status.ADDED] else [])], default=self._sequence
            ),
            added_snapshot_id=self._snapshot_id,
            added_files_count=len(counts[Status.ADDED]),
            existing_files_count=len(counts[Status.EXISTING]),
            deleted_files_count=len(counts[Status.DELETED]),
            added_rows_count=rows[Status.ADDED],
            existing_rows_count=rows[Status.EXISTING],
            deleted_rows_count=rows[Status.DELETED],
            partitions=partition_summaries([e.file for e in entries], spec, metadata.schema),
        )

    def _write_manifests(self) -> None:
        """Write the manifests of the snapshot, at the same time: each waits for the disk, or for an object store."""
        paths, contents = [path for path, _ in self._unwritten], [data for _, data in self._unwritten]
        if len(paths) > 1:
            with ThreadPoolExecutor(min(len(paths), _WRITERS), thread_name_prefix="cordillera-manifest") as pool:
                list(pool.map(self._storage.write, paths, contents))
        else:
            list(map(self._storage.write, paths, contents))
        self._written += paths
        self._unwritten = []

    def _assign_row_ids(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        self._first_row_id = next_row_id = self._metadata.next_row_id or 0
        if self._metadata.format_version < 3:
            self._assigned_rows = 0
            return manifests
        assigned = []
        for manifest in manifests:
            if manifest.content == DATA and manifest.first_row_id is None:
                manifest = replace(manifest, first_row_id=next_row_id)  # noqa: PLW2901 - the same manifest, completed
                next_row_id += manifest.added_rows_count + manifest.existing_rows_count
            assigned.append(manifest)
        self._assigned_rows = next_row_id - self._first_row_id
        return assigned

    # --- the snapshot ------------------------------------------------------------------------------------------------

    def _snapshot(self, manifest_list: str, summary: dict[str, str]) -> IcebergSnapshot:
        parent = self._metadata.current_snapshot
        lineage = (
            {"first_row_id": self._first_row_id, "added_rows": self._assigned_rows}
            if self._metadata.format_version >= 3
            else {}
        )
        return IcebergSnapshot(
            snapshot_id=self._snapshot_id,
            parent_snapshot_id=parent.snapshot_id if parent else None,
            sequence_number=self._sequence,
            timestamp_ms=max(self._now_ms, self._metadata.last_updated_ms),
            manifest_list=manifest_list,
            summary={name: value for name, value in {**self._always(), **summary}.items() if value},
            schema_id=self._metadata.current_schema_id,
            **lineage,
        )

    def _always(self) -> dict[str, str]:
        """Return what every summary says: whose snapshot it is, and with which tombstones, to go back to them."""
        return {"engine-name": ENGINE_NAME, TOMBSTONES_PROPERTY: self._metadata.tombstones or ""}

    def _path(self, name: str, extension: str) -> str:
        return f"{self._metadata.location}/metadata/{name}.{extension}"


def _entry_key(entry: ManifestEntry) -> str:
    """Return the path of a file; for a deletion vector, which shares its file with others, that of its data file."""
    file = entry.file
    return (file.referenced_data_file or file.file_path) if file.is_deletion_vector else file.file_path


def _carries(manifest: ManifestFile, snapshot_id: int) -> bool:
    """Tell whether a manifest still matters: it has live files, or says what this very snapshot removed."""
    live = manifest.added_files_count + manifest.existing_files_count
    return bool(live) or (manifest.added_snapshot_id == snapshot_id and bool(manifest.deleted_files_count))


def _summary(
    parent: IcebergSnapshot | None, changes: FileChanges, unneeded: Sequence[ManifestEntry], extra: dict[str, str]
) -> dict[str, str]:
    touched = (*changes.removed, *(live for live, _ in changes.vectors))
    vectors = [live.vector for live in touched if live.vector]
    values = [entry for entry in unneeded if entry.file.content is Content.EQUALITY_DELETES]
    positions = [entry for entry in unneeded if entry not in values]
    removed_marks = sum(entry.file.record_count for entry in (*vectors, *positions))
    deltas = {
        "added-data-files": len(changes.added),
        "added-records": sum(file.record_count for file in changes.added),
        "added-files-size": sum(file.file_size_in_bytes for file in changes.added),
        "deleted-data-files": len(changes.removed),
        "deleted-records": sum(live.file.record_count for live in changes.removed),
        "removed-files-size": sum(live.file.file_size_in_bytes for live in changes.removed),
        "added-delete-files": len(changes.vectors),
        "added-dvs": len(changes.vectors),
        "added-position-deletes": sum(vector.record_count for _, vector in changes.vectors),
        "removed-delete-files": len(vectors) + len(unneeded),
        "removed-dvs": len(vectors),
        "removed-position-delete-files": len(positions),
        "removed-equality-delete-files": len(values),
        "removed-position-deletes": removed_marks,
        "removed-equality-deletes": sum(entry.file.record_count for entry in values),
    }
    before = parent.summary if parent else {}
    totals = {
        "total-data-files": deltas["added-data-files"] - deltas["deleted-data-files"],
        "total-records": deltas["added-records"] - deltas["deleted-records"],
        "total-files-size": deltas["added-files-size"] - deltas["removed-files-size"],
        "total-delete-files": deltas["added-delete-files"] - deltas["removed-delete-files"],
        "total-position-deletes": deltas["added-position-deletes"] - deltas["removed-position-deletes"],
        "total-equality-deletes": -deltas["removed-equality-deletes"],
    }
    return {
        "operation": changes.operation,
        **{name: str(value) for name, value in deltas.items() if value},
        **{name: str(int(before.get(name, 0)) + value) for name, value in totals.items()},
        **extra,
    }
