"""What deliveries cost whom: their rows, bytes and seconds, added up by month."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from cordillera.errors import InvalidInputError

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_PLACE = re.compile(r"(\d{4}-\d{2})/([0-9a-f-]{36})?/(.*)", re.DOTALL)


class CostsBy(StrEnum):
    """What the costs of a month are added up by."""

    PAYER = "payer"
    """One sum for each cost owner."""
    SUBSCRIPTION = "subscription"
    """One for each subscription and cost owner, of which it can have several in a month."""


@dataclass(frozen=True, slots=True)
class CostQuery:
    """Which costs are asked for.

    Attributes:
        since: The first month; empty for the one that it is now.
        until: The last month; empty for no end.
        by: What they are added up by.
        cost_owner: Only what this one pays for; empty for all.
        subscription_id: Only those of one subscription.
    """

    since: str = ""
    until: str = ""
    by: CostsBy = CostsBy.PAYER
    cost_owner: str = ""
    subscription_id: UUID | None = None

    def __post_init__(self) -> None:
        """Refuse what is no month.

        Raises:
            InvalidInputError: Naming it.
        """
        for month in (self.since, self.until):
            if month and not _MONTH.fullmatch(month):
                raise InvalidInputError(f"{month[:20]!r} is no month.", hint="Write it as 2026-11.")


@dataclass(frozen=True, slots=True)
class DeliveryCost:
    """What the deliveries of a month took that somebody pays for.

    Attributes:
        month: In UTC, as 2026-11.
        cost_owner: Who pays.
        deliveries: How many there were.
        rows: Rows put in and taken out.
        bytes: Size of what was sent, as it is in Arrow.
        seconds: How long they took together.
        subscription_id, dataset, target: Whose they were; None and empty in a sum of several subscriptions.
    """

    month: str
    cost_owner: str
    deliveries: int
    rows: int
    bytes: int
    seconds: float
    subscription_id: UUID | None = None
    dataset: str = ""
    target: str = ""

    @property
    def place(self) -> str:
        """Where it is in the list, as ``read_place`` understands it."""
        return f"{self.month}/{self.subscription_id or ''}/{self.cost_owner}"


def month_of(moment: datetime) -> str:
    """Return the month that a moment counts to."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def month_from(month: str, steps: int) -> str:
    """Return the month so many after another, or before it."""
    year, number = divmod(int(month[:4]) * 12 + int(month[5:]) - 1 + steps, 12)
    return f"{year:04}-{number + 1:02}"


def read_place(text: str) -> tuple[str, str, UUID | None]:
    """Return month, cost owner and subscription of a place in the list.

    Raises:
        InvalidInputError: If it is none.
    """
    found = _PLACE.fullmatch(text)
    try:
        if found is not None:
            return found[1], found[3], UUID(found[2]) if found[2] else None
    except ValueError:
        pass
    raise InvalidInputError(f"{text[:80]!r} is no place in a list of costs.", hint="Give what the last page returned.")


def parse_costs_by(text: str) -> CostsBy:
    """Read what costs are added up by.

    Raises:
        InvalidInputError: If they cannot be by that.
    """
    try:
        return CostsBy(text)
    except ValueError:
        raise InvalidInputError(
            f"Costs are not added up by {text[:40]!r}.", hint=f"Use one of: {', '.join(CostsBy)}."
        ) from None
