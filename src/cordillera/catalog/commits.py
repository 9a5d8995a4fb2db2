"""Commits: the one way by which anything about a table changes.

A commit is checked by the guards, then made visible by ONE database transaction: the metadata pointer moves by
compare-and-swap, and snapshot, manifest, completion, audit entry, event and idempotency receipt are written with it,
or nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from cordillera.catalog.leases import check_lease
from cordillera.catalog.service import ResolvedDataset
from cordillera.catalog.tables import MetadataFile, TableService, columns_of, with_state
from cordillera.context import RequestContext, current
from cordillera.errors import (
    AlreadyExistsError,
    CommitConflictError,
    ContractViolationError,
    CordilleraError,
    DatasetNotFoundError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    LeaseLostError,
    LifecycleError,
    NotAllowedError,
    NotFoundError,
    StorageFullError,
    StorageUnavailableError,
)
from cordillera.metrics import COMMIT_SECONDS, COMMITS, CONFLICTS
from cordillera.ports.clock import Clock
from cordillera.ports.commit_guard import Change, CommitGuard
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.catalog import CommitReceipt
from cordillera.spec.catalog import DatasetVersion, Lifecycle, Snapshot
from cordillera.spec.commit import Requirement, Update, apply, check
from cordillera.spec.completion import Completion, CompletionUnit, partition_label
from cordillera.spec.event import Topic
from cordillera.spec.maintenance import TableCounters, policy_properties
from cordillera.spec.manifest import KEEPS_ROWS, Manifest
from cordillera.spec.table_metadata import TableMetadata


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """What a writer asks for.

    Attributes:
        requirements: What it believed about the table.
        updates: What is to change; may be empty when only a partition is declared complete.
        manifest: What the new snapshot changes; None for a commit without one.
        idempotency_key: Makes a repetition of the request have no further effect.
        request_hash: Tells a repetition from a different request under the same key.
        completes: A partition to declare complete as of this commit.
        properties: Shown with the snapshot.
    """

    requirements: tuple[Requirement, ...] = ()
    updates: tuple[Update, ...] = ()
    manifest: Manifest | None = None
    idempotency_key: str | None = None
    request_hash: str = ""
    completes: str | date | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What came of a commit.

    Attributes:
        sequence_number: The dataset version's newest snapshot afterwards; 0 if it has none.
        snapshot_committed: Whether the commit made a snapshot.
        completion: The completion declared with it.
        replayed: Whether the request had been committed before, so that nothing happened this time.
        rows_inserted, rows_updated, rows_deleted, rows_late: What the commit did, or had done.
    """

    sequence_number: int
    snapshot_committed: bool
    completion: Completion | None = None
    replayed: bool = False
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    rows_late: int = 0


REFUSALS = (
    CommitConflictError,
    LeaseLostError,
    InvalidInputError,
    NotFoundError,
    NotAllowedError,
    ContractViolationError,
    StorageFullError,
    StorageUnavailableError,
)
"""Errors that say for certain that a commit did not happen, so that what was written for it may be removed. After any
other, an interruption or a lost connection to the database, it may have happened all the same."""


class CommitService:
    """Commits changes to dataset versions.

    Args:
        store: The metadata store.
        tables: Loads and writes table metadata.
        clock: Time and ids.
        guards: Who may refuse a commit.
    """

    def __init__(
        self, store: MetadataStore, tables: TableService, clock: Clock, guards: Sequence[CommitGuard] = ()
    ) -> None:
        self._store, self._tables, self._clock, self._guards = store, tables, clock, tuple(guards)

    @COMMIT_SECONDS.time()
    def commit(self, target: ResolvedDataset, request: CommitRequest) -> CommitResult:
        """Check a commit and make it visible.

        Raises:
            CommitConflictError: If the table changed in a way the requirements forbid, or another writer was faster.
            LeaseLostError: If it is made under a lease that has ended.
            IdempotencyKeyReusedError: If the key stands for a different request.
            LifecycleError: If the dataset version is retired.
            ContractViolationError, IncompatibleSchemaError: If a guard refuses.
        """
        with self._store.read() as tx:
            replayed = self.replay(tx, target.version, request)
            version = tx.dataset_versions.get(target.version.id)
            dataset = tx.datasets.get_by_id(target.dataset.id)
        if replayed is not None:
            return replayed
        if version is None or dataset is None or dataset.deleted_at is not None:
            raise DatasetNotFoundError(
                f"The dataset {target.name} was deleted.",
                hint=f"Restore it with: cordillera dataset restore {target.name}.",
            )
        _check_writable(target, version)
        target = ResolvedDataset(dataset, version)
        before = MetadataFile(version.metadata_location, self._tables.load(version))
        check(request.requirements, before.metadata)
        if not request.updates:
            return self._publish_once(target, request, before, before)
        after = apply(request.updates, before.metadata, int(self._clock.now().timestamp() * 1000))
        if request.manifest is None or request.manifest.operation not in KEEPS_ROWS:
            for guard in self._guards:
                guard.check(Change(dataset, version, before.metadata, after))
        written, outdated = self._tables.write_successor(before, after)
        try:
            result = self._publish_once(target, request, before, written)
        except REFUSALS as error:
            self._tables.forget_metadata(written.location)
            if isinstance(error, CommitConflictError):
                CONFLICTS.inc()
            raise
        with suppress(CordilleraError):  # the commit has happened; a file that stays is one for the doctor to find
            self._tables.io.storage.delete(outdated)
        COMMITS.labels(request.manifest.operation if request.manifest else "metadata").inc()
        return result

    def replay(self, tx: Transaction, version: DatasetVersion, request: CommitRequest) -> CommitResult | None:
        """Return what the same request did when it was committed before, or None."""
        if request.idempotency_key is None:
            return None
        receipt = tx.snapshots.receipt(version.id, request.idempotency_key)
        if receipt is None:
            return None
        if request.request_hash and receipt.request_hash != request.request_hash:
            raise IdempotencyKeyReusedError(
                f"The idempotency key {request.idempotency_key!r} was used for a different write.",
                hint="Use a fresh key for every write; repeat a key only with the same rows.",
            )
        completion = receipt.result.get("completed")
        return CommitResult(
            sequence_number=receipt.result["sequence_number"],
            snapshot_committed=receipt.sequence_number is not None,
            completion=tx.completions.latest(version.id, completion) if completion else None,
            replayed=True,
            **receipt.result["rows"],
        )

    def _publish_once(
        self, target: ResolvedDataset, request: CommitRequest, before: MetadataFile, after: MetadataFile
    ) -> CommitResult:
        try:
            return self._publish(target, request, before, after)
        except AlreadyExistsError as error:
            raise CommitConflictError(
                f"Another writer committed to {target.name} first: {error.message}", hint="Read it again and retry."
            ) from error

    # --- the transaction -----------------------------------------------------------------------------------------

    def _publish(
        self, target: ResolvedDataset, request: CommitRequest, before: MetadataFile, after: MetadataFile
    ) -> CommitResult:
        context, now = current(), self._clock.now()
        with self._store.write() as tx:
            check_lease(tx, now)
            version = with_state(target.version, after, now)
            if request.updates:
                schema_changed = after.metadata.current_schema_id != before.metadata.current_schema_id
                columns = columns_of(after.metadata.schema) if schema_changed else None
                if not tx.dataset_versions.swap(version, columns, expected_location=before.location):
                    raise CommitConflictError(
                        f"Another writer committed to {target.name} first.", hint="Read it again and retry."
                    )
                if schema_changed:
                    self._schema_changed(tx, target, version, context, now)
            committed = version.sequence_number != target.version.sequence_number
            if committed:
                self._add_snapshot(tx, target, version, after.metadata, request, context, now)
            completion = self._complete(tx, target, version, request, context, now)
            result = _result(version, committed, completion, request.manifest)
            self._add_receipt(tx, version, request, result, now)
            self._audit(tx, target, request, result, context, now)
        return result

    def _add_snapshot(
        self,
        tx: Transaction,
        target: ResolvedDataset,
        version: DatasetVersion,
        metadata: TableMetadata,
        request: CommitRequest,
        context: RequestContext,
        now: datetime,
    ) -> None:
        iceberg = metadata.current_snapshot
        assert iceberg is not None, "a sequence number above 0 has a snapshot"
        manifest = request.manifest or Manifest(None, version.key)
        snapshot = Snapshot(
            dataset_version_id=version.id,
            sequence_number=iceberg.sequence_number,
            snapshot_id=iceberg.snapshot_id,
            parent_snapshot_id=iceberg.parent_snapshot_id,
            schema_id=version.schema_id,
            committed_at=now,
            principal=context.principal,
            trace_id=context.trace_id,
            operation=manifest.operation,
            rows_inserted=manifest.rows_inserted,
            rows_updated=manifest.rows_updated,
            rows_deleted=manifest.rows_deleted,
            rows_late=manifest.rows_late,
            files_added=sum(entry.added for entry in manifest.entries),
            files_removed=sum(not entry.added for entry in manifest.entries),
            rows=version.rows,
            partitions=manifest.partitions,
            properties=request.properties,
        )
        tx.snapshots.insert(snapshot, manifest)
        table = {**asdict(TableCounters.of(metadata)), "policy": policy_properties(metadata.properties)}
        payload = {"sequence_number": snapshot.sequence_number, **manifest.summary(), "table": table}
        self._event(tx, Topic.SNAPSHOT_COMMITTED, target, version, payload, context, now)

    def _complete(
        self,
        tx: Transaction,
        target: ResolvedDataset,
        version: DatasetVersion,
        request: CommitRequest,
        context: RequestContext,
        now: datetime,
    ) -> Completion | None:
        if request.completes is None:
            return None
        label = partition_label(CompletionUnit(version.completion_unit), request.completes, target.name)
        earlier = tx.completions.latest(version.id, label)
        completion = Completion(
            version.id, label, earlier.revision + 1 if earlier else 1, version.sequence_number, context.principal, now
        )
        tx.completions.insert(completion)
        payload = {
            "partition": label,
            "revision": completion.revision,
            "sequence_number": version.sequence_number,
        }
        self._event(tx, Topic.PARTITION_COMPLETED, target, version, payload, context, now)
        return completion

    def _schema_changed(
        self,
        tx: Transaction,
        target: ResolvedDataset,
        version: DatasetVersion,
        context: RequestContext,
        now: datetime,
    ) -> None:
        tx.search.index(target.dataset, tx.dataset_versions.columns(version.id))
        payload = {"schema_id": version.schema_id, "sequence_number": version.sequence_number}
        self._event(tx, Topic.SCHEMA_CHANGED, target, version, payload, context, now)

    def _add_receipt(
        self, tx: Transaction, version: DatasetVersion, request: CommitRequest, result: CommitResult, now: datetime
    ) -> None:
        if request.idempotency_key is None:
            return
        rows = {name: getattr(result, name) for name in _ROW_COUNTS}
        outcome = {
            "sequence_number": result.sequence_number,
            "completed": result.completion.partition if result.completion else None,
            "rows": rows,
        }
        sequence = result.sequence_number if result.snapshot_committed else None
        receipt = CommitReceipt(request.request_hash, sequence, outcome)
        tx.snapshots.add_receipt(version.id, request.idempotency_key, receipt, now)

    def _audit(
        self,
        tx: Transaction,
        target: ResolvedDataset,
        request: CommitRequest,
        result: CommitResult,
        context: RequestContext,
        now: datetime,
    ) -> None:
        if not request.updates and result.completion is None:
            return  # every row came late, or there was none
        details: dict[str, Any] = {"sequence_number": result.sequence_number}
        if request.manifest is not None and result.snapshot_committed:
            details["operation"] = request.manifest.operation
        if result.completion is not None:
            details["completed"] = result.completion.partition
        tx.audit.append(
            at=now,
            principal=context.principal,
            action="dataset.commit" if request.updates else "dataset.complete",
            object_kind="dataset",
            object_name=target.name,
            details=details,
            trace_id=context.trace_id,
        )

    def _event(
        self,
        tx: Transaction,
        topic: Topic,
        target: ResolvedDataset,
        version: DatasetVersion,
        payload: Mapping[str, Any],
        context: RequestContext,
        now: datetime,
    ) -> None:
        tx.events.append(
            topic,
            at=now,
            principal=context.principal,
            trace_id=context.trace_id,
            dataset=target.name,
            dataset_version_id=version.id,
            payload=payload,
        )


_ROW_COUNTS = ("rows_inserted", "rows_updated", "rows_deleted", "rows_late")


def _result(
    version: DatasetVersion, committed: bool, completion: Completion | None, manifest: Manifest | None
) -> CommitResult:
    counts = {name: getattr(manifest, name) for name in _ROW_COUNTS} if manifest else {}
    return CommitResult(version.sequence_number, committed, completion, **counts)


def _check_writable(target: ResolvedDataset, version: DatasetVersion) -> None:
    if version.lifecycle is Lifecycle.RETIRED:
        raise LifecycleError(
            f"Dataset version {version.number} of {target.name} is retired and takes no more changes.",
            hint="Write to its active dataset version.",
        )
