"""Rows, snapshots and schemas of a lake behind a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import pyarrow as pa

from cordillera.catalog.commits import CommitResult
from cordillera.catalog.requests import DatasetWrite
from cordillera.client.connection import Connection, path
from cordillera.codec import Page
from cordillera.merge_codec import clauses_to_json
from cordillera.spec.as_of import AsOf, as_of_to_text
from cordillera.spec.catalog import Snapshot
from cordillera.spec.explanation import WriteExplanation
from cordillera.spec.manifest import Manifest
from cordillera.spec.merge_clauses import MergeClause
from cordillera.spec.table_metadata import MAIN_BRANCH
from cordillera.transaction_codec import writes_to_json


class RemoteRows(ABC):
    """The part of ``LakeBackend`` that is about rows, over the HTTP API."""

    _server: Connection

    @abstractmethod
    def _label(self, name: str, partition: str | date) -> str:
        """Return a partition of a dataset as completions name it."""

    def schema(self, name: str, as_of: AsOf = None) -> pa.Schema:
        """Return the Arrow schema of a dataset."""
        parameters = {"as_of": None if as_of is None else as_of_to_text(as_of)}
        address = path("datasets", name) + "/schema"
        return self._server.read_rows("GET", address, parameters=parameters).read_all().schema

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
        parameters: dict[str, object] = {
            "columns": [""] if columns is not None and not columns else columns,
            "where": where,
            "as_of": None if as_of is None else as_of_to_text(as_of),
            "limit": limit,
        }
        return self._server.read_rows("GET", path("datasets", name) + "/rows", parameters=parameters)

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
        parameters: dict[str, object] = {
            "after": None if after is None else as_of_to_text(after),
            "upto": None if upto is None else as_of_to_text(upto),
            "columns": [""] if columns is not None and not columns else columns,
            "where": where,
            "net": net,
            "limit": limit,
        }
        return self._server.read_rows("GET", path("datasets", name) + "/changes", parameters=parameters)

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
        return self._server.write_rows(
            CommitResult,
            path("datasets", name) + "/rows",
            rows,
            key=idempotency_key,
            operation=operation,
            where=where,
            completes=None if completes is None else self._label(name, completes),
            branch=branch,
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
        return self._server.write_rows(
            CommitResult,
            path("datasets", name) + "/merges",
            rows,
            key=idempotency_key,
            clauses=clauses_to_json(clauses),
            completes=None if completes is None else self._label(name, completes),
            branch=branch,
        )

    def write_together(
        self, writes: Sequence[DatasetWrite], *, message: str = "", idempotency_key: str | None = None
    ) -> list[CommitResult]:
        """Write to several datasets in one commit."""
        labelled = [
            write if write.completes is None else replace(write, completes=self._label(write.dataset, write.completes))
            for write in writes
        ]
        return self._server.write_rows(
            Page[CommitResult],
            "/transactions",
            *(write.rows for write in writes if write.rows is not None),
            key=idempotency_key,
            writes=writes_to_json(labelled),
            message=message,
        ).items

    def delete_where(
        self, name: str, where: str, *, idempotency_key: str | None = None, branch: str = MAIN_BRANCH
    ) -> CommitResult:
        """Delete the rows that satisfy a condition."""
        address = path("datasets", name) + "/rows"
        return self._server.post(
            CommitResult, address, method="DELETE", key=idempotency_key, where=where, branch=branch
        )

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
        address = path("datasets", name, "rows", "explanation")
        return self._server.write_rows(
            WriteExplanation, address, rows, key=None, operation=operation, where=where, branch=branch
        )

    def explain_merge(
        self, name: str, rows: pa.RecordBatchReader, clauses: Sequence[MergeClause], *, branch: str = MAIN_BRANCH
    ) -> WriteExplanation:
        """Tell what a merge would do to a dataset's files, and why."""
        address = path("datasets", name, "merges", "explanation")
        return self._server.write_rows(
            WriteExplanation, address, rows, key=None, clauses=clauses_to_json(clauses), branch=branch
        )

    def explain_delete(self, name: str, where: str, *, branch: str = MAIN_BRANCH) -> WriteExplanation:
        """Tell what a delete would do to a dataset's files, and why."""
        address = path("datasets", name, "rows", "deletion-explanation")
        return self._server.post(WriteExplanation, address, where=where, branch=branch)

    def snapshots(
        self, name: str, before: int | None = None, limit: int = 100, branch: str = MAIN_BRANCH
    ) -> list[Snapshot]:
        """Return a page of a branch's snapshots, newest first."""
        address = path("datasets", name) + "/snapshots"
        return self._server.get(Page[Snapshot], address, before=before, limit=limit, branch=branch).items

    def snapshot(self, name: str, sequence_number: int) -> Snapshot:
        """Return a snapshot."""
        return self._server.get(Snapshot, path("datasets", name, "snapshots", str(sequence_number)))

    def manifest(self, name: str, sequence_number: int) -> Manifest:
        """Return what a snapshot changed, file by file."""
        return self._server.get(Manifest, path("datasets", name, "snapshots", str(sequence_number), "manifest"))

    def metadata_location(self, name: str) -> str:
        """Return the URI of the current Iceberg metadata file, for engines that read tables by path."""
        return self._server.get(dict[str, str], path("datasets", name) + "/metadata-location")["metadata_location"]
