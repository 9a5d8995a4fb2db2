"""Time and identity, injected so that tests decide both."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid4


class Clock(Protocol):
    """Tells the time and mints identifiers."""

    def now(self) -> datetime:
        """Return the current instant, in UTC."""

    def new_id(self) -> UUID:
        """Return a fresh unique id."""


class SystemClock:
    """The real clock and real randomness."""

    def now(self) -> datetime:
        """Return the system time in UTC."""
        return datetime.now(UTC)

    def new_id(self) -> UUID:
        """Return a random (version 4) UUID."""
        return uuid4()
