"""What the pages with forms share."""

from __future__ import annotations

from cordillera.errors import CordilleraError, InvalidInputError


def problem_of(error: CordilleraError | None) -> dict[str, str] | None:
    """Return what a form shows of the error for which it comes back."""
    return {"message": error.message, "hint": error.hint} if error else None


def number_of(text: str, unit: str) -> int | None:
    """Return the number in a field for days, or another unit; None if it was left empty.

    Raises:
        InvalidInputError: If it is no number.
    """
    if not text.strip():
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidInputError(f"{text[:20]!r} is no number of {unit}.", hint="Write a whole number.") from None
