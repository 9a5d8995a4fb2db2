"""What the database decides about one object and about lists, compared with a plain model of the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordillera.access.authorizer import GrantAuthorizer
from cordillera.adapters.db import open_metadata_store, seen
from cordillera.context import acting
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import (
    LAKE_ID,
    Grant,
    Membership,
    PolicyTag,
    Privilege,
    SecurableKind,
    Viewer,
    grantable_on,
    implied_by,
    sufficient_for,
    whole_principal,
)
from cordillera.spec.access_request import ADMINISTRATORS, AccessRequest, ApprovalRule, RequestState, RequestStep
from cordillera.spec.access_tags import All as Both
from cordillera.spec.access_tags import Among, Missing, Not, TagExpression, describe, fulfils, parse_tag_expression
from cordillera.spec.access_tags import Any as Either
from cordillera.spec.catalog import Dataset, DatasetVersion, Lifecycle, Namespace
from cordillera.spec.deputy import Deputy, Duty
from cordillera.spec.event import Circumstances, Topic
from cordillera.spec.lineage import Edge, Node, NodeKind
from cordillera.spec.names import enclosing_names
from cordillera.spec.subscription import Subscription, Target
from cordillera.spec.workflow import Job, Run, RunState
from cordillera.testing.metadata_samples import NOW, add_dataset, job, later, namespace, run, subscription, target
from tests.examples import examples

PRINCIPALS = ("user:a", "user:b", "service:s", "group:g", "group:h", "role:r", "role:q")
OWNERS = (*PRINCIPALS, "a", "b", "nobody")
SPACES = ("x", "y", "x.in", "x.in.deep")
DATASETS = ("x.one", "x.two", "y.one", "x.in.one", "x.in.deep.one")
VERSIONS = tuple(f"{name}_v{number}" for name in DATASETS for number in (1, 2))
TARGET = "target"
FOLLOWING = tuple(f"{name} followed" for name in DATASETS)
"""The subscriptions: one to the first dataset version of each dataset."""
NAMES, VALUES = ("level", "domain"), ("low", "high")

expressions: st.SearchStrategy[TagExpression] = st.recursive(
    st.one_of(
        st.builds(
            Among,
            st.sampled_from(NAMES),
            st.sets(st.sampled_from(VALUES), min_size=1).map(lambda found: tuple(sorted(found))),
            st.booleans(),
        ),
        st.builds(Missing, st.sampled_from(NAMES), st.booleans()),
    ),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Both, st.tuples(inner, inner)),
        st.builds(Either, st.tuples(inner, inner)),
    ),
    max_leaves=4,
)
objects = st.sampled_from(["", *SPACES, *DATASETS, *VERSIONS, TARGET, *FOLLOWING])
grants = st.tuples(
    st.sampled_from(PRINCIPALS),
    st.sampled_from(list(Privilege)),
    objects,
    st.one_of(st.none(), expressions),
    st.sampled_from([None, -1, 1]),  # seconds after now when it ends
    st.sampled_from(["", "rows", "masked", "clear", "tagged"]),  # how a grant to read is narrowed
)
NARROWED: dict[str, dict[str, Any]] = {
    "": {},
    "rows": {"row_filter": "id > 1"},
    "masked": {"masks": {"other": "null"}},
    "clear": {"masks": {"COLUMN": "clear"}},
    "tagged": {"tag_masks": {"kind = 'pii'": "hash"}},
}
SECONDS = count()
"""Two runs begin in each; those of an example after those of all before."""
OWNED = (*SPACES, *DATASETS, TARGET, *FOLLOWING)
"""What has an owner; a subscription's is its consumer."""
worlds = st.fixed_dictionaries(
    {
        "owners": st.fixed_dictionaries({name: st.sampled_from(OWNERS) for name in OWNED}),
        "members": st.lists(
            st.tuples(st.sampled_from([one for one in PRINCIPALS if one[0] in "gr"]), st.sampled_from(PRINCIPALS)),
            max_size=6,
        ),
        "grants": st.lists(grants, max_size=6),
        "tags": st.dictionaries(
            st.tuples(st.sampled_from([*SPACES, *DATASETS]), st.sampled_from(NAMES)), st.sampled_from(VALUES)
        ),
        "masked": st.sets(st.sampled_from(DATASETS), max_size=2),  # those with a column that a policy tag masks
        "deleted": st.sets(st.sampled_from(DATASETS), max_size=1),
        "requests": st.dictionaries(
            st.sampled_from([*SPACES, *DATASETS]), st.tuples(st.sampled_from(PRINCIPALS), st.sampled_from(PRINCIPALS))
        ),
        "rules": st.lists(st.tuples(expressions, st.sampled_from(PRINCIPALS)), max_size=3),
        "deputies": st.lists(
            st.tuples(
                st.sampled_from(PRINCIPALS),
                st.sampled_from(PRINCIPALS),
                st.sampled_from(["", *SPACES, *DATASETS]),
                st.sampled_from([-1, 0, 1]),  # seconds after now when it ends; it began two before
            ),
            max_size=4,
        ),
        "jobs": st.lists(
            st.tuples(
                st.sampled_from(OWNERS),
                st.sampled_from(["", *PRINCIPALS]),  # on whose behalf it runs
                st.sets(st.sampled_from(DATASETS), max_size=2),  # what it reads
                st.sampled_from(DATASETS),
            ),
            max_size=5,
        ),
    }
)


@dataclass
class World:
    """A model of a lake, and the same in a database, beside what other examples left there."""

    given: dict[str, Any]
    mark: str = field(default_factory=lambda: f"m{uuid4().hex[:10]}")
    spaces: dict[str, Namespace] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    versions: dict[str, DatasetVersion] = field(default_factory=dict)
    target: Target = field(default_factory=lambda: replace(target(), id=uuid4()))
    following: dict[str, Subscription] = field(default_factory=dict)
    told: dict[int, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def whom(self, principal: str) -> str:
        """Return a principal that no other example has."""
        return f"{principal}_{self.mark}"

    def __post_init__(self) -> None:
        """Let there be one grant of a principal, a privilege, an object and an expression: the last given. None of
        tags on a dataset version, a target or a subscription, and none of rows on what has none.
        """
        known, rowless = self.given["grants"], (TARGET, *FOLLOWING)
        known = [(*one[:3], None if one[2] in (*VERSIONS, *rowless) else one[3], *one[4:]) for one in known]
        self.given["grants"] = [(*one[:5], "" if one[2] in rowless else one[5]) for one in known]
        same = {(one[0], one[1], one[2], describe(one[3]) if one[3] else ""): one for one in self.given["grants"]}
        self.given["grants"] = list(same.values())

    # --- the model -----------------------------------------------------------------------------------------------

    def closure(self, principal: str) -> set[str]:
        found, before = {principal}, set()
        while found != before:
            before = set(found)
            found |= {container for container, member in self.given["members"] if member in found}
        return found

    def mine(self, principal: str) -> set[str]:
        """Return the principals that somebody is, as the database has them."""
        return {self.whom(one) for one in self.closure(principal)}

    def held(self, principal: str, name: str) -> set[Privilege]:
        """Return what somebody holds on a namespace, a dataset or a dataset version by the rules, one by one."""
        mine, version = self.closure(principal), name if name in VERSIONS else ""
        name = name[:-3] if version else name
        inside_of = ("", *reversed(enclosing_names(name)))
        if any(whole_principal(self.given["owners"][one]) in mine for one in inside_of if one):
            return set(Privilege)
        tags = self.tags(name)
        held: set[Privilege] = set()
        for who, privilege, on, expression, ends, how in self.given["grants"]:
            fits = expression is None or (name in DATASETS and fulfils(tags, expression))
            if who in mine and (on in inside_of or on == version) and fits and ends != -1:
                wide = privilege is not Privilege.READ or self.shows_all(how, name)
                held |= implied_by(privilege) - (set() if wide else {Privilege.READ})
        return held

    def held_on_subscription(self, principal: str, name: str) -> set[Privilege]:
        """Return what somebody holds on the subscription to a dataset by the rules, one by one."""
        mine, followed = self.closure(principal), f"{name} followed"
        owns = [one for one in (followed, TARGET) if whole_principal(self.given["owners"][one]) in mine]
        on_dataset = self.held(principal, name)
        if followed in owns or Privilege.ADMINISTER in on_dataset:
            return set(Privilege)
        if Privilege.DISCOVER not in on_dataset | self.held(principal, f"{name}_v1"):
            return set()
        given = {
            (privilege, on)
            for who, privilege, on, _, ends, _ in self.given["grants"]
            if who in mine and ends != -1 and on in (followed, TARGET)
        }
        if TARGET in owns or (Privilege.ADMINISTER, TARGET) in given:
            return set(Privilege)
        granted = {privilege for privilege, on in given if on == followed}
        meant = set(grantable_on(SecurableKind.SUBSCRIPTION))
        held = {one for privilege in granted for one in implied_by(privilege)}
        return held if Privilege.ADMINISTER in held else held & meant

    def sees_job(self, principal: str, place: int) -> bool:
        """Tell whether somebody sees a job by the rules: it is his, or he knows all that it is about, and has some."""
        owner, behalf, reads, writes = self.given["jobs"][place]
        mine = self.closure(principal)
        on_lake = {
            one[1] for one in self.given["grants"] if one[0] in mine and not one[2] and not one[3] and one[4] != -1
        }
        if Privilege.ADMINISTER in on_lake or {whole_principal(owner), behalf} & mine:
            return True
        gone = self.given["deleted"]
        held = [set() if name in gone else self.held(principal, name) for name in (*reads, writes)]
        return any(Privilege.ADMINISTER in one for one in held) and all(Privilege.DISCOVER in one for one in held)

    def shows_all(self, how: str, name: str) -> bool:
        """Tell whether a grant to read shows every row and column of a dataset as it is."""
        if name not in DATASETS:
            return not how
        return how == "clear" or (name not in self.given["masked"] and how in ("", "tagged"))

    # --- the database --------------------------------------------------------------------------------------------

    def store(self, tx: Transaction) -> None:
        """Put everything into a database."""
        owner = lambda name: f"{self.given['owners'][name]}_{self.mark}"  # noqa: E731
        for name in SPACES:
            self.spaces[name] = replace(namespace(f"{self.mark}_{name}"), owner=owner(name))
            tx.namespaces.insert(self.spaces[name])
        for name in DATASETS:
            self.datasets[name], first = add_dataset(tx, f"{self.mark}_{name}", owner=owner(name))
            second = replace(first, id=uuid4(), number=2, lifecycle=Lifecycle.UNRELEASED, location=f"{first.location}2")
            tx.dataset_versions.insert(second, [])
            self.versions |= {f"{name}_v1": first, f"{name}_v2": second}
        self.target = replace(self.target, name=f"{self.mark}_{TARGET}", owner=owner(TARGET))
        tx.targets.insert(self.target)
        for name in DATASETS:
            made = subscription(self.datasets[name], self.versions[f"{name}_v1"], name, target=self.target.name)
            made = replace(made, id=uuid4(), consumer=owner(f"{name} followed"), created_by="nobody")
            self.following[f"{name} followed"] = made
            tx.subscriptions.insert(made)
        for name in self.given["deleted"]:
            gone = replace(self.datasets[name], deleted_at=NOW, purge_after=later(99))
            tx.datasets.update(gone)
            self.datasets[name] = gone
        for container, member in self.given["members"]:
            tx.memberships.put(Membership(self.whom(container), self.whom(member), "x", NOW))
        for who, privilege, on, expression, ends, how in self.given["grants"]:
            kind, securable_id = self._place(on)
            ends_at = None if ends is None else NOW + timedelta(seconds=ends)
            text = describe(expression) if expression is not None else ""
            given = Grant(
                uuid4(), self.whom(who), privilege, kind, securable_id, "", text, False, "x", NOW, ends_at, ""
            )
            narrowing = NARROWED[how] if privilege is Privilege.READ else {}
            tx.grants.put(replace(given, **narrowing))
        for name in self.given["masked"]:
            kind, securable_id = self._place(name)
            tx.policy_tags.put(PolicyTag(kind, securable_id, "", "column", "kind", "pii", "x", NOW, "hash"))
        for (on, name), value in self.given["tags"].items():
            kind, securable_id = self._place(on)
            tx.policy_tags.put(PolicyTag(kind, securable_id, "", "", name, value, "x", NOW))

        for on, (requester, approver) in self.given["requests"].items():
            tx.access_requests.insert(self._request(on, requester, approver))
        for rule in tx.approval_rules.all():
            tx.approval_rules.delete(rule.tag_expression, rule.approver)
        for expression, approver in self.given["rules"]:
            tx.approval_rules.put(ApprovalRule(describe(expression), approver, "x", NOW))
        self._store_deputies(tx)
        self._store_events(tx)
        self._store_jobs(tx)

    def _store_jobs(self, tx: Transaction) -> None:
        for place, (owner, behalf, reads, writes) in enumerate(self.given["jobs"]):
            name, for_whom = f"{self.mark}_job.{place}", behalf and self.whom(behalf)
            made = job(name, owner=f"{owner}_{self.mark}", on_behalf_of=for_whom)
            node, output = Node(NodeKind.JOB, name), Node(NodeKind.DATASET, self.datasets[writes].full_name)
            inputs = [Node(NodeKind.DATASET, self.datasets[one].full_name) for one in reads]
            tx.jobs.insert(made)
            tx.lineage.put([*(Edge(one, node) for one in inputs), Edge(node, output)], NOW)
            self.jobs.append(made)
        for place, made in enumerate(self.jobs * 2):
            state, partition = (RunState.FAILED, "day") if place % 3 else (RunState.SUCCEEDED, "night")
            begun = later(next(SECONDS) // 2)
            self.runs.append(run(made, partition, place, state=state, created_at=begun))
            tx.runs.insert(self.runs[-1])

    def _store_events(self, tx: Transaction) -> None:
        """Let two events be told of every dataset version, and of every dataset: as of its only one of its name."""
        about = [(name, self.versions[name].id) for name in VERSIONS]
        about += [(name, None) for name in DATASETS if name not in self.given["deleted"]]
        for name, version_id in (*about, *about):
            dataset = self.datasets[name if version_id is None else name[:-3]].full_name
            circumstances = Circumstances(Topic.SNAPSHOT_COMMITTED, NOW, "x", "", dataset, version_id)
            self.told[tx.events.append(circumstances, {})] = name

    def _store_deputies(self, tx: Transaction) -> None:
        for owner, deputy, on, ends in self.given["deputies"]:
            kind, securable_id = self._place(on)
            who, duties = self.whom(deputy), (Duty.ACCESS_REQUESTS,)
            begins, over = later(-2), later(ends)
            tx.deputies.insert(
                Deputy(uuid4(), self.whom(owner), who, duties, kind, securable_id, on, begins, over, "", "x", NOW)
            )

    def _request(self, on: str, requester: str, approver: str) -> AccessRequest:
        kind, securable_id = self._place(on)
        who, read = self.whom(requester), (Privilege.READ,)
        approvers = (ADMINISTRATORS, self.whom(approver))
        return AccessRequest(
            uuid4(), who, kind, securable_id, "as asked", read, on, 9, RequestState.REQUESTED, read, 9,
            approvers, approvers, NOW, None, None, (RequestStep(RequestState.REQUESTED, who, NOW, on),),
        )  # fmt: skip

    def seen_requests(self, principal: str) -> dict[str, bool]:
        """Return the objects of the requests that somebody may see, and whether they wait for him."""
        mine, found = self.closure(principal), {}
        for on, (requester, approver) in self.given["requests"].items():
            says = any(
                approver in self.closure(one) or Privilege.ADMINISTER in self.held(one, on)
                for one in (principal, *self.stood_in_for(mine, on, requester))
            )
            if says or requester in mine:
                found[on] = says and requester not in mine
        return found

    def stood_in_for(self, mine: set[str], on: str, requester: str) -> list[str]:
        """Return the owners for whom somebody decides about a request on an object."""
        return [
            owner
            for owner, deputy, scope, ends in self.given["deputies"]
            if deputy in mine
            and ends > 0
            and (not scope or scope in enclosing_names(on))
            and requester not in self.closure(owner)
        ]

    def needed(self, name: str) -> set[str]:
        """Return who has to approve requests for a namespace or a dataset by the rules."""
        inside = [one for one in DATASETS if one == name or one.startswith(f"{name}.")]
        live = [one for one in inside if one not in self.given["deleted"]]
        tags = [self.tags(one) for one in live]
        return {approver for expression, approver in self.given["rules"] if any(fulfils(t, expression) for t in tags)}

    def tags(self, name: str) -> dict[str, str]:
        """Return the tags that a namespace or a dataset has."""
        tags: dict[str, str] = {}
        for outer in reversed(enclosing_names(name)):
            tags |= {key: value for (on, key), value in self.given["tags"].items() if on == outer}
        return tags

    def _place(self, on: str) -> tuple[SecurableKind, UUID]:
        if not on:
            return SecurableKind.LAKE, LAKE_ID
        if on in SPACES:
            return SecurableKind.NAMESPACE, self.spaces[on].id
        if on in VERSIONS:
            return SecurableKind.DATASET_VERSION, self.versions[on].id
        if on == TARGET:
            return SecurableKind.TARGET, self.target.id
        if on in FOLLOWING:
            return SecurableKind.SUBSCRIPTION, self.following[on].id
        return SecurableKind.DATASET, self.datasets[on].id


class StoppedClock:
    """It is always now."""

    def now(self) -> Any:
        return NOW

    def new_id(self) -> UUID:
        return uuid4()


@pytest.fixture(scope="module", autouse=True)
def _soon_from_what_is_seen() -> Iterator[None]:
    """Few rows are looked through before a list goes from the objects that are seen: there are few of both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "FIRST_BOUND", 2)
        patch.setattr(seen, "GROWTH", 2)
        yield


@pytest.fixture(scope="module")
def sqlite_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetadataStore]:
    folder: Path = tmp_path_factory.mktemp("decisions")
    store = open_metadata_store(f"sqlite:///{folder}/lake.db")
    store.migrate()
    yield store
    store.close()


def check_world(store: MetadataStore, given_world: dict[str, Any]) -> None:
    world, authorizer = World(given_world), GrantAuthorizer(StoppedClock())
    with store.write() as tx:
        world.store(tx)
    with store.read() as tx:
        for principal in PRINCIPALS[:4]:
            with acting(world.whom(principal)):
                check_single(tx, authorizer, world, principal)
                check_lists(tx, authorizer, world, principal)
                check_requests(tx, authorizer, world, principal)
                check_subscriptions(tx, authorizer, world, principal)
        with acting(world.whom(PRINCIPALS[0])):
            check_events(tx, authorizer, world, PRINCIPALS[0])
            check_jobs(tx, authorizer, world, PRINCIPALS[0])
        for name in (*SPACES, *DATASETS):
            assert tx.approval_rules.needed(*world._place(name)) == world.needed(name), name


def check_single(tx: Transaction, authorizer: GrantAuthorizer, world: World, principal: str) -> None:
    for name, dataset in world.datasets.items():
        assert authorizer.on_dataset(tx, dataset, dataset.namespace) == world.held(principal, name), (principal, name)
        both = [world.versions[f"{name}_v{number}"] for number in (1, 2)]
        held = authorizer.on_versions(tx, dataset, dataset.namespace, both)
        for number, version in enumerate(both, 1):
            expected = world.held(principal, f"{name}_v{number}")
            assert held[version.id] == expected, (principal, name, number)
            rows = authorizer.rows(tx, dataset, version)
            assert (rows is None) is (Privilege.READ in expected), (principal, name, number)
    for name, space in world.spaces.items():
        inside = [one for one in DATASETS if one.startswith(f"{name}.") and one not in world.given["deleted"]]
        inside += [one for one in SPACES if one.startswith(f"{name}.")]
        inside += [f"{one}_v{number}" for one in inside if one in DATASETS for number in (1, 2)]
        shown = any(Privilege.DISCOVER in world.held(principal, one) for one in inside)
        expected = world.held(principal, name) | ({Privilege.DISCOVER} if shown else set())
        assert authorizer.on_namespace(tx, space) == expected, (principal, name)


def check_lists(tx: Transaction, authorizer: GrantAuthorizer, world: World, principal: str) -> None:
    viewer = authorizer.viewer(tx)
    assert viewer is not None
    expected = {
        world.datasets[name].full_name for name in DATASETS if Privilege.DISCOVER in world.held(principal, name)
    }
    known = expected | {
        world.datasets[one[:-3]].full_name for one in VERSIONS if Privilege.DISCOVER in world.held(principal, one)
    }
    live = {one.full_name for name, one in world.datasets.items() if name not in world.given["deleted"]}
    found: set[str] = set()
    gone: set[str] = set()
    for space in world.spaces.values():
        found |= {one.full_name for one in tx.datasets.page(space.name, "", 9, viewer=viewer)}
        gone |= {one.full_name for one in tx.datasets.page(space.name, "", 9, deleted=True, viewer=viewer)}
        result = tx.search.search("", {"namespace": space.name}, "", 9, viewer=viewer)
        searched = {hit.dataset.full_name for hit in result.hits}
        assert searched == {name for name in expected & live if name.rpartition(".")[0] == space.name}
        assert result.total == len(searched)
        assert sum(facet.count for facet in result.facets if facet.name == "namespace") == len(searched)
    assert found == known & live
    assert gone == expected - live
    spaces = {
        one.name
        for one in tx.namespaces.page(world.mark, len(SPACES), viewer=viewer)
        if one.name.startswith(world.mark)
    }
    seen = {space.name for space in world.spaces.values() if Privilege.DISCOVER in authorizer.on_namespace(tx, space)}
    assert spaces == seen
    nested = {one.name for one in tx.namespaces.page("", 9, parent=world.spaces["x"].name, viewer=viewer)}
    assert nested == seen & {world.spaces["x.in"].name}


def check_events(tx: Transaction, authorizer: GrantAuthorizer, world: World, principal: str) -> None:
    """Pages of events go on one behind the other, whether found by looking through all or from what is seen."""
    viewer, before, found = authorizer.viewer(tx), None, []
    while page := [one.number for one in tx.events.page(before=before, limit=5, viewer=viewer)]:
        before = page[-1]
        found += [number for number in page if number in world.told]
        if before < min(world.told):
            break
    shown = {number: name for number, name in world.told.items() if Privilege.DISCOVER in world.held(principal, name)}
    assert found == sorted(shown, reverse=True)
    for name, dataset in world.datasets.items():
        mine = sorted((number for number, about in shown.items() if about.startswith(name)), reverse=True)
        found = [one.number for one in tx.events.page(dataset=dataset.full_name, limit=3, viewer=viewer)]
        if len(found) == 3:
            more = tx.events.page(dataset=dataset.full_name, before=found[-1], limit=9, viewer=viewer)
            found += [one.number for one in more]
        assert found == mine, name


def check_jobs(tx: Transaction, authorizer: GrantAuthorizer, world: World, principal: str) -> None:
    """Pages of jobs, and of their runs, go on likewise."""
    viewer, after, found = authorizer.viewer(tx), world.mark, []
    while page := [one.name for one in tx.jobs.page(after, 2, viewer=viewer) if one.name.startswith(world.mark)]:
        after, found = page[-1], found + page
    shown = [one.name for place, one in enumerate(world.jobs) if world.sees_job(principal, place)]
    assert found == shown
    for wanted in ({}, {"state": RunState.FAILED}, {"partition": "day"}):
        check_runs(tx, viewer, world, set(shown), wanted)


def check_runs(tx: Transaction, viewer: Viewer | None, world: World, jobs: set[str], wanted: dict[str, Any]) -> None:
    before, found = None, []
    while page := tx.runs.page(before=before, limit=4, viewer=viewer, **wanted):
        before = page[-1].id
        found += [one for one in page if one.job.startswith(world.mark)]
        if not page[-1].job.startswith(world.mark):  # those of other examples are older
            break
    those = (one for one in world.runs if one.job in jobs)
    expected = [one for one in those if all(getattr(one, name) == value for name, value in wanted.items())]
    assert found == sorted(expected, key=lambda one: (one.created_at, one.id), reverse=True), wanted


def check_subscriptions(tx: Transaction, authorizer: GrantAuthorizer, world: World, principal: str) -> None:
    viewer = authorizer.viewer(tx)
    expected = {
        world.following[f"{name} followed"].id: world.held_on_subscription(principal, name) for name in DATASETS
    }
    seen = {one: held for one, held in expected.items() if held}
    assert authorizer.on_subscriptions(tx, [*expected, uuid4()]) == seen, principal
    found = tx.subscriptions.page(target=world.target.name, limit=99, viewer=viewer)
    assert {one.id for one in found} == seen.keys()
    granted = tx.grants.page(viewer=viewer, securable_ids=[*expected], limit=99)
    assert {one.securable_id for one in granted if one.principal not in world.mine(principal)} == {
        world.following[on].id
        for who, _, on, *_ in world.given["grants"]
        if on in FOLLOWING
        and Privilege.ADMINISTER in expected[world.following[on].id]
        and world.whom(who) not in world.mine(principal)
    }


def check_requests(tx: Transaction, authorizer: GrantAuthorizer, world: World, principal: str) -> None:
    viewer, expected = authorizer.viewer_for(tx, Duty.ACCESS_REQUESTS), world.seen_requests(principal)
    assert viewer is not None

    def seen(*, waiting: bool = False) -> list[AccessRequest]:
        """Return this example's. Who administers the lake, or what has a tag in it, sees those of others too."""
        found = tx.access_requests.page(now=NOW, viewer=viewer, waiting=waiting, limit=10_000)
        return [one for one in found if one.requester.endswith(world.mark)]

    found = seen()
    assert {one.purpose for one in found} == set(expected)
    assert {one.purpose for one in seen(waiting=True)} == {on for on, waits in expected.items() if waits}
    for one in found:
        names = {on: dataset.full_name for on, dataset in world.datasets.items()}
        names |= {on: space.name for on, space in world.spaces.items()}
        discovered = Privilege.DISCOVER in world.held(principal, one.purpose) or (
            one.purpose in SPACES and Privilege.DISCOVER in authorizer.on_namespace(tx, world.spaces[one.purpose])
        )
        assert one.securable_name == (names[one.purpose] if discovered else "as asked")


@given(worlds)
@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sqlite_decides_by_the_rules(sqlite_store: MetadataStore, world: dict[str, Any]) -> None:
    check_world(sqlite_store, world)


@given(worlds)
@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgres_decides_by_the_rules(postgres_store: MetadataStore, world: dict[str, Any]) -> None:
    check_world(postgres_store, world)


def test_requests_of_others_are_told_apart_from_an_examples_own(sqlite_store: MetadataStore) -> None:
    """Whoever administers what has a tag sees what other examples have tagged so."""
    nothing: dict[str, Any] = {
        **{name: {} for name in ("tags", "requests")},
        **{name: [] for name in ("members", "grants", "rules", "masked", "deleted", "deputies", "jobs")},
        "owners": dict.fromkeys(OWNED, "nobody"),
    }
    tagged = Among("level", ("low",), True)
    asked = {"tags": {("x.one", "level"): "low"}, "requests": {"x.one": ("user:b", "user:b")}}
    check_world(sqlite_store, {**nothing, **asked})
    check_world(sqlite_store, {**nothing, "grants": [("user:a", Privilege.ADMINISTER, "", tagged, None, "")]})


@given(expressions, st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES)))
def test_an_expression_says_the_same_when_it_is_written_down(expression: TagExpression, tags: dict[str, str]) -> None:
    read = parse_tag_expression(describe(expression))
    assert fulfils(tags, read) == fulfils(tags, expression)
    assert describe(read) == describe(expression)


@pytest.mark.parametrize("privilege", Privilege)
def test_what_a_privilege_implies_is_enough_for_it(privilege: Privilege) -> None:
    for one in Privilege:
        assert (privilege in implied_by(one)) is (one in sufficient_for(privilege))
    assert implied_by(Privilege.ADMINISTER) == set(Privilege)


@pytest.mark.parametrize("kept_in", ["sqlite_store", "postgres_store"])
def test_a_membership_that_has_ended_makes_place_for_another(kept_in: str, request: pytest.FixtureRequest) -> None:
    store: MetadataStore = request.getfixturevalue(kept_in)
    ended = Membership("group:brief", "user:brief", "x", NOW, NOW + timedelta(seconds=5))
    again = replace(ended, added_by="y", added_at=NOW + timedelta(seconds=5), expires_at=None)
    with store.write() as tx:
        assert tx.memberships.put(ended)
        assert not tx.memberships.put(replace(again, added_at=NOW + timedelta(seconds=4)))
        assert tx.memberships.put(again)
        assert not tx.memberships.put(ended)
        assert tx.memberships.members("group:brief", "", 9) == [again]
