"""Maintenance of tables: compaction, expiry of snapshots, and rewriting of manifests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from math import ceil
from time import monotonic

from cordillera.catalog.commits import REFUSALS, CommitRequest, CommitService
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.errors import CommitConflictError, CordilleraError, InvalidInputError, NotAllowedError
from cordillera.maintenance.results import (
    CompactionResult,
    ExpiryResult,
    ManifestRewriteResult,
)
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import DatasetVersion
from cordillera.spec.maintenance import (
    CompactionOptions,
    MaintenancePolicy,
    MaintenanceRun,
    MaintenanceTask,
    TableCounters,
)
from cordillera.spec.manifest import Manifest, TableOperation
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.compaction import Compactor, StagedGroup
from cordillera.table.compaction_plan import RewriteGroup
from cordillera.table.content_file import ManifestFile
from cordillera.table.expiry import ExpiryPlan, plan_expiry
from cordillera.table.prepared_write import PreparedWrite
from cordillera.table.reachable import snapshot_files
from cordillera.table.snapshot_producer import MANIFEST_ENTRIES, FileChanges, SnapshotProducer

CHECKPOINT_BYTES = 1024**3
"""How much is rewritten between two commits of one compaction."""
_ROUNDS = 3


class MaintenanceService:
    """Compacts tables, expires snapshots and rewrites manifests.

    Args:
        store: Keeps what was done and how long it took.
        catalog: Resolves names.
        tables: Loads table metadata.
        commits: Makes changes visible.
        clock: Time and ids.
    """

    def __init__(
        self,
        store: MetadataStore,
        catalog: CatalogService,
        tables: TableService,
        commits: CommitService,
        clock: Clock,
    ) -> None:
        self._store, self._catalog, self._tables, self._commits, self._clock = store, catalog, tables, commits, clock

    # --- compaction ----------------------------------------------------------------------------------------------

    def compact(self, name: str, options: CompactionOptions | None = None) -> CompactionResult:
        """Move rows into fewer, larger or better sorted files, beside readers and writers.

        Groups of files are committed as they are done, so that an interruption loses little. Rows that others delete
        meanwhile are deleted in the new files as well; a group that cannot be kept up with is tried again, and left
        alone in the end.

        Raises:
            InvalidInputError: If the options do not fit the dataset.
        """
        options, begun = options or CompactionOptions(), monotonic()
        target, metadata = self._load(name)
        metadata = self._with_row_ids(target, metadata)
        upto = options.upto if options.upto is not None else _sequence(metadata)
        compactor = Compactor(self._tables.io, target.name, replace(options, upto=upto))
        done: list[StagedGroup] = []
        left: list[RewriteGroup] = []
        commits = 0
        for _ in range(_ROUNDS):
            chosen, left = _bounded(compactor.plan(metadata), options, [one.group for one in done])
            stale = 0
            for groups in _checkpoints(chosen):
                kept, overtaken = self._rewrite(target, compactor, groups)
                done, commits, stale = [*done, *kept], commits + bool(kept), stale + overtaken
            if not stale:
                break
            target, metadata = self._load(name)
            left = compactor.plan(metadata)
        result = replace(_compacted(done), commits=commits, seconds=monotonic() - begun, upto=upto)
        result = replace(result, groups_left=len(left), bytes_left=sum(group.bytes for group in left))
        self._record(target, MaintenanceTask.COMPACT, result.seconds, result)
        return result

    def _rewrite(
        self, target: ResolvedDataset, compactor: Compactor, groups: Sequence[RewriteGroup]
    ) -> tuple[tuple[StagedGroup, ...], int]:
        """Rewrite groups and commit those that are not stale; return them, and how many were."""
        _, metadata = self._load(target.pinned_name)
        there = compactor.still_there(groups, metadata)
        staged = compactor.stage(there, metadata)
        kept: tuple[StagedGroup, ...] = ()
        stale: tuple[StagedGroup, ...] = ()
        try:
            with self._commits.attempts(target.version.id) as attempts:
                for attempt in attempts:
                    with attempt:
                        now, metadata = self._load(target.pinned_name)
                        resolved = compactor.resolve(staged, metadata)
                        kept, stale = resolved.kept, resolved.stale
                        if resolved.prepared is not None:
                            self._commit(now, resolved.prepared)
        except REFUSALS:  # not after other errors: what may have been committed is never removed
            compactor.discard(staged)
            raise
        compactor.discard(stale)
        return kept, len(groups) - len(kept)

    def _with_row_ids(self, target: ResolvedDataset, metadata: TableMetadata) -> TableMetadata:
        """Let rows have ids before they move. After an upgrade from format version 2 they get them by a commit."""
        live = self._tables.io.files.live(metadata.current_snapshot)
        if metadata.format_version < 3 or all(one.file.first_row_id is not None for one in live):
            return metadata
        self._rewrite_manifests(target, always=True)
        return self._load(target.pinned_name)[1]

    # --- expiry --------------------------------------------------------------------------------------------------

    def expire(
        self,
        name: str,
        *,
        older_than: timedelta | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
    ) -> ExpiryResult:
        """Forget old snapshots and remove the files that only they need.

        What branches and tags keep stays, and what targets point at. Files are removed once the snapshots are
        forgotten, never before: whoever is interrupted leaves orphaned files, no snapshot without its files.

        Args:
            name: The dataset.
            older_than: Younger snapshots stay; by default as the dataset's policy says.
            keep_last: So many stay of every branch; by default as the policy says.
            dry_run: Only say which would go.

        Raises:
            InvalidInputError: If a limit cannot be.
        """
        if (older_than is not None and older_than < timedelta(0)) or (keep_last is not None and keep_last < 1):
            raise InvalidInputError(
                "Of every branch at least one snapshot stays, and no age is below zero.",
                hint="Give keep_last from 1 on, and older_than from 0 on.",
            )
        begun = monotonic()
        with self._commits.attempts(self._load(name)[0].version.id) as attempts:
            for attempt in attempts:
                with attempt:
                    target, metadata = self._load(name)
                    plan = self.expiry_plan(target.version, metadata, older_than, keep_last)
                    result = ExpiryResult(tuple(s.sequence_number for s in plan.snapshots), plan.refs)
                    if dry_run or not plan.updates():
                        return result
                    self._commit_expiry(target, metadata, plan)
        _, after = self._load(target.pinned_name)
        result = replace(result, files=self._remove(snapshot_files(self._tables.io, metadata, after)))
        self._record(target, MaintenanceTask.EXPIRE, monotonic() - begun)
        return result

    def expiry_plan(
        self,
        version: DatasetVersion,
        metadata: TableMetadata,
        older_than: timedelta | None = None,
        keep_last: int | None = None,
    ) -> ExpiryPlan:
        """Return what ``expire`` would forget of a table; the parameters are those of ``expire``."""
        policy = MaintenancePolicy.or_usual(metadata.properties)
        age = older_than if older_than is not None else policy.max_snapshot_age
        least = keep_last if keep_last is not None else policy.min_snapshots
        now_ms = int(self._clock.now().timestamp() * 1000)
        with self._store.read() as tx:
            held = {one.sequence_number for one in tx.pointers.held(version.id)}
        return plan_expiry(metadata, now_ms, int(age.total_seconds() * 1000), least, held)

    def _commit_expiry(self, target: ResolvedDataset, metadata: TableMetadata, plan: ExpiryPlan) -> None:
        request = CommitRequest(requirements=plan.requirements(metadata), updates=plan.updates())
        try:
            self._commits.commit(target, request)
        except NotAllowedError as error:
            raise CommitConflictError(
                f"A branch or tag of {target.name} has come to need a snapshot that was to expire.",
                hint="Read it again and retry.",
            ) from error

    def _remove(self, files: Iterable[str]) -> int:
        """Remove files of snapshots that are forgotten; what cannot be removed now is an orphan."""
        removed = 0
        with suppress(CordilleraError):
            for uri in files:
                self._tables.io.storage.delete([uri])
                removed += 1
        return removed

    # --- manifests -----------------------------------------------------------------------------------------------

    def rewrite_manifests(self, name: str) -> ManifestRewriteResult:
        """Write a table's manifests anew, as few as its files need, each with the files of neighbouring partitions."""
        begun = monotonic()
        target, _ = self._load(name)
        result = self._rewrite_manifests(target, always=False)
        self._record(target, MaintenanceTask.REWRITE_MANIFESTS, monotonic() - begun)
        return result

    def _rewrite_manifests(self, target: ResolvedDataset, *, always: bool) -> ManifestRewriteResult:
        io = self._tables.io
        with self._commits.attempts(target.version.id) as attempts:
            for attempt in attempts:
                with attempt:
                    now, metadata = self._load(target.pinned_name)
                    before = io.files.manifests(metadata.current_snapshot)
                    if not before or not (always or len(before) > manifests_needed(before)):
                        return ManifestRewriteResult(len(before), len(before))
                    producer = SnapshotProducer(io.storage, io.files, metadata, io.clock.new_id, io.now_ms())
                    operation = TableOperation.REWRITE_MANIFESTS
                    summary = {"operation": "replace", "cordillera.operation": operation.value}
                    produced = producer.produce(FileChanges(), summary, rewrite_manifests=True)
                    manifest = Manifest(operation, metadata.semantics.key)
                    self._commit(
                        now,
                        PreparedWrite(
                            produced.requirements, produced.updates, manifest, produced.snapshot, produced.written
                        ),
                    )
        return ManifestRewriteResult(len(before), len(io.files.manifests(produced.snapshot)))

    # --- helpers -------------------------------------------------------------------------------------------------

    def _load(self, name: str) -> tuple[ResolvedDataset, TableMetadata]:
        target = self._catalog.dataset(name, Privilege.ALTER)
        return target, self._tables.load(target.version)

    def _commit(self, target: ResolvedDataset, prepared: PreparedWrite) -> None:
        request = CommitRequest(prepared.requirements, prepared.updates, prepared.manifest)
        try:
            self._commits.commit(target, request)
        except REFUSALS:
            self._tables.io.storage.delete(prepared.written)
            raise

    def _record(
        self,
        target: ResolvedDataset,
        task: MaintenanceTask,
        seconds: float,
        done: CompactionResult | None = None,
    ) -> None:
        """Keep what was done, to predict the next time by and to know how many files cannot be merged further."""
        _, metadata = self._load(target.pinned_name)
        done = done or CompactionResult()
        run = MaintenanceRun(
            id=self._clock.new_id(),
            dataset_version_id=target.version.id,
            task=task,
            finished_at=self._clock.now(),
            seconds=seconds,
            files_rewritten=done.files_rewritten,
            bytes_rewritten=done.bytes_rewritten,
            files_written=done.files_written,
            files_left=TableCounters.of(metadata).files,
        )
        with self._store.write() as tx:
            tx.maintenance.insert(run)


def _sequence(metadata: TableMetadata) -> int:
    return metadata.current_snapshot.sequence_number if metadata.current_snapshot else 0


def _bounded(
    groups: Sequence[RewriteGroup], options: CompactionOptions, done: Sequence[RewriteGroup]
) -> tuple[list[RewriteGroup], list[RewriteGroup]]:
    """Split groups into those that the options' bounds allow and the rest. One is always allowed at first."""
    number, size = len(done), sum(group.bytes for group in done)
    for index, group in enumerate(groups):
        if number and options.max_groups is not None and number >= options.max_groups:
            return list(groups[:index]), list(groups[index:])
        if number and options.max_bytes is not None and size + group.bytes > options.max_bytes:
            return list(groups[:index]), list(groups[index:])
        number, size = number + 1, size + group.bytes
    return list(groups), []


def _checkpoints(groups: Sequence[RewriteGroup]) -> Iterator[list[RewriteGroup]]:
    """Cut groups into lots that are committed together."""
    lot: list[RewriteGroup] = []
    for group in groups:
        if lot and sum(one.bytes for one in lot) + group.bytes > CHECKPOINT_BYTES:
            yield lot
            lot = []
        lot.append(group)
    if lot:
        yield lot


def _compacted(done: Sequence[StagedGroup]) -> CompactionResult:
    groups = [one.group for one in done]
    before = [live for group in groups for live in group.files]
    after = [file for one in done for file in one.files]
    return CompactionResult(
        groups=len(groups),
        files_rewritten=len(before),
        bytes_rewritten=sum(group.bytes for group in groups),
        files_written=len(after),
        bytes_written=sum(file.file_size_in_bytes for file in after),
        rows_moved=sum(file.record_count for file in after),
        deletes_removed=sum(live.file.record_count - live.live_rows for live in before),
    )


def manifests_needed(manifests: Sequence[ManifestFile]) -> int:
    """Return how many manifests would do."""
    entries: dict[tuple[int, int], int] = {}
    for manifest in manifests:
        kind = (manifest.content, manifest.partition_spec_id)
        live = manifest.added_files_count + manifest.existing_files_count
        entries[kind] = entries.get(kind, 0) + live
    return sum(ceil(live / MANIFEST_ENTRIES) for live in entries.values())
