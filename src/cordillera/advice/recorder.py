"""Keeping count of scans, and of who reads what: gathered in memory, written down now and then, lost without harm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from threading import Lock, Thread, Timer
from uuid import UUID

import structlog

from cordillera.context import current
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.consumer import Reads
from cordillera.spec.scan_statistics import ColumnScans, ColumnUse, ScanReport, counts_of

_log = structlog.get_logger(__name__)
KEPT = timedelta(days=90)
"""So far back sums are kept, and tell how a table is used."""
_INTERVAL = 30.0
_MOST_SUMS = 5_000
"""So many sums are gathered at most; what would be another is not counted until they are written down."""
_PATIENCE = 5.0
"""Seconds that closing waits for a database that somebody else keeps busy."""


class ScanRecorder:
    """Counts scans, and who reads what, into the metadata store. Safe to use from several threads.

    Who reads is counted where somebody asks the lake for rows, or for a way to the files. What workers read for
    subscriptions and jobs is known from those, and whoever runs the lake may read as he likes.

    Args:
        store: Keeps the sums.
        clock: Says what day it is.
        interval: Seconds between the first scan that is not written down and its being so.
    """

    def __init__(self, store: MetadataStore, clock: Clock, interval: float = _INTERVAL) -> None:
        self._store, self._clock, self._interval = store, clock, interval
        self._lock = Lock()
        self._gathered: dict[tuple[UUID, int, ColumnUse], ColumnScans] = {}
        self._readers: dict[tuple[UUID, str], Reads] = {}
        self._timer: Timer | None = None

    def scanned(self, version_id: UUID, report: Callable[[], ScanReport]) -> None:
        """Take note of a scan of a dataset version."""
        try:
            made = report()
            self._gather(version_id, counts_of(made), self._reader(made.bytes_read))
        except Exception as error:  # whatever it is, nobody's read may fail of it
            _log.info("a scan was not counted", dataset_version=str(version_id), error=str(error))

    def read(self, version_id: UUID) -> None:
        """Take note that whoever acts reads a dataset version in another way."""
        if (reader := self._reader(0)) is not None:
            self._gather(version_id, (), reader)

    def _reader(self, size: int) -> Reads | None:
        context = current()
        if context.operator or context.lease is not None:
            return None
        return Reads(context.principal, 1, size, self._clock.now())

    def _gather(self, version_id: UUID, found: Iterable[ColumnScans], reader: Reads | None) -> None:
        with self._lock:
            if reader is not None:
                who = (version_id, reader.principal)
                if who in self._readers:
                    self._readers[who] = self._readers[who].plus(reader)
                elif len(self._readers) < _MOST_SUMS:
                    self._readers[who] = reader
            for counts in found:
                key = (version_id, counts.column_id, counts.use)
                if key in self._gathered:
                    self._gathered[key] = self._gathered[key].plus(counts)
                elif len(self._gathered) < _MOST_SUMS:
                    self._gathered[key] = counts
            if self._timer is None:
                self._timer = Timer(self._interval, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write down what was gathered. What cannot be written is forgotten: the next scans tell as much."""
        with self._lock:
            gathered, self._gathered = self._gathered, {}
            readers, self._readers = self._readers, {}
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if not gathered and not readers:
            return
        by_version: dict[UUID, list[ColumnScans]] = {}
        for (version_id, _, _), counts in gathered.items():
            by_version.setdefault(version_id, []).append(counts)
        reads: dict[UUID, list[Reads]] = {}
        for (version_id, _), reader in readers.items():
            reads.setdefault(version_id, []).append(reader)
        try:
            with self._store.write() as tx:
                today = self._clock.now().date()
                tx.scans.add(today, by_version)
                tx.reads.add(today, reads)
        except Exception as error:  # as above
            _log.info("scans were not counted", datasets=len(by_version), error=str(error))

    def forget_old(self) -> int:
        """Remove sums that are too old to tell anything; return how many."""
        with self._store.write() as tx:
            before = self._clock.now().date() - KEPT
            return tx.scans.forget(before) + tx.reads.forget(before)

    def close(self) -> None:
        """Write down what was gathered, unless the database keeps it waiting for long."""
        last = Thread(target=self.flush, name="cordillera-scans", daemon=True)
        last.start()
        last.join(_PATIENCE)
