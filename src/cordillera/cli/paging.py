"""Going through the pages of a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from cordillera.cli.terminal import announce

_LARGEST_PAGE = 1000
_T = TypeVar("_T")
_C = TypeVar("_C")


def paged(
    fetch: Callable[[_C, int], list[_T]], first: _C, behind: Callable[[_T], _C], *, limit: int, everything: bool
) -> Iterator[_T]:
    """Yield the entries of a paged list, fetching no more pages than needed.

    Args:
        fetch: Returns a page behind a position, of so many entries at most.
        first: The position before the first entry.
        behind: Returns the position behind an entry.
        limit: Most entries; when there are more, that is said on stderr.
        everything: Yield all instead.
    """
    size = _LARGEST_PAGE if everything else min(limit + 1, _LARGEST_PAGE)
    found = _entries(fetch, first, behind, size)
    if everything:
        yield from found
        return
    yield from islice(found, limit)
    if next(found, None) is not None:
        announce(f"There are more than {limit:,}: see more with --limit, or --all.")


def _entries(fetch: Callable[[_C, int], list[_T]], first: _C, behind: Callable[[_T], _C], size: int) -> Iterator[_T]:
    position = first
    while page := fetch(position, size):
        yield from page
        if len(page) < size:
            return
        position = behind(page[-1])
