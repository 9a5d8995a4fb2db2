"""What a subscription's deliveries wait for: every commit, completions, or times that a cron expression names."""

from __future__ import annotations

from datetime import datetime

from cronsim import CronSim, CronSimError

from cordillera.errors import InvalidInputError

ON_COMMIT = "commit"
"""Every commit is followed at once."""
ON_COMPLETION = "completion"
"""Commits are followed when a partition becomes complete, first or restated."""


def checked_trigger(text: str) -> str:
    """Return a trigger with single spaces: ``commit``, ``completion``, or a cron expression of five fields, in UTC.

    Raises:
        InvalidInputError: If it is none.
    """
    trigger = " ".join(text.split())
    if trigger in (ON_COMMIT, ON_COMPLETION):
        return trigger
    try:
        if len(trigger.split()) != 5:
            raise CronSimError("it has not five fields")
        next(CronSim(trigger, datetime(2000, 1, 1)), None)  # noqa: DTZ001 - whether it can be read needs no zone
    except CronSimError as error:
        raise InvalidInputError(
            f"Deliveries cannot be triggered by {text[:60]!r}: {error}.",
            hint="Use commit, completion, or a cron expression in UTC, such as '0 6 * * *'.",
        ) from None
    return trigger


def next_time(trigger: str, now: datetime) -> datetime | None:
    """Return when a trigger names the next time; None if it names none, or no more."""
    if trigger in (ON_COMMIT, ON_COMPLETION):
        return None
    found: datetime | None = next(CronSim(trigger, now), None)
    return found
