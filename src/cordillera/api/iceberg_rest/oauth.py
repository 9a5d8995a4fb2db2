"""Access tokens for engines that have client credentials: an API token's id or name, and its secret (RFC 6749)."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Any, Literal
from urllib.parse import unquote_plus

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from cordillera.api.auth import address_of
from cordillera.api.iceberg_rest.errors import ICEBERG_ERRORS, PREFIX
from cordillera.api.iceberg_rest.parameters import Lake
from cordillera.errors import AuthenticationError

router = APIRouter(prefix=PREFIX, tags=["iceberg"])

_CREDENTIALS = "client_credentials"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type's name
_OF_OTHERS = tuple(f"urn:ietf:params:oauth:token-type:{kind}" for kind in ("jwt", "id_token"))
_LONGEST = 10_000

_Text = Annotated[str, Form(max_length=_LONGEST)]
_Problem = Literal["invalid_request", "invalid_client", "invalid_grant", "unsupported_grant_type"]


class IssuedToken(BaseModel):
    """An access token."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int = Field(description="Seconds.")
    issued_token_type: str


class OAuthError(BaseModel):
    """Why there is no access token."""

    error: _Problem
    error_description: str


_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": OAuthError, "description": "The request asks for nothing that there is."},
    401: {"model": OAuthError, "description": "The client is not known."},
    "default": ICEBERG_ERRORS["default"],
}


@router.post("/oauth/tokens", summary="Get an access token", response_model=IssuedToken, responses=_ERRORS)
def issue_token(
    request: Request,
    lake: Lake,
    grant_type: _Text = "",
    client_id: _Text = "",
    client_secret: _Text = "",
    subject_token: _Text = "",
    subject_token_type: _Text = "",
    actor_token: _Text = "",
) -> Response:
    """Exchange client credentials for an access token, an access token for one that is valid for longer, or the token
    of a program elsewhere (`subject_token_type` `urn:ietf:params:oauth:token-type:jwt`), whose issuer the lake trusts.

    The client id is the id or the name of an API token, the client secret its secret. They may come in a header
    `Authorization: Basic` instead. Revoking the API token ends its access tokens at once.
    """
    sign_ins = request.app.state.access_rules.sign_ins
    try:
        if grant_type == _CREDENTIALS:
            given = _basic(request) or (client_id, client_secret)
            if not all(given):
                return _refused("invalid_request", "There is no client_id or no client_secret.")
            with sign_ins.attempt(address_of(request), given[1]):
                issued = lake.access.issue(*given)
        elif grant_type == _EXCHANGE and subject_token and not actor_token:
            with sign_ins.attempt(address_of(request), subject_token):
                elsewhere = subject_token_type in _OF_OTHERS
                issued = (lake.workloads.exchange if elsewhere else lake.access.renew)(subject_token)
        elif grant_type == _EXCHANGE:
            return _refused("invalid_request", "Only a subject_token is exchanged, for one that is valid for longer.")
        elif grant_type:
            return _refused("unsupported_grant_type", f"Known are {_CREDENTIALS} and {_EXCHANGE}.")
        else:
            return _refused("invalid_request", "The form has no grant_type.")
    except AuthenticationError as error:
        return _refused("invalid_client" if grant_type == _CREDENTIALS else "invalid_grant", error.message)
    answer = {
        "access_token": issued.secret,
        "token_type": "bearer",
        "expires_in": issued.expires_in,
        "issued_token_type": _ACCESS_TOKEN,
    }
    return JSONResponse(answer)


def _basic(request: Request) -> tuple[str, str] | None:
    """Return the credentials of the header Authorization, if it has some."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(name), unquote_plus(secret)


def _refused(problem: _Problem, description: str) -> Response:
    known = problem != "invalid_client"
    headers = {} if known else {"WWW-Authenticate": 'Basic realm="cordillera"'}
    return JSONResponse({"error": problem, "error_description": description}, 400 if known else 401, headers)
