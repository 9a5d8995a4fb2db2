"""Prolonging the leases of tasks in hand, so that only a worker that stands still loses them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from cordillera.context import Lease
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore

_log = structlog.get_logger(__name__)


class Heartbeat:
    """Prolongs leases from one thread, which lives as long as there are any, and a beat longer.

    To start a thread for each task would take longer than many a task does.

    Args:
        store: Keeps the leases.
        clock: Time.
        lease: For how long they are prolonged; a beat comes three times as often.
    """

    def __init__(self, store: MetadataStore, clock: Clock, lease: timedelta) -> None:
        self._store, self._clock, self._lease = store, clock, lease
        self._guard = threading.Lock()
        self._held: set[Lease] = set()
        self._beating = False

    @contextmanager
    def of(self, lease: Lease) -> Iterator[None]:
        """Prolong a lease while the block runs, unless it is lost."""
        with self._guard:
            self._held.add(lease)
            if not self._beating:
                threading.Thread(target=self._beat, name="cordillera-heartbeat", daemon=True).start()
                self._beating = True
        try:
            yield
        finally:
            with self._guard:
                self._held.discard(lease)

    def _beat(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(self._lease.total_seconds() / 3)
            with self._guard:
                held = list(self._held)
                self._beating = bool(held)
            if not held:
                return
            for lease in held:
                self._prolong(lease)

    def _prolong(self, lease: Lease) -> None:
        now = self._clock.now()
        try:
            with self._store.write() as tx:
                kept = tx.tasks.extend(lease.task_id, lease.fencing_token, now=now, until=now + self._lease)
        except Exception as error:  # whatever it is, other leases need the thread, and the next beat may come through
            _log.warning("lease not prolonged", error=repr(error))
            return
        if not kept:
            with self._guard:
                self._held.discard(lease)
