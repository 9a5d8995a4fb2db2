"""How a dataset version stands to its contract's promises about time, from one look to the next.

A state is told of when it changes, and once: what was found is kept, and compared with what is found next. For one
partition a state only gets worse, whatever a clock says: what is late is not on time again by a clock set back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from uuid import UUID

from cordillera.spec.completion import Completion, CompletionUnit
from cordillera.spec.freshness import Freshness, FreshnessState, partition_end

_HISTORY = 30
_ENOUGH = 3
_WORSE = (FreshnessState.ON_TIME, FreshnessState.LATE, FreshnessState.BREACHED)


@dataclass(frozen=True, slots=True)
class ServiceLevelWatch:
    """What was found at the last look at a dataset version.

    Attributes:
        partition, due_at: What it waits for, and when that is due.
        since: When the state was found to have changed.
        look_at: When to look again, without anything happening; None if time alone changes nothing.
        contract_revision: The contract that the state was found by.
    """

    dataset_version_id: UUID
    state: FreshnessState
    partition: str
    due_at: datetime | None
    since: datetime
    look_at: datetime | None
    contract_revision: int

    def summary(self) -> dict[str, str | None]:
        """Return what is told of it, as values that JSON can carry."""
        due_at = self.due_at.isoformat() if self.due_at else None
        return {"state": self.state, "partition": self.partition, "due_at": due_at}


@dataclass(frozen=True, slots=True)
class Prediction:
    """When a partition is likely to be complete, by when others were.

    Attributes:
        at: The usual moment: as long after the partition's end as the median of the others.
        spread: Half of the others came within so much of it.
        partitions: How many others there were.
    """

    at: datetime
    spread: timedelta
    partitions: int


def looked_at(before: ServiceLevelWatch, found: Freshness, revision: int, now: datetime) -> ServiceLevelWatch:
    """Return what is known after a look.

    Args:
        before: What was known.
        found: How completions compare with the promises.
        revision: Of the contract that promises.
        now: The present.
    """
    state = found.state
    same = (before.partition, before.due_at, before.contract_revision) == (found.due_partition, found.due_at, revision)
    if same and {state, before.state} <= set(_WORSE):
        state = max(state, before.state, key=_WORSE.index)
    look_at = {FreshnessState.ON_TIME: found.due_at, FreshnessState.LATE: found.breached_at}.get(state)
    since = before.since if state is before.state else now
    return ServiceLevelWatch(
        before.dataset_version_id, state, found.due_partition, found.due_at, since, look_at, revision
    )


def predict(unit: CompletionUnit, completions: Sequence[Completion], partition: str) -> Prediction | None:
    """Return when a partition is likely to be complete; None where too little is known.

    Args:
        unit: How the dataset version is cut into partitions.
        completions: The newest completion of each partition, highest label first. Restated ones tell nothing of when
            their partition was first complete.
        partition: Its label.
    """
    end = partition_end(unit, partition) if partition else None
    ends = [(one, partition_end(unit, one.partition)) for one in completions[:_HISTORY] if not one.restated]
    delays = [one.declared_at - ended for one, ended in ends if ended is not None]
    if end is None or len(delays) < _ENOUGH:
        return None
    seconds = [delay.total_seconds() for delay in delays]
    usual = median(seconds)
    spread = median(abs(one - usual) for one in seconds)
    return Prediction(end + timedelta(seconds=usual), timedelta(seconds=spread), len(delays))


def in_words(found: Freshness, prediction: Prediction | None, now: datetime) -> str:
    """Return how a dataset stands to its promise, as a sentence."""
    match found.state:
        case FreshnessState.UNPROMISED:
            return "Nothing is promised about when partitions are complete."
        case FreshnessState.ENDED:
            return "All that was promised is complete."
        case _:
            usual = (
                f", usually ready {_moment(prediction.at)} (± {length_in_words(prediction.spread.total_seconds())})"
                if prediction
                else ""
            )
            assert found.due_at is not None, "it waits for a partition"
            late = f", {length_in_words((now - found.due_at).total_seconds())} late" if now > found.due_at else ""
            return f"Waiting for {found.due_partition}, due {_moment(found.due_at)}{usual}{late}."


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def length_in_words(seconds: float) -> str:
    """Return a length of time in the two largest units that say something."""
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    hours = round(minutes / 60)
    return f"{hours // 24} days {hours % 24} h" if hours % 24 else f"{hours // 24} days"
