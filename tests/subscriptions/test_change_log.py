"""Subscriptions that keep a log: every change of every commit once, whatever happens between deliveries."""

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

from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import InvalidInputError, NotAllowedError
from cordillera.spec.schema_evolution import AddColumn, RenameColumn
from cordillera.spec.subscription import Subscription, SubscriptionState
from cordillera.subscriptions.delivery import DeliveryService
from tests.examples import examples
from tests.subscriptions.copied import NAME, STEP, made_in, put

Change = tuple[int, str, int, int]


@pytest.fixture
def sales(tmp_path: Path) -> Any:
    with made_in(tmp_path) as lake:
        yield lake


def logged(folder: Path, sql: str = "") -> list[Any]:
    query = sql or "SELECT _commit_sequence_number, _change_type, id, amount FROM orders ORDER BY ALL"
    with duckdb.connect(str(folder / "copy.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def sequence(lake: Lake) -> int:
    return lake.dataset(NAME).details().version.sequence_number


# --- against a model --------------------------------------------------------------------------------------------------


def difference(before: dict[int, int], after: dict[int, int], number: int) -> list[Change]:
    """The change log of one commit, the simple way."""
    changes = []
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old is None and new is not None:
            changes.append((number, "insert", key, new))
        elif old is not None and new is None:
            changes.append((number, "delete", key, old))
        elif old is not None and new is not None and old != new:
            changes += [(number, "update_before", key, old), (number, "update_after", key, new)]
    return changes


@settings(max_examples=examples(5))
@given(st.lists(STEP, min_size=3, max_size=9))
def test_a_log_tells_what_a_model_tells(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name, made_in(Path(name)) as lake:
        put(lake, {1: 1, 2: 2})
        rows = {1: 1, 2: 2}
        lake.dataset(NAME).subscribe("copy", mode="log")
        lake.run_pending()
        expected = [(1, "insert", 1, 1), (1, "insert", 2, 2)]
        for step, given_ in steps:
            before = dict(rows)
            if step == "put":
                rows |= given_
                put(lake, given_)
            elif step == "delete":
                rows.pop(given_, None)
                lake.dataset(NAME).delete_where(f"id = {given_}")
            elif step == "compact":
                lake.dataset(NAME).compact()
            else:
                lake.run_pending()
            expected += difference(before, rows, sequence(lake))
        lake.run_pending()
        assert logged(Path(name)) == sorted(expected)


# --- cases ------------------------------------------------------------------------------------------------------------


def test_a_log_begins_with_what_is_there_and_tells_when(sales: Lake, tmp_path: Path) -> None:
    put(sales, {1: 10})
    put(sales, {2: 20})
    made = sales.dataset(NAME).subscribe("copy", table="changes", mode="log")
    assert made.mode == "log"
    sales.run_pending()
    put(sales, {2: 21})
    sales.run_pending()
    sql = "SELECT _commit_sequence_number, _change_type, id, amount, epoch_ms(_committed_at) FROM changes ORDER BY ALL"
    commits = {one.sequence_number: one for one in sales.dataset(NAME).snapshots()}
    told = {number: round(commits[number].committed_at.timestamp(), 1) for number in (2, 3)}
    found = logged(tmp_path, sql)
    assert [row[:4] for row in found] == [
        (2, "insert", 1, 10),
        (2, "insert", 2, 20),
        (3, "update_after", 2, 21),
        (3, "update_before", 2, 20),
    ]
    assert all(abs(row[4] / 1000 - told[row[0]]) < 5 for row in found)
    status = sales.backend.subscription(made.id)
    assert (status.in_step, status.subscription.rows_delivered) == (True, 4)


def test_a_delivery_that_was_not_noted_is_not_told_twice(
    sales: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = sales.backend
    assert isinstance(backend, LocalBackend)
    put(sales, {1: 10})
    made = sales.dataset(NAME).subscribe("copy", mode="log")
    for amounts in ({}, {1: 11, 2: 20}):
        if amounts:
            put(sales, amounts)
        with monkeypatch.context() as broken:
            broken.setattr(DeliveryService, "_advance", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                backend.app.deliveries.deliver(made.id)
        sales.run_pending()
    assert sales.backend.subscription(made.id).in_step
    assert logged(tmp_path) == [
        (1, "insert", 1, 10),
        (2, "insert", 2, 20),
        (2, "update_after", 1, 11),
        (2, "update_before", 1, 10),
    ]


def test_schema_changes_travel_and_what_was_told_stays(sales: Lake, tmp_path: Path) -> None:
    put(sales, {1: 10})
    sales.dataset(NAME).subscribe("copy", mode="log", row_filter="id < 5")
    sales.run_pending()
    sales.dataset(NAME).evolve(RenameColumn("amount", "total"), AddColumn("note", pa.string(), default="none"))
    sales.run_pending()
    sales.dataset(NAME).write([{"id": 1, "total": 11, "note": "new"}, {"id": 9, "total": 1}], "upsert")
    sales.run_pending()
    found = logged(tmp_path, "SELECT _change_type, id, total, note FROM orders ORDER BY _commit_sequence_number, 1")
    assert found == [
        ("insert", 1, 10, None),
        ("update_after", 1, 11, "new"),
        ("update_before", 1, 10, "none"),
    ]


def test_rows_without_a_key_are_told_by_their_id(sales: Lake, tmp_path: Path) -> None:
    lines = sales.create_dataset("sales.lines", {"line": pa.string()})
    lines.write([{"line": "a"}, {"line": "a"}], "append")
    lines.subscribe("copy", mode="log")
    sales.run_pending()
    lines.delete_where("line = 'a'")
    sales.run_pending()
    found = logged(tmp_path, "SELECT _change_type, count(*), count(DISTINCT _row_id) FROM lines GROUP BY 1 ORDER BY 1")
    assert found == [("delete", 2, 2), ("insert", 2, 2)]


def test_postgresql_keeps_a_log(sales: Lake, postgres_database: str) -> None:
    sales.create_target("warehouse", "postgres", dsn=postgres_database)
    put(sales, {1: 10, 2: 20})
    sales.dataset(NAME).subscribe("warehouse", mode="log", columns=["amount"])
    sales.run_pending()
    put(sales, {1: 11})
    sales.dataset(NAME).delete_where("id = 2")
    sales.dataset(NAME).compact()
    sales.run_pending()
    with psycopg.connect(postgres_database) as connection:
        found = connection.execute(
            "SELECT _commit_sequence_number, _change_type, id, amount, _committed_at IS NULL FROM orders"
            " ORDER BY 1, 2, 3"
        ).fetchall()
    assert found == [
        (1, "insert", 1, 10, False),
        (1, "insert", 2, 20, False),
        (2, "update_after", 1, 11, False),
        (2, "update_before", 1, 10, False),
        (3, "delete", 2, 20, False),
    ]


# --- what cannot be ---------------------------------------------------------------------------------------------------


def failed(lake: Lake, made: Subscription) -> str:
    found = lake.backend.subscription(made.id).subscription
    assert found.state is SubscriptionState.FAILED
    return found.last_error


def test_a_log_that_cannot_go_on_says_so_and_stays_as_it_is(sales: Lake, tmp_path: Path) -> None:
    put(sales, {1: 10})
    made = sales.dataset(NAME).subscribe("copy", mode="log")
    sales.run_pending()
    sales.backend.pause_subscription(made.id)
    put(sales, {1: 11})
    put(sales, {1: 12})
    sales.dataset(NAME).expire_snapshots(older_than=timedelta(0), keep_last=1)
    sales.backend.resume_subscription(made.id)
    sales.run_pending()
    assert "snapshot" in failed(sales, made).lower()
    assert logged(tmp_path) == [(1, "insert", 1, 10)]


def test_a_log_does_not_go_on_under_another_view(sales: Lake, tmp_path: Path) -> None:
    put(sales, {1: 10, 2: 20})
    sales.grant("user:ana", "read", NAME)
    sales.grant("user:ana", "write", "target:copy")
    with acting("user:ana"):
        made = sales.dataset(NAME).subscribe("copy", mode="log")
    sales.run_pending()
    sales.grant("user:ana", "read", NAME, row_filter="id = 1")
    put(sales, {2: 21})
    sales.run_pending()
    assert "tells what was shown before" in failed(sales, made)
    assert len(logged(tmp_path)) == 2


def test_what_a_log_is_not_for_is_refused(sales: Lake, tmp_path: Path) -> None:
    orders = sales.dataset(NAME)
    sales.create_target("files", "parquet", root=str(tmp_path / "files"))
    with pytest.raises(NotAllowedError, match="takes whole contents only"):
        orders.subscribe("files", mode="log")
    with pytest.raises(NotAllowedError, match="equals no snapshot"):
        orders.subscribe("copy", mode="log", verify_every_seconds=3600)
    with pytest.raises(InvalidInputError, match="mirror, log"):
        orders.subscribe("copy", mode="diary")
    made = orders.subscribe("copy", mode="log")
    for ask in (sales.backend.verify_subscription, sales.backend.repair_subscription):
        with pytest.raises(NotAllowedError, match="equals no snapshot"):
            ask(made.id)
    with pytest.raises(NotAllowedError):
        sales.backend.schedule_verification(made.id, 3600)
