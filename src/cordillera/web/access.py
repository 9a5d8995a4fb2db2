"""The pages of access: asking for it, deciding about it, and why somebody may do what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cordillera.client.backend import LakeBackend
from cordillera.context import current
from cordillera.errors import (
    AccessDeniedError,
    AccessRequestNotFoundError,
    AlreadyExistsError,
    CordilleraError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
)
from cordillera.spec.access import Privilege, SecurableKind, grantable_on, parse_securable, whole_principal
from cordillera.spec.access_explanation import AccessExplanation
from cordillera.spec.access_request import AccessRequest, Approval, RequestState, ends_soon
from cordillera.web.forms import number_of, problem_of
from cordillera.web.links import link
from cordillera.web.paging import slice_of, uuid_or_none
from cordillera.web.rendering import Page, PageRouter, backend_of

_DAYS = 90
_WAITING, _MINE = "waiting", "mine"
_REFUSED = (AccessDeniedError, AlreadyExistsError, InvalidInputError, NotAllowedError, NotFoundError)

router = PageRouter()


@router.page("/access")
def requests(request: Request, show: str = "", state: str = "", on: str = "", before: str = "") -> Page:
    """Show access requests: one's own, and those that one has a say in."""
    lake, behind = backend_of(request), uuid_or_none(before)
    found = slice_of(
        lambda limit: lake.access_requests(
            on=on,
            requester=_me() if show == _MINE else "",
            state=state,
            waiting=show == _WAITING,
            before=behind,
            limit=limit,
        ),
        lambda one: one.id,
    )
    now = datetime.now(UTC)
    data = {
        "filters": {"show": show, "state": state, "on": on},
        "views": [_WAITING, _MINE],
        "states": list(RequestState),
        "requests": found,
        "ending": [ends_soon(one, now) for one in found.items],
    }
    return Page("Access requests", "access_requests.html", data, section="access")


@router.page("/access/requests/{request_id}")
def access_request(request: Request, request_id: str) -> Page:
    """Show a request: what happened to it, and what can be done about it."""
    return _show(backend_of(request), _id(request_id))


@router.page("/access/requests/{request_id}/approve", methods=("POST",))
def approve(
    request: Request,
    request_id: str,
    privilege: Annotated[Sequence[str], Form()] = (),
    days: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
    row_filter: Annotated[str, Form()] = "",
    masks: Annotated[str, Form()] = "",
) -> Page | Response:
    """Approve a request, or as much of it as the form says."""
    lake, wanted = backend_of(request), _id(request_id)
    try:
        if not privilege:
            raise InvalidInputError("Nothing is ticked to be given.", hint="Tick a privilege, or refuse the request.")
        given = tuple(privilege)
        approval = Approval(given, number_of(days, "days"), reason.strip(), row_filter.strip(), _masks(masks))
        lake.approve_access(wanted, approval)
    except _REFUSED as error:
        return _show(lake, wanted, error)
    return _shown_anew(wanted)


@router.page("/access/requests/{request_id}/refuse", methods=("POST",))
def refuse(request: Request, request_id: str, reason: Annotated[str, Form()] = "") -> Page | Response:
    """Refuse a request."""
    lake, wanted = backend_of(request), _id(request_id)
    try:
        lake.refuse_access(wanted, reason.strip())
    except _REFUSED as error:
        return _show(lake, wanted, error)
    return _shown_anew(wanted)


@router.page("/access/requests/{request_id}/withdraw", methods=("POST",))
def withdraw(request: Request, request_id: str) -> Page | Response:
    """Take back one's own request."""
    lake, wanted = backend_of(request), _id(request_id)
    try:
        lake.withdraw_access_request(wanted)
    except _REFUSED as error:
        return _show(lake, wanted, error)
    return _shown_anew(wanted)


@router.page("/access/ask")
def ask(request: Request, on: str = "", privilege: str = Privilege.READ) -> Page:  # noqa: ARG001 - it comes first
    """Show the form by which access to something is asked for."""
    return _form(on, [privilege])


@router.page("/access/ask", methods=("POST",))
def asked(
    request: Request,
    on: Annotated[str, Form()] = "",
    privilege: Annotated[Sequence[str], Form()] = (),
    purpose: Annotated[str, Form()] = "",
    days: Annotated[str, Form()] = "",
) -> Page | Response:
    """Ask for what the form says; what cannot be asked for comes back with the reason."""
    try:
        length = number_of(days, "days") or _DAYS
        made = backend_of(request).request_access(on.strip(), privilege, purpose=purpose.strip(), days=length)
    except _REFUSED as error:
        return _form(on, privilege, purpose, days, error)
    return _shown_anew(made.id)


@router.page("/access/explain")
def explain(request: Request, principal: str = "", privilege: str = "", on: str = "") -> Page:
    """Show whether somebody may do something, and what decides it."""
    found: AccessExplanation | None = None
    problem: CordilleraError | None = None
    if principal and privilege and on:
        try:
            found = backend_of(request).explain_access(principal.strip(), privilege, on.strip())
        except _REFUSED as error:
            problem = error
    data = {
        "asked": {"principal": principal or _me(), "privilege": privilege or Privilege.READ.value, "on": on},
        "privileges": list(Privilege),
        "explanation": found,
        "problem": problem_of(problem),
    }
    return Page("Why access", "access_explain.html", data, problem.status if problem else 200, section="access")


def ask_form(on: str) -> dict[str, Any]:
    """Return what the form shows by which access to an object is asked for."""
    return {
        "on": on,
        "privileges": askable(on),
        "chosen": [Privilege.READ.value],
        "purpose": "",
        "days": _DAYS,
        "problem": None,
    }


def askable(on: str) -> list[Privilege]:
    """Return the privileges that have a meaning on an object."""
    try:
        return list(grantable_on(parse_securable(on).kind))
    except InvalidInputError:
        return list(Privilege)


def _form(
    on: str,
    chosen: Sequence[str] = (Privilege.READ,),
    purpose: str = "",
    days: str = str(_DAYS),
    problem: CordilleraError | None = None,
) -> Page:
    form = {
        **ask_form(on),
        "chosen": list(chosen),
        "purpose": purpose,
        "days": days,
        "problem": problem_of(problem),
    }
    return Page(
        "Ask for access", "access_ask.html", {"form": form}, problem.status if problem else 200, section="access"
    )


def _show(lake: LakeBackend, wanted: UUID, problem: CordilleraError | None = None) -> Page:
    one, me = lake.access_request(wanted), _me()
    opened = one.state is RequestState.REQUESTED
    data = {
        "request": one,
        "on": one.on,
        "dataset": one.securable_name if one.kind in (SecurableKind.DATASET, SecurableKind.DATASET_VERSION) else "",
        "ends_soon": ends_soon(one, datetime.now(UTC)),
        "steps": [_step(one, place) for place in range(len(one.steps))],
        "row_filter": one.row_filter,
        "masks": {**one.masks, **one.tag_masks},
        "narrowed": (one.granted, one.granted_days) != (one.privileges, one.days),
        "can_decide": opened and one.requester != me,
        "can_withdraw": opened and one.requester == me,
        "can_ask_again": one.requester == me and not opened,
        "problem": problem_of(problem),
    }
    title = f"{one.requester} asks for {one.on}"
    return Page(title, "access_request.html", data, problem.status if problem else 200, section="access")


def _step(request: AccessRequest, place: int) -> dict[str, Any]:
    """Return what the page shows of a step."""
    step = request.steps[place]
    name = step.state.value
    if step.state is RequestState.REQUESTED and step.approves:
        name = "approved in part"
    elif place and step.state is request.steps[place - 1].state and not step.approves:
        name = "narrowed"
    return {"name": name.capitalize(), "level": step.state.value, "by": step.by, "at": step.at, "reason": step.reason,
            "approves": step.approves, "deputy_of": step.deputy_of}  # fmt: skip


def _masks(text: str) -> dict[str, str]:
    """Read masks, ``email=hash``, separated by commas or lines."""
    pairs = [one.rpartition("=") for one in text.replace(",", "\n").splitlines() if one.strip()]
    if any(not column.strip() for column, _, _ in pairs):
        raise InvalidInputError(f"{text[:60]!r} says no masks.", hint="Write, for example, email=hash.")
    return {column.strip(): mask.strip() for column, _, mask in pairs}


def _me() -> str:
    return whole_principal(current().principal)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise AccessRequestNotFoundError(
            f"There is no access request {text[:60]!r}.", hint="Look for it in the list of access requests."
        ) from None


def _shown_anew(request_id: UUID) -> Response:
    return RedirectResponse(link(f"/access/requests/{request_id}"), 303)
