"""The newest rows of some objects, each found by one step of an index, however many rows other objects have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from cordillera.adapters.db.given import given
from cordillera.adapters.db.holdings import Condition
from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.session import Session

Key = tuple[Any, ...]
"""What the columns that a list is ordered by have in a row."""
_Columns = Sequence[sa.ColumnElement[Any]]


class Newest:
    """Queries for the newest rows of some objects.

    Rows are compared as such, for by the columns PostgreSQL may go through the whole list, thinking that it will soon
    meet a row of the object there.

    Args:
        of: The columns, two at most, that say which object a row is about.
        key: The columns that rows are ordered by, the last of which tells a row from all others; an index has those
            of the object and then these.
        lowest: What comes before the key of every row.
        where: What is true of the rows besides, as the index has it.
    """

    def __init__(
        self,
        of: Sequence[sa.Column[Any]],
        key: Sequence[sa.Column[Any]],
        lowest: Key,
        where: Condition | sa.TextClause,
    ) -> None:
        self._of, self._key, self._where = of, key, where
        self._lowest = [sa.literal(value, part.type) for value, part in zip(lowest, key, strict=True)]
        self._prepared = lru_cache(self._prepare)

    def rows(self, session: Session, objects: Sequence[Sequence[str]], before: Key, limit: int) -> list[Any]:
        """Return what the last columns of the keys of the first rows before a key have.

        Args:
            session: The transaction.
            objects: The objects: their columns as JSON has them.
            before: The key.
            limit: How many at most.
        """
        asked = {"of": objects, "most": limit, **{f"before_{n}": value for n, value in enumerate(before)}}
        return [row[0] for row in session.rows(self._prepared(session.is_postgres), asked)] if objects else []

    def _prepare(self, is_postgres: bool) -> Prepared:
        most = sa.bindparam("most", type_=sa.Integer())
        heads = self._heads(most, is_postgres).cte("heads")
        *of, first = list(heads.c)[: len(self._of) + 1]
        steps = sa.select(*of, first, sa.literal(1).label("place")).cte("steps", recursive=True)
        *of, row, place = steps.c
        following = self._next(of, self._key_of(row), self._least(heads, most), is_postgres)
        more = sa.select(*of, following, place + 1).where(row.is_not(None), place < most)
        found = steps.union_all(more).c.row
        query = sa.select(found).where(found.is_not(None)).order_by(*descending(self._key_of(found)))
        return Prepared(query.limit(most))

    def _heads(self, most: sa.ColumnElement[int], is_postgres: bool) -> sa.Select[Any]:
        """Return the query for the newest row of each object, and its key; for so many that are the newest of all."""
        before = [sa.bindparam(f"before_{n}", type_=part.type) for n, part in enumerate(self._key)]
        asked: _Columns = list(given("of", [column.type for column in self._of], is_postgres=is_postgres).c)
        if not is_postgres:  # which compares texts that have an affinity by the first column of an index alone
            asked = [(sa.type_coerce(one, sa.Text()) + "").label(one.key) for one in asked]
        newest = self._next(asked, before, self._lowest, is_postgres).label("row")
        each = sa.select(*asked, newest).offset(0).subquery().c
        key = [part.label(f"key_{n}") for n, part in enumerate(self._key_of(each.row))]
        return sa.select(*each, *key).where(each.row.is_not(None)).order_by(*descending(key)).limit(most)

    def _least(self, heads: sa.CTE, most: sa.ColumnElement[int]) -> _Columns:
        """Return the key of the last head, if they are as many as are asked for: what is older is too old."""
        key = list(heads.c)[len(self._of) + 1 :]
        last = (sa.select(part).order_by(*descending(key)).offset(most - 1).limit(1).scalar_subquery() for part in key)
        return [sa.func.coalesce(one, lowest) for one, lowest in zip(last, self._lowest, strict=True)]

    def _key_of(self, row: sa.ColumnElement[Any]) -> _Columns:
        """Return the key of a row, of which the last column is given."""
        table = self._key[-1].table.alias()
        this = table.c[self._key[-1].name] == row
        others = (sa.select(table.c[part.name]).where(this).correlate_except(table) for part in self._key[:-1])
        return [*(one.scalar_subquery() for one in others), row]

    def _next(self, of: _Columns, before: _Columns, least: _Columns, is_postgres: bool) -> sa.ScalarSelect[Any]:
        """Return the last column of the key of an object's newest row that is before one key and not before another."""
        columns = (*self._of, *self._key)
        mine = sa.tuple_(*columns)
        near: list[Condition | sa.TextClause]
        near = [mine < sa.tuple_(*of, *before), mine >= sa.tuple_(*of, *least), self._where]
        if is_postgres:  # else it takes an object to have a part of all rows; an equation would leave it the whole list
            near += [column.in_([one, one]) for column, one in zip(self._of, of, strict=True)]
        query = sa.select(self._key[-1]).where(*near).order_by(*descending(columns)).limit(1)
        return query.correlate_except(self._key[-1].table).scalar_subquery()


def descending(columns: Iterable[sa.ColumnElement[Any]]) -> list[sa.ColumnElement[Any]]:
    """Return the order in which what has the greatest key comes first."""
    return [column.desc() for column in columns]
