"""Logging in, with an API token or by an identity provider, and out again."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cordillera.access.sign_in import SignInService
from cordillera.api.auth import COOKIE, AccessRules, address_of
from cordillera.api.iceberg_rest.errors import headers_of
from cordillera.errors import AuthenticationError, CordilleraError, IdentityProviderError, RateLimitedError
from cordillera.web.links import local_path
from cordillera.web.rendering import Page, PageRouter, render

_COOKIE_SECONDS = 30 * 24 * 3600
_BEGUN, _DESTINATION = "cordillera_sign_in", "cordillera_destination"
_BEGUN_SECONDS = 600
_DONE = "/login/done"

router = PageRouter()


@router.page("/login")
def login(request: Request, next: str = "/") -> Page:
    """Ask for a token, or lead to the identity provider."""
    return _form(request, local_path(next))


@router.page("/login", methods=("POST",))
def log_in(
    request: Request,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Keep a valid token in a cookie that scripts cannot read and other sites cannot send."""
    rules: AccessRules = request.app.state.access_rules
    destination, secret = local_path(next), token.strip()
    try:
        rules.authenticate(request, secret)
    except (AuthenticationError, RateLimitedError) as error:
        return _refused(request, destination, error)
    answer = RedirectResponse(destination, 303)
    _keep(request, answer, secret, _COOKIE_SECONDS)
    return answer


@router.page("/login/begin")
def begin(request: Request, next: str = "/") -> Page | Response:
    """Lead to the identity provider.

    What the browser keeps until it comes back is sent with its return from another site, unlike the token's cookie.
    """
    sign_in, destination = _sign_in_of(request), local_path(next)
    if sign_in is None:
        return RedirectResponse("/login", 303)
    try:
        begun = sign_in.begin(_return_address(request))
    except IdentityProviderError as error:
        return _refused(request, destination, error)
    answer = RedirectResponse(begun.url, 303)
    for name, value in ((_BEGUN, begun.state), (_DESTINATION, quote(destination))):
        answer.set_cookie(
            name, value, _BEGUN_SECONDS, path="/login", httponly=True, samesite="lax", secure=_tls(request)
        )
    return answer


@router.page(_DONE)
def done(request: Request, code: str = "", state: str = "", error: str = "", iss: str = "") -> Page | Response:
    """Let somebody in whom the provider has identified.

    The browser is led on by the page, not by a redirection: it would not send the token's cookie with one that began
    at another site.
    """
    sign_in, destination = _sign_in_of(request), local_path(unquote(request.cookies.get(_DESTINATION, "/")))
    if sign_in is None:
        return RedirectResponse("/login", 303)
    rules: AccessRules = request.app.state.access_rules
    try:
        with rules.sign_ins.attempt(address_of(request), state):
            if error or not code:
                raise AuthenticationError(
                    f"The identity provider did not let you in: {error[:60] or 'it gave no code'}.", hint="Begin again."
                )
            if iss not in ("", sign_in.issuer):
                raise AuthenticationError("Another identity provider answered than was asked.", hint="Begin again.")
            made = sign_in.complete(code, state, request.cookies.get(_BEGUN, ""), _return_address(request))
    except (AuthenticationError, IdentityProviderError, RateLimitedError) as problem:
        return _refused(request, destination, problem)
    answer = render(request, Page("Logged in", "logged_in.html", {"next": destination}))
    assert made.token.expires_at is not None, "sessions end"
    _keep(request, answer, made.secret, int((made.token.expires_at - made.token.created_at).total_seconds()))
    _forget_begun(request, answer)
    return answer


@router.page("/logout", methods=("POST",))
def log_out(request: Request) -> Response:
    """Forget the token, and end the session if it is one."""
    if secret := request.cookies.get(COOKIE):
        request.app.state.lake.access.end_session(secret)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_tls(request))
    return answer


def _form(request: Request, destination: str, problem: str = "", status: int = 200) -> Page:
    sign_in = _sign_in_of(request)
    data = {"next": destination, "problem": problem, "issuer": sign_in.issuer if sign_in else ""}
    return Page("Log in", "login.html", data, status)


def _refused(request: Request, destination: str, error: CordilleraError) -> Response:
    """Return the form once more, with what went wrong; a sign-in that failed cannot be completed any more."""
    answer = render(request, _form(request, destination, f"{error.message} {error.hint}".strip(), error.status))
    answer.headers.update(headers_of(error))
    _forget_begun(request, answer)
    return answer


def _keep(request: Request, answer: Response, secret: str, seconds: int) -> None:
    answer.set_cookie(COOKIE, secret, max_age=seconds, httponly=True, samesite="strict", secure=_tls(request))


def _forget_begun(request: Request, answer: Response) -> None:
    for name in (_BEGUN, _DESTINATION):
        if name in request.cookies:
            answer.delete_cookie(name, path="/login", httponly=True, samesite="lax", secure=_tls(request))


def _sign_in_of(request: Request) -> SignInService | None:
    service: SignInService | None = request.app.state.lake.sign_in
    return service


def _return_address(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{_DONE}"


def _tls(request: Request) -> bool:
    return request.url.scheme == "https"
