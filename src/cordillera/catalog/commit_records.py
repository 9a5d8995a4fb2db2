"""What a commit leaves in the metadata store beside the pointer: snapshots, completion, events, receipt, audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.requests import CommitRequest, CommitResult
from cordillera.catalog.tables import rows_in
from cordillera.catalog.trail import Trail
from cordillera.context import RequestContext
from cordillera.ports.metadata import Transaction
from cordillera.ports.metadata.catalog import CommitReceipt
from cordillera.spec.catalog import DatasetVersion, Snapshot
from cordillera.spec.commit import AddSnapshot, SetSnapshotRef
from cordillera.spec.completion import Completion, CompletionUnit, partition_label
from cordillera.spec.event import Topic
from cordillera.spec.maintenance import TableCounters, policy_properties
from cordillera.spec.manifest import KEEPS_ROWS, Manifest
from cordillera.spec.refs import ancestors, head_of
from cordillera.spec.table_metadata import MAIN_BRANCH, IcebergSnapshot, TableMetadata

ROW_COUNTS = ("rows_inserted", "rows_updated", "rows_deleted", "rows_late")


@dataclass(frozen=True, slots=True)
class CommitRecords:
    """Writes the records of one request of a commit, within the transaction that makes it visible.

    Attributes:
        tx: The transaction.
        target: What was committed to.
        version: The dataset version as the commit leaves it.
        request: What was asked for.
        before, after: The table.
        context, now: Who commits, and when.
    """

    tx: Transaction
    target: ResolvedDataset
    version: DatasetVersion
    request: CommitRequest
    before: TableMetadata
    after: TableMetadata
    context: RequestContext
    now: datetime

    def write(self) -> CommitResult:
        """Write all of them and return what came of the request."""
        if self.after.current_schema_id != self.before.current_schema_id:
            self._schema_changed()
        added = [update.snapshot for update in self.request.updates if isinstance(update, AddSnapshot)]
        for snapshot in added:
            self._add_snapshot(snapshot)
        if self.after.current_snapshot_id != self.before.current_snapshot_id:
            self._main_moved({one.sequence_number for one in added if self._branch_of(one) == MAIN_BRANCH})
        for name in self.before.refs.keys() - self.after.refs.keys():
            self.tx.snapshots.drop_branch(self.version.id, name)
            self.tx.candidates.drop(self.version.id, name)
        if self.request.candidate is not None:
            self.tx.candidates.insert(self.request.candidate)
        if self.request.partials is not None:
            self.tx.contracts.keep_partials(self.request.partials)
        result = self._result(self._complete())
        self._add_receipt(result)
        self._audit(result)
        return result

    # --- snapshots -----------------------------------------------------------------------------------------------

    def _add_snapshot(self, iceberg: IcebergSnapshot) -> None:
        manifest, mark = self._manifest(), self.request.transaction
        snapshot = Snapshot(
            dataset_version_id=self.version.id,
            sequence_number=iceberg.sequence_number,
            snapshot_id=iceberg.snapshot_id,
            parent_snapshot_id=iceberg.parent_snapshot_id,
            schema_id=self.after.current_schema_id if iceberg.schema_id is None else iceberg.schema_id,
            committed_at=self.now,
            principal=self.context.principal,
            trace_id=self.context.trace_id,
            operation=manifest.operation,
            rows_inserted=manifest.rows_inserted,
            rows_updated=manifest.rows_updated,
            rows_deleted=manifest.rows_deleted,
            rows_late=manifest.rows_late,
            files_added=sum(entry.added for entry in manifest.entries),
            files_removed=sum(not entry.added for entry in manifest.entries),
            rows=rows_in(iceberg),
            partitions=manifest.partitions,
            properties={**self.request.properties, **(mark.properties if mark else {})},
            branch=self._branch_of(iceberg),
        )
        self.tx.snapshots.insert(snapshot, manifest)

    def _branch_of(self, snapshot: IcebergSnapshot) -> str:
        """Return the branch that a new snapshot is put on; empty if it is on none."""
        refs = [u for u in self.request.updates if isinstance(u, SetSnapshotRef) and u.type == "branch"]
        names = [ref.ref for ref in refs if ref.snapshot_id == snapshot.snapshot_id]
        return MAIN_BRANCH if MAIN_BRANCH in names else next(iter(names), "")

    def _main_moved(self, put_there: Collection[int]) -> None:
        """Note that readers see another snapshot: one just put on main, or one that was published from a branch."""
        new: list[int] = []
        for snapshot in ancestors(self.after, self.after.current_snapshot_id):
            if snapshot.snapshot_id == self.before.current_snapshot_id:
                break
            new.append(snapshot.sequence_number)
        self.tx.snapshots.publish(self.version.id, [one for one in new if one not in put_there], self.now)
        if self.before.refs.keys() - {MAIN_BRANCH}:
            self.tx.candidates.published(self.version.id, new)
        moved, was = self.after.current_snapshot, self.before.current_snapshot
        if self._manifest().operation in KEEPS_ROWS and moved is not None and was is not None:
            self.tx.contracts.move_partials(self.version.id, was.snapshot_id, moved)
        table = {**asdict(TableCounters.of(self.after)), "policy": policy_properties(self.after.properties)}
        payload = {"sequence_number": self.version.sequence_number, **self._manifest().summary(), "table": table}
        self._event(Topic.SNAPSHOT_COMMITTED, payload)

    def _manifest(self) -> Manifest:
        return self.request.manifest or Manifest(None, self.version.key)

    # --- the rest ------------------------------------------------------------------------------------------------

    def _complete(self) -> Completion | None:
        if self.request.completes is None:
            return None
        unit = CompletionUnit(self.version.completion_unit)
        label = partition_label(unit, self.request.completes, self.target.name)
        [completion] = declare(self.tx, self.version, [label], self.context.principal, self.now)
        self._event(Topic.PARTITION_COMPLETED, completion_payload(completion))
        return completion

    def _schema_changed(self) -> None:
        self.tx.search.index(self.target.dataset, self.tx.dataset_versions.columns(self.version.id))
        payload = {"schema_id": self.version.schema_id, "sequence_number": self.version.sequence_number}
        self._event(Topic.SCHEMA_CHANGED, payload)

    def _result(self, completion: Completion | None) -> CommitResult:
        earlier, head = (head_of(metadata, self.request.branch) for metadata in (self.before, self.after))
        manifest = self.request.manifest
        counts = {name: getattr(manifest, name) for name in ROW_COUNTS} if manifest else {}
        return CommitResult(head.sequence_number if head else 0, head != earlier, completion, **counts)

    def _add_receipt(self, result: CommitResult) -> None:
        if self.request.idempotency_key is None:
            return
        outcome = {
            "sequence_number": result.sequence_number,
            "completed": result.completion.partition if result.completion else None,
            "rows": {name: getattr(result, name) for name in ROW_COUNTS},
        }
        sequence = result.sequence_number if result.snapshot_committed else None
        receipt = CommitReceipt(self.request.request_hash, sequence, outcome)
        self.tx.snapshots.add_receipt(self.version.id, self.request.idempotency_key, receipt, self.now)

    def _audit(self, result: CommitResult) -> None:
        if not self.request.updates and result.completion is None:
            return  # every row came late, or there was none
        details: dict[str, Any] = {"sequence_number": result.sequence_number, **self.request.details}
        if self.request.transaction is not None:
            details["transaction"] = self.request.transaction.plain
        if self.request.branch != MAIN_BRANCH:
            details["branch"] = self.request.branch
        if self.request.manifest is not None and result.snapshot_committed:
            details["operation"] = self.request.manifest.operation
        if result.completion is not None:
            details["completed"] = result.completion.partition
        action = self.request.action or ("dataset.commit" if self.request.updates else "dataset.complete")
        self._trail.audit(action, "dataset", self.target.name, details)

    def _event(self, topic: Topic, payload: Mapping[str, Any]) -> None:
        if self.request.transaction is not None:
            payload = {**payload, "transaction": self.request.transaction.plain}
        self._trail.event(topic, self.target.name, self.version.id, payload)

    @property
    def _trail(self) -> Trail:
        return Trail(self.tx, self.now, self.context)


def declare(
    tx: Transaction, version: DatasetVersion, labels: Sequence[str], declared_by: str, now: datetime
) -> list[Completion]:
    """Write the next completions of partitions as of a dataset version's snapshot, and return them in that order.

    Raises:
        AlreadyExistsError: If another transaction has just declared the same.
    """
    tx.dataset_versions.lock(version.id)
    earlier, sequence = tx.completions.latest_of(version.id, labels), version.sequence_number
    revisions = {label: earlier[label].revision + 1 if label in earlier else 1 for label in labels}
    made = [Completion(version.id, label, revisions[label], sequence, declared_by, now) for label in labels]
    tx.completions.insert(made)
    tx.service_levels.look_again(version.id)
    return made


def completion_payload(completion: Completion) -> dict[str, Any]:
    """Return what is told of a completion."""
    one = completion
    return {"partition": one.partition, "revision": one.revision, "sequence_number": one.sequence_number}
