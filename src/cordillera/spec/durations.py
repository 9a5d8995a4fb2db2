"""Lengths of time as people write them."""

from __future__ import annotations

from datetime import timedelta

from cordillera.errors import InvalidInputError

MOST_HOURS = 1_000_000


def of_hours(hours: float) -> timedelta:
    """Return a number of hours as a length of time.

    Raises:
        InvalidInputError: If there is none so long, or it is no number.
    """
    if not -MOST_HOURS <= hours <= MOST_HOURS:  # nor is this true of what is no number
        raise InvalidInputError(f"{hours} hours are no length of time.", hint=f"Write at most {MOST_HOURS:,} hours.")
    return timedelta(hours=hours)
