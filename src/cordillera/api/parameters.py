"""What the API's routes take: the lake, and parameters that many of them share."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Header, Path, Query, Request
from pydantic import AfterValidator, StringConstraints

from cordillera.api.errors import ErrorAnswer
from cordillera.client.backend import LakeBackend
from cordillera.errors import InvalidInputError

LARGEST_NUMBER = 2**63 - 1


async def _backend(request: Request) -> LakeBackend:
    backend: LakeBackend = request.app.state.backend
    return backend


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("it must not contain the NUL character, which databases cannot store")
    return text


Backend = Annotated[LakeBackend, Depends(_backend)]

Text = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_without_nul)]
"""Text of a reasonable length."""
LongText = Annotated[str, StringConstraints(max_length=1_000_000), AfterValidator(_without_nul)]
"""SQL."""

Name = Annotated[
    Text, Path(description="A dataset as `namespace.dataset`, or one dataset version as `namespace.dataset_v2`.")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items on the page.")]
After = Annotated[Text, Query(description="The `next` of the page before; empty for the first page.")]
Number = Annotated[int, Path(ge=0, le=LARGEST_NUMBER)]
BeforeNumber = Annotated[
    int | None, Query(ge=0, le=LARGEST_NUMBER, description="The `next` of the page before; leave out for the first.")
]


async def _idempotency_key(
    given: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=1000,
            pattern="^[ -~]*$",
            description="Repeating a request under the same key has no further effect. Percent-encoded where needed.",
        ),
    ] = None,
) -> str | None:
    key = None if given is None else unquote(given)
    if key is not None and "\x00" in key:
        raise InvalidInputError("An idempotency key must not contain the NUL character.")
    return key


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
Condition = Annotated[LongText | None, Query(description="SQL condition on rows, for example `origin = 'JFK'`.")]
Branch = Annotated[Text, Query(description="A branch of the dataset.")]
AsOfText = Annotated[
    Text | None,
    Query(
        description="A snapshot's sequence number, a time in ISO 8601, a date (the end of that day in UTC), a branch "
        "or a tag; now if it is left out.",
    ),
]


def _error(description: str) -> dict[str, Any]:
    return {"model": ErrorAnswer, "description": description}


ERRORS: dict[int | str, dict[str, Any]] = {
    400: _error("The request does not make sense as given."),
    401: _error("The token is missing or not valid."),
    404: _error("The named object does not exist."),
    409: _error("The state of the object does not allow it, or somebody else was faster."),
    "default": _error("Any other error, in the same shape."),
}
"""The error responses of every route, for the API's description."""
