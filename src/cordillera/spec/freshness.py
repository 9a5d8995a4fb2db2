"""Freshness: what a contract promises about completions, and what has been kept of it.

Everything follows from the partitions that are complete, never from when something was last written: completing an old
partition again makes no dataset look fresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum

from cordillera.spec.completion import LABEL_FORMATS, Completion, CompletionUnit, begin_of, label_at
from cordillera.spec.completion import following as end_of
from cordillera.spec.contract import ServiceLevel

STRIP_LENGTH = 30
_BACKFILLED_AFTER = timedelta(days=30)


class FreshnessState(StrEnum):
    """How a dataset stands to its promise."""

    UNPROMISED = "unpromised"
    ON_TIME = "on time"
    LATE = "late"
    BREACHED = "breached"
    ENDED = "ended"
    """Everything that was promised is complete, and nothing more is."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """The promise and the reality.

    Attributes:
        promise: In words; empty where there is none.
        newest: The completion of the newest partition, if any is complete.
        due_partition: The partition that has to be complete next; empty where that cannot be told.
        due_at: When it is, or was, due.
        breached_at: When late becomes breached.
    """

    state: FreshnessState
    promise: str
    newest: Completion | None
    due_partition: str = ""
    due_at: datetime | None = None
    breached_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StripCell:
    """A partition in the strip: in one of the states of ``completion_state``, or ``due`` (its time has not come),
    ``missing``, or ``before`` the first one there is.
    """

    partition: str
    state: str
    declared_at: datetime | None


def assess(unit: CompletionUnit, promised: ServiceLevel, completions: Sequence[Completion], now: datetime) -> Freshness:
    """Compare what is complete with what was promised.

    Args:
        unit: How the dataset version is cut into partitions.
        promised: The contract's service level.
        completions: The newest completion of each partition, highest label first.
        now: The present.
    """
    promise = promise_in_words(promised)
    newest = _newest(unit, completions)
    following = _first_missing(unit, promised, completions)
    if following is None and newest is not None:
        following = _due_after(unit, promised, newest)
    if following is None:
        return Freshness(FreshnessState.UNPROMISED, promise, newest)
    partition, due_at, grace = following
    if _has_ended(promised, due_at if unit is CompletionUnit.WHOLE else begin_of(unit, partition)):
        return Freshness(FreshnessState.ENDED, promise, newest)
    if now < due_at:
        state = FreshnessState.ON_TIME
    else:
        state = FreshnessState.LATE if now < due_at + grace else FreshnessState.BREACHED
    return Freshness(state, promise, newest, partition, due_at, due_at + grace)


def promise_in_words(promised: ServiceLevel) -> str:
    """Return the promise about time as a phrase; empty where nothing is promised."""
    parts = [f"every {promised.frequency}".replace("every 1 ", "every ")] if promised.frequency else []
    if (available := promised.availability) is not None:
        when = f"complete by {available.at:%H:%M} {available.timezone}"
        after = {0: "the same day", 1: "the next day"}.get(available.days_after, f"{available.days_after} days later")
        parts.append(f"{when} {after}")
    if parts and promised.end is not None:
        parts.append(f"until {promised.end}")
    return ", ".join(parts)


def strip(
    unit: CompletionUnit, promised: ServiceLevel, completions: Sequence[Completion], now: datetime
) -> tuple[StripCell, ...]:
    """Return the last partitions, oldest first; nothing where partitions have no order in time.

    The strip ends today, or with the last promised partition; where nothing in it would be complete, it ends with the
    newest complete partition.
    """
    if unit not in LABEL_FORMATS or not completions:
        return ()
    by_label = {completion.partition: completion for completion in completions}
    newest = completions[0].partition
    starts = _ending_with(unit, max(begin_of(unit, newest), _last_expected(unit, promised, now)))
    if not any(label_at(unit, start) in by_label for start in starts):
        starts = _ending_with(unit, begin_of(unit, newest))
    labels = [label_at(unit, start) for start in starts]
    return cells(unit, promised, labels, completions, now, oldest=min(by_label))


def cells(
    unit: CompletionUnit,
    promised: ServiceLevel,
    labels: Sequence[str],
    completions: Sequence[Completion],
    now: datetime,
    *,
    oldest: str,
) -> tuple[StripCell, ...]:
    """Return how partitions of a unit of time stand.

    Args:
        unit: How the dataset version is cut into partitions.
        promised: The contract's service level.
        labels: The partitions.
        completions: The newest completions of those of them that are complete.
        now: The present.
        oldest: The first partition there is.
    """
    by_label = {completion.partition: completion for completion in completions}
    return tuple(_cell(unit, promised, label, by_label.get(label), oldest, now) for label in labels)


def completion_state(unit: CompletionUnit, promised: ServiceLevel, completion: Completion) -> str:
    """Return how a completion came: ``complete``, ``late``, ``backfilled`` (long after it was due) or ``restated``."""
    if completion.restated:
        return "restated"
    due_at = _due_at(unit, promised, completion.partition) if unit in LABEL_FORMATS else None
    if due_at is None or completion.declared_at <= due_at:
        return "complete"
    return "late" if completion.declared_at - due_at < _BACKFILLED_AFTER else "backfilled"


def _cell(
    unit: CompletionUnit,
    promised: ServiceLevel,
    label: str,
    completion: Completion | None,
    oldest: str,
    now: datetime,
) -> StripCell:
    if completion is not None:
        return StripCell(label, completion_state(unit, promised, completion), completion.declared_at)
    if label < oldest:
        return StripCell(label, "before", None)
    open_until = _due_at(unit, promised, label) or _moment(end_of(unit, begin_of(unit, label)), UTC)
    return StripCell(label, "due" if now < open_until else "missing", None)


def _newest(unit: CompletionUnit, completions: Sequence[Completion]) -> Completion | None:
    """Return the completion of the newest partition; where labels have no order in time, the last one declared."""
    if unit in LABEL_FORMATS:
        return completions[0] if completions else None
    return max(completions, key=lambda completion: completion.declared_at, default=None)


def _first_missing(
    unit: CompletionUnit, promised: ServiceLevel, completions: Sequence[Completion]
) -> tuple[str, datetime, timedelta] | None:
    """Return the oldest of the last partitions before the newest one that is promised and not complete, as
    ``_due_after`` does. Only a frequency promises every partition; one of several partitions' length, not every one.
    """
    if unit not in LABEL_FORMATS or promised.frequency is None or len(completions) < 2:
        return None
    newest = begin_of(unit, completions[0].partition)
    if promised.frequency.longest > end_of(unit, newest) - newest:
        return None
    complete = {completion.partition for completion in completions}
    oldest = min(complete)
    for start in _ending_with(unit, newest):
        label = label_at(unit, start)
        due_at = _due_at(unit, promised, label)
        if oldest < label and label not in complete and due_at is not None and not _has_ended(promised, start):
            return label, due_at, end_of(unit, start) - start
    return None


def _due_after(
    unit: CompletionUnit, promised: ServiceLevel, newest: Completion
) -> tuple[str, datetime, timedelta] | None:
    """Return the partition expected after the newest one, when it is due, and after how long late becomes breached."""
    if unit is CompletionUnit.WHOLE and promised.frequency is not None:
        length = promised.frequency.longest
        return newest.partition, newest.declared_at + length, length
    if unit not in LABEL_FORMATS:
        return None
    begin = begin_of(unit, newest.partition)
    step = end_of(unit, begin) - begin
    if promised.frequency is not None and (every := promised.frequency.longest) > step:
        step, begin = every, _begin(unit, begin + every)
    else:
        begin = end_of(unit, begin)
    label = label_at(unit, begin)
    due_at = _due_at(unit, promised, label)
    return (label, due_at, step) if due_at is not None else None


def _due_at(unit: CompletionUnit, promised: ServiceLevel, label: str) -> datetime | None:
    """Return when a partition is due: at the promised time of day, else one period after its end."""
    end = end_of(unit, begin_of(unit, label))
    if (available := promised.availability) is not None:
        last_day = (end - timedelta(microseconds=1)).date()
        return available.due(last_day)
    if promised.frequency is not None:
        return _moment(end, UTC) + promised.frequency.longest
    return None


def _last_expected(unit: CompletionUnit, promised: ServiceLevel, now: datetime) -> datetime:
    """Return the beginning of today's partition, or of the last one promised if that is earlier."""
    today = _begin(unit, now.replace(tzinfo=None))
    if not _has_ended(promised, today):
        return today
    end = _local_end(promised)
    return _begin(unit, end - timedelta(microseconds=1))


def _has_ended(promised: ServiceLevel, begin: datetime) -> bool:
    """Tell whether the promises have ended before a moment; one without a zone is local, like partitions' labels."""
    if promised.end is None:
        return False
    if begin.tzinfo is not None:
        begin = begin.astimezone(_promised_zone(promised)).replace(tzinfo=None)
    return begin >= _local_end(promised)


def _local_end(promised: ServiceLevel) -> datetime:
    """Return the first moment, in the local time of labels, for which nothing is promised any more."""
    end = promised.end
    assert end is not None, "asked for only where the promises end"
    if not isinstance(end, datetime):
        return datetime.combine(end, time.max)
    return end.astimezone(_promised_zone(promised)).replace(tzinfo=None) if end.tzinfo else end


def _promised_zone(promised: ServiceLevel) -> tzinfo:
    return promised.availability.zone if promised.availability else UTC


def _ending_with(unit: CompletionUnit, last: datetime) -> list[datetime]:
    starts = [last]
    while len(starts) < STRIP_LENGTH:
        starts.append(_begin(unit, starts[-1] - timedelta(microseconds=1)))
    return starts[::-1]


def _begin(unit: CompletionUnit, moment: datetime) -> datetime:
    """Return the beginning of the partition that a moment lies in."""
    return begin_of(unit, label_at(unit, moment))


def partition_end(unit: CompletionUnit, label: str) -> datetime | None:
    """Return when a partition ends, its label read in UTC; None where partitions have no place in time."""
    return _moment(end_of(unit, begin_of(unit, label)), UTC) if unit in LABEL_FORMATS else None


def _moment(local: datetime, zone: tzinfo) -> datetime:
    return local.replace(tzinfo=zone)
