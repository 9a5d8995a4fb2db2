"""What a metadata store must do with targets, subscriptions, jobs, runs and lineage, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from cordillera.errors import (
    AlreadyExistsError,
    DatasetNotFoundError,
    JobNotFoundError,
    NotEmptyError,
    TargetNotFoundError,
)
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.spec.job_trigger import JobTrigger
from cordillera.spec.lineage import Edge, Node, NodeKind
from cordillera.spec.skip import AHEAD, Skip, SkipState
from cordillera.spec.subscription import ENDED, Equality, SubscriptionState
from cordillera.spec.workflow import Job, RunState
from cordillera.testing.metadata_samples import (
    NOW,
    PRINCIPAL,
    dataset,
    dataset_version,
    job,
    later,
    numbered_id,
    run,
    stored_dataset,
    subscription,
    target,
)


class WorkSuite:
    """Targets, subscriptions, jobs, runs and lineage."""

    @pytest.fixture
    def orders(self, store: MetadataStore) -> tuple[Dataset, DatasetVersion]:
        """Return a dataset that is in the store, beside the target ``warehouse``."""
        with store.write() as tx:
            tx.targets.insert(target())
        return stored_dataset(store)

    @pytest.fixture
    def daily(self, store: MetadataStore) -> Job:
        """Return a job that is in the store."""
        made = job()
        with store.write() as tx:
            tx.jobs.insert(made)
        return made

    # --- targets and subscriptions ----------------------------------------------------------------------------------

    def test_targets_are_kept_by_name(self, store: MetadataStore) -> None:
        made = [target(name) for name in ("b", "a", "c")]
        with store.write() as tx:
            for one in made:
                tx.targets.insert(one)
            with pytest.raises(AlreadyExistsError, match="b"):
                tx.targets.insert(target("b"))
        with store.read() as tx:
            assert tx.targets.get("b") == made[0]
            assert tx.targets.get("d") is None
            assert [one.name for one in tx.targets.page("", 2)] == ["a", "b"]
            assert tx.targets.page("b", 9) == [made[2]]

    def test_a_target_in_use_stays(self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]) -> None:
        wish = subscription(*orders)
        with store.write() as tx:
            tx.subscriptions.insert(wish)
            with pytest.raises(NotEmptyError, match="warehouse"):
                tx.targets.delete("warehouse")
            tx.subscriptions.set_state(wish.id, SubscriptionState.REVOKED, "", NOW)
            tx.targets.delete("warehouse")
            assert tx.targets.get("warehouse") is None
            assert tx.subscriptions.get(wish.id) == replace(wish, state=SubscriptionState.REVOKED)

    def test_a_table_belongs_to_one_subscription(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        first, second = subscription(*orders), subscription(*orders, columns=(), row_filter="")
        with store.write() as tx:
            tx.subscriptions.insert(first)
            with pytest.raises(AlreadyExistsError, match=r"'orders'.*warehouse"):
                tx.subscriptions.insert(second)
            tx.subscriptions.set_state(first.id, SubscriptionState.REVOKED, "", NOW)
            tx.subscriptions.insert(second)
            with pytest.raises(AlreadyExistsError):
                tx.subscriptions.insert(subscription(*orders))
        with store.read() as tx:
            assert tx.subscriptions.get(second.id) == second
            assert tx.subscriptions.get(uuid4()) is None

    def test_a_subscription_needs_target_and_dataset(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        with store.write() as tx:
            with pytest.raises(TargetNotFoundError, match="nowhere"):
                tx.subscriptions.insert(subscription(*orders, target="nowhere"))
            missing = dataset("sales.none")
            with pytest.raises(DatasetNotFoundError, match=r"sales\.none"):
                tx.subscriptions.insert(subscription(missing, dataset_version(missing.id)))

    def test_a_subscription_follows_its_dataset_through_renaming(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        wish = subscription(*orders)
        with store.write() as tx:
            tx.subscriptions.insert(wish)
            tx.datasets.update(replace(orders[0], name="bookings"))
            assert tx.subscriptions.get(wish.id) == replace(wish, dataset="sales.bookings")

    def test_subscriptions_are_listed_by_id(self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]) -> None:
        other = stored_dataset(store, "sales.other")
        live, failed = SubscriptionState.LIVE, SubscriptionState.FAILED
        made = [
            subscription(*orders, "t1", id=numbered_id(1), state=live),
            subscription(*other, "t2", id=numbered_id(2), state=failed, last_error="Why"),
            subscription(*orders, "t3", id=numbered_id(3), state=failed, cursor_sequence=3, cursor_schema_id=1),
            subscription(*orders, "t1", id=numbered_id(4), target="lake", delivered_at=later(3), rows_delivered=9),
        ]
        with store.write() as tx:
            tx.targets.insert(target("lake"))
            for wish in reversed(made):
                tx.subscriptions.insert(wish)
        with store.read() as tx:
            page = tx.subscriptions.page
            assert page(limit=9) == made
            assert page(limit=2) == made[:2]
            assert page(after=numbered_id(2), limit=9) == made[2:]
            assert page(dataset_id=orders[0].id, limit=9) == [made[0], made[2], made[3]]
            assert page(target="warehouse", after=numbered_id(1), limit=9) == made[1:3]
            assert page(state=failed, limit=9) == made[1:3]
            assert page(state=failed, dataset_id=orders[0].id, target="warehouse", limit=9) == [made[2]]

    def test_a_delivery_moves_the_cursor_forward_only(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        wish = subscription(*orders)
        with store.write() as tx:
            tx.subscriptions.insert(wish)
            tx.subscriptions.set_state(wish.id, SubscriptionState.FAILED, "Disk full", later(1), error_code="full")
            assert tx.subscriptions.get(wish.id) == replace(
                wish, state=SubscriptionState.FAILED, last_error="Disk full", error_code="full"
            )
            tx.subscriptions.advance(wish.id, sequence_number=3, schema_id=1, rows=10, now=later(2))
            reached = replace(
                wish,
                state=SubscriptionState.FAILED,
                cursor_sequence=3,
                cursor_schema_id=1,
                rows_delivered=10,
                delivered_at=later(2),
            )
            assert tx.subscriptions.get(wish.id) == reached
            tx.subscriptions.note_error(wish.id, "Unreachable", later(2), error_code="gone")
            assert tx.subscriptions.get(wish.id) == replace(reached, last_error="Unreachable", error_code="gone")
            tx.subscriptions.note_error(wish.id, "", later(2))
            assert tx.subscriptions.shown(wish.id) == ""
            tx.subscriptions.advance(wish.id, sequence_number=2, schema_id=0, rows=99, now=later(3), shown="older")
            assert (tx.subscriptions.get(wish.id), tx.subscriptions.shown(wish.id)) == (reached, "")
            tx.subscriptions.advance(wish.id, sequence_number=5, schema_id=2, rows=1, now=later(4), shown="less")
            assert tx.subscriptions.shown(wish.id) == "less"
            assert tx.subscriptions.get(wish.id) == replace(
                reached, cursor_sequence=5, cursor_schema_id=2, rows_delivered=11, delivered_at=later(4)
            )

    @pytest.mark.parametrize("state", sorted(ENDED))
    def test_an_end_is_final_and_frees_the_table(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion], state: SubscriptionState
    ) -> None:
        wish, another = subscription(*orders), subscription(*orders)
        with store.write() as tx:
            tx.subscriptions.insert(wish)
            tx.subscriptions.set_state(wish.id, state, "", NOW)
            tx.subscriptions.set_state(wish.id, SubscriptionState.LIVE, "late", NOW)
            assert tx.subscriptions.get(wish.id) == replace(wish, state=state)
            tx.subscriptions.insert(another)
            tx.subscriptions.set_state(another.id, state, "", NOW)
            tx.targets.delete("warehouse")

    def test_the_steps_of_a_subscription_are_kept_in_order(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        wish, other = subscription(*orders), subscription(*orders, "other")
        with store.write() as tx:
            for one in (wish, other):
                tx.subscriptions.insert(one)
            for count, state in enumerate(SubscriptionState):
                tx.subscriptions.note_change(wish.id, state, f"user:{count}", later(count), f"Why {count}")
            tx.subscriptions.note_change(other.id, SubscriptionState.LIVE, "", NOW, "")
        with store.read() as tx:
            steps = tx.subscriptions.history(wish.id, limit=99)
            assert [step.state for step in reversed(steps)] == list(SubscriptionState)
            assert (steps[-1].by, steps[-1].at, steps[-1].reason) == ("user:0", later(0), "Why 0")
            assert tx.subscriptions.history(wish.id, limit=2) == steps[:2]
            assert tx.subscriptions.history(wish.id, before=steps[1].number, limit=99) == steps[2:]
            assert len(tx.subscriptions.history(other.id, limit=99)) == 1

    def test_subscriptions_are_found_by_what_was_asked_for_them(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        request = uuid4()
        asked = [subscription(*orders, f"t{n}", id=numbered_id(n), request_id=request) for n in (1, 2)]
        with store.write() as tx:
            for one in (*asked, subscription(*orders, "t3"), subscription(*orders, "t4", request_id=uuid4())):
                tx.subscriptions.insert(one)
            assert tx.subscriptions.asked_by(request) == asked
            assert tx.subscriptions.lock(asked[0].id) == asked[0]
            assert tx.subscriptions.lock(uuid4()) is None
            tx.subscriptions.set_expiry(asked[0].id, later(9))
            assert tx.subscriptions.get(asked[0].id) == replace(asked[0], expires_at=later(9))

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

    def test_what_a_verification_found_is_news_once(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        copied = subscription(*orders)
        with store.write() as tx:
            tx.subscriptions.insert(copied)

        def note(equality: Equality, sequence: int, drift: str = "") -> bool:
            with store.write() as tx:
                return tx.subscriptions.note_verification(
                    copied.id, equality, sequence_number=sequence, drift=drift, now=NOW
                )

        assert [note(Equality.EQUAL, 1), note(Equality.EQUAL, 2), note(Equality.DRIFTED, 2, "1 missing")] == [
            True,
            False,
            True,
        ]
        assert not note(Equality.DRIFTED, 3, "2 missing")
        with store.write() as tx:
            tx.subscriptions.set_verification_interval(copied.id, 3600)
        with store.read() as tx:
            found = tx.subscriptions.get(copied.id)
        assert found is not None
        assert (found.equality, found.verified_sequence, found.verified_at) == (Equality.DRIFTED, 3, NOW)
        assert (found.drift, found.verify_every_seconds) == ("2 missing", 3600)

    def test_skips_are_kept_in_order_and_settled(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        copied, other = subscription(*orders), subscription(*orders, target_table="other")
        with store.write() as tx:
            for one in (copied, other):
                tx.subscriptions.insert(one)
                for first, last in ((4, 5), (8, 9)):
                    tx.subscriptions.add_skip(Skip(0, one.id, first, last, PRINCIPAL, NOW, "late"))
            tx.subscriptions.settle_skips(copied.id, AHEAD, SkipState.SKIPPED, upto=8)
            tx.subscriptions.settle_skips(copied.id, [SkipState.MADE_GOOD], SkipState.WAITING, upto=9)
        with store.read() as tx:
            found = tx.subscriptions.skips(copied.id)
            assert [(one.first_sequence, one.last_sequence, one.state) for one in found] == [
                (4, 5, SkipState.SKIPPED),
                (8, 9, SkipState.WAITING),
            ]
            assert tx.subscriptions.skips(copied.id, SkipState.SKIPPED) == found[:1]
            assert len(tx.subscriptions.skips(other.id, SkipState.WAITING, SkipState.MADE_GOOD)) == 2

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
