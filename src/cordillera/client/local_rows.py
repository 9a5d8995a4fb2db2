"""Rows, snapshots and schemas of a lake in this process."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pyarrow as pa

from cordillera.app import Application
from cordillera.arrow_stream import limited
from cordillera.catalog.commits import CommitResult
from cordillera.catalog.requests import DatasetWrite
from cordillera.errors import SnapshotNotFoundError
from cordillera.spec.access import Privilege
from cordillera.spec.as_of import AsOf
from cordillera.spec.catalog import Snapshot
from cordillera.spec.explanation import WriteExplanation
from cordillera.spec.manifest import Manifest
from cordillera.spec.merge_clauses import MergeClause
from cordillera.spec.table_metadata import MAIN_BRANCH


class LocalRows:
    """The part of ``LakeBackend`` that is about rows, on the services of an application."""

    app: Application

    def schema(self, name: str, as_of: AsOf = None) -> pa.Schema:
        """Return the Arrow schema of a dataset."""
        found = self.app.catalog.dataset(name, Privilege.DISCOVER)
        return self.app.tables.schema(found.name, found.version, as_of)

    def scan(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        as_of: AsOf = None,
        limit: int | None = None,
    ) -> pa.RecordBatchReader:
        """Stream rows of a dataset."""
        found = self.app.catalog.readable(name)
        reader = self.app.tables.scan(
            found.name, found.version, columns=columns, where=where, as_of=as_of, rows=found.rows
        )
        return limited(reader, limit)

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
    ) -> pa.RecordBatchReader:
        """Stream what changed in a dataset between two moments."""
        found = self.app.catalog.readable(name)
        reader = self.app.tables.change_feed(
            found.name,
            found.version,
            after=after,
            upto=upto,
            columns=columns,
            where=where,
            net=net,
            rows=found.rows,
        )
        return limited(reader, limit)

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
    ) -> CommitResult:
        """Write rows into a dataset."""
        return self.app.writes.write(
            name, rows, operation, where=where, idempotency_key=idempotency_key, completes=completes, branch=branch
        )

    def merge(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        clauses: Sequence[MergeClause],
        *,
        idempotency_key: str | None = None,
        completes: str | date | None = None,
        branch: str = MAIN_BRANCH,
    ) -> CommitResult:
        """Merge rows into a dataset by clauses."""
        return self.app.writes.merge(
            name, rows, clauses, idempotency_key=idempotency_key, completes=completes, branch=branch
        )

    def write_together(
        self, writes: Sequence[DatasetWrite], *, message: str = "", idempotency_key: str | None = None
    ) -> list[CommitResult]:
        """Write to several datasets in one commit."""
        return self.app.transactions.commit(writes, message=message, idempotency_key=idempotency_key)

    def delete_where(
        self, name: str, where: str, *, idempotency_key: str | None = None, branch: str = MAIN_BRANCH
    ) -> CommitResult:
        """Delete the rows that satisfy a condition."""
        return self.app.writes.delete_where(name, where, idempotency_key=idempotency_key, branch=branch)

    def explain_write(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        operation: str,
        *,
        where: str | None = None,
        branch: str = MAIN_BRANCH,
    ) -> WriteExplanation:
        """Tell what a write would do to a dataset's files, and why."""
        return self.app.writes.explain_write(name, rows, operation, where=where, branch=branch)

    def explain_merge(
        self, name: str, rows: pa.RecordBatchReader, clauses: Sequence[MergeClause], *, branch: str = MAIN_BRANCH
    ) -> WriteExplanation:
        """Tell what a merge would do to a dataset's files, and why."""
        return self.app.writes.explain_merge(name, rows, clauses, branch=branch)

    def explain_delete(self, name: str, where: str, *, branch: str = MAIN_BRANCH) -> WriteExplanation:
        """Tell what a delete would do to a dataset's files, and why."""
        return self.app.writes.explain_delete(name, where, branch=branch)

    def snapshots(
        self, name: str, before: int | None = None, limit: int = 100, branch: str = MAIN_BRANCH
    ) -> list[Snapshot]:
        """Return a page of a branch's snapshots, newest first."""
        return self.app.catalog.snapshots(name, before, limit, branch)

    def snapshot(self, name: str, sequence_number: int) -> Snapshot:
        """Return a snapshot."""
        return self.app.catalog.snapshot(name, sequence_number)

    def manifest(self, name: str, sequence_number: int) -> Manifest:
        """Return what a snapshot changed, file by file."""
        found = self.app.catalog.manifest(name, sequence_number)
        if found is None:
            raise SnapshotNotFoundError(
                f"{name} has no snapshot {sequence_number}.",
                hint=f"See which there are with: cordillera snapshot list {name}.",
            )
        return found

    def metadata_location(self, name: str) -> str:
        """Return the URI of the current Iceberg metadata file, for engines that read tables by path."""
        return self.app.catalog.dataset(name, Privilege.READ).version.metadata_location
