"""Values out of decoded JSON, of which nothing is known yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_INTEGERS = range(-(2**63), 2**63)


def whole(value: Any) -> int:
    """Return a whole number.

    Raises:
        TypeError, ValueError: If it is none, or does not fit into 64 bits.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{str(value)[:40]!r} is no whole number")
    if value not in _INTEGERS:
        raise ValueError(f"{str(value)[:40]} does not fit into 64 bits")
    return value


def text(value: Any) -> str:
    """Return a text.

    Raises:
        TypeError, ValueError: If it is none, or has halves of characters, which JSON allows and nothing can store.
    """
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    value.encode()
    return value


def texts(values: Mapping[Any, Any]) -> dict[str, str]:
    """Return texts by names.

    Raises:
        TypeError, ValueError: If a name or a value is none.
    """
    return {text(name): text(value) for name, value in values.items()}
