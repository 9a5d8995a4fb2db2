"""Rows of background tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cordillera.adapters.db.given import given
from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import targets, tasks
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.targets import TARGET
from cordillera.adapters.db.types import dump_json
from cordillera.ports.metadata.operations import NewTask
from cordillera.spec.event import Task
from cordillera.spec.subscription import Target

TASK = RowMap(Task, tasks)

QUEUED, RUNNING, FAILED = "queued", "running", "failed"

# Spelled like the conditions of the partial indexes, which are used only if the planner sees them.
_QUEUED, _RUNNING, _FAILED = (sa.text(f"tasks.state = '{state}'") for state in (QUEUED, RUNNING, FAILED))
_NOT_FAILED = sa.text("tasks.state <> 'failed'")
_ON_TARGETS = sa.text("tasks.state = 'running' AND tasks.target <> ''")

_NOW: sa.BindParameter[datetime] = sa.bindparam("now", type_=tasks.c.due_at.type)
_LEASED = (tasks.c.id == sa.bindparam("leased"), tasks.c.fencing_token == sa.bindparam("token"), _RUNNING)
_IS_FREE = sa.or_(tasks.c.lease_until.is_(None), tasks.c.lease_until <= _NOW)
"""Nobody has a valid lease on it."""
_WORKING = (_ON_TARGETS, tasks.c.lease_until > _NOW)
"""A worker has a task of some target in hand."""
_EXTEND = Prepared(sa.update(tasks).where(*_LEASED, tasks.c.lease_until > _NOW), ["lease_until"])
_HOLDS = Prepared(sa.select(tasks.c.id).where(*_LEASED, tasks.c.lease_until > _NOW).with_for_update())
_FINISH = Prepared(sa.delete(tasks).where(*_LEASED, tasks.c.lease_until > _NOW))
_GIVE_BACK = Prepared(sa.delete(tasks).where(*_LEASED).returning(*TASK.columns))
_FAIL = Prepared(sa.update(tasks).where(*_LEASED), ["state", "last_error", "leased_by", "lease_until"])
_TAKE = Prepared(
    sa.update(tasks)
    .where(tasks.c.id == sa.bindparam("taken"))
    .values(
        state=RUNNING,
        attempts=tasks.c.attempts + 1,
        fencing_token=tasks.c.fencing_token + 1,
        leased_by=sa.bindparam("worker"),
        lease_until=sa.bindparam("until", type_=tasks.c.lease_until.type),
    )
    .returning(*TASK.columns)
)
_OLDEST_DUE = Prepared(
    # A lease that has passed is waiting since then.
    sa.select(sa.func.min(sa.func.coalesce(tasks.c.lease_until, tasks.c.due_at))).where(
        _NOT_FAILED, _IS_FREE, tasks.c.due_at <= _NOW
    )
)
_BUSY = Prepared(
    sa.select(sa.func.count(), *TARGET.columns)
    .join(tasks, tasks.c.target == targets.c.name)
    .where(*_WORKING)
    .group_by(targets.c.id)
)
_LOCK_TARGET = Prepared(TARGET.select().where(targets.c.name == sa.bindparam("named")).with_for_update(key_share=True))
_RUNNING_ON = Prepared(
    sa.select(sa.func.count()).select_from(tasks).where(*_WORKING, tasks.c.target == sa.bindparam("named"))
)


_Insert: TypeAlias = postgresql.Insert | sqlite.Insert


class _Due(NamedTuple):
    """A task that is due."""

    since: datetime
    id: UUID
    kind: str


class _Adding(NamedTuple):
    """Statements that add tasks of a kind: adds them, locks those that are queued, removes those given up."""

    insert: Prepared
    lock: Prepared
    forget_failed: Prepared


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
        """Add a queued task unless one of that kind and key is queued already."""
        made = NewTask(task_id, key, payload, target)
        return bool(self._enqueue(kind, [made], now, due_at or now, trace_id))

    def enqueue_all(self, kind: str, wanted: Sequence[NewTask], *, now: datetime, trace_id: str) -> None:
        """Add queued tasks of a kind, by as many statements for several as for one."""
        self._enqueue(kind, wanted, now, now, trace_id)

    def _enqueue(
        self, kind: str, wanted: Sequence[NewTask], now: datetime, due_at: datetime, trace_id: str
    ) -> list[str]:
        """Add queued tasks of a kind, unless ones of their keys are queued already; return the keys of those added.

        The others are locked then: a worker that took one before this transaction commits would not see what the
        transaction wrote.
        """
        self._session.check_writable()
        statements, left, added = _adding(self._session.is_postgres), {one.key: one for one in wanted}, list[str]()
        shared = {"of_kind": kind, "now": now, "due": due_at, "trace_id": trace_id}
        while left:
            rows = [[one.id.hex, one.key, dump_json(one.payload), one.target] for one in left.values()]
            new = {key for (key,) in self._session.rows(statements.insert, {**shared, "wanted": rows})}
            added += new
            others = [[key] for key in left if key not in new]
            if not others or not self._session.is_postgres:  # SQLite has one writer: what is queued stays so
                break
            locked = {key for (key,) in self._session.rows(statements.lock, {"of_kind": kind, "keys": others})}
            left = {key: left[key] for (key,) in others if key not in locked}
        if added:
            self._session.change(statements.forget_failed, {"of_kind": kind, "keys": [[key] for key in added]})
        return added

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
        oldest = self._oldest_due(kinds, now, full)
        if not self._session.is_postgres:  # SQLite has one writer: what was found just now is so still
            return self._take(oldest[0].id, worker, until) if oldest else None
        for _, _, kind in oldest:
            while due := self._session.rows(_next_due(kind, bool(full)), {"now": now, "full": list(full)}):
                task_id, target = due[0]
                if at_once is None or self._has_room(target, now, at_once):
                    return self._take(task_id, worker, until)
                full.add(target)
        return None

    def extend(self, task_id: UUID, fencing_token: int, *, now: datetime, until: datetime) -> bool:
        """Prolong a lease."""
        mine = {"leased": task_id, "token": fencing_token, "now": now}
        return self._session.change(_EXTEND, {**mine, "lease_until": until}) == 1

    def holds(self, task_id: UUID, fencing_token: int, *, now: datetime) -> bool:
        """Tell, locking the task for this transaction, whether a lease is still valid."""
        self._session.check_writable()
        return bool(self._session.rows(_HOLDS, {"leased": task_id, "token": fencing_token, "now": now}))

    def is_running(self, kind: str, key: str) -> bool:
        """Tell whether a task is with a worker, or was when that died."""
        query = sa.select(sa.literal(1)).where(tasks.c.kind == kind, tasks.c.key == key, _RUNNING).limit(1)
        return bool(self._session.read(query))

    def finish(self, task_id: UUID, fencing_token: int, *, now: datetime) -> bool:
        """Remove a task that is done with this transaction, if a lease is still valid."""
        return self._session.change(_FINISH, {"leased": task_id, "token": fencing_token, "now": now}) == 1

    def retry(self, task_id: UUID, fencing_token: int, *, due_at: datetime, error: str) -> bool:
        """Put a task back to wait until ``due_at``, unless one of the same kind and key is queued meanwhile."""
        self._session.check_writable()
        rows = self._session.rows(_GIVE_BACK, {"leased": task_id, "token": fencing_token})
        if not rows:
            return False
        waiting = {"state": QUEUED, "due_at": due_at, "last_error": error, "leased_by": "", "lease_until": None}
        self._insert_queued({**TASK.values(TASK.load(rows[0])), **waiting})
        return True

    def fail(self, task_id: UUID, fencing_token: int, *, error: str) -> bool:
        """Give a task up; its row stays to be looked at."""
        given_up = {"state": FAILED, "last_error": error, "leased_by": "", "lease_until": None}
        return self._session.change(_FAIL, {"leased": task_id, "token": fencing_token, **given_up}) == 1

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
        found: datetime | None = self._session.rows(_OLDEST_DUE, {"now": now})[0][0]
        return found

    def _full(self, now: datetime, at_once: Callable[[Target], int]) -> set[str]:
        """Return the names of targets for which as many tasks run as may. Few run, however many wait."""
        busy = ((count, TARGET.load(target)) for count, *target in self._session.rows(_BUSY, {"now": now}))
        return {target.name for running, target in busy if running >= at_once(target)}

    def _has_room(self, name: str, now: datetime, at_once: Callable[[Target], int]) -> bool:
        """Tell whether one more task may run for a target. It is locked, so that no other worker decides meanwhile."""
        target = self._session.rows(_LOCK_TARGET, {"named": name}) if name else []
        if not target:
            return True
        running = self._session.rows(_RUNNING_ON, {"named": name, "now": now})[0][0]
        return int(running) < at_once(TARGET.load(target[0]))

    def _oldest_due(self, kinds: Sequence[str], now: datetime, full: Collection[str]) -> list[_Due]:
        """Return the oldest due task of each kind that has one, oldest first. One look into the index for each."""
        if not kinds:
            return []
        found = self._session.rows(_oldest_due(tuple(kinds), bool(full)), {"now": now, "full": list(full)})
        return sorted(_Due(*one) for one in found)

    def _take(self, task_id: UUID, worker: str, until: datetime) -> Task:
        taken = {"taken": task_id, "worker": worker, "until": until}
        return TASK.load(self._session.rows(_TAKE, taken)[0])

    def _insert_queued(self, row: Mapping[str, Any]) -> bool:
        """Add a queued task; False if one of its kind and key is queued.

        It waits for transactions that are just adding or taking one.
        """
        return self._session.change(_insert_unless_queued(self._session.is_postgres), row) == 1


def _unless_queued(insert: _Insert) -> _Insert:
    """Return an INSERT that passes over a task of whose kind and key one is queued."""
    return insert.on_conflict_do_nothing(index_elements=["kind", "key"], index_where=sa.text("state = 'queued'"))


@lru_cache
def _insert_unless_queued(is_postgres: bool) -> Prepared:
    insert = postgresql.insert(tasks) if is_postgres else sqlite.insert(tasks)
    return Prepared(_unless_queued(insert).inline(), [column.name for column in tasks.c])


@lru_cache
def _adding(is_postgres: bool) -> _Adding:
    """Return what adds the tasks in ``wanted``: rows of id, key, payload as text, and target."""
    kinds = (tasks.c.id.type, sa.Text(), tasks.c.payload.type if is_postgres else sa.Text(), sa.Text())
    one = given("wanted", kinds, is_postgres=is_postgres).c
    of_kind: sa.BindParameter[str] = sa.bindparam("of_kind", type_=sa.Text())
    values: dict[str, sa.ColumnElement[Any]] = {
        "id": one.one,
        "kind": of_kind,
        "key": one.two,
        "payload": one.three,
        "state": sa.literal(QUEUED),
        "attempts": sa.literal(0),
        "due_at": sa.bindparam("due", type_=tasks.c.due_at.type),
        "leased_by": sa.literal(""),
        "fencing_token": sa.literal(0),
        "last_error": sa.literal(""),
        "trace_id": sa.bindparam("trace_id", type_=sa.Text()),
        "created_at": _NOW,
        "target": one.four,
    }
    # Without a WHERE, SQLite would take ON CONFLICT for the condition of a join.
    rows = sa.select(*(value.label(name) for name, value in values.items())).where(sa.true())
    insert = (postgresql.insert(tasks) if is_postgres else sqlite.insert(tasks)).from_select(list(values), rows)
    named = tasks.c.key.in_(sa.select(given("keys", (sa.Text(),), is_postgres=is_postgres).c.one))
    mine = (tasks.c.kind == of_kind, named)
    return _Adding(
        Prepared(_unless_queued(insert).returning(tasks.c.key)),
        Prepared(sa.select(tasks.c.key).where(*mine, _QUEUED).with_for_update(read=True)),
        Prepared(sa.delete(tasks).where(*mine, _FAILED)),
    )


# Workers that have nothing to do ask these again and again; putting them together is what that would cost most.
@lru_cache
def _oldest_due(kinds: tuple[str, ...], any_full: bool) -> Prepared:
    """Return a query for the task of each of some kinds that is due for longest, when, and its kind; see ``_due``."""
    told = (tasks.c.due_at, tasks.c.id, tasks.c.kind)
    found = (_due(kind, any_full).with_only_columns(*told).subquery() for kind in set(kinds))
    return Prepared(sa.select(sa.union_all(*map(sa.select, found)).subquery()))


@lru_cache
def _next_due(kind: str, any_full: bool) -> Prepared:
    """Return a query for the task of a kind that is due for longest, which locks it; see ``_due``."""
    return Prepared(_due(kind, any_full).with_for_update(of=tasks, skip_locked=True))


def _due(kind: str, any_full: bool) -> sa.Select[Any]:
    """Return a query for the task of a kind that is due for longest and that nothing keeps from being taken.

    Its parameters are the time, ``now``, and the targets that get no more tasks now, ``full``, if there are any.
    """
    other = tasks.alias("other")
    blocked = sa.exists(sa.literal(1)).where(
        other.c.kind == tasks.c.kind,
        other.c.key == tasks.c.key,
        sa.text("other.state = 'running'"),
        other.c.id != tasks.c.id,
    )
    query = sa.select(tasks.c.id, tasks.c.target).where(
        tasks.c.kind == kind, _NOT_FAILED, tasks.c.due_at <= _NOW, _IS_FREE, ~blocked
    )
    if any_full:
        query = query.where(tasks.c.target.not_in(sa.bindparam("full", expanding=True)))
    return query.order_by(tasks.c.due_at, tasks.c.id).limit(1)
