from __future__ import annotations

import pytest
import structlog

from cordillera.access.authorizer import GrantAuthorizer
from cordillera.catalog.lookup import Lookup
from cordillera.client import Lake
from cordillera.errors import MetadataStoreBusyError
from cordillera.operations.dispatch import HANDLE_EVENT, EventDispatcher
from cordillera.operations.doctor import Verdict
from cordillera.operations.service import LeaseTerms, OperationsService
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.event import Event, Topic
from cordillera.testing.metadata_samples import append_event
from cordillera.worker import Worker
from tests.conftest import MovableClock, app_of


class Handler:
    """Notes what it handles, by a task that nobody does, and fails at what it is told to."""

    def __init__(self, *bad: str) -> None:
        self.bad, self.error = set(bad), Exception("what is this?")

    def __call__(self, tx: Transaction, event: Event, clock: Clock) -> None:
        name = event.payload["name"]
        assert tx.tasks.enqueue(clock.new_id(), "handled", name, {}, now=clock.now(), trace_id="t"), "handled once"
        if name in self.bad:
            raise self.error


def operations_of(lake: Lake, clock: MovableClock, handler: Handler) -> OperationsService:
    store = app_of(lake).store
    dispatcher = EventDispatcher(store, clock, {Topic.SNAPSHOT_COMMITTED: [handler]}, [])
    return OperationsService(store, Lookup(GrantAuthorizer(clock)), clock, dispatcher, {}, LeaseTerms())


def append(lake: Lake, *names: str) -> None:
    with app_of(lake).store.write() as tx:
        for name in names:
            append_event(tx, name=name)


def tasks(operations: OperationsService, kind: str) -> list[str]:
    return sorted(task.key for task in operations.tasks() if task.kind == kind)


def events_waiting(lake: Lake) -> int:
    with app_of(lake).store.read() as tx:
        return tx.events.unhandled_count()


def test_an_event_that_cannot_be_handled_keeps_no_other_waiting(timed_lake: Lake, clock: MovableClock) -> None:
    handler = Handler("bad", "worse")
    operations = operations_of(timed_lake, clock, handler)
    append(timed_lake, "first", "bad", "second", "worse", "third")
    assert operations.dispatch_events() == 5
    assert (operations.dispatch_events(), events_waiting(timed_lake)) == (0, 0)
    assert tasks(operations, "handled") == ["first", "second", "third"]
    assert len(tasks(operations, HANDLE_EVENT)) == 2
    found = {finding.check: finding for finding in app_of(timed_lake).doctor.examine(files=False)}["events"]
    assert (found.verdict, found.message) == (
        Verdict.ERROR,
        "2 events could not be handled, and will be tried again.",
    )
    handler.bad.clear()
    assert [operations.perform_tasks("w"), operations.perform_tasks("w"), operations.perform_tasks("w")] == [1, 1, 0]
    assert tasks(operations, "handled") == ["bad", "first", "second", "third", "worse"]
    assert tasks(operations, HANDLE_EVENT) == []


def test_an_event_that_was_set_aside_is_tried_again_for_as_long_as_it_takes(
    timed_lake: Lake, clock: MovableClock
) -> None:
    operations = operations_of(timed_lake, clock, Handler("bad"))
    append(timed_lake, "bad")
    assert operations.dispatch_events() == 1
    with structlog.testing.capture_logs():  # which would be much
        for _ in range(20):
            assert operations.perform_tasks("w") == 1
            clock.advance(minutes=10)
    (task,) = operations.tasks()
    assert (task.kind, task.state, task.attempts) == (HANDLE_EVENT, "queued", 20)
    assert "what is this?" in (task.last_error or "")


def test_what_passes_by_itself_sets_no_event_aside(timed_lake: Lake, clock: MovableClock) -> None:
    handler = Handler("bad")
    handler.error = MetadataStoreBusyError("busy")
    operations = operations_of(timed_lake, clock, handler)
    append(timed_lake, "first", "bad")
    with pytest.raises(MetadataStoreBusyError):
        operations.dispatch_events()
    assert (operations.tasks(), events_waiting(timed_lake)) == ([], 2)


def test_a_worker_outlives_what_nobody_foresaw(timed_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(app_of(timed_lake))
    rounds = iter([ValueError("what is this?"), None])

    def step() -> tuple[int, int]:
        error = next(rounds)
        if error is not None:
            raise error
        worker.stop()
        return 0, 0

    monkeypatch.setattr(worker, "step", step)
    with structlog.testing.capture_logs() as logs:
        worker.run()
    assert [(line["event"], line["log_level"]) for line in logs] == [("worker waits", "error")]
