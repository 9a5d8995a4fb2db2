"""What a writer asks of the catalog, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

import pyarrow as pa

from cordillera.ports.metadata.contracts import KeptPartials
from cordillera.ports.storage import Storage
from cordillera.spec.argument_types import check_idempotency_key
from cordillera.spec.candidate import Candidate
from cordillera.spec.commit import Update
from cordillera.spec.completion import Completion
from cordillera.spec.manifest import Manifest
from cordillera.spec.merge import Operation
from cordillera.spec.requirements import Requirement
from cordillera.spec.table_metadata import MAIN_BRANCH

OTHER_DATASETS = "transaction-datasets"
"""Property of a snapshot: the datasets that its transaction wrote to."""


@dataclass(frozen=True, slots=True)
class DatasetWrite:
    """A write of a transaction.

    Attributes:
        dataset: The dataset, or one of its dataset versions.
        operation: See ``cordillera.spec.merge.Operation``.
        rows: Read once; None for a delete by condition.
        where: With ``replace``: the rows that are replaced; with a delete without rows: those that go.
        completes: A partition that is complete with this write.
        branch: Where to write.
    """

    dataset: str
    operation: str
    rows: pa.RecordBatchReader | None = None
    where: str | None = None
    completes: str | date | None = None
    branch: str = MAIN_BRANCH

    @property
    def takes_rows(self) -> bool:
        """Whether it goes with rows, as all do but deletes by a condition."""
        return self.operation != Operation.DELETE or self.where is None


@dataclass(frozen=True, slots=True)
class TransactionMark:
    """What the commits of one transaction have in common, by which consumers know that they belong together.

    Attributes:
        id: The transaction.
        message: What it is about, for people.
        datasets: All datasets that it writes to.
    """

    id: UUID
    message: str
    datasets: tuple[str, ...]

    @property
    def plain(self) -> dict[str, Any]:
        """The same, as events and the audit log have it."""
        return {"id": str(self.id), "message": self.message, "datasets": list(self.datasets)}

    @property
    def properties(self) -> dict[str, str]:
        """The same, as snapshots have it."""
        message = {"message": self.message} if self.message else {}
        return {"transaction": str(self.id), OTHER_DATASETS: ", ".join(self.datasets), **message}


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
        branch: The branch it is about.
        action, details: What the audit log says; by default that there was a commit.
        transaction: The transaction it is a part of, if it is not made by itself.
        candidate: What it keeps of a commit that was refused.
        partials: What it keeps for the next check of rules on the whole table.
        storage: The view of the storage that its files were written through, which is settled before they are visible;
            None where they are durable.
    """

    requirements: tuple[Requirement, ...] = ()
    updates: tuple[Update, ...] = ()
    manifest: Manifest | None = None
    idempotency_key: str | None = None
    request_hash: str = ""
    completes: str | date | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    branch: str = MAIN_BRANCH
    action: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    transaction: TransactionMark | None = None
    candidate: Candidate | None = None
    partials: KeptPartials | None = None
    storage: Storage | None = None

    def __post_init__(self) -> None:
        check_idempotency_key(self.idempotency_key)


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What came of a commit.

    Attributes:
        sequence_number: The newest snapshot of the branch afterwards; 0 if it has none.
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
