"""The wire format of the HTTP API: how values travel as JSON, the same for the server and the client.

A dataclass of the specification travels as an object with its fields; ``schema_codec`` has what concerns columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from cordillera.errors import (
    AuthenticationError,
    CordilleraError,
    ServerUnreachableError,
    error_classes,
)

API_PREFIX = "/api/v1"
LONGEST_WAIT_SECONDS = 30.0
"""Longest time that one request waits for a completion."""

_T = TypeVar("_T")
_ERRORS = error_classes()


# --- values ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """One page of a list.

    Attributes:
        items: What is on it.
        next: Where the following page begins, to be given as ``after`` or ``before``; null on the last page.
    """

    items: list[_T]
    next: str | None


def page(items: Sequence[_T], limit: int, cursor: Callable[[_T], object]) -> Page[_T]:
    """Return a page that continues behind its last item; one that is not full is the last."""
    return Page(list(items), str(cursor(items[-1])) if items and len(items) >= limit else None)


def decode(kind: type[_T], data: bytes) -> _T:
    """Return the value of a type that JSON describes.

    Raises:
        CordilleraError: If it describes none: the other side speaks another dialect.
    """
    try:
        value: _T = _adapter(cast("Any", kind)).validate_json(data)
        return value
    except ValidationError as error:
        raise CordilleraError(
            f"The server's answer is no {getattr(kind, '__name__', kind)}: {error.errors()[0]['msg']}.",
            hint="Use the same release of Cordillera on both sides.",
        ) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_plain(value: object) -> Any:
    """Return a dataclass, or anything else that JSON can hold, as dicts, lists, strings and numbers."""
    return to_jsonable_python(value)


# --- errors ---------------------------------------------------------------------------------------------------------


def error_to_plain(error: CordilleraError, trace_id: str, code: str = "") -> dict[str, Any]:
    """Return the one shape in which the API answers with an error."""
    details = to_jsonable_python(error.details, fallback=str)
    return {
        "error": {
            "code": code or error.code,
            "message": error.message,
            "hint": error.hint,
            "details": details,
            "trace_id": trace_id,
        }
    }


def error_from_plain(status: int, answer: object) -> CordilleraError:
    """Return the error that an answer of the API describes.

    Args:
        status: The HTTP status.
        answer: The decoded body; of any form, since a proxy may have written it.
    """
    found = answer.get("error") if isinstance(answer, Mapping) else None
    if not isinstance(found, Mapping):
        return _unexplained(status)
    kind = _ERRORS.get(str(found.get("code")), CordilleraError)
    details = found.get("details")
    return kind(
        str(found.get("message", "")),
        hint=str(found.get("hint", "")),
        details={**(details if isinstance(details, Mapping) else {}), "trace_id": found.get("trace_id")},
    )


def _unexplained(status: int) -> CordilleraError:
    hint = "Is this the address of a Cordillera server? Something between here and there may have answered."
    if status == AuthenticationError.status:
        return AuthenticationError("The caller was not recognised.", hint=hint)
    if status in (502, 503, 504):
        return ServerUnreachableError(f"The server could not be reached: something answered {status}.", hint=hint)
    return CordilleraError(f"The answer has the status {status} and no explanation.", hint=hint)
