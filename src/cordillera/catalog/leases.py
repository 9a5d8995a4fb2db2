"""Fencing: what is done under a lease that has ended is refused, in the transaction that would make it visible."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from cordillera.context import current
from cordillera.errors import LeaseLostError
from cordillera.ports.metadata import MetadataStore, Transaction


def check_lease(tx: Transaction, now: datetime) -> None:
    """Make sure that the lease this is done under, if any, is still held when the transaction commits.

    Raises:
        LeaseLostError: If it has ended, or another worker has taken the task over.
    """
    lease = current().lease
    if lease is not None and not tx.tasks.holds(lease.task_id, lease.fencing_token, now=now):
        raise LeaseLostError(
            f"The lease on task {lease.task_id} has ended, so what was done under it was refused.",
            hint="Nothing was written; another worker does the task.",
        )


@contextmanager
def fenced_write(store: MetadataStore, now: datetime) -> Iterator[Transaction]:
    """Open a transaction for writing, unless the lease this is done under has ended.

    Raises:
        LeaseLostError: If it has.
    """
    with store.write() as tx:
        check_lease(tx, now)
        yield tx
