"""The figures of deliveries: what each did and took, and for how long they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

from cordillera.adapters.synchronizers.duckdb import DuckDBSynchronizer
from cordillera.client import Lake
from cordillera.client.backend import LakeBackend
from cordillera.errors import SubscriptionNotFoundError, TargetUnreachableError
from cordillera.metrics import PAID_BYTES, ROWS_DELIVERED
from cordillera.ports.synchronizer import Delivery, DeliveryResult
from cordillera.spec.delivery_cost import CostQuery, CostsBy, DeliveryCost, month_of
from cordillera.spec.delivery_reason import DeliveryReason
from cordillera.spec.delivery_record import MOST_KEPT, DeliveryRecord
from cordillera.spec.subscription import Subscription
from cordillera.spec.wish_change import WishChange
from cordillera.subscriptions import delivery
from tests.conftest import MovableClock


@pytest.fixture
def made(timed_lake: Lake, tmp_path: Path) -> Subscription:
    timed_lake.create_namespace("a")
    orders = timed_lake.create_dataset("a.orders", {"id": pa.int64(), "n": pa.int64()}, key=["id"])
    orders.write(pa.table({"id": range(100), "n": [0] * 100}), "append")
    timed_lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    subscription = orders.subscribe("copy", cost_owner="team:finance")
    timed_lake.run_pending()
    return subscription


def figures(lake: Lake, of: Subscription) -> list[DeliveryRecord]:
    return lake.backend.subscription_deliveries(of.id)


def test_each_delivery_tells_what_it_did_and_took(timed_lake: Lake, made: Subscription) -> None:
    orders = timed_lake.dataset("a.orders")
    orders.write(pa.table({"id": range(90, 110), "n": [1] * 20}), "upsert")
    orders.write(pa.table({"id": range(5)}), "delete")
    timed_lake.run_pending()
    timed_lake.run_pending()  # nothing to deliver is no delivery
    second, first = figures(timed_lake, made)
    assert (first.from_sequence, first.to_sequence, first.whole) == (None, 1, True)
    assert (first.rows_upserted, first.rows_deleted, first.attempt) == (100, 0, 1)
    assert first.bytes >= 100 * 16
    assert (second.from_sequence, second.to_sequence, second.whole) == (1, 3, False)
    assert (second.rows_upserted, second.rows_deleted) == (20, 5)
    assert (first.rows_inserted, first.rows_updated) == (100, 0)
    assert (second.rows_inserted, second.rows_updated) == (10, 10)
    assert (first.why, second.why) == (DeliveryReason.FIRST, DeliveryReason.CHANGED_ROWS)
    counted = {
        change: ROWS_DELIVERED.labels("copy", change)._value.get() for change in ("inserted", "updated", "deleted")
    }
    assert all(counted[change] >= least for change, least in (("inserted", 110), ("updated", 10), ("deleted", 5)))
    assert 0 < second.bytes < first.bytes
    assert second.seconds > 0
    assert second.worker.startswith("worker:")
    assert (second.cost_owner, second.at > first.at) == ("team:finance", True)


def test_a_long_run_comes_in_parts_each_of_which_is_kept_if_the_next_one_fails(
    timed_lake: Lake, tmp_path: Path, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MOST_BYTES", 1)
    timed_lake.create_namespace("a")
    orders = timed_lake.create_dataset("a.orders", {"id": pa.int64(), "n": pa.int64()}, key=["id"])
    orders.write([{"id": 1, "n": 0}], "append")
    timed_lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    made = orders.subscribe("copy", mode="history")
    timed_lake.run_pending()
    for n in range(1, 5):
        orders.write([{"id": 1, "n": n}, {"id": n + 1, "n": n}], "upsert")
    applied = DuckDBSynchronizer.apply

    def third_fails(target: DuckDBSynchronizer, planned: Delivery) -> DeliveryResult:
        if planned.to_cursor.sequence_number == 4 and clock.now() < mended:
            raise TargetUnreachableError("away")
        return applied(target, planned)

    monkeypatch.setattr(DuckDBSynchronizer, "apply", third_fails)
    mended = clock.now() + timedelta(minutes=1)
    timed_lake.run_pending()
    assert timed_lake.backend.subscription(made.id).subscription.cursor_sequence == 3
    clock.advance(minutes=5)
    timed_lake.run_pending()
    assert [(one.from_sequence, one.to_sequence) for one in figures(timed_lake, made)] == [
        (4, 5), (3, 4), (2, 3), (1, 2), (None, 1),
    ]  # fmt: skip
    assert timed_lake.backend.verify_subscription(made.id).equal


def test_attempts_that_failed_are_counted(
    timed_lake: Lake, made: Subscription, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed_lake.dataset("a.orders").write([{"id": 1, "n": 7}], "upsert")

    def away(*_: object) -> None:
        raise TargetUnreachableError("away")

    with monkeypatch.context() as broken:
        broken.setattr(DuckDBSynchronizer, "apply", away)
        timed_lake.run_pending()
        clock.advance(minutes=1)
        timed_lake.run_pending()
    clock.advance(minutes=1)
    timed_lake.run_pending()
    assert [one.attempt for one in figures(timed_lake, made)] == [3, 1]


def test_figures_are_paged_and_the_oldest_go(timed_lake: Lake, made: Subscription) -> None:
    (first,) = figures(timed_lake, made)
    with timed_lake.backend.app.store.write() as tx:
        for _ in range(MOST_KEPT):
            tx.subscriptions.note_delivery(first)
        kept = tx.subscriptions.deliveries(made.id, limit=MOST_KEPT + 9)
    assert len(kept) == MOST_KEPT
    assert kept[-1].number == first.number + 1
    page = timed_lake.backend.subscription_deliveries(made.id, limit=2)
    assert page == kept[:2]
    assert timed_lake.backend.subscription_deliveries(made.id, page[-1].number, 2) == kept[2:4]
    with pytest.raises(SubscriptionNotFoundError):
        timed_lake.backend.subscription_deliveries(uuid4())
    (cost,) = timed_lake.backend.delivery_costs(CostQuery())
    assert (cost.deliveries, cost.rows) == (MOST_KEPT + 1, 100 * (MOST_KEPT + 1))
    assert cost.bytes == first.bytes * (MOST_KEPT + 1)


def test_costs_are_added_up_by_month_and_payer(timed_lake: Lake, made: Subscription, clock: MovableClock) -> None:
    backend, orders = timed_lake.backend, timed_lake.dataset("a.orders")
    month = month_of(clock.now())
    orders.subscribe("copy", table="second", cost_owner="team:finance")
    backend.change_subscription(made.id, WishChange(cost_owner="team:bi"))
    orders.write([{"id": 1, "n": 1}], "upsert")
    timed_lake.run_pending()
    clock.advance(days=32)
    orders.write([{"id": 1, "n": 2}, {"id": 2, "n": 2}], "upsert")
    timed_lake.run_pending()
    later = month_of(clock.now())
    found = backend.delivery_costs(CostQuery(month))
    assert [(one.month, one.cost_owner, one.deliveries, one.rows) for one in found] == [
        (month, "team:bi", 1, 1),
        (month, "team:finance", 2, 200),
        (later, "team:bi", 1, 2),
        (later, "team:finance", 1, 2),
    ]
    assert backend.delivery_costs(CostQuery(month), found[0].place, 2) == found[1:3]
    assert backend.delivery_costs(CostQuery()) == found[2:]
    assert backend.delivery_costs(CostQuery(month, month, cost_owner="team:bi")) == found[:1]
    mine = backend.delivery_costs(CostQuery(month, by=CostsBy.SUBSCRIPTION, subscription_id=made.id))
    assert [(one.month, one.cost_owner, one.rows) for one in mine] == [
        (month, "team:bi", 1), (month, "team:finance", 100), (later, "team:bi", 2),
    ]  # fmt: skip
    assert {(one.dataset, one.target, one.subscription_id) for one in mine} == {("a.orders", "copy", made.id)}
    assert mine == [one for one in _paged(backend, CostQuery(month, by=CostsBy.SUBSCRIPTION)) if one in mine]
    assert PAID_BYTES.labels("team:bi")._value.get() >= sum(one.bytes for one in found if one.cost_owner == "team:bi")


def _paged(backend: LakeBackend, asked: CostQuery) -> Iterator[DeliveryCost]:
    after = ""
    while page := backend.delivery_costs(asked, after, 1):
        yield from page
        after = page[-1].place
