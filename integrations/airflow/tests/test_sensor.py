"""Tasks that wait for a partition, in DAG runs of a real Airflow."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from dags import load_dag, result_of, run_dag
from lake_server import LakeServer, eventually

DAG = """
from airflow.sdk import DAG
from cordillera_airflow.sensor import CompletionSensor

with DAG("{dag}", schedule=None):
    CompletionSensor(
        task_id="wait", dataset="{dataset}", partition="{{{{ '2026-01-' ~ 31 }}}}", {more}
    )
"""


def waiting_dag(dataset: str, more: str) -> object:
    name = dataset.replace(".", "_")
    return load_dag(name, DAG.format(dag=name, dataset=dataset, more=more))


@pytest.mark.parametrize("more", ["poke_interval=0.2", "poke_interval=0.2, mode='reschedule'", "deferrable=True"])
def test_a_task_waits_until_the_partition_is_complete_and_returns_the_snapshot(
    lake: LakeServer, orders: str, more: str
) -> None:
    def publish() -> None:
        if "deferrable" in more:
            eventually(lambda: lake.open_streams() == 1)
        lake.complete(orders, "2026-01-30")
        lake.write(orders, 2)
        lake.complete(orders, "2026-01-31")

    publisher = threading.Thread(target=publish)
    publisher.start()
    found = run_dag(waiting_dag(orders, more))["wait"]
    publisher.join()
    assert found.state == "success"
    completion = result_of(found)
    assert (completion["partition"], completion["revision"], completion["sequence_number"]) == ("2026-01-31", 1, 2)


def test_what_is_complete_already_is_not_waited_for(lake: LakeServer, orders: str) -> None:
    lake.complete(orders, "2026-01-31", "2026-01-31")
    found = run_dag(waiting_dag(orders, "deferrable=True, min_revision=2"))["wait"]
    assert result_of(found)["revision"] == 2


def test_a_restatement_is_waited_for(lake: LakeServer, orders: str) -> None:
    lake.complete(orders, "2026-01-31")
    found = run_dag(waiting_dag(orders, "min_revision=2, timeout=0.1, poke_interval=0.1"))["wait"]
    assert found.state == "failed"


@pytest.mark.parametrize("more", ["retries=5, poke_interval=0.1", "retries=5, deferrable=True"])
def test_who_may_not_see_the_dataset_fails_at_once(
    lake: LakeServer, orders: str, more: str, connection: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    secret = lake.create_token("service:stranger")[1]
    connection(token=secret)
    found = run_dag(waiting_dag(orders, more))["wait"]
    assert (found.state, found.try_number) == ("failed", 1)
    told = capsys.readouterr()
    assert f"{orders}" in told.out + told.err
    assert secret not in told.out + told.err


def test_a_lake_that_is_not_there_is_waited_for(orders: str, connection: Callable[..., None]) -> None:
    connection(url="http://127.0.0.1:9")
    found = run_dag(waiting_dag(orders, "timeout=0.3, poke_interval=0.1, soft_fail=True"))["wait"]
    assert found.state == "skipped"
