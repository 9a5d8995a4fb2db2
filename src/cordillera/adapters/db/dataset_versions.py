"""Rows of dataset versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db import search
from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import dataset_columns, dataset_versions, reservations
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError, DatasetNotFoundError
from cordillera.spec.catalog import Column, DatasetVersion, Lifecycle

VERSION = RowMap(DatasetVersion, dataset_versions)
COLUMN = RowMap(Column, dataset_columns)

_FIXED = ("id", "dataset_id", "number", "location", "created_at")
_OF_THEIR_OWN = ("lifecycle", "contract_revision")
"""What commits do not change, so that one which has read an older state does not bring it back."""

_BY_ID = VERSION.lookup(dataset_versions.c.id)
_OF_DATASET = Prepared(
    VERSION.select().where(dataset_versions.c.dataset_id == sa.bindparam("dataset")).order_by(dataset_versions.c.number)
)
_SWAP = Prepared(
    sa.update(dataset_versions).where(
        dataset_versions.c.id == sa.bindparam("swapped"),
        dataset_versions.c.metadata_location == sa.bindparam("expected_location"),
        dataset_versions.c.contract_revision == sa.bindparam("expected_revision"),
        ~sa.exists().where(
            reservations.c.dataset_version_id == dataset_versions.c.id,
            reservations.c.until > sa.bindparam("now"),
            reservations.c.writer.is_distinct_from(sa.bindparam("writer")),
        ),
    ),
    [name for name in VERSION.stored if name not in (*_FIXED, *_OF_THEIR_OWN)],
)
_RESERVED_FOR = Prepared(
    sa.select(reservations.c.writer).where(
        reservations.c.dataset_version_id == sa.bindparam("reserved"), reservations.c.until > sa.bindparam("now")
    )
)


_LOCK = Prepared(
    sa.select(dataset_versions.c.id)
    .where(dataset_versions.c.id == sa.bindparam("locked"))
    .with_for_update(key_share=True)
)


def lock_version(session: Session, version_id: UUID) -> None:
    """Lock a dataset version, as a commit to it does, for the rest of the transaction."""
    if not session.is_postgres or version_id in session.locked:
        return  # SQLite has one writer anyway
    session.change(_LOCK, {"locked": version_id})
    session.locked.add(version_id)


class SqlDatasetVersionRows:
    """See :class:`cordillera.ports.metadata.catalog.DatasetVersionRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, version: DatasetVersion, columns: Sequence[Column]) -> None:
        """Add a dataset version."""
        if not search.lock_dataset(self._session, version.dataset_id):
            raise DatasetNotFoundError(f"There is no dataset with the id {version.dataset_id}.")
        if not self._session.insert_new(dataset_versions, VERSION.values(version)):
            raise AlreadyExistsError(f"Dataset version {version.number} exists already.")
        self._insert_columns(version.id, columns)
        search.choose_version(self._session, version.dataset_id)

    def get(self, version_id: UUID) -> DatasetVersion | None:
        """Return a dataset version by id."""
        return _BY_ID(self._session, version_id)

    def lock(self, version_id: UUID) -> None:
        """Keep others from committing to a dataset version until this transaction ends."""
        lock_version(self._session, version_id)

    def page(self, dataset_id: UUID) -> list[DatasetVersion]:
        """Return the dataset versions of a dataset by number."""
        return VERSION.every(self._session, _OF_DATASET, {"dataset": dataset_id})

    def swap(
        self,
        version: DatasetVersion,
        columns: Sequence[Column] | None,
        *,
        expected_location: str,
        writer: UUID | None = None,
    ) -> bool:
        """Store a dataset version anew if its metadata location is still ``expected_location``, its contract the same,
        and commits are reserved for nobody else.

        The lifecycle stays what it is: only ``set_lifecycle`` changes it, so that a commit which has read an older one
        does not bring it back.
        """
        values = VERSION.values(version)
        for name in (*_FIXED, *_OF_THEIR_OWN):
            del values[name]
        expected = {"expected_location": expected_location, "expected_revision": version.contract_revision}
        values |= {"swapped": version.id, **expected, "now": version.updated_at, "writer": writer}
        if self._session.change(_SWAP, values) != 1:
            return False
        self._session.locked.add(version.id)
        if columns is not None:
            mine = dataset_columns.c.dataset_version_id == version.id
            self._session.write(sa.delete(dataset_columns).where(mine))
            self._insert_columns(version.id, columns)
        return True

    def reserve(self, version_id: UUID, writer: UUID, now: datetime, until: datetime) -> bool:
        """Reserve commits for a writer, unless another has."""
        mine, theirs = reservations.c.dataset_version_id == version_id, reservations.c.writer != writer
        self._session.write(sa.delete(reservations).where(mine, ~theirs | (reservations.c.until <= now)))
        values = {"dataset_version_id": version_id, "writer": writer, "until": until}
        return self._session.insert_new(reservations, values)

    def reserved_for(self, version_id: UUID, now: datetime) -> UUID | None:
        """Return the writer that commits are reserved for."""
        found = self._session.rows(_RESERVED_FOR, {"reserved": version_id, "now": now})
        return found[0][0] if found else None

    def release(self, version_id: UUID, writer: UUID) -> None:
        """End a writer's reservation."""
        mine = reservations.c.dataset_version_id == version_id, reservations.c.writer == writer
        self._session.write(sa.delete(reservations).where(*mine))

    def set_lifecycle(self, version_id: UUID, lifecycle: str, now: datetime) -> None:
        """Change the lifecycle."""
        mine = dataset_versions.c.id == version_id
        dataset_id = self._session.scalar(sa.select(dataset_versions.c.dataset_id).where(mine))
        if dataset_id is None:
            return
        search.lock_dataset(self._session, dataset_id)
        values = {"lifecycle": Lifecycle(lifecycle), "updated_at": now}
        self._session.write(sa.update(dataset_versions).where(mine).values(values))
        search.choose_version(self._session, dataset_id)

    def columns(self, version_id: UUID) -> list[Column]:
        """Return the columns in order."""
        query = COLUMN.select().where(dataset_columns.c.dataset_version_id == version_id)
        return COLUMN.all(self._session, query.order_by(dataset_columns.c.position))

    def _insert_columns(self, version_id: UUID, columns: Sequence[Column]) -> None:
        if columns:
            rows = [{**COLUMN.values(column), "dataset_version_id": version_id} for column in columns]
            self._session.write(sa.insert(dataset_columns), rows)
