"""Leases are prolonged while their tasks are in hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from cordillera.client import Lake
from cordillera.context import Lease
from cordillera.operations.heartbeat import Heartbeat
from cordillera.ports.metadata import MetadataStore
from tests.conftest import MovableClock

LEASE = timedelta(seconds=0.03)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = threading.Event()
    for _ in range(2_000):
        if holds():
            return
        deadline.wait(0.005)
    raise AssertionError("it never came to hold")


def leased(store: MetadataStore, clock: MovableClock, number: int) -> list[Lease]:
    found = []
    with store.write() as tx:
        for one in range(number):
            tx.tasks.enqueue(uuid4(), "kind", str(one), {}, now=clock.now(), trace_id="")
            task = tx.tasks.lease("w", now=clock.now(), until=clock.now() + LEASE, kinds=["kind"])
            assert task is not None
            found.append(Lease(task.id, task.fencing_token))
    return found


def lease_end(store: MetadataStore) -> datetime:
    with store.read() as tx:
        (task,) = tx.tasks.page(limit=9)
    assert task.lease_until is not None
    return task.lease_until


def test_one_thread_prolongs_every_lease_and_ends_when_there_is_none(timed_lake: Lake, clock: MovableClock) -> None:
    store = timed_lake.backend.app.store  # type: ignore[attr-defined]  # it is local
    leases, heartbeat, before = leased(store, clock, 3), Heartbeat(store, clock, LEASE), threading.active_count()

    def until() -> list[float]:
        with store.read() as tx:
            ends = [task.lease_until for task in tx.tasks.page(limit=9)]
        return [(end - clock.moment).total_seconds() for end in ends if end is not None]

    with ExitStack() as held:
        for lease in leases:
            held.enter_context(heartbeat.of(lease))
        assert threading.active_count() == before + 1
        for _ in range(3):
            clock.advance(seconds=0.02)  # less than the lease, more than half of it
            eventually(lambda: min(until()) > 0.02)
    eventually(lambda: threading.active_count() == before)


def test_a_beat_that_fails_is_followed_by_others(
    timed_lake: Lake, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = timed_lake.backend.app.store  # type: ignore[attr-defined]  # it is local
    (lease,), write, failed = leased(store, clock, 1), store.write, []

    def fails() -> Any:
        if len(failed) < 2:
            failed.append(1)
            raise RuntimeError("a bug")
        return write()

    before = lease_end(store)
    monkeypatch.setattr(store, "write", fails)
    clock.advance(seconds=0.01)
    with Heartbeat(store, clock, LEASE).of(lease):
        eventually(lambda: lease_end(store) > before)
    assert len(failed) == 2


def test_a_lease_that_has_ended_is_not_prolonged(timed_lake: Lake, clock: MovableClock) -> None:
    store = timed_lake.backend.app.store  # type: ignore[attr-defined]  # it is local
    lost, held = leased(store, clock, 2)
    heartbeat, before = Heartbeat(store, clock, LEASE), threading.active_count()
    with store.write() as tx:
        tx.tasks.finish(lost.task_id, lost.fencing_token)
    with heartbeat.of(lost):
        eventually(lambda: threading.active_count() == before)  # nothing is left to prolong
        with heartbeat.of(held):
            assert threading.active_count() == before + 1
