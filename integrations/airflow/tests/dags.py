"""DAGs as files, which is how Airflow takes them, run for real."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.taskinstance import TaskInstance
from airflow_home import DAGS


def load_dag(dag_id: str, source: str) -> Any:
    """Write a DAG's file and return the DAG."""
    file = DAGS / f"{dag_id}.py"
    file.write_text(source, "utf-8")
    bag = DagBag(file)
    assert not bag.import_errors, bag.import_errors
    return bag.dags[dag_id]


def run_dag(dag: Any, logical_date: datetime | None = None) -> dict[str, TaskInstance]:
    """Run a DAG to its end, deferred tasks included, and return its task instances by task."""
    given = {} if logical_date is None else {"logical_date": logical_date}
    return {instance.task_id: instance for instance in dag.test(**given).get_task_instances()}


def result_of(instance: TaskInstance) -> Any:
    """Return what a task has returned."""
    return instance.xcom_pull(task_ids=instance.task_id)
