"""Errors as the Iceberg REST specification has them ("IcebergErrorResponse")."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from cordillera.catalog.commits import REFUSALS
from cordillera.context import current
from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    AuthenticationError,
    CommitConflictError,
    ContractViolationError,
    CordilleraError,
    DatasetNotFoundError,
    DatasetVersionNotFoundError,
    LeaseLostError,
    NamespaceNotFoundError,
    NotEmptyError,
    NotFoundError,
    RateLimitedError,
    RequestTooLargeError,
    TransientError,
    UnsupportedEncodingError,
    ViewNotFoundError,
    WaitTimeoutError,
)
from cordillera.metrics import ERRORS

PREFIX = "/iceberg/v1"


class IcebergError(BaseModel):
    """What went wrong."""

    message: str
    type: str = Field(description="Iceberg's name for the kind of error.", examples=["NoSuchTableException"])
    code: int = Field(description="The HTTP status.")
    stack: list[str]


class IcebergErrorAnswer(BaseModel):
    """The shape of every error."""

    error: IcebergError


ICEBERG_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": IcebergErrorAnswer, "description": "The request cannot be met as given; repeating it is of no use."},
    401: {"model": IcebergErrorAnswer, "description": "The token is missing or not valid."},
    404: {"model": IcebergErrorAnswer, "description": "The namespace, table or view does not exist."},
    409: {"model": IcebergErrorAnswer, "description": "It exists already, or somebody else committed first."},
    "default": {"model": IcebergErrorAnswer, "description": "Any other error; after a commit, its outcome is unknown."},
}
"""The error responses of every route, for the API's description."""

_KINDS: tuple[tuple[type[CordilleraError], int, str], ...] = (
    (NamespaceNotFoundError, 404, "NoSuchNamespaceException"),
    (DatasetNotFoundError, 404, "NoSuchTableException"),
    (DatasetVersionNotFoundError, 404, "NoSuchTableException"),
    (ViewNotFoundError, 404, "NoSuchViewException"),
    (NotFoundError, 404, "NotFoundException"),
    (AlreadyExistsError, 409, "AlreadyExistsException"),
    (NotEmptyError, 409, "NamespaceNotEmptyException"),
    (CommitConflictError, 409, "CommitFailedException"),
    (LeaseLostError, 409, "CommitFailedException"),
    (AuthenticationError, 401, "NotAuthorizedException"),
    (AccessDeniedError, 403, "ForbiddenException"),
    (RequestTooLargeError, 413, "BadRequestException"),
    (UnsupportedEncodingError, 415, "BadRequestException"),
    (RateLimitedError, 429, "TooManyRequestsException"),
    (WaitTimeoutError, 408, "RequestTimeoutException"),
    (TransientError, 503, "ServiceUnavailableException"),
)


def iceberg_error(
    error: CordilleraError, *, status: int | None = None, kind: str | None = None, commits: bool = False
) -> Response:
    """Return the answer for an error, and count it.

    Args:
        error: What went wrong.
        status: The HTTP status, where it does not follow from the error.
        kind: Iceberg's name for the error, where it does not follow.
        commits: Whether the request was a commit. Then an error that does not say for certain that nothing happened
            becomes "state unknown": a client that took it for a refusal would remove the files of a snapshot.
    """
    ERRORS.labels(error.code).inc()
    found, name = next(((number, name) for of, number, name in _KINDS if isinstance(error, of)), (0, ""))
    if not found:
        found, name = (error.status, "InternalServerError") if error.status >= 500 else (400, "BadRequestException")
    if isinstance(error, ContractViolationError) and "candidate" in error.details:
        found, name = 422, "UnprocessableEntityException"  # at 400 engines remove the files, which the candidate needs
    if commits and found >= 500 and not isinstance(error, REFUSALS):
        found, name = 500, "CommitStateUnknownException"
    message = f"{error.message} {error.hint}".strip()
    body = {"error": {"message": message, "type": kind or name, "code": status or found, "stack": []}}
    return JSONResponse(body, status or found, {**headers_of(error), "X-Trace-Id": current().trace_id})


def headers_of(error: CordilleraError) -> dict[str, str]:
    """Return the headers by which the answer for an error says how to go on."""
    if isinstance(error, AuthenticationError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, RateLimitedError):
        return {"Retry-After": str(error.details["retry_after_seconds"])}
    return {}


def is_commit(method: str, path: str) -> bool:
    """Tell whether a request makes a commit."""
    if method != "POST" or path.endswith(("/plan", "/tasks", "/metrics")):
        return False
    return (
        path.endswith(("/transactions/commit", "/register", "/register-view")) or "/tables" in path or "/views" in path
    )
