"""Every list and look-up is answered by an index, in order: nothing scans or sorts a table that grows with the lake."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.ports.metadata import Transaction
from cordillera.ports.metadata.access import Token
from cordillera.ports.metadata.operations import NewTask
from cordillera.spec.access import Grant, Privilege, SecurableKind, Viewer
from cordillera.spec.access_request import RequestState
from cordillera.spec.audit_chain import ChainLink
from cordillera.spec.catalog import Lifecycle
from cordillera.spec.delivery_cost import CostQuery, CostsBy
from cordillera.spec.destination import DeliveryState
from cordillera.spec.event import Event, Topic
from cordillera.spec.event_filter import EventFilter
from cordillera.spec.lake_key import KeyPurpose
from cordillera.spec.lineage import Node, NodeKind
from cordillera.spec.subscription import SubscriptionState
from cordillera.spec.workflow import RunState
from cordillera.testing.metadata_samples import (
    NOW,
    append_event,
    dataset,
    dataset_version,
    enqueue,
    job,
    later,
    namespace,
    run,
    target,
    view,
)

PLACE = "2026-11//a"
ID = uuid4()
VIEWER = Viewer(
    frozenset({"user:a", "role:b"}),
    NOW,
    frozenset(),
    (Grant(ID, "role:b", Privilege.READ, SecurableKind.NAMESPACE, ID, "", "level = 'low'", False, "", NOW, None, ""),),
)
EVENT = Event(1, Topic.RUN_FINISHED, NOW, "user:a", "", "a.b.c", ID, {})
NODES = [Node(NodeKind.JOB, "a.b"), Node(NodeKind.DATASET, "c.d")]

CALLS: dict[str, Callable[[Transaction], object]] = {
    "subscriptions.entrusted": lambda tx: tx.subscriptions.entrusted(principal="role:a", after=ID, limit=9),
    "subscriptions.entrusted inside": lambda tx: tx.subscriptions.entrusted(
        inside=(SecurableKind.DATASET, ID), limit=9
    ),
    "namespaces.get": lambda tx: tx.namespaces.get("a"),
    "namespaces.page": lambda tx: tx.namespaces.page("a", 9),
    "namespaces.delete": lambda tx: tx.namespaces.delete("a"),
    "datasets.get": lambda tx: tx.datasets.get("a", "b"),
    "datasets.with_versions": lambda tx: tx.datasets.with_versions("a", "b"),
    "datasets.lock": lambda tx: tx.datasets.lock("a", "b"),
    "jobs.naming": lambda tx: tx.jobs.naming("a.b", 9),
    "datasets.get_by_id": lambda tx: tx.datasets.get_by_id(ID),
    "datasets.deleted_last": lambda tx: tx.datasets.deleted_last("a", "b"),
    "datasets.page": lambda tx: tx.datasets.page(None, "a.b", 9),
    "datasets.page of a namespace": lambda tx: tx.datasets.page("a", "a.b", 9),
    "datasets.page of deleted": lambda tx: tx.datasets.page(None, "a.b", 9, deleted=True),
    "datasets.page of deleted in a namespace": lambda tx: tx.datasets.page("a", "", 9, deleted=True),
    "datasets.due_for_purge": lambda tx: tx.datasets.due_for_purge(NOW, 9),
    "datasets.count": lambda tx: tx.datasets.count(),
    "datasets.update": lambda tx: (tx.namespaces.insert(namespace()), tx.datasets.update(dataset())),
    "views.get": lambda tx: tx.views.get("a", "b"),
    "views.lock": lambda tx: tx.views.get("a", "b", lock=True),
    "views.get_by_id": lambda tx: tx.views.get_by_id(ID),
    "views.page": lambda tx: tx.views.page(None, "a.b", 9),
    "views.page of a namespace": lambda tx: tx.views.page("a", "a.b", 9),
    "views.swap": lambda tx: tx.views.swap(view(), expected_location="x"),
    "views.rename": lambda tx: (tx.namespaces.insert(namespace()), tx.views.rename(view())),
    "views.delete": lambda tx: tx.views.delete(ID),
    "dataset_versions.get": lambda tx: tx.dataset_versions.get(ID),
    "dataset_versions.page": lambda tx: tx.dataset_versions.page(ID),
    "dataset_versions.columns": lambda tx: tx.dataset_versions.columns(ID),
    "dataset_versions.set_lifecycle": lambda tx: tx.dataset_versions.set_lifecycle(ID, Lifecycle.ACTIVE, NOW),
    "dataset_versions.swap": lambda tx: tx.dataset_versions.swap(dataset_version(ID), [], expected_location="x"),
    "dataset_versions.reserved_for": lambda tx: tx.dataset_versions.reserved_for(ID, NOW),
    "dataset_versions.release": lambda tx: tx.dataset_versions.release(ID, ID),
    "snapshots.get": lambda tx: tx.snapshots.get(ID, 1),
    "snapshots.at": lambda tx: tx.snapshots.at(ID, NOW),
    "snapshots.following": lambda tx: tx.snapshots.following(ID, 1),
    "snapshots.page": lambda tx: tx.snapshots.page(ID, 5, 9),
    "snapshots.publish": lambda tx: tx.snapshots.publish(ID, [1, 2], NOW),
    "snapshots.drop_branch": lambda tx: tx.snapshots.drop_branch(ID, "audit"),
    "snapshots.manifest": lambda tx: tx.snapshots.manifest(ID, 1),
    "snapshots.receipt": lambda tx: tx.snapshots.receipt(ID, "key"),
    "search.remove": lambda tx: tx.search.remove(ID),
    "contracts.current": lambda tx: tx.contracts.current(ID),
    "contracts.page": lambda tx: tx.contracts.page(ID),
    "contracts.partials": lambda tx: tx.contracts.partials(ID),
    "contract_proposals.void": lambda tx: tx.contract_proposals.void(ID, "", NOW, ""),
    "contract_proposals.get": lambda tx: tx.contract_proposals.get(ID),
    "contract_proposals.page": lambda tx: tx.contract_proposals.page(ID, None, 10),
    "contract_proposals.awaiting": lambda tx: tx.contract_proposals.awaiting(VIEWER, ID, 10),
    "contract_proposals.due": lambda tx: tx.contract_proposals.due(NOW, 10),
    "candidates.of": lambda tx: tx.candidates.of(ID),
    "candidates.due": lambda tx: tx.candidates.due(NOW, 10),
    "candidates.drop": lambda tx: tx.candidates.drop(ID, "audit"),
    "candidates.published": lambda tx: tx.candidates.published(ID, [1, 2]),
    "service_levels.look_again": lambda tx: tx.service_levels.look_again(ID),
    "service_levels.get": lambda tx: tx.service_levels.get(ID),
    "service_levels.due": lambda tx: tx.service_levels.due(NOW, 10),
    "service_levels.counts": lambda tx: tx.service_levels.counts(),
    "completions.latest": lambda tx: tx.completions.latest(ID, "a"),
    "completions.latest_of": lambda tx: tx.completions.latest_of(ID, ["a", "b"]),
    "completions.page": lambda tx: tx.completions.page(ID, "z", 9),
    "completions.history": lambda tx: tx.completions.history(ID, "a"),
    "targets.get": lambda tx: tx.targets.get("a"),
    "targets.page": lambda tx: tx.targets.page("a", 9),
    "targets.delete": lambda tx: tx.targets.delete("a"),
    "subscriptions.get": lambda tx: tx.subscriptions.get(ID),
    "subscriptions.page": lambda tx: tx.subscriptions.page(after=ID, limit=9),
    "subscriptions.page of a dataset": lambda tx: tx.subscriptions.page(dataset_id=ID, after=ID, limit=9),
    "subscriptions.page of a target": lambda tx: tx.subscriptions.page(target="a", after=ID, limit=9),
    "subscriptions.page of a state": lambda tx: tx.subscriptions.page(state=SubscriptionState.LIVE, after=ID, limit=9),
    "subscriptions.followed": lambda tx: tx.subscriptions.followed([ID, uuid4()], "completion"),
    "subscriptions.following": lambda tx: tx.subscriptions.following(ID, "commit", after=ID, limit=9),
    "subscriptions.standing": lambda tx: tx.subscriptions.standing(ID),
    "subscriptions.lock": lambda tx: tx.subscriptions.lock(ID),
    "subscriptions.asked_by": lambda tx: tx.subscriptions.asked_by(ID),
    "subscriptions.deliveries": lambda tx: tx.subscriptions.deliveries(ID, before=9, limit=9),
    "subscriptions.costs": lambda tx: tx.subscriptions.costs(CostQuery("2026-11", "2026-11"), after=PLACE, limit=9),
    "subscriptions.costs of one": lambda tx: tx.subscriptions.costs(
        CostQuery("2026-01", by=CostsBy.SUBSCRIPTION, subscription_id=ID), limit=9
    ),
    "subscriptions.history": lambda tx: tx.subscriptions.history(ID, before=9, limit=9),
    "subscriptions.advance": lambda tx: tx.subscriptions.advance(ID, sequence_number=1, schema_id=1, rows=1, now=NOW),
    "jobs.get": lambda tx: tx.jobs.get("a"),
    "jobs.page": lambda tx: tx.jobs.page("a", 9),
    "jobs.concerned_by": lambda tx: tx.jobs.concerned_by([("a.b", "c"), ("a.d", "c")]),
    "jobs.standing_by": lambda tx: tx.jobs.standing_by([("a.b", "c"), ("a.d", "c")]),
    "jobs.stand_by": lambda tx: tx.jobs.stand_by(ID, "a", {}),
    "jobs.writing": lambda tx: tx.jobs.writing(["a.b", "a.b_v1"]),
    "runs.get": lambda tx: tx.runs.get(ID),
    "runs.update": lambda tx: tx.runs.update(run(job())),
    "events.seen": lambda tx: tx.events.seen([8, 9], VIEWER),
    "destinations.get": lambda tx: tx.destinations.get(ID),
    "destinations.page": lambda tx: tx.destinations.page(ID, 9),
    "destinations.page of a viewer": lambda tx: tx.destinations.page(None, 9, viewer=VIEWER),
    "destinations.count_of": lambda tx: tx.destinations.count_of("user:a"),
    "destinations.wanting": lambda tx: tx.destinations.wanting([EVENT]),
    "destinations.failing_count": lambda tx: tx.destinations.failing_count(),
    "destinations.delete": lambda tx: tx.destinations.delete(ID),
    "event_deliveries.get": lambda tx: tx.event_deliveries.get(ID),
    "event_deliveries.following": lambda tx: tx.event_deliveries.following([ID, uuid4()]),
    "event_deliveries.heads": lambda tx: tx.event_deliveries.heads(ID, 9),
    "event_deliveries.page": lambda tx: tx.event_deliveries.page(ID, before=ID, limit=9),
    "event_deliveries.page of a state": lambda tx: tx.event_deliveries.page(ID, state=DeliveryState.DEAD, limit=9),
    "event_deliveries.page of a viewer": lambda tx: tx.event_deliveries.page(ID, limit=9, viewer=VIEWER),
    "event_deliveries.counts": lambda tx: tx.event_deliveries.counts(ID, VIEWER),
    "event_deliveries.delete": lambda tx: tx.event_deliveries.delete([ID, uuid4()]),
    "event_deliveries.make_due": lambda tx: tx.event_deliveries.make_due(ID, NOW),
    "event_deliveries.forget": lambda tx: tx.event_deliveries.forget(ID, DeliveryState.DEAD, 9),
    "runs.page": lambda tx: tx.runs.page(limit=9),
    "runs.page of a job": lambda tx: tx.runs.page(job="a", limit=9),
    "runs.page of a state": lambda tx: tx.runs.page(state=RunState.FAILED, limit=9),
    "runs.page of a job and state": lambda tx: tx.runs.page(job="a", state=RunState.FAILED, limit=9),
    "runs.page of a partition": lambda tx: tx.runs.page(partition="a", limit=9),
    "runs.rebase": lambda tx: tx.runs.rebase(run(job())),
    "runs.supersede_queued": lambda tx: tx.runs.supersede_queued(ID, "a", ID, NOW),
    "lineage.neighbours upstream": lambda tx: tx.lineage.neighbours(NODES, upstream=True, limit=9),
    "lineage.neighbours downstream": lambda tx: tx.lineage.neighbours(NODES, upstream=False, limit=9),
    "lineage.degree": lambda tx: tx.lineage.degree(NODES, upstream=True),
    "lineage.remove": lambda tx: tx.lineage.remove(NODES[0]),
    "datasets.page of a viewer": lambda tx: tx.datasets.page(None, "a.b", 9, viewer=VIEWER),
    "namespaces.is_seen": lambda tx: tx.namespaces.is_seen("a", VIEWER),
    "views.page of a viewer": lambda tx: tx.views.page(None, "a.b", 9, viewer=VIEWER),
    "namespaces.page of a viewer": lambda tx: tx.namespaces.page("a", 9, viewer=VIEWER),
    "events.page of a viewer": lambda tx: tx.events.page(before=9, limit=9, viewer=VIEWER),
    "subscriptions.held": lambda tx: tx.subscriptions.held(VIEWER, [ID, uuid4()]),
    "subscriptions.page of a viewer": lambda tx: tx.subscriptions.page(after=ID, limit=9, viewer=VIEWER),
    "targets.page of a viewer": lambda tx: tx.targets.page("a", 9, viewer=VIEWER),
    "jobs.page of a viewer": lambda tx: tx.jobs.page("a", 9, viewer=VIEWER),
    "runs.page of a viewer": lambda tx: tx.runs.page(limit=9, viewer=VIEWER),
    "lineage.neighbours of a viewer": lambda tx: tx.lineage.neighbours(NODES, upstream=True, limit=9, viewer=VIEWER),
    "grants.page of a viewer": lambda tx: tx.grants.page(viewer=VIEWER, after=ID, limit=9),
    "access_requests.get": lambda tx: tx.access_requests.get(ID, viewer=VIEWER),
    "access_requests.lock": lambda tx: tx.access_requests.lock(ID),
    "access_requests.page": lambda tx: tx.access_requests.page(now=NOW, before=ID, limit=9),
    "access_requests.page of a requester": lambda tx: tx.access_requests.page(now=NOW, requester="user:a", limit=9),
    "access_requests.page of an object": lambda tx: tx.access_requests.page(now=NOW, securable_id=ID, limit=9),
    "access_requests.page of a state": lambda tx: tx.access_requests.page(
        now=NOW, state=RequestState.APPROVED, limit=9
    ),
    "access_requests.page of a viewer": lambda tx: tx.access_requests.page(now=NOW, viewer=VIEWER, limit=9),
    "access_requests.page waiting": lambda tx: tx.access_requests.page(now=NOW, viewer=VIEWER, waiting=True, limit=9),
    "access_requests.approved": lambda tx: tx.access_requests.approved("user:a", ID, NOW),
    "access_requests.due": lambda tx: tx.access_requests.due(NOW, 9),
    "tokens.page of a principal": lambda tx: tx.tokens.page(ID, 9, of="user:a"),
    "grants.viewer": lambda tx: tx.grants.viewer("user:a", NOW),
    "grants.held": lambda tx: tx.grants.held(VIEWER, [ID, ID]),
    "grants.find": lambda tx: tx.grants.find("user:a", Privilege.READ, SecurableKind.LAKE, ID, ""),
    "grants.page": lambda tx: tx.grants.page(after=ID, limit=9),
    "grants.page of a principal": lambda tx: tx.grants.page(principals=["user:a"], after=ID, limit=9),
    "grants.page of an object": lambda tx: tx.grants.page(securable_ids=[ID], after=ID, limit=9),
    "memberships.above": lambda tx: tx.memberships.above("user:a", NOW),
    "memberships.delete_from": lambda tx: tx.memberships.delete_from("user:a", "x"),
    "memberships.members": lambda tx: tx.memberships.members("role:a", "user:a", 9),
    "memberships.containers": lambda tx: tx.memberships.containers("role:a", 9),
    "policy_tags.any_named": lambda tx: tx.policy_tags.any_named("a", ID, ["a"]),
    "policy_tags.effective": lambda tx: tx.policy_tags.effective([ID, ID]),
    "policy_tags.of": lambda tx: tx.policy_tags.of(SecurableKind.DATASET, ID),
    "tokens.by_hash": lambda tx: tx.tokens.by_hash("a"),
    "tokens.rotate": lambda tx: tx.tokens.rotate(Token(ID, "a", "user:a", "h", NOW, NOW, None)),
    "tokens.get": lambda tx: tx.tokens.get(ID),
    "signing_keys.usable": lambda tx: tx.signing_keys.usable(KeyPurpose.HASHES, NOW),
    "signing_keys.get": lambda tx: tx.signing_keys.get(ID),
    "signing_keys.page": lambda tx: tx.signing_keys.page(ID, 9),
    "signing_keys.retire": lambda tx: tx.signing_keys.retire(ID, NOW),
    "tokens.forget_ended": lambda tx: tx.tokens.forget_ended("user:a", "web session ", NOW),
    "tokens.page": lambda tx: tx.tokens.page(ID, 9),
    "events.unhandled": lambda tx: (append_event(tx, ID), append_event(tx), tx.events.unhandled(9)),
    "events.unhandled of none": lambda tx: tx.events.unhandled(9),
    "completion_rules.following": lambda tx: tx.completion_rules.following(["a.b", "a.c"]),
    "events.last_position": lambda tx: tx.events.last_position(),
    "events.follow": lambda tx: tx.events.follow(EventFilter(("run.finished",), ("a.b",)), 1, 9, 9, VIEWER),
    "events.mark_handled": lambda tx: tx.events.mark_handled([1], NOW),
    "events.page": lambda tx: tx.events.page(before=9, limit=9),
    "events.page of a dataset": lambda tx: tx.events.page(dataset="a.b", before=9, limit=9),
    "events.unhandled_count": lambda tx: tx.events.unhandled_count(),
    "events.any_unhandled": lambda tx: tx.events.any_unhandled(),
    "audit.page": lambda tx: tx.audit.page(before=9, limit=9),
    "audit.page of an object": lambda tx: tx.audit.page(object_name="a.b", before=9, limit=9),
    "audit.waiting": lambda tx: tx.audit.waiting(9),
    "audit.chain": lambda tx: tx.audit.chain([ChainLink(1, 1, "a")]),
    "audit.chain_end": lambda tx: tx.audit.chain_end(),
    "audit.chained": lambda tx: tx.audit.chained(9, 9),
    "tasks.enqueue": lambda tx: (enqueue(tx), enqueue(tx)),
    "tasks.enqueue_all": lambda tx: [
        tx.tasks.enqueue_all("deliver", [NewTask(uuid4(), key, {}) for key in keys], now=NOW, trace_id="")
        for keys in ("ab", "bcd")
    ],
    "tasks.lease": lambda tx: (enqueue(tx), tx.tasks.lease("me", now=NOW, until=NOW, kinds=["deliver", "run"])),
    "tasks.lease of targets": lambda tx: (
        tx.targets.insert(target("t")),
        tx.tasks.enqueue(ID, "deliver", "a", {}, now=NOW, trace_id="", target="t"),
        tx.tasks.enqueue(uuid4(), "run", "b", {}, now=NOW, trace_id="", target="t"),
        tx.tasks.lease("me", now=NOW, until=later(9), kinds=["deliver"], at_once=lambda target: 1),
        tx.tasks.lease("me", now=NOW, until=later(9), kinds=["run"], at_once=lambda target: 1),
    ),
    "tasks.holds": lambda tx: tx.tasks.holds(ID, 1, now=NOW),
    "tasks.finish": lambda tx: tx.tasks.finish(ID, 1, now=NOW),
    "tasks.extend": lambda tx: tx.tasks.extend(ID, 1, now=NOW, until=NOW),
    "tasks.retry": lambda tx: tx.tasks.retry(ID, 1, due_at=NOW, error=""),
    "tasks.fail": lambda tx: tx.tasks.fail(ID, 1, error=""),
    "tasks.page": lambda tx: tx.tasks.page(after=ID, limit=9),
    "scans.totals": lambda tx: tx.scans.totals(ID, NOW.date()),
    "reads.totals": lambda tx: tx.reads.totals(ID, NOW.date(), 9),
    "reads.totals among some": lambda tx: tx.reads.totals(ID, NOW.date(), 9, {"user:a"}),
    "reads.forget": lambda tx: tx.reads.forget(NOW.date()),
    "scans.forget": lambda tx: tx.scans.forget(NOW.date()),
    "tasks.page of a state": lambda tx: tx.tasks.page(state="failed", after=ID, limit=9),
}
SORTED = {
    "subscriptions.entrusted",
    "datasets.with_versions",
    "datasets.deleted_last",
    "grants.page of a principal",
    "grants.page of an object",
    "tokens.page of a principal",
    "datasets.page of a viewer",
    "targets.page of a viewer",
    "views.page of a viewer",
    "grants.page of a viewer",
    "access_requests.page of a viewer",
    "completion_rules.following",
    "jobs.concerned_by",
    "jobs.standing_by",
    "jobs.writing",
    "dataset_versions.set_lifecycle",
    "scans.totals",
    "reads.totals",
    "reads.totals among some",
    "destinations.page of a viewer",  # of whom each has fifty at most
    "events.page of a dataset",  # of each dataset version and of the name, as many as are wanted
    "events.unhandled",  # of the oldest, ten times as many as are wanted
    "events.unhandled of none",
    "event_deliveries.heads",  # of what waits for one destination
}
"""They sort the few rows that they have found by an index."""


@pytest.fixture
def store(url: str) -> Iterator[SqlMetadataStore]:
    store = SqlMetadataStore(url)
    yield store
    store.close()


def _statements(store: SqlMetadataStore, call: Callable[[Transaction], object]) -> list[tuple[str, Any]]:
    """Return the statements that a call makes."""
    made: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            made.append((statement, parameters))

    event.listen(store._database.writer, "before_cursor_execute", note)
    with store.write() as tx:
        call(tx)
    event.remove(store._database.writer, "before_cursor_execute", note)
    return made


def _plan(store: SqlMetadataStore, statement: str, parameters: Any) -> str:
    connection = store._database.writer.raw_connection()
    try:
        cursor = connection.cursor()
        if store._database.file is not None:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            return "\n".join(row[3] for row in cursor.fetchall())
        # The tables are empty. What can be done by an index is, when the other ways are closed.
        for way in ("seqscan", "sort", "incremental_sort", "bitmapscan", "hashjoin", "mergejoin", "hashagg"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(f"EXPLAIN {statement}", parameters)
        return "\n".join(row[0] for row in cursor.fetchall())
    finally:
        connection.close()


@pytest.mark.parametrize("name", CALLS)
def test_an_index_answers(store: SqlMetadataStore, name: str) -> None:
    statements = _statements(store, CALLS[name])
    assert statements
    for statement, parameters in statements:
        plan = _plan(store, statement, parameters)
        if store._database.file is not None:
            scans = [line for line in plan.splitlines() if re.match(r"SCAN (?!.*(USING|CONSTANT|VIRTUAL))", line)]
            scans = [line for line in scans if not re.match(r"SCAN (anon_|above|below|heads|steps|\(subquery)", line)]
            assert not scans, f"{statement}\n{plan}"
            assert "TEMP B-TREE FOR ORDER BY" not in plan or name in SORTED, f"{statement}\n{plan}"
        else:
            assert "Seq Scan" not in plan, f"{statement}\n{plan}"
            assert "Sort" not in plan or name in SORTED, f"{statement}\n{plan}"


def test_counting_runs_reads_no_run_that_has_ended(store: SqlMetadataStore) -> None:
    ((statement, parameters),) = _statements(store, lambda tx: tx.runs.counts())
    plan = _plan(store, statement, parameters)
    ways = [line for line in plan.splitlines() if re.search(r"(SCAN|SEARCH|on) runs\b", line)]
    assert len(ways) == 1, plan
    assert "ix_runs_unfinished" in ways[0]
