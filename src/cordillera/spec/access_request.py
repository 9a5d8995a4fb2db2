"""Access requests: how asking for privileges comes to an end, and who has to approve.

    requested → approved → expired | revoked
              → refused
              → withdrawn

Whoever administers the object has to approve, and besides everybody whom an approval rule names whose tag expression a
dataset in it fulfils. Each may narrow what is asked for. Nobody approves his own request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cordillera.errors import InvalidInputError, NotAllowedError
from cordillera.spec.access import Privilege, Securable, SecurableKind, parse_privilege

ADMINISTRATORS = "administrators"
"""Stands for whoever administers the object, where approvers are named; principals have a colon."""
MOST_DAYS = 3650
USUAL_DAYS = 90
"""For how long access is asked for where nothing is said."""
_REMINDED_BEFORE = timedelta(days=7)


class RequestState(StrEnum):
    """Where a request stands."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    REVOKED = "revoked"


_NEXT: Mapping[RequestState, frozenset[RequestState]] = {
    RequestState.REQUESTED: frozenset({RequestState.APPROVED, RequestState.REFUSED, RequestState.WITHDRAWN}),
    RequestState.APPROVED: frozenset({RequestState.EXPIRED, RequestState.REVOKED}),
}


@dataclass(frozen=True, slots=True)
class RequestStep:
    """What happened to a request.

    Attributes:
        state: Where it stood afterwards.
        by: Who did it.
        reason: Why.
        approves: As which of the approvers somebody approved it.
        row_filter, masks, tag_masks: What he would have seen of rows; see ``cordillera.spec.access.Grant``.
        deputy_of: The owners for whom he stood in; none if he did it by himself.
    """

    state: RequestState
    by: str
    at: datetime
    reason: str
    approves: tuple[str, ...] = ()
    row_filter: str = ""
    masks: Mapping[str, str] = field(default_factory=dict)
    tag_masks: Mapping[str, str] = field(default_factory=dict)
    deputy_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Voice:
    """In whose place somebody decides about a request.

    Attributes:
        own: The approvers that he is, or belongs to.
        deputed: Those for whom he speaks only as a deputy, each with the owner whose say that is.
    """

    own: frozenset[str]
    deputed: Mapping[str, str] = field(default_factory=dict)

    @property
    def deputy_of(self) -> tuple[str, ...]:
        """The owners whom he needs to have any say; none if he has one by himself."""
        return () if self.own else tuple(sorted(set(self.deputed.values())))


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Somebody's wish for privileges on an object, for a purpose and a time.

    Attributes:
        kind, securable_id, securable_name: The object, by the name that whoever looks may know it by.
        privileges, days: What is asked for, and for how long.
        granted, granted_days: What is left of that, as approvers have narrowed it, or given it.
        approvers: Who has to approve: principals, and ``administrators`` for whoever administers the object.
        waiting_for: Those who have not yet.
        expires_at: When what was given ends.
        due_at: When it has to be looked at next, without anybody asking.
        steps: What happened, oldest first.
    """

    id: UUID
    requester: str
    kind: SecurableKind
    securable_id: UUID
    securable_name: str
    privileges: tuple[Privilege, ...]
    purpose: str
    days: int
    state: RequestState
    granted: tuple[Privilege, ...]
    granted_days: int
    approvers: tuple[str, ...]
    waiting_for: tuple[str, ...]
    requested_at: datetime
    expires_at: datetime | None
    due_at: datetime | None
    steps: tuple[RequestStep, ...]

    @property
    def securable(self) -> Securable:
        """The object."""
        return Securable(self.kind, self.securable_name)

    @property
    def on(self) -> str:
        """The object, as people name it."""
        return str(self.securable)

    @property
    def row_filter(self) -> str:
        """The SQL condition on the rows that may be read, as approvers have narrowed it; empty for all."""
        given = [step.row_filter for step in self.steps if step.row_filter]
        return given[0] if len(given) == 1 else " AND ".join(f"({one})" for one in given)

    @property
    def masks(self) -> dict[str, str]:
        """What may be seen of columns, by name, as approvers have narrowed it."""
        return {column: mask for step in self.steps for column, mask in step.masks.items()}

    @property
    def tag_masks(self) -> dict[str, str]:
        """The same by tag expressions over the policy tags of columns."""
        return {tags: mask for step in self.steps for tags, mask in step.tag_masks.items()}


@dataclass(frozen=True, slots=True)
class Approval:
    """What of a request is approved, in the words of whoever approves it.

    Attributes:
        privileges: Which of the privileges; none for all that are left.
        days: For how long; None for as long as is asked.
        reason: Why.
        row_filter, masks, tag_masks: What may be seen of rows, besides what others have said about that; see
            ``cordillera.spec.access.Grant``.
    """

    privileges: tuple[str, ...] = ()
    days: int | None = None
    reason: str = ""
    row_filter: str = ""
    masks: Mapping[str, str] = field(default_factory=dict)
    tag_masks: Mapping[str, str] = field(default_factory=dict)

    @property
    def narrowed(self) -> bool:
        """Whether it says which rows, or what of columns, may be read."""
        return bool(self.row_filter or self.masks or self.tag_masks)


AS_ASKED = Approval()
"""The approval of everything that is asked for."""


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Who has to approve requests, besides those who administer what is asked for.

    Attributes:
        tag_expression: For objects with datasets that fulfil it.
        approver: A principal.
    """

    tag_expression: str
    approver: str
    added_by: str
    added_at: datetime


def checked_days(days: int) -> int:
    """Return for how many days something is asked for, or given.

    Raises:
        InvalidInputError: If it cannot be for so many.
    """
    if not 1 <= days <= MOST_DAYS:
        raise InvalidInputError(f"Access cannot be asked for, for {days} days.", hint=f"Use 1 to {MOST_DAYS}.")
    return days


def parse_state(text: str) -> RequestState:
    """Read the name of a state.

    Raises:
        InvalidInputError: If there is none of that name.
    """
    try:
        return RequestState(text)
    except ValueError:
        raise InvalidInputError(
            f"A request cannot be {text[:40]!r}.", hint=f"Use one of: {', '.join(RequestState)}."
        ) from None


def in_order(privileges: Iterable[Privilege]) -> tuple[Privilege, ...]:
    """Return privileges once each, in their order.

    Raises:
        InvalidInputError: If there are none.
    """
    wanted = set(privileges)
    if not wanted:
        raise InvalidInputError("No privilege is named.", hint=f"Name some of: {', '.join(Privilege)}.")
    return tuple(one for one in Privilege if one in wanted)


def moved(
    request: AccessRequest, state: RequestState, by: str, at: datetime, reason: str, approves: tuple[str, ...] = ()
) -> AccessRequest:
    """Return a request after a step.

    Raises:
        NotAllowedError: If it cannot come from where it stands to there.
    """
    if state not in _NEXT.get(request.state, ()):
        raise NotAllowedError(
            f"The request {request.id} for {request.on} is {request.state}; it cannot be {state} any more.",
            hint="Ask again, if access is still needed.",
        )
    step = RequestStep(state, by, at, reason, approves)
    return replace(request, state=state, steps=(*request.steps, step), due_at=None, waiting_for=())


def approve(
    request: AccessRequest, approval: Approval = AS_ASKED, *, by: str, voice: Voice, needed: Iterable[str], at: datetime
) -> AccessRequest:
    """Return a request as somebody has approved it: it is approved when nobody is left to wait for.

    Args:
        request: The request.
        approval: What of it he approves.
        by: Who that is.
        voice: In whose place. As a deputy he gives nobody ``administer``: that would decide who decides.
        needed: Who has to approve by now: tags and rules may have changed since it was made.
        at: When.

    Raises:
        NotAllowedError: If it is his own, not open any more, only waits for others, or is nothing that a deputy gives.
        InvalidInputError: If he would give more than is left of what was asked for.
    """
    wanted = tuple(map(parse_privilege, approval.privileges)) or request.granted
    if by == request.requester:
        raise NotAllowedError(
            "Nobody approves his own request.", hint=f"It waits for: {', '.join(request.waiting_for)}."
        )
    before = {name for step in request.steps for name in step.approves}
    approvers = tuple(sorted(set(needed)))
    voice = _without_administer(request, voice) if Privilege.ADMINISTER in wanted else voice
    speaks_for = voice.own | voice.deputed.keys()
    mine = tuple(one for one in approvers if one in speaks_for - before)
    waiting = tuple(one for one in approvers if one not in before and one not in mine)
    if request.state is RequestState.REQUESTED and waiting and not mine:
        raise NotAllowedError(
            f"The request {request.id} for {request.on} has been approved on your side already.",
            hint=f"It waits for: {', '.join(waiting)}.",
        )
    left = _narrowed(request, wanted, approval.days)
    _check_masks(request, {**approval.masks, **approval.tag_masks})
    done = moved(left, RequestState.APPROVED, by, at, approval.reason, mine)
    owners = {voice.deputed[one] for one in mine if one not in voice.own} or set(voice.deputy_of)
    step = replace(
        done.steps[-1], row_filter=approval.row_filter, masks=approval.masks, tag_masks=approval.tag_masks,
        deputy_of=tuple(sorted(owners)),
    )  # fmt: skip
    if waiting:
        step = replace(step, state=RequestState.REQUESTED)
        return replace(left, approvers=approvers, waiting_for=waiting, steps=(*request.steps, step))
    done = replace(done, steps=(*request.steps, step))
    ends = at + timedelta(days=left.granted_days)
    return replace(done, approvers=approvers, expires_at=ends, due_at=remind_at(at, ends))


def _narrowed(request: AccessRequest, privileges: Iterable[Privilege], days: int | None) -> AccessRequest:
    wanted = in_order(privileges)
    more = [one for one in wanted if one not in request.granted]
    if more:
        raise InvalidInputError(
            f"{', '.join(more)} is not what is left of the request {request.id}: {', '.join(request.granted)}.",
            hint="Approve some of these; what was not asked for is granted with: cordillera access grant.",
        )
    length = request.granted_days if days is None else checked_days(days)
    if length > request.granted_days:
        raise InvalidInputError(
            f"{length} days are more than is left of the request {request.id}: {request.granted_days}.",
            hint="Approve it for so many at most.",
        )
    return replace(request, granted=wanted, granted_days=length)


def _without_administer(request: AccessRequest, voice: Voice) -> Voice:
    """Return what is left of somebody's say where ``administer`` is to be given."""
    if voice.deputed and not voice.own:
        raise NotAllowedError(
            f"The request {request.id} for {request.on} asks for administer, which a deputy gives nobody.",
            hint=f"Approve the other privileges, refuse it, or leave it to {', '.join(voice.deputy_of)}.",
        )
    return Voice(voice.own)


def _check_masks(request: AccessRequest, wanted: Mapping[str, str]) -> None:
    """Refuse a mask where somebody else has said another; neither of two is the stricter one in general."""
    before = {**request.masks, **request.tag_masks}
    other = next((one for one, mask in wanted.items() if before.get(one, mask) != mask), None)
    if other is not None:
        raise InvalidInputError(
            f"{other} is masked by {before[other]} already, as another approver of the request {request.id} wants it.",
            hint=f"Leave it out, or refuse the request: it cannot be masked by {wanted[other]} too.",
        )


def refuse(request: AccessRequest, *, by: str, voice: Voice, at: datetime, reason: str) -> AccessRequest:
    """Return a request as somebody has refused it.

    Raises:
        NotAllowedError: If it is his own, or is not open any more.
    """
    if by == request.requester:
        raise NotAllowedError("Nobody decides about his own request.", hint="Withdraw it.")
    done = moved(request, RequestState.REFUSED, by, at, reason)
    return replace(done, steps=(*request.steps, replace(done.steps[-1], deputy_of=voice.deputy_of)))


def looked_at(request: AccessRequest, *, gone: bool, by: str, now: datetime) -> AccessRequest:
    """Return a request after what time brings: its end, that of its object, or that its requester was reminded.

    Args:
        request: The request, open or approved.
        gone: Whether its object is gone for good.
        by: Who looks.
        now: When.
    """
    if as_of(request, now).state is RequestState.EXPIRED:
        return moved(request, RequestState.EXPIRED, by, now, "its time was over")
    if gone:
        approved = request.state is RequestState.APPROVED
        state = RequestState.REVOKED if approved else RequestState.REFUSED
        return moved(request, state, by, now, f"{request.on} was deleted")
    return replace(request, due_at=request.expires_at)


def revoked(request: AccessRequest, privilege: Privilege, by: str, at: datetime, reason: str) -> AccessRequest:
    """Return an approved request of which one of the privileges was taken back: with the last one it is revoked."""
    left = tuple(one for one in request.granted if one is not privilege)
    if not left:
        return moved(request, RequestState.REVOKED, by, at, reason)
    step = RequestStep(request.state, by, at, f"{privilege} was revoked{f': {reason}' if reason else ''}")
    return replace(request, granted=left, steps=(*request.steps, step))


def remind_at(begins: datetime, ends: datetime) -> datetime:
    """Return when to say that something ends: a week before, or for short times when a quarter is left."""
    return ends - min(_REMINDED_BEFORE, (ends - begins) / 4)


def as_of(request: AccessRequest, now: datetime) -> AccessRequest:
    """Return a request as it stands at some time: what has ended is expired, whether that is recorded or not."""
    ended = request.state is RequestState.APPROVED and request.expires_at is not None and request.expires_at <= now
    return replace(request, state=RequestState.EXPIRED) if ended else request


def ends_soon(request: AccessRequest, now: datetime) -> bool:
    """Tell whether it is time to think of what comes after."""
    if as_of(request, now).state is not RequestState.APPROVED or request.expires_at is None:
        return False
    return now >= remind_at(request.expires_at - timedelta(days=request.granted_days), request.expires_at)
