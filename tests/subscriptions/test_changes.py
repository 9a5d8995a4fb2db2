"""Changing what a subscription is to while it follows: who may, and what becomes of the copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest

from cordillera.client import Lake
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, SubscriptionNotFoundError, UnknownColumnError
from cordillera.spec.subscription import Equality, Subscription
from cordillera.spec.wish_change import WishChange
from cordillera.subscriptions.delivery import DeliveryService
from tests.conftest import MovableClock

NAME, OWNER, GUEST = "sales.orders", "user:owner", "user:guest"


@pytest.fixture
def sales(timed_lake: Lake, tmp_path: Path) -> Lake:
    lake = timed_lake
    lake.create_namespace("sales", owner=OWNER)
    lake.create_dataset(NAME, {"id": pa.int64(), "region": pa.string(), "pay": pa.int64()}, key=["id"])
    lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    put(lake, {1: "north", 2: "south"})
    return lake


def put(lake: Lake, regions: dict[int, str]) -> None:
    lake.dataset(NAME).write([{"id": i, "region": region, "pay": 7} for i, region in regions.items()], "upsert")


def changed(lake: Lake, made: Subscription, **wishes: Any) -> Subscription:
    found = lake.backend.change_subscription(made.id, WishChange(**wishes), reason="the report grew")
    lake.run_pending()
    return found


def copied(tmp_path: Path, sql: str = "SELECT * FROM orders ORDER BY ALL") -> list[Any]:
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_other_columns_and_rows_come_anew_and_are_proven_equal(sales: Lake, tmp_path: Path) -> None:
    made = sales.dataset(NAME).subscribe("copy", columns=["region"])
    sales.run_pending()
    assert changed(sales, made, columns=("pay",), row_filter="region = 'north'").columns == ("pay",)
    assert copied(tmp_path) == [(1, 7)]
    assert sales.backend.subscription(made.id).subscription.equality is Equality.EQUAL
    put(sales, {2: "north", 3: "south"})
    changed(sales, made, columns=(), row_filter="")
    every = "SELECT id, region, pay FROM orders ORDER BY 1"
    assert copied(tmp_path, every) == [(1, "north", 7), (2, "north", 7), (3, "south", 7)]
    assert sales.backend.verify_subscription(made.id).equal
    told = sales.backend.subscription_history(made.id, limit=50)
    assert any(
        step.reason == "changed: columns region → pay; rows all → region = 'north' (the report grew)" for step in told
    )
    assert [entry.action for entry in sales.backend.audit(object_name=str(made.id))][:2] == ["subscription.change"] * 2
    with pytest.raises(UnknownColumnError):
        changed(sales, made, columns=("none",))


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_a_mirror_becomes_a_log_and_a_log_a_mirror(
    sales: Lake, tmp_path: Path, postgres_database: str, kind: str
) -> None:
    if kind == "postgres":
        sales.create_target("warehouse", "postgres", dsn=postgres_database)

    def rows(sql: str) -> list[Any]:
        if kind == "duckdb":
            return copied(tmp_path, sql)
        with psycopg.connect(postgres_database) as connection:
            return connection.execute(sql).fetchall()

    made = sales.dataset(NAME).subscribe("copy" if kind == "duckdb" else "warehouse", columns=["region"])
    sales.run_pending()
    changed(sales, made, mode="log")
    put(sales, {1: "east"})
    sales.run_pending()
    log = "SELECT _commit_sequence_number, _change_type, id, region FROM orders ORDER BY 1, 2, 3"
    assert rows(log) == [
        (1, "insert", 1, "north"),
        (1, "insert", 2, "south"),
        (2, "update_after", 1, "east"),
        (2, "update_before", 1, "north"),
    ]
    changed(sales, made, mode="mirror")
    assert rows("SELECT id, region FROM orders ORDER BY 1") == [(1, "east"), (2, "south")]
    assert sales.backend.verify_subscription(made.id).equal


def test_a_trigger_and_a_cost_owner_leave_the_copy_as_it_is(sales: Lake, clock: MovableClock) -> None:
    made = sales.dataset(NAME).subscribe("copy", trigger="0 6 * * *")
    sales.run_pending()
    changed(sales, made, trigger="0 8 * * *", cost_owner="team:bi")
    put(sales, {3: "north"})
    clock.advance(hours=7)  # the clock began at midnight: six o'clock is no time of its any more
    sales.run_pending()
    due = {task.due_at.hour for task in sales.backend.tasks() if task.kind == "deliver_on_time"}
    assert due == {8}
    assert sales.backend.subscription(made.id).snapshots_behind == 1
    changed(sales, made, trigger="commit")
    status = sales.backend.subscription(made.id)
    assert (status.in_step, status.subscription.rows_delivered) == (True, 3)
    newest = sales.backend.subscription_deliveries(made.id)[0]
    assert (newest.whole, newest.cost_owner) == (False, "team:bi")


@pytest.mark.parametrize("moment", ["before it ends", "before it is noted"])
def test_a_change_during_a_delivery_is_not_lost(
    sales: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    made = sales.dataset(NAME).subscribe("copy", columns=["region"])
    sales.run_pending()
    put(sales, {3: "west"})
    name = "_check_wanted" if moment == "before it ends" else "_advance"
    original, said = getattr(DeliveryService, name), []

    def meanwhile(self: DeliveryService, *what: Any, **how: Any) -> None:
        if not said:
            said.append(sales.backend.change_subscription(made.id, WishChange(columns=("pay",))))
        original(self, *what, **how)

    monkeypatch.setattr(DeliveryService, name, meanwhile)
    sales.run_pending()
    sales.backend.app.deliveries.deliver(made.id)
    assert copied(tmp_path) == [(1, 7), (2, 7), (3, 7)]
    assert sales.backend.verify_subscription(made.id).equal


def test_what_was_approved_is_widened_by_the_owner_only(sales: Lake, tmp_path: Path) -> None:
    sales.grant(GUEST, "discover", NAME)
    sales.grant(GUEST, "write", "target:copy")
    with acting(GUEST):
        made = sales.dataset(NAME).subscribe("copy", purpose="reports", columns=["region"], row_filter="id < 2", days=5)
    with acting(OWNER):
        sales.approve_access(sales.access_requests().__next__().id)
    sales.run_pending()
    more = {"columns": ("region", "pay")}, {"columns": ()}, {"row_filter": ""}, {"row_filter": "id < 3"}
    with acting(GUEST):
        for wishes in more:
            with pytest.raises(AccessDeniedError, match="was approved without") as caught:
                sales.backend.change_subscription(made.id, WishChange(**wishes))
            assert "administers the dataset" in caught.value.hint
        with pytest.raises(AccessDeniedError, match="a later end"):
            sales.backend.renew_subscription(made.id, 30)
        assert sales.backend.renew_subscription(made.id, 2).expires_at is not None
        sales.backend.change_subscription(made.id, WishChange(trigger="completion"))
    with acting("user:stranger"), pytest.raises(SubscriptionNotFoundError):
        sales.backend.change_subscription(made.id, WishChange(trigger="commit"))
    with acting(OWNER):
        sales.backend.change_subscription(made.id, WishChange(columns=("region", "pay")))
    sales.run_pending()
    assert copied(tmp_path) == [(1, "north", 7)]
    assert sales.backend.subscription(made.id).subscription.on_behalf_of == GUEST
