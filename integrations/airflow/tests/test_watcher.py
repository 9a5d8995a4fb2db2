"""Completions as asset events that start DAGs, in a whole Airflow: api-server, scheduler, DAG processor, triggerer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_home import DAGS, HOME
from airflow_processes import airflow_processes
from lake_server import LakeServer, eventually

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
_POSITION = "SELECT value FROM asset_state_store WHERE key = 'cordillera_position'"


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
