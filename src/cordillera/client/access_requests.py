"""Access requests to a lake, in this process or behind a server, and the rules that say who approves them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from cordillera.app import Application
from cordillera.client.connection import Connection
from cordillera.codec import Page, to_plain
from cordillera.spec.access import parse_privilege, parse_securable
from cordillera.spec.access_request import AS_ASKED, AccessRequest, Approval, ApprovalRule, parse_state

_ADDRESS = "/access/requests"
_RULES = "/access/approvers"


class LocalAccessRequests:
    """The part of ``LakeBackend`` that is about access requests, on the services of an application."""

    app: Application

    def request_access(self, on: str, privileges: Sequence[str], *, purpose: str, days: int) -> AccessRequest:
        """Ask for privileges."""
        wanted = map(parse_privilege, privileges)
        return self.app.access_requests.request(parse_securable(on), wanted, purpose=purpose, days=days)

    def access_request(self, request_id: UUID) -> AccessRequest:
        """Return a request."""
        return self.app.access_requests.get(request_id)

    def access_requests(
        self,
        *,
        on: str = "",
        requester: str = "",
        state: str = "",
        waiting: bool = False,
        before: UUID | None = None,
        limit: int = 100,
    ) -> list[AccessRequest]:
        """Return a page of requests."""
        return self.app.access_requests.page(
            on=parse_securable(on) if on else None,
            requester=requester,
            state=parse_state(state) if state else None,
            waiting=waiting,
            before=before,
            limit=limit,
        )

    def approve_access(self, request_id: UUID, approval: Approval = AS_ASKED) -> AccessRequest:
        """Approve a request, or as much of it as is named."""
        return self.app.access_requests.approve(request_id, approval)

    def refuse_access(self, request_id: UUID, reason: str) -> AccessRequest:
        """Refuse a request."""
        return self.app.access_requests.refuse(request_id, reason)

    def withdraw_access_request(self, request_id: UUID, reason: str = "") -> AccessRequest:
        """Take back one's own request."""
        return self.app.access_requests.withdraw(request_id, reason)

    def add_approver(self, tags: str, approver: str) -> ApprovalRule:
        """Have somebody approve requests for what has certain policy tags."""
        return self.app.approval_rules.add(tags, approver)

    def remove_approver(self, tags: str, approver: str) -> None:
        """Remove an approval rule."""
        self.app.approval_rules.remove(tags, approver)

    def approvers(self) -> list[ApprovalRule]:
        """Return the approval rules."""
        return self.app.approval_rules.rules()


class RemoteAccessRequests:
    """The part of ``LakeBackend`` that is about access requests, over the HTTP API."""

    _server: Connection

    def request_access(self, on: str, privileges: Sequence[str], *, purpose: str, days: int) -> AccessRequest:
        """Ask for privileges."""
        body = {"on": on, "privileges": list(privileges), "purpose": purpose, "days": days}
        return self._server.post(AccessRequest, _ADDRESS, body)

    def access_request(self, request_id: UUID) -> AccessRequest:
        """Return a request."""
        return self._server.get(AccessRequest, f"{_ADDRESS}/{request_id}")

    def access_requests(
        self,
        *,
        on: str = "",
        requester: str = "",
        state: str = "",
        waiting: bool = False,
        before: UUID | None = None,
        limit: int = 100,
    ) -> list[AccessRequest]:
        """Return a page of requests."""
        return self._server.get(
            Page[AccessRequest],
            _ADDRESS,
            on=on,
            requester=requester,
            state=state or None,
            waiting=waiting,
            before=before,
            limit=limit,
        ).items

    def approve_access(self, request_id: UUID, approval: Approval = AS_ASKED) -> AccessRequest:
        """Approve a request, or as much of it as is named."""
        return self._server.post(AccessRequest, f"{_ADDRESS}/{request_id}/approve", to_plain(approval))

    def refuse_access(self, request_id: UUID, reason: str) -> AccessRequest:
        """Refuse a request."""
        return self._server.post(AccessRequest, f"{_ADDRESS}/{request_id}/refuse", {"reason": reason})

    def withdraw_access_request(self, request_id: UUID, reason: str = "") -> AccessRequest:
        """Take back one's own request."""
        return self._server.post(AccessRequest, f"{_ADDRESS}/{request_id}/withdraw", {"reason": reason})

    def add_approver(self, tags: str, approver: str) -> ApprovalRule:
        """Have somebody approve requests for what has certain policy tags."""
        return self._server.post(ApprovalRule, _RULES, {"tags": tags, "approver": approver})

    def remove_approver(self, tags: str, approver: str) -> None:
        """Remove an approval rule."""
        self._server.request("DELETE", _RULES, parameters={"tags": tags, "approver": approver})

    def approvers(self) -> list[ApprovalRule]:
        """Return the approval rules."""
        return self._server.get(Page[ApprovalRule], _RULES).items
