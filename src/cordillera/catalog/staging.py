"""Writes that have been asked for and not been read yet: what they are about, and how their rows get staged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.pending import PendingWrite
from cordillera.catalog.requests import CommitRequest, DatasetWrite
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.errors import InvalidInputError
from cordillera.ports.commit_guard import CommitGuard, RowInspector
from cordillera.spec.access import Privilege
from cordillera.spec.expression import RowFilter, parse_row_filter
from cordillera.spec.merge import Operation, parse_operation
from cordillera.spec.refs import on_branch
from cordillera.spec.snapshot_summary import contract_mark
from cordillera.spec.table_metadata import MAIN_BRANCH, TableMetadata
from cordillera.table.keyed_write import stored_columns
from cordillera.table.prepared_write import Inspector, StagedWrite
from cordillera.table.write import TableWriter


class Digest:
    """Hashes rows as they pass, to tell whether a repeated write brings the same ones."""

    def __init__(self, operation: Operation, what: str, branch: str) -> None:
        self._hash = hashlib.sha256(f"{of_branch(operation, branch)}\n{what}\n".encode())

    def watch(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches on, hashed."""
        for batch in batches:
            self._hash.update(batch.serialize())
            yield batch

    def hexdigest(self) -> str:
        """Return the hash of everything that passed."""
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class RequestedWrite:
    """A write whose dataset is known, and whose rows are still to be read.

    Attributes:
        target: What is written to.
        metadata: The table as it is, seen on the branch that is written to.
        writer: Will stage the rows.
        asked: What is asked for.
        operation: What to do with the rows.
        where: The rows that a replacement or a delete is about.
        inspector: Returns what looks at rows before they are stored, by the columns that it gets to see, and those that
            were seen before.
    """

    target: ResolvedDataset
    metadata: TableMetadata
    writer: TableWriter
    asked: DatasetWrite
    operation: Operation
    where: RowFilter | None
    inspector: Callable[[Sequence[str], Sequence[str]], RowInspector]

    def digest(self) -> Digest:
        """Return a hash that its rows can be added to."""
        return Digest(self.operation, self.asked.where or "", self.asked.branch)

    def conformed(self) -> Iterator[pa.RecordBatch]:
        """Read the rows, in the table's types and order."""
        rows = self.asked.rows
        return iter(()) if rows is None else self.writer.conformed(self.operation, rows, self.metadata)

    def stage(self, watch: Inspector = iter) -> StagedWrite:
        """Read and check the rows; see ``TableWriter.stage``."""
        rows = self.asked.rows
        if rows is None:
            return StagedWrite(self.operation, where=self.where)
        seen = stored_columns(self.operation, rows.schema.names, self.metadata)
        return self.writer.stage(
            self.operation,
            rows,
            self.metadata,
            where=self.where,
            watch=watch,
            inspect=self.inspector(seen, ()),
            inspect_new=self.inspector([field.name for field in self.metadata.schema.fields], seen),
        )

    def pending(self, staged: StagedWrite, request: CommitRequest) -> PendingWrite:
        """Return the write on its way to being committed."""
        return PendingWrite(self.target, self.writer, staged, self.metadata, request)


class StagingService:
    """Prepares the reading of rows.

    Args:
        catalog: Resolves names.
        tables: Loads table metadata.
        guards: Look at rows before they are written.
    """

    def __init__(self, catalog: CatalogService, tables: TableService, guards: Sequence[CommitGuard] = ()) -> None:
        self._catalog, self._tables, self._guards = catalog, tables, tuple(guards)

    def view(self, target: ResolvedDataset, branch: str) -> TableMetadata:
        """Return a table as writers of a branch see it."""
        return on_branch(self._tables.load(target.version), branch, target.name)

    def writer(self, target: ResolvedDataset) -> TableWriter:
        """Return what writes to a dataset version. Rows are held to the contract that was in force when it was looked
        up, or a newer one.
        """
        version = target.version
        return TableWriter(self._tables.io, target.name, contract_mark(version.id, version.contract_revision))

    def current(self, target: ResolvedDataset) -> ResolvedDataset:
        """Return a dataset version as it is now, whatever it is called by now."""
        return self._catalog.present(target)

    def request(self, asked: DatasetWrite) -> RequestedWrite:
        """Return a write that is still to be read.

        Raises:
            CordilleraError: One of its kinds, if the dataset, the branch, the operation or the condition does not do.
        """
        operation = parse_operation(asked.operation)
        target = self._catalog.dataset(asked.dataset, Privilege.WRITE, *_also_needed(asked))
        check_completes(target.name, asked.completes, asked.branch)
        metadata = self.view(target, asked.branch)
        return RequestedWrite(
            target=target,
            metadata=metadata,
            writer=self.writer(target),
            asked=asked,
            operation=operation,
            where=_filter(asked, operation, target.name, metadata),
            inspector=partial(self.inspector, target, operation),
        )

    def inspector(
        self, target: ResolvedDataset, operation: Operation, columns: Sequence[str], seen: Sequence[str] = ()
    ) -> RowInspector:
        """Return what the guards look at rows with that get stored in some columns, of which some were seen before."""
        found = [g.inspector(target.dataset, target.version, operation, columns, seen) for g in self._guards]
        inspectors = [inspector for inspector in found if inspector is not None]

        def inspect(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for inspector in inspectors:
                batches = inspector(batches)
            return batches

        return inspect


def of_branch(what: str, branch: str) -> str:
    """Return what stands for a write to a branch, where there is a difference between branches."""
    return what if branch == MAIN_BRANCH else f"{what} on {branch}"


def check_completes(name: str, completes: object, branch: str) -> None:
    """Refuse to complete a partition of a dataset by a write that its readers do not see."""
    if completes is not None and branch != MAIN_BRANCH:
        raise InvalidInputError(
            f"A write to the branch {branch} completes nothing: readers of {name} do not see it.",
            hint="Complete the partition when the branch is published.",
        )


def _also_needed(asked: DatasetWrite) -> tuple[Privilege, ...]:
    """Return what a write needs besides: how many rows a condition meets tells of rows that are there."""
    return () if asked.where is None else (Privilege.READ,)


def _filter(asked: DatasetWrite, operation: Operation, name: str, metadata: TableMetadata) -> RowFilter | None:
    if asked.rows is None and (operation is not Operation.DELETE or asked.where is None):
        raise InvalidInputError(
            f"There are no rows for the {operation} of {name}.", hint="Only a delete by a condition goes without rows."
        )
    if asked.where is None:
        return None
    if asked.rows is not None and operation is not Operation.REPLACE:
        raise InvalidInputError(
            f"A condition goes with replace, not with {operation}.",
            hint=f"To delete rows of {name} by condition, use delete_where.",
        )
    return parse_row_filter(asked.where, metadata.schema)
