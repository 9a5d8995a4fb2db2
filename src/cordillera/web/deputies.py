"""The page of deputies: who decides for whom, naming one, and letting him do so no more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Annotated
from uuid import UUID

from fastapi import Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cordillera.client.backend import LakeBackend
from cordillera.context import current
from cordillera.errors import AccessDeniedError, CordilleraError, InvalidInputError, NotAllowedError, NotFoundError
from cordillera.spec.access import whole_principal
from cordillera.spec.deputy import MOST_DAYS, Duty, WantedDeputy, end_after, parse_duties
from cordillera.web.forms import number_of, problem_of
from cordillera.web.links import link
from cordillera.web.paging import slice_of, uuid_or_none
from cordillera.web.rendering import Page, PageRouter, backend_of

_ADDRESS = "/access/deputies"
_DAYS = 14
_REFUSED = (AccessDeniedError, InvalidInputError, NotAllowedError, NotFoundError)

router = PageRouter()


@router.page(_ADDRESS)
def deputies(request: Request, after: str = "") -> Page:
    """Show one's own deputies and those that one is; everybody's to whoever administers the lake."""
    return _show(backend_of(request), after)


@router.page(f"{_ADDRESS}/add", methods=("POST",))
def add(
    request: Request,
    deputy: Annotated[str, Form()] = "",
    owner: Annotated[str, Form()] = "",
    duty: Annotated[Sequence[str], Form()] = (),
    on: Annotated[str, Form()] = "",
    starts: Annotated[str, Form()] = "",
    days: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
) -> Page | Response:
    """Name a deputy; what cannot be comes back with the reason."""
    lake = backend_of(request)
    try:
        if not duty:
            raise InvalidInputError("No duty is ticked.", hint="Tick what the deputy may decide.")
        starts_at = _day(starts.strip()) if starts.strip() else None
        ends_at = end_after(starts_at or datetime.now(UTC), _checked_days(number_of(days, "days")))
        place, why = on.strip() or "lake", reason.strip()
        lake.add_deputy(WantedDeputy(deputy.strip(), ends_at, owner.strip(), parse_duties(duty), place, starts_at, why))
    except _REFUSED as error:
        return _show(lake, problem=error)
    return RedirectResponse(link(_ADDRESS), 303)


@router.page(f"{_ADDRESS}/{{deputy_id}}/end", methods=("POST",))
def end(request: Request, deputy_id: str) -> Page | Response:
    """Let somebody stand in no more."""
    lake = backend_of(request)
    try:
        lake.end_deputy(_id(deputy_id))
    except _REFUSED as error:
        return _show(lake, problem=error)
    return RedirectResponse(link(_ADDRESS), 303)


def _show(lake: LakeBackend, after: str = "", problem: CordilleraError | None = None) -> Page:
    behind, now = uuid_or_none(after), datetime.now(UTC)
    found = slice_of(lambda limit: lake.deputies(after=behind, limit=limit), lambda one: one.id)
    data = {
        "deputies": found,
        "states": [
            "ended" if one.ends_at <= now else "to come" if one.starts_at > now else "acting" for one in found.items
        ],
        "duties": list(Duty),
        "days": _DAYS,
        "most_days": MOST_DAYS,
        "me": whole_principal(current().principal),
        "problem": problem_of(problem),
    }
    return Page("Deputies", "deputies.html", data, problem.status if problem else 200, section="access")


def _day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise InvalidInputError(f"{text[:20]!r} is no day to begin on.", hint="Write it like 2026-01-31.") from None


def _checked_days(days: int | None) -> int:
    length = _DAYS if days is None else days
    if not 1 <= length <= MOST_DAYS:
        raise InvalidInputError(f"Nobody can be a deputy for {length} days.", hint=f"Write 1 to {MOST_DAYS}.")
    return length


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFoundError(f"There is no deputy {text[:60]!r}.", hint="Look for him in the list.") from None
