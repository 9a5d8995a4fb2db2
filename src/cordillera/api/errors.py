"""Answering with errors, always in one shape."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cordillera.api.iceberg_rest.errors import PREFIX as ICEBERG
from cordillera.api.iceberg_rest.errors import headers_of, iceberg_error, is_commit
from cordillera.codec import error_to_plain
from cordillera.context import current
from cordillera.errors import (
    AccessDeniedError,
    CordilleraError,
    InvalidInputError,
    NotFoundError,
    RequestTooLargeError,
)
from cordillera.metrics import ERRORS

_log = structlog.get_logger(__name__)
_MOST_PROBLEMS = 20


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="Stable name of the kind of error.", examples=["dataset_not_found"])
    message: str = Field(description="What happened, naming the object.")
    hint: str = Field(description="What to do next; may be empty.")
    details: dict[str, Any] = Field(description="Facts for programs.")
    trace_id: str = Field(description="Finds the request in the server's log and in the audit log.")


class ErrorAnswer(BaseModel):
    """The shape of every error."""

    error: ErrorDetail


class AnswerBrokenOff(Exception):  # noqa: N818 - it is not what went wrong, but what the server has to do about it
    """What makes an answer that has begun impossible to complete; logged already.

    It has to leave the application: then the server closes the connection before the answer's end, and no client takes
    what it got for the whole.
    """


class BodyRefused(HTTPException):
    """What is wrong with a body, found while it was read: FastAPI lets only ``HTTPException`` out of there."""

    def __init__(self, error: CordilleraError) -> None:
        super().__init__(status_code=error.status)
        self.error = error


def too_large(most_bytes: int) -> RequestTooLargeError:
    """Return the error for a body of more than so many bytes."""
    return RequestTooLargeError(
        f"The request's body is larger than {most_bytes / 1_000_000:,.1f} MB.",
        hint="Write in several parts, or raise the setting max_request_mb.",
        details={"most_bytes": most_bytes},
    )


def install_error_handlers(server: FastAPI) -> None:
    """Make every error of a server come in the one shape."""
    server.add_exception_handler(CordilleraError, _on_cordillera_error)
    server.add_exception_handler(RequestValidationError, _on_validation_error)
    server.add_exception_handler(HTTPException, _on_http_exception)


def error_response(error: CordilleraError, *, status: int | None = None, code: str = "") -> Response:
    """Return the answer for an error, and count and log it.

    Args:
        error: What went wrong.
        status: The HTTP status; by default that of the error's class.
        code: The stable name; by default that of the error's class.
    """
    status, code = status or error.status, code or error.code
    ERRORS.labels(code).inc()
    level = _log.error if status >= 500 else _log.info
    level("request refused", code=code, status=status, error=error.message)
    return JSONResponse(error_to_plain(error, current().trace_id, code), status, headers_of(error))


def internal_error(request: Request) -> Response:
    """Return the answer for a bug: it tells nothing but where to look."""
    error = CordilleraError(
        "The server failed to answer because of an error of its own.",
        hint="Its log has the details under the trace id.",
    )
    return answer_to(request, error, code="internal")


def answer_to(request: Request, error: CordilleraError, *, status: int | None = None, code: str = "") -> Response:
    """Return the answer for an error in the shape that the caller understands; see ``error_response``."""
    path = request.url.path
    if path.startswith(ICEBERG):
        return iceberg_error(error, status=status, commits=is_commit(request.method, path))
    return error_response(error, status=status, code=code)


async def _on_cordillera_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CordilleraError), "registered for nothing else"
    if isinstance(error, AccessDeniedError) and "privilege" in error.details:
        await run_in_threadpool(request.app.state.lake.grants.note_denied, error)
    return answer_to(request, error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for nothing else"
    problems = [
        {"field": ".".join(map(str, found["loc"])), "problem": str(found["msg"])}
        for found in error.errors()[:_MOST_PROBLEMS]
    ]
    named = "; ".join(f"{problem['field']}: {problem['problem']}" for problem in problems)
    return answer_to(
        request,
        InvalidInputError(
            f"The request does not fit: {named}.",
            hint="The API is described under /api/v1/openapi.json.",
            details={"fields": problems},
        ),
    )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for nothing else"
    if isinstance(error, BodyRefused):
        return answer_to(request, error.error)
    path = request.url.path[:200]
    match error.status_code:
        case 404:
            return answer_to(request, NotFoundError(f"There is nothing at {path}.", hint="See /api/v1/openapi.json."))
        case 405:
            allowed = (error.headers or {}).get("Allow", "")
            explained = CordilleraError(f"{request.method} is not possible at {path}.", hint=f"Possible: {allowed}.")
            response = answer_to(request, explained, status=405, code="method_not_allowed")
            response.headers["Allow"] = allowed
            return response
        case status if status < 500:
            return answer_to(request, InvalidInputError(f"{error.detail}."), status=status)
        case _:
            return internal_error(request)
