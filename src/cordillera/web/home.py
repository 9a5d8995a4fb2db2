"""The home page, search, and namespaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request

from cordillera.client.backend import LakeBackend
from cordillera.context import current
from cordillera.spec.catalog import Facet
from cordillera.spec.names import enclosing_names
from cordillera.spec.subscription import SubscriptionState
from cordillera.spec.workflow import RunState
from cordillera.web.links import link
from cordillera.web.paging import Slice, slice_of
from cordillera.web.rendering import Page, PageRouter, backend_of

_FACETS = {"namespace": "Namespace", "owner": "Owner", "tag": "Tag", "lifecycle": "Lifecycle"}
_MOST_FACET_VALUES = 12
_RUN_STATES = (RunState.FAILED, RunState.RUNNING, RunState.QUEUED, RunState.SUCCEEDED, RunState.SUPERSEDED)
_OTHERS = {
    "failed": (SubscriptionState.FAILED,),
    "paused": (SubscriptionState.PAUSED,),
    "waiting": (
        SubscriptionState.REQUESTED,
        SubscriptionState.APPROVED,
        SubscriptionState.PROVISIONING,
        SubscriptionState.FIRST_SYNC,
    ),
}
"""What subscriptions that are neither live nor at their end are counted as."""
_MOST_COUNTED, _RECENT_EVENTS, _SUGGESTIONS, _HITS = 100, 8, 8, 25
_MOST_WAITING, _MOST_PROPOSALS = 5, 50

router = PageRouter()


@dataclass(frozen=True, slots=True)
class Tally:
    """How many objects are in a state. ``more`` says that only the first ones were counted."""

    state: str
    count: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that waits for an answer of whoever looks."""

    what: str
    why: str
    since: datetime
    href: str


@dataclass(frozen=True, slots=True)
class FacetChoice:
    """A value to narrow a search by; following a chosen one's link takes it away again."""

    value: str
    count: int
    chosen: bool
    href: str


@dataclass(frozen=True, slots=True)
class FacetGroup:
    """The values of a facet; ``hidden`` counts those that are not listed."""

    name: str
    label: str
    choices: tuple[FacetChoice, ...]
    hidden: int


@router.page("/")
def home(request: Request) -> Page:
    """Show what is in the lake and what happened last."""
    lake = backend_of(request)
    found = lake.search(limit=1)
    in_namespace = {facet.value: facet.count for facet in found.facets if facet.name == "namespace"}
    namespaces = slice_of(lambda limit: lake.namespaces(limit=limit), lambda one: one.name)
    data = {
        "datasets": found.total,
        "namespaces": namespaces,
        "datasets_in": in_namespace,
        "subscriptions": tally_subscriptions(lake),
        "runs": tally_runs(lake),
        "events": lake.events(limit=_RECENT_EVENTS),
        "waiting": _waiting(lake),
        "most_waiting": _MOST_WAITING,
    }
    return Page("Home", "home.html", data, section="home")


def _waiting(lake: LakeBackend) -> dict[str, list[Waiting]]:
    """Return what waits for whoever looks, the newest of each kind; nothing for the operator, whom all waits for."""
    if current().operator:
        return {"requests": [], "proposals": []}
    requests = lake.access_requests(waiting=True, limit=_MOST_WAITING + 1)
    proposals = lake.awaited_proposals(limit=_MOST_PROPOSALS)
    asked = [
        Waiting(
            f"{one.requester} asks for {', '.join(one.granted)} on {one.on}",
            one.purpose,
            one.requested_at,
            link(f"/access/requests/{one.id}"),
        )
        for one in requests
    ]
    proposed = [
        Waiting(
            f"A change of the contract of {one.dataset}",
            one.proposal.reason,
            one.proposal.proposed_at,
            link(f"/datasets/{one.dataset}", tab="contract"),
        )
        for one in proposals
    ]
    return {"requests": asked, "proposals": proposed}


@router.page("/search/suggestions")
def suggestions(request: Request, q: str = "") -> Page:
    """Show a few hits while somebody types; an HTML fragment."""
    text = q.strip()
    found = backend_of(request).search(text, limit=_SUGGESTIONS) if text else None
    data = {"q": text, "hits": found.hits if found else (), "total": found.total if found else 0}
    return Page("Suggestions", "suggestions.html", data)


@router.page("/search")
def search(
    request: Request,
    q: str = "",
    namespace: str = "",
    owner: str = "",
    tag: str = "",
    lifecycle: str = "",
    after: str = "",
) -> Page:
    """Show the datasets that match words and filters."""
    text = q.strip()
    given = {"namespace": namespace, "owner": owner, "tag": tag, "lifecycle": lifecycle}
    filters = {name: value for name, value in given.items() if value}
    found = backend_of(request).search(text, filters, after, _HITS)
    data = {
        "q": text,
        "filters": filters,
        "hits": Slice(found.hits, found.next_page or ""),
        "total": found.total,
        "facets": facet_groups(found.facets, text, filters),
    }
    return Page(f"Search: {text}" if text else "Datasets", "search.html", data, section="datasets")


@router.page("/namespaces")
def namespaces(request: Request, parent: str = "", after: str = "") -> Page:
    """Show the namespaces, or those directly within one."""
    lake = backend_of(request)
    found = slice_of(lambda limit: lake.namespaces(after, limit, parent=parent or None), lambda one: one.name)
    return Page("Namespaces", "namespaces.html", {"namespaces": found, "parent": parent}, section="datasets")


@router.page("/namespaces/{name}")
def namespace(request: Request, name: str, after: str = "") -> Page:
    """Show a namespace and its datasets."""
    lake = backend_of(request)
    found = lake.namespace(name)
    result = lake.search("", {"namespace": name}, after, _HITS)
    data = {
        "namespace": found,
        "enclosing": enclosing_names(name)[:0:-1],
        "within": slice_of(lambda limit: lake.namespaces(limit=limit, parent=name), lambda one: one.name),
        "hits": Slice(result.hits, result.next_page or ""),
        "total": result.total,
    }
    return Page(name, "namespace.html", data, section="datasets")


def tally_subscriptions(lake: LakeBackend) -> tuple[Tally, ...]:
    """Count subscriptions by how they are, each state by itself, so that the first ones hide no other.

    Live ones are told apart, in step or behind, where all of them are counted.
    """
    live = lake.subscriptions(state=SubscriptionState.LIVE, limit=_MOST_COUNTED + 1)
    if len(live) > _MOST_COUNTED:
        tallies = [Tally("live", _MOST_COUNTED, more=True)]
    else:
        in_step = sum(status.in_step for status in live)
        tallies = [Tally("in step", in_step), Tally("behind", len(live) - in_step)]
    for name, states in _OTHERS.items():
        counts = [len(lake.subscriptions(state=state, limit=_MOST_COUNTED + 1)) for state in states]
        count = sum(min(one, _MOST_COUNTED) for one in counts)
        if count or name == SubscriptionState.FAILED:
            tallies.append(Tally(name, count, max(counts) > _MOST_COUNTED))
    return tuple(tallies)


def tally_runs(lake: LakeBackend, job: str | None = None) -> tuple[Tally, ...]:
    """Count runs, of one job or all, by state, those that need attention first; no more than the newest of each."""
    tallies = []
    for state in _RUN_STATES:
        found = lake.runs(job=job, state=state, limit=_MOST_COUNTED + 1)
        tallies.append(Tally(state, min(len(found), _MOST_COUNTED), len(found) > _MOST_COUNTED))
    return tuple(one for one in tallies if one.count or one.state != RunState.SUPERSEDED)


def facet_groups(facets: Iterable[Facet], text: str, filters: Mapping[str, str]) -> tuple[FacetGroup, ...]:
    """Return the facets with links that set or clear each value as a filter."""
    groups = []
    found = tuple(facets)
    for name, label in _FACETS.items():
        values = [facet for facet in found if facet.name == name and facet.value]
        choices = tuple(
            FacetChoice(
                value=facet.value,
                count=facet.count,
                chosen=filters.get(name) == facet.value,
                href=link(
                    "/search",
                    q=text,
                    **{**filters, name: "" if filters.get(name) == facet.value else facet.value},
                ),
            )
            for facet in values[:_MOST_FACET_VALUES]
        )
        if choices:
            groups.append(FacetGroup(name, label, choices, len(values) - len(choices)))
    return tuple(groups)
