"""What every lake must do, embedded or behind a server, as tests: the work that follows from data. Needs pytest.

Subclass :class:`WorkSuite` in a test module and provide the fixtures ``backend`` and ``work``.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend
from cordillera.errors import (
    AlreadyExistsError,
    ContractProposalNotFoundError,
    InvalidInputError,
    InvalidPartitionError,
    InvalidSqlError,
    JobNotFoundError,
    NotAllowedError,
    NotFoundError,
    RunNotFoundError,
)
from cordillera.operations.doctor import Verdict
from cordillera.spec.completion_rule import CompletionRule
from cordillera.spec.event import Topic
from cordillera.spec.job_explanation import JobStatus
from cordillera.spec.job_trigger import JobTrigger, Restatements
from cordillera.spec.lineage import Node, NodeKind
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.spec.workflow import RunState, WantedJob
from cordillera.testing.backend_suite import LakeSuite, make_orders, notes, orders

COPY = "SELECT id, day, amount, 'seen' AS note FROM {source} WHERE day = CAST($partition AS DATE)"


class WorkSuite(LakeSuite):
    """Jobs and runs, lineage, what the lake keeps about itself, and how much may be said."""

    @pytest.fixture
    def job(self, backend: LakeBackend, namespace: str, dataset: str) -> str:
        """Return a job that copies a day of orders into another dataset."""
        name = make_orders(backend, namespace, name="copied")
        sql = COPY.format(source=dataset)
        return backend.create_job(WantedJob(name, sql, output_condition="day = CAST($partition AS DATE)")).name

    # --- jobs and runs -------------------------------------------------------------------------------------------

    def test_a_job_runs_when_its_input_is_complete(
        self, backend: LakeBackend, dataset: str, job: str, work: Callable[[], object]
    ) -> None:
        backend.write(dataset, orders(1, 2), "append", completes="2013-01-31")
        work()
        (run,) = backend.runs(job=job)
        assert (run.state, run.partition, run.rows_written, run.error) == (RunState.SUCCEEDED, "2013-01-31", 2, "")
        assert backend.run(run.id) == run
        assert notes(backend, job) == {1: "seen", 2: "seen"}
        completion = backend.completion(job, date(2013, 1, 31))
        assert completion is not None
        again = backend.run_job(job, "2013-01-31")
        work()
        newest, oldest = backend.runs(job=job, state="succeeded", partition="2013-01-31")
        assert (newest.id, oldest.id) == (again.id, run.id)
        assert backend.runs(job=job, limit=1) == [newest]
        assert backend.runs(job=job, before=newest.id) == [oldest]
        counts = {(count.job, count.state): count.count for count in backend.run_counts()}
        assert counts[job, "succeeded"] == 2

    def test_nobody_is_asked_about_what_only_he_relies_on(self, backend: LakeBackend, dataset: str) -> None:
        backend.put_contract(dataset, backend.draft_contract(dataset))
        retired = backend.contract(dataset).text.replace("status: draft", "status: retired")
        with pytest.raises(NotAllowedError, match="nobody to ask"):
            backend.propose_contract(dataset, retired, reason="nobody needs it", days=30)
        assert backend.contract_proposals(dataset) == []
        for decide in (backend.acknowledge_proposal, backend.override_proposal, backend.withdraw_proposal):
            with pytest.raises(ContractProposalNotFoundError):
                decide(dataset, UUID(int=1), "why")
        assert backend.put_contract(dataset, retired).status == "retired"

    def test_a_job_tells_what_it_waits_for(self, backend: LakeBackend, namespace: str, dataset: str) -> None:
        other = make_orders(backend, namespace, name="other")
        name = make_orders(backend, namespace, name="joined")
        made = backend.create_job(
            WantedJob(
                name,
                f"SELECT a.* FROM {dataset} a JOIN {other} b USING (id)",
                output_condition="day = CAST($partition AS DATE)",
                owner="team:j",
                description="Joins.",
            )
        )
        assert (made.inputs, made.output, made.owner, made.enabled) == ((dataset, other), name, "team:j", True)
        backend.complete(dataset, "2013-01-31")
        (waiting,) = backend.waiting(name)
        assert (waiting.partition, waiting.complete, waiting.missing) == ("2013-01-31", (dataset,), (other,))
        with pytest.raises(NotAllowedError, match=other):
            backend.run_job(name, "2013-01-31")
        for explained in (backend.explain_job(name), backend.explain_job(name, "2013-01-31")):
            assert explained.status is JobStatus.WAITING
            assert explained.text == f"It is waiting for {other} 2013-01-31."
            first, second = explained.inputs
            assert (first.complete, first.snapshot, first.owner) == (True, 0, backend.dataset(dataset).dataset.owner)
            assert second.missing[0].reasons == ("nobody has declared it complete, and no rule does",)
        backend.complete(other, "2013-01-31")
        with pytest.raises(NotAllowedError, match="waits for nothing"):
            backend.explain_job(name)

    def test_a_job_says_which_partitions_it_needs(self, backend: LakeBackend, namespace: str, dataset: str) -> None:
        other = make_orders(backend, namespace, name="other")
        name = make_orders(backend, namespace, name="mapped")
        trigger = JobTrigger({other: "trailing 2 days"}, ("2013-*",), Restatements.IGNORE)
        query = f"SELECT a.* FROM {dataset} a JOIN {other} b USING (id)"
        wanted = WantedJob(name, query, output_condition="day = CAST($partition AS DATE)", trigger=trigger)
        assert backend.create_job(wanted).trigger == trigger
        assert backend.job(name).trigger == trigger
        for label in ("2013-01-31", "2014-01-31"):
            backend.complete(dataset, label)
            backend.complete(other, label)
        (waiting,) = backend.waiting(name)
        assert (waiting.partition, waiting.missing) == ("2013-01-31", (other,))
        with pytest.raises(NotAllowedError, match=f"{other} 2013-01-30"):
            backend.run_job(name, "2013-01-31")
        with pytest.raises(NotAllowedError, match="2014-01-31 does not concern"):
            backend.run_job(name, "2014-01-31")
        with pytest.raises(InvalidPartitionError):
            backend.run_job(name, "soon")
        with pytest.raises(InvalidInputError, match="no partition mapping"):
            backend.create_job(replace(wanted, trigger=JobTrigger({other: "soon"})))

    def test_a_ring_of_datasets_that_wait_for_one_another_is_refused(
        self, backend: LakeBackend, namespace: str, dataset: str
    ) -> None:
        names = [make_orders(backend, namespace, name=name) for name in ("first", "second")]
        backend.put_completion_rule(names[0], CompletionRule("day", upstream={dataset: "same"}))
        sql = f"SELECT * FROM {names[0]}"
        backend.create_job(WantedJob(names[1], sql, output_condition="day = CAST($partition AS DATE)"))
        ring = f"{dataset} waits for {names[1]} waits for {names[0]} waits for {dataset}"
        with pytest.raises(NotAllowedError, match=re.escape(ring)):
            backend.put_completion_rule(dataset, CompletionRule("day", upstream={names[1]: "latest"}))
        with pytest.raises(NotAllowedError, match="would wait for itself"):
            backend.create_job(
                WantedJob(f"{namespace}.back", f"SELECT * FROM {names[1]}", output_condition="true", output=dataset)
            )
        assert backend.completion_rule(dataset) is None

    def test_a_job_is_disabled_and_deleted(
        self, backend: LakeBackend, dataset: str, job: str, work: Callable[[], object]
    ) -> None:
        assert backend.job(job).enabled
        assert not backend.set_job_enabled(job, False).enabled
        backend.complete(dataset, "2013-01-31")
        work()
        assert backend.runs(job=job) == []
        assert backend.job(job) in backend.jobs(limit=1000)
        backend.delete_job(job)
        for operation in (backend.job, backend.delete_job, backend.waiting):
            with pytest.raises(JobNotFoundError, match=job):
                operation(job)

    def test_a_job_that_cannot_be_is_refused(self, backend: LakeBackend, dataset: str, job: str) -> None:
        condition = "day = CAST($partition AS DATE)"
        with pytest.raises(AlreadyExistsError):
            backend.create_job(WantedJob(job, COPY.format(source=dataset), output_condition=condition))
        with pytest.raises(NotAllowedError):
            backend.create_job(WantedJob(dataset, COPY.format(source=dataset), output_condition=condition))
        for sql in ("SELECT 1", "nonsense", f"SELECT nope FROM {dataset}"):
            with pytest.raises(InvalidSqlError):
                backend.create_job(WantedJob(f"{job}_other", sql, output=job, output_condition=condition))
        with pytest.raises(InvalidInputError, match="sleepy"):
            backend.runs(state="sleepy")
        with pytest.raises(RunNotFoundError):
            backend.run(uuid4())

    # --- lineage -------------------------------------------------------------------------------------------------

    def test_lineage_shows_what_flows_where(self, backend: LakeBackend, dataset: str, job: str, target: str) -> None:
        backend.subscribe(WantedSubscription(job, target, table="copied", columns=("note",)))
        graph = backend.lineage(Node(NodeKind.DATASET, job), upstream=2)
        assert {(str(edge.source), str(edge.sink)) for edge in graph.edges} == {
            (f"dataset:{dataset}", f"job:{job}"),
            (f"job:{job}", f"dataset:{job}"),
            (f"dataset:{job}", f"target:{target}:copied"),
        }
        columns = {edge.sink.kind: dict(edge.columns) for edge in graph.edges if edge.columns}
        assert columns[NodeKind.TARGET] == {"note": ("note",)}
        assert columns[NodeKind.JOB]["id"] == ("id",)
        assert backend.lineage(Node(NodeKind.DATASET, job), upstream=0, downstream=0).edges == ()
        with pytest.raises(InvalidInputError):
            backend.lineage(Node(NodeKind.DATASET, job), upstream=99)

    # --- what the lake keeps about itself ------------------------------------------------------------------------

    def test_events_and_the_audit_log_tell_what_happened(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(1), "append", completes="2013-01-31")
        newest, earlier, oldest = backend.events(dataset=dataset)
        assert {newest.topic, earlier.topic} == {Topic.PARTITION_COMPLETED, Topic.SNAPSHOT_COMMITTED}
        assert backend.events(dataset=dataset, before=earlier.number) == [oldest]
        assert backend.events(limit=1)
        committed, created = backend.audit(object_name=dataset)
        assert (committed.action, created.action) == ("dataset.commit", "dataset.create")
        assert committed.details["completed"] == "2013-01-31"
        assert committed.principal == created.principal != ""
        assert len(committed.trace_id) == 32
        assert backend.audit(object_name=dataset, before=committed.number, limit=1) == [created]

    def test_tasks_wait_to_be_done(
        self, backend: LakeBackend, dataset: str, target: str, work: Callable[[], object]
    ) -> None:
        work()
        later = {task.id for task in backend.tasks()}  # verifications whose time has not come
        made = backend.subscribe(WantedSubscription(dataset, target))
        (task,) = [task for task in backend.tasks(state="queued") if task.id not in later]
        assert (task.kind, task.payload) == ("deliver", {"subscription_id": str(made.id)})
        assert task.id not in {other.id for other in backend.tasks(after=task.id)}
        work()
        assert {task.id for task in backend.tasks(limit=10)} == later

    def test_tokens_are_made_and_revoked(self, backend: LakeBackend) -> None:
        name = f"t{uuid4().hex[:12]}"
        made = backend.create_token(name, principal="service:etl", days=1)
        assert made.secret.startswith("cdl_")
        assert made.secret not in repr(made)
        assert (made.token.name, made.token.principal) == (name, "service:etl")
        assert made.token.expires_at is not None
        assert backend.create_token(f"{name}-for-ever", days=None).token.expires_at is None
        listed = {token.id: token.name for token in backend.tokens(limit=1000)}
        assert listed[made.token.id] == name
        with pytest.raises(AlreadyExistsError):
            backend.create_token(name, principal="service:etl")
        for days in (0, 99_999):
            with pytest.raises(InvalidInputError):
                backend.create_token("other", days=days)
        backend.revoke_token(made.token.id)
        assert made.token.id not in {token.id for token in backend.tokens(limit=1000)}
        with pytest.raises(NotFoundError):
            backend.revoke_token(made.token.id)

    def test_the_doctor_examines_the_lake(self, backend: LakeBackend, namespace: str) -> None:
        make_orders(backend, namespace, TableOptions(), "unkeyed")
        findings = {finding.check: finding for finding in backend.examine()}
        assert {"metadata", "storage", "events", "tasks", "targets", "subscriptions", "orphans"} == set(findings)
        quick = {finding.check for finding in backend.examine(files=False)}
        assert quick == set(findings) - {"orphans"}, "what lists the whole storage can be left out"
        assert findings["storage"].verdict is Verdict.OK
        assert backend.orphans() == []
        assert [orphan.uri for orphan in backend.orphans(older_than_hours=0)] == []

    # --- limits --------------------------------------------------------------------------------------------------

    def test_what_is_too_long_is_refused_by_field(
        self, backend: LakeBackend, namespace: str, dataset: str, target: str
    ) -> None:
        def make_job(**wanted: Any) -> object:
            return backend.create_job(WantedJob(f"{namespace}.new", "SELECT 1", "true", **wanted))

        def subscribe(**wanted: Any) -> object:
            return backend.subscribe(WantedSubscription(dataset, target, **wanted))

        spaces, sets = partial(backend.update_namespace, namespace), partial(backend.update_dataset, dataset)
        make_set = partial(backend.create_dataset, f"{namespace}.new", backend.schema(dataset), TableOptions())
        attempts: list[tuple[Callable[..., object], str, object]] = [
            (partial(backend.create_namespace, "toolong"), "owner", "o" * 201),
            (partial(backend.create_namespace, "toolong"), "description", "d" * 10_001),
            (spaces, "owner", "o" * 201),
            (spaces, "description", "d" * 10_001),
            (spaces, "properties", {f"p{number}": "" for number in range(101)}),
            (spaces, "properties", {"p" * 256: ""}),
            (spaces, "properties", {"p": "v" * 4_001}),
            (spaces, "properties", {"comment": "x"}),
            (spaces, "properties", {"": "x"}),
            (make_set, "owner", "o" * 201),
            (make_set, "description", "d" * 10_001),
            (make_set, "tags", [f"t{number}" for number in range(51)]),
            (sets, "owner", "o" * 201),
            (sets, "description", "d" * 10_001),
            (sets, "tags", [f"t{number}" for number in range(51)]),
            (sets, "tags", ["t" * 101]),
            (make_job, "owner", "o" * 201),
            (make_job, "description", "d" * 10_001),
            (subscribe, "purpose", "p" * 1_001),
            (subscribe, "consumer", "c" * 201),
            (subscribe, "cost_owner", "c" * 201),
            (partial(backend.create_token, "new"), "principal", "p" * 201),
        ]
        before = backend.namespace(namespace), backend.dataset(dataset)
        for attempt, field, text in attempts:
            with pytest.raises(InvalidInputError) as caught:
                attempt(**{field: text})
            assert field.replace("_", " ").removesuffix("ies").removesuffix("s") in caught.value.message
        assert (backend.namespace(namespace), backend.dataset(dataset)) == before
        assert backend.subscriptions(dataset=dataset) == []

    def test_as_much_as_may_be_said_is_kept(self, backend: LakeBackend, dataset: str) -> None:
        tags = tuple(sorted(f"t{number:099}" for number in range(50)))
        changed = backend.update_dataset(dataset, owner="o" * 200, description="d" * 10_000, tags=tags)
        assert (changed.owner, changed.description, changed.tags) == ("o" * 200, "d" * 10_000, tags)
        assert backend.dataset(dataset).dataset == changed
