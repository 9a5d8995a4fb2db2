"""Access requests: asking for privileges, deciding about it, and what follows when time passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from cordillera.access.authorizer import GrantAuthorizer
from cordillera.access.narrowing import Narrowing, checked_masks
from cordillera.access.request_grants import grant_approved, grant_of
from cordillera.access.securables import FoundSecurable, Securables
from cordillera.catalog.lookup import page_limit
from cordillera.catalog.trail import Trail
from cordillera.catalog.waking import wake_principal
from cordillera.context import acting, current
from cordillera.errors import AccessDeniedError, AccessRequestNotFoundError, InvalidInputError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec import access_request as rules
from cordillera.spec.access import (
    LAKE_ID,
    Grant,
    Privilege,
    Securable,
    SecurableKind,
    Viewer,
    check_grantable,
    parse_principal,
    whole_principal,
)
from cordillera.spec.access_request import (
    ADMINISTRATORS,
    AS_ASKED,
    AccessRequest,
    Approval,
    RequestState,
    RequestStep,
    Voice,
)
from cordillera.spec.deputy import Duty
from cordillera.spec.event import Topic
from cordillera.spec.texts import check_texts

_AT_ONCE = 100
_ENDS = {RequestState.EXPIRED: "expire", RequestState.REFUSED: "refuse", RequestState.REVOKED: "revoke"}


class AccessRequestService:
    """Takes requests, and grants what is approved.

    Whoever administers an object decides about requests for it, together with those whom approval rules name; of each
    his deputies do, too.

    Args:
        store: Keeps requests.
        securables: Finds what they are for.
        authorizer: Knows who administers that.
        narrowing: Knows which rows and columns there are.
        clock: Time and ids.
    """

    def __init__(
        self,
        store: MetadataStore,
        securables: Securables,
        authorizer: GrantAuthorizer,
        narrowing: Narrowing,
        clock: Clock,
    ) -> None:
        self._store, self._securables, self._authorizer = store, securables, authorizer
        self._narrowing, self._clock = narrowing, clock

    def request(self, on: Securable, privileges: Iterable[Privilege], *, purpose: str, days: int) -> AccessRequest:
        """Ask for privileges on an object, for whoever acts.

        Args:
            on: The object; what is inside it is covered too.
            privileges: Which.
            purpose: What for.
            days: For how long, counted from the approval.

        Raises:
            NotFoundError: If there is no such object, or whoever acts may not discover it.
            AlreadyExistsError: If he has an open request for it.
            InvalidInputError: If such a thing cannot be asked for.
        """
        with self._store.write() as tx:
            return self._request(tx, on, rules.in_order(privileges), purpose, days)

    def ask_to_read(self, tx: Transaction, dataset: str, *, purpose: str, days: int | None) -> AccessRequest:
        """Ask, in the transaction of something that waits for it, to read a dataset; an open request serves for it too.

        Raises:
            DatasetNotFoundError, InvalidInputError: As for ``request``.
            AlreadyExistsError: If whoever acts has an open request for the dataset, but not to read it.
        """
        on = Securable(SecurableKind.DATASET, dataset)
        found = tx.access_requests.page(
            now=self._clock.now(),
            requester=parse_principal(current().principal),
            securable_id=self._securables.find(tx, on).id,
            state=RequestState.REQUESTED,
            limit=1,
        )
        if found and Privilege.READ in found[0].granted:
            return found[0]
        return self._request(tx, on, (Privilege.READ,), purpose, rules.USUAL_DAYS if days is None else days)

    def _request(
        self, tx: Transaction, on: Securable, wanted: tuple[Privilege, ...], purpose: str, days: int
    ) -> AccessRequest:
        length, now = rules.checked_days(days), self._clock.now()
        if not purpose.strip():
            raise InvalidInputError("A request needs a purpose.", hint="Say what the data is needed for.")
        check_texts("request for", str(on), purpose=purpose)
        for privilege in wanted:
            check_grantable(privilege, on)
        requester = parse_principal(current().principal)
        found = self._securables.find(tx, on)
        needed = tuple(sorted(_needed(tx, on.kind, found.id)))
        first = RequestStep(RequestState.REQUESTED, requester, now, purpose)
        made = AccessRequest(
            id=self._clock.new_id(), requester=requester, kind=on.kind, securable_id=found.id,
            securable_name=on.name, privileges=wanted, purpose=purpose, days=length, state=RequestState.REQUESTED,
            granted=wanted, granted_days=length, approvers=needed, waiting_for=needed, requested_at=now,
            expires_at=None, due_at=None, steps=(first,),
        )  # fmt: skip
        tx.access_requests.insert(made)
        _leave_trail(tx, made, now, "request", purpose)
        return made

    def get(self, request_id: UUID) -> AccessRequest:
        """Return a request: one's own, or one that one has a say in.

        Raises:
            AccessRequestNotFoundError: If there is none.
        """
        with self._store.read() as tx:
            return self._shown(tx, request_id)

    def page(
        self,
        *,
        on: Securable | None = None,
        requester: str = "",
        state: RequestState | None = None,
        waiting: bool = False,
        before: UUID | None = None,
        limit: int = 100,
    ) -> list[AccessRequest]:
        """Return a page of requests, newest first: one's own, and those that one has a say in.

        Args:
            on: Only those for this very object.
            requester: Only those of somebody.
            state: Only those that stand so.
            waiting: Only those that wait for whoever asks.
            before: The id of the last request of the page before.
            limit: Most requests to return.
        """
        whom, now = parse_principal(requester) if requester else "", self._clock.now()
        with self._store.read() as tx:
            found = tx.access_requests.page(
                now=now,
                viewer=self._viewer(tx),
                requester=whom,
                securable_id=self._securables.find(tx, on).id if on else None,
                state=state,
                waiting=waiting,
                before=before,
                limit=page_limit(limit),
            )
        return [rules.as_of(one, now) for one in found]

    # --- deciding ------------------------------------------------------------------------------------------------

    def approve(self, request_id: UUID, approval: Approval = AS_ASKED) -> AccessRequest:
        """Approve a request, or as much of it as is named. When nobody is left who has to, it is granted.

        Raises:
            AccessRequestNotFoundError, NotFoundError: If there is no such request, or its object is gone.
            AccessDeniedError: If whoever acts has no say in it.
            NotAllowedError: If it is his own, is not open any more, or only waits for others.
            InvalidInputError, UnknownColumnError: If that is more than is left of what was asked for, or rows cannot be
                shown so.
        """
        masks, tag_masks = checked_masks(approval.masks, approval.tag_masks)
        given = replace(approval, masks=masks, tag_masks=tag_masks)

        def approved(tx: Transaction, request: AccessRequest, now: datetime) -> AccessRequest:
            found = self._object(tx, request)
            needed = _needed(tx, request.kind, request.securable_id)
            voice = self._voice(tx, request, found, needed)
            after = rules.approve(request, given, by=_principal(), voice=voice, needed=needed, at=now)
            if given.narrowed:
                self._check_narrowing(tx, found, after, now)
            return after

        return self._change(request_id, "approve", given.reason, approved)

    def refuse(self, request_id: UUID, reason: str) -> AccessRequest:
        """Refuse a request, with a reason. One of those who would have to approve it is enough.

        Raises:
            AccessRequestNotFoundError: If there is no such request.
            AccessDeniedError: If whoever acts has no say in it.
            NotAllowedError: If it is his own, or not open any more.
            InvalidInputError: If there is no reason.
        """
        if not reason.strip():
            raise InvalidInputError("A refusal needs a reason.", hint="Say what whoever asked can do instead.")

        def refused(tx: Transaction, request: AccessRequest, now: datetime) -> AccessRequest:
            try:
                found: FoundSecurable | None = self._object(tx, request)
            except NotFoundError:
                found = None  # what is deleted can be refused, if not granted
            voice = self._voice(tx, request, found, request.approvers)
            return rules.refuse(request, by=_principal(), voice=voice, at=now, reason=reason)

        return self._change(request_id, "refuse", reason, refused)

    def withdraw(self, request_id: UUID, reason: str = "") -> AccessRequest:
        """Take back one's own request.

        Raises:
            AccessRequestNotFoundError: If there is no such request.
            AccessDeniedError: If it is somebody else's.
            NotAllowedError: If it is not open any more.
        """

        def withdrawn(tx: Transaction, request: AccessRequest, now: datetime) -> AccessRequest:  # noqa: ARG001
            if request.requester != _principal():
                raise AccessDeniedError(
                    f"The request {request.id} is {request.requester}'s, who alone can withdraw it.",
                    hint="Refuse it, with a reason.",
                )
            return rules.moved(request, RequestState.WITHDRAWN, _principal(), now, reason)

        return self._change(request_id, "withdraw", reason, withdrawn)

    # --- as time passes ------------------------------------------------------------------------------------------

    def follow_up(self) -> int:
        """Say what ends soon, record what has ended, and close what was for something that is gone.

        What has ended allows nothing any more, whether this has been done or not.

        Returns:
            How many requests there were to look at.
        """
        now, seen = self._clock.now(), 0
        while due := self._due(now):
            for request_id in due:
                self._look_at(request_id, now)
            seen += len(due)
        return seen

    def _due(self, now: datetime) -> list[UUID]:
        with self._store.read() as tx:
            return tx.access_requests.due(now, _AT_ONCE)

    def _look_at(self, request_id: UUID, now: datetime) -> None:
        with self._store.write() as tx:
            request = tx.access_requests.lock(request_id)
            if request is None or request.due_at is None or request.due_at > now:
                return  # another worker was faster
            gone = tx.access_requests.object_name(request) is None
            after = rules.looked_at(request, gone=gone, by=_principal(), now=now)
            action = "remind" if after.state is request.state else _ENDS[after.state]
            keep(tx, after, now, action, "")

    # --- parts ---------------------------------------------------------------------------------------------------

    def _change(
        self,
        request_id: UUID,
        action: str,
        reason: str,
        change: Callable[[Transaction, AccessRequest, datetime], AccessRequest],
    ) -> AccessRequest:
        check_texts("request", str(request_id), purpose=reason)
        now = self._clock.now()
        with self._store.write() as tx:
            request = tx.access_requests.lock(request_id, viewer=self._viewer(tx))
            if request is None:
                raise _no_request(request_id)
            after = change(tx, rules.as_of(request, now), now)
            with acting(deputy_of=after.steps[-1].deputy_of):
                if after.state is RequestState.APPROVED:
                    grant_approved(tx, after, now, self._clock.new_id)
                    wake_principal(tx, after.requester, self._clock, after.expires_at)
                keep(tx, after, now, action, reason)
            return self._shown(tx, request_id)

    def _check_narrowing(self, tx: Transaction, found: FoundSecurable, request: AccessRequest, now: datetime) -> None:
        """Refuse to show rows as it cannot be done; nothing is shown where nothing may be read."""
        if Privilege.READ not in request.granted:
            raise InvalidInputError(
                f"The request {request.id} gives no read that rows and columns could be narrowed of.",
                hint="Approve read as well, or leave out the row filter and the masks.",
            )
        self._narrowing.check(tx, found, grant_of(request, Privilege.READ, found.on.name, now, self._clock.new_id()))

    def _shown(self, tx: Transaction, request_id: UUID) -> AccessRequest:
        """Return a request as whoever acts may see it."""
        found = tx.access_requests.get(request_id, viewer=self._viewer(tx))
        if found is None:
            raise _no_request(request_id)
        return rules.as_of(found, self._clock.now())

    def _object(self, tx: Transaction, request: AccessRequest) -> FoundSecurable:
        """Return what a request is for, under its present name, whether whoever decides may discover it or not."""
        try:
            name = tx.access_requests.object_name(request) or request.securable_name
            with acting(operator=True):
                found = self._securables.find(tx, Securable(request.kind, name))
        except NotFoundError:
            found = None
        if found is None or found.id != request.securable_id:
            raise NotFoundError(
                f"There is no {request.on} any more, for which {request.requester} asks.",
                hint="Refuse the request; or restore what was deleted.",
            )
        return found

    def _viewer(self, tx: Transaction) -> Viewer | None:
        return self._authorizer.viewer_for(tx, Duty.ACCESS_REQUESTS)

    def _voice(
        self, tx: Transaction, request: AccessRequest, found: FoundSecurable | None, needed: Iterable[str]
    ) -> Voice:
        """Return in whose place whoever acts decides about a request; about his own in nobody's."""
        viewer, approvers = self._viewer(tx), set(needed)
        if viewer is None:
            return Voice(frozenset(approvers))
        own, deputed = self._spoken_for(tx, viewer, found, approvers), dict[str, str]()
        within = (LAKE_ID,) if found is None else found.within
        for one in viewer.standing_in(within, request.requester):
            others = self._spoken_for(tx, one.viewer, found, approvers) - own
            deputed.update(dict.fromkeys(others - deputed.keys(), one.owner))
        if not own and not deputed and request.requester != _principal():
            raise AccessDeniedError(
                f"{_principal()} has no say in the request {request.id} for {request.on}.",
                hint=f"It waits for: {', '.join(request.waiting_for) or 'nobody'}.",
            )
        return Voice(own, deputed)

    def _spoken_for(
        self, tx: Transaction, viewer: Viewer, found: FoundSecurable | None, needed: set[str]
    ) -> frozenset[str]:
        """Return the approvers that somebody is, or belongs to."""
        held = self._securables.held(tx, viewer, found) if found is not None else viewer.on_lake
        administers = {ADMINISTRATORS} if Privilege.ADMINISTER in held else set()
        return viewer.principals & needed | administers


def note_revoked(tx: Transaction, grant: Grant, now: datetime, reason: str) -> None:
    """Note, with the requests by which somebody got a privilege, that it was taken back."""
    for request in tx.access_requests.approved(grant.principal, grant.securable_id, now):
        if grant.privilege in request.granted:
            keep(tx, rules.revoked(request, grant.privilege, _principal(), now, reason), now, "revoke", reason)


def keep(tx: Transaction, request: AccessRequest, now: datetime, action: str, reason: str) -> None:
    """Store a request after a step, and tell of it."""
    tx.access_requests.put(request)
    _leave_trail(tx, request, now, action, reason)


def _leave_trail(tx: Transaction, request: AccessRequest, now: datetime, action: str, reason: str) -> None:
    trail, name = Trail(tx, now), tx.access_requests.object_name(request) or request.securable_name
    told: dict[str, Any] = {
        "request": str(request.id),
        "requester": request.requester,
        "privileges": [one.value for one in request.granted],
        "days": request.granted_days,
        "state": request.state.value,
        "waiting_for": list(request.waiting_for),
        "expires_at": request.expires_at.isoformat() if request.expires_at else "",
    }
    told = {key: value for key, value in told.items() if value}
    trail.audit(f"access_request.{action}", request.kind, name, {**told, **({"reason": reason} if reason else {})})
    # It is about no dataset, or all who may discover that would see who has asked for it.
    on = str(Securable(request.kind, name))
    trail.event(Topic.ACCESS_REQUEST_CHANGED, "", None, {"change": action, "on": on, **told})


def _needed(tx: Transaction, kind: SecurableKind, securable_id: UUID) -> set[str]:
    return tx.approval_rules.needed(kind, securable_id) | {ADMINISTRATORS}


def _principal() -> str:
    return whole_principal(current().principal)


def _no_request(request_id: UUID) -> AccessRequestNotFoundError:
    return AccessRequestNotFoundError(
        f"There is no access request {request_id}.", hint="List them with: cordillera access requests."
    )
