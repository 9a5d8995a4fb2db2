"""What the routes of the Iceberg REST catalog share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Query, Request
from pydantic import BaseModel

from cordillera.api.parameters import Text
from cordillera.app import Application
from cordillera.errors import InvalidNameError

_T = TypeVar("_T")
_PAGE = 1000


async def _lake(request: Request) -> Application:
    lake: Application = request.app.state.lake
    return lake


async def _body(request: Request) -> bytes:
    return await request.body()


Lake = Annotated[Application, Depends(_lake)]
Body = Annotated[bytes, Depends(_body)]
"""The request's body as it came."""
LEVEL_SEPARATOR = "\x1f"


def levels_of(namespace: str) -> list[str]:
    """Return a namespace's name as the specification has it: each level by itself."""
    return namespace.split(".")


def namespace_of(levels: Sequence[str]) -> str:
    """Return the name of a namespace here.

    Raises:
        InvalidNameError: If a level has a dot, or there is none: what is meant would not be clear.
    """
    if not levels or any(not level or "." in level for level in levels):
        raise InvalidNameError(
            f"{list(levels)!r:.200} names no namespace.", hint="Name each of its levels, without dots."
        )
    return ".".join(levels)


def _namespace(
    namespace: Annotated[Text, Path(description="A namespace; its levels are separated by the character 0x1F.")],
) -> str:
    return namespace_of(namespace.split(LEVEL_SEPARATOR))


NamespaceName = Annotated[str, Depends(_namespace)]
TableName = Annotated[Text, Path(description="A dataset, or one dataset version as `orders_v2`.")]
ViewName = Annotated[Text, Path(description="A view.")]
PageToken = Annotated[Text | None, Query(alias="pageToken", description="Empty for the first page.")]
PageSize = Annotated[int, Query(alias="pageSize", ge=1, le=_PAGE)]


class Identifier(BaseModel):
    """A table's or view's name."""

    namespace: list[Text]
    name: Text

    @property
    def dotted(self) -> str:
        """The name as datasets have it."""
        return f"{namespace_of(self.namespace)}.{self.name}"


class Renaming(BaseModel):
    """What a table or view is called, and what it is to be called."""

    source: Identifier
    destination: Identifier


def listed(
    load: Callable[[str, int], Sequence[_T]], cursor: Callable[[_T], str], token: str | None, size: int
) -> tuple[list[_T], str | None]:
    """Return a page and the token of the next one; everything to a client that asks for no pages.

    Args:
        load: Returns a page of so many items behind a cursor.
        cursor: The cursor of an item.
        token: The client's token; None if it asks for no pages.
        size: Most items on a page.
    """
    if token is not None:
        page = list(load(token, size))
        return page, cursor(page[-1]) if len(page) == size else None
    items: list[_T] = []
    while page := list(load(cursor(items[-1]) if items else "", _PAGE)):
        items += page
        if len(page) < _PAGE:
            break
    return items, None


def with_token(answer: dict[str, Any], token: str | None) -> dict[str, Any]:
    """Return an answer with the token of the next page, if there is one."""
    return answer if token is None else {**answer, "next-page-token": token}
