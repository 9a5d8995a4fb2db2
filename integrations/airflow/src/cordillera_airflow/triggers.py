"""Triggers of deferred tasks: what waits in the triggerer while no worker is kept.

They ask how things stand whenever the stream of events begins, also after a break, and whenever an event may have
changed it. So nothing is missed when the triggerer or the lake is restarted, and nothing has to be remembered.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
from airflow.triggers.base import BaseTrigger, TriggerEvent

from cordillera_airflow.errors import LakeError, LakeRefusedError
from cordillera_airflow.events import Follower, patiently, server_of
from cordillera_airflow.hook import completion_path
from cordillera_airflow.server import Server, path

RUN_HAS_ENDED = ("succeeded", "failed", "superseded")


class LakeTrigger(BaseTrigger):
    """Fires once, when something is as it should be in a lake: ``{"found": …}``, or ``{"error": message}``."""

    topic: str
    within: str
    cordillera_conn_id: str
    look_every_seconds: float

    @abstractmethod
    async def look(self, server: Server, client: httpx.AsyncClient) -> dict[str, Any] | None:
        """Return what is waited for, or None if it is not there."""

    @abstractmethod
    def concerns(self, payload: dict[str, Any]) -> bool:
        """Tell whether an event may be what is waited for."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait."""
        try:
            yield TriggerEvent({"found": await self._wait()})
        except LakeError as error:
            yield TriggerEvent({"error": str(error), "refused": isinstance(error, LakeRefusedError)})

    async def _wait(self) -> dict[str, Any]:
        server = await server_of(self.cordillera_conn_id)
        async with server.async_client() as client:
            follower = Follower(server, client, self.topic, self.within)
            looked_at = -self.look_every_seconds
            async with aclosing(follower.frames()) as frames:
                async for frame in frames:
                    if frame.event is not None:
                        due = self.concerns(frame.event["payload"])
                    else:  # a stream that begins may have missed something; behind one that is silent no worker may run
                        due = frame.position is not None or time.monotonic() - looked_at >= self.look_every_seconds
                    if due:
                        looked_at = time.monotonic()
                        if found := await patiently(lambda: self.look(server, client)):
                            return found
        raise AssertionError("events end never")


class CompletionTrigger(LakeTrigger):
    """Fires when a partition is complete.

    Args:
        dataset: For example ``sales.orders``.
        partition: Its label, for example ``2026-01-31``.
        min_revision: 1 for any completion, 2 for a restatement, and so on.
        cordillera_conn_id: The connection.
        look_every_seconds: How often to look, at least, when no event comes.
    """

    topic = "partition.completed"

    def __init__(
        self,
        dataset: str,
        partition: str,
        min_revision: int = 1,
        cordillera_conn_id: str = "cordillera_default",
        look_every_seconds: float = 60.0,
    ) -> None:
        super().__init__()
        self.dataset, self.partition, self.min_revision = dataset, partition, min_revision
        self.cordillera_conn_id, self.look_every_seconds = cordillera_conn_id, look_every_seconds
        self.within = dataset

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what to make it again from, in another process."""
        names = ("dataset", "partition", "min_revision", "cordillera_conn_id", "look_every_seconds")
        return "cordillera_airflow.triggers.CompletionTrigger", {name: getattr(self, name) for name in names}

    def concerns(self, payload: dict[str, Any]) -> bool:
        """Tell whether it is about the partition."""
        return bool(payload["partition"] == self.partition)

    async def look(self, server: Server, client: httpx.AsyncClient) -> dict[str, Any] | None:
        """Return the partition's completion, once it has the revision."""
        with server.explained():
            found = server.checked(await client.get(completion_path(self.dataset, self.partition)))
        return found if found is not None and found["revision"] >= self.min_revision else None


class RunTrigger(LakeTrigger):
    """Fires when a run of a job has ended, well or not.

    Args:
        run_id: The run.
        cordillera_conn_id: The connection.
        look_every_seconds: How often to look, at least, when no event comes.
    """

    topic, within = "run.finished", ""

    def __init__(
        self, run_id: str, cordillera_conn_id: str = "cordillera_default", look_every_seconds: float = 60.0
    ) -> None:
        super().__init__()
        self.run_id, self.cordillera_conn_id, self.look_every_seconds = run_id, cordillera_conn_id, look_every_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what to make it again from, in another process."""
        names = ("run_id", "cordillera_conn_id", "look_every_seconds")
        return "cordillera_airflow.triggers.RunTrigger", {name: getattr(self, name) for name in names}

    def concerns(self, payload: dict[str, Any]) -> bool:
        """Tell whether it is about the run."""
        return bool(payload["run_id"] == self.run_id)

    async def look(self, server: Server, client: httpx.AsyncClient) -> dict[str, Any] | None:
        """Return the run, once it has ended."""
        with server.explained():
            found: dict[str, Any] = server.checked(await client.get(path("runs", self.run_id)))
        return found if found["state"] in RUN_HAS_ENDED else None
