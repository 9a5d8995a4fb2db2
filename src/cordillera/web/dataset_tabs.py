"""Loading what the tabs of a dataset page show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import pyarrow as pa
from starlette.datastructures import QueryParams

from cordillera.client.backend import DatasetDetails, LakeBackend
from cordillera.client.contract_backend import ContractDetails
from cordillera.context import current
from cordillera.errors import AccessDeniedError, ContractNotFoundError, NotFoundError
from cordillera.spec.access import Privilege, whole_principal
from cordillera.spec.access_request import ends_soon
from cordillera.spec.candidate import Candidate
from cordillera.spec.completion import Completion, CompletionUnit
from cordillera.spec.completion_rule import in_words
from cordillera.spec.contract import Contract, ServiceLevel, parse_contract
from cordillera.spec.contract_proposal import ContractProposal, ProposalState
from cordillera.spec.freshness import Freshness, assess, completion_state, promise_in_words, strip
from cordillera.spec.lineage import LineageGraph, Node, NodeKind
from cordillera.spec.narrowed import narrowed_by
from cordillera.web import dataset_views as views
from cordillera.web.access import ask_form, askable
from cordillera.web.health import Health, contract_part, freshness_part, health_of, sync_part
from cordillera.web.lineage_graph import combine, distances, draw
from cordillera.web.links import link
from cordillera.web.paging import Slice, if_allowed, number_or_none, slice_of, uuid_or_none
from cordillera.web.partition_calendar import CalendarSource, partition_calendar
from cordillera.web.preview import preview_of

_PREVIEW_ROWS, _COMPLETIONS, _SUBSCRIPTIONS, _ACTIVITIES = 50, 100, 100, 25
_MOST_EXPANDED, _IMPACT_DEPTH, _MOST_AFFECTED = 10, 10, 50
_REQUESTS, _REVISIONS = 10, 10
_MOST_AWAITED = 1000

_T = TypeVar("_T")
_parsed = lru_cache(maxsize=200)(parse_contract)


@dataclass(frozen=True, slots=True)
class Visit:
    """A visit to a dataset page: what every tab needs to know."""

    lake: LakeBackend
    name: str
    details: DatasetDetails
    query: QueryParams
    now: datetime
    base_url: str
    contract: ContractDetails | None
    parsed: Contract | None
    completions: tuple[Completion, ...]

    @property
    def full_name(self) -> str:
        """The dataset's name without a dataset version."""
        return self.details.dataset.full_name

    @property
    def unit(self) -> CompletionUnit:
        """How the dataset version is cut into partitions."""
        return CompletionUnit(self.details.version.completion_unit)

    @property
    def promised(self) -> ServiceLevel:
        """What the contract promises about time."""
        return self.parsed.service_level if self.parsed else ServiceLevel()


def begin_visit(lake: LakeBackend, name: str, query: QueryParams, now: datetime, base_url: str) -> Visit:
    """Load what the head of every tab shows."""
    details = lake.dataset(name)
    try:
        contract = lake.contract(name)
    except ContractNotFoundError:
        contract = None
    return Visit(
        lake=lake,
        name=name,
        details=details,
        query=query,
        now=now,
        base_url=base_url,
        contract=contract,
        parsed=_parsed(contract.text) if contract else None,
        completions=tuple(lake.completions(name, limit=_COMPLETIONS)),
    )


def freshness(visit: Visit) -> Freshness:
    """Return how the dataset stands to what is promised about time."""
    return assess(visit.unit, visit.promised, visit.completions, visit.now)


def health(visit: Visit) -> Health:
    """Return the dataset's health."""
    followers = visit.lake.subscriptions(dataset=visit.full_name, limit=_SUBSCRIPTIONS)
    mine = [one for one in followers if one.subscription.dataset_version_id == visit.details.version.id]
    parts = [freshness_part(freshness(visit), visit.now), sync_part(mine, visit.now), contract_part(visit.contract)]
    return health_of(parts)


def _overview(visit: Visit) -> dict[str, Any]:
    latest = if_allowed(lambda: visit.lake.snapshots(visit.name, limit=1))
    return {
        "snippets": views.snippets(visit.name, visit.details, visit.base_url),
        "latest_snapshot": latest[0] if latest else None,
        "promise": promise_in_words(visit.promised),
        "support": visit.contract.support if visit.contract else (),
        "edits": _may(visit, Privilege.ALTER),
    }


def _schema(visit: Visit) -> dict[str, Any]:
    return {"rows": views.column_rows(visit.details, visit.parsed)}


def _preview(visit: Visit) -> dict[str, Any]:
    rows = visit.lake.scan(visit.name, limit=_PREVIEW_ROWS)
    narrowed = [one.in_words() for one in narrowed_by(rows.schema)]
    return {"preview": preview_of(pa.Table.from_batches(rows, rows.schema)), "narrowed": narrowed}


def _snapshots(visit: Visit) -> dict[str, Any]:
    before = number_or_none(visit.query.get("before", ""))
    found = slice_of(
        lambda limit: visit.lake.snapshots(visit.name, before, limit), lambda snapshot: snapshot.sequence_number
    )
    return {"snapshots": found}


def _layout(visit: Visit) -> dict[str, Any]:
    return {"advice": visit.lake.advise(visit.name)}


def _contract(visit: Visit) -> dict[str, Any]:
    newest = visit.lake.contract_proposals(visit.name, limit=1) if visit.contract else []
    proposals = [one for one in newest if one.state is ProposalState.OPEN]
    speaks_for, decides_as_deputy = _say(visit, proposals)
    return {
        "contract": visit.contract,
        "put_at": datetime.fromisoformat(visit.contract.put_at) if visit.contract else None,
        "promise": promise_in_words(visit.promised),
        "latency": visit.promised.latency and str(visit.promised.latency),
        "retention": visit.promised.retention and str(visit.promised.retention),
        "rules": views.rule_rows(visit.parsed, visit.contract.costs) if visit.parsed and visit.contract else (),
        "proposals": proposals,
        "candidates": _candidates(visit),
        "speaks_for": speaks_for,
        "edits": _may(visit, Privilege.ALTER),
        "decides": decides_as_deputy or _may(visit, Privilege.ADMINISTER),
        "revisions": slice_of(
            lambda limit: visit.lake.contract_revisions(
                visit.name, number_or_none(visit.query.get("before", "")), limit
            ),
            lambda revision: revision.revision,
            _REVISIONS,
        ),
    }


def _candidates(visit: Visit) -> Sequence[Candidate]:
    """Return what the contract has refused, the one that is asked about with examples."""
    asked = visit.query.get("candidate", "")
    found = if_allowed(lambda: visit.lake.candidates(visit.name)) if visit.contract else []
    return [visit.lake.candidate(visit.name, one.branch) if one.branch == asked else one for one in found]


def _completions(visit: Visit) -> dict[str, Any]:
    rule = visit.lake.completion_rule(visit.name)
    source = CalendarSource(visit.lake, visit.name, visit.full_name, visit.unit, visit.promised, visit.completions)
    before = visit.query.get("before") or None
    found = slice_of(
        lambda limit: visit.lake.completions(visit.name, before, limit), lambda completion: completion.partition
    )
    return {
        "unit": visit.unit,
        "freshness": freshness(visit),
        "service_level": visit.lake.service_level(visit.name),
        "strip": strip(visit.unit, visit.promised, visit.completions, visit.now),
        "completions": found,
        "calendar": partition_calendar(
            source, visit.query.get("period", ""), visit.query.get("partition", ""), visit.now
        ),
        "states": [completion_state(visit.unit, visit.promised, one) for one in found.items],
        "rule": rule,
        "rule_words": in_words(rule.rule) if rule else "",
    }


def _subscriptions(visit: Visit) -> dict[str, Any]:
    after = uuid_or_none(visit.query.get("after", ""))
    found = slice_of(
        lambda limit: visit.lake.subscriptions(dataset=visit.full_name, after=after, limit=limit),
        lambda status: status.subscription.id,
    )
    lags = [views.lag(status, visit.now) for status in found.items]
    return {"subscriptions": found, "lags": lags, "relied_on": visit.lake.consumers(visit.name)}


def _lineage(visit: Visit) -> dict[str, Any]:
    focus = Node(NodeKind.DATASET, visit.full_name)
    graph = visit.lake.lineage(focus, upstream=1, downstream=1)
    expanded = visit.query.getlist("expand")[:_MOST_EXPANDED]
    for text in expanded:
        graph = _expand(visit.lake, graph, text)
    edge = visit.query.get("edge", "")
    below = _downstream(visit.lake, focus)
    reached = views.affected(below, _MOST_AFFECTED)
    return {
        "drawing": draw(graph, f"/datasets/{visit.name}", expanded, edge),
        "edge": views.neighbourhood(graph, edge),
        "impact": views.owned(reached, {one.node: _owner(visit.lake, one.node) for one in reached}),
        "unlisted": max(len(below.nodes()) - 1 - len(reached), 0) + sum(count for _, count in below.more),
        "close": link(f"/datasets/{visit.name}", "graph", tab="lineage", expand=expanded),
    }


def _downstream(lake: LakeBackend, focus: Node) -> LineageGraph:
    """Return what is downstream of a dataset, level by level, until there is as much as a page shows."""
    graph = lake.lineage(focus, upstream=0, downstream=1)
    for depth in range(2, _IMPACT_DEPTH + 1):
        if len(graph.nodes()) > _MOST_AFFECTED:
            break
        deeper = lake.lineage(focus, upstream=0, downstream=depth)
        if len(deeper.edges) == len(graph.edges):
            break
        graph = deeper
    return graph


def _expand(lake: LakeBackend, graph: LineageGraph, text: str) -> LineageGraph:
    """Return the graph with the further neighbours of one of its nodes, on the node's side of the focus."""
    node = views.parse_node(text)
    side = distances(graph).get(node, 0) if node else 0
    if node is None or side == 0:
        return graph
    return combine(graph, lake.lineage(node, upstream=int(side < 0), downstream=int(side > 0)))


def _owner(lake: LakeBackend, node: Node) -> str:
    """Return who to talk to about a node. The graph may name what has gone since."""
    try:
        match node.kind:
            case NodeKind.DATASET:
                return lake.dataset(node.name).dataset.owner
            case NodeKind.JOB:
                return lake.job(node.name).owner
            case NodeKind.TARGET:
                return lake.target(node.name.partition(":")[0]).owner
    except NotFoundError:
        return ""


def _access(visit: Visit) -> dict[str, Any]:
    on = visit.full_name
    after = uuid_or_none(visit.query.get("after", ""))
    try:
        held = _held(visit.lake, on, askable(on))
    except AccessDeniedError:  # he may see a dataset version only
        on = str(visit.details.dataset.ref(visit.details.version.number))
        held = _held(visit.lake, on, askable(on))
    found = slice_of(lambda limit: visit.lake.access_requests(on=on, limit=limit), lambda one: one.id, _REQUESTS)
    operator = current().operator
    return {
        "me": whole_principal(current().principal),
        "on": on,
        "operator": operator,
        "held": held,
        "requests": found,
        "ending": [ends_soon(one, visit.now) for one in found.items],
        "holders": _allowed_slice(
            lambda limit: visit.lake.holders(on, after=after, limit=limit), lambda grant: grant.id
        ),
        "form": None if operator or Privilege.ADMINISTER in held else ask_form(on),
    }


def _held(lake: LakeBackend, on: str, wanted: Sequence[Privilege]) -> list[Privilege]:
    """Return which of some privileges whoever looks holds on an object."""
    me = whole_principal(current().principal)
    return [one for one in wanted if lake.explain_access(me, one, on).allowed]


def _say(visit: Visit, proposals: Sequence[ContractProposal]) -> tuple[bool, bool]:
    """Tell whether whoever looks can acknowledge the open proposal for one whom it waits for, and override others.

    Others than those whom he speaks for he is told of only if he may override them.
    """
    waiting = {one.id: set(one.waiting_for) for one in proposals if one.waiting_for}
    if not waiting or current().operator:
        return bool(waiting), False
    awaited = visit.lake.awaited_proposals(limit=_MOST_AWAITED)
    mine = {one.proposal.id: set(one.proposal.waiting_for) for one in awaited}
    return not waiting.keys().isdisjoint(mine), any(those - mine.get(one, set()) for one, those in waiting.items())


def _may(visit: Visit, privilege: Privilege) -> bool:
    return current().operator or bool(if_allowed(lambda: _held(visit.lake, visit.full_name, [privilege])))


def _activity(visit: Visit) -> dict[str, Any]:
    return {
        "events": visit.lake.events(dataset=visit.full_name, limit=_ACTIVITIES),
        "audit": if_allowed(lambda: visit.lake.audit(object_name=visit.full_name, limit=_ACTIVITIES)),
    }


def _allowed_slice(fetch: Callable[[int], list[_T]], cursor: Callable[[_T], object]) -> Slice[_T] | None:
    """Return a list in pages; None to who may not see it."""
    try:
        return slice_of(fetch, cursor)
    except AccessDeniedError:
        return None


TABS: Mapping[str, Callable[[Visit], dict[str, Any]]] = {
    "overview": _overview,
    "schema": _schema,
    "preview": _preview,
    "snapshots": _snapshots,
    "layout": _layout,
    "contract": _contract,
    "completions": _completions,
    "subscriptions": _subscriptions,
    "lineage": _lineage,
    "access": _access,
    "activity": _activity,
}
"""The tabs by the names that URLs use, in their order, with what loads them."""
