"""A target's table that somebody changes by hand: it is found, told in plain words, and put right on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from cordillera.client import Lake
from cordillera.errors import TargetDriftError
from cordillera.spec.schema_evolution import DropColumn
from cordillera.spec.subscription import Equality, SubscriptionState
from tests.subscriptions.test_verification import (
    in_duckdb,
    in_either,
    in_postgres,
    lake,
    some_rows,
    state_of,
    subscribed,
)

__all__ = ["in_duckdb", "in_either", "in_postgres", "lake"]

CHANGES = {
    "dropped": ("ALTER TABLE orders DROP COLUMN amount", "'amount' of the table .* is missing"),
    "retyped": ("ALTER TABLE orders ALTER COLUMN amount TYPE text", "'amount' of the table .*, not "),
    "renamed": ("ALTER TABLE orders RENAME COLUMN region TO area", "'region' of the table .* is missing"),
    "gone": ("DROP TABLE orders", "is not in the target"),
}
ADDED = "ALTER TABLE orders ADD COLUMN note text"


def check_failed_and_put_right(lake: Lake, run: Callable[[str], Any], words: str) -> None:
    """The next delivery fails with these words; a repair and a resumption make target and lake equal."""
    (status,) = lake.dataset("sales.orders").subscriptions()
    made = status.subscription
    lake.dataset("sales.orders").write(some_rows(range(195, 205)), "upsert")
    lake.run_pending()
    failed = state_of(lake, made)
    assert (failed.state, failed.error_code) == (SubscriptionState.FAILED, "target_drift")
    with pytest.raises(TargetDriftError, match=words) as caught:
        lake.backend.verify_subscription(made.id)
    assert "subscription repair" in caught.value.hint
    assert state_of(lake, made).equality is Equality.DRIFTED
    repaired = lake.backend.repair_subscription(made.id)
    assert (repaired.found, repaired.rows_restored, repaired.verified.equal) == (None, 200, True)
    lake.backend.resume_subscription(made.id)
    lake.run_pending()
    assert lake.backend.subscription(made.id).in_step
    assert lake.backend.verify_subscription(made.id).equal
    assert run("SELECT count(*), sum(id) FROM orders") == [(205, sum(range(205)))]


@pytest.mark.parametrize("change", CHANGES)
def test_columns_and_tables_that_somebody_changed_are_restored(
    lake: Lake, in_either: Callable[[str], Any], change: str
) -> None:
    subscribed(lake)
    statement, words = CHANGES[change]
    in_either(statement)
    check_failed_and_put_right(lake, in_either, words)


def test_a_column_that_somebody_added_stays(lake: Lake, in_either: Callable[[str], Any]) -> None:
    made = subscribed(lake)
    in_either(ADDED)
    in_either("UPDATE orders SET note = 'mine' WHERE id = 3")
    lake.dataset("sales.orders").write(some_rows(range(100, 205)), "upsert")
    lake.run_pending()
    assert lake.backend.verify_subscription(made.id).equal
    assert in_either("SELECT note FROM orders WHERE id IN (3, 4) ORDER BY id") == [("mine",), (None,)]


def test_a_column_that_takes_no_null_is_found_and_made_to(lake: Lake, in_either: Callable[[str], Any]) -> None:
    subscribed(lake)
    in_either(f"{ADDED} DEFAULT 'x'")
    in_either("ALTER TABLE orders ALTER COLUMN note SET NOT NULL")
    in_either("ALTER TABLE orders ALTER COLUMN note DROP DEFAULT")
    check_failed_and_put_right(lake, in_either, "'note', which somebody has added")


def test_in_postgres_a_key_is_restored_and_grants_and_views_stay(lake: Lake, in_postgres: Callable[[str], Any]) -> None:
    subscribed(lake)
    in_postgres("GRANT SELECT ON orders TO pg_monitor")
    in_postgres("CREATE VIEW regions AS SELECT DISTINCT region FROM orders")
    in_postgres("ALTER TABLE orders DROP CONSTRAINT orders_pkey")
    check_failed_and_put_right(lake, in_postgres, "no primary key")
    in_postgres("ALTER TABLE orders DROP COLUMN id")
    in_postgres("ALTER TABLE orders DROP COLUMN amount")
    (status,) = lake.dataset("sales.orders").subscriptions()
    assert lake.backend.repair_subscription(status.subscription.id).verified.equal
    assert in_postgres("SELECT count(*) FROM regions") == [(7,)]
    assert in_postgres("SELECT has_table_privilege('pg_monitor', 'orders', 'SELECT')") == [(True,)]


def test_a_repair_brings_back_no_column_that_is_not_wanted(lake: Lake, in_either: Callable[[str], Any]) -> None:
    made = subscribed(lake)
    lake.dataset("sales.orders").evolve(DropColumn("region"))
    lake.run_pending()
    in_either("ALTER TABLE orders DROP COLUMN amount")
    assert lake.backend.repair_subscription(made.id).verified.equal
    names = "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders' ORDER BY 1"
    assert pa.array([name for (name,) in in_either(names)]).unique().to_pylist() == ["amount", "id"]
