"""Moments in a dataset's history, as people and programs give them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time

from cordillera.errors import InvalidInputError

AsOf = int | datetime | date | str | None
"""A moment in a dataset version's history: a snapshot's sequence number, a time (UTC unless it has a zone), a date,
which means the end of that day in UTC, or one of these as text; or a branch or tag; None means now."""

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_DATE_LENGTH = len("2013-01-31")
_HINT = "Give a snapshot's sequence number, a date or time like 2013-01-31T07:00:00Z, or a branch or tag."


def read_as_of(given: AsOf) -> AsOf:
    """Return a moment with text understood: digits as a sequence number, what begins with a letter as the name of a
    branch or tag, which stays text, anything else in ISO 8601.

    Raises:
        InvalidInputError: If it is no moment.
    """
    if given is None or (isinstance(given, int | date) and not isinstance(given, bool)):
        return given
    text = str(given)
    if not isinstance(given, str):
        raise InvalidInputError(f"{text[:60]} is no moment in a dataset's history.", hint=_HINT)
    if _NUMBER.fullmatch(text):
        return int(text)
    if text[:1].isalpha():
        return text
    try:
        return date.fromisoformat(text) if len(text) <= _DATE_LENGTH else datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"{text[:60]!r} is no moment in a dataset's history.", hint=_HINT) from None


def as_of_to_text(as_of: int | date | str) -> str:
    """Return a moment as text."""
    return as_of.isoformat() if isinstance(as_of, date) else str(as_of)


def last_moment(when: date) -> datetime:
    """Return the time that a date or time means: of a date its last moment in UTC, the state at the end of the day."""
    if isinstance(when, datetime):
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    return datetime.combine(when, time.max, UTC)
