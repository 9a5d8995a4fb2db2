"""What a small commit costs that several subscriptions wait for: few statements, and its rows are read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import event

from cordillera.client import Lake
from cordillera.table.reader import FileReader
from tests.conftest import app_of

NAME = "sales.orders"


@pytest.fixture
def watched(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Lake, list[str]]:
    """A lake with three subscriptions to a dataset, and what is done to bring them up: files read, statements."""
    lake.create_namespace("sales")
    orders = lake.create_dataset(NAME, {"id": pa.int64(), "amount": pa.int64()}, key=["id"])
    orders.write([{"id": 1, "amount": 1}], "upsert")
    for number in range(3):
        lake.create_target(f"copy{number}", "duckdb", path=str(tmp_path / f"{number}.duckdb"))
        orders.subscribe(f"copy{number}")
    lake.run_pending()
    done: list[str] = []
    database: Any = app_of(lake).store._database
    for engine in (database.reader, database.writer):
        event.listen(engine, "before_cursor_execute", lambda *_: done.append("statement"))
        event.listen(engine, "begin", lambda _: done.append("transaction"))
    monkeypatch.setattr("cordillera.worker._TASKS_FOR_SECONDS", 60.0)  # however busy the machine is
    read = FileReader.read

    def reading(self: FileReader, *what: Any) -> Any:
        done.append("file")
        return read(self, *what)

    monkeypatch.setattr(FileReader, "read", reading)
    return lake, done


def test_a_small_change_is_read_once_for_all_subscriptions(watched: tuple[Lake, list[str]]) -> None:
    lake, done = watched
    lake.dataset(NAME).write([{"id": 2, "amount": 2}], "upsert")
    done.clear()
    lake.run_pending()
    files, statements, transactions = (done.count(one) for one in ("file", "statement", "transaction"))
    assert all(one.in_step for one in lake.dataset(NAME).subscriptions())
    assert files == 1
    assert statements <= 3 * 24
    assert transactions <= 3 * 7


def test_commits_that_came_meanwhile_are_one_delivery(watched: tuple[Lake, list[str]]) -> None:
    lake, done = watched
    for number in range(2, 7):
        lake.dataset(NAME).write([{"id": number, "amount": number}], "upsert")
    done.clear()
    lake.run_pending()
    files, transactions = (done.count(one) for one in ("file", "transaction"))
    assert files == 5
    assert transactions <= 3 * 7
    for one in lake.dataset(NAME).subscriptions():
        first, *_ = lake.backend.subscription_deliveries(one.subscription.id)
        assert (one.in_step, first.from_sequence, first.to_sequence, first.rows_upserted) == (True, 1, 6, 5)


def test_what_is_shared_of_a_change_is_of_the_same_columns(watched: tuple[Lake, list[str]], tmp_path: Path) -> None:
    lake, _ = watched
    orders = lake.dataset(NAME)
    for name, wish in (("ids", {"columns": ["id"]}), ("big", {"row_filter": "amount > 5"})):
        lake.create_target(name, "duckdb", path=str(tmp_path / f"{name}.duckdb"))
        orders.subscribe(name, **wish)
    lake.run_pending()
    orders.write([{"id": 2, "amount": 9}, {"id": 3, "amount": 3}], "upsert")
    lake.run_pending()
    for one in orders.subscriptions():
        assert one.in_step
        assert lake.backend.verify_subscription(one.subscription.id).equal
