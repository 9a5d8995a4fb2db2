"""Rows of snapshots, manifests and receipts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap, chunks
from cordillera.adapters.db.schema import commit_receipts, manifests, snapshots
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError
from cordillera.ports.metadata.catalog import CommitReceipt
from cordillera.spec.catalog import Snapshot
from cordillera.spec.manifest import AnyOperation, FileContent, FileEntry, Manifest, TableOperation
from cordillera.spec.merge import Operation
from cordillera.spec.table_metadata import MAIN_BRANCH

SNAPSHOT = RowMap(Snapshot, snapshots)
RECEIPT = RowMap(CommitReceipt, commit_receipts)

_RECEIPT = RECEIPT.lookup(commit_receipts.c.dataset_version_id, commit_receipts.c.key)
_MANIFEST = ("dataset_version_id", "sequence_number", "document")
_INSERT_MANIFEST = Prepared(sa.insert(manifests).inline(), _MANIFEST)
_PUBLISH = (
    sa.update(snapshots)
    .where(
        snapshots.c.dataset_version_id == sa.bindparam("published"),
        snapshots.c.sequence_number.in_(sa.bindparam("numbers", expanding=True)),
        snapshots.c.branch != MAIN_BRANCH,
    )
    .values(branch=MAIN_BRANCH, committed_at=sa.bindparam("now"))
)


class SqlSnapshotRows:
    """See :class:`cordillera.ports.metadata.catalog.SnapshotRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, snapshot: Snapshot, manifest: Manifest) -> None:
        """Add a snapshot with its manifest."""
        if not self._session.insert_new(snapshots, SNAPSHOT.values(snapshot)):
            raise AlreadyExistsError(f"Snapshot {snapshot.sequence_number} of the dataset version exists already.")
        row = (snapshot.dataset_version_id, snapshot.sequence_number, manifest)
        self._session.change(_INSERT_MANIFEST, dict(zip(_MANIFEST, row, strict=True)))

    def get(self, version_id: UUID, sequence_number: int) -> Snapshot | None:
        """Return a snapshot by sequence number."""
        return SNAPSHOT.one(self._session, _of(version_id).where(snapshots.c.sequence_number == sequence_number))

    def at(self, version_id: UUID, moment: datetime) -> Snapshot | None:
        """Return the newest snapshot on ``main`` committed at or before a moment."""
        query = _on_branch(version_id, MAIN_BRANCH).where(snapshots.c.committed_at <= moment)
        newest = query.order_by(snapshots.c.committed_at.desc(), snapshots.c.sequence_number.desc())
        return SNAPSHOT.one(self._session, newest)

    def following(self, version_id: UUID, sequence_number: int) -> Snapshot | None:
        """Return the first snapshot on ``main`` behind a sequence number."""
        query = _on_branch(version_id, MAIN_BRANCH).where(snapshots.c.sequence_number > sequence_number)
        return SNAPSHOT.one(self._session, query.order_by(snapshots.c.sequence_number))

    def page(self, version_id: UUID, before: int | None, limit: int, branch: str = MAIN_BRANCH) -> list[Snapshot]:
        """Return snapshots of a branch newest first."""
        query = _on_branch(version_id, branch)
        if before is not None:
            query = query.where(snapshots.c.sequence_number < before)
        return SNAPSHOT.all(self._session, query.order_by(snapshots.c.sequence_number.desc()).limit(limit))

    def publish(self, version_id: UUID, sequence_numbers: Sequence[int], now: datetime) -> None:
        """Make snapshots of other branches part of ``main``, as committed now."""
        for chosen in chunks(sequence_numbers):
            self._session.write(_PUBLISH, {"published": version_id, "numbers": chosen, "now": now})

    def drop_branch(self, version_id: UUID, branch: str) -> None:
        """Take a branch's name from its snapshots."""
        mine = sa.and_(snapshots.c.dataset_version_id == version_id, snapshots.c.branch == branch)
        self._session.write(sa.update(snapshots).where(mine).values(branch=""))

    def manifest(self, version_id: UUID, sequence_number: int) -> Manifest | None:
        """Return the manifest of a snapshot."""
        query = sa.select(manifests.c.document).where(
            manifests.c.dataset_version_id == version_id, manifests.c.sequence_number == sequence_number
        )
        document = self._session.scalar(query)
        return None if document is None else _manifest(document)

    def receipt(self, version_id: UUID, key: str) -> CommitReceipt | None:
        """Return what was committed under an idempotency key."""
        return _RECEIPT(self._session, version_id, key)

    def add_receipt(self, version_id: UUID, key: str, receipt: CommitReceipt, now: datetime) -> None:
        """Remember an idempotent commit."""
        row = {**RECEIPT.values(receipt), "dataset_version_id": version_id, "key": key, "created_at": now}
        if not self._session.insert_new(commit_receipts, row):
            raise AlreadyExistsError(
                f"The idempotency key {key[:60]!r} has been used for this dataset version already."
            )


def _of(version_id: UUID) -> sa.Select[Any]:
    return SNAPSHOT.select().where(snapshots.c.dataset_version_id == version_id)


def _operation(text: str) -> AnyOperation:
    return TableOperation(text) if text in list(TableOperation) else Operation(text)


def _on_branch(version_id: UUID, branch: str) -> sa.Select[Any]:
    return _of(version_id).where(snapshots.c.branch == branch)


def _manifest(document: dict[str, Any]) -> Manifest:
    operation = document["operation"]
    return Manifest(
        **{
            **document,
            "operation": None if operation is None else _operation(operation),
            "key": tuple(document["key"]),
            "partitions": tuple(document["partitions"]),
            "entries": tuple(
                FileEntry(**{**entry, "content": FileContent(entry["content"])}) for entry in document["entries"]
            ),
        }
    )
