"""Lists of which a viewer may see little: to find a page takes what there is in it, not what is hidden besides.

There are two ways to find the next rows that a viewer sees. To look through the list in its order, which is short
where he sees most of it. And to go from the objects that he sees to what is listed of each, which is short where he
sees few. Both are tried in turn, with bounds that grow tenfold: so neither takes much longer than the shorter way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.contents import by_tags
from cordillera.adapters.db.holdings import (
    Condition,
    Ways,
    datasets_given,
    granted,
    namespaces_held,
    owners,
    tagged_parts,
    targets_held,
    views_given,
)
from cordillera.adapters.db.newest import Key, descending
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import (
    dataset_versions,
    datasets,
    jobs,
    lineage_edges,
    namespaces,
    subscriptions,
    targets,
    views,
)
from cordillera.adapters.db.session import Session
from cordillera.spec.access import Privilege, SecurableKind, Viewer
from cordillera.spec.lineage import NodeKind

T = TypeVar("T")
FIRST_BOUND, GROWTH = 100, 10
"""So many rows are looked through first; by so much grow the bounds, first for objects, which are found faster."""
_MOST_OBJECTS = 10_000
"""Statements take no more parameters than a few times as many. For whoever sees more the list is looked through."""
_LIVE = datasets.c.deleted_at.is_(None)


@dataclass(frozen=True)
class Listed(Generic[T]):
    """A list that a viewer looks through.

    Attributes:
        rows: How its rows are kept.
        query: What it has, but for that it is seen.
        seen: What is true of the rows that he sees.
        key: The columns it is ordered by, which no two rows have the same of.
        limit: How many rows are asked for.
        descending: Whether what has the greatest key comes first.
    """

    rows: RowMap[T]
    query: sa.Select[Any]
    seen: Ways
    key: Sequence[sa.ColumnElement[Any]]
    limit: int
    descending: bool = False

    def first(
        self, session: Session, after: Key | None, of_objects: Callable[[Key, int, int], sa.Select[Any] | None]
    ) -> list[T]:
        """Return the first rows behind a place that the viewer sees.

        Args:
            session: The transaction.
            after: The key there; None for the beginning.
            of_objects: Is given a place, a number of rows and a bound. Returns a query for so many rows that he sees,
                the next behind the place, and perhaps for others of the list; None if he sees more objects than the
                bound.
        """
        found: list[T] = []
        bound = FIRST_BOUND
        while True:
            last = self._last(session, after, bound)
            looked = self.query.where(*self._upto(last))
            found += self._seen(session, looked, after, self.limit - len(found))
            if last is None or len(found) >= self.limit:
                return found
            after, wanted = last, self.limit - len(found)
            bound *= GROWTH
            of_seen = of_objects(after, wanted, min(bound, _MOST_OBJECTS))
            if of_seen is not None:
                return found + self._seen(session, of_seen, after, wanted)

    def _last(self, session: Session, after: Key | None, number: int) -> Key | None:
        """Return the key of the row that is so many behind a place, seen or not; None if there is none."""
        query = self.query.with_only_columns(*self.key, maintain_column_froms=True).where(*self._behind(after))
        rows = session.read(query.order_by(*self._order()).offset(number - 1).limit(1))
        return tuple(rows[0]) if rows else None

    def _seen(self, session: Session, query: sa.Select[Any], after: Key | None, limit: int) -> list[T]:
        behind = query.where(*self._behind(after), *self.seen).order_by(*self._order())
        return self.rows.all(session, behind.limit(limit))

    def _order(self) -> Sequence[sa.ColumnElement[Any]]:
        return descending(self.key) if self.descending else self.key

    def _behind(self, after: Key | None) -> Ways:
        if after is None:
            return ()
        mine = sa.tuple_(*self.key)
        return (mine < after if self.descending else mine > after,)

    def _upto(self, last: Key | None) -> Ways:
        if last is None:
            return ()
        mine = sa.tuple_(*self.key)
        return (mine >= last if self.descending else mine <= last,)


def of_each(seen: Ways, table: sa.FromClause) -> Condition:
    """Return the condition that a row of a table is seen, asked of each row that is looked at.

    The offset keeps PostgreSQL from going through all that could be seen first, to tell of any row whether it is.
    """
    return sa.select(sa.literal(1)).where(*seen).correlate(table).offset(0).exists()


def few_versions_and_names(session: Session, viewer: Viewer, most: int) -> tuple[list[UUID], list[str]] | None:
    """Return the dataset versions that a viewer may discover, of deleted datasets too, and the names of the live
    datasets and the views; None if any of them are more than so many.
    """
    spaces = _few_namespaces(session, viewer, Privilege.DISCOVER, most)
    found = None if spaces is None else _few_datasets(session, viewer, Privilege.DISCOVER, spaces, most)
    if spaces is None or found is None:
        return None
    ways = (*views_given(viewer, Privilege.DISCOVER), views.c.namespace.in_(spaces))
    named = _few(session, [sa.select(views.c.full_name).where(way) for way in ways], most)
    of_datasets = sa.select(dataset_versions.c.id).where(dataset_versions.c.dataset_id.in_([one[0] for one in found]))
    versions = _few(session, [of_datasets, granted(viewer, Privilege.DISCOVER, SecurableKind.DATASET_VERSION)], most)
    if named is None or versions is None:
        return None
    live = {name for _, name, deleted_at in found if deleted_at is None}
    return [one for (one,) in versions], sorted(live | {name for (name,) in named})


def few_subscriptions(session: Session, viewer: Viewer, most: int) -> list[UUID] | None:
    """Return, by id, the subscriptions among which are those that a viewer may discover: his own, those of datasets
    and targets that he administers, and those that he was granted it on. None if they are more than so many.
    """
    spaces = _few_namespaces(session, viewer, Privilege.ADMINISTER, most)
    found = None if spaces is None else _few_datasets(session, viewer, Privilege.ADMINISTER, spaces, most)
    administered = [sa.select(targets.c.name).where(way) for way in targets_held(viewer, Privilege.ADMINISTER)]
    into = _few(session, administered, most)
    if found is None or into is None:
        return None
    ways = (
        *(column.in_(owners(viewer)) for column in (subscriptions.c.consumer, subscriptions.c.created_by)),
        subscriptions.c.dataset_id.in_([one[0] for one in found]),
        subscriptions.c.target.in_([name for (name,) in into]),
    )
    ids = [sa.select(subscriptions.c.id).where(way) for way in ways]
    few = _few(session, [*ids, granted(viewer, Privilege.DISCOVER, SecurableKind.SUBSCRIPTION)], most)
    return None if few is None else [one for (one,) in few]


def few_jobs(session: Session, viewer: Viewer, most: int) -> list[str] | None:
    """Return, by name, the jobs among which are those that a viewer may see: his own, and those that read or write a
    dataset that he administers. None if they are more than so many.
    """
    spaces = _few_namespaces(session, viewer, Privilege.ADMINISTER, most)
    found = None if spaces is None else _few_datasets(session, viewer, Privilege.ADMINISTER, spaces, most)
    if found is None:
        return None
    names, edge = [name for _, name, deleted_at in found if deleted_at is None], lineage_edges.c
    reading = sa.select(edge.sink_name).where(
        edge.source_kind.in_(NodeKind), edge.source_name.in_(names), edge.sink_kind == NodeKind.JOB
    )
    writing = sa.select(edge.source_name).where(
        edge.sink_kind.in_(NodeKind), edge.sink_name.in_(names), edge.source_kind == NodeKind.JOB
    )
    mine = (sa.select(jobs.c.name).where(column.in_(owners(viewer))) for column in (jobs.c.owner, jobs.c.on_behalf_of))
    few = _few(session, [*mine, reading, writing], most)
    return None if few is None else [name for (name,) in few]


def _few_namespaces(session: Session, viewer: Viewer, privilege: Privilege, most: int) -> list[str] | None:
    held = [sa.select(namespaces.c.name).where(way) for way in namespaces_held(viewer, privilege)]
    few = _few(session, held, most)
    return None if few is None else [name for (name,) in few]


def _few_datasets(
    session: Session, viewer: Viewer, privilege: Privilege, spaces: Sequence[str], most: int
) -> list[tuple[UUID, str, datetime | None]] | None:
    """Return the datasets that a viewer holds a privilege on, by id, with their names and when they were deleted."""
    query = sa.select(datasets.c.id, datasets.c.full_name, datasets.c.deleted_at)
    ways = [*datasets_given(viewer, privilege), datasets.c.namespace.in_(spaces)]
    for part in tagged_parts(viewer, privilege):
        ways += [sa.and_(state, way) for way in by_tags(session, part) for state in (_LIVE, ~_LIVE)]
    return _few(session, [query.where(way) for way in ways], most)


def _few(session: Session, queries: Sequence[sa.Select[Any]], most: int) -> list[Any] | None:
    """Return what some queries find together, each once; None if it is more than so many."""
    parts = [sa.select(query.limit(most + 1).subquery()) for query in queries]
    found = {tuple(row) for row in session.read(sa.union_all(*parts))}
    return None if len(found) > most else list(found)
