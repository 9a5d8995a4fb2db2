"""Asking for access to a lake, and deciding about it, as people do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from cordillera.client.backend import LakeBackend
from cordillera.spec.access_request import AccessRequest, Approval, ApprovalRule


class AccessAsking:
    """The part of a lake that is about access requests. Objects and principals are named as in ``AccessControl``."""

    backend: LakeBackend

    def request_access(
        self, on: str, privileges: str | Sequence[str] = "read", *, purpose: str, days: int = 90
    ) -> AccessRequest:
        """Ask for privileges on an object, for yourself.

        Args:
            on: The object; what is inside it is covered too.
            privileges: One or several: discover, read, write, alter, create, external_use, administer.
            purpose: What for.
            days: For how long, counted from the approval.

        Raises:
            NotFoundError: If there is no such object that you may discover.
            AlreadyExistsError: If you have an open request for it.
            InvalidInputError: If such a thing cannot be asked for.
        """
        wanted = [privileges] if isinstance(privileges, str) else list(privileges)
        return self.backend.request_access(on, wanted, purpose=purpose, days=days)

    def access_requests(
        self, *, on: str = "", requester: str = "", state: str = "", waiting: bool = False
    ) -> Iterator[AccessRequest]:
        """Yield requests, newest first: your own, and those that you have a say in.

        Args:
            on: Only those for this very object.
            requester: Only those of somebody.
            state: requested, approved, refused, withdrawn, expired or revoked.
            waiting: Only those that wait for you.
        """
        before = None
        while page := self.backend.access_requests(
            on=on, requester=requester, state=state, waiting=waiting, before=before
        ):
            yield from page
            before = page[-1].id

    def access_request(self, request_id: UUID) -> AccessRequest:
        """Return a request with what happened to it."""
        return self.backend.access_request(request_id)

    def approve_access(
        self,
        request_id: UUID,
        *,
        privileges: Sequence[str] = (),
        days: int | None = None,
        reason: str = "",
        row_filter: str = "",
        masks: Mapping[str, str] | None = None,
        tag_masks: Mapping[str, str] | None = None,
    ) -> AccessRequest:
        """Approve a request, or as much of it as is named. When nobody is left who has to, it is granted.

        Args:
            request_id: Which.
            privileges: Which of the privileges; all by default.
            days: For how long; for as long as is asked by default.
            reason: Why.
            row_filter, masks, tag_masks: What of rows is read; see ``grant``.

        Raises:
            AccessDeniedError: If you have no say in it.
            NotAllowedError: If it is your own, is not open any more, or only waits for others.
            InvalidInputError: If that is more than was asked for.
        """
        approval = Approval(tuple(privileges), days, reason, row_filter, masks or {}, tag_masks or {})
        return self.backend.approve_access(request_id, approval)

    def refuse_access(self, request_id: UUID, reason: str) -> AccessRequest:
        """Refuse a request, with a reason."""
        return self.backend.refuse_access(request_id, reason)

    def withdraw_access_request(self, request_id: UUID, reason: str = "") -> AccessRequest:
        """Take back your own request."""
        return self.backend.withdraw_access_request(request_id, reason)

    def add_approver(self, tags: str, approver: str) -> ApprovalRule:
        """Have somebody approve requests for what has certain policy tags, beside those who administer it."""
        return self.backend.add_approver(tags, approver)

    def remove_approver(self, tags: str, approver: str) -> None:
        """Have somebody approve no more what has certain policy tags."""
        self.backend.remove_approver(tags, approver)

    def approvers(self) -> list[ApprovalRule]:
        """Return who has to approve requests for what has which policy tags."""
        return self.backend.approvers()
