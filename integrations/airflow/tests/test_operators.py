"""Declaring partitions complete, and running jobs of the lake, in DAG runs of a real Airflow."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from dags import load_dag, result_of, run_dag
from lake_server import LakeServer

COMPLETE = """
from airflow.sdk import DAG
from cordillera_airflow.operators import CompletePartitionOperator

def lose_the_first_answer(context, result):
    if context["ti"].try_number == 1:
        raise ConnectionError("lost")

with DAG("{dag}", schedule=None):
    CompletePartitionOperator(
        task_id="tell", dataset="{dataset}", partition="{{{{ ds }}}}",
        post_execute=lose_the_first_answer, retries=1, retry_delay=0.1,
    )
"""
RUN = """
from airflow.sdk import DAG
from cordillera_airflow.operators import RunJobOperator

with DAG("{dag}", schedule=None):
    RunJobOperator(task_id="run", job="{job}", partition="{{{{ ds }}}}", {more})
"""
DAY = datetime(2026, 1, 31, tzinfo=UTC)


def test_a_partition_is_declared_once_however_often_it_is_tried_and_again_for_another_snapshot(
    lake: LakeServer, orders: str
) -> None:
    name = orders.replace(".", "_")
    dag = load_dag(name, COMPLETE.format(dag=name, dataset=orders))
    told = run_dag(dag, DAY)["tell"]
    assert (told.state, told.try_number) == ("success", 2)
    assert lake.completions(orders) == [("2026-01-31", 1, 1)]
    lake.write(orders, 2)
    run_dag(dag, DAY)
    assert lake.completions(orders) == [("2026-01-31", 2, 2)]


@pytest.fixture
def report(lake: LakeServer, orders: str) -> str:
    """A job that is made after its input was complete, so that nothing has started it."""
    lake.complete(orders, "2026-01-31")
    made = lake.create_dataset(f"{orders}_report")
    job = {
        "name": made,
        "sql": f"SELECT id, day FROM {orders} WHERE day = $partition::DATE",
        "output_condition": "day = $partition::DATE",
    }
    lake.ask("POST", "/jobs", job)
    return made


@pytest.mark.parametrize("more", ["poll_interval=0.1", "deferrable=True"])
def test_a_job_is_run_and_waited_for(lake: LakeServer, report: str, more: str) -> None:
    name = report.replace(".", "_")
    dag = load_dag(name, RUN.format(dag=name, job=report, more=more))
    found = run_dag(dag, DAY)["run"]
    assert found.state == "success"
    assert result_of(found)["state"] == "succeeded"
    assert [one[0] for one in lake.completions(report)] == ["2026-01-31"]


RETRIED = """
from airflow.sdk import DAG
from cordillera_airflow.operators import RunJobOperator

def lose_the_first_answer(context, result):
    if context["ti"].try_number == 1:
        raise ConnectionError("lost")

with DAG("{dag}", schedule=None):
    RunJobOperator(
        task_id="run", job="{job}", partition="{{{{ ds }}}}", poll_interval=0.1,
        post_execute=lose_the_first_answer, retries=1, retry_delay=0.1,
    )
"""


def test_a_task_that_is_tried_again_starts_one_run_and_one_that_is_cleared_another(
    lake: LakeServer, report: str
) -> None:
    name = report.replace(".", "_")
    dag = load_dag(name, RETRIED.format(dag=name, job=report))
    found = run_dag(dag, DAY)["run"]
    assert (found.state, found.try_number) == ("success", 2)
    runs = lake.ask("GET", "/runs", job=report)["items"]
    assert [one["id"] for one in runs] == [result_of(found)["id"]]
    run_dag(dag, DAY)
    assert len(lake.ask("GET", "/runs", job=report)["items"]) == 2


def test_a_job_that_cannot_run_fails_the_task_with_the_reason(
    lake: LakeServer, report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = report.replace(".", "_")
    dag = load_dag(name, RUN.format(dag=name, job=report, more="retries=3, poll_interval=0.1"))
    found = run_dag(dag, datetime(2026, 2, 1, tzinfo=UTC))["run"]
    assert (found.state, found.try_number) == ("failed", 1)
    told = capsys.readouterr()
    assert "2026-02-01" in told.out + told.err
