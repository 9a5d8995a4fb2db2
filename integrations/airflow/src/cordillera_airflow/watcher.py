"""Asset events: what becomes complete in a lake is an event of an asset, and starts the DAGs scheduled by it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from contextlib import aclosing
from typing import Any

import httpx
from airflow.sdk import Asset, AssetWatcher
from airflow.sdk.execution_time.context import AssetStateStoreAccessors
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from cordillera_airflow.errors import LakeError
from cordillera_airflow.events import Follower, Frame, patiently, server_of
from cordillera_airflow.server import Server, path

_log = logging.getLogger(__name__)
_REFUSED_PAUSE_SECONDS = 60.0


def completion_asset(
    dataset: str, *, name: str = "", cordillera_conn_id: str = "cordillera_default", after: int | None = None
) -> Asset:
    """Return an asset that has an event whenever a partition of a dataset is declared complete, or restated.

    Args:
        dataset: For example ``sales.orders``.
        name: The asset's name in Airflow; by default the dataset's.
        cordillera_conn_id: The connection.
        after: The position of an event of the lake behind which to begin the first time; 0 for all there ever was. By
            default what happens from then on.
    """
    asset = name or dataset
    trigger = CompletionEventTrigger(dataset, asset, cordillera_conn_id, after)
    return Asset(name=asset, watchers=[AssetWatcher(name=f"completions of {dataset}", trigger=trigger)])


class CompletionEventTrigger(BaseEventTrigger):
    """Fires for every completion of a dataset, in order, each at least once; see ``completion_asset``.

    Args:
        dataset: For example ``sales.orders``.
        asset: The name of the asset that it is watched for, whose state store keeps the position.
        cordillera_conn_id: The connection.
        after: The position behind which to begin the first time; None for now.
    """

    def __init__(
        self, dataset: str, asset: str, cordillera_conn_id: str = "cordillera_default", after: int | None = None
    ) -> None:
        super().__init__()
        self.dataset, self.asset, self.cordillera_conn_id, self.after = dataset, asset, cordillera_conn_id, after

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what to make it again from, in another process."""
        names = ("dataset", "asset", "cordillera_conn_id", "after")
        return "cordillera_airflow.watcher.CompletionEventTrigger", {name: getattr(self, name) for name in names}

    def shared_stream_key(self) -> Hashable:
        """Return what tells its stream from others. It has one to itself, and so is told what Airflow has stored."""
        return (self.dataset, self.asset, self.cordillera_conn_id, self.after)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return what follows the lake."""
        return CompletionProducer(cls(**kwargs))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Yield an event of Airflow's for each of the lake's."""
        async for event in shared_stream:
            yield TriggerEvent(event)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Refuse: it is no trigger of tasks."""
        raise LakeError("CompletionEventTrigger is for AssetWatcher; tasks wait with CompletionSensor.")
        yield  # it has to be a generator


class CompletionProducer(SharedStreamProducer):
    """Follows the completions of a dataset from the position up to which Airflow has stored them.

    Airflow says what it has stored (``advance``); just that position is kept. Whatever dies before is followed again.
    """

    def __init__(self, trigger: CompletionEventTrigger) -> None:
        self._trigger = trigger
        self._state = AssetStateStoreAccessors(inlets=[Asset(name=trigger.asset)])
        self._key = f"cordillera_position:{trigger.cordillera_conn_id}:{trigger.dataset}"  # an asset may watch several

    async def open_stream(self) -> AsyncIterator[tuple[Any, Any]]:
        """Yield completions with their positions, without end. A refusal may end too, when the token is replaced or
        access granted: it is logged every minute.
        """
        stored = await self._state.aget(self._key)
        position = self._trigger.after if stored is None else int(str(stored))
        while True:
            try:
                async with aclosing(self._frames(position)) as frames:
                    async for frame in frames:
                        if frame.event is not None:
                            yield told(frame.event), frame.position
                        elif position is None and frame.position is not None:
                            await self._keep(frame.position)  # from here on nothing is missed, whatever happens
                        position = position if frame.position is None else frame.position
            except LakeError as error:
                _log.error("The completions of %s cannot be followed. %s", self._trigger.dataset, error)
                await asyncio.sleep(_REFUSED_PAUSE_SECONDS)

    async def _frames(self, position: int | None) -> AsyncGenerator[Frame]:
        server = await server_of(self._trigger.cordillera_conn_id)
        async with server.async_client() as client:
            follower = Follower(server, client, "partition.completed", self._trigger.dataset)
            async with aclosing(follower.frames(position)) as frames:
                async for frame in frames:
                    yield frame
                    if frame.position is not None and frame.event is None:  # streams are silent about what is not there
                        await patiently(lambda: self._check(server, client))

    async def _check(self, server: Server, client: httpx.AsyncClient) -> None:
        """Make sure that there is such a dataset, which may be discovered."""
        with server.explained():
            server.checked(await client.get(path("datasets", self._trigger.dataset)))

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Keep the position of the last event that is stored in Airflow, with all before it."""
        if not all(item.outcome.is_clean for item in batch):
            raise LakeError(f"Completions of {self._trigger.dataset} were not stored; they are followed again.")
        await self._keep(batch[-1].broker_payload)

    async def _keep(self, position: int) -> None:
        await self._state.aset(self._key, position)


def told(event: dict[str, Any]) -> dict[str, Any]:
    """Return what an asset event says of a completion."""
    payload = event["payload"]
    return {
        "dataset": event["dataset"],
        "partition": payload["partition"],
        "revision": payload["revision"],
        "sequence_number": payload["sequence_number"],
        "position": event["position"],
        "at": event["at"],
    }
