"""Races for a commit: who loses some in a row gets a turn, in which nobody else commits.

Optimism is cheap where writers are few. Among many, one whose work takes longer than theirs would lose for ever; so it
reserves the dataset version for as long as its work takes. A reservation ends by itself, so that one who dies holds up
nobody for long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from uuid import UUID

import stamina

from cordillera.context import acting, current
from cordillera.errors import CommitConflictError, CordilleraError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction

_ATTEMPTS = 60
_PATIENCE_SECONDS = 300.0
_RACES = 3
"""Races to lose before asking for a turn."""
_LEAST_TURN, _MOST_TURN = timedelta(seconds=5), timedelta(seconds=60)
_POLL_SECONDS = 0.01
_QUEUE = 100
"""Others to wait for; who has waited for so many tries without a turn."""


class Turns:
    """Gives writers that keep losing their turn.

    Args:
        store: Keeps reservations.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, clock: Clock) -> None:
        self._store, self._clock = store, clock

    @contextmanager
    def attempts(self, *version_ids: UUID) -> Iterator[Iterator[stamina.Attempt]]:
        """Return attempts to commit to dataset versions together, until one does not raise ``CommitConflictError``."""
        writer = current().turn or self._clock.new_id()
        wanted = sorted(set(version_ids))  # always in one order: nobody waits for one who waits for him
        reserved: set[UUID] = set()
        try:
            with acting(turn=writer):
                yield self._attempts(wanted, writer, reserved)
        finally:
            if reserved:
                with suppress(CordilleraError), self._store.write() as tx:  # they end by themselves otherwise
                    for version_id in sorted(reserved):
                        tx.dataset_versions.release(version_id, writer)

    def _attempts(self, version_ids: Sequence[UUID], writer: UUID, reserved: set[UUID]) -> Iterator[stamina.Attempt]:
        took = 0.0
        for attempt in stamina.retry_context(
            on=CommitConflictError,
            attempts=_ATTEMPTS,
            timeout=_PATIENCE_SECONDS,
            wait_initial=0.01,
            wait_max=0.2,
            wait_jitter=0.03,
        ):
            if attempt.num > 1:
                for version_id in version_ids:
                    self._let_pass(version_id, writer)
            if attempt.num > _RACES:
                reserved.update(version_ids)
                self._reserve_all(version_ids, writer, took)
            begun = time.monotonic()
            yield attempt
            took = time.monotonic() - begun

    def _let_pass(self, version_id: UUID, writer: UUID) -> None:
        """Wait while it is the turn of another: whatever is prepared meanwhile would be in vain."""
        deadline = time.monotonic() + _MOST_TURN.total_seconds()
        while time.monotonic() < deadline:
            with self._store.read() as tx:
                if tx.dataset_versions.reserved_for(version_id, self._clock.now()) in (None, writer):
                    return
            time.sleep(_POLL_SECONDS)

    def _reserve_all(self, version_ids: Sequence[UUID], writer: UUID, took: float) -> None:
        """Wait for turns that last long enough, all of them, for what took so many seconds before."""
        lasting = min(max(2 * timedelta(seconds=took), _LEAST_TURN), _MOST_TURN)
        for number in range(len(version_ids)):
            self._reserve(version_ids[: number + 1], writer, lasting)

    def _reserve(self, version_ids: Sequence[UUID], writer: UUID, lasting: timedelta) -> None:
        """Wait for a turn at the last of some dataset versions, and prolong those at the others."""
        for _ in range(_QUEUE):
            with self._store.write() as tx:
                now = self._clock.now()
                if [tx.dataset_versions.reserve(one, writer, now, now + lasting) for one in version_ids][-1]:
                    return
            self._let_pass(version_ids[-1], writer)


def check_turn(tx: Transaction, version_id: UUID, name: str, now: datetime) -> None:
    """Refuse a commit while it is another writer's turn.

    Raises:
        CommitConflictError: If it is.
    """
    writer = tx.dataset_versions.reserved_for(version_id, now)
    if writer is not None and writer != current().turn:
        raise CommitConflictError(
            f"It is the turn of another writer to commit to {name}, who has lost some races.", hint="Retry."
        )
