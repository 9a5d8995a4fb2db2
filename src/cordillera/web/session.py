"""Logging in with an API token, and out again."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cordillera.api.auth import COOKIE, AccessRules
from cordillera.api.iceberg_rest.errors import headers_of
from cordillera.errors import AuthenticationError, RateLimitedError
from cordillera.web.links import local_path
from cordillera.web.rendering import Page, PageRouter, render

_COOKIE_SECONDS = 30 * 24 * 3600

router = PageRouter()


@router.page("/login")
def login(request: Request, next: str = "/") -> Page:  # noqa: ARG001 - every page takes the request first
    """Ask for a token."""
    return Page("Log in", "login.html", {"next": local_path(next), "problem": ""})


@router.page("/login", methods=("POST",))
def log_in(
    request: Request,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Page | Response:
    """Keep a valid token in a cookie that scripts cannot read and other sites cannot send."""
    rules: AccessRules = request.app.state.access_rules
    destination, secret = local_path(next), token.strip()
    try:
        rules.authenticate(request, secret)
    except (AuthenticationError, RateLimitedError) as error:
        data = {"next": destination, "problem": f"{error.message} {error.hint}".strip()}
        refused = render(request, Page("Log in", "login.html", data, error.status))
        refused.headers.update(headers_of(error))
        return refused
    answer = RedirectResponse(destination, 303)
    answer.set_cookie(
        COOKIE,
        secret,
        max_age=_COOKIE_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.page("/logout", methods=("POST",))
def log_out(request: Request) -> Response:
    """Forget the token."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer
