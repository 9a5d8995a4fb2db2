"""What may be said of errors that others ran into: their texts can quote values of rows."""

from __future__ import annotations

from cordillera.errors import AccessDeniedError, error_code

_QUOTES_NOTHING = error_code(AccessDeniedError)


def told_error(text: str, code: str, *, reads_all: bool, what: str) -> str:
    """Return what somebody may be told of an error.

    Args:
        text: What it says; empty for no error.
        code: Its kind; empty if that is not known.
        reads_all: Whether he may read every row that it could quote.
        what: What those rows are of.
    """
    if not text or reads_all or code == _QUOTES_NOTHING:
        return text
    kind = f" ({code.replace('_', ' ')})" if code else ""
    return f"It failed{kind}. What the error says can quote rows: it is told to those who may read all of {what}."
