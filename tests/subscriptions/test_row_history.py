"""Subscriptions that keep a history: every state of every row once, with the time for which it held."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.adapters.synchronizers.postgres import PostgresSynchronizer
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.errors import NotAllowedError, TargetDriftError
from cordillera.spec.schema_evolution import AddColumn, RenameColumn
from cordillera.spec.subscription import Equality, Subscription, SubscriptionState
from cordillera.spec.wish_change import WishChange
from cordillera.subscriptions.delivery import DeliveryService
from tests.examples import examples
from tests.subscriptions.copied import NAME, STEP, made_in, put

STATES = "SELECT id, amount, _commit_sequence_number, _is_current FROM orders ORDER BY 1, 3"


@pytest.fixture
def sales(tmp_path: Path) -> Any:
    with made_in(tmp_path) as lake:
        yield lake


def kept(folder: Path, sql: str = STATES) -> list[Any]:
    with duckdb.connect(str(folder / "copy.duckdb")) as connection:
        return connection.execute(sql).fetchall()


def subscribed(lake: Lake, **wishes: Any) -> Subscription:
    made = lake.dataset(NAME).subscribe("copy", mode="history", **wishes)
    lake.run_pending()
    return made


# --- against a model --------------------------------------------------------------------------------------------------


@settings(max_examples=examples(2))
@given(st.lists(STEP, min_size=4, max_size=7))
def test_a_history_has_what_a_model_has(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name, made_in(Path(name)) as lake:
        put(lake, {1: 1, 2: 2})
        made = subscribed(lake)
        current, ended = {1: (1, 1), 2: (2, 1)}, list[tuple[int, int, int, int | None]]()
        for step, given_ in steps:
            if step == "compact":
                lake.dataset(NAME).compact()
            elif step == "deliver":
                lake.run_pending()
            elif step == "delete":
                lake.dataset(NAME).delete_where(f"id = {given_}")
            else:
                put(lake, given_)
            number = lake.dataset(NAME).details().version.sequence_number
            changed = given_ if step == "put" else {given_: None} if step == "delete" else {}
            for key, value in changed.items():
                before = current.get(key)
                if before is not None and before[0] != value:
                    ended.append((key, *current.pop(key), number))
                if value is not None and (before is None or before[0] != value):
                    current[key] = (value, number)
        lake.run_pending()
        times = {one.sequence_number: one.committed_at for one in lake.dataset(NAME).snapshots()}
        found = kept(Path(name), "SELECT id, amount, _commit_sequence_number, _valid_from, _valid_to FROM orders")
        held = [(*row[:3], row[4]) for row in found]
        expected = [*ended, *((key, *one, None) for key, one in current.items())]
        assert sorted(row[:3] for row in held) == sorted(row[:3] for row in expected)
        assert sum(row[3] is None for row in held) == len(current)
        assert all(abs(row[3] - times[row[2]]) < timedelta(seconds=5) for row in found)
        assert lake.backend.verify_subscription(made.id).equal


# --- cases ------------------------------------------------------------------------------------------------------------


def test_what_was_delivered_but_not_noted_is_not_told_twice(
    sales: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = sales.backend
    assert isinstance(backend, LocalBackend)
    put(sales, {1: 10})
    made = sales.dataset(NAME).subscribe("copy", mode="history")
    for amounts in ({}, {1: 11, 2: 20}, {1: 12}):
        if amounts:
            put(sales, amounts)
        with monkeypatch.context() as broken:
            broken.setattr(DeliveryService, "_advance", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                backend.app.deliveries.deliver(made.id)
        sales.run_pending()
    found = backend.subscription(made.id)
    assert (found.in_step, found.subscription.equality) == (True, Equality.EQUAL)
    assert kept(tmp_path) == [(1, 10, 1, False), (1, 11, 2, False), (1, 12, 3, True), (2, 20, 2, True)]


def test_schema_changes_travel_and_a_default_is_a_state_of_its_own(sales: Lake, tmp_path: Path) -> None:
    put(sales, {1: 10, 2: 20})
    made = subscribed(sales, row_filter="id < 5")
    put(sales, {1: 11, 9: 9})
    sales.dataset(NAME).evolve(RenameColumn("amount", "total"), AddColumn("note", pa.string(), default="none"))
    sales.run_pending()
    sales.dataset(NAME).evolve(AddColumn("more", pa.string()))
    sales.run_pending()
    columns = "id, total, note, more, _commit_sequence_number, _is_current"
    found = kept(tmp_path, f"SELECT {columns} FROM orders ORDER BY 1, 5")
    assert found == [
        (1, 10, None, None, 1, False),
        (1, 11, "none", None, 2, True),
        (2, 20, None, None, 1, False),
        (2, 20, "none", None, 2, True),
    ]
    assert sales.backend.verify_subscription(made.id).equal


def test_rows_without_a_key_are_known_by_their_id(sales: Lake, tmp_path: Path) -> None:
    lines = sales.create_dataset("sales.lines", {"line": pa.string()})
    lines.write([{"line": "a"}, {"line": "a"}], "append")
    lines.subscribe("copy", mode="history")
    sales.run_pending()
    lines.delete_where("line = 'a'")
    lines.write([{"line": "b"}], "append")
    sales.run_pending()
    sql = "SELECT line, _is_current, count(*), count(DISTINCT _row_id) FROM lines GROUP BY ALL ORDER BY 1"
    assert kept(tmp_path, sql) == [("a", False, 2, 2), ("b", True, 1, 1)]


def test_another_mode_begins_anew(sales: Lake, tmp_path: Path) -> None:
    put(sales, {1: 10})
    made = sales.dataset(NAME).subscribe("copy", mode="log")
    sales.run_pending()
    put(sales, {1: 11})
    sales.backend.change_subscription(made.id, WishChange(mode="history"))
    sales.run_pending()
    assert kept(tmp_path) == [(1, 11, 2, True)]
    sales.backend.change_subscription(made.id, WishChange(mode="mirror"))
    sales.run_pending()
    assert kept(tmp_path, "SELECT * FROM orders") == [(1, 11)]


def test_drift_is_found_and_current_rows_are_put_right(sales: Lake, tmp_path: Path) -> None:
    put(sales, {1: 10, 2: 20, 3: 30})
    made = subscribed(sales)
    put(sales, {2: 21})
    sales.run_pending()
    kept(tmp_path, "UPDATE orders SET amount = 99 WHERE id = 1")
    kept(tmp_path, "UPDATE orders SET amount = 98 WHERE id = 2 AND _is_current")
    kept(tmp_path, "DELETE FROM orders WHERE id = 3")
    kept(tmp_path, "INSERT INTO orders VALUES (4, 4, 1, now(), NULL, true)")
    found = sales.backend.verify_subscription(made.id)
    assert (found.rows_missing, found.rows_unexpected, found.rows_different, found.keys_unsound) == (1, 1, 2, 0)
    repaired = sales.backend.repair_subscription(made.id)
    assert repaired.verified.equal
    assert kept(tmp_path) == [
        (1, 99, 1, False),  # it had been read
        (1, 10, 2, True),
        (2, 20, 1, False),
        (2, 21, 2, True),  # in its place: it began with the snapshot that the target holds
        (3, 30, 2, True),
        (4, 4, 1, False),
    ]
    put(sales, {1: 11, 4: 40})
    sales.run_pending()
    assert sales.backend.verify_subscription(made.id).equal


def test_times_that_cannot_be_are_told_and_not_put_right(sales: Lake, tmp_path: Path) -> None:
    put(sales, {1: 10})
    made = subscribed(sales)
    put(sales, {1: 11})
    sales.run_pending()
    kept(tmp_path, "UPDATE orders SET _valid_to = now() + INTERVAL 1 DAY WHERE NOT _is_current")
    found = sales.backend.verify_subscription(made.id)
    assert (found.equal, found.rows_different, found.keys_unsound, found.unsound) == (False, 0, 1, ("(1)",))
    told = sales.backend.subscription(made.id).subscription
    assert (told.equality, told.drift) == (Equality.DRIFTED, "Keys whose times overlap or do not end: 1.")
    assert not sales.backend.repair_subscription(made.id).verified.equal
    kept(tmp_path, "ALTER TABLE orders DROP COLUMN amount")
    with pytest.raises(TargetDriftError, match="cannot be repaired"):
        sales.backend.repair_subscription(made.id)
    assert len(kept(tmp_path, "FROM orders")) == 2


def test_a_key_whose_delete_was_skipped_has_one_current_row(sales: Lake, tmp_path: Path) -> None:
    put(sales, {1: 10})
    made = subscribed(sales)
    sales.backend.pause_subscription(made.id)
    sales.dataset(NAME).delete_where("id = 1")
    put(sales, {1: 11})
    sales.backend.skip_snapshots(made.id, 2, reason="withdrawn")
    sales.backend.resume_subscription(made.id)
    sales.run_pending()
    assert kept(tmp_path) == [(1, 10, 1, False), (1, 11, 3, True)]
    assert sales.backend.verify_subscription(made.id).equal


def test_postgresql_keeps_a_history(sales: Lake, postgres_database: str) -> None:
    sales.create_target("warehouse", "postgres", dsn=postgres_database)
    put(sales, {1: 10, 2: 20})
    made = sales.dataset(NAME).subscribe("warehouse", mode="history", columns=["amount"])
    sales.run_pending()
    put(sales, {1: 11})
    put(sales, {1: 12})
    sales.dataset(NAME).delete_where("id = 2")
    sales.run_pending()
    with psycopg.connect(postgres_database) as connection:
        found = connection.execute("SELECT * FROM orders ORDER BY id, _commit_sequence_number").fetchall()
    assert [row[:3] for row in found] == [(1, 10, 1), (1, 11, 2), (1, 12, 3), (2, 20, 1)]
    assert (found[0][4], found[1][4]) == (found[1][3], found[2][3])
    assert (found[2][4], found[3][4] > found[3][3]) == (None, True)
    assert [row[5] for row in found] == [False, False, True, False]
    assert sales.backend.verify_subscription(made.id).equal
    record = sales.backend.subscription_deliveries(made.id)[0]
    assert (record.rows_inserted, record.rows_updated, record.rows_deleted) == (2, 2, 0)


def test_a_target_that_computes_sends_no_row_of_a_history_that_is_as_it_should_be(
    sales: Lake, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sales.create_target("warehouse", "postgres", dsn=postgres_database)
    put(sales, {1: 10, 2: 20})
    made = sales.dataset(NAME).subscribe("warehouse", mode="history")
    sales.run_pending()
    put(sales, {1: 11})
    sales.run_pending()
    with monkeypatch.context() as deaf:
        deaf.setattr(PostgresSynchronizer, "_read", lambda *_: 1 / 0)
        assert sales.backend.verify_subscription(made.id).equal
    with psycopg.connect(postgres_database) as connection:
        connection.execute("UPDATE orders SET amount = 9 WHERE id = 2")
        connection.execute("UPDATE orders SET _valid_to = now() + INTERVAL '1 day' WHERE NOT _is_current")
    found = sales.backend.verify_subscription(made.id)
    assert (found.different, found.unsound, found.rows_target) == (("(2)",), ("(1)",), 2)


def test_what_a_history_is_not_for_is_refused(sales: Lake, tmp_path: Path) -> None:
    orders = sales.dataset(NAME)
    sales.create_target("files", "parquet", root=str(tmp_path / "files"))
    with pytest.raises(NotAllowedError, match="files takes whole contents only, and cannot keep a history"):
        orders.subscribe("files", mode="history")
    made = orders.subscribe("files")
    with pytest.raises(NotAllowedError, match="cannot keep a history"):
        sales.backend.change_subscription(made.id, WishChange(mode="history"))
    own = sales.create_dataset("sales.own", {"id": pa.int64(), "_valid_to": pa.int64()}, key=["id"])
    own.write([{"id": 1, "_valid_to": 1}], "append")
    made = own.subscribe("copy", mode="history")
    sales.run_pending()
    failed = sales.backend.subscription(made.id).subscription
    assert failed.state is SubscriptionState.FAILED
    assert "has a column _valid_to of its own" in failed.last_error
    made = subscribed(sales)
    with pytest.raises(NotAllowedError, match="cannot go on with others"):
        sales.backend.change_subscription(made.id, WishChange(columns=("amount",)))
