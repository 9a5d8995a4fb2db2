"""Tasks and events: leases, retries, fencing; the doctor; what is purged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from cordillera.access.authorizer import GrantAuthorizer
from cordillera.app import Application
from cordillera.catalog.leases import last_write
from cordillera.catalog.lookup import Lookup
from cordillera.client import Lake
from cordillera.context import Lease, acting, current
from cordillera.errors import DatasetNotFoundError, LeaseLostError, NotAllowedError, TargetUnreachableError
from cordillera.operations.dispatch import EventDispatcher
from cordillera.operations.doctor import Verdict
from cordillera.operations.service import LeaseTerms, OperationsService, TaskHandler
from tests.conftest import MovableClock


class Handler:
    """A task handler that fails as often as it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self, payload: Mapping[str, Any]) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


def app_of(lake: Lake) -> Application:
    return lake.backend.app


def service(lake: Lake, clock: MovableClock, handler: TaskHandler) -> OperationsService:
    terms = LeaseTerms(timedelta(seconds=60), timedelta(seconds=1), timedelta(minutes=1))
    store = app_of(lake).store
    dispatcher = EventDispatcher(store, clock, {}, [])
    return OperationsService(store, Lookup(GrantAuthorizer(clock)), clock, dispatcher, {"kind": handler}, terms)


def enqueue(lake: Lake, clock: MovableClock, key: str = "key") -> None:
    with app_of(lake).store.write() as tx:
        tx.tasks.enqueue(uuid4(), "kind", key, {"a": 1}, now=clock.now(), trace_id="t")


def test_a_done_task_is_gone(timed_lake: Lake, clock: MovableClock) -> None:
    handler = Handler()
    operations = service(timed_lake, clock, handler)
    enqueue(timed_lake, clock)
    assert operations.perform_tasks("w")
    assert not operations.perform_tasks("w")
    assert (handler.calls, operations.tasks()) == (1, [])


def test_a_task_ends_with_the_last_that_is_written_for_it(timed_lake: Lake, clock: MovableClock) -> None:
    store = app_of(timed_lake).store

    def note(payload: Mapping[str, Any]) -> None:
        with last_write(store, clock.now()) as tx:
            tx.tasks.enqueue(uuid4(), "noted", "key", {}, now=clock.now(), trace_id="t")
        assert [task.kind for task in operations.tasks()] == ["noted"]

    operations = service(timed_lake, clock, note)
    enqueue(timed_lake, clock)
    assert operations.perform_tasks("w")
    assert [task.kind for task in operations.tasks()] == ["noted"]


def test_what_fails_while_the_last_is_written_is_neither_noted_nor_ended(timed_lake: Lake, clock: MovableClock) -> None:
    store = app_of(timed_lake).store

    def note(payload: Mapping[str, Any]) -> None:
        with last_write(store, clock.now()) as tx:
            tx.tasks.enqueue(uuid4(), "noted", "key", {}, now=clock.now(), trace_id="t")
            raise TargetUnreachableError("away")

    operations = service(timed_lake, clock, note)
    enqueue(timed_lake, clock)
    enqueue(timed_lake, clock, "other")
    assert operations.perform_tasks("w", lambda: True)
    found = {task.key: (task.kind, task.state, task.attempts) for task in operations.tasks()}
    assert found == {"key": ("kind", "queued", 1), "other": ("kind", "queued", 0)}, "who fails goes on to nothing"


def test_the_next_task_is_leased_as_the_one_before_ends(timed_lake: Lake, clock: MovableClock) -> None:
    seen: list[tuple[str, list[str]]] = []

    def look(payload: Mapping[str, Any]) -> None:
        lease = current().lease
        assert lease is not None
        seen.append((str(lease.task_id), [str(task.id) for task in operations.tasks() if task.state == "running"]))

    operations = service(timed_lake, clock, look)
    for key in ("first", "second", "third"):
        enqueue(timed_lake, clock, key)
    asked = iter([True, False])
    assert operations.perform_tasks("w", lambda: next(asked)) == 2
    assert [running for _, running in seen] == [[mine] for mine, _ in seen], "one task at a time is in hand"
    assert (len(seen), [task.state for task in operations.tasks()]) == (2, ["queued"])


def test_a_task_whose_lease_has_ended_is_not_ended_and_nothing_is_noted(timed_lake: Lake, clock: MovableClock) -> None:
    store = app_of(timed_lake).store

    def stall(payload: Mapping[str, Any]) -> None:
        clock.advance(seconds=61)
        with last_write(store, clock.now()) as tx:
            tx.tasks.enqueue(uuid4(), "noted", "key", {}, now=clock.now(), trace_id="t")

    operations = service(timed_lake, clock, stall)
    enqueue(timed_lake, clock)
    enqueue(timed_lake, clock, "other")
    assert operations.perform_tasks("w", lambda: True)
    found = {task.key: (task.kind, task.state, task.attempts) for task in operations.tasks()}
    assert found == {"key": ("kind", "running", 1), "other": ("kind", "queued", 0)}


def test_passing_failures_are_retried_ever_later(timed_lake: Lake, clock: MovableClock) -> None:
    handler = Handler(*(TargetUnreachableError("away") for _ in range(3)))
    operations = service(timed_lake, clock, handler)
    enqueue(timed_lake, clock)
    pauses = []
    while operations.tasks():
        while not operations.perform_tasks("w"):
            clock.advance(seconds=0.5)
        pauses.append(clock.moment)
    assert handler.calls == 4
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(pauses)]
    assert gaps == sorted(gaps)
    assert gaps[0] >= 1
    assert gaps[-1] >= 4


def test_failures_that_no_retry_cures_are_kept_to_be_looked_at(timed_lake: Lake, clock: MovableClock) -> None:
    operations = service(timed_lake, clock, Handler(NotAllowedError("never")))
    enqueue(timed_lake, clock)
    assert operations.perform_tasks("w")
    (task,) = operations.tasks()
    assert (task.state, task.last_error) == ("failed", "never")
    assert not operations.perform_tasks("w")
    findings = {finding.check: finding for finding in timed_lake.backend.examine()}
    assert findings["tasks"].verdict is Verdict.ERROR


def test_a_bug_does_not_end_the_worker(timed_lake: Lake, clock: MovableClock) -> None:
    handler = Handler(*(ZeroDivisionError("oops") for _ in range(50)))
    operations = service(timed_lake, clock, handler)
    enqueue(timed_lake, clock)
    for _ in range(40):
        operations.perform_tasks("w")
        clock.advance(minutes=10)
    (task,) = operations.tasks()
    assert task.state == "failed"
    assert "ZeroDivisionError" in task.last_error
    assert handler.calls == 12


def test_a_worker_past_its_lease_cannot_commit(timed_lake: Lake, clock: MovableClock) -> None:
    timed_lake.create_namespace("a")
    dataset = timed_lake.create_dataset("a.b", {"id": pa.int64()}, key=["id"])
    store = app_of(timed_lake).store
    enqueue(timed_lake, clock)
    with store.write() as tx:
        task = tx.tasks.lease("slow", now=clock.now(), until=clock.now() + timedelta(seconds=5), kinds=["kind"])
    assert task is not None
    with acting(lease=Lease(task.id, task.fencing_token)):
        dataset.write([{"id": 1}], "upsert")
        clock.advance(seconds=10)
        with pytest.raises(LeaseLostError):
            dataset.write([{"id": 2}], "upsert")
    with store.write() as tx:
        stolen = tx.tasks.lease("fast", now=clock.now(), until=clock.now() + timedelta(seconds=5), kinds=["kind"])
    assert stolen is not None
    with acting(lease=Lease(task.id, task.fencing_token)), pytest.raises(LeaseLostError):
        dataset.write([{"id": 2}], "upsert")
    with acting(lease=Lease(stolen.id, stolen.fencing_token)):
        dataset.write([{"id": 3}], "upsert")
    assert sorted(dataset.scan().to_arrow().column("id").to_pylist()) == [1, 3]
    assert timed_lake.backend.orphans(older_than_hours=-1) == []


def test_the_same_principal_and_trace_reach_audit_events_and_tasks(timed_lake: Lake) -> None:
    timed_lake.create_namespace("a")
    dataset = timed_lake.create_dataset("a.b", {"id": pa.int64()}, key=["id"])
    with acting("user:ada", "0af7651916cd43dd8448eb211c80319c", operator=True):
        dataset.write([{"id": 1}], "upsert")
    snapshot, *_ = dataset.snapshots()
    audit, *_ = timed_lake.backend.audit(object_name="a.b")
    event, *_ = timed_lake.backend.events(dataset="a.b")
    for found in (snapshot, audit, event):
        assert (found.principal, found.trace_id) == ("user:ada", "0af7651916cd43dd8448eb211c80319c")


def test_deleted_datasets_come_back_until_their_retention_passes(timed_lake: Lake, clock: MovableClock) -> None:
    timed_lake.create_namespace("a")
    dataset = timed_lake.create_dataset("a.b", {"id": pa.int64()}, key=["id"], description="precious")
    dataset.write([{"id": 1}], "upsert")
    files = list(Path(app_of(timed_lake).storage.root.removeprefix("file://")).rglob("*.parquet"))
    dataset.delete()
    with pytest.raises(DatasetNotFoundError):
        dataset.details()
    assert timed_lake.search("precious").total == 0
    clock.advance(days=6)
    assert app_of(timed_lake).deletion.purge() == 0
    timed_lake.restore_dataset("a.b")
    assert dataset.scan().to_arrow().num_rows == 1
    assert timed_lake.search("precious").total == 1
    dataset.delete()
    clock.advance(days=8)
    assert app_of(timed_lake).deletion.purge() == 1
    with pytest.raises(DatasetNotFoundError):
        timed_lake.restore_dataset("a.b")
    assert files
    assert not any(file.exists() for file in files)
    timed_lake.create_dataset("a.b", {"id": pa.int64()})


def test_the_doctor_finds_a_healthy_lake_healthy(lake: Lake) -> None:
    assert {finding.verdict for finding in lake.backend.examine()} == {Verdict.OK}
