"""The load that deliveries put on targets: how many at once, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pyarrow as pa

from cordillera.errors import CordilleraError
from cordillera.ports.pointing import PointingTarget
from cordillera.ports.synchronizer import DELIVERIES_AT_ONCE, Delivery, RowReader
from cordillera.spec.subscription import Target
from cordillera.spec.target_limits import TargetLimits, limits_of
from cordillera.subscriptions.service import SynchronizerFactory


class TargetLoad:
    """Knows how much targets are given at once.

    Args:
        synchronizers: Builds synchronizers, which know what their kind takes well.
        now, wait: A clock that never goes back, and what lets seconds pass.
    """

    def __init__(
        self,
        synchronizers: SynchronizerFactory,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._synchronizers, self._now, self._wait = synchronizers, now, wait
        self._of_kinds: dict[str, int] = {}

    def at_once(self, target: Target) -> int:
        """Return how many tasks may work on a target at the same time."""
        return limits_of(target.config).deliveries_at_once or self._by_kind(target)

    def paced(self, delivery: Delivery, target: Target) -> Delivery:
        """Return a delivery whose rows come no faster than its share of what the target's settings allow."""
        limits = limits_of(target.config)
        if not limits.are_rates:
            return delivery
        pace = _Pace(limits, self.at_once(target), self._now, self._wait)
        return delivery.through(pace.of)

    def _by_kind(self, target: Target) -> int:
        if target.kind not in self._of_kinds:
            try:
                driver = self._synchronizers(target.kind, target.config)
            except CordilleraError:
                return DELIVERIES_AT_ONCE  # the delivery will tell what is wrong with it
            try:
                self._of_kinds[target.kind] = (
                    DELIVERIES_AT_ONCE if isinstance(driver, PointingTarget) else driver.capabilities.deliveries_at_once
                )
            finally:
                driver.close()
        return self._of_kinds[target.kind]


class _Pace:
    """The pace of one delivery: a piece is handed on when those before it have had their time."""

    def __init__(
        self, limits: TargetLimits, at_once: int, now: Callable[[], float], wait: Callable[[float], None]
    ) -> None:
        self._limits, self._at_once, self._now, self._wait = limits, at_once, now, wait
        self._due = now()

    def of(self, rows: RowReader) -> RowReader:
        """Return a reader at this pace, in pieces of about a second."""

        def opened() -> pa.RecordBatchReader:
            reader = rows()
            return pa.RecordBatchReader.from_batches(reader.schema, self._spread(reader))

        return opened

    def _spread(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            seconds = self._limits.seconds_for(batch.num_rows, batch.nbytes, self._at_once)
            rows = max(1, int(batch.num_rows / max(seconds, 1.0)))
            for start in range(0, batch.num_rows, rows):
                piece = batch.slice(start, rows)
                self._due = max(self._due, self._now())
                yield piece
                self._due += seconds * piece.num_rows / batch.num_rows
                self._wait(max(0.0, self._due - self._now()))
