"""Counts in sentences."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun, and the verb if need be: ``1 row``, ``1,024 rows``, ``1 event waits``.

    Args:
        count: How many.
        one: What follows the number 1.
        many: What follows any other; ``one`` and an s where not given.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
