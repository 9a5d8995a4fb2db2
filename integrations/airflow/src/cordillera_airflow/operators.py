"""The operators: declaring a partition complete, and running a job of the lake."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context, conf

from cordillera_airflow.errors import LakeError, LakeRefusedError, LakeUnreachableError
from cordillera_airflow.hook import DEFAULT_CONNECTION, CordilleraHook
from cordillera_airflow.sensor import outcome
from cordillera_airflow.triggers import RUN_HAS_ENDED, RunTrigger


class CompletePartitionOperator(BaseOperator):
    """Declares a partition complete as of the dataset's current snapshot, and returns the completion.

    Once for each DAG run and snapshot: a retry finds what the attempt before has declared, a run that is cleared after
    rows have changed restates the partition.

    Args:
        dataset: For example ``sales.orders``. Templated.
        partition: Its label, for example ``{{ ds }}``. Templated.
        cordillera_conn_id: The connection.
        kwargs: What every operator takes.
    """

    template_fields: Sequence[str] = ("dataset", "partition", "cordillera_conn_id")
    ui_color = "#e8f0ee"

    def __init__(
        self, *, dataset: str, partition: str, cordillera_conn_id: str = DEFAULT_CONNECTION, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dataset, self.partition, self.cordillera_conn_id = dataset, partition, cordillera_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Declare it."""
        hook, ti = CordilleraHook(self.cordillera_conn_id), context["ti"]
        snapshot = hook.sequence_number(self.dataset)
        key = f"airflow {ti.dag_id} {ti.task_id} {ti.run_id} {ti.map_index} {self.partition} {snapshot}"
        return hook.complete(self.dataset, self.partition, idempotency_key=key)


class RunJobOperator(BaseOperator):
    """Runs a job of the lake for a partition, waits until the run has ended, and returns it.

    A retry finds the run that the attempt before has started, unless that was superseded; a task that is cleared starts
    another.

    Args:
        job: For example ``analytics.delays``. Templated.
        partition: The label to run it for. Templated.
        poll_interval: Seconds between two looks; with ``deferrable`` the most, when no event comes.
        cordillera_conn_id: The connection.
        deferrable: Wait in the triggerer, on the lake's events.
        kwargs: What every operator takes; ``execution_timeout`` says how long to wait.
    """

    template_fields: Sequence[str] = ("job", "partition", "cordillera_conn_id")
    ui_color = "#e8f0ee"

    def __init__(
        self,
        *,
        job: str,
        partition: str,
        poll_interval: float = 10.0,
        cordillera_conn_id: str = DEFAULT_CONNECTION,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job, self.partition, self.poll_interval = job, partition, poll_interval
        self.cordillera_conn_id, self.deferrable = cordillera_conn_id, deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """Run it."""
        hook = CordilleraHook(self.cordillera_conn_id)
        run = self._started(hook, context)
        self.log.info("Run %s of %s for %s is %s.", run["id"], self.job, self.partition, run["state"])
        if self.deferrable:
            trigger = RunTrigger(run["id"], self.cordillera_conn_id, self.poll_interval)
            self.defer(trigger=trigger, method_name="resume", timeout=self.execution_timeout)
        while run["state"] not in RUN_HAS_ENDED:
            time.sleep(self.poll_interval)
            try:
                run = hook.run(run["id"])
            except LakeUnreachableError as error:
                self.log.warning("%s Asking again in %g s.", error, self.poll_interval)
        return self._succeeded(run)

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on behind the trigger."""
        return self._succeeded(outcome(event))

    def _started(self, hook: CordilleraHook, context: Context) -> dict[str, Any]:
        """Return the run of this task, started now or by an attempt before this one."""
        ti = context["ti"]
        cleared = ti.max_tries - self.retries  # Airflow allows as many tries more each time that a task is cleared
        key = f"airflow {ti.dag_id} {ti.task_id} {ti.run_id} {ti.map_index} {cleared}"
        run = hook.run_job(self.job, self.partition, idempotency_key=f"{key} {self.partition}")
        while run["state"] == "superseded":
            run = hook.run_job(self.job, self.partition, idempotency_key=f"{key} {run['id']}")
        return run

    def _succeeded(self, run: dict[str, Any]) -> dict[str, Any]:
        what = f"The run {run['id']} of {self.job} for {self.partition}"
        if run["state"] == "failed":
            raise LakeRefusedError(f"{what} has failed: {run['error']}")
        if run["state"] == "superseded":
            raise LakeError(f"{what} has been superseded: its inputs were restated, and a later run took its place.")
        return run
