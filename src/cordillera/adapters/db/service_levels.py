"""Rows of how dataset versions stand to their promises about time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import service_levels
from cordillera.adapters.db.session import Row, Session
from cordillera.spec.freshness import FreshnessState
from cordillera.spec.service_level import ServiceLevelWatch

WATCH = RowMap(ServiceLevelWatch, service_levels)
_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""Due by any clock, also by one that has been set back since."""
_DUE = sa.text("service_levels.look_at IS NOT NULL")  # spelled like the condition of the partial index


_LOOK_AGAIN = Prepared(
    sa.update(service_levels).where(service_levels.c.dataset_version_id == sa.bindparam("again")), ["look_at"]
)


class SqlServiceLevelRows:
    """See :class:`cordillera.ports.metadata.service_levels.ServiceLevelRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def watch(self, version_id: UUID, now: datetime) -> None:
        """Have a dataset version looked at, from now on."""
        new = ServiceLevelWatch(version_id, FreshnessState.UNPROMISED, "", None, now, _AT_ONCE, 0)
        if not self._session.insert_new(service_levels, WATCH.values(new)):
            self.look_again(version_id)

    def look_again(self, version_id: UUID) -> None:
        """Have a dataset version looked at, if it is watched."""
        self._session.change(_LOOK_AGAIN, {"again": version_id, "look_at": _AT_ONCE})

    def get(self, version_id: UUID) -> ServiceLevelWatch | None:
        """Return what was found."""
        found = self._session.read(WATCH.select().where(_is(version_id)))
        return _load(found[0]) if found else None

    def lock(self, version_id: UUID) -> ServiceLevelWatch | None:
        """Return what was found, locked."""
        found = self._session.lock(WATCH.select().where(_is(version_id)).with_for_update())
        return None if found is None else _load(found)

    def put(self, watch: ServiceLevelWatch) -> None:
        """Store what was found."""
        values = WATCH.values(watch)
        self._session.write(sa.update(service_levels).where(_is(watch.dataset_version_id)).values(**values))

    def due(self, now: datetime, limit: int) -> list[UUID]:
        """Return the dataset versions that have to be looked at."""
        row = service_levels.c
        query = sa.select(row.dataset_version_id).where(_DUE, row.look_at <= now).order_by(row.look_at).limit(limit)
        return [found.dataset_version_id for found in self._session.read(query)]

    def counts(self) -> dict[FreshnessState, int]:
        """Return how many dataset versions are in each state."""
        state = service_levels.c.state
        found = self._session.read(sa.select(state, sa.func.count()).group_by(state).order_by(state))
        return {FreshnessState(name): count for name, count in found}


def _is(version_id: UUID) -> sa.ColumnElement[bool]:
    return service_levels.c.dataset_version_id == version_id


def _load(row: Row) -> ServiceLevelWatch:
    found = WATCH.load(row)
    return replace(found, state=FreshnessState(found.state))
