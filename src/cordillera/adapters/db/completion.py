"""Rows of completions."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap, chunks
from cordillera.adapters.db.schema import completions, latest_completions
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError
from cordillera.spec.completion import Completion

COMPLETION = RowMap(Completion, completions)
LATEST = RowMap(Completion, latest_completions)

_LATEST = LATEST.lookup(latest_completions.c.dataset_version_id, latest_completions.c.partition)
_LATEST_OF = LATEST.select().where(
    latest_completions.c.dataset_version_id == sa.bindparam("version"),
    latest_completions.c.partition.in_(sa.bindparam("labels", expanding=True)),
)


class SqlCompletionRows:
    """See :class:`cordillera.ports.metadata.completion.CompletionRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, completion: Completion) -> None:
        """Add a completion."""
        row = COMPLETION.values(completion)
        if not self._session.insert_new(completions, row):
            raise AlreadyExistsError(
                f"Revision {completion.revision} of partition {completion.partition!r} exists already."
            )
        insert = self._session.insert(latest_completions)
        new = {name: insert.excluded[name] for name in row if name not in ("dataset_version_id", "partition")}
        newest = insert.on_conflict_do_update(
            index_elements=["dataset_version_id", "partition"],
            set_=new,
            where=latest_completions.c.revision < insert.excluded.revision,
        )
        self._session.write(newest, row)

    def latest(self, version_id: UUID, partition: str) -> Completion | None:
        """Return the newest completion of a partition."""
        return _LATEST(self._session, version_id, partition)

    def latest_of(self, version_id: UUID, partitions: Sequence[str]) -> dict[str, Completion]:
        """Return the newest completion of each of many partitions."""
        found: dict[str, Completion] = {}
        for some in chunks(partitions):
            latest = LATEST.all(self._session, _LATEST_OF, {"version": version_id, "labels": some})
            found |= {completion.partition: completion for completion in latest}
        return found

    def page(self, version_id: UUID, before: str | None, limit: int) -> list[Completion]:
        """Return the newest completion of each partition, highest label first."""
        query = LATEST.select().where(latest_completions.c.dataset_version_id == version_id)
        if before is not None:
            query = query.where(latest_completions.c.partition < before)
        return LATEST.all(self._session, query.order_by(latest_completions.c.partition.desc()).limit(limit))

    def history(self, version_id: UUID, partition: str) -> list[Completion]:
        """Return every completion of a partition, newest first."""
        query = COMPLETION.select().where(
            completions.c.dataset_version_id == version_id, completions.c.partition == partition
        )
        return COMPLETION.all(self._session, query.order_by(completions.c.revision.desc()))
