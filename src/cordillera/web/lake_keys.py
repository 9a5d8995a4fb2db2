"""The page of the lake's own keys: which sign, which still hold, and letting others take their place."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cordillera.client.backend import LakeBackend
from cordillera.errors import CommitConflictError, CordilleraError, InvalidInputError, NotAllowedError, NotFoundError
from cordillera.spec.lake_key import MOST_KEEP_HOURS, KeyPurpose, KeyState
from cordillera.web.forms import number_of, problem_of
from cordillera.web.links import link
from cordillera.web.paging import slice_of, uuid_or_none
from cordillera.web.rendering import Page, PageRouter, backend_of

_ADDRESS = "/lake/keys"
_KEEP_HOURS = 24
_REFUSED = (CommitConflictError, InvalidInputError, NotAllowedError)
_STAYS = frozenset({KeyPurpose.HASHES})
"""Purposes whose key gives way to no other; see ``cordillera.spec.lake_key.check_rotation``."""

router = PageRouter()


@router.page(_ADDRESS)
def lake_keys(request: Request, after: str = "") -> Page:
    """Show the lake's own keys, without their secrets."""
    return _show(backend_of(request), after)


@router.page(f"{_ADDRESS}/rotate", methods=("POST",))
def rotate(
    request: Request, purpose: Annotated[str, Form()] = "", keep_hours: Annotated[str, Form()] = ""
) -> Page | Response:
    """Let another key sign for a purpose."""
    lake = backend_of(request)
    try:
        hours = number_of(keep_hours, "hours")
        lake.rotate_lake_key(purpose, keep_hours=_KEEP_HOURS if hours is None else hours)
    except _REFUSED as error:
        return _show(lake, problem=error)
    return RedirectResponse(link(_ADDRESS), 303)


@router.page(f"{_ADDRESS}/{{key_id}}/retire", methods=("POST",))
def retire(request: Request, key_id: str) -> Page | Response:
    """Let nothing hold any more that a key has signed."""
    lake = backend_of(request)
    try:
        lake.retire_lake_key(_id(key_id))
    except _REFUSED as error:
        return _show(lake, problem=error)
    return RedirectResponse(link(_ADDRESS), 303)


def _show(lake: LakeBackend, after: str = "", problem: CordilleraError | None = None) -> Page:
    behind = uuid_or_none(after)
    data = {
        "keys": slice_of(lambda limit: lake.lake_keys(behind, limit), lambda key: key.id),
        "retiring": KeyState.RETIRING,
        "purposes": [one for one in KeyPurpose if one not in _STAYS],
        "keep_hours": _KEEP_HOURS,
        "most_keep_hours": MOST_KEEP_HOURS,
        "problem": problem_of(problem),
    }
    return Page("The lake's keys", "lake_keys.html", data, problem.status if problem else 200, section="health")


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFoundError(f"The lake has no key {text[:60]!r}.", hint="Look for it in the list of keys.") from None
