"""What a viewer may see, as conditions on queries, so that pages come out full and counts right.

The parts of a condition are sets found by the viewer's own grants; those of others do not make them longer to find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.schema import (
    access_approvers,
    access_requests,
    awaited_consumers,
    contract_proposals,
    dataset_versions,
    datasets,
    deputies,
    destinations,
    enclosing_namespaces,
    events,
    grants,
    jobs,
    lineage_edges,
    namespaces,
    policy_tags,
    subscriptions,
    targets,
    views,
)
from cordillera.spec import access_tags
from cordillera.spec.access import Privilege, SecurableKind, StandIn, Viewer, owners_among, sufficient_for
from cordillera.spec.access_request import ADMINISTRATORS
from cordillera.spec.access_tags import Among, Missing, Not, TagExpression, parse_tag_expression
from cordillera.spec.lineage import NodeKind

Condition = sa.ColumnElement[bool]
Ways = tuple[Condition, ...]
_once = lru_cache(maxsize=64)
"""Conditions cannot change: one that stands in a query several times is made, and looked at by SQLAlchemy, once."""
_ALL: Ways = ()


def datasets_seen(viewer: Viewer | None, privilege: Privilege = Privilege.DISCOVER) -> Ways:
    """Return the condition on datasets that a viewer holds a privilege on; none if that is every dataset."""
    if viewer is None or viewer.sees_all(privilege):
        return _ALL
    return (sa.or_(*_datasets_held(viewer, privilege)),)


def datasets_known(viewer: Viewer | None) -> Ways:
    """Return the condition on datasets that a viewer may discover, or a dataset version of."""
    seen = datasets_seen(viewer)
    if viewer is None or not seen:
        return seen
    granted = _granted(viewer, Privilege.DISCOVER, SecurableKind.DATASET_VERSION)
    of = sa.select(dataset_versions.c.dataset_id).where(dataset_versions.c.id.in_(granted)).correlate(None)
    return (sa.or_(*seen, datasets.c.id.in_(of)),)


def versions_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on dataset versions, joined with their datasets, that a viewer may discover."""
    seen = datasets_seen(viewer)
    if viewer is None or not seen:
        return seen
    granted = _granted(viewer, Privilege.DISCOVER, SecurableKind.DATASET_VERSION)
    return (sa.or_(*seen, dataset_versions.c.id.in_(granted)),)


def namespaces_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on namespaces that a viewer may discover, or sees a dataset of."""
    if viewer is None or viewer.sees_all(Privilege.DISCOVER):
        return _ALL
    ways = _namespaces_held(viewer, Privilege.DISCOVER)
    nested = enclosing_namespaces.c
    inside = sa.select(datasets.c.id).join(enclosing_namespaces, nested.namespace == datasets.c.namespace)
    inside = inside.where(
        nested.outer == namespaces.c.name, datasets.c.deleted_at.is_(None), *datasets_known(viewer)
    ).correlate(namespaces)
    known = (_each(views.c.namespace, _views_held(viewer, Privilege.DISCOVER)), _each(namespaces.c.name, ways))
    around = (sa.select(nested.outer).where(nested.namespace.in_(names)).correlate(None) for names in known)
    return (sa.or_(inside.exists(), *(namespaces.c.name.in_(names) for names in around)),)


def views_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on views that a viewer may discover."""
    if viewer is None or viewer.sees_all(Privilege.DISCOVER):
        return _ALL
    return (sa.or_(*_views_held(viewer, Privilege.DISCOVER)),)


def targets_seen(viewer: Viewer | None, privilege: Privilege = Privilege.DISCOVER) -> Ways:
    """Return the condition on targets that a viewer holds a privilege on."""
    if viewer is None or viewer.sees_all(privilege):
        return _ALL
    return (sa.or_(*_targets_held(viewer, privilege)),)


def subscriptions_seen(viewer: Viewer | None, privilege: Privilege = Privilege.DISCOVER) -> Ways:
    """Return the condition on subscriptions, joined with their datasets, that a viewer holds a privilege on."""
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return _ALL
    return (sa.or_(*_subscriptions_held(viewer, privilege)),)


def jobs_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on jobs that are a viewer's, or of which he administers a dataset and may discover all."""
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return _ALL
    mine = [column.in_(_owners(viewer)) for column in (jobs.c.owner, jobs.c.on_behalf_of)]
    administered = _job_edges(lambda name: _is_name_of(name, viewer, Privilege.ADMINISTER))
    hidden = _job_edges(lambda name: sa.not_(_is_name_of(name, viewer, Privilege.DISCOVER)))
    return (sa.or_(*mine, sa.and_(administered, sa.not_(hidden))),)


def edges_seen(viewer: Viewer | None, *, is_postgres: bool) -> Ways:
    """Return the condition on edges of lineage that a viewer may see both ends of."""
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return _ALL
    edge = lineage_edges.c

    def shown(kind: NodeKind, name: sa.ColumnElement[str]) -> Condition:
        if kind is NodeKind.DATASET:
            return _is_name_of(name, viewer, Privilege.DISCOVER)
        if kind is NodeKind.JOB:
            job = sa.select(jobs.c.id).where(jobs.c.name == name, *jobs_seen(viewer))
            return job.correlate_except(jobs).exists()
        if viewer.sees_all(Privilege.DISCOVER):
            return sa.true()
        of = sa.func.split_part(name, ":", 1) if is_postgres else sa.func.substr(name, 1, sa.func.instr(name, ":") - 1)
        return of.in_(_each(targets.c.name, _targets_held(viewer, Privilege.DISCOVER)))

    return (
        sa.or_(*(sa.and_(edge.source_kind == kind, shown(kind, edge.source_name)) for kind in NodeKind)),
        sa.or_(*(sa.and_(edge.sink_kind == kind, shown(kind, edge.sink_name)) for kind in NodeKind)),
    )


def events_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on events about datasets that a viewer may discover."""
    if viewer is None or viewer.sees_all(Privilege.DISCOVER):
        return _ALL
    seen = datasets_seen(viewer)
    by_version = sa.select(dataset_versions.c.id).join(datasets, datasets.c.id == dataset_versions.c.dataset_id)
    by_name = sa.select(datasets.c.id).where(datasets.c.full_name == events.c.dataset, datasets.c.deleted_at.is_(None))
    by_view = events.c.dataset.in_(_each(views.c.full_name, _views_held(viewer, Privilege.DISCOVER)))
    return (
        sa.or_(
            by_version.where(dataset_versions.c.id == events.c.dataset_version_id, *versions_seen(viewer))
            .correlate(events)
            .exists(),
            sa.and_(
                events.c.dataset_version_id.is_(None),
                sa.or_(by_name.where(*seen).correlate(events).exists(), by_view),
            ),
        ),
    )


def destinations_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on destinations that are a viewer's."""
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return _ALL
    return (destinations.c.owner.in_(_owners(viewer)),)


def grants_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on grants that are a viewer's, or on what he administers."""
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return _ALL
    return (sa.or_(grants.c.principal.in_(sorted(viewer.principals)), *_administered(viewer, grants)),)


def requests_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on access requests that are a viewer's, or that he or one he stands in for has a say in."""
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return _ALL
    mine = access_requests.c.requester.in_(sorted(viewer.principals))
    said = (sa.and_(_say(one.viewer), *_deputed(one)) for one in viewer.stands_in)
    return (sa.or_(mine, _say(viewer), *said),)


def _say(viewer: Viewer) -> Condition:
    """Return the condition on access requests on what a viewer administers, or that name him as an approver."""
    if viewer.sees_all(Privilege.ADMINISTER):
        return sa.true()
    named = sa.select(access_approvers.c.request_id).where(access_approvers.c.approver.in_(sorted(viewer.principals)))
    return sa.or_(access_requests.c.id.in_(named.correlate(None)), *_administered(viewer, access_requests))


def _deputed(one: StandIn) -> Ways:
    """Return the conditions on access requests that a deputy is concerned with: inside his object, not the owner's."""
    return access_requests.c.requester.not_in(sorted(one.viewer.principals)), *_inside(one, access_requests)


def requests_waiting(viewer: Viewer | None) -> Ways:
    """Return the condition on open access requests of others that wait for a viewer's approval."""
    if viewer is None:
        return _ALL
    asked = access_approvers.c
    said = (sa.and_(_spoken_for(one.viewer), *_deputed(one)) for one in viewer.stands_in)
    waiting = sa.select(asked.request_id).where(
        asked.request_id == access_requests.c.id, asked.waiting, sa.or_(_spoken_for(viewer), *said)
    )
    others = access_requests.c.requester.not_in(sorted(viewer.principals))
    return others, waiting.correlate(access_requests).exists()


def _spoken_for(viewer: Viewer) -> Condition:
    """Return the condition on approvers of an access request that a viewer is, or belongs to."""
    everything = viewer.sees_all(Privilege.ADMINISTER)
    administered = sa.true() if everything else sa.or_(*_administered(viewer, access_requests))
    approver = access_approvers.c.approver
    return sa.or_(approver.in_(sorted(viewer.principals)), sa.and_(approver == ADMINISTRATORS, administered))


def proposals_waiting(viewer: Viewer | None) -> Condition:
    """Return the condition on contract proposals, joined with their datasets, that wait for a viewer, or for one he
    stands in for.
    """
    row, awaited = contract_proposals.c, sa.select(awaited_consumers.c.proposal_id).correlate(None)
    if viewer is None:
        return row.id.in_(awaited)
    said = (
        sa.and_(
            row.id.in_(awaited.where(awaited_consumers.c.consumer.in_(_owners(one.viewer)))),
            row.proposed_by.not_in(sorted({*_owners(viewer), *_owners(one.viewer)})),
            *((datasets_within(one.kind, one.on),) if one.kind is not SecurableKind.LAKE else _ALL),
        )
        for one in viewer.stands_in
    )
    return sa.or_(row.id.in_(awaited.where(awaited_consumers.c.consumer.in_(_owners(viewer)))), *said)


def deputies_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on deputies that are a viewer's, or that he is."""
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return _ALL
    principals = sorted(viewer.principals)
    return (sa.or_(deputies.c.owner.in_(principals), deputies.c.deputy.in_(principals)),)


def name_seen(viewer: Viewer | None, securable_id: sa.ColumnElement[Any]) -> sa.ColumnElement[str | None]:
    """Return what an object is called now, if a viewer may discover it; else NULL."""
    named = (
        sa.select(namespaces.c.name).where(namespaces.c.id == securable_id, *namespaces_seen(viewer)),
        sa.select(datasets.c.full_name).where(datasets.c.id == securable_id, *datasets_seen(viewer)),
        version_names().where(dataset_versions.c.id == securable_id, *versions_seen(viewer)),
        sa.select(views.c.full_name).where(views.c.id == securable_id, *views_seen(viewer)),
        sa.select(targets.c.name).where(targets.c.id == securable_id, *targets_seen(viewer)),
    )
    return sa.func.coalesce(*(one.correlate(securable_id.table).scalar_subquery() for one in named))


def version_names() -> sa.Select[Any]:
    """Return the query for the names of dataset versions."""
    name = datasets.c.full_name + sa.literal("_v") + sa.cast(dataset_versions.c.number, sa.Text)
    return sa.select(name).join_from(dataset_versions, datasets, datasets.c.id == dataset_versions.c.dataset_id)


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
            return datasets.c.namespace.in_(_names_within(outer, outer.c.id == securable_id))
        case SecurableKind.DATASET:
            return datasets.c.id == securable_id
        case SecurableKind.DATASET_VERSION:
            mine = sa.select(dataset_versions.c.dataset_id).where(dataset_versions.c.id == securable_id)
            return datasets.c.id.in_(mine.correlate(None))
        case SecurableKind.VIEW | SecurableKind.TARGET | SecurableKind.SUBSCRIPTION:
            return sa.false()


def live(viewer: Viewer) -> Condition:
    """Return the condition on grants that have not ended."""
    return sa.or_(grants.c.expires_at.is_(None), grants.c.expires_at > viewer.now)


def _inside(one: StandIn, table: sa.Table) -> Ways:
    """Return the condition on rows that are about something inside a deputy's object; none if that is the lake."""
    if one.kind is SecurableKind.LAKE:
        return _ALL
    outer = namespaces.alias("outer_namespaces")
    names = _names_within(outer, outer.c.id == one.on)
    inside = sa.select(datasets.c.id).where(datasets_within(one.kind, one.on)).correlate(None)
    parts = (
        inside,
        sa.select(namespaces.c.id).where(namespaces.c.name.in_(names)).correlate(None),
        sa.select(views.c.id).where(views.c.namespace.in_(names)).correlate(None),
        sa.select(dataset_versions.c.id).where(dataset_versions.c.dataset_id.in_(inside)).correlate(None),
        sa.select(subscriptions.c.id).where(subscriptions.c.dataset_id.in_(inside)).correlate(None),
    )
    return (table.c.securable_id.in_(sa.union_all(*parts)),)


# --- what a viewer holds, each way by which he may ------------------------------------------------------------------


@_once
def _datasets_held(viewer: Viewer, privilege: Privilege) -> Ways:
    return (
        datasets.c.owner.in_(_owners(viewer)),
        datasets.c.id.in_(_granted(viewer, privilege, SecurableKind.DATASET)),
        datasets.c.namespace.in_(_each(namespaces.c.name, _namespaces_held(viewer, privilege))),
        *(
            datasets_inside(grant.kind, grant.securable_id, grant.tag_expression)
            for grant in viewer.conditional
            if grant.privilege in sufficient_for(privilege)
        ),
    )


@_once
def _views_held(viewer: Viewer, privilege: Privilege) -> Ways:
    return (
        views.c.owner.in_(_owners(viewer)),
        views.c.id.in_(_granted(viewer, privilege, SecurableKind.VIEW)),
        views.c.namespace.in_(_each(namespaces.c.name, _namespaces_held(viewer, privilege))),
    )


@_once
def _namespaces_held(viewer: Viewer, privilege: Privilege) -> Ways:
    outer = namespaces.alias("outer_namespaces")
    granted = _granted(viewer, privilege, SecurableKind.NAMESPACE)
    ways = (outer.c.owner.in_(_owners(viewer)), outer.c.id.in_(granted))
    return tuple(namespaces.c.name.in_(_names_within(outer, way)) for way in ways)


def _names_within(outer: sa.FromClause, which: Condition) -> sa.Select[Any]:
    """Return the names of namespaces that a condition is true of, and of those within them at whatever depth."""
    nested = enclosing_namespaces.alias("nested")
    return sa.select(nested.c.namespace).join(outer, outer.c.name == nested.c.outer).where(which).correlate(None)


@_once
def _targets_held(viewer: Viewer, privilege: Privilege) -> Ways:
    return targets.c.owner.in_(_owners(viewer)), targets.c.id.in_(_granted(viewer, privilege, SecurableKind.TARGET))


@_once
def _subscriptions_held(viewer: Viewer, privilege: Privilege) -> Ways:
    """Return the ways of subscriptions, joined with their datasets: a viewer's own; those of datasets that he
    administers; of datasets that he knows of, those that he was granted it on, or whose target he administers.
    """
    mine = [column.in_(_owners(viewer)) for column in (subscriptions.c.consumer, subscriptions.c.created_by)]
    version = subscriptions.c.dataset_version_id.in_(
        _granted(viewer, Privilege.DISCOVER, SecurableKind.DATASET_VERSION)
    )
    seen = datasets_seen(viewer)
    known = sa.or_(*seen, version) if seen else sa.true()
    administered = _each(targets.c.name, _targets_held(viewer, Privilege.ADMINISTER))
    return (
        *mine,
        *datasets_seen(viewer, Privilege.ADMINISTER),
        sa.and_(subscriptions.c.id.in_(_granted(viewer, privilege, SecurableKind.SUBSCRIPTION)), known),
        sa.and_(subscriptions.c.target.in_(administered), known),
    )


@_once
def _administered(viewer: Viewer, table: sa.Table) -> Ways:
    """Return the conditions on rows that are about an object, each for those that a viewer administers in one way."""
    version = dataset_versions.c
    of_mine = version.dataset_id.in_(_each(datasets.c.id, _datasets_held(viewer, Privilege.ADMINISTER)))
    mine = version.id.in_(_granted(viewer, Privilege.ADMINISTER, SecurableKind.DATASET_VERSION))
    subscription = sa.select(subscriptions.c.id).join(datasets, datasets.c.id == subscriptions.c.dataset_id)
    ways = _subscriptions_held(viewer, Privilege.ADMINISTER)
    administered = {
        SecurableKind.DATASET_VERSION: _each(version.id, [of_mine, mine]),
        SecurableKind.NAMESPACE: _each(namespaces.c.id, _namespaces_held(viewer, Privilege.ADMINISTER)),
        SecurableKind.DATASET: _each(datasets.c.id, _datasets_held(viewer, Privilege.ADMINISTER)),
        SecurableKind.VIEW: _each(views.c.id, _views_held(viewer, Privilege.ADMINISTER)),
        SecurableKind.TARGET: _each(targets.c.id, _targets_held(viewer, Privilege.ADMINISTER)),
        SecurableKind.SUBSCRIPTION: sa.union_all(*(subscription.where(way).correlate(None) for way in ways)),
    }
    return tuple(sa.and_(table.c.kind == kind, table.c.securable_id.in_(ids)) for kind, ids in administered.items())


@_once
def _granted(viewer: Viewer, privilege: Privilege, kind: SecurableKind) -> sa.Select[Any]:
    """Return the ids of the objects of a kind that a viewer was granted a privilege on."""
    granted = sa.select(grants.c.securable_id).where(
        grants.c.principal.in_(sorted(viewer.principals)),
        grants.c.privilege.in_(sorted(sufficient_for(privilege))),
        grants.c.kind == kind,
        grants.c.tag_expression == "",
        live(viewer),
    )
    return granted.correlate(None)


def _each(column: sa.ColumnElement[Any], ways: Sequence[Condition]) -> sa.CompoundSelect[Any]:
    """Return a column of the rows that satisfy any of some conditions, each found by its own index."""
    return sa.union_all(*(sa.select(column).where(way).correlate(None) for way in ways))


def _owners(viewer: Viewer) -> list[str]:
    return sorted(owners_among(viewer.principals))


def _is_name_of(name: sa.ColumnElement[str], viewer: Viewer | None, privilege: Privilege) -> Condition:
    """Return the condition that a name on an edge is that of a live dataset that a viewer holds a privilege on."""
    named = sa.select(datasets.c.id).where(datasets.c.full_name == name, datasets.c.deleted_at.is_(None))
    return named.where(*datasets_seen(viewer, privilege)).correlate_except(datasets).exists()


def _job_edges(wanted: Callable[[sa.ColumnElement[str]], Condition]) -> Condition:
    """Return the condition that a job reads or writes a dataset whose name is as it is wanted."""
    edges = lineage_edges.alias("job_edges")
    edge = edges.c
    read = sa.select(edge.sink_name).where(
        edge.sink_kind == NodeKind.JOB, edge.sink_name == jobs.c.name, wanted(edge.source_name)
    )
    written = sa.select(edge.sink_name).where(
        edge.source_kind == NodeKind.JOB, edge.source_name == jobs.c.name, wanted(edge.sink_name)
    )
    return sa.or_(read.correlate_except(edges).exists(), written.correlate_except(edges).exists())


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
