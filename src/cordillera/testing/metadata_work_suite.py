"""What a metadata store must do with jobs, runs and lineage, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from cordillera.errors import (
    AlreadyExistsError,
    JobNotFoundError,
)
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.job_trigger import JobTrigger
from cordillera.spec.lineage import Edge, Node, NodeKind
from cordillera.spec.workflow import Job, RunState
from cordillera.testing.metadata_samples import (
    NOW,
    job,
    later,
    numbered_id,
    run,
)


class WorkSuite:
    """Jobs, runs and lineage."""

    @pytest.fixture
    def daily(self, store: MetadataStore) -> Job:
        """Return a job that is in the store."""
        made = job()
        with store.write() as tx:
            tx.jobs.insert(made)
        return made

    # --- jobs -------------------------------------------------------------------------------------------------------

    def test_jobs_are_kept_by_name_and_id(self, store: MetadataStore) -> None:
        made = [job(name) for name in ("sales.b", "sales.a", "ops.z")]
        with store.write() as tx:
            for one in made:
                tx.jobs.insert(one)
            with pytest.raises(AlreadyExistsError, match=r"sales\.b"):
                tx.jobs.insert(job("sales.b"))
        with store.read() as tx:
            assert tx.jobs.get("sales.b") == made[0]
            assert tx.jobs.get_by_id(made[2].id) == made[2]
            assert tx.jobs.get("none") is None
            assert tx.jobs.get_by_id(uuid4()) is None
            assert [one.name for one in tx.jobs.page("", 2)] == ["ops.z", "sales.a"]
            assert tx.jobs.page("sales.a", 9) == [made[0]]

    def test_jobs_are_found_by_what_they_read(self, store: MetadataStore, daily: Job) -> None:
        other = job("sales.weekly", inputs=("sales.orders",))
        with store.write() as tx:
            tx.jobs.insert(other)
            assert _concerned(tx, "sales.orders", "EU") == [daily, other]
            assert _concerned(tx, "sales.customers", "EU") == [daily]
            assert _concerned(tx, "sales.daily", "EU") == []
            assert tx.jobs.writing(["sales.daily", "sales.none"]) == [daily]
            changed = replace(
                daily, inputs=("sales.orders", "sales.stores"), sql="SELECT 2", owner="x", description="y"
            )
            tx.jobs.update(changed)
            tx.jobs.update(replace(other, enabled=False))
            tx.jobs.update(job("sales.unknown"))
            assert _concerned(tx, "sales.customers", "EU") == []
            assert _concerned(tx, "sales.orders", "EU") == [changed]
            assert tx.jobs.get("sales.daily") == changed
            assert tx.jobs.get("sales.unknown") is None

    def test_completions_concern_jobs_by_partition(self, store: MetadataStore) -> None:
        trigger = JobTrigger({"sales.rates": "latest", "sales.plans": "fixed B"}, ("EU", "US"))
        some = job("sales.some", inputs=("sales.orders", "sales.rates", "sales.plans"), trigger=trigger)
        ranged = job("sales.ranged", trigger=JobTrigger(partitions=("E*",)))
        twice = job("sales.twice", inputs=("sales.orders_v1", "sales.orders_v2"), trigger=JobTrigger({}, ("EU",)))
        with store.write() as tx:
            for one in (some, ranged, twice):
                tx.jobs.insert(one)
            assert tx.jobs.get("sales.some") == some
            assert _concerned(tx, "sales.orders", "EU") == [ranged, some, twice]
            assert _concerned(tx, "sales.orders", "ASIA") == [ranged]
            assert _concerned(tx, "sales.rates", "EU") == []
            assert "sales.some" in tx.jobs.naming("sales.rates", 9)

    def test_partitions_stand_by_for_what_they_lack(self, store: MetadataStore, daily: Job) -> None:
        other = job("sales.other")
        with store.write() as tx:
            tx.jobs.insert(other)
            tx.jobs.stand_by(daily.id, "b", {"sales.rates": "", "sales.plans": "B"})
            tx.jobs.stand_by(daily.id, "a", {"sales.rates": ""})
            tx.jobs.stand_by(other.id, "c", {"sales.plans": "B"})
            assert _standing(tx, "sales.rates", "x") == [(daily, "a"), (daily, "b")]
            assert _standing(tx, "sales.plans", "B") == [(daily, "b"), (other, "c")]
            assert _standing(tx, "sales.plans", "C") == []
            tx.jobs.stand_by(daily.id, "b", {"sales.plans": "B"})
            tx.jobs.update(replace(other, enabled=False))
            assert _standing(tx, "sales.rates", "x") == [(daily, "a")]
            assert _standing(tx, "sales.plans", "B") == [(daily, "b")]
            tx.jobs.stand_by(daily.id, "b", {})
            assert _standing(tx, "sales.plans", "B") == []
            tx.jobs.delete("sales.daily")
            assert _standing(tx, "sales.rates", "x") == []

    def test_a_run_is_rebased_on_a_state_that_no_other_has(self, store: MetadataStore, daily: Job) -> None:
        first, second = run(daily, revision=1), run(daily, revision=2)
        with store.write() as tx:
            assert tx.runs.insert(first)
            assert tx.runs.insert(second)
            assert not tx.runs.rebase(replace(first, input_revisions=second.input_revisions))
            moved = replace(first, input_revisions={"sales.orders": 3}, input_snapshots={"sales.orders": 7})
            assert tx.runs.rebase(moved)
            assert not tx.runs.insert(run(daily, input_revisions={"sales.orders": 3}))
        with store.read() as tx:
            assert tx.runs.get(first.id) == moved

    def test_deleting_a_job_deletes_its_runs(self, store: MetadataStore, daily: Job) -> None:
        other = job("sales.other")
        mine, foreign = run(daily), run(other, state=RunState.FAILED)
        with store.write() as tx:
            tx.jobs.insert(other)
            assert tx.runs.insert(mine)
            assert tx.runs.insert(foreign)
            tx.jobs.delete("sales.daily")
            tx.jobs.delete("sales.none")
            assert tx.jobs.get("sales.daily") is None
            assert tx.runs.get(mine.id) is None
            assert _concerned(tx, "sales.customers", "EU") == [other]
            assert tx.runs.counts() == {("sales.other", RunState.FAILED): 1}

    # --- runs -------------------------------------------------------------------------------------------------------

    def test_a_state_of_the_inputs_has_one_run(self, store: MetadataStore, daily: Job) -> None:
        first = run(daily, input_revisions={"a": 1, "b": 2})
        with store.write() as tx:
            assert tx.runs.insert(first)
            assert not tx.runs.insert(run(daily, input_revisions={"b": 2, "a": 1}))
            assert tx.runs.insert(run(daily, input_revisions={"a": 1, "b": 3}))
            assert tx.runs.insert(run(daily, "2026-03-15", input_revisions={"a": 1, "b": 2}))
            with pytest.raises(JobNotFoundError, match=r"sales\.none"):
                tx.runs.insert(run(job("sales.none")))
            assert tx.runs.get(first.id) == first
            assert tx.runs.get(uuid4()) is None
            assert tx.runs.counts() == {("sales.daily", RunState.QUEUED): 3}

    def test_runs_are_listed_newest_first(self, store: MetadataStore, daily: Job) -> None:
        other = job("sales.other")
        failed, succeeded = RunState.FAILED, RunState.SUCCEEDED
        made = [
            run(daily, revision=5, id=numbered_id(1), created_at=later(5), state=succeeded),
            run(daily, revision=4, id=numbered_id(9), created_at=later(4), state=failed),
            run(other, revision=3, id=numbered_id(3), created_at=later(4), state=failed, error="Why"),
            run(daily, revision=2, id=numbered_id(2), created_at=later(4), partition="x"),
            run(daily, revision=1, id=numbered_id(7), created_at=later(1), state=succeeded, rows_written=3),
        ]
        with store.write() as tx:
            tx.jobs.insert(other)
            for one in made[::-1]:
                assert tx.runs.insert(one)
        with store.read() as tx:
            page = tx.runs.page
            assert page(limit=9) == made
            assert page(limit=2) == made[:2]
            assert page(before=numbered_id(9), limit=9) == made[2:]
            assert page(before=numbered_id(3), limit=1) == [made[3]]
            assert page(before=uuid4(), limit=9) == []
            assert page(job="sales.daily", limit=9) == [made[0], made[1], *made[3:]]
            assert page(job="sales.none", limit=9) == []
            assert page(state=failed, limit=9) == made[1:3]
            assert page(state=succeeded, limit=9) == [made[0], made[4]]
            assert page(job="sales.daily", state=failed, limit=9) == [made[1]]
            assert page(job="sales.daily", state=succeeded, before=numbered_id(1), limit=9) == [made[4]]
            assert page(partition="x", limit=9) == [made[3]]
            assert page(job="sales.daily", partition="2026-03-14", state=failed, limit=9) == [made[1]]

    def test_runs_are_counted_by_job_and_state(self, store: MetadataStore, daily: Job) -> None:
        other = job("sales.other")
        made = [run(daily, revision=number) for number in range(4)]
        foreign = run(other, state=RunState.SUCCEEDED)
        with store.write() as tx:
            tx.jobs.insert(other)
            for one in [*made, foreign]:
                assert tx.runs.insert(one)
            tx.runs.update(replace(made[0], state=RunState.RUNNING, attempts=1, started_at=later(1)))
            tx.runs.update(replace(made[1], state=RunState.FAILED, error="Why", finished_at=later(2)))
            tx.runs.update(replace(made[2], state=RunState.FAILED))
        with store.write() as tx:
            assert tx.runs.counts() == {
                ("sales.daily", RunState.QUEUED): 1,
                ("sales.daily", RunState.RUNNING): 1,
                ("sales.daily", RunState.FAILED): 2,
                ("sales.other", RunState.SUCCEEDED): 1,
            }
            done = replace(
                made[1],
                state=RunState.SUCCEEDED,
                attempts=2,
                output_sequence=7,
                rows_written=2**40,
                started_at=later(3),
                finished_at=later(4),
            )
            tx.runs.update(done)
            tx.runs.update(replace(made[2], state=RunState.QUEUED))
            tx.runs.update(run(daily, revision=99))
            assert tx.runs.get(done.id) == done
            assert tx.runs.counts() == {
                ("sales.daily", RunState.QUEUED): 2,
                ("sales.daily", RunState.RUNNING): 1,
                ("sales.daily", RunState.SUCCEEDED): 1,
                ("sales.other", RunState.SUCCEEDED): 1,
            }

    def test_queued_runs_of_a_partition_are_superseded(self, store: MetadataStore, daily: Job) -> None:
        old, new = run(daily, revision=1), run(daily, revision=2)
        running = run(daily, revision=3, state=RunState.RUNNING)
        elsewhere = run(daily, "2026-03-15")
        with store.write() as tx:
            for one in (old, new, running, elsewhere):
                assert tx.runs.insert(one)
            tx.runs.supersede_queued(daily.id, "2026-03-14", new.id, later(9))
            assert tx.runs.get(old.id) == replace(old, state=RunState.SUPERSEDED, finished_at=later(9))
            assert [tx.runs.get(one.id) for one in (new, running, elsewhere)] == [new, running, elsewhere]
            assert tx.runs.counts()["sales.daily", RunState.SUPERSEDED] == 1
            assert tx.runs.counts()["sales.daily", RunState.QUEUED] == 2

    # --- lineage ----------------------------------------------------------------------------------------------------

    def test_edges_lead_both_ways(self, store: MetadataStore) -> None:
        orders, customers, mart = (Node(NodeKind.DATASET, f"sales.{name}") for name in ("orders", "customers", "mart"))
        build, table = Node(NodeKind.JOB, "sales.mart"), Node(NodeKind.TARGET, "warehouse:mart")
        columns = (("total", ("amount", "rate")), ("id", ()))
        edges = [Edge(customers, build), Edge(orders, build, columns), Edge(build, mart), Edge(mart, table)]
        with store.write() as tx:
            tx.lineage.put(edges[::-1], NOW)
            tx.lineage.put([], NOW)
        with store.read() as tx:
            assert tx.lineage.neighbours([build], upstream=True, limit=9) == edges[:2]
            assert tx.lineage.neighbours([build], upstream=True, limit=1) == edges[:1]
            assert tx.lineage.neighbours([build, mart], upstream=False, limit=1) == [edges[3], edges[2]]
            assert tx.lineage.neighbours([mart], upstream=True, limit=9) == [edges[2]]
            assert tx.lineage.neighbours([], upstream=True, limit=9) == []
            assert tx.lineage.degree([build, orders], upstream=True) == {build: 2, orders: 0}
            assert tx.lineage.degree([build, orders], upstream=False) == {build: 1, orders: 1}
            assert tx.lineage.degree([], upstream=False) == {}

    def test_an_edge_is_renewed_or_removed(self, store: MetadataStore) -> None:
        source, job_node, sink = (
            Node(NodeKind.DATASET, "a.b"),
            Node(NodeKind.JOB, "a.b"),
            Node(NodeKind.DATASET, "c.d"),
        )
        with store.write() as tx:
            tx.lineage.put([Edge(source, job_node), Edge(job_node, sink), Edge(source, sink)], NOW)
            renewed = Edge(source, job_node, (("x", ("y",)),))
            tx.lineage.put([renewed], later(1))
            assert tx.lineage.neighbours([job_node], upstream=True, limit=9) == [renewed]
            tx.lineage.remove(job_node)  # not the dataset of the same name
            assert tx.lineage.neighbours([source], upstream=False, limit=9) == [Edge(source, sink)]
            assert tx.lineage.degree([sink, job_node], upstream=True) == {sink: 1, job_node: 0}

    def test_many_nodes_are_looked_at_in_one_go(self, store: MetadataStore) -> None:
        hub = Node(NodeKind.DATASET, "sales.hub")
        leaves = [Node(NodeKind.TARGET, f"warehouse:t{number:04}") for number in range(700)]
        with store.write() as tx:
            tx.lineage.put([Edge(hub, leaf) for leaf in leaves], NOW)
            assert tx.lineage.neighbours([hub], upstream=False, limit=3) == [Edge(hub, leaf) for leaf in leaves[:3]]
            assert len(tx.lineage.neighbours(leaves, upstream=True, limit=1)) == 700
            assert tx.lineage.degree([hub, *leaves], upstream=False)[hub] == 700


def _concerned(tx: Transaction, dataset: str, label: str) -> list[Job]:
    """Return the jobs that a completion concerns, asked for among others."""
    found = tx.jobs.concerned_by([("sales.none", label), (dataset, label)])
    assert all(completed == (dataset, label) for _, completed in found)
    return list({job.id: job for job, _ in found}.values())


def _standing(tx: Transaction, dataset: str, label: str) -> list[tuple[Job, str]]:
    """Return the partitions that stand by for a completion, asked for among others."""
    found = tx.jobs.standing_by([(dataset, label), ("sales.none", label)])
    assert all(completed == (dataset, label) for _, (_, completed) in found)
    return [(job, partition) for job, (partition, _) in found]
