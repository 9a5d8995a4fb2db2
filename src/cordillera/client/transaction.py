"""Transactions as people work with them: writes that are collected in a block and committed together at its end."""

from __future__ import annotations

from datetime import date
from types import TracebackType
from typing import Any, Self

from cordillera.catalog.requests import CommitResult, DatasetWrite
from cordillera.client.backend import LakeBackend
from cordillera.client.rows import as_reader
from cordillera.spec.merge import Operation
from cordillera.spec.table_metadata import MAIN_BRANCH


class Transaction:
    """Writes to several datasets that are committed together when the block ends, or not at all.

    Nothing is read, sent or written before. An error in the block ends the transaction without a trace.

    Args:
        backend: The lake.
        message: What the transaction is about; snapshots, events and the audit log say it.
        idempotency_key: Repeating the transaction under the same key has no further effect.

    Attributes:
        results: What came of each write, in their order, once the block has ended.
    """

    def __init__(self, backend: LakeBackend, message: str = "", idempotency_key: str | None = None) -> None:
        self._backend, self._message, self._key = backend, message, idempotency_key
        self._writes: list[DatasetWrite] = []
        self.results: list[CommitResult] = []

    def write(
        self,
        dataset: str,
        rows: Any,
        operation: str = "append",
        *,
        where: str | None = None,
        completes: str | date | None = None,
        branch: str = MAIN_BRANCH,
    ) -> None:
        """Write rows into a dataset when the block ends. A transaction writes to a dataset once.

        Args:
            dataset: The dataset's name.
            rows, operation, where, completes, branch: As for ``Dataset.write``.
        """
        reader = as_reader(rows, lambda: self._backend.schema(dataset))
        self._writes.append(DatasetWrite(dataset, operation, reader, where, completes, branch))

    def delete(self, dataset: str, keys: Any, *, branch: str = MAIN_BRANCH) -> None:
        """Delete the rows that have these keys when the block ends; ``keys`` has the form of rows."""
        self.write(dataset, keys, Operation.DELETE, branch=branch)

    def delete_where(self, dataset: str, where: str, *, branch: str = MAIN_BRANCH) -> None:
        """Delete the rows that satisfy a condition when the block ends."""
        self._writes.append(DatasetWrite(dataset, Operation.DELETE, where=where, branch=branch))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._writes:
            self.results = self._backend.write_together(self._writes, message=self._message, idempotency_key=self._key)
