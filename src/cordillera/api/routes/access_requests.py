"""Access requests, and the rules that say who approves them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cordillera.api.parameters import Backend, Limit, Text
from cordillera.api.routes.access import MASKS_HELP, OBJECT_HELP, PRINCIPAL_HELP, PRIVILEGE_HELP, On, Principal
from cordillera.codec import Page, page
from cordillera.spec.access_request import MOST_DAYS, AccessRequest, Approval, ApprovalRule, RequestState

router = APIRouter(prefix="/access", tags=["access"])
_TAGS = "A tag expression, like `sensitivity = pii`."
_Days = Annotated[int, Field(ge=1, le=MOST_DAYS, description="For how long, counted from the approval.")]
Before = Annotated[UUID | None, Query(description="The `next` of the page before; leave out for the first.")]


class WantedAccess(BaseModel):
    """Privileges that are asked for."""

    on: Text = Field(description=OBJECT_HELP, examples=["sales.orders"])
    privileges: list[Text] = Field(description=PRIVILEGE_HELP, examples=[["read"]], min_length=1, max_length=20)
    purpose: Text = Field(examples=["weekly report"])
    days: _Days = 90


class NewApproval(BaseModel):
    """What of a request is approved."""

    privileges: list[Text] = Field([], description="Which of the privileges; all by default.", max_length=20)
    days: _Days | None = Field(None, description="For how long; for as long as is asked by default.")
    reason: Text = ""
    row_filter: Text = Field(
        "", description="Of read on a dataset: SQL condition on the rows that may be read.", examples=["region = 'EU'"]
    )
    masks: dict[Text, Text] = Field(default_factory=dict, description=MASKS_HELP, examples=[{"email": "hash"}])
    tag_masks: dict[Text, Text] = Field(
        default_factory=dict, description="The same by tag expressions over the policy tags of columns."
    )


class Refusal(BaseModel):
    """Why a request is refused."""

    reason: Text = Field(examples=["Use sales.prices, which has no names in it."])


class Withdrawal(BaseModel):
    """Why a request is withdrawn."""

    reason: Text = ""


class WantedApprover(BaseModel):
    """Somebody who has to approve requests for what has certain policy tags."""

    tags: Text = Field(description=_TAGS, examples=["sensitivity = pii"])
    approver: Text = Field(description=PRINCIPAL_HELP, examples=["group:privacy"])


@router.get("/requests", summary="List access requests")
def list_access_requests(
    backend: Backend,
    on: On = "",
    requester: Principal = "",
    state: Annotated[RequestState | None, Query(description="Only those that stand so.")] = None,
    waiting: Annotated[bool, Query(description="Only those that wait for whoever asks.")] = False,
    before: Before = None,
    limit: Limit = 100,
) -> Page[AccessRequest]:
    """One's own requests, and those that one has a say in, newest first."""
    found = backend.access_requests(
        on=on, requester=requester, state=state or "", waiting=waiting, before=before, limit=limit
    )
    return page(found, limit, lambda one: one.id)


@router.post("/requests", status_code=201, summary="Ask for access")
def request_access(backend: Backend, wanted: WantedAccess) -> AccessRequest:
    """Ask for privileges on an object and what is inside it, for a purpose and a time."""
    return backend.request_access(wanted.on, wanted.privileges, purpose=wanted.purpose, days=wanted.days)


@router.get("/requests/{request_id}", summary="Show an access request")
def get_access_request(backend: Backend, request_id: UUID) -> AccessRequest:
    """A request with what happened to it."""
    return backend.access_request(request_id)


@router.post("/requests/{request_id}/approve", summary="Approve an access request")
def approve_access(backend: Backend, request_id: UUID, wanted: NewApproval) -> AccessRequest:
    """Approve a request, or as much of it as is named. When nobody is left who has to, it is granted."""
    approval = Approval(**{**wanted.model_dump(), "privileges": tuple(wanted.privileges)})
    return backend.approve_access(request_id, approval)


@router.post("/requests/{request_id}/refuse", summary="Refuse an access request")
def refuse_access(backend: Backend, request_id: UUID, refusal: Refusal) -> AccessRequest:
    """Refuse a request, with a reason."""
    return backend.refuse_access(request_id, refusal.reason)


@router.post("/requests/{request_id}/withdraw", summary="Withdraw an access request")
def withdraw_access_request(backend: Backend, request_id: UUID, withdrawal: Withdrawal) -> AccessRequest:
    """Take back one's own request."""
    return backend.withdraw_access_request(request_id, withdrawal.reason)


@router.get("/approvers", summary="List who has to approve")
def list_approvers(backend: Backend) -> Page[ApprovalRule]:
    """Who has to approve requests for what has which policy tags, beside those who administer it."""
    return Page(backend.approvers(), None)


@router.post("/approvers", status_code=201, summary="Add an approver")
def add_approver(backend: Backend, wanted: WantedApprover) -> ApprovalRule:
    """Have somebody approve requests for what has certain policy tags, beside those who administer it."""
    return backend.add_approver(wanted.tags, wanted.approver)


@router.delete("/approvers", status_code=204, summary="Remove an approver")
def remove_approver(
    backend: Backend,
    tags: Annotated[Text, Query(description=_TAGS)],
    approver: Annotated[Text, Query(description=PRINCIPAL_HELP)],
) -> None:
    """Have somebody approve no more what has certain policy tags."""
    backend.remove_approver(tags, approver)
