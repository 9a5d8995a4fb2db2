"""The sensor: a task that waits until a partition is complete."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue, conf

from cordillera_airflow.errors import LakeRefusedError, LakeUnreachableError
from cordillera_airflow.hook import DEFAULT_CONNECTION, CordilleraHook
from cordillera_airflow.triggers import CompletionTrigger


class CompletionSensor(BaseSensorOperator):
    """Waits until a partition of a dataset is complete, and returns its completion.

    That is a dict with ``partition``, ``revision``, ``sequence_number`` (the snapshot as of which it is complete),
    ``declared_by`` and ``declared_at``, as XCom. A lake that does not answer is waited for as well, until ``timeout``;
    one that refuses fails the task.

    Args:
        dataset: For example ``sales.orders``. Templated.
        partition: Its label, for example ``{{ ds }}``. Templated.
        min_revision: 1 for any completion, 2 for a restatement, and so on.
        cordillera_conn_id: The connection.
        deferrable: Wait in the triggerer, on the lake's events, instead of asking every ``poke_interval`` seconds.
        kwargs: What every sensor takes: ``poke_interval``, ``timeout``, ``mode``, ``soft_fail`` …
    """

    template_fields: Sequence[str] = ("dataset", "partition", "cordillera_conn_id")
    ui_color = "#e8f0ee"

    def __init__(
        self,
        *,
        dataset: str,
        partition: str,
        min_revision: int = 1,
        cordillera_conn_id: str = DEFAULT_CONNECTION,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset, self.partition, self.min_revision = dataset, partition, min_revision
        self.cordillera_conn_id, self.deferrable = cordillera_conn_id, deferrable

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once."""
        try:
            found = CordilleraHook(self.cordillera_conn_id).completion(self.dataset, self.partition)
        except LakeUnreachableError as error:
            self.log.warning("%s Asking again in %g s.", error, self.poke_interval)
            found = None
        if found is not None and found["revision"] < self.min_revision:
            found = None
        return PokeReturnValue(is_done=found is not None, xcom_value=found)

    def execute(self, context: Context) -> Any:
        """Wait."""
        if not self.deferrable:
            return super().execute(context)
        asked = self.poke(context)
        if asked.is_done:
            return asked.xcom_value
        trigger = CompletionTrigger(
            self.dataset, self.partition, self.min_revision, self.cordillera_conn_id, self.poke_interval
        )
        return self.defer(trigger=trigger, method_name="resume", timeout=timedelta(seconds=self.timeout))

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on behind the trigger."""
        return outcome(event)


def outcome(event: dict[str, Any]) -> dict[str, Any]:
    """Return what a trigger of this package has found.

    Raises:
        LakeRefusedError: If the lake refused.
        LakeUnreachableError: If it could not be asked.
    """
    if "error" in event:
        raise (LakeRefusedError if event["refused"] else LakeUnreachableError)(event["error"])
    found: dict[str, Any] = event["found"]
    return found
