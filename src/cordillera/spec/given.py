"""What a program gives us: nothing in Python holds it to the types that are asked for."""

from __future__ import annotations

from typing import TypeVar

from cordillera.errors import InvalidInputError

_T = TypeVar("_T")


def given(value: object, kind: type[_T], what: str) -> _T:
    """Return a value that is of the type that is asked for.

    Asked where a value is first taken apart, such as in the parser of a name: whoever gives a number for a name is told
    so, and not that a number has no method.

    Args:
        value: Anything.
        kind: The type.
        what: What the value is, for the message: ``dataset name``.

    Raises:
        InvalidInputError: If it is of another type.
    """
    if not isinstance(value, kind):
        raise InvalidInputError(
            f"The {what} is {value!r:.60}, of type {type(value).__name__}.", hint=f"Give a {kind.__name__}."
        )
    return value


def given_key(key: str | None) -> str | None:
    """Return an idempotency key, or None for none.

    Raises:
        InvalidInputError: If it is no text: a database might take it for another one, or for none.
    """
    return None if key is None else given(key, str, "idempotency key")
