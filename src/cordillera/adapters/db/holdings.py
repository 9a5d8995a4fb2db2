"""What a viewer holds, as conditions on rows: a condition for each way by which he may hold something.

Each way is found by the viewer's own grants or by what he owns; what others have does not make it longer to find. Only
grants by tags are different: whether datasets fulfil a tag expression is found by looking at those datasets.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    policy_tags,
    targets,
    views,
)
from cordillera.spec import access_tags
from cordillera.spec.access import Privilege, SecurableKind, Viewer, owners_among, sufficient_for
from cordillera.spec.access_tags import Among, Missing, Not, TagExpression, parse_tag_expression

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
def datasets_tagged(viewer: Viewer, privilege: Privilege) -> Ways:
    """Return the ways by which a viewer holds a privilege on datasets with certain policy tags."""
    return tuple(
        datasets_inside(grant.kind, grant.securable_id, grant.tag_expression)
        for grant in viewer.conditional
        if grant.privilege in sufficient_for(privilege)
    )


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
    return sa.and_(datasets_within(kind, securable_id), _fulfils(parse_tag_expression(tag_expression)))


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


def _fulfils(expression: TagExpression) -> Condition:
    match expression:
        case Among(name, values, wanted):
            value = _tag(name)
            return sa.and_(value.is_not(None), value.in_(values) if wanted else value.not_in(values))
        case Missing(name, wanted):
            return _tag(name).is_(None) if wanted else _tag(name).is_not(None)
        case Not(part):
            return sa.not_(_fulfils(part))
        case access_tags.All(parts):
            return sa.and_(*map(_fulfils, parts))
        case access_tags.Any(parts):
            return sa.or_(*map(_fulfils, parts))


def _tag(name: str) -> sa.ColumnElement[str | None]:
    """Return the value of a dataset's policy tag: its own, else that of the nearest namespace that has it."""
    named = sa.select(policy_tags.c.value).where(policy_tags.c.column_name == "", policy_tags.c.name == name)
    own = named.where(policy_tags.c.securable_id == datasets.c.id).correlate(datasets)
    inherited = (
        named.join(namespaces, namespaces.c.id == policy_tags.c.securable_id)
        .join(enclosing_namespaces, enclosing_namespaces.c.outer == namespaces.c.name)
        .where(enclosing_namespaces.c.namespace == datasets.c.namespace)
        .order_by(enclosing_namespaces.c.distance)
        .limit(1)
        .correlate(datasets)
    )
    return sa.func.coalesce(own.scalar_subquery(), inherited.scalar_subquery())
