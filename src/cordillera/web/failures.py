"""Errors as pages, for people; programs keep getting the API's one shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cordillera.codec import API_PREFIX
from cordillera.errors import CordilleraError, InvalidInputError, NotFoundError
from cordillera.web.rendering import failure_page, render, wants_json

Handler = Callable[[Request, Exception], Awaitable[Response]]


def install_failure_pages(server: FastAPI) -> None:
    """Answer a browser's failed requests with a page; every other request as before.

    Call it when the API has installed its handlers: they keep counting and logging the errors.
    """
    for kind in (CordilleraError, RequestValidationError, HTTPException):
        server.add_exception_handler(kind, _with_page(cast(Handler, server.exception_handlers[kind])))


def _with_page(answer: Handler) -> Any:
    async def handle(request: Request, error: Exception) -> Response:
        answered = await answer(request, error)
        if not wants_page(request):
            return answered
        return render(request, failure_page(_explained(request, error), answered.status_code))

    return handle


def wants_page(request: Request) -> bool:
    """Tell whether a person with a browser waits for the answer."""
    path = request.url.path
    return (
        "text/html" in request.headers.get("accept", "") and not path.startswith(API_PREFIX) and not wants_json(request)
    )


def _explained(request: Request, error: Exception) -> CordilleraError:
    if isinstance(error, CordilleraError):
        return error
    path = request.url.path[:200]
    if isinstance(error, HTTPException) and error.status_code == NotFoundError.status:
        return NotFoundError(f"There is no page at {path}.", hint="Search for what you are looking for.")
    if isinstance(error, HTTPException):
        return InvalidInputError(f"{request.method} is not possible at {path}: {error.detail}.")
    return InvalidInputError(f"The request for {path} does not fit this page.", hint="Follow the links of the pages.")
