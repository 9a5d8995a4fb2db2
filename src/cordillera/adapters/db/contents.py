"""What a viewer sees of namespaces and of what is in them.

Found from what he holds, never by looking through a namespace for what he may see: to be told that there is nothing
takes the same work whatever is hidden. Names help: all that is within ``sales`` begins with ``sales.``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.holdings import (
    Condition,
    TaggedPart,
    Ways,
    datasets_by_version,
    datasets_given,
    each,
    namespaces_given,
    namespaces_held,
    once,
    tagged_parts,
    views_given,
    within,
)
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import datasets, enclosing_namespaces, namespaces, views
from cordillera.adapters.db.session import Session
from cordillera.spec.access import Privilege, Viewer
from cordillera.spec.names import enclosing_names

T = TypeVar("T")

_FEW = 20
"""As many tag sets are looked through one after the other."""
_BEHIND_ALL = "~"
"""Comes behind every name."""
_nested = enclosing_namespaces.c


@once
def namespaces_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on namespaces that a viewer may discover, or sees something in."""
    if viewer is None or viewer.sees_all(Privilege.DISCOVER):
        return ()
    named = (
        *(sa.select(namespaces.c.name).where(way) for way in namespaces_held(viewer, Privilege.DISCOVER)),
        *(sa.select(datasets.c.namespace).where(_live(), way) for way in _datasets(viewer)),
        *(sa.select(views.c.namespace).where(way) for way in views_given(viewer, Privilege.DISCOVER)),
        *(_namespaces_of(part) for part in tagged_parts(viewer, Privilege.DISCOVER)),
    )
    around = sa.select(_nested.outer).where(_nested.namespace.in_(sa.union_all(*named))).correlate(None)
    return (namespaces.c.name.in_(around),)


def namespace_seen(viewer: Viewer, name: str) -> Condition:
    """Return the condition that a viewer may discover a namespace, or something in it: true or false of any row."""
    if viewer.sees_all(Privilege.DISCOVER):
        return sa.select(namespaces.c.id).where(namespaces.c.name == name).exists()
    held = namespaces_given(viewer, Privilege.DISCOVER)
    inside = within(datasets.c.full_name, name)
    found = (
        _if_held(viewer, name),
        *(sa.select(namespaces.c.id).where(within(namespaces.c.name, name), way) for way in held),
        *(sa.select(datasets.c.id).where(_live(), inside, way) for way in _datasets(viewer)),
        *(
            sa.select(views.c.id).where(within(views.c.full_name, name), way)
            for way in views_given(viewer, Privilege.DISCOVER)
        ),
        *(_tag_sets_in(part) for part in tagged_parts(viewer, Privilege.DISCOVER, name)),
    )
    return sa.or_(*(one.correlate(None).exists() for one in found))


def datasets_in(session: Session, namespace: str | None, viewer: Viewer | None, *, deleted: bool) -> Ways:
    """Return the ways by which a viewer sees datasets.

    Args:
        session: The transaction.
        namespace: The name of the namespace that they are directly in; None for any.
        viewer: Who sees them; None for whoever sees all.
        deleted: Whether it is about deleted ones, of which nobody sees single dataset versions.
    """
    if viewer is None or viewer.sees_all(Privilege.DISCOVER):
        return _everything_in(datasets, namespace)
    given = datasets_given(viewer, Privilege.DISCOVER) if deleted else _datasets(viewer)
    tagged = tagged_parts(viewer, Privilege.DISCOVER, namespace or "")
    return _ways_in(datasets, namespace, viewer, (*given, *(way for part in tagged for way in by_tags(session, part))))


def views_in(namespace: str | None, viewer: Viewer | None) -> Ways:
    """Return the ways by which a viewer sees views; see ``datasets_in``."""
    if viewer is None or viewer.sees_all(Privilege.DISCOVER):
        return _everything_in(views, namespace)
    return _ways_in(views, namespace, viewer, views_given(viewer, Privilege.DISCOVER))


def first_seen(
    session: Session, rows: RowMap[T], ways: Ways, kept: Ways, order: Sequence[sa.ColumnElement[Any]], limit: int
) -> list[T]:
    """Return the first rows that are seen in any of some ways. Of each way the first are found by its own index.

    Args:
        session: The transaction.
        rows: How the rows are kept, in a table with a column ``id``.
        ways: Those ways; none for all rows.
        kept: The conditions on rows besides.
        order: What comes first.
        limit: How many at most.
    """
    if len(ways) < 2:
        return rows.all(session, rows.select().where(*kept, *ways).order_by(*order).limit(limit))
    named = (rows.table.c.full_name, rows.table.c.id)
    firsts = (sa.select(*named).where(*kept, way).order_by(*order).limit(limit).subquery() for way in ways)
    found = sa.union(*(sa.select(one) for one in firsts)).subquery()
    ids = [row.id for row in session.read(sa.select(found.c.id).order_by(*found.c).limit(limit))]
    return rows.all(session, rows.select().where(rows.table.c.id.in_(ids)).order_by(*order)) if ids else []


def by_tags(session: Session, part: TaggedPart) -> Iterator[Condition]:
    """Yield a way for each tag set, by which its first datasets are found; or one for all, if there are many."""
    sets = part.tag_sets.subquery()
    found = [row.id for row in session.read(sa.select(sets.c.id).limit(_FEW + 1))]
    some = (
        [datasets.c.tag_set.in_(part.tag_sets)] if len(found) > _FEW else [datasets.c.tag_set == one for one in found]
    )
    yield from (sa.and_(part.inside, one) for one in some)


def _live() -> Condition:
    return datasets.c.deleted_at.is_(None)


def _datasets(viewer: Viewer) -> Ways:
    return (*datasets_given(viewer, Privilege.DISCOVER), datasets_by_version(viewer))


def _tag_sets_in(part: TaggedPart) -> sa.Select[Any]:
    """Return the query for the tag sets of which there are live datasets, looked for one set after the other."""
    sets = part.tag_sets.offset(0).subquery().c
    first = _first_of(part, sets.id, datasets.c.full_name, part.name and part.name + ".").correlate(sets.id.table)
    return sa.select(sets.id).where(first.scalar_subquery().is_not(None))


def _namespaces_of(part: TaggedPart) -> sa.Select[Any]:
    """Return the names of the namespaces with datasets of some tag sets, by stepping from one to the next."""
    name, sets = datasets.c.namespace, part.tag_sets.offset(0).subquery().c
    first = _first_of(part, sets.id, name, part.name).correlate(sets.id.table)
    step = sa.select(sets.id, first.scalar_subquery().label("namespace")).cte(recursive=True)
    following = _first_of(part, step.c.id, name, part.name, step.c.namespace).correlate(step)
    more = sa.select(step.c.id, following.scalar_subquery()).where(step.c.namespace.is_not(None))
    steps = step.union_all(more)
    return sa.select(steps.c.namespace).where(steps.c.namespace.is_not(None))


def _first_of(
    part: TaggedPart,
    tag_set: sa.ColumnElement[UUID],
    column: sa.ColumnElement[str],
    begin: str,
    after: sa.ColumnElement[str] | None = None,
) -> sa.Select[Any]:
    """Return the query for the first name in a column of live datasets of a tag set.

    Rows are compared as such, so that both databases take the index that begins with the tag set: by its columns
    PostgreSQL may take one by name, thinking that such a dataset will soon be met there.

    Args:
        part: Which datasets.
        tag_set: Their tag set.
        column: What is asked for.
        begin: How names in a namespace begin; empty for any.
        after: Behind which name.
    """
    mine = sa.tuple_(datasets.c.tag_set, column)
    behind = mine >= sa.tuple_(tag_set, begin) if after is None else mine > sa.tuple_(tag_set, after)
    before = mine < sa.tuple_(tag_set, part.name + "/" if part.name else _BEHIND_ALL)
    return sa.select(column).where(_live(), behind, before, part.only).order_by(datasets.c.tag_set, column).limit(1)


def _if_held(viewer: Viewer, name: str) -> sa.Select[Any]:
    """Return the query for a namespace's name: for a row if the viewer holds it, or one that it is within."""
    held = sa.or_(*namespaces_given(viewer, Privilege.DISCOVER))
    around = sa.select(sa.literal(name, namespaces.c.name.type)).where(namespaces.c.name.in_(enclosing_names(name)))
    return around.where(held).limit(1).correlate(None)


def _everything_in(table: sa.Table, namespace: str | None) -> Ways:
    return () if namespace is None else (table.c.namespace == namespace,)


def _ways_in(table: sa.Table, namespace: str | None, viewer: Viewer, ways: Ways) -> Ways:
    """Return the way by which a viewer sees all that is in a namespace, and others kept to what is in it."""
    if namespace is None:
        return table.c.namespace.in_(each(namespaces.c.name, namespaces_held(viewer, Privilege.DISCOVER))), *ways
    everything = table.c.namespace == _if_held(viewer, namespace).scalar_subquery()
    # An expression has no index: rows are found by the other conditions, not among all that are in the namespace.
    here = sa.and_(within(table.c.full_name, namespace), table.c.namespace + "" == namespace)
    return everything, *(sa.and_(here, way) for way in ways)
