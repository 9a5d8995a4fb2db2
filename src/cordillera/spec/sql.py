"""SQL text: reading what people write, and writing quoted identifiers and lists for the query engine."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError

EVERY_ROW = "true"
"""The condition that every row satisfies."""


def parsed(text: str, dialect: str) -> list[exp.Expr]:
    """Return the statements of a text that people wrote.

    Raises:
        SqlglotError: If it cannot be read, is nested too deeply to be read, or is no text.
    """
    if not is_text(text):
        raise ParseError("it has halves of characters, which are no text.")
    try:
        return [statement for statement in sqlglot.parse(text, read=dialect) if statement is not None]
    except RecursionError:
        raise ParseError("it is nested too deeply.") from None


def parsed_one(text: str, dialect: str) -> exp.Expr:
    """Return the first statement of a text.

    Raises:
        SqlglotError: As of ``parsed``, and if there is none.
    """
    found = parsed(text, dialect)
    if not found:
        raise ParseError("it is empty.")
    return found[0]


def is_text(text: str) -> bool:
    """Tell whether a text can be stored: halves of characters, out of JSON or bytes that are no UTF-8, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def quote(identifier: str) -> str:
    """Return an identifier quoted for DuckDB (and any SQL engine that follows the standard)."""
    return '"' + identifier.replace('"', '""') + '"'


def columns(names: Iterable[str], prefix: str = "") -> str:
    """Return names as a quoted, comma-separated list, each with ``prefix.`` where one is given."""
    dot = f"{prefix}." if prefix else ""
    return ", ".join(f"{dot}{quote(name)}" for name in names)


def equal(names: Iterable[str], left: str, right: str) -> str:
    """Return the condition that two relations agree on all of these columns."""
    return " AND ".join(f"{left}.{quote(name)} = {right}.{quote(name)}" for name in names)


def sort_terms(names: Iterable[str], schema: pa.Schema, prefix: str = "") -> str:
    """Return columns as terms to sort or to partition a window by.

    DuckDB gives back a sort key in the place of the column it sorts by, and in a sort key ``-0.0`` has become
    ``0.0``. Computing with a float keeps key and column apart, and the column its sign.
    """
    return ", ".join(
        f"{columns([name], prefix)} + 0.0" if pa.types.is_floating(schema.field(name).type) else columns([name], prefix)
        for name in names
    )


def moment(value: int | str | date | Decimal) -> str:
    """Return a value of a sequence column as a literal."""
    if isinstance(value, datetime):
        kind = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
        return f"{kind} {literal(value.isoformat(sep=' '))}"
    if isinstance(value, date):
        return f"DATE {literal(value.isoformat())}"
    return literal(value) if isinstance(value, str) else str(value)


def literal(text: str) -> str:
    """Return text as a string literal."""
    return "'" + text.replace("'", "''") + "'"


def where(*conditions: str) -> str:
    """Return the clause for rows that satisfy all conditions; empty ones say nothing."""
    told = " AND ".join(filter(None, conditions))
    return f" WHERE {told}" if told else ""
