"""What a subscription names follows its columns when they are renamed, and keeps following them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cordillera.catalog.commits import CommitRequest
from cordillera.client import Lake
from cordillera.errors import SnapshotNotFoundError
from cordillera.spec.commit import SetCurrentSchema
from cordillera.spec.metadata_updates import RemoveSchemas
from cordillera.spec.schema_evolution import AddColumn, DropColumn, RenameColumn
from cordillera.spec.wish_change import WishChange
from tests.conftest import app_of

NAME = "sales.orders"


@pytest.fixture
def sales(lake: Lake, tmp_path: Path) -> Lake:
    lake.create_namespace("sales")
    orders = lake.create_dataset(NAME, {"id": pa.int64(), "net": pa.int64(), "gross": pa.int64()}, key=["id"])
    orders.write([{"id": 1, "net": 10, "gross": 11}, {"id": 2, "net": 20, "gross": 22}], "upsert")
    lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    return lake


def copied(tmp_path: Path, sql: str) -> list[Any]:
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_a_copy_keeps_its_columns_and_rows_when_two_columns_change_names(sales: Lake, tmp_path: Path) -> None:
    orders = sales.dataset(NAME)
    wishes: dict[str, Any] = {"columns": ["net"], "row_filter": "net > 15 AND gross < 100"}
    mirror = orders.subscribe("copy", table="mirror", **wishes)
    log = orders.subscribe("copy", table="log", mode="log", **wishes)
    history = orders.subscribe("copy", table="history", mode="history", **wishes)
    sales.run_pending()
    orders.evolve(RenameColumn("net", "x"), RenameColumn("gross", "net"), RenameColumn("x", "gross"))
    sales.run_pending()
    for made in (mirror, log, history):
        found = sales.backend.subscription(made.id)
        assert (found.subscription.state, found.in_step) == ("live", True)
        assert found.subscription.columns == ("gross",)
        told = sales.backend.subscription_history(made.id)[0].reason
        assert told.startswith("columns have been renamed: columns net → gross; rows net > 15 AND gross < 100 → ")
    assert copied(tmp_path, "SELECT id, gross FROM mirror") == [(2, 20)]

    orders.evolve(RenameColumn("gross", "amount"), AddColumn("gross", pa.int64(), default=7))
    orders.write(
        [{"id": 3, "amount": 30, "net": 33, "gross": 1}, {"id": 4, "amount": 5, "net": 5, "gross": 1}], "upsert"
    )
    sales.run_pending()
    assert copied(tmp_path, "SELECT id, amount FROM mirror ORDER BY id") == [(2, 20), (3, 30)]
    assert copied(tmp_path, "SELECT id, amount FROM history WHERE _is_current ORDER BY id") == [(2, 20), (3, 30)]
    assert copied(tmp_path, "SELECT DISTINCT id FROM log ORDER BY id") == [(2,), (3,)]
    assert all(sales.backend.verify_subscription(made.id).equal for made in (mirror, history))


def test_a_condition_follows_a_field_inside_a_column_that_changes_its_name(lake: Lake, tmp_path: Path) -> None:
    lake.create_namespace("sales")
    home = pa.struct([("city", pa.string()), ("zip", pa.string())])
    orders = lake.create_dataset(NAME, {"id": pa.int64(), "home": home}, key=["id"])
    orders.write([{"id": 1, "home": {"city": "Lima", "zip": "1"}}, {"id": 2, "home": {"zip": "Lima"}}], "upsert")
    lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    mirror = orders.subscribe("copy", table="mirror", row_filter="home.city = 'Lima'")
    log = orders.subscribe("copy", table="log", mode="log", row_filter="home['city'] = 'Lima'")
    lake.run_pending()
    orders.evolve(RenameColumn("home.city", "x"), RenameColumn("home.zip", "city"), RenameColumn("home", "place"))
    orders.write([{"id": 3, "place": {"x": "Lima"}}, {"id": 4, "place": {"city": "Lima"}}], "upsert")
    lake.run_pending()
    assert copied(tmp_path, "SELECT id, place.x FROM mirror ORDER BY id") == [(1, "Lima"), (3, "Lima")]
    assert copied(tmp_path, "SELECT id, place.x FROM log ORDER BY id") == [(1, "Lima"), (3, "Lima")]
    assert lake.backend.verify_subscription(mirror.id).equal
    told = [lake.backend.subscription(made.id).subscription.row_filter for made in (mirror, log)]
    assert told == ['"place"."x" = \'Lima\'', "\"place\"['x'] = 'Lima'"]


def test_what_is_wished_for_anew_is_named_as_columns_are_called_now(sales: Lake, tmp_path: Path) -> None:
    orders = sales.dataset(NAME)
    made = orders.subscribe("copy", columns=["net"])
    sales.run_pending()
    sales.backend.pause_subscription(made.id)
    orders.evolve(RenameColumn("net", "x"), RenameColumn("gross", "net"))
    assert sales.backend.change_subscription(made.id, WishChange(cost_owner="team:bi")).columns == ("net",)
    assert sales.backend.change_subscription(made.id, WishChange(row_filter="x = 10")).columns == ("x",)
    sales.backend.resume_subscription(made.id)
    sales.run_pending()
    assert copied(tmp_path, "SELECT id, x FROM orders") == [(1, 10)]


def test_a_name_that_another_column_has_taken_brings_that_one_for_every_row(sales: Lake, tmp_path: Path) -> None:
    orders = sales.dataset(NAME)
    made = orders.subscribe("copy", columns=["net"])
    filtered = orders.subscribe("copy", table="filtered", row_filter="net > 15")
    log = orders.subscribe("copy", table="log", mode="log", row_filter="net > 15")
    sales.run_pending()
    orders.evolve(DropColumn("net"), RenameColumn("gross", "net"))
    orders.write([{"id": 3, "net": 33}], "upsert")
    sales.run_pending()
    assert copied(tmp_path, "SELECT id, net FROM orders ORDER BY id") == [(1, 11), (2, 22), (3, 33)]
    orders.evolve(DropColumn("net"), AddColumn("net", pa.int64()))
    orders.write([{"id": 4, "net": 44}], "upsert")
    sales.run_pending()
    assert copied(tmp_path, "SELECT id, net FROM orders ORDER BY id") == [(1, None), (2, None), (3, None), (4, 44)]
    assert copied(tmp_path, "SELECT id, net FROM filtered") == [(4, 44)]
    assert all(sales.backend.verify_subscription(one.id).equal for one in (made, filtered))
    stopped = sales.backend.subscription(log.id).subscription
    assert (stopped.state, stopped.error_code) == ("failed", "not_allowed")
    assert copied(tmp_path, "SELECT id FROM log") == [(2,)]


def test_an_earlier_schema_that_another_engine_makes_current_again_is_followed_at_once(
    sales: Lake, tmp_path: Path
) -> None:
    orders, app = sales.dataset(NAME), app_of(sales)
    made, fewer = orders.subscribe("copy"), orders.subscribe("copy", table="fewer", columns=["net"])
    sales.run_pending()
    orders.evolve(RenameColumn("net", "x"), RenameColumn("gross", "net"), RenameColumn("x", "gross"))
    sales.run_pending()
    assert copied(tmp_path, "SELECT net, gross FROM orders WHERE id = 1") == [(11, 10)]
    assert copied(tmp_path, "SELECT gross FROM fewer WHERE id = 1") == [(10,)]
    app.commits.commit(app.catalog.dataset(NAME), CommitRequest(updates=(SetCurrentSchema(0),)))
    sales.run_pending()
    assert copied(tmp_path, "SELECT net, gross FROM orders WHERE id = 1") == [(10, 11)]
    assert copied(tmp_path, "SELECT net FROM fewer WHERE id = 1") == [(10,)]
    assert all(sales.backend.verify_subscription(one.id).equal for one in (made, fewer))


def test_a_schema_that_somebody_removed_meanwhile_stops_nothing(sales: Lake, tmp_path: Path) -> None:
    orders, app = sales.dataset(NAME), app_of(sales)
    made = orders.subscribe("copy")
    orders.evolve(AddColumn("one", pa.int64()))
    sales.run_pending()
    held = sales.backend.subscription(made.id).subscription.cursor_schema_id
    orders.evolve(AddColumn("two", pa.int64()))
    app.commits.commit(app.catalog.dataset(NAME), CommitRequest(updates=(RemoveSchemas(frozenset({held or 0})),)))
    with pytest.raises(SnapshotNotFoundError, match="has been removed"):
        sales.backend.verify_subscription(made.id)
    sales.run_pending()
    assert copied(tmp_path, "SELECT id, net, gross, one, two FROM orders WHERE id = 1") == [(1, 10, 11, None, None)]
    assert sales.backend.verify_subscription(made.id).equal
