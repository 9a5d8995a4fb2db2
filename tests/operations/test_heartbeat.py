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
from tests.conftest import MovableClock, app_of

LEASE = timedelta(seconds=0.03)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = threading.Event()
    for _ in range(2_000):
        if holds():
            return
        deadline.wait(0.005)
    raise AssertionError("it never came to hold")


def store_of(lake: Lake) -> MetadataStore:
    return app_of(lake).store


def leased(store: MetadataStore, clock: MovableClock, number: int) -> list[Lease]:
    found = []
    with store.write() as tx:
        for one in range(number):
            tx.tasks.enqueue(uuid4(), "kind", str(one), {}, now=clock.now(), trace_id="")
            task = tx.tasks.lease("w", now=clock.now(), until=clock.now() + LEASE, kinds=["kind"])
            assert task is not None
            found.append(Lease(task.id, task.fencing_token))
    return found


def beating(others: set[threading.Thread]) -> int:
    """How many threads prolong leases; those of ``others`` may end meanwhile."""
    return sum(each.name == "cordillera-heartbeat" for each in set(threading.enumerate()) - others)


def lease_end(store: MetadataStore) -> datetime:
    with store.read() as tx:
        (task,) = tx.tasks.page(limit=9)
    assert task.lease_until is not None
    return task.lease_until


def test_one_thread_prolongs_every_lease_and_ends_when_there_is_none(timed_lake: Lake, clock: MovableClock) -> None:
    store = store_of(timed_lake)
    leases, heartbeat, others = leased(store, clock, 3), Heartbeat(store, clock, LEASE), set(threading.enumerate())

    def until() -> list[float]:
        with store.read() as tx:
            ends = [task.lease_until for task in tx.tasks.page(limit=9)]
        return [(end - clock.moment).total_seconds() for end in ends if end is not None]

    with ExitStack() as held:
        for lease in leases:
            held.enter_context(heartbeat.of(lease))
        assert beating(others) == 1
        for _ in range(3):
            clock.advance(seconds=0.02)  # less than the lease, more than half of it
            eventually(lambda: min(until()) > 0.02)
    eventually(lambda: beating(others) == 0)


def test_a_beat_that_fails_is_followed_by_others(
    timed_lake: Lake, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(timed_lake)
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
    store = store_of(timed_lake)
    lost, held = leased(store, clock, 2)
    heartbeat, others = Heartbeat(store, clock, LEASE), set(threading.enumerate())
    with store.write() as tx:
        assert tx.tasks.finish(lost.task_id, lost.fencing_token, now=clock.now())
    with heartbeat.of(lost):
        eventually(lambda: beating(others) == 0)  # nothing is left to prolong
        with heartbeat.of(held):
            assert beating(others) == 1
