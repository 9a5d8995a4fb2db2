"""Values as DuckDB literals, written so that they compare exactly with what is stored."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID


class RefusedSql(ValueError):  # noqa: N818  # caught by the rules, which know the place in the document
    """A fragment that may not run, with the reason."""


def literal(value: Any) -> str:
    """Return a value as a DuckDB literal.

    Raises:
        RefusedSql: If the value is text with a NUL character, which SQL text cannot carry.
    """
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return str(value)
        case float():
            # An exponent makes DuckDB read a double; without one it would read a decimal and round differently.
            text = str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)
            return text if "e" in text or "." not in text else f"{text}e0"
        case Decimal():
            return format(value, "f")
        case datetime(tzinfo=None):
            return f"TIMESTAMP '{value.isoformat(' ')}'"
        case datetime():
            return f"TIMESTAMPTZ '{value.astimezone(UTC).isoformat(' ')}'"
        case date():
            return f"DATE '{value.isoformat()}'"
        case time():
            return f"TIME '{value.isoformat()}'"
        case UUID():
            return f"UUID '{value}'"
        case _:
            return text_literal(str(value))


def text_literal(text: str) -> str:
    """Return text as a SQL string.

    Raises:
        RefusedSql: If it contains a NUL character, which SQL text cannot carry.
    """
    if "\x00" in text:
        raise RefusedSql("text with a NUL character cannot be compared.")
    return "'" + text.replace("'", "''") + "'"
