"""Completions as asset events that start DAGs, in a whole Airflow: api-server, scheduler, DAG processor, triggerer."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome
from airflow_home import DAGS, HOME
from airflow_processes import airflow_processes
from cordillera_airflow import watcher
from cordillera_airflow.errors import LakeError
from lake_server import PATIENCE_SECONDS, LakeServer, eventually

DAG = """
from airflow.sdk import DAG, task
from cordillera_airflow.watcher import completion_asset

orders = completion_asset("{dataset}", name="orders")

with DAG("on_orders", schedule=[orders]):
    @task
    def partitions(triggering_asset_events=None):
        return [event.extra["payload"]["partition"] for event in triggering_asset_events[orders]]

    partitions()
"""
_EVENTS = "SELECT extra FROM asset_event ORDER BY id"
_STARTED = "SELECT value FROM xcom WHERE dag_id = 'on_orders' AND key = 'return_value'"
_POSITION = "SELECT value FROM asset_state_store WHERE key LIKE 'cordillera_position:cordillera_default:sales.%'"


def query(sql: str) -> list[Any]:
    """Return the only column of a query on Airflow's database."""
    with sqlite3.connect(HOME / "airflow.db", timeout=60) as database:
        return [json.loads(row[0]) for row in database.execute(sql)]


def payloads() -> list[dict[str, Any]]:
    return [extra["payload"] for extra in query(_EVENTS)]


def test_completions_start_dags_and_none_is_lost_whoever_is_killed(
    lake: LakeServer, orders: str, tmp_path: Path, connection: Callable[..., None]
) -> None:
    lake.complete(orders, "2026-01-01")  # before anybody watches
    (DAGS / "on_orders.py").write_text(DAG.format(dataset=orders), "utf-8")
    with airflow_processes(tmp_path / "airflow") as airflow:
        airflow.start("api-server", "scheduler", "dag-processor", "triggerer")
        eventually(lambda: query(_POSITION), airflow.written)
        lake.write(orders, 2)
        lake.complete(orders, "2026-01-02")
        eventually(lambda: query(_STARTED) == [["2026-01-02"]], airflow.written)
        (event,) = payloads()
        assert event["dataset"] == orders
        assert (event["partition"], event["revision"], event["sequence_number"]) == ("2026-01-02", 1, 2)
        eventually(lambda: query(_POSITION) == [event["position"]], airflow.written)

        airflow.kill("triggerer")
        lake.complete(orders, "2026-01-03", "2026-01-04", "2026-01-03")
        airflow.start("triggerer")
        eventually(lambda: len(payloads()) == 4, airflow.written)
        lake.stop()
        lake.complete_without_server(orders, "2026-01-05")
        lake.start()
        eventually(lambda: len(payloads()) == 5, airflow.written)
        assert [(one["partition"], one["revision"]) for one in payloads()] == [
            ("2026-01-02", 1),
            ("2026-01-03", 1),
            ("2026-01-04", 1),
            ("2026-01-03", 2),
            ("2026-01-05", 1),
        ]
        started = ["2026-01-02", "2026-01-03", "2026-01-03", "2026-01-04", "2026-01-05"]
        eventually(lambda: sorted(one for run in query(_STARTED) for one in run) == started, airflow.written)


class Store:
    """An asset's state store in memory; the whole Airflow above has the real one."""

    def __init__(self, **kept: object) -> None:
        self.kept = kept

    async def aget(self, key: str) -> object:
        return self.kept.get(key)

    async def aset(self, key: str, value: object) -> None:
        self.kept[key] = value


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(watcher, "AssetStateStoreAccessors", lambda inlets: made)
    monkeypatch.setattr(watcher, "_REFUSED_PAUSE_SECONDS", 0.2)
    return made


def producer(dataset: str, after: int | None = None) -> watcher.CompletionProducer:
    return watcher.CompletionProducer(watcher.CompletionEventTrigger(dataset, "orders", after=after))


async def first(made: watcher.CompletionProducer) -> tuple[str, int]:
    """Return the partition and the position of the first completion that is told."""
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(made.open_stream()) as stream:
        event, position = await anext(stream)
        return event["partition"], position


def test_a_refused_watcher_goes_on_where_it_was_once_it_is_let_in(
    lake: LakeServer, orders: str, store: Store, connection: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    lake.complete(orders, "2026-01-31")
    connection(token="cdl_wrong")

    async def test() -> None:
        task = asyncio.create_task(first(producer(orders, after=0)))
        with caplog.at_level(logging.ERROR):
            await asyncio.to_thread(eventually, lambda: "'cordillera_default'" in caplog.text)
        connection()
        assert (await task)[0] == "2026-01-31"

    asyncio.run(test())
    assert "cdl_wrong" not in caplog.text


def test_a_dataset_that_is_not_there_is_told_of_and_followed_from_its_first_completion(
    lake: LakeServer, orders: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    later = f"{orders}_later"

    async def test() -> None:
        task = asyncio.create_task(first(producer(later)))
        with caplog.at_level(logging.ERROR):
            await asyncio.to_thread(eventually, lambda: later in caplog.text)
        await asyncio.to_thread(lake.create_dataset, later)
        await asyncio.to_thread(lake.complete, later, "2026-01-31")
        assert (await task)[0] == "2026-01-31"

    asyncio.run(test())


def test_a_lake_that_went_back_in_time_is_told_of(orders: str, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.kept[f"cordillera_position:cordillera_default:{orders}"] = 10**9

    async def test() -> None:
        task = asyncio.create_task(first(producer(orders)))
        with caplog.at_level(logging.ERROR):
            await asyncio.to_thread(eventually, lambda: "No event has the position" in caplog.text)
        task.cancel()

    asyncio.run(test())


def test_only_what_airflow_has_stored_is_passed(orders: str, store: Store) -> None:
    made = producer(orders)
    stored, lost = AdvanceOutcome(acked=1, failed=0), AdvanceOutcome(acked=0, failed=1)
    asyncio.run(made.advance([AdvanceItem(7, stored), AdvanceItem(8, stored)]))
    with pytest.raises(LakeError, match="followed again"):
        asyncio.run(made.advance([AdvanceItem(9, stored), AdvanceItem(10, lost)]))
    assert store.kept == {f"cordillera_position:cordillera_default:{orders}": 8}
