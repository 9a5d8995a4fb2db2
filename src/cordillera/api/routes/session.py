"""The caller's own session: who he is, and how a terminal logs in and out."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from cordillera.access.service import NewToken
from cordillera.api.auth import Caller, address_of, secret_of
from cordillera.api.parameters import Backend, Text
from cordillera.spec.access_explanation import WhoAmI

router = APIRouter(prefix="/session", tags=["tokens"])


class Redemption(BaseModel):
    """What a terminal gives for a session."""

    code: Text = Field(description="What the browser was given at `/login/terminal`.")
    verifier: Text = Field(description="What the terminal alone knows; its SHA-256 was the page's `challenge`.")


@router.get("", summary="Tell who is calling")
def show_session(backend: Backend, request: Request) -> WhoAmI:
    """The caller, the groups and roles he is in, and until when his token is valid."""
    caller: Caller = request.state.caller
    return replace(backend.whoami(), expires_at=caller.expires_at)


@router.post("/end", status_code=204, summary="End the session")
def end_session(request: Request) -> None:
    """Make the token useless that the request carries, if it is that of a browser's or a terminal's session."""
    secret = secret_of(request)
    if secret is not None:
        request.app.state.lake.access.end_session(secret)


@router.post("/code", status_code=201, summary="Get a session for a code")
def redeem_code(request: Request, wanted: Redemption) -> NewToken:
    """Exchange the code that somebody's browser was given for a session in his name. It takes no token."""
    rules = request.app.state.access_rules
    with rules.sign_ins.attempt(address_of(request), wanted.code):
        made: NewToken = request.app.state.lake.terminals.redeem(wanted.code, wanted.verifier)
    return replace(made, token=replace(made.token, hash="", previous_hash=None))
