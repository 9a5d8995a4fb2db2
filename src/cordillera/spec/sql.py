"""Writing SQL text for the query engine: quoted identifiers and the lists that statements are made of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa

EVERY_ROW = "true"
"""The condition that every row satisfies."""


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
