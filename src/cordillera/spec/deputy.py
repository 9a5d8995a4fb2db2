"""Deputies: who decides for an owner while he is away, about what, and until when.

A deputy has nothing of the owner's but his say in what a duty names, about what is inside one object, until a time.
What the owner may decide is looked up anew at every decision, and without those whom he stands in for himself: there
are no chains. Nobody decides as a deputy about what he himself, or the owner he stands in for, has asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cordillera.errors import InvalidInputError
from cordillera.spec.access import Securable, SecurableKind

MOST_DAYS = 366
_KINDS = (SecurableKind.LAKE, SecurableKind.NAMESPACE, SecurableKind.DATASET)


class Duty(StrEnum):
    """What a deputy may decide for an owner."""

    ACCESS_REQUESTS = "access_requests"
    """Approve or refuse access requests, and so the subscriptions that wait for one."""
    CONTRACT_PROPOSALS = "contract_proposals"
    """Acknowledge changes of contracts that the owner's subscriptions and jobs rely on."""
    CONTRACT_OVERRIDES = "contract_overrides"
    """Put proposed changes of contracts that the owner administers in force without waiting any longer, or withdraw
    them: the owner's own proposals too, as he could do so himself."""


@dataclass(frozen=True, slots=True)
class WantedDeputy:
    """Somebody who is to stand in for an owner.

    Attributes:
        deputy: Who: a user, a service, a group or a role.
        ends_at: Until when.
        owner: For whom; empty for whoever names him.
        duties: What he may decide.
        on: The object inside of which; the lake for everything that the owner has a say in.
        starts_at: From when; None for at once.
        reason: Why.
    """

    deputy: str
    ends_at: datetime
    owner: str = ""
    duties: tuple[Duty, ...] = tuple(Duty)
    on: str = "lake"
    starts_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Deputy:
    """Somebody who stands in for an owner.

    Attributes:
        owner: Whose say it is: a principal.
        deputy: Who has it too, if it is a group or role any member.
        duties: In what.
        kind, securable_id, securable_name: About what is inside this object, by the name that whoever looks may know it
            by. The lake has no name, and stands for everything.
        starts_at, ends_at: When: from the first moment on, until before the last.
        named_by, named_at: Who said so, and when.
    """

    id: UUID
    owner: str
    deputy: str
    duties: tuple[Duty, ...]
    kind: SecurableKind
    securable_id: UUID
    securable_name: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    named_by: str
    named_at: datetime

    @property
    def on(self) -> str:
        """The object, as people name it."""
        return str(Securable(self.kind, self.securable_name))

    def acts(self, duty: Duty, now: datetime) -> bool:
        """Tell whether he has a duty at some time."""
        return duty in self.duties and self.starts_at <= now < self.ends_at


def parse_duties(texts: Iterable[str]) -> tuple[Duty, ...]:
    """Read the names of duties, once each in their order; all of them where none is named.

    Raises:
        InvalidInputError: If there is none of a name.
    """
    named = set(texts)
    unknown = next(iter(sorted(named - set(Duty))), None)
    if unknown is not None:
        raise InvalidInputError(f"There is no duty {unknown[:40]!r}.", hint=f"Use some of: {', '.join(Duty)}.")
    return tuple(one for one in Duty if one in named or not named)


def end_after(begins: datetime, days: int) -> datetime:
    """Return when somebody's time as a deputy ends, some days after it begins.

    Raises:
        InvalidInputError: If there is no such time.
    """
    try:
        return begins + timedelta(days=days)
    except OverflowError:
        raise InvalidInputError(
            f"Nobody can be a deputy from {begins.date()} for {days} days.", hint="Give an earlier beginning."
        ) from None


def check_wanted(owner: str, deputy: str, on: Securable, starts_at: datetime, ends_at: datetime, now: datetime) -> None:
    """Refuse a deputy who would be of no use, or never come to an end.

    Raises:
        InvalidInputError: Saying why.
    """
    if owner == deputy:
        raise InvalidInputError(f"{owner} cannot stand in for himself.", hint="Name somebody else.")
    if on.kind not in _KINDS:
        raise InvalidInputError(
            f"Nobody stands in for an owner on {on.described} alone.",
            hint="Name lake, namespace:NAME or NAMESPACE.DATASET; the lake stands for everything that is the owner's.",
        )
    if starts_at.tzinfo is None or ends_at.tzinfo is None:
        raise InvalidInputError("When a deputy begins and ends has to be said with a time zone.")
    begins = max(starts_at, now)
    if not begins < ends_at or ends_at - begins > timedelta(days=MOST_DAYS):
        raise InvalidInputError(
            f"Nobody can be a deputy from {starts_at.isoformat()} until {ends_at.isoformat()}.",
            hint=f"Give an end to come, behind the beginning and no more than {MOST_DAYS} days behind it.",
        )
