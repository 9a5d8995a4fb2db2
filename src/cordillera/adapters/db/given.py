"""Lists that a statement is given as a table: it is the same statement, and one, however many it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cordillera.adapters.db.types import Json


def each(name: str, *, is_postgres: bool) -> sa.ColumnElement[Any]:
    """Return the elements of a parameter as a column of a table of their own.

    Args:
        name: The parameter: a list of what JSON has.
        is_postgres: Whether it is for PostgreSQL; else for SQLite.
    """
    elements = sa.func.jsonb_array_elements if is_postgres else sa.func.json_each
    column: sa.ColumnElement[Any] = elements(sa.bindparam(name, type_=Json)).table_valued("value").c.value
    return column


def given(name: str, kinds: Sequence[sa.types.TypeEngine[Any]], *, is_postgres: bool) -> sa.Subquery:
    """Return the rows of a parameter as a table with columns ``one``, ``two`` …

    Args:
        name: The parameter: a list of rows, each a list of values that JSON has.
        kinds: The types of the columns.
        is_postgres: Whether it is for PostgreSQL; else for SQLite.
    """
    row = each(name, is_postgres=is_postgres)
    values = (
        row.op("->>")(sa.literal_column(str(place)))
        if is_postgres
        else sa.func.json_extract(row, sa.literal_column(f"'$[{place}]'"))
        for place in range(len(kinds))
    )
    names = ("one", "two", "three", "four")
    columns = (sa.cast(value, kind).label(name) for value, kind, name in zip(values, kinds, names, strict=False))
    return sa.select(*columns).subquery()
