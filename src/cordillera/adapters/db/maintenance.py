"""Rows of maintenance runs."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import maintenance_runs
from cordillera.adapters.db.session import Session
from cordillera.spec.maintenance import MaintenanceRun, MaintenanceTask

RUN = RowMap(MaintenanceRun, maintenance_runs)
_KEPT = 100

_run = maintenance_runs.c
_NEWEST_FIRST = (_run.finished_at.desc(), _run.id.desc())
_LATEST = RUN.lookup(_run.dataset_version_id, _run.task, order=_NEWEST_FIRST)


class SqlMaintenanceRows:
    """See :class:`cordillera.ports.metadata.maintenance.MaintenanceRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, run: MaintenanceRun) -> None:
        """Add a run, and forget those that have become too many."""
        self._session.write(sa.insert(maintenance_runs), RUN.values(run))
        mine = (_run.dataset_version_id == run.dataset_version_id, _run.task == run.task)
        newest = sa.select(_run.id).where(*mine).order_by(*_NEWEST_FIRST).limit(_KEPT)
        self._session.write(sa.delete(maintenance_runs).where(*mine, _run.id.not_in(newest)))

    def latest(self, version_id: UUID, task: MaintenanceTask) -> MaintenanceRun | None:
        """Return the newest run of a task on a dataset version."""
        return _LATEST(self._session, version_id, task)

    def recent(self, task: MaintenanceTask, version_id: UUID | None = None, limit: int = 10) -> list[MaintenanceRun]:
        """Return the newest runs of a task."""
        query = RUN.select().where(_run.task == task).order_by(*_NEWEST_FIRST)
        if version_id is not None:
            query = query.where(_run.dataset_version_id == version_id)
        return RUN.all(self._session, query.limit(limit))
