"""Everything that can be asked of a lake, in one interface: embedded, it is answered in this process; remotely, by a
server.

The command line, the web pages and the HTTP API are written against it too, so that each can do what the others can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol
from uuid import UUID

import pyarrow as pa

from cordillera.catalog.commits import CommitResult
from cordillera.catalog.new_table import TableOptions
from cordillera.catalog.requests import DatasetWrite
from cordillera.client.access_backend import AccessBackend
from cordillera.client.contract_backend import ContractBackend
from cordillera.client.destination_backend import DestinationBackend
from cordillera.client.subscription_backend import SubscriptionBackend
from cordillera.maintenance.results import (
    CompactionResult,
    ExpiryResult,
    MaintenanceStatus,
    ManifestRewriteResult,
    Orphan,
    OrphanRemoval,
    StatisticsRefresh,
)
from cordillera.operations.audit import AuditExport
from cordillera.operations.doctor import Finding
from cordillera.ports.metadata.operations import LakeInfo
from cordillera.spec.advice import LayoutAdvice
from cordillera.spec.as_of import AsOf
from cordillera.spec.audit_chain import AUDIT_DATASET, AuditVerification
from cordillera.spec.catalog import Column, Dataset, DatasetVersion, Namespace, SearchResult, Snapshot, View
from cordillera.spec.completion import Completion
from cordillera.spec.completion_rule import CompletionRule, PartitionExplanation, PartitionState, RuleInForce
from cordillera.spec.consumer import Consumers
from cordillera.spec.event import AuditEntry, Event, Task
from cordillera.spec.explanation import WriteExplanation
from cordillera.spec.job_explanation import JobExplanation
from cordillera.spec.lineage import LineageGraph, Node
from cordillera.spec.maintenance import CompactionOptions, MaintenancePolicy
from cordillera.spec.manifest import Manifest
from cordillera.spec.merge import MergeSemantics
from cordillera.spec.merge_clauses import MergeClause
from cordillera.spec.refs import DEFAULT_RETENTION, Ref, Retention
from cordillera.spec.schema_evolution import SchemaChange
from cordillera.spec.statistics import ColumnStatistics
from cordillera.spec.table_metadata import MAIN_BRANCH
from cordillera.spec.workflow import Job, Run, Waiting, WantedJob


@dataclass(frozen=True, slots=True)
class DatasetDetails:
    """A dataset with one of its dataset versions, its columns, and the other dataset versions there are.

    Attributes:
        semantics: How the dataset version combines rows.
    """

    dataset: Dataset
    version: DatasetVersion
    columns: tuple[Column, ...]
    versions: tuple[DatasetVersion, ...]
    semantics: MergeSemantics


@dataclass(frozen=True, slots=True)
class ViewDetails:
    """A view and what it stands for.

    Attributes:
        sql: Dialect → its SELECT statement.
        version_id: Which of its definitions that is.
        version_ids: Those that are kept.
    """

    view: View
    columns: tuple[Column, ...]
    sql: Mapping[str, str]
    description: str
    version_id: int
    version_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RunCount:
    """How many runs a job has in a state."""

    job: str
    state: str
    count: int


class LakeBackend(AccessBackend, ContractBackend, DestinationBackend, SubscriptionBackend, Protocol):
    """A lake. Names are ``namespace.dataset``, or ``namespace.dataset_v2`` for one dataset version.

    Every method may raise ``CordilleraError`` of the kind that fits; lists are pages, continued behind their last item.
    """

    # --- the lake
    def info(self) -> LakeInfo: ...
    def examine(self, *, files: bool = True) -> list[Finding]: ...
    def orphans(self, older_than_hours: float = 24.0) -> list[Orphan]: ...
    def query(self, sql: str, as_of: Mapping[str, AsOf] | None = None) -> pa.RecordBatchReader: ...
    def close(self) -> None: ...

    # --- namespaces
    def create_namespace(
        self, name: str, *, owner: str = "", description: str = "", properties: Mapping[str, str] | None = None
    ) -> Namespace: ...
    def namespace(self, name: str) -> Namespace: ...
    def namespaces(self, after: str = "", limit: int = 100, *, parent: str | None = None) -> list[Namespace]: ...
    def update_namespace(
        self,
        name: str,
        *,
        owner: str | None = None,
        description: str | None = None,
        properties: Mapping[str, str | None] | None = None,
    ) -> Namespace: ...
    def delete_namespace(self, name: str) -> None: ...

    # --- datasets
    def create_dataset(
        self,
        name: str,
        schema: pa.Schema,
        options: TableOptions,
        *,
        owner: str = "",
        description: str = "",
        tags: Sequence[str] = (),
    ) -> DatasetDetails: ...
    def create_dataset_version(
        self, name: str, schema: pa.Schema, options: TableOptions, *, active: bool = False
    ) -> DatasetDetails: ...
    def dataset(self, name: str) -> DatasetDetails: ...
    def datasets(
        self, namespace: str | None = None, after: str = "", limit: int = 100, *, deleted: bool = False
    ) -> list[Dataset]: ...
    def search(
        self, text: str = "", filters: Mapping[str, str] | None = None, after: str = "", limit: int = 50
    ) -> SearchResult: ...
    def update_dataset(
        self,
        name: str,
        *,
        owner: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> Dataset: ...
    def set_lifecycle(self, name: str, lifecycle: str, *, reason: str = "") -> DatasetDetails: ...
    def consumers(self, name: str) -> Consumers: ...
    def register_dataset(self, name: str, metadata_location: str) -> DatasetDetails: ...
    def rename_dataset(self, name: str, new_name: str) -> Dataset: ...
    def delete_dataset(self, name: str) -> Dataset: ...
    def restore_dataset(self, name: str) -> Dataset: ...

    # --- views
    def create_view(
        self,
        name: str,
        sql: str,
        *,
        dialects: Mapping[str, str] | None = None,
        description: str | None = None,
        owner: str = "",
        replace: bool = False,
    ) -> ViewDetails: ...
    def view(self, name: str) -> ViewDetails: ...
    def views(self, namespace: str | None = None, after: str = "", limit: int = 100) -> list[View]: ...
    def rename_view(self, name: str, new_name: str) -> View: ...
    def drop_view(self, name: str) -> View: ...

    # --- rows
    def schema(self, name: str, as_of: AsOf = None) -> pa.Schema: ...
    def scan(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        as_of: AsOf = None,
        limit: int | None = None,
    ) -> pa.RecordBatchReader: ...
    def changes(
        self,
        name: str,
        *,
        after: AsOf = None,
        upto: AsOf = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        net: bool = True,
        limit: int | None = None,
    ) -> pa.RecordBatchReader: ...
    def write(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        operation: str,
        *,
        where: str | None = None,
        idempotency_key: str | None = None,
        completes: str | date | None = None,
        branch: str = MAIN_BRANCH,
    ) -> CommitResult: ...
    def delete_where(
        self, name: str, where: str, *, idempotency_key: str | None = None, branch: str = MAIN_BRANCH
    ) -> CommitResult: ...
    def merge(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        clauses: Sequence[MergeClause],
        *,
        idempotency_key: str | None = None,
        completes: str | date | None = None,
        branch: str = MAIN_BRANCH,
    ) -> CommitResult: ...
    def explain_write(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        operation: str,
        *,
        where: str | None = None,
        branch: str = MAIN_BRANCH,
    ) -> WriteExplanation: ...
    def explain_merge(
        self, name: str, rows: pa.RecordBatchReader, clauses: Sequence[MergeClause], *, branch: str = MAIN_BRANCH
    ) -> WriteExplanation: ...
    def explain_delete(self, name: str, where: str, *, branch: str = MAIN_BRANCH) -> WriteExplanation: ...
    def write_together(
        self, writes: Sequence[DatasetWrite], *, message: str = "", idempotency_key: str | None = None
    ) -> list[CommitResult]: ...
    def evolve(self, name: str, changes: Sequence[SchemaChange]) -> CommitResult: ...
    def partition_by(self, name: str, terms: Sequence[str]) -> CommitResult: ...
    def sort_by(self, name: str, terms: Sequence[str]) -> CommitResult: ...
    def set_write_mode(self, name: str, mode: str) -> CommitResult: ...
    def bloom_filters(self, name: str) -> list[str]: ...
    def set_bloom_filters(
        self, name: str, columns: Sequence[str], *, false_positives: float = 0.01
    ) -> CommitResult: ...
    def snapshots(
        self, name: str, before: int | None = None, limit: int = 100, branch: str = MAIN_BRANCH
    ) -> list[Snapshot]: ...
    def snapshot(self, name: str, sequence_number: int) -> Snapshot: ...
    def manifest(self, name: str, sequence_number: int) -> Manifest: ...
    def metadata_location(self, name: str) -> str: ...

    # --- maintenance
    def compact(self, name: str, options: CompactionOptions | None = None) -> CompactionResult: ...
    def expire_snapshots(
        self, name: str, *, older_than_hours: float | None = None, keep_last: int | None = None, dry_run: bool = False
    ) -> ExpiryResult: ...
    def rewrite_manifests(self, name: str) -> ManifestRewriteResult: ...
    def statistics(self, name: str) -> list[ColumnStatistics]: ...
    def refresh_statistics(self, name: str, columns: Sequence[str] = ()) -> StatisticsRefresh: ...
    def maintenance(self, name: str) -> MaintenanceStatus: ...
    def configure_maintenance(self, name: str, properties: Mapping[str, str | None]) -> MaintenancePolicy: ...
    def advise(self, name: str) -> LayoutAdvice: ...
    def remove_orphans(
        self, *, older_than_hours: float = 72.0, dry_run: bool = True, force: bool = False
    ) -> OrphanRemoval: ...

    # --- branches and tags
    def refs(self, name: str) -> list[Ref]: ...
    def create_ref(
        self, name: str, ref: str, kind: str, *, as_of: AsOf = None, retention: Retention = DEFAULT_RETENTION
    ) -> Ref: ...
    def drop_ref(self, name: str, ref: str) -> None: ...
    def retain_ref(self, name: str, ref: str, retention: Retention) -> Ref: ...
    def fast_forward(self, name: str, branch: str, to: str, *, completes: str | date | None = None) -> CommitResult: ...
    def rollback(self, name: str, to: int | date | str) -> CommitResult: ...
    def cherry_pick(self, name: str, sequence_number: int, *, branch: str = MAIN_BRANCH) -> CommitResult: ...
    def upgrade(self, name: str, format_version: int = 3) -> CommitResult: ...

    # --- completions
    def complete(self, name: str, partition: str | date, *, idempotency_key: str | None = None) -> Completion: ...
    def complete_all(
        self, name: str, partitions: Sequence[str | date], *, idempotency_key: str | None = None
    ) -> list[Completion]: ...
    def completion(self, name: str, partition: str | date) -> Completion | None: ...
    def completions(self, name: str, before: str | None = None, limit: int = 100) -> list[Completion]: ...
    def wait_until_complete(self, name: str, partition: str | date, timeout: float) -> Completion: ...
    def explain_completion(self, name: str, partition: str | date) -> PartitionExplanation: ...
    def put_completion_rule(self, name: str, rule: CompletionRule) -> RuleInForce: ...
    def completion_rule(self, name: str) -> RuleInForce | None: ...
    def remove_completion_rule(self, name: str) -> None: ...
    def announce(
        self, name: str, partition: str | date, rows: int, totals: Mapping[str, str] | None = None
    ) -> PartitionState: ...

    # --- jobs and runs
    def create_job(self, wanted: WantedJob) -> Job: ...
    def job(self, name: str) -> Job: ...
    def jobs(self, after: str = "", limit: int = 100) -> list[Job]: ...
    def set_job_enabled(self, name: str, enabled: bool) -> Job: ...
    def delete_job(self, name: str) -> None: ...
    def run_job(self, name: str, partition: str, *, idempotency_key: str | None = None) -> Run: ...
    def run(self, run_id: UUID) -> Run: ...
    def runs(
        self,
        *,
        job: str | None = None,
        state: str | None = None,
        partition: str | None = None,
        before: UUID | None = None,
        limit: int = 100,
    ) -> list[Run]: ...
    def run_counts(self) -> list[RunCount]: ...
    def waiting(self, job: str, limit: int = 50) -> list[Waiting]: ...
    def explain_job(self, name: str, partition: str | None = None) -> JobExplanation: ...

    # --- lineage, events, tasks
    def lineage(self, node: Node, *, upstream: int = 1, downstream: int = 1) -> LineageGraph: ...
    def events(self, *, dataset: str | None = None, before: int | None = None, limit: int = 100) -> list[Event]: ...
    def follow_events(
        self,
        *,
        topics: Sequence[str] = (),
        within: Sequence[str] = (),
        after: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[Event]: ...
    def audit(
        self, *, object_name: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[AuditEntry]: ...
    def verify_audit(self, head: str = "", *, newest: int | None = None) -> AuditVerification: ...
    def export_audit(self, dataset: str = AUDIT_DATASET) -> AuditExport: ...
    def tasks(self, *, state: str | None = None, after: UUID | None = None, limit: int = 100) -> list[Task]: ...
