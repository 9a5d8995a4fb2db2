"""Rows as values: the one place that knows how a table's columns and a dataclass's fields belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.session import Session

T = TypeVar("T")
S = TypeVar("S")

_CHUNK = 500


class RowMap(Generic[T]):
    """How a dataclass is kept in a table: field by field, in columns of the same names.

    Args:
        kind: The dataclass.
        table: Its table.
        elsewhere: Fields that other tables hold, read by a join or a query within.
    """

    def __init__(self, kind: type[T], table: sa.Table, **elsewhere: sa.ColumnElement[Any]) -> None:
        self._kind, self.table = kind, table
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # T is a dataclass
        self.stored = tuple(name for name in names if name not in elsewhere)
        self.columns: list[sa.ColumnElement[Any]] = [
            elsewhere[name] if name in elsewhere else table.c[name] for name in names
        ]
        self._select = sa.select(*self.columns)  # built once: it takes longer than SQLite takes to answer

    def select(self) -> sa.Select[Any]:
        """Return a query for the fields, in their order."""
        return self._select

    def load(self, row: Sequence[Any]) -> T:
        """Return the value of a row that ``select`` gave."""
        return self._kind(*row)

    def one(self, session: Session, query: sa.Select[Any]) -> T | None:
        """Return the first row of a query made by ``select``."""
        rows = session.read(query.limit(1))
        return self.load(rows[0]) if rows else None

    def lookup(
        self,
        *columns: sa.ColumnElement[Any],
        where: sa.ColumnElement[bool] | None = None,
        order: Sequence[sa.ColumnElement[Any]] = (),
    ) -> Lookup[T]:
        """Return a query for the rows that have given values in some columns.

        Args:
            columns: Those columns.
            where: What the row has to satisfy besides.
            order: What comes first.
        """
        query = self._select.where(*(column == sa.bindparam(f"given_{i}") for i, column in enumerate(columns)))
        if where is not None:
            query = query.where(where)
        return Lookup(self, query.order_by(*order))

    def all(self, session: Session, query: sa.Select[Any], parameters: Mapping[str, Any] | None = None) -> list[T]:
        """Return the rows of a query made by ``select``."""
        return [self.load(row) for row in session.read(query, parameters)]

    def every(self, session: Session, query: Prepared, parameters: Mapping[str, Any]) -> list[T]:
        """Return the rows of a prepared query made by ``select``."""
        return [self.load(row) for row in session.rows(query, parameters)]

    def values(self, item: T) -> dict[str, Any]:
        """Return the columns of a value."""
        return {name: getattr(item, name) for name in self.stored}


class Lookup(Generic[T]):
    """A query for rows by the values of some columns. Made once, where it is used often: SQLAlchemy takes longer to put
    a statement together than SQLite takes to answer it.

    Args:
        rows: How the rows are kept.
        statement: The query; its parameters are ``given_0``, ``given_1`` …
    """

    def __init__(self, rows: RowMap[T], statement: sa.Select[Any]) -> None:
        self._rows, self._every, self._first = rows, Prepared(statement), Prepared(statement.limit(1))

    def __call__(self, session: Session, *values: object) -> T | None:
        """Return the first row, or None if there is none."""
        found = session.rows(self._first, _given(values))
        return self._rows.load(found[0]) if found else None

    def every(self, session: Session, *values: object) -> list[T]:
        """Return all rows."""
        return self._rows.every(session, self._every, _given(values))


def _given(values: Sequence[object]) -> dict[str, object]:
    return {f"given_{i}": value for i, value in enumerate(values)}


def chunks(items: Sequence[S], size: int = _CHUNK) -> Iterator[Sequence[S]]:
    """Cut a sequence so that a statement does not get too many parameters."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
