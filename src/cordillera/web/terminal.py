"""Letting a terminal act in one's name; see ``cordillera.access.terminal``."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Form
from starlette.requests import Request

from cordillera.access.terminal import TerminalService
from cordillera.api.auth import COOKIE
from cordillera.errors import InvalidInputError, NotAllowedError
from cordillera.spec.proof_key import is_challenge
from cordillera.web.rendering import Page, PageRouter

_STATE = re.compile(r"[A-Za-z0-9_-]{16,100}")
_LEAST_PORT, _MOST_PORT = 1024, 65535

router = PageRouter()


@router.page("/login/terminal")
def ask(request: Request, challenge: str = "", state: str = "", port: str = "") -> Page:
    """Ask whether a terminal may act in one's name."""
    _session_of(request)
    _return_address(challenge, state, port)
    hours = request.app.state.lake.settings.oidc_session_hours
    asked = {"challenge": challenge, "state": state, "port": port, "hours": hours}
    return Page("Let a terminal in", "terminal.html", asked)


@router.page("/login/terminal", methods=("POST",))
def allow(
    request: Request,
    challenge: Annotated[str, Form()] = "",
    state: Annotated[str, Form()] = "",
    port: Annotated[str, Form()] = "",
) -> Page:
    """Give the terminal a code: by leading the browser there, or by showing it."""
    address = _return_address(challenge, state, port)
    terminals: TerminalService = request.app.state.lake.terminals
    code = terminals.allow(_session_of(request), challenge)
    back = f"{address}?{urlencode({'code': code, 'state': state})}" if address else ""
    return Page("The terminal is let in", "terminal_allowed.html", {"code": code, "back": back})


def _session_of(request: Request) -> str:
    """Return the token in somebody's browser."""
    secret = request.cookies.get(COOKIE)
    if not secret:
        raise NotAllowedError(
            "Nobody is logged in here, so there is nobody in whose name a terminal could act.",
            hint="A server with --insecure-local lets this machine's terminals in without a login.",
        )
    return secret


def _return_address(challenge: str, state: str, port: str) -> str:
    """Return where the browser brings the code: a port of its own machine, or nowhere.

    Raises:
        InvalidInputError: If the terminal cannot have asked so.
    """
    wanted = int(port) if port.isdecimal() and len(port) < 6 else 0
    back = _LEAST_PORT <= wanted <= _MOST_PORT and _STATE.fullmatch(state) is not None
    if not is_challenge(challenge) or not (back or (not port and not state)):
        raise InvalidInputError("The terminal's request is damaged.", hint="Begin again with: cordillera login.")
    return f"http://127.0.0.1:{wanted}/" if back else ""
