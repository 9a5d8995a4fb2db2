"""Rows of operations: the lake itself, the outbox, the audit log, background tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from cordillera.spec.access import Viewer
from cordillera.spec.audit_chain import ChainLink
from cordillera.spec.event import AuditEntry, Circumstances, Event, Task
from cordillera.spec.event_filter import EventFilter
from cordillera.spec.subscription import Target


@dataclass(frozen=True, slots=True)
class LakeInfo:
    """The deployment: its id, its name and where its data lives."""

    id: UUID
    name: str
    storage_root: str
    created_at: datetime


class LakeRow(Protocol):
    """The one row that describes the lake."""

    def get(self) -> LakeInfo | None:
        """Return the lake; None before ``put``."""

    def put(self, info: LakeInfo) -> None:
        """Describe the lake; raises ``AlreadyExistsError`` if it is described already."""


class EventRows(Protocol):
    """The outbox: events wait here until they are handled."""

    def append(self, told: Circumstances, payload: Mapping[str, Any]) -> int:
        """Add an event and return its number."""

    def append_all(self, told: Circumstances, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Add events that differ by what they tell."""

    def unhandled(self, limit: int) -> list[Event]:
        """Return the oldest events that are not handled, locked for this transaction where others might take them too.

        Events that another transaction has locked are passed over, and so are later events of the same dataset version,
        so that the events of one dataset version are handled in order.
        """

    def seen(self, numbers: Sequence[int], viewer: Viewer | None) -> list[Event]:
        """Return those of some events that are about what a viewer may discover, by number."""

    def mark_handled(self, numbers: Sequence[int], now: datetime) -> None:
        """Note that events have been handled, and give them the next positions, in this order.

        Positions become visible in their order, also to whoever reads while several transactions give them.
        """

    def last_position(self) -> int:
        """Return the position of the last event that was handled; 0 if none was."""

    def follow(
        self, wanted: EventFilter, after: int, upto: int, limit: int, viewer: Viewer | None = None
    ) -> list[Event]:
        """Return handled events by position, behind ``after`` and up to ``upto``; see ``page`` for viewers."""

    def page(
        self, *, dataset: str | None = None, before: int | None = None, limit: int, viewer: Viewer | None = None
    ) -> list[Event]:
        """Return events newest first, below number ``before`` and of one dataset where given.

        A viewer gets those about datasets that he may discover.
        """

    def unhandled_count(self) -> int:
        """Return how many events wait."""

    def any_unhandled(self) -> bool:
        """Tell whether events wait, which takes no longer however many do."""


class AuditRows(Protocol):
    """The audit log; rows are only ever added, and given a place in the chain once."""

    def append(
        self,
        *,
        at: datetime,
        principal: str,
        action: str,
        object_kind: str,
        object_name: str,
        details: Mapping[str, Any],
        trace_id: str,
    ) -> None:
        """Add an entry."""

    def page(self, *, object_name: str | None = None, before: int | None = None, limit: int) -> list[AuditEntry]:
        """Return entries newest first, below number ``before`` and of one object where given."""

    def waiting(self, limit: int) -> list[AuditEntry]:
        """Return entries that have no place in the chain yet, by number."""

    def lock_chain(self) -> AuditEntry | None:
        """Return the last entry of the chain, and keep others from adding to it until this transaction ends."""

    def chain(self, links: Sequence[ChainLink]) -> None:
        """Give entries their places."""

    def chain_end(self) -> AuditEntry | None:
        """Return the last entry of the chain."""

    def chained(self, after: int, limit: int) -> list[AuditEntry]:
        """Return the entries at places behind ``after``, in the chain's order."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task that is to be queued.

    Attributes:
        id: Its id.
        key: Tells it from others of its kind.
        payload: What it says.
        target: The name of the target that it works on, if any.
    """

    id: UUID
    key: str
    payload: Mapping[str, Any]
    target: str = ""


class TaskRows(Protocol):
    """Background tasks with leases.

    States: ``queued``, ``running``, ``failed`` (given up). A finished task's row is removed.
    """

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
        """Add a queued task; False, with nothing changed, if one of that kind and key is queued already.

        It is due now if ``due_at`` does not say otherwise. ``target`` names the target that it works on, if any.

        A running task does not count: what it has read may be older than what this task is about. A task given up
        (failed) with that kind and key is replaced.
        """

    def enqueue_all(self, kind: str, wanted: Sequence[NewTask], *, now: datetime, trace_id: str) -> None:
        """Add tasks of a kind that are due now, each as ``enqueue`` does it; no two of them have the same key."""

    def lease(
        self,
        worker: str,
        *,
        now: datetime,
        until: datetime,
        kinds: Sequence[str],
        at_once: Callable[[Target], int] | None = None,
    ) -> Task | None:
        """Take the task that is due for longest: queued, or running under a lease that has passed.

        While a task of a kind and key runs under a valid lease, a queued one of the same kind and key is not taken;
        nor is one of a target for which as many run as ``at_once`` says may. None sets no limit.
        The task's fencing token and attempts go up by one. Concurrent callers never get the same task.
        """

    def extend(self, task_id: UUID, fencing_token: int, *, now: datetime, until: datetime) -> bool:
        """Prolong a lease (a heartbeat); False if the token is outdated or the lease has already passed."""

    def holds(self, task_id: UUID, fencing_token: int, *, now: datetime) -> bool:
        """Tell, locking the task for this transaction, whether a lease is still valid."""

    def is_running(self, kind: str, key: str) -> bool:
        """Tell whether a task is with a worker, or was when that died: nobody has put it back or taken it over yet."""

    def finish(self, task_id: UUID, fencing_token: int, *, now: datetime) -> bool:
        """Remove a task that is done with this transaction; False if the token is outdated or the lease has passed."""

    def retry(self, task_id: UUID, fencing_token: int, *, due_at: datetime, error: str) -> bool:
        """Put a task back to wait until ``due_at``; False if the token is outdated.

        If one of the same kind and key is queued meanwhile, that one stays and this one goes.
        """

    def fail(self, task_id: UUID, fencing_token: int, *, error: str) -> bool:
        """Give a task up; its row stays to be looked at. False if the token is outdated."""

    def page(self, *, state: str | None = None, after: UUID | None = None, limit: int) -> list[Task]:
        """Return tasks by id behind ``after``, of one state where given."""

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many tasks there are of each kind and state."""

    def oldest_due(self, now: datetime) -> datetime | None:
        """Return since when the longest waiting task has been due."""
