"""What the maintenance domain does when a dataset moves: it looks at counters, and enqueues work that is due."""

from __future__ import annotations

from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.event import Event
from cordillera.spec.maintenance import (
    MaintenancePolicy,
    MaintenanceRun,
    MaintenanceTask,
    TableCounters,
    compaction_due,
    expiry_due,
    statistics_due,
)

MAINTAIN = "maintain"


def on_snapshot_committed(tx: Transaction, event: Event, clock: Clock) -> None:
    """Enqueue maintenance of a dataset version if its policy's thresholds have passed.

    The commit has put its counters into the event, so nothing is read but when the table was last maintained.
    """
    version_id, state = event.dataset_version_id, event.payload.get("table")
    if version_id is None or state is None:
        return
    policy = MaintenancePolicy.or_usual(state["policy"])
    if not policy.enabled:
        return
    counters, now = TableCounters.from_plain(state), clock.now()

    def compaction(last: MaintenanceRun | None) -> str:
        return compaction_due(policy, counters, last)

    def expiry(last: MaintenanceRun | None) -> str:
        return expiry_due(policy, counters, last, now)

    # What would not be due had it never been done is not due: that it was done is seldom looked up.
    compacts = compaction(None) and compaction(tx.maintenance.latest(version_id, MaintenanceTask.COMPACT))
    expires = expiry(None) and expiry(tx.maintenance.latest(version_id, MaintenanceTask.EXPIRE))
    if compacts or expires or statistics_due(policy, counters):
        payload = {"dataset_version_id": str(version_id)}
        tx.tasks.enqueue(clock.new_id(), MAINTAIN, str(version_id), payload, now=now, trace_id=event.trace_id)
