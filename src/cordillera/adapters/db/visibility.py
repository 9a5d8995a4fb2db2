"""What a viewer may see, as conditions on queries, so that pages come out full and counts right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from cordillera.adapters.db.contents import namespaces_seen
from cordillera.adapters.db.holdings import (
    Condition,
    Ways,
    datasets_held,
    datasets_within,
    each,
    granted,
    names_within,
    namespaces_held,
    once,
    owners,
    targets_held,
    views_held,
)
from cordillera.adapters.db.schema import (
    access_approvers,
    access_requests,
    awaited_consumers,
    contract_proposals,
    dataset_versions,
    datasets,
    deputies,
    destinations,
    events,
    grants,
    jobs,
    lineage_edges,
    namespaces,
    subscriptions,
    targets,
    views,
)
from cordillera.spec.access import Privilege, SecurableKind, StandIn, Viewer
from cordillera.spec.access_request import ADMINISTRATORS
from cordillera.spec.lineage import NodeKind

_ALL: Ways = ()


def datasets_seen(viewer: Viewer | None, privilege: Privilege = Privilege.DISCOVER) -> Ways:
    """Return the condition on datasets that a viewer holds a privilege on; none if that is every dataset."""
    if viewer is None or viewer.sees_all(privilege):
        return _ALL
    return (sa.or_(*datasets_held(viewer, privilege)),)


def versions_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on dataset versions, joined with their datasets, that a viewer may discover."""
    seen = datasets_seen(viewer)
    if viewer is None or not seen:
        return seen
    versions = granted(viewer, Privilege.DISCOVER, SecurableKind.DATASET_VERSION)
    return (sa.or_(*seen, dataset_versions.c.id.in_(versions)),)


def views_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on views that a viewer may discover."""
    if viewer is None or viewer.sees_all(Privilege.DISCOVER):
        return _ALL
    return (sa.or_(*views_held(viewer, Privilege.DISCOVER)),)


def targets_seen(viewer: Viewer | None, privilege: Privilege = Privilege.DISCOVER) -> Ways:
    """Return the condition on targets that a viewer holds a privilege on."""
    if viewer is None or viewer.sees_all(privilege):
        return _ALL
    return (sa.or_(*targets_held(viewer, privilege)),)


def subscriptions_seen(viewer: Viewer | None, privilege: Privilege = Privilege.DISCOVER) -> Ways:
    """Return the condition on subscriptions, joined with their datasets, that a viewer holds a privilege on."""
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return _ALL
    return (sa.or_(*_subscriptions_held(viewer, privilege)),)


def jobs_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on jobs that are a viewer's, or of which he administers a dataset and may discover all."""
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return _ALL
    mine = [column.in_(owners(viewer)) for column in (jobs.c.owner, jobs.c.on_behalf_of)]
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
        return of.in_(each(targets.c.name, targets_held(viewer, Privilege.DISCOVER)))

    return (
        sa.or_(*(sa.and_(edge.source_kind == kind, shown(kind, edge.source_name)) for kind in NodeKind)),
        sa.or_(*(sa.and_(edge.sink_kind == kind, shown(kind, edge.sink_name)) for kind in NodeKind)),
    )


def events_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on events about datasets that a viewer may discover.

    The offsets keep PostgreSQL from going through all dataset versions, and all datasets, for the events of a page.
    """
    if viewer is None or viewer.sees_all(Privilege.DISCOVER):
        return _ALL
    seen = datasets_seen(viewer)
    by_version = sa.select(dataset_versions.c.id).join(datasets, datasets.c.id == dataset_versions.c.dataset_id)
    by_name = sa.select(datasets.c.id).where(datasets.c.full_name == events.c.dataset, datasets.c.deleted_at.is_(None))
    by_view = events.c.dataset.in_(each(views.c.full_name, views_held(viewer, Privilege.DISCOVER)))
    return (
        sa.or_(
            by_version.where(dataset_versions.c.id == events.c.dataset_version_id, *versions_seen(viewer))
            .correlate(events)
            .offset(0)
            .exists(),
            sa.and_(
                events.c.dataset_version_id.is_(None),
                sa.or_(by_name.where(*seen).correlate(events).offset(0).exists(), by_view),
            ),
        ),
    )


def destinations_seen(viewer: Viewer | None) -> Ways:
    """Return the condition on destinations that are a viewer's."""
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return _ALL
    return (destinations.c.owner.in_(owners(viewer)),)


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
            row.id.in_(awaited.where(awaited_consumers.c.consumer.in_(owners(one.viewer)))),
            row.proposed_by.not_in(sorted({*owners(viewer), *owners(one.viewer)})),
            *((datasets_within(one.kind, one.on),) if one.kind is not SecurableKind.LAKE else _ALL),
        )
        for one in viewer.stands_in
    )
    return sa.or_(row.id.in_(awaited.where(awaited_consumers.c.consumer.in_(owners(viewer)))), *said)


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


def _inside(one: StandIn, table: sa.Table) -> Ways:
    """Return the condition on rows that are about something inside a deputy's object; none if that is the lake."""
    if one.kind is SecurableKind.LAKE:
        return _ALL
    outer = namespaces.alias("outer_namespaces")
    names = names_within(outer, outer.c.id == one.on)
    inside = sa.select(datasets.c.id).where(datasets_within(one.kind, one.on)).correlate(None)
    parts = (
        inside,
        sa.select(namespaces.c.id).where(namespaces.c.name.in_(names)).correlate(None),
        sa.select(views.c.id).where(views.c.namespace.in_(names)).correlate(None),
        sa.select(dataset_versions.c.id).where(dataset_versions.c.dataset_id.in_(inside)).correlate(None),
        sa.select(subscriptions.c.id).where(subscriptions.c.dataset_id.in_(inside)).correlate(None),
    )
    return (table.c.securable_id.in_(sa.union_all(*parts)),)


@once
def _subscriptions_held(viewer: Viewer, privilege: Privilege) -> Ways:
    """Return the ways of subscriptions, joined with their datasets: a viewer's own; those of datasets that he
    administers; of datasets that he knows of, those that he was granted it on, or whose target he administers.
    """
    mine = [column.in_(owners(viewer)) for column in (subscriptions.c.consumer, subscriptions.c.created_by)]
    version = subscriptions.c.dataset_version_id.in_(granted(viewer, Privilege.DISCOVER, SecurableKind.DATASET_VERSION))
    seen = datasets_seen(viewer)
    known = sa.or_(*seen, version) if seen else sa.true()
    administered = each(targets.c.name, targets_held(viewer, Privilege.ADMINISTER))
    return (
        *mine,
        *datasets_seen(viewer, Privilege.ADMINISTER),
        sa.and_(subscriptions.c.id.in_(granted(viewer, privilege, SecurableKind.SUBSCRIPTION)), known),
        sa.and_(subscriptions.c.target.in_(administered), known),
    )


@once
def _administered(viewer: Viewer, table: sa.Table) -> Ways:
    """Return the conditions on rows that are about an object, each for those that a viewer administers in one way."""
    version = dataset_versions.c
    of_mine = version.dataset_id.in_(each(datasets.c.id, datasets_held(viewer, Privilege.ADMINISTER)))
    mine = version.id.in_(granted(viewer, Privilege.ADMINISTER, SecurableKind.DATASET_VERSION))
    subscription = sa.select(subscriptions.c.id).join(datasets, datasets.c.id == subscriptions.c.dataset_id)
    ways = _subscriptions_held(viewer, Privilege.ADMINISTER)
    administered = {
        SecurableKind.DATASET_VERSION: each(version.id, [of_mine, mine]),
        SecurableKind.NAMESPACE: each(namespaces.c.id, namespaces_held(viewer, Privilege.ADMINISTER)),
        SecurableKind.DATASET: each(datasets.c.id, datasets_held(viewer, Privilege.ADMINISTER)),
        SecurableKind.VIEW: each(views.c.id, views_held(viewer, Privilege.ADMINISTER)),
        SecurableKind.TARGET: each(targets.c.id, targets_held(viewer, Privilege.ADMINISTER)),
        SecurableKind.SUBSCRIPTION: sa.union_all(*(subscription.where(way).correlate(None) for way in ways)),
    }
    return tuple(sa.and_(table.c.kind == kind, table.c.securable_id.in_(ids)) for kind, ids in administered.items())


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
