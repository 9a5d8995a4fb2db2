"""What a program gives us: nothing in Python holds it to the types that are asked for."""

from __future__ import annotations

from typing import TypeVar

from cordillera.errors import InvalidInputError

_T = TypeVar("_T")


def of_type(value: object, kind: type[_T], what: str) -> _T:
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


def check_idempotency_key(key: str | None) -> None:
    """Refuse an idempotency key that is no text: a database might take it for another one, or for none.

    Raises:
        InvalidInputError: If it is neither that nor None.
    """
    if key is not None:
        of_type(key, str, "idempotency key")
