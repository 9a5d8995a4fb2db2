"""Writing rows into datasets: stage once, then resolve and commit until the race is won."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date

import pyarrow as pa

from cordillera.catalog.candidates import is_kept
from cordillera.catalog.commits import REFUSALS, CommitRequest, CommitResult, CommitService
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.pending import PendingWrite
from cordillera.catalog.requests import DatasetWrite
from cordillera.catalog.service import CatalogService
from cordillera.catalog.staging import Digest, StagingService, check_completes, of_branch
from cordillera.catalog.tables import TableService
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.explanation import WriteExplanation
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.merge import Operation
from cordillera.spec.merge_clauses import MergeClause
from cordillera.spec.table_metadata import MAIN_BRANCH
from cordillera.table.prepared_write import StagedWrite

_LOOKING = (Privilege.WRITE, Privilege.READ)
"""What a write needs that looks at the rows that are there, and tells of them."""


class WriteService:
    """Writes to datasets.

    Args:
        store: The metadata store.
        catalog: Resolves names.
        tables: Loads table metadata.
        commits: Makes writes visible.
        staging: Prepares the reading of rows.
    """

    def __init__(
        self,
        store: MetadataStore,
        catalog: CatalogService,
        tables: TableService,
        commits: CommitService,
        staging: StagingService,
    ) -> None:
        self._store, self._catalog, self._tables = store, catalog, tables
        self._commits, self._staging = commits, staging

    def write(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        operation: str | Operation,
        *,
        where: str | None = None,
        idempotency_key: str | None = None,
        request_hash: str = "",
        completes: str | date | None = None,
        branch: str = MAIN_BRANCH,
    ) -> CommitResult:
        """Write rows into a dataset.

        Args:
            name: The dataset, or one of its dataset versions.
            rows: Read once, in bounded memory for appends and replacements.
            operation: See ``cordillera.spec.merge.Operation``.
            where: With ``replace``: the rows that are replaced; the new ones have to satisfy it too.
            idempotency_key: Repeating a write under the same key has no further effect.
            request_hash: Stands for the rows when a repetition is compared with the first time; by default they are
                hashed, which needs them to come in the same order.
            completes: A partition that is complete with this write.
            branch: Where to write; nobody but readers of the branch sees it.

        Raises:
            CordilleraError: One of its kinds. Nothing of the write is visible then.
        """
        write = self._staging.request(DatasetWrite(name, operation, rows, where, completes, branch))
        request = CommitRequest(
            idempotency_key=idempotency_key, request_hash=request_hash, completes=completes, branch=branch
        )
        digest = write.digest() if idempotency_key is not None and not request_hash else None
        replayed = self._replayed(write.target, request, digest, write.conformed)
        if replayed is not None:
            return replayed
        staged = write.stage(digest.watch if digest else iter)
        if digest is not None:
            request = replace(request, request_hash=digest.hexdigest())
        return self._commit(write.pending(staged, request))

    def merge(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        clauses: Sequence[MergeClause],
        *,
        idempotency_key: str | None = None,
        request_hash: str = "",
        completes: str | date | None = None,
        branch: str = MAIN_BRANCH,
    ) -> CommitResult:
        """Merge rows into a dataset by clauses.

        Args:
            name: The dataset, or one of its dataset versions.
            rows: The source; held in memory.
            clauses: What to do with which rows (``cordillera.spec.merge_clauses``).
            idempotency_key, request_hash, completes, branch: As in ``write``.

        Raises:
            CordilleraError: One of its kinds. Nothing of the merge is visible then.
        """
        target = self._catalog.dataset(name, *_LOOKING)
        metadata = self._staging.view(target, branch)
        request = CommitRequest(
            idempotency_key=idempotency_key, request_hash=request_hash, completes=completes, branch=branch
        )
        keyed = idempotency_key is not None and not request_hash
        digest = Digest(Operation.MERGE, repr(tuple(clauses)), branch) if keyed else None
        replayed = self._replayed(target, request, digest, lambda: iter(rows))
        if replayed is not None:
            return replayed
        check_completes(target.name, completes, branch)
        columns = [field.name for field in metadata.schema.fields]
        writer = self._staging.writer(target)
        staged = writer.stage_merge(
            pa.RecordBatchReader.from_batches(rows.schema, digest.watch(iter(rows))) if digest else rows,
            clauses,
            metadata,
            inspect=self._staging.inspector(target, Operation.MERGE, columns),
        )
        if digest is not None:
            request = replace(request, request_hash=digest.hexdigest())
        return self._commit(PendingWrite(target, writer, staged, metadata, request))

    def delete_where(
        self, name: str, where: str, *, idempotency_key: str | None = None, branch: str = MAIN_BRANCH
    ) -> CommitResult:
        """Delete the rows of a dataset, or of one of its branches, that satisfy a condition."""
        target = self._catalog.dataset(name, *_LOOKING)
        metadata = self._staging.view(target, branch)
        staged = StagedWrite(Operation.DELETE, where=parse_row_filter(where, metadata.schema))
        request = CommitRequest(
            idempotency_key=idempotency_key, request_hash=of_branch(f"delete where {where}", branch), branch=branch
        )
        writer = self._staging.writer(target)
        return self._commit(PendingWrite(target, writer, staged, metadata, request))

    def explain_write(
        self,
        name: str,
        rows: pa.RecordBatchReader,
        operation: str | Operation,
        *,
        where: str | None = None,
        branch: str = MAIN_BRANCH,
    ) -> WriteExplanation:
        """Tell what ``write`` would do to the dataset's files, and why; nothing is written to it.

        Raises:
            CordilleraError: As ``write``.
        """
        self._catalog.dataset(name, *_LOOKING)
        write = self._staging.request(DatasetWrite(name, operation, rows, where, branch=branch))
        staged = write.stage()
        try:
            return write.writer.explain(staged, write.metadata)
        finally:
            write.writer.discard_staged(staged)

    def explain_merge(
        self, name: str, rows: pa.RecordBatchReader, clauses: Sequence[MergeClause], *, branch: str = MAIN_BRANCH
    ) -> WriteExplanation:
        """Tell what ``merge`` would do, as ``explain_write`` does."""
        target = self._catalog.dataset(name, *_LOOKING)
        metadata = self._staging.view(target, branch)
        columns = [field.name for field in metadata.schema.fields]
        writer = self._staging.writer(target)
        inspect = self._staging.inspector(target, Operation.MERGE, columns)
        return writer.explain(writer.stage_merge(rows, clauses, metadata, inspect=inspect), metadata)

    def explain_delete(self, name: str, where: str, *, branch: str = MAIN_BRANCH) -> WriteExplanation:
        """Tell what ``delete_where`` would do, as ``explain_write`` does."""
        target = self._catalog.dataset(name, *_LOOKING)
        metadata = self._staging.view(target, branch)
        staged = StagedWrite(Operation.DELETE, where=parse_row_filter(where, metadata.schema))
        return self._staging.writer(target).explain(staged, metadata)

    # --- helpers -------------------------------------------------------------------------------------------------

    def _commit(self, write: PendingWrite) -> CommitResult:
        """Prepare and commit a write, again and again while other writers are faster."""
        try:
            with self._commits.attempts(write.target.version.id) as attempts:
                for attempt in attempts:
                    with attempt:
                        if attempt.num > 1:
                            write.target = self._staging.current(write.target)
                        request = write.prepare(self._staging.view(write.target, write.request.branch))
                        result = self._commits.commit(write.target, request)
        except REFUSALS as error:  # not after other errors: what may have been committed is never removed
            if not is_kept(error, write.target):
                write.discard()
            raise
        return result

    def _replayed(
        self,
        target: ResolvedDataset,
        request: CommitRequest,
        digest: Digest | None,
        rows: Callable[[], Iterator[pa.RecordBatch]],
    ) -> CommitResult | None:
        """Return what the same write did before. Its rows are read to make sure that they are the same."""
        if request.idempotency_key is None:
            return None
        with self._store.read() as tx:
            replayed = self._commits.replay(tx, target.version, request)
            if replayed is None or digest is None:
                return replayed
            for _ in digest.watch(rows()):
                pass
            return self._commits.replay(tx, target.version, replace(request, request_hash=digest.hexdigest()))
