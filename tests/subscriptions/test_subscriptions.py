"""Subscriptions: targets follow, filtered and projected, through schema changes, pauses and failures."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import ListType, LongType, NestedField, StructType

from cordillera.catalog.commits import CommitRequest
from cordillera.client import Lake
from cordillera.errors import (
    AlreadyExistsError,
    InvalidConfigurationError,
    InvalidExpressionError,
    LifecycleError,
    NotEmptyError,
    TargetNotFoundError,
    TargetUnreachableError,
    UnknownColumnError,
)
from cordillera.spec.commit import AddSchema, SetCurrentSchema
from cordillera.spec.schema_evolution import AddColumn, DropColumn, RenameColumn, WidenColumn
from cordillera.spec.subscription import Subscription, SubscriptionState
from tests.conftest import app_of

SCHEMA = pa.schema([("id", pa.int64()), ("region", pa.string()), ("amount", pa.int32())])


@pytest.fixture
def sales(lake: Lake, tmp_path: Path) -> Lake:
    lake.create_namespace("sales")
    lake.create_dataset("sales.orders", SCHEMA, key=["id"])
    lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    put(lake, {i: i * 10 for i in range(6)})
    return lake


def put(lake: Lake, amounts: dict[int, int]) -> None:
    rows = [{"id": i, "region": "north" if i % 2 else "south", "amount": amount} for i, amount in amounts.items()]
    lake.dataset("sales.orders").write(rows, "upsert")


def copied(tmp_path: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def proven(lake: Lake, subscription: Subscription) -> bool:
    status = lake.backend.subscription(subscription.id)
    return status.in_step and lake.backend.verify_subscription(subscription.id).equal


def test_a_target_follows(sales: Lake, tmp_path: Path) -> None:
    subscription = sales.dataset("sales.orders").subscribe("copy", consumer="analysts", purpose="to look")
    assert subscription.state is SubscriptionState.APPROVED
    assert sales.backend.subscription(subscription.id).snapshots_behind == 1
    sales.run_pending()
    status = sales.backend.subscription(subscription.id)
    assert (status.subscription.state, status.in_step, status.behind_since) == ("live", True, None)
    put(sales, {5: 500, 6: 600})
    sales.dataset("sales.orders").delete_where("id = 0")
    behind = sales.backend.subscription(subscription.id)
    assert behind.snapshots_behind == 2
    assert behind.behind_since is not None
    sales.run_pending()
    assert proven(sales, subscription)
    assert copied(tmp_path, "SELECT id, amount FROM orders ORDER BY id") == [
        (1, 10), (2, 20), (3, 30), (4, 40), (5, 500), (6, 600),
    ]  # fmt: skip


def test_filters_and_columns(sales: Lake, tmp_path: Path) -> None:
    subscription = sales.dataset("sales.orders").subscribe(
        "copy", table="north", columns=["amount"], row_filter="region = 'north' AND amount >= 10"
    )
    sales.run_pending()
    assert copied(tmp_path, "SELECT * FROM north ORDER BY id") == [(1, 10), (3, 30), (5, 50)]
    put(sales, {1: 5, 3: 31, 7: 70})
    sales.dataset("sales.orders").write(pa.table({"id": [5], "region": ["south"]}), "partial_update")
    sales.run_pending()
    assert copied(tmp_path, "SELECT * FROM north ORDER BY id") == [(3, 31), (7, 70)]
    assert proven(sales, subscription)


def test_schema_changes_travel_first(sales: Lake, tmp_path: Path) -> None:
    subscription = sales.dataset("sales.orders").subscribe("copy")
    sales.run_pending()
    orders = sales.dataset("sales.orders")
    orders.evolve(RenameColumn("region", "area"), WidenColumn("amount", pa.int64()), AddColumn("note", pa.string()))
    sales.run_pending()
    assert proven(sales, subscription)
    orders.write([{"id": 1, "area": "east", "amount": 2**40, "note": "new"}], "upsert")
    orders.evolve(AddColumn("rank", pa.int32(), default=7), DropColumn("note"))
    sales.run_pending()
    assert proven(sales, subscription)
    assert copied(tmp_path, "SELECT area, amount, rank FROM orders WHERE id IN (0, 1) ORDER BY id") == [
        ("south", 0, 7),
        ("east", 2**40, 7),
    ]


def test_a_default_that_another_engine_gives_to_a_field_inside_a_list_is_in_every_row(
    lake: Lake, tmp_path: Path
) -> None:
    lake.create_namespace("sales")
    lines = pa.list_(pa.struct({"item": pa.int64()}))
    orders = lake.create_dataset("sales.orders", {"id": pa.int64(), "lines": lines}, key=["id"])
    orders.write([{"id": 1, "lines": [{"item": 7}]}], "upsert")
    lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    mirror, history = orders.subscribe("copy"), orders.subscribe("copy", table="history", mode="history")
    lake.run_pending()
    app = app_of(lake)
    found = app.catalog.dataset("sales.orders")
    key, column = app.tables.load(found.version).schema.fields
    assert isinstance(column.field_type, ListType)
    element = column.field_type.element_field
    assert isinstance(element.field_type, StructType)
    added = NestedField(9, "pieces", LongType(), required=False, initial_default=1, write_default=1)
    wider = ListType(element.field_id, StructType(*element.field_type.fields, added), element_required=False)
    column = NestedField(column.field_id, "lines", wider, required=False)
    schema = Schema(key, column, schema_id=1, identifier_field_ids=[key.field_id])
    app.commits.commit(found, CommitRequest(updates=(AddSchema(schema), SetCurrentSchema())))
    lake.run_pending()
    assert copied(tmp_path, "FROM orders") == [(1, [{"item": 7, "pieces": 1}])]
    assert copied(tmp_path, "SELECT lines FROM history WHERE _is_current") == [([{"item": 7, "pieces": 1}],)]
    assert proven(lake, mirror)
    assert proven(lake, history)


def test_datasets_without_a_key_are_followed_by_row_id(sales: Lake, tmp_path: Path) -> None:
    log = sales.create_dataset("sales.log", {"line": pa.string()})
    log.write([{"line": "a"}, {"line": "a"}, {"line": "b"}], "append")
    subscription = log.subscribe("copy")
    sales.run_pending()
    log.write([{"line": "a"}], "append")
    log.delete_where("line = 'b'")
    sales.run_pending()
    assert copied(tmp_path, "SELECT line, count(*) FROM log GROUP BY line") == [("a", 3)]
    assert proven(sales, subscription)


def test_paused_subscriptions_keep_their_cursor(sales: Lake) -> None:
    subscription = sales.dataset("sales.orders").subscribe("copy")
    sales.run_pending()
    sales.backend.pause_subscription(subscription.id)
    put(sales, {1: 111})
    sales.run_pending()
    assert sales.backend.subscription(subscription.id).snapshots_behind == 1
    sales.backend.resume_subscription(subscription.id)
    sales.run_pending()
    assert proven(sales, subscription)


def test_a_failure_that_no_retry_cures_is_shown_and_can_be_resumed(sales: Lake, tmp_path: Path) -> None:
    subscription = sales.dataset("sales.orders").subscribe("copy")
    with duckdb.connect(str(tmp_path / "copy.duckdb")) as connection:
        connection.execute("CREATE TABLE orders (mine INTEGER)")
    sales.run_pending()
    failed = sales.backend.subscription(subscription.id).subscription
    assert failed.state is SubscriptionState.FAILED
    assert "orders" in failed.last_error
    with duckdb.connect(str(tmp_path / "copy.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
        connection.execute("DROP TABLE orders")
    sales.backend.resume_subscription(subscription.id)
    sales.run_pending()
    assert proven(sales, subscription)


def test_drift_is_found_and_pinpointed(sales: Lake, tmp_path: Path) -> None:
    subscription = sales.dataset("sales.orders").subscribe("copy")
    sales.run_pending()
    with duckdb.connect(str(tmp_path / "copy.duckdb")) as connection:
        connection.execute("UPDATE orders SET amount = -1 WHERE id = 2")
        connection.execute("DELETE FROM orders WHERE id = 3")
        connection.execute("INSERT INTO orders VALUES (99, 'west', 1)")
    found = sales.backend.verify_subscription(subscription.id)
    assert not found.equal
    assert (found.rows_lake, found.rows_target) == (6, 6)
    assert ("2" in found.different[0], "3" in found.missing[0], "99" in found.unexpected[0]) == (True, True, True)
    assert (len(found.different), len(found.missing), len(found.unexpected)) == (1, 1, 1)


@pytest.mark.parametrize("keep_rows", [True, False])
def test_revoking_ends_it(sales: Lake, tmp_path: Path, keep_rows: bool) -> None:
    subscription = sales.dataset("sales.orders").subscribe("copy")
    sales.run_pending()
    sales.backend.revoke_subscription(subscription.id, keep_rows=keep_rows)
    put(sales, {1: 111})
    sales.run_pending()
    tables = [row[0] for row in copied(tmp_path, "SELECT table_name FROM information_schema.tables")]
    assert ("orders" in tables) == keep_rows
    with pytest.raises(LifecycleError):
        sales.backend.resume_subscription(subscription.id)
    sales.backend.delete_target("copy")


def test_a_table_of_a_target_has_one_owner(sales: Lake) -> None:
    sales.dataset("sales.orders").subscribe("copy")
    with pytest.raises(AlreadyExistsError):
        sales.dataset("sales.orders").subscribe("copy")
    with pytest.raises(NotEmptyError):
        sales.backend.delete_target("copy")


def test_wishes_that_do_not_fit_are_refused(sales: Lake) -> None:
    orders = sales.dataset("sales.orders")
    with pytest.raises(TargetNotFoundError, match="nowhere"):
        orders.subscribe("nowhere")
    with pytest.raises(UnknownColumnError, match="zz"):
        orders.subscribe("copy", columns=["zz"])
    with pytest.raises(InvalidExpressionError):
        orders.subscribe("copy", row_filter="amount >")
    with pytest.raises(InvalidConfigurationError, match="oracle"):
        sales.create_target("other", "oracle")
    with pytest.raises(InvalidConfigurationError, match="path"):
        sales.create_target("other", "duckdb")
    with pytest.raises(TargetUnreachableError):
        sales.create_target("other", "postgres", dsn="host=127.0.0.1 port=9 dbname=x connect_timeout=2")
