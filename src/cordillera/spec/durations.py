"""Lengths of time as people write them."""

from __future__ import annotations

from datetime import timedelta

from cordillera.errors import InvalidInputError
from cordillera.spec.argument_types import of_type

MOST_HOURS = 1_000_000


def in_hours(length: timedelta) -> float:
    """Return a length of time that a program gives, in hours.

    Raises:
        InvalidInputError: If it is none.
    """
    return of_type(length, timedelta, "length of time").total_seconds() / 3600


def of_hours(hours: float) -> timedelta:
    """Return a number of hours as a length of time.

    Raises:
        InvalidInputError: If there is none so long, or it is no number.
    """
    if not -MOST_HOURS <= hours <= MOST_HOURS:  # nor is this true of what is no number
        raise InvalidInputError(f"{hours} hours are no length of time.", hint=f"Write at most {MOST_HOURS:,} hours.")
    return timedelta(hours=hours)
