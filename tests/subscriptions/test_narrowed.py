"""Subscriptions of somebody who sees some rows, or masks: targets hold what he is shown, and follow what changes it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cordillera.app import create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, NotAllowedError, UnknownColumnError
from cordillera.spec.subscription import Subscription
from tests.conftest import MovableClock

ANA, NAME = "user:ana", "sales.orders"
MASKS = {"email": "last4", "pay": "hidden"}


@pytest.fixture
def sales(lake: Lake, tmp_path: Path) -> Lake:
    lake.create_namespace("sales", owner="user:owner")
    schema = {"id": pa.int64(), "region": pa.string(), "email": pa.string(), "pay": pa.int64()}
    lake.create_dataset(NAME, schema, key=["id"])
    lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    put(lake, {1: "north", 2: "south", 3: "north"})
    lake.grant(ANA, "write", "target:copy")
    return lake


def put(lake: Lake, regions: dict[int, str]) -> None:
    rows = [{"id": i, "region": region, "email": f"zz-{i:04}", "pay": 98765} for i, region in regions.items()]
    lake.dataset(NAME).write(rows, "upsert")


def subscribe(lake: Lake, **wishes: Any) -> Subscription:
    with acting(ANA):
        return lake.dataset(NAME).subscribe("copy", **wishes)


def copied(tmp_path: Path) -> list[tuple[object, ...]]:
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as connection:
        return connection.execute("SELECT * FROM orders ORDER BY id").fetchall()


def equal(lake: Lake, subscription: Subscription) -> bool:
    with acting(ANA):
        return lake.backend.verify_subscription(subscription.id).equal


def test_rows_are_delivered_as_they_are_shown_and_move_in_and_out(sales: Lake, tmp_path: Path) -> None:
    sales.grant(ANA, "read", NAME, row_filter="region = 'north'", masks=MASKS)
    subscription = subscribe(sales)
    sales.run_pending()
    assert copied(tmp_path) == [(1, "north", "****0001"), (3, "north", "****0003")]
    put(sales, {1: "south", 2: "north", 4: "south", 5: "north"})
    sales.dataset(NAME).delete_where("id = 3")
    sales.run_pending()
    assert copied(tmp_path) == [(2, "north", "****0002"), (5, "north", "****0005")]
    assert equal(sales, subscription)
    assert sales.backend.subscription(subscription.id).in_step


def test_another_grant_brings_what_it_shows(sales: Lake, tmp_path: Path) -> None:
    sales.grant(ANA, "read", NAME, row_filter="region = 'north'", masks=MASKS)
    subscription = subscribe(sales)
    sales.run_pending()
    sales.grant(ANA, "read", NAME, row_filter="region = 'south'", masks={"email": "clear", "pay": "hidden"})
    with acting(ANA):
        sales.backend.pause_subscription(subscription.id)
        sales.backend.resume_subscription(subscription.id)
    sales.run_pending()
    assert copied(tmp_path) == [(2, "south", "zz-0002")]
    assert equal(sales, subscription)
    sales.grant(ANA, "read", NAME)
    put(sales, {4: "south"})
    sales.run_pending()
    assert [row[0] for row in copied(tmp_path)] == [1, 2, 3, 4]
    assert copied(tmp_path)[0] == (1, "north", "zz-0001", 98765)
    sales.grant(ANA, "read", NAME, row_filter="id = 4", masks=MASKS)
    put(sales, {5: "south"})
    sales.run_pending()
    assert copied(tmp_path) == [(4, "south", "****0004")]
    sales.revoke(ANA, "read", NAME)
    put(sales, {4: "north"})
    sales.run_pending()
    failed = sales.backend.subscription(subscription.id).subscription
    assert (failed.state, "may not" in failed.last_error) == ("failed", True)


def test_what_changes_access_wakes_deliveries(sales: Lake, tmp_path: Path) -> None:
    """No commit, and nobody who pauses and resumes: what is granted, taken or tagged is followed by itself."""
    sales.add_member("role:readers", "role:team")
    sales.add_member("role:team", ANA)
    sales.grant("role:readers", "read", "namespace:sales")
    subscription = subscribe(sales)
    sales.run_pending()
    assert copied(tmp_path)[0] == (1, "north", "zz-0001", 98765)
    sales.set_policy_tag(NAME, "sensitivity", "pii", column="email", mask="last4")
    sales.run_pending()
    assert copied(tmp_path)[0] == (1, "north", "****0001", 98765)
    sales.grant("role:readers", "read", "namespace:sales", tag_masks={"sensitivity = pii": "null"})
    sales.run_pending()
    assert copied(tmp_path)[0] == (1, "north", None, 98765)
    sales.remove_member("role:readers", "role:team")
    sales.run_pending()
    failed = sales.backend.subscription(subscription.id).subscription
    assert (failed.state, failed.error_code) == ("failed", "access_denied")


def test_the_end_of_a_grant_stops_deliveries_by_itself(tmp_path: Path, clock: MovableClock) -> None:
    with create_lake(tmp_path / "lake", clock=clock) as app:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("sales", owner="user:owner")
        lake.create_dataset(NAME, {"id": pa.int64()}, key=["id"])
        lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
        lake.grant(ANA, "write", "target:copy")
        lake.grant(ANA, "read", NAME, expires_at=clock.now() + timedelta(days=1))
        subscription = subscribe(lake)
        lake.run_pending()
        assert lake.backend.subscription(subscription.id).subscription.state == "live"
        clock.advance(days=2)
        lake.run_pending()
        assert lake.backend.subscription(subscription.id).subscription.error_code == "access_denied"


def test_wishes_are_about_what_is_shown(sales: Lake, tmp_path: Path) -> None:
    sales.grant(ANA, "read", NAME, row_filter="region = 'north'", masks=MASKS)
    with pytest.raises(UnknownColumnError, match="no column 'pay'"):
        subscribe(sales, columns=["pay"])
    with pytest.raises(UnknownColumnError, match="'pay', which does not exist"):
        subscribe(sales, row_filter="pay > 0")
    subscribe(sales, row_filter="email = '****0003' OR email = 'zz-0001'", columns=["email"])
    sales.run_pending()
    assert copied(tmp_path) == [(3, "****0003")]


def test_a_masked_key_cannot_be_followed(sales: Lake) -> None:
    sales.grant(ANA, "read", NAME, masks={"id": "hash"})
    with pytest.raises(NotAllowedError, match="id of its key is masked"):
        subscribe(sales)


def test_what_another_sees_is_not_told_by_comparing(sales: Lake) -> None:
    sales.grant(ANA, "read", NAME, row_filter="region = 'north'")
    everything = sales.dataset(NAME).subscribe("copy", consumer=ANA)
    sales.run_pending()
    with acting(ANA):
        with pytest.raises(AccessDeniedError, match="row filters and masks only"):
            sales.backend.verify_subscription(everything.id)
        with pytest.raises(AccessDeniedError, match="row filters and masks only"):
            sales.backend.repair_subscription(everything.id)
