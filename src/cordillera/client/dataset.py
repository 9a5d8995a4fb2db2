"""A dataset as people work with it: lazy, printable, and readable by every Arrow library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from html import escape
from typing import Any
from uuid import UUID

import pyarrow as pa

from cordillera.catalog.commits import CommitResult
from cordillera.client.backend import ContractDetails, DatasetDetails, LakeBackend
from cordillera.client.merge import MergeBuilder
from cordillera.client.rows import as_reader
from cordillera.client.scan import Changes, Scan
from cordillera.errors import NotAllowedError
from cordillera.maintenance.results import (
    CompactionResult,
    ExpiryResult,
    MaintenanceStatus,
    ManifestRewriteResult,
    StatisticsRefresh,
)
from cordillera.spec import sql
from cordillera.spec.advice import LayoutAdvice
from cordillera.spec.as_of import AsOf, read_as_of
from cordillera.spec.catalog import Snapshot
from cordillera.spec.completion import Completion
from cordillera.spec.counting import counted
from cordillera.spec.explanation import WriteExplanation
from cordillera.spec.lineage import LineageGraph, Node, NodeKind
from cordillera.spec.maintenance import (
    CompactionOptions,
    MaintenancePolicy,
    parse_strategy,
    policy_property,
    policy_value,
)
from cordillera.spec.manifest import Manifest
from cordillera.spec.merge import HistoryColumns
from cordillera.spec.refs import DEFAULT_RETENTION, Ref, Retention
from cordillera.spec.schema_evolution import SchemaChange
from cordillera.spec.statistics import ColumnStatistics
from cordillera.spec.subscription import Subscription, SubscriptionStatus
from cordillera.spec.table_metadata import MAIN_BRANCH

_SLICE_BYTES = 1024**3
"""What one request compacts, so that progress can be told and no request takes for ever."""


class Dataset:
    """A dataset of a lake, by name. Nothing is fetched until something is asked.

    Args:
        backend: The lake.
        name: ``namespace.dataset``, or ``namespace.dataset_v2`` for one dataset version.
    """

    def __init__(self, backend: LakeBackend, name: str) -> None:
        self._backend, self.name = backend, name

    # --- what it is ----------------------------------------------------------------------------------------------

    def details(self) -> DatasetDetails:
        """Return everything the catalog knows of it."""
        return self._backend.dataset(self.name)

    @property
    def schema(self) -> pa.Schema:
        """Its Arrow schema."""
        return self._backend.schema(self.name)

    def update(
        self, *, owner: str | None = None, description: str | None = None, tags: Sequence[str] | None = None
    ) -> Dataset:
        """Change owner, description or tags."""
        self._backend.update_dataset(self.name, owner=owner, description=description, tags=tags)
        return self

    def evolve(self, *changes: SchemaChange) -> CommitResult:
        """Change the schema: ``AddColumn``, ``RenameColumn``, ``WidenColumn``, ``MoveColumn``, ``DropColumn`` …"""
        return self._backend.evolve(self.name, changes)

    def partition_by(self, *terms: str) -> CommitResult:
        """Lay out new files by other partitions: ``partition_by("month(ordered_at)", "region")``; none for one of all.

        Files there are stay as they are; they move to the new partitions as they are rewritten, for one by
        ``compact``.
        """
        return self._backend.partition_by(self.name, terms)

    def sort_by(self, *terms: str) -> CommitResult:
        """Sort the rows within new files: ``sort_by("ordered_at", "amount desc nulls last")``; none for as they come.

        Files there are stay as they are until they are rewritten, for one by ``compact(strategy="sort")``.
        """
        return self._backend.sort_by(self.name, terms)

    def set_write_mode(self, mode: str) -> CommitResult:
        """Take rows out of files in another way from now on: ``merge-on-read``, ``copy-on-write`` or ``auto``."""
        return self._backend.set_write_mode(self.name, mode)

    def rename(self, new_name: str) -> Dataset:
        """Call the dataset otherwise, or move it to another namespace; return it under its new name.

        Subscriptions and its history go with it, its files stay where they are. The old name is free then.

        Raises:
            NotAllowedError: If a job reads or writes it.
        """
        return Dataset(self._backend, self._backend.rename_dataset(self.name, new_name).full_name)

    def delete(self) -> None:
        """Delete the dataset; ``Lake.restore_dataset`` brings it back until its retention passes."""
        self._backend.delete_dataset(self.name)

    # --- reading -------------------------------------------------------------------------------------------------

    def scan(self, columns: Sequence[str] | None = None, where: str | None = None, as_of: AsOf = None) -> Scan:
        """Describe a read.

        Args:
            columns: Columns wanted, in order; None for all.
            where: SQL condition on the rows, for example ``"origin = 'JFK' AND dep_delay > 60"``.
            as_of: When to read the dataset as it was: a snapshot's sequence number, a datetime (UTC unless it has a
                zone), a date, which means the end of that day in UTC, a tag, or one of these as text (ISO 8601); or a
                branch.

        Raises:
            InvalidInputError: If ``as_of`` is no moment.
        """
        read_as_of(as_of)
        return Scan(self._backend, self.name, tuple(columns) if columns is not None else None, where, as_of)

    def current(self) -> Scan:
        """Return a scan of the rows that hold now, of a dataset that keeps a history.

        Raises:
            NotAllowedError: If it keeps none.
        """
        return self.scan().filter(sql.quote(self._history().is_current))

    def as_was(self, moment: int | str | date | Decimal) -> Scan:
        """Return a scan of the rows that held at a moment, of a dataset that keeps a history.

        This is about when things happened; ``scan(as_of=…)`` is about when they were written.

        Args:
            moment: Of the sequence column's type.

        Raises:
            NotAllowedError: If it keeps no history.
        """
        history, at = self._history(), sql.moment(moment)
        start, end = sql.quote(history.valid_from), sql.quote(history.valid_to)
        return self.scan().filter(f"{start} <= {at} AND ({end} IS NULL OR {end} > {at})")

    def _history(self) -> HistoryColumns:
        semantics = self.details().semantics
        if semantics.history is None:
            raise NotAllowedError(
                f"{self.name} keeps no history; its merge rule is {semantics.rule}.",
                hint="Read a past snapshot with scan(as_of=…), or create a dataset version with merge='scd2'.",
            )
        return semantics.history

    def changes(
        self,
        after: AsOf = None,
        upto: AsOf = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        *,
        net: bool = True,
    ) -> Changes:
        """Describe a read of what changed between two moments; it costs as much as changed.

        Behind the columns come ``_change_type`` (insert, update_before, update_after, delete) and
        ``_commit_sequence_number``. The images of an update follow each other, and both have the schema of ``upto``.
        Rows are known by the dataset's key; without one by ``_row_id``, which then is a column, too.

        Args:
            after: The state to begin from, in the forms of ``scan(as_of=…)``; None, or 0, for the empty dataset.
            upto: The state to end with; None means now.
            columns: Columns wanted, in order; None for all. A row that differs in none of them did not change.
            where: SQL condition: a row that begins to satisfy it is an insert, one that ceases to is a delete.
            net: One change for each row that differs between the two states, whatever happened in between; else the
                changes of every commit, one commit after the other.

        Raises:
            InvalidInputError: If ``after`` or ``upto`` is no moment.
        """
        read_as_of(after), read_as_of(upto)
        return Changes(
            self._backend, self.name, tuple(columns) if columns is not None else None, where, after, upto, net=net
        )

    def head(self, rows: int = 10) -> pa.Table:
        """Return some rows."""
        return self.scan().limit(rows).to_arrow()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.scan().__arrow_c_stream__(requested_schema)

    # --- writing -------------------------------------------------------------------------------------------------

    def write(
        self,
        rows: Any,
        operation: str = "append",
        *,
        where: str | None = None,
        idempotency_key: str | None = None,
        completes: str | date | None = None,
        branch: str = MAIN_BRANCH,
    ) -> CommitResult:
        """Write rows.

        Args:
            rows: Anything with ``__arrow_c_stream__`` (Polars, pandas, DuckDB, pyarrow …), or a list of dicts.
            operation: append, upsert, partial_update, delete, replace or replace_partitions.
            where: With replace: the rows that are replaced.
            idempotency_key: Repeating a write under the same key has no further effect.
            completes: A partition that is complete with this write.
            branch: Where to write. Nobody who does not name the branch sees it, until it is published.

        Raises:
            ContractViolationError: If the rows break the dataset's contract; nothing is written.
            InvalidInputError: One of its kinds, if the rows do not fit the dataset; nothing is written.
        """
        reader = as_reader(rows, lambda: self.schema)
        return self._backend.write(
            self.name,
            reader,
            operation,
            where=where,
            idempotency_key=idempotency_key,
            completes=completes,
            branch=branch,
        )

    def merge(self, rows: Any, branch: str = MAIN_BRANCH) -> MergeBuilder:
        """Begin a conditional merge: which rows to update, delete and insert is said clause by clause.

        ``dataset.merge(rows).when_matched().update().when_not_matched().insert().execute()``

        Args:
            rows: The source, in any form that ``write`` takes; besides the dataset's columns, the key among them, it
                may have others that clauses use.
            branch: Where to merge.
        """
        return MergeBuilder(self._backend, self.name, as_reader(rows, lambda: self.schema, others=True), branch)

    def delete_where(
        self, where: str, *, idempotency_key: str | None = None, branch: str = MAIN_BRANCH
    ) -> CommitResult:
        """Delete the rows that satisfy a condition."""
        return self._backend.delete_where(self.name, where, idempotency_key=idempotency_key, branch=branch)

    def explain(
        self, rows: Any, operation: str = "append", *, where: str | None = None, branch: str = MAIN_BRANCH
    ) -> WriteExplanation:
        """Tell what ``write`` would do to the dataset's files, and why: which it reads, marks, rewrites and adds.

        All the work is done but the commit; nothing changes. A merge has ``merge(rows)….explain()``.

        Args:
            rows, operation, where, branch: As in ``write``.
        """
        reader = as_reader(rows, lambda: self.schema)
        return self._backend.explain_write(self.name, reader, operation, where=where, branch=branch)

    def explain_delete(self, where: str, *, branch: str = MAIN_BRANCH) -> WriteExplanation:
        """Tell what ``delete_where`` would do to the dataset's files, and why."""
        return self._backend.explain_delete(self.name, where, branch=branch)

    # --- history -------------------------------------------------------------------------------------------------

    def snapshots(self, before: int | None = None, limit: int = 100, branch: str = MAIN_BRANCH) -> list[Snapshot]:
        """Return snapshots, newest first: those that readers see or saw, or those a branch has not published yet."""
        return self._backend.snapshots(self.name, before, limit, branch)

    def manifest(self, snapshot: int | Snapshot) -> Manifest:
        """Return what a snapshot changed, file by file."""
        sequence = snapshot.sequence_number if isinstance(snapshot, Snapshot) else snapshot
        return self._backend.manifest(self.name, sequence)

    def rollback(self, to: int | date | str) -> CommitResult:
        """Give the dataset the rows it had at an earlier snapshot: a sequence number, a time or a tag.

        No row is read or written. What came since stays in the history; targets follow back.
        """
        return self._backend.rollback(self.name, to)

    def upgrade(self, format_version: int = 3) -> CommitResult:
        """Raise the Iceberg format version; files stay as they are."""
        return self._backend.upgrade(self.name, format_version)

    # --- branches and tags ---------------------------------------------------------------------------------------

    def refs(self) -> list[Ref]:
        """Return branches and tags by name."""
        return self._backend.refs(self.name)

    def create_branch(self, branch: str, as_of: AsOf = None, retention: Retention = DEFAULT_RETENTION) -> Ref:
        """Make a branch of the current rows, or of an earlier snapshot: ``write(…, branch=…)`` changes it alone."""
        return self._backend.create_ref(self.name, branch, "branch", as_of=as_of, retention=retention)

    def create_tag(self, tag: str, as_of: AsOf = None, retention: Retention = DEFAULT_RETENTION) -> Ref:
        """Give the current snapshot, or an earlier one, a name that stays: ``scan(as_of=tag)`` reads it."""
        return self._backend.create_ref(self.name, tag, "tag", as_of=as_of, retention=retention)

    def drop_ref(self, ref: str) -> None:
        """Remove a branch or tag."""
        self._backend.drop_ref(self.name, ref)

    def retain_ref(self, ref: str, retention: Retention) -> Ref:
        """Change how long snapshot expiry keeps a branch or tag."""
        return self._backend.retain_ref(self.name, ref, retention)

    def publish(self, branch: str, *, completes: str | date | None = None) -> CommitResult:
        """Make everything committed to a branch visible at once.

        Raises:
            NotAllowedError: If the dataset has been written to meanwhile; the hint names the snapshots to cherry-pick.
        """
        return self._backend.fast_forward(self.name, MAIN_BRANCH, branch, completes=completes)

    def fast_forward(self, branch: str, to: str = MAIN_BRANCH) -> CommitResult:
        """Move a branch on to another one that was made from it, by default to what readers see."""
        return self._backend.fast_forward(self.name, branch, to)

    def cherry_pick(self, snapshot: int | Snapshot, branch: str = MAIN_BRANCH) -> CommitResult:
        """Do to the dataset, or to another branch, what a snapshot of a branch did to it.

        Raises:
            NotAllowedError, DuplicateKeyError: If the same rows have been changed otherwise.
        """
        sequence = snapshot.sequence_number if isinstance(snapshot, Snapshot) else snapshot
        return self._backend.cherry_pick(self.name, sequence, branch=branch)

    # --- where it is ---------------------------------------------------------------------------------------------

    @property
    def metadata_location(self) -> str:
        """URI of the current Iceberg metadata file, for engines that read tables by path."""
        return self._backend.metadata_location(self.name)

    # --- contract, completions, subscriptions, lineage -----------------------------------------------------------

    def put_contract(self, text: str) -> ContractDetails:
        """Put an ODCS document in force."""
        return self._backend.put_contract(self.name, text)

    def contract(self) -> ContractDetails:
        """Return the contract in force."""
        return self._backend.contract(self.name)

    def complete(self, partition: str | date, *, idempotency_key: str | None = None) -> Completion:
        """Declare a partition complete as of the current snapshot; again restates it."""
        return self._backend.complete(self.name, partition, idempotency_key=idempotency_key)

    def completion(self, partition: str | date) -> Completion | None:
        """Return the newest completion of a partition, or None."""
        return self._backend.completion(self.name, partition)

    def completions(self, before: str | None = None, limit: int = 100) -> list[Completion]:
        """Return completions, highest partition label first."""
        return self._backend.completions(self.name, before, limit)

    def wait_until_complete(self, partition: str | date, timeout: float) -> Completion:
        """Wait for a partition to become complete, at most ``timeout`` seconds."""
        return self._backend.wait_until_complete(self.name, partition, timeout)

    def subscribe(
        self,
        target: str,
        *,
        table: str = "",
        consumer: str = "",
        purpose: str = "",
        columns: Sequence[str] = (),
        row_filter: str = "",
    ) -> Subscription:
        """Ask for a target to be kept like this dataset."""
        return self._backend.subscribe(
            self.name,
            target,
            table=table,
            consumer=consumer,
            purpose=purpose,
            columns=columns,
            row_filter=row_filter,
        )

    def subscriptions(self, after: UUID | None = None, limit: int = 100) -> list[SubscriptionStatus]:
        """Return its subscriptions with their lag."""
        return self._backend.subscriptions(dataset=self.name, after=after, limit=limit)

    def lineage(self, upstream: int = 1, downstream: int = 1) -> LineageGraph:
        """Return what it is made from, and what is made from it."""
        full_name = self.details().dataset.full_name
        return self._backend.lineage(Node(NodeKind.DATASET, full_name), upstream=upstream, downstream=downstream)

    # --- maintenance ---------------------------------------------------------------------------------------------

    def compact(
        self,
        strategy: str = "bin-pack",
        *,
        columns: Sequence[str] = (),
        where: str | None = None,
        target_file_size: int | None = None,
        delete_ratio: float = 0.0,
        rewrite_all: bool | None = None,
        max_groups: int | None = None,
        max_bytes: int | None = None,
        progress: Callable[[CompactionResult], object] | None = None,
    ) -> CompactionResult:
        """Move rows into fewer, larger or better sorted files, beside readers and writers. No row changes.

        Args:
            strategy: ``bin-pack``, ``sort`` or ``z-order``.
            columns: What to sort or to order by; for sort by default the sort order, else the key.
            where: SQL condition; only files that may hold rows it is true for are rewritten.
            target_file_size: Bytes; by default the table's ``write.target-file-size-bytes``.
            delete_ratio: A file is rewritten once a larger share of its rows is deleted; 0 for any deleted row.
            rewrite_all: Rewrite files that need it for neither size nor deletes; by default when sorting.
            max_groups, max_bytes: End after so many groups of files, or bytes; the rest is left for another time.
            progress: Called with what has been done so far, and what is left, after every gigabyte.
        """
        options = CompactionOptions(
            parse_strategy(strategy), tuple(columns), where, target_file_size, delete_ratio, rewrite_all
        )
        parts: list[CompactionResult] = []
        while True:
            done = CompactionResult.total(parts)
            options = replace(
                options,
                max_groups=None if max_groups is None else max_groups - done.groups,
                max_bytes=_SLICE_BYTES if max_bytes is None else min(_SLICE_BYTES, max_bytes - done.bytes_rewritten),
                upto=done.upto if parts else None,
            )
            parts.append(self._backend.compact(self.name, options))
            done = CompactionResult.total(parts)
            if progress is not None:
                progress(done)
            enough = (max_groups is not None and done.groups >= max_groups) or (
                max_bytes is not None and done.bytes_rewritten >= max_bytes
            )
            if enough or not parts[-1].groups or not done.groups_left:
                return done

    def expire_snapshots(
        self, *, older_than: timedelta | None = None, keep_last: int | None = None, dry_run: bool = False
    ) -> ExpiryResult:
        """Forget old snapshots and remove the files that only they need. What branches and tags keep stays.

        Args:
            older_than: Younger snapshots stay; by default as the dataset's policy says. Reads and writes that began
                longer ago than this can fail.
            keep_last: So many stay of every branch; by default as the policy says.
            dry_run: Only say which would go.
        """
        hours = None if older_than is None else older_than.total_seconds() / 3600
        return self._backend.expire_snapshots(self.name, older_than_hours=hours, keep_last=keep_last, dry_run=dry_run)

    def rewrite_manifests(self) -> ManifestRewriteResult:
        """Write Iceberg's manifests anew, as few as the files need, so that planning reads less."""
        return self._backend.rewrite_manifests(self.name)

    def statistics(self) -> list[ColumnStatistics]:
        """Return how many distinct values columns had when statistics were last refreshed, by whatever engine."""
        return self._backend.statistics(self.name)

    def refresh_statistics(self, columns: Sequence[str] = ()) -> StatisticsRefresh:
        """Count the distinct values of the key, the partition columns, those counted before and the columns given.

        Args:
            columns: Further columns; ``a.b`` for a field of a struct.
        """
        return self._backend.refresh_statistics(self.name, columns)

    def maintenance(self) -> MaintenanceStatus:
        """Return the maintenance policy, what of it is due, and how long it will take."""
        return self._backend.maintenance(self.name)

    def configure_maintenance(self, **policy: object) -> MaintenancePolicy:
        """Change what is done to the dataset without being asked.

        Args:
            policy: Fields of ``MaintenancePolicy``, for example ``small_files=64`` or
                ``max_snapshot_age=timedelta(days=7)``; None for the default.
        """
        properties = {policy_property(name): policy_value(value) for name, value in policy.items()}
        return self._backend.configure_maintenance(self.name, properties)

    def advise(self) -> LayoutAdvice:
        """Return what would serve the scans and merges of the last 30 days better: partitions, an order, larger files.

        Each proposal says what it stands on, what it would bring, and how to do it. Where there is no evidence, nothing
        is proposed, and ``note`` says why.
        """
        return self._backend.advise(self.name)

    # --- showing -------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"Dataset({self.name!r})"

    def __str__(self) -> str:
        found = self.details()
        version = found.version
        lines = [
            f"{found.dataset.full_name}  (dataset version {version.number}, {version.lifecycle})",
            f"  {found.dataset.description}" if found.dataset.description else "",
            f"  owner {found.dataset.owner}, {counted(version.rows, 'row')}, snapshot {version.sequence_number}",
            f"  key ({', '.join(version.key)})" if version.key else "  no key",
            *(f"    {column.name:<24} {column.type:<16} {column.doc}".rstrip() for column in found.columns),
        ]
        return "\n".join(line for line in lines if line)

    def _repr_html_(self) -> str:
        found = self.details()
        rows = "".join(
            f"<tr><td>{escape(c.name)}</td><td><code>{escape(c.type)}</code></td><td>{escape(c.doc)}</td></tr>"
            for c in found.columns
        )
        return (
            f"<b>{escape(found.dataset.full_name)}</b> {escape(found.dataset.description)}<br>"
            f"{counted(found.version.rows, 'row')}, snapshot {found.version.sequence_number}, "
            f"owner {escape(found.dataset.owner)}<table>{rows}</table>"
        )
