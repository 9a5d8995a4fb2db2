"""Writing SQL text for the query engine: quoted identifiers and the lists that statements are made of."""

from __future__ import annotations

from collections.abc import Iterable


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
