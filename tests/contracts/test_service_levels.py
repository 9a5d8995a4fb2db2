"""Service levels: alarms, one event for each change of state, in the lake's own time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from cordillera.app import Application
from cordillera.client import Dataset, Lake
from cordillera.contracts.service_levels import ServiceLevelService
from tests.conftest import MovableClock, app_of

PROMISE = "\nslaProperties:\n- {property: frequency, value: 1, unit: d}\n"


@pytest.fixture
def orders(timed_lake: Lake) -> Dataset:
    timed_lake.create_namespace("sales")
    orders = timed_lake.create_dataset("sales.orders", {"id": pa.int64()}, completion_unit="day")
    orders.put_contract(timed_lake.backend.draft_contract("sales.orders") + PROMISE)
    return orders


@pytest.fixture
def app(timed_lake: Lake) -> Application:
    return app_of(timed_lake)


@pytest.fixture
def told(timed_lake: Lake, app: Application) -> Callable[[], list[Any]]:
    def events() -> list[Any]:
        app.service_levels.follow_up()
        found = [event.payload for event in timed_lake.backend.events() if event.topic == "service_level.changed"]
        return [(payload["partition"], payload["state"]) for payload in reversed(found)]

    return events


def test_each_change_of_state_is_told_once(orders: Dataset, clock: MovableClock, told: Callable[[], list[Any]]) -> None:
    assert told() == []
    orders.complete("2025-12-31")
    first = [("2026-01-01", "on time")]
    assert told() == told() == first
    clock.advance(days=1)
    orders.complete("2026-01-01")
    assert told() == first, "it is on time, as before"
    clock.advance(days=2, minutes=1)
    late = [*first, ("2026-01-02", "late")]
    assert told() == told() == late
    clock.advance(days=-1)
    assert told() == late, "a clock set back makes nothing good"
    clock.advance(days=3)
    breached = [*late, ("2026-01-02", "breached")]
    assert told() == told() == breached
    orders.complete("2025-12-30")
    assert told() == breached, "a backfill of an old day makes nothing fresh"
    for day in ("2026-01-02", "2026-01-03", "2026-01-04"):
        orders.complete(day)
    assert told() == [*breached, ("2026-01-05", "on time")]


def test_a_restarted_worker_tells_nothing_again(
    orders: Dataset, app: Application, clock: MovableClock, told: Callable[[], list[Any]]
) -> None:
    orders.complete("2025-12-31")
    clock.advance(days=3)
    before = told()
    assert ServiceLevelService(app.store, clock).follow_up() == 0
    assert told() == before


def test_a_new_contract_is_looked_at_at_once(
    timed_lake: Lake, orders: Dataset, clock: MovableClock, told: Callable[[], list[Any]]
) -> None:
    orders.complete("2025-12-31")
    clock.advance(days=4)
    assert told()[-1] == ("2026-01-01", "breached")
    orders.put_contract(timed_lake.backend.draft_contract("sales.orders"))
    assert told()[-1] == ("", "unpromised")


def test_what_is_deleted_raises_no_alarm(
    timed_lake: Lake, orders: Dataset, clock: MovableClock, told: Callable[[], list[Any]]
) -> None:
    orders.complete("2025-12-31")
    before = told()
    orders.delete()
    clock.advance(days=4)
    assert told() == before
    timed_lake.restore_dataset("sales.orders")
    clock.advance(hours=2)
    assert told()[-1] == ("2026-01-01", "breached")


def test_the_status_says_since_when(orders: Dataset, clock: MovableClock, told: Callable[[], list[Any]]) -> None:
    for day in (28, 29, 30, 31):
        orders.complete(f"2025-12-{day}")
    told()
    status = orders.service_level()
    assert (status.freshness.state, status.freshness.due_partition) == ("on time", "2026-01-01")
    assert status.prediction is not None
    assert status.prediction.partitions == 4
    assert status.since is not None
    assert clock.now() - status.since < timedelta(seconds=1)
    assert status.summary.startswith("Waiting for 2026-01-01, due 2026-01-03 00:00 UTC, usually ready ")
