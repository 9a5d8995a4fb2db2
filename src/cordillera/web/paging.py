"""Lists in pages, continued behind their last item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from cordillera.errors import AccessDeniedError, InvalidInputError

PAGE_LENGTH = 50

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Slice(Generic[_T]):
    """One page of a list.

    Attributes:
        items: What is on it.
        next: Where the following page begins; empty on the last page.
    """

    items: tuple[_T, ...]
    next: str


def slice_of(
    fetch: Callable[[int], Sequence[_T]], cursor: Callable[[_T], object], length: int = PAGE_LENGTH
) -> Slice[_T]:
    """Return a page of a list, asking for one item more to see whether it goes on.

    Args:
        fetch: Returns at most so many items.
        cursor: Returns what a following page begins behind.
        length: Most items on the page.
    """
    found = fetch(length + 1)
    items = tuple(found[:length])
    return Slice(items, str(cursor(items[-1])) if len(found) > length else "")


def if_allowed(load: Callable[[], list[_T]]) -> list[_T]:
    """Return what a part of a page shows; nothing to who may see the rest of it only."""
    try:
        return load()
    except AccessDeniedError:
        return []


def number_or_none(text: str) -> int | None:
    """Read a numeric place in a list from a URL; none where the list begins."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidInputError(f"{text[:40]!r} is not a place in this list.", hint="Follow the links of the list.")
    return int(text)


def uuid_or_none(text: str) -> UUID | None:
    """Read an id from a URL; none where it is empty."""
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInputError(f"{text[:40]!r} is not an id.", hint="Follow the links of the list.") from None
