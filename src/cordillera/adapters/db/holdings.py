"""What a viewer holds, as conditions on rows: a condition for each way by which he may hold something.

Each way is found by the viewer's own grants, by what he owns, or by the tag sets that his grants by tags are about;
what others have does not make it longer to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.schema import (
    dataset_versions,
    datasets,
    enclosing_namespaces,
    grants,
    namespaces,
    targets,
    views,
)
from cordillera.adapters.db.tag_sets import fulfilling
from cordillera.spec.access import Privilege, SecurableKind, Viewer, owners_among, sufficient_for
from cordillera.spec.access_tags import parse_tag_expression
from cordillera.spec.names import innermost

Condition = sa.ColumnElement[bool]
Ways = tuple[Condition, ...]
once = lru_cache(maxsize=64)
"""Conditions cannot change: one that stands in a query several times is made, and looked at by SQLAlchemy, once."""


@once
def datasets_held(viewer: Viewer, privilege: Privilege) -> Ways:
    """Return the ways by which a viewer holds a privilege on datasets."""
    around = datasets.c.namespace.in_(each(namespaces.c.name, namespaces_held(viewer, privilege)))
    return (*datasets_given(viewer, privilege), around, *datasets_tagged(viewer, privilege))


@once
def datasets_given(viewer: Viewer, privilege: Privilege) -> Ways:
    """Return the ways by which a viewer holds a privilege on datasets themselves: he owns them, or was granted it."""
    return _given(datasets, viewer, privilege, SecurableKind.DATASET)


@once
def datasets_tagged(viewer: Viewer, privilege: Privilege, name: str = "") -> Ways:
    """Return the ways by which a viewer holds a privilege on datasets by their policy tags; see ``tagged_parts``."""
    return tuple(
        sa.and_(one.inside, datasets.c.tag_set.in_(one.tag_sets)) for one in tagged_parts(viewer, privilege, name)
    )


@dataclass(frozen=True)
class TaggedPart:
    """The datasets that a grant by tags is about.

    Attributes:
        name: The namespace that they are in or within; empty for any.
        only: What is to be true of them besides.
        tag_sets: The query for the tag sets of which they have one, each an ``id``.
    """

    name: str
    only: Condition
    tag_sets: sa.GenerativeSelect

    @property
    def inside(self) -> Condition:
        """The condition on datasets, but for their tag sets."""
        return sa.and_(within(datasets.c.full_name, self.name), self.only) if self.name else self.only


@once
def tagged_parts(viewer: Viewer, privilege: Privilege, name: str = "") -> tuple[TaggedPart, ...]:
    """Return what the grants by tags are about that give a viewer a privilege.

    Args:
        viewer: The viewer.
        privilege: The privilege.
        name: The namespace that it is kept to, with what is within; empty for any.
    """
    parts = []
    for grant in viewer.conditional:
        spacious = grant.kind is SecurableKind.NAMESPACE
        inner = innermost(grant.securable_name if spacious else "", name)
        if grant.privilege in sufficient_for(privilege) and inner is not None:
            only = sa.true() if spacious else datasets_within(grant.kind, grant.securable_id)
            parts.append(TaggedPart(inner, only, fulfilling(parse_tag_expression(grant.tag_expression))))
    return tuple(parts)


def within(column: sa.ColumnElement[str], name: sa.ColumnElement[str] | str) -> Condition:
    """Return the condition on the names of what is in a namespace, at whatever depth: as a range of an index."""
    return sa.and_(column > name + ".", column < name + "/")  # of all characters "/" comes next


@once
def datasets_by_version(viewer: Viewer) -> Condition:
    """Return the condition on datasets of which a viewer was granted to discover a dataset version."""
    versions = granted(viewer, Privilege.DISCOVER, SecurableKind.DATASET_VERSION)
    of = sa.select(dataset_versions.c.dataset_id).where(dataset_versions.c.id.in_(versions))
    return datasets.c.id.in_(of.correlate(None))


@once
def views_held(viewer: Viewer, privilege: Privilege) -> Ways:
    """Return the ways by which a viewer holds a privilege on views."""
    around = views.c.namespace.in_(each(namespaces.c.name, namespaces_held(viewer, privilege)))
    return (*views_given(viewer, privilege), around)


@once
def views_given(viewer: Viewer, privilege: Privilege) -> Ways:
    """Return the ways by which a viewer holds a privilege on views themselves: he owns them, or was granted it."""
    return _given(views, viewer, privilege, SecurableKind.VIEW)


@once
def namespaces_held(viewer: Viewer, privilege: Privilege) -> Ways:
    """Return the ways by which a viewer holds a privilege on namespaces: on those he was given, and those within."""
    outer = namespaces.alias("outer_namespaces")
    ways = _given(outer, viewer, privilege, SecurableKind.NAMESPACE)
    return tuple(namespaces.c.name.in_(names_within(outer, way)) for way in ways)


@once
def namespaces_given(viewer: Viewer, privilege: Privilege) -> Ways:
    """Return the ways by which a viewer holds a privilege on namespaces themselves: he owns them, or was granted it."""
    return _given(namespaces, viewer, privilege, SecurableKind.NAMESPACE)


@once
def targets_held(viewer: Viewer, privilege: Privilege) -> Ways:
    """Return the ways by which a viewer holds a privilege on targets."""
    return _given(targets, viewer, privilege, SecurableKind.TARGET)


def granted(viewer: Viewer, privilege: Privilege, kind: SecurableKind) -> sa.Select[Any]:
    """Return the ids of the objects of a kind that a viewer was granted a privilege on."""
    given = sa.select(grants.c.securable_id).where(
        grants.c.principal.in_(sorted(viewer.principals)),
        grants.c.privilege.in_(sorted(sufficient_for(privilege))),
        grants.c.kind == kind,
        grants.c.tag_expression == "",
        live(viewer),
    )
    return given.correlate(None)


def live(viewer: Viewer) -> Condition:
    """Return the condition on grants that have not ended."""
    return sa.or_(grants.c.expires_at.is_(None), grants.c.expires_at > viewer.now)


def owners(viewer: Viewer) -> list[str]:
    """Return the owners that a viewer is, or is in."""
    return sorted(owners_among(viewer.principals))


def each(column: sa.ColumnElement[Any], ways: Sequence[Condition]) -> sa.CompoundSelect[Any]:
    """Return a column of the rows that satisfy any of some conditions, each found by its own index."""
    return sa.union_all(*(sa.select(column).where(way).correlate(None) for way in ways))


def datasets_inside(kind: SecurableKind, securable_id: UUID, tag_expression: str) -> Condition:
    """Return the condition on datasets inside an object, or the object itself, that fulfil a tag expression."""
    tag_sets = fulfilling(parse_tag_expression(tag_expression))
    return sa.and_(datasets_within(kind, securable_id), datasets.c.tag_set.in_(tag_sets))


def datasets_within(kind: SecurableKind, securable_id: UUID) -> Condition:
    """Return the condition on datasets inside an object, or the object itself."""
    match kind:
        case SecurableKind.LAKE:
            return sa.true()
        case SecurableKind.NAMESPACE:
            outer = namespaces.alias("outer_namespaces")
            return datasets.c.namespace.in_(names_within(outer, outer.c.id == securable_id))
        case SecurableKind.DATASET:
            return datasets.c.id == securable_id
        case SecurableKind.DATASET_VERSION:
            mine = sa.select(dataset_versions.c.dataset_id).where(dataset_versions.c.id == securable_id)
            return datasets.c.id.in_(mine.correlate(None))
        case SecurableKind.VIEW | SecurableKind.TARGET | SecurableKind.SUBSCRIPTION:
            return sa.false()


def names_within(outer: sa.FromClause, which: Condition) -> sa.Select[Any]:
    """Return the names of namespaces that a condition is true of, and of those within them at whatever depth."""
    nested = enclosing_namespaces.alias("nested")
    return sa.select(nested.c.namespace).join(outer, outer.c.name == nested.c.outer).where(which).correlate(None)


def _given(table: sa.FromClause, viewer: Viewer, privilege: Privilege, kind: SecurableKind) -> Ways:
    return table.c.owner.in_(owners(viewer)), table.c.id.in_(granted(viewer, privilege, kind))
