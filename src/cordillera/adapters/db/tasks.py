"""Rows of background tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import targets, tasks
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.subscriptions import TARGET
from cordillera.spec.event import Task
from cordillera.spec.subscription import Target

TASK = RowMap(Task, tasks)

QUEUED, RUNNING, FAILED = "queued", "running", "failed"

# Spelled like the conditions of the partial indexes, which are used only if the planner sees them.
_QUEUED, _RUNNING, _FAILED = (sa.text(f"tasks.state = '{state}'") for state in (QUEUED, RUNNING, FAILED))
_NOT_FAILED = sa.text("tasks.state <> 'failed'")
_ON_TARGETS = sa.text("tasks.state = 'running' AND tasks.target <> ''")

_FORGET_FAILED = sa.delete(tasks).where(
    tasks.c.kind == sa.bindparam("of_kind"), tasks.c.key == sa.bindparam("of_key"), _FAILED
)


class SqlTaskRows:
    """See :class:`cordillera.ports.metadata.operations.TaskRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def enqueue(
        self,
        task_id: UUID,
        kind: str,
        key: str,
        payload: Mapping[str, Any],
        *,
        now: datetime,
        trace_id: str,
        due_at: datetime | None = None,
        target: str = "",
    ) -> bool:
        """Add a queued task unless one of that kind and key is queued already.

        The queued one is locked then: a worker that took it before this transaction commits would not see what the
        transaction wrote.
        """
        row = {
            "id": task_id,
            "kind": kind,
            "key": key,
            "payload": payload,
            "state": QUEUED,
            "attempts": 0,
            "due_at": due_at or now,
            "leased_by": "",
            "lease_until": None,
            "fencing_token": 0,
            "last_error": "",
            "trace_id": trace_id,
            "created_at": now,
            "target": target,
        }
        alike = (tasks.c.kind == kind, tasks.c.key == key)
        while not self._insert_queued(row):
            if self._session.lock(sa.select(tasks.c.id).where(*alike, _QUEUED).with_for_update(read=True)):
                return False
        self._session.write(_FORGET_FAILED, {"of_kind": kind, "of_key": key})
        return True

    def lease(
        self,
        worker: str,
        *,
        now: datetime,
        until: datetime,
        kinds: Sequence[str],
        at_once: Callable[[Target], int] | None = None,
    ) -> Task | None:
        """Take the task that is due for longest and whose target has room for it."""
        self._session.check_writable()
        full = self._full(now, at_once) if at_once else set()
        for kind in self._kinds_due(kinds, now, full):
            while task := self._session.lock(_next_due(kind, bool(full)), {"now": now, "full": list(full)}):
                if at_once is None or self._has_room(task.target, now, at_once):
                    return self._take(task.id, worker, until)
                full.add(task.target)
        return None

    def extend(self, task_id: UUID, fencing_token: int, *, now: datetime, until: datetime) -> bool:
        """Prolong a lease."""
        mine = sa.update(tasks).where(*_leased(task_id, fencing_token), tasks.c.lease_until > now)
        return self._session.write(mine.values(lease_until=until)) == 1

    def holds(self, task_id: UUID, fencing_token: int, *, now: datetime) -> bool:
        """Tell, locking the task for this transaction, whether a lease is still valid."""
        mine = sa.select(tasks.c.id).where(*_leased(task_id, fencing_token), tasks.c.lease_until > now)
        return self._session.lock(mine.with_for_update()) is not None

    def finish(self, task_id: UUID, fencing_token: int) -> bool:
        """Remove a task that is done."""
        return self._session.write(sa.delete(tasks).where(*_leased(task_id, fencing_token))) == 1

    def retry(self, task_id: UUID, fencing_token: int, *, due_at: datetime, error: str) -> bool:
        """Put a task back to wait until ``due_at``, unless one of the same kind and key is queued meanwhile."""
        taken = sa.delete(tasks).where(*_leased(task_id, fencing_token)).returning(*TASK.columns)
        rows = self._session.write_rows(taken)
        if not rows:
            return False
        waiting = {"state": QUEUED, "due_at": due_at, "last_error": error, "leased_by": "", "lease_until": None}
        self._insert_queued({**rows[0]._mapping, **waiting})
        return True

    def fail(self, task_id: UUID, fencing_token: int, *, error: str) -> bool:
        """Give a task up; its row stays to be looked at."""
        mine = sa.update(tasks).where(*_leased(task_id, fencing_token))
        given_up = mine.values(state=FAILED, last_error=error, leased_by="", lease_until=None)
        return self._session.write(given_up) == 1

    def page(self, *, state: str | None = None, after: UUID | None = None, limit: int) -> list[Task]:
        """Return tasks by id behind ``after``."""
        query = TASK.select()
        if state is not None:
            query = query.where(tasks.c.state == state)
        if after is not None:
            query = query.where(tasks.c.id > after)
        return TASK.all(self._session, query.order_by(tasks.c.id).limit(limit))

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many tasks there are of each kind and state."""
        query = sa.select(tasks.c.kind, tasks.c.state, sa.func.count()).group_by(tasks.c.kind, tasks.c.state)
        return {(kind, state): number for kind, state, number in self._session.read(query)}

    def oldest_due(self, now: datetime) -> datetime | None:
        """Return since when the longest waiting task has been due."""
        since = sa.func.coalesce(tasks.c.lease_until, tasks.c.due_at)  # a lease that has passed is waiting since then
        query = sa.select(sa.func.min(since)).where(_NOT_FAILED, _is_free(now), tasks.c.due_at <= now)
        found: datetime | None = self._session.scalar(query)
        return found

    def _full(self, now: datetime, at_once: Callable[[Target], int]) -> set[str]:
        """Return the names of targets for which as many tasks run as may. Few run, however many wait."""
        counted = sa.select(tasks.c.target, sa.func.count()).where(*_working(now)).group_by(tasks.c.target)
        running = dict(tuple(row) for row in self._session.read(counted))
        named = TARGET.all(self._session, TARGET.select().where(targets.c.name.in_(running))) if running else []
        return {target.name for target in named if running[target.name] >= at_once(target)}

    def _has_room(self, name: str, now: datetime, at_once: Callable[[Target], int]) -> bool:
        """Tell whether one more task may run for a target. It is locked, so that no other worker decides meanwhile."""
        mine = TARGET.select().where(targets.c.name == name).with_for_update(key_share=True)
        target = self._session.lock(mine) if name else None
        if target is None:
            return True
        running = sa.select(sa.func.count()).select_from(tasks).where(*_working(now), tasks.c.target == name)
        return int(self._session.scalar(running)) < at_once(TARGET.load(target))

    def _kinds_due(self, kinds: Sequence[str], now: datetime, full: Collection[str]) -> list[str]:
        """Return the kinds that have a task due, that with the oldest first. One look into the index for each."""
        if not kinds:
            return []
        found = self._session.read(_oldest_due(tuple(kinds), bool(full)), {"now": now, "full": list(full)})
        return [row.kind for row in sorted(found, key=lambda row: (row.due_at, row.id))]

    def _insert_queued(self, row: Mapping[str, Any]) -> bool:
        """Add a queued task; False if one of its kind and key is queued.

        It waits for transactions that are just adding or taking one.
        """
        return self._session.write(_insert_unless_queued(self._session.is_postgres), row) == 1

    def _take(self, task_id: UUID, worker: str, until: datetime) -> Task:
        taken = (
            sa.update(tasks)
            .where(tasks.c.id == task_id)
            .values(
                state=RUNNING,
                attempts=tasks.c.attempts + 1,
                fencing_token=tasks.c.fencing_token + 1,
                leased_by=worker,
                lease_until=until,
            )
            .returning(*TASK.columns)
        )
        return TASK.load(self._session.write_rows(taken)[0])


@lru_cache
def _insert_unless_queued(is_postgres: bool) -> sa.Insert:
    """Return an INSERT that passes over a task of whose kind and key one is queued."""
    insert = postgresql.insert(tasks) if is_postgres else sqlite.insert(tasks)
    return insert.on_conflict_do_nothing(index_elements=["kind", "key"], index_where=sa.text("state = 'queued'"))


# Workers that have nothing to do ask these again and again; putting them together is what that would cost most.
@lru_cache
def _oldest_due(kinds: tuple[str, ...], any_full: bool) -> sa.CompoundSelect[Any]:
    """Return a query for the task of each of some kinds that is due for longest; see ``_due``."""
    found = (_due(kind, any_full).add_columns(tasks.c.kind, tasks.c.due_at).subquery() for kind in set(kinds))
    return sa.union_all(*map(sa.select, found))


@lru_cache
def _next_due(kind: str, any_full: bool) -> sa.Select[Any]:
    """Return a query for the task of a kind that is due for longest, which locks it; see ``_due``."""
    return _due(kind, any_full).with_for_update(of=tasks, skip_locked=True)


def _due(kind: str, any_full: bool) -> sa.Select[Any]:
    """Return a query for the task of a kind that is due for longest and that nothing keeps from being taken.

    Its parameters are the time, ``now``, and the targets that get no more tasks now, ``full``, if there are any.
    """
    now = sa.bindparam("now", type_=tasks.c.due_at.type)
    other = tasks.alias("other")
    blocked = sa.exists(sa.literal(1)).where(
        other.c.kind == tasks.c.kind,
        other.c.key == tasks.c.key,
        sa.text("other.state = 'running'"),
        other.c.id != tasks.c.id,
    )
    query = sa.select(tasks.c.id, tasks.c.target).where(
        tasks.c.kind == kind, _NOT_FAILED, tasks.c.due_at <= now, _is_free(now), ~blocked
    )
    if any_full:
        query = query.where(tasks.c.target.not_in(sa.bindparam("full", expanding=True)))
    return query.order_by(tasks.c.due_at, tasks.c.id).limit(1)


def _is_free(now: datetime | sa.BindParameter[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that nobody has a valid lease on a task."""
    return sa.or_(tasks.c.lease_until.is_(None), tasks.c.lease_until <= now)


def _working(now: datetime) -> tuple[sa.ColumnElement[bool] | sa.TextClause, ...]:
    """Return the conditions that a worker has a task of some target in hand."""
    return _ON_TARGETS, tasks.c.lease_until > now


def _leased(task_id: UUID, fencing_token: int) -> tuple[sa.ColumnElement[bool], ...]:
    return tasks.c.id == task_id, tasks.c.fencing_token == fencing_token, tasks.c.state == RUNNING
