"""Rows of access requests, and of the rules that say who has to approve them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.access import SecurableKind, Viewer
from cordillera.spec.access_request import AccessRequest, ApprovalRule, RequestState


class AccessRequestRows(Protocol):
    """Access requests. Of one requester and object, one at most is open.

    A viewer sees his own, those on what he administers, and those that name him, a group or a role of his as an
    approver. Of an object that he may not discover any more he sees the name by which it was asked for.
    """

    def insert(self, request: AccessRequest) -> None:
        """Add a request; raises ``AlreadyExistsError`` if there is an open one of its requester and object."""

    def put(self, request: AccessRequest) -> None:
        """Store a request as it is by now."""

    def lock(self, request_id: UUID, *, viewer: Viewer | None = None) -> AccessRequest | None:
        """Return a request that a viewer may see, locked until the transaction ends."""

    def object_name(self, request: AccessRequest) -> str | None:
        """Return what a request's object is called now, deleted or not; None if it is gone for good."""

    def get(self, request_id: UUID, *, viewer: Viewer | None = None) -> AccessRequest | None:
        """Return a request that a viewer may see."""

    def page(
        self,
        *,
        now: datetime,
        viewer: Viewer | None = None,
        requester: str = "",
        securable_id: UUID | None = None,
        state: RequestState | None = None,
        waiting: bool = False,
        before: UUID | None = None,
        limit: int,
    ) -> list[AccessRequest]:
        """Return requests that a viewer may see, newest first, behind ``before``.

        Args:
            now: Says which approved ones have expired.
            viewer: Who looks; None for the operator.
            requester: Only those of somebody.
            securable_id: Only those on an object.
            state: Only those that stand so.
            waiting: Only open ones that wait for the viewer.
            before: The last one of the page before.
            limit: Most to return.
        """

    def approved(self, requester: str, securable_id: UUID, now: datetime) -> list[AccessRequest]:
        """Return, locked, somebody's approved requests on an object that have not expired."""

    def due(self, now: datetime, limit: int) -> list[UUID]:
        """Return the requests that have to be looked at, those due longest first."""


class ApprovalRuleRows(Protocol):
    """Who has to approve requests on what has certain policy tags."""

    def put(self, rule: ApprovalRule) -> bool:
        """Add a rule; False if there is the same."""

    def delete(self, tag_expression: str, approver: str) -> bool:
        """Remove a rule; False if there was none."""

    def all(self) -> list[ApprovalRule]:
        """Return the rules, by expression and approver."""

    def needed(self, kind: SecurableKind, securable_id: UUID) -> set[str]:
        """Return the approvers of the rules that a live dataset in an object fulfils."""


__all__ = ["AccessRequestRows", "ApprovalRuleRows"]
