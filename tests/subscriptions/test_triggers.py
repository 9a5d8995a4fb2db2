"""What deliveries wait for: every commit, completions, times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.client import Lake
from cordillera.errors import InvalidInputError
from cordillera.spec.delivery_trigger import checked_trigger, next_time
from cordillera.spec.subscription import Subscription, SubscriptionState
from cordillera.subscriptions.handlers import on_dataset_moved
from tests.conftest import MovableClock

NAME = "sales.orders"


@pytest.fixture
def sales(timed_lake: Lake, tmp_path: Path) -> Lake:
    lake = timed_lake
    lake.create_namespace("sales")
    lake.create_dataset(NAME, {"id": pa.int64(), "day": pa.string()}, key=["id"], completion_unit="day")
    lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    put(lake, 1)
    return lake


def put(lake: Lake, *ids: int, completes: str | None = None) -> None:
    lake.dataset(NAME).write([{"id": one, "day": "x"} for one in ids], "upsert", completes=completes)


def behind(lake: Lake, made: Subscription) -> int:
    lake.run_pending()
    return lake.backend.subscription(made.id).snapshots_behind


def test_a_trigger_is_read() -> None:
    assert [checked_trigger(text) for text in (" commit", "completion", "0  6 * * 1-5")] == [
        "commit",
        "completion",
        "0 6 * * 1-5",
    ]
    for wrong in ("", "hourly", "* * * *", "61 * * * *", "0 6 * * * *", "completions"):
        with pytest.raises(InvalidInputError, match="triggered by"):
            checked_trigger(wrong)
    now = datetime(2026, 1, 1, 6, tzinfo=UTC)
    assert next_time("0 6 * * *", now) == now + timedelta(days=1)
    assert next_time("commit", now) is None


def test_on_completion_only_what_is_complete_is_followed(sales: Lake) -> None:
    made = sales.dataset(NAME).subscribe("copy", trigger="completion")
    assert behind(sales, made) == 0, "the first delivery does not wait"
    put(sales, 2)
    put(sales, 3)
    assert behind(sales, made) == 2
    put(sales, 4, completes="2026-01-01")
    assert behind(sales, made) == 0
    put(sales, 5)
    assert behind(sales, made) == 1
    sales.dataset(NAME).complete("2026-01-01")  # again: it is restated
    assert behind(sales, made) == 0


def test_at_times_that_a_cron_expression_names(sales: Lake, clock: MovableClock) -> None:
    made = sales.dataset(NAME).subscribe("copy", trigger="0 6 * * *")
    assert behind(sales, made) == 0
    put(sales, 2)
    assert behind(sales, made) == 1
    clock.advance(hours=5)
    assert behind(sales, made) == 1
    clock.advance(hours=2)
    assert behind(sales, made) == 0
    put(sales, 3)
    clock.advance(days=9)  # nobody worked for days: one delivery brings everything
    assert behind(sales, made) == 0
    deliveries = [task for task in sales.backend.tasks() if task.kind == "deliver_on_time"]
    assert [task.due_at.hour for task in deliveries] == [6]
    put(sales, 4)
    sales.backend.pause_subscription(made.id)
    clock.advance(days=1)
    assert behind(sales, made) == 1, "a time does not wake what is paused"
    sales.backend.resume_subscription(made.id)
    assert behind(sales, made) == 0
    sales.backend.revoke_subscription(made.id)
    clock.advance(days=2)
    sales.run_pending()
    assert sales.backend.subscription(made.id).subscription.state is SubscriptionState.REVOKED
    assert [task for task in sales.backend.tasks() if task.kind == "deliver_on_time"] == []


def test_events_that_come_twice_and_in_any_order_deliver_everything_once(sales: Lake) -> None:
    made = sales.dataset(NAME).subscribe("copy")
    assert behind(sales, made) == 0
    put(sales, 2)
    put(sales, 2, 3)
    app = sales.backend.app
    with app.store.read() as tx:
        events = [one for one in tx.events.page(limit=99) if one.topic == "snapshot.committed"]
    for again in (events[0], events[-1], *events, *reversed(events)):  # before, and after, they are handled in order
        with app.store.write() as tx:
            on_dataset_moved(tx, again, app.clock)
        sales.run_pending()
    status = sales.backend.subscription(made.id)
    assert (status.in_step, status.subscription.rows_delivered) == (True, 3)
    assert sales.backend.verify_subscription(made.id).equal
    assert sales.backend.tasks() == []


def test_a_clock_that_jumps_back_delivers_nothing_twice_and_goes_on(sales: Lake, clock: MovableClock) -> None:
    made = sales.dataset(NAME).subscribe("copy", trigger="*/10 * * * *")
    assert behind(sales, made) == 0
    put(sales, 2)
    clock.advance(minutes=11)
    assert behind(sales, made) == 0
    clock.advance(hours=-3)
    put(sales, 3)
    assert behind(sales, made) == 1
    clock.advance(hours=3, minutes=11)
    assert behind(sales, made) == 0
    assert sales.backend.subscription(made.id).subscription.rows_delivered == 3
    assert sales.backend.verify_subscription(made.id).equal
