"""Events and tasks: what happened is handled, what is due is done, by however many workers there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from cordillera.catalog.leases import TaskEnd, ending, last_write
from cordillera.catalog.lookup import Lookup
from cordillera.context import Lease, acting
from cordillera.errors import CordilleraError, InvalidInputError, LeaseLostError, TransientError
from cordillera.metrics import TASK_SECONDS, TASKS
from cordillera.operations.dispatch import HANDLE_EVENT, EventDispatcher
from cordillera.operations.heartbeat import Heartbeat
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.event import AuditEntry, Event, Task, told
from cordillera.spec.event_filter import EventFilter
from cordillera.spec.subscription import Target

TaskHandler = Callable[[Mapping[str, Any]], None]
"""Does a task, which a ``last_write`` may end. Raises ``TransientError`` to be tried again, any other error to give
up."""

_log = structlog.get_logger(__name__)
_MOST_ATTEMPTS = 12
_MOST_LOOKED_THROUGH = 5000
"""So many events are looked through at a time for those that somebody follows: he may see none of a million."""


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long a task is leased, and how failures are spaced."""

    lease: timedelta = timedelta(seconds=60)
    first_retry: timedelta = timedelta(seconds=1)
    last_retry: timedelta = timedelta(minutes=10)

    @classmethod
    def of_seconds(cls, seconds: float) -> LeaseTerms:
        """Return terms with a lease of so many seconds."""
        return cls(lease=timedelta(seconds=seconds))

    def retry_after(self, attempts: int) -> timedelta:
        """Return how long to wait after the n-th failure: doubling, up to a limit."""
        doubled: timedelta = self.first_retry * 2 ** min(attempts - 1, 20)
        return min(self.last_retry, doubled)


@dataclass(frozen=True, slots=True)
class FollowedEvents:
    """Events, the position behind which to go on, and whether all events up to now are behind it."""

    events: list[Event]
    position: int
    caught_up: bool = True


class Waiting(NamedTuple):
    """Whether events wait to be handled, and tasks to be done."""

    events: bool
    tasks: bool


class OperationsService:
    """Dispatches events and executes tasks.

    Args:
        store: Keeps both.
        lookup: Knows who may see what.
        clock: Time and ids.
        dispatcher: Hands events to who handles them.
        task_handlers: Who does which kind of task.
        terms: Lease and retry times.
        at_once: Tells how many tasks may work on a target at the same time; None for any number.
        outward: Kinds of tasks that wait for somebody outside to answer, besides those that work on a target.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        clock: Clock,
        dispatcher: EventDispatcher,
        task_handlers: Mapping[str, TaskHandler],
        terms: LeaseTerms | None = None,
        at_once: Callable[[Target], int] | None = None,
        outward: Collection[str] = (),
    ) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock
        self._dispatcher = dispatcher
        self._task_handlers = {**task_handlers, HANDLE_EVENT: dispatcher.handle_again}
        self._terms, self._at_once, self._outward = terms or LeaseTerms(), at_once, outward
        self._heartbeat = Heartbeat(store, clock, self._terms.lease)
        self._begun_outward: dict[UUID, float] = {}

    # --- events --------------------------------------------------------------------------------------------------

    def dispatch_events(self) -> int:
        """Handle the oldest events that wait; return how many."""
        return self._dispatcher.dispatch()

    def waiting(self) -> Waiting:
        """Tell, without locking anything, what waits to be done."""
        with self._store.read() as tx:
            return Waiting(tx.events.any_unhandled(), tx.tasks.oldest_due(self._clock.now()) is not None)

    def events(self, *, dataset: str | None = None, before: int | None = None, limit: int = 100) -> list[Event]:
        """Return a page of events, newest first, about datasets that whoever asks may discover."""
        with self._store.read() as tx:
            viewer = self._lookup.viewer(tx)
            found = tx.events.page(dataset=dataset, before=before, limit=limit, viewer=viewer)
        return [told(event, viewer) for event in found]

    def last_position(self) -> int:
        """Return the position of the last event that was handled."""
        with self._store.read() as tx:
            return tx.events.last_position()

    def check_position(self, after: int | None) -> int:
        """Return the position to follow events from: what is given, or that of the last event.

        Raises:
            InvalidInputError: If no event has come so far.
        """
        last = self.last_position()
        if after is not None and not 0 <= after <= last:
            raise InvalidInputError(
                f"No event has the position {after} yet.",
                hint="The lake may have been restored from a backup: read again what you follow, then follow anew.",
            )
        return last if after is None else after

    def follow_events(self, wanted: EventFilter, after: int, limit: int = 100) -> FollowedEvents:
        """Return events that have been handled, in order, about what whoever asks may discover.

        Args:
            wanted: Which events.
            after: The position behind which to begin, as the last call has returned it.
            limit: Most events.
        """
        with self._store.read() as tx:
            last = tx.events.last_position()
            if last <= after:
                return FollowedEvents([], after)
            viewer, upto = self._lookup.viewer(tx), min(last, after + _MOST_LOOKED_THROUGH)
            found = tx.events.follow(wanted, after, upto, limit, viewer)
        reached = found[-1].position if len(found) == limit else None
        position = upto if reached is None else reached
        return FollowedEvents([told(event, viewer) for event in found], position, position == last)

    def audit(self, *, object_name: str | None = None, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return a page of the audit log, newest first; it takes an administrator of the lake."""
        with self._store.read() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
            return tx.audit.page(object_name=object_name, before=before, limit=limit)

    def check_may_monitor(self) -> None:
        """Make sure that whoever asks may see all that is in the lake, as its metrics tell of it.

        Raises:
            AccessDeniedError: If he may not.
        """
        with self._store.read() as tx:
            self._lookup.lake(tx, Privilege.DISCOVER)

    # --- tasks ---------------------------------------------------------------------------------------------------

    def tasks(self, *, state: str | None = None, after: UUID | None = None, limit: int = 100) -> list[Task]:
        """Return a page of tasks; it takes an administrator of the lake."""
        with self._store.read() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
            return tx.tasks.page(state=state, after=after, limit=limit)

    def task_counts(self) -> dict[tuple[str, str], int]:
        """Return how many tasks there are of each kind and state."""
        with self._store.read() as tx:
            return tx.tasks.counts()

    def perform_tasks(self, worker: str, goes_on: Callable[[], bool] = lambda: False) -> int:
        """Lease the task that has been due for longest, and do it; return how many were done, 0 if none is due.

        Args:
            worker: Who leases it.
            goes_on: Asked when a task is done whether to do the next one as well, which is leased in the transaction
                that ends the one before.
        """
        with self._store.write() as tx:
            task = self._lease(tx, worker)
        performed = 0
        while task is not None:
            task = self._perform_leased(task, worker, goes_on)
            performed += 1
        return performed

    def _lease(self, tx: Transaction, worker: str) -> Task | None:
        now = self._clock.now()
        return tx.tasks.lease(
            worker, now=now, until=now + self._terms.lease, kinds=tuple(self._task_handlers), at_once=self._at_once
        )

    def _perform_leased(self, task: Task, worker: str, goes_on: Callable[[], bool]) -> Task | None:
        """Do a task; return the one that was leased when it ended, if any."""
        lease = Lease(task.id, task.fencing_token)
        following: Task | None = None

        def then(tx: Transaction) -> None:
            nonlocal following
            following = self._lease(tx, worker) if goes_on() else None

        if task.target or task.kind in self._outward:
            self._begun_outward[task.id] = time.monotonic()
        try:
            context = acting(f"worker:{worker}", task.trace_id, lease, operator=True)
            with context, self._heartbeat.of(lease), ending(then) as end:
                self._perform(task, lease, end)
        finally:
            self._begun_outward.pop(task.id, None)
        return following if end.come else None

    def outward_for(self, seconds: float) -> int:
        """Return how many tasks of this process have waited for targets and others for so many seconds or longer."""
        before = time.monotonic() - seconds
        return sum(begun <= before for begun in list(self._begun_outward.values()))

    def _perform(self, task: Task, lease: Lease, end: TaskEnd) -> None:
        log = _log.bind(task=task.kind, key=task.key, trace_id=task.trace_id, attempt=task.attempts)
        try:
            with TASK_SECONDS.labels(task.kind).time():
                self._task_handlers[task.kind](task.payload)
            if not end.come:
                with last_write(self._store, self._clock.now()):
                    pass  # what there was to be noted has been
        except LeaseLostError as error:
            log.warning("lease lost", error=str(error))
            TASKS.labels(task.kind, "lost").inc()
        except TransientError as error:
            self._retry(task, lease, error)
            log.warning("task failed, to be retried", error=str(error))
            TASKS.labels(task.kind, "retried").inc()
        except CordilleraError as error:
            self._give_up(task, lease, str(error))
            log.error("task given up", error=str(error))
            TASKS.labels(task.kind, "failed").inc()
        except Exception as error:  # a bug must neither end the worker nor be retried for ever
            self._retry(task, lease, error)
            log.exception("task broke", error=repr(error))
            TASKS.labels(task.kind, "broken").inc()
        else:
            TASKS.labels(task.kind, "done").inc()

    def _retry(self, task: Task, lease: Lease, error: Exception) -> None:
        if task.attempts >= _MOST_ATTEMPTS and not isinstance(error, TransientError):
            self._give_up(task, lease, f"{type(error).__name__}: {error}")
            return
        due_at: datetime = self._clock.now() + self._terms.retry_after(task.attempts)
        with self._store.write() as tx:
            tx.tasks.retry(task.id, lease.fencing_token, due_at=due_at, error=f"{type(error).__name__}: {error}")

    def _give_up(self, task: Task, lease: Lease, error: str) -> None:
        with self._store.write() as tx:
            tx.tasks.fail(task.id, lease.fencing_token, error=error)
