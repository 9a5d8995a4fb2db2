"""The DAGs of docs/how-to/start-airflow-dags.md do what the page says."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from dags import load_dag, result_of, run_dag
from lake_server import LakeServer

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT))

from tests.docs.markdown import blocks  # noqa: E402 - as the tests of the other pages read them

FILES = {block.file: block.text for block in blocks(ROOT / "docs/how-to/start-airflow-dags.md") if block.file}


def test_the_daily_report_waits_reads_and_tells(lake: LakeServer) -> None:
    for name in ("sales.orders", "sales.report"):
        lake.create_dataset(name)
    lake.complete("sales.orders", "2026-01-31")
    dag = load_dag("daily_report", FILES["daily_report.py"])
    found = run_dag(dag, datetime(2026, 1, 31, tzinfo=UTC))
    assert result_of(found["report"]) == "as of snapshot 1"
    assert lake.completions("sales.report") == [("2026-01-31", 1, 1)]


def test_a_dag_that_is_started_by_completions_can_be_loaded() -> None:
    dag = load_dag("on_orders", FILES["on_orders.py"])
    (asset,) = dag.timetable.asset_condition.objects
    assert asset.name == "sales.orders"
    assert [watcher.trigger.dataset for watcher in asset.watchers] == ["sales.orders"]
