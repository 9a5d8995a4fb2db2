"""Fencing: what is done under a lease that has ended is refused, in the transaction that would make it visible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from cordillera.context import Lease, current
from cordillera.errors import LeaseLostError
from cordillera.ports.metadata import MetadataStore, Transaction


@dataclass(slots=True)
class TaskEnd:
    """The end of the task in hand, which comes in the transaction that notes the last that was done for it.

    A task is then noted and ended or neither, in one transaction where it took two.

    Attributes:
        then: What that transaction does last.
        come: Whether it has been committed.
    """

    then: Callable[[Transaction], None]
    come: bool = False


_end: ContextVar[TaskEnd | None] = ContextVar("cordillera_task_end", default=None)


@contextmanager
def ending(then: Callable[[Transaction], None]) -> Iterator[TaskEnd]:
    """Let the task that the block does under its lease end with a ``last_write``."""
    end = TaskEnd(then)
    reset = _end.set(end)
    try:
        yield end
    finally:
        _end.reset(reset)


def check_lease(tx: Transaction, now: datetime) -> None:
    """Make sure that the lease this is done under, if any, is still held when the transaction commits.

    Raises:
        LeaseLostError: If it has ended, or another worker has taken the task over.
    """
    lease = current().lease
    if lease is not None and not tx.tasks.holds(lease.task_id, lease.fencing_token, now=now):
        raise _lost(lease)


@contextmanager
def fenced_write(store: MetadataStore, now: datetime) -> Iterator[Transaction]:
    """Open a transaction for writing, unless the lease this is done under has ended.

    Raises:
        LeaseLostError: If it has.
    """
    with store.write() as tx:
        check_lease(tx, now)
        yield tx


@contextmanager
def last_write(store: MetadataStore, now: datetime) -> Iterator[Transaction]:
    """Open a transaction for the last that is written for the task in hand, if any, which ends with it.

    Raises:
        LeaseLostError: As ``fenced_write`` does.
    """
    lease, end = current().lease, _end.get()
    if lease is None or end is None:
        with fenced_write(store, now) as tx:
            yield tx
        return
    with store.write() as tx:
        if not tx.tasks.finish(lease.task_id, lease.fencing_token, now=now):  # first: it tells whether it may be done
            raise _lost(lease)
        yield tx
        end.then(tx)
    end.come = True


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(
        f"The lease on task {lease.task_id} has ended, so what was done under it was refused.",
        hint="Nothing was written; another worker does the task.",
    )
