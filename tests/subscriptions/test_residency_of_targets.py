"""Datasets that may be kept in some places only: targets elsewhere get nothing of them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from cordillera.client import Lake
from cordillera.errors import InvalidConfigurationError, NotAllowedError
from cordillera.spec.schema_evolution import RenameColumn
from cordillera.spec.wish_change import WishChange


@pytest.fixture
def sales(lake: Lake, tmp_path: Path) -> Lake:
    lake.create_namespace("sales")
    lake.create_dataset("sales.orders", {"id": pa.int64(), "name": pa.string()}, key=["id"])
    lake.dataset("sales.orders").write([{"id": 1, "name": "Ana"}], "upsert")
    for place in ("eu", "us"):
        lake.create_target(place, "duckdb", path=str(tmp_path / f"{place}.duckdb"), residency=place)
    lake.create_target("nowhere", "duckdb", path=str(tmp_path / "nowhere.duckdb"))
    return lake


def refusals(lake: Lake) -> list[tuple[str, str]]:
    entries = [entry for entry in lake.backend.audit() if entry.action == "subscription.refuse"]
    return [(entry.object_name, entry.details["target"]) for entry in entries]


@pytest.mark.parametrize("on", ["namespace:sales", "dataset:sales.orders"])
def test_a_target_elsewhere_is_refused_and_it_is_noted(sales: Lake, on: str) -> None:
    sales.set_policy_tag(on, "residency", "ch, eu")
    orders = sales.dataset("sales.orders")
    for target in ("us", "nowhere"):
        with pytest.raises(NotAllowedError, match="'ch, eu' only"):
            orders.subscribe(target)
    assert not orders.subscriptions()
    assert sorted(refusals(sales)) == [("sales.orders", "nowhere"), ("sales.orders", "us")]
    orders.subscribe("eu")
    sales.run_pending()
    [status] = orders.subscriptions()
    assert (status.subscription.state, status.in_step) == ("live", True)


def test_a_column_may_be_kept_in_fewer_places_than_the_others(sales: Lake) -> None:
    sales.set_policy_tag("dataset:sales.orders", "residency", "eu", column="name")
    orders = sales.dataset("sales.orders")
    with pytest.raises(NotAllowedError, match="column 'name'"):
        orders.subscribe("us")
    orders.subscribe("us", columns=["id"])
    sales.run_pending()
    assert orders.subscriptions()[0].subscription.state == "live"


def test_a_column_that_is_renamed_stays_where_it_was_allowed_to_be(sales: Lake, tmp_path: Path) -> None:
    orders = sales.dataset("sales.orders")
    before = orders.subscribe("us", columns=["id"])
    sales.set_policy_tag("dataset:sales.orders", "residency", "eu", column="name")
    orders.evolve(RenameColumn("name", "full_name"))
    with pytest.raises(NotAllowedError, match="column 'full_name'"):
        orders.subscribe("us", table="more")
    with pytest.raises(NotAllowedError, match="column 'full_name'"):
        sales.backend.change_subscription(before.id, WishChange(columns=()))
    orders.subscribe("eu")
    sales.run_pending()
    assert {one.subscription.state for one in orders.subscriptions()} == {"live"}


def test_a_tag_that_comes_later_stops_deliveries(sales: Lake, tmp_path: Path) -> None:
    orders = sales.dataset("sales.orders")
    subscription = orders.subscribe("us")
    sales.run_pending()
    sales.set_policy_tag("dataset:sales.orders", "residency", "eu")
    orders.write([{"id": 2, "name": "Bo"}], "upsert")
    sales.run_pending()
    failed = sales.backend.subscription(subscription.id).subscription
    assert failed.state == "failed"
    assert "allows for 'eu' only" in failed.last_error
    assert ("sales.orders", "us") in refusals(sales)
    with pytest.raises(NotAllowedError):
        sales.backend.repair_subscription(subscription.id)
    with duckdb.connect(str(tmp_path / "us.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT id FROM orders").fetchall() == [(1,)]
    sales.backend.revoke_subscription(subscription.id, keep_rows=False)
    sales.run_pending()
    with duckdb.connect(str(tmp_path / "us.duckdb"), read_only=True) as connection:
        assert not connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'orders'").fetchall()


def test_a_place_has_a_name(sales: Lake, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigurationError, match="'E U'"):
        sales.create_target("wrong", "duckdb", path=str(tmp_path / "wrong.duckdb"), residency="E U")
