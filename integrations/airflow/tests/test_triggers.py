"""What waits in the triggerer: it misses nothing, whoever is restarted, and says what went wrong."""

from __future__ import annotations

import asyncio
import json
import pkgutil
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger
from cordillera_airflow.triggers import CompletionTrigger, RunTrigger
from cordillera_airflow.watcher import CompletionEventTrigger
from lake_server import PATIENCE_SECONDS, LakeServer, eventually

DAY = "2026-01-31"


def again(trigger: BaseTrigger) -> Any:
    """Return a trigger as another triggerer makes it from the database."""
    name, arguments = trigger.serialize()
    return pkgutil.resolve_name(name)(**json.loads(json.dumps(arguments)))


@asynccontextmanager
async def waiting(trigger: BaseTrigger, lake: LakeServer) -> AsyncIterator[asyncio.Task[dict[str, Any]]]:
    """Run a trigger for the length of the block, which begins when it follows the lake."""
    before = lake.open_streams()
    task = asyncio.create_task(_first(trigger))
    await asyncio.to_thread(eventually, lambda: lake.open_streams() > before or task.done())
    yield task
    task.cancel()


async def _first(trigger: BaseTrigger) -> dict[str, Any]:
    events = trigger.run()
    async with asyncio.timeout(PATIENCE_SECONDS):
        event = await anext(events)
    payload: dict[str, Any] = event.payload
    return payload


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@pytest.mark.parametrize(
    "trigger",
    [
        CompletionTrigger("sales.orders", DAY, 2, "lake", 5.0),
        RunTrigger("0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3", "lake", 5.0),
        CompletionEventTrigger("sales.orders", "orders", "lake", 7),
    ],
)
def test_a_trigger_is_the_same_in_another_process(trigger: BaseTrigger) -> None:
    other = again(trigger)
    assert other.serialize() == trigger.serialize()
    assert "lake" in str(other.serialize())


def test_it_fires_when_the_partition_is_complete_and_for_no_other(lake: LakeServer, orders: str) -> None:
    async def test() -> None:
        async with waiting(CompletionTrigger(orders, DAY), lake) as task:
            await asyncio.to_thread(lake.complete, orders, "2026-01-30", "2026-02-01")
            assert not task.done()
            await asyncio.to_thread(lake.complete, orders, DAY)
            assert (await task)["found"]["partition"] == DAY

    run(test())


def test_nothing_is_missed_while_the_triggerer_is_restarted(lake: LakeServer, orders: str) -> None:
    async def test() -> None:
        trigger = CompletionTrigger(orders, DAY)
        async with waiting(trigger, lake):
            pass
        await asyncio.to_thread(lake.complete, orders, DAY)
        assert (await _first(again(trigger)))["found"]["partition"] == DAY

    run(test())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_missed_while_the_server_is_restarted(lake: LakeServer, orders: str, how: signal.Signals) -> None:
    async def test() -> None:
        async with waiting(CompletionTrigger(orders, DAY), lake) as task:
            await asyncio.to_thread(lake.stop, how)
            await asyncio.to_thread(lake.complete_without_server, orders, DAY)
            await asyncio.to_thread(lake.start)
            assert (await task)["found"]["partition"] == DAY

    run(test())


def test_a_server_that_comes_late_is_waited_for(lake: LakeServer, orders: str) -> None:
    async def test() -> None:
        lake.complete(orders, DAY)
        lake.stop()
        task = asyncio.create_task(_first(CompletionTrigger(orders, DAY)))
        await asyncio.to_thread(lake.start)
        assert (await task)["found"]["partition"] == DAY

    run(test())


def test_a_token_that_is_revoked_ends_the_wait_with_the_reason(
    lake: LakeServer, orders: str, connection: Callable[..., None]
) -> None:
    token_id, secret = lake.create_token("service:airflow")
    lake.ask("POST", "/access/grants", {"principal": "service:airflow", "privilege": "discover", "on": orders})
    connection(token=secret)

    async def test() -> None:
        async with waiting(CompletionTrigger(orders, DAY), lake) as task:
            await asyncio.to_thread(lake.ask, "DELETE", f"/tokens/{token_id}")
            told = await task
        assert told["refused"]
        assert "'cordillera_default'" in told["error"]
        assert secret not in str(told)

    run(test())


def test_a_dataset_that_may_not_be_discovered_is_told_as_one_that_is_not_there(
    lake: LakeServer, orders: str, connection: Callable[..., None]
) -> None:
    connection(token=lake.create_token("service:stranger")[1])
    told = asyncio.run(_first(CompletionTrigger(orders, DAY)))
    missing = asyncio.run(_first(CompletionTrigger("sales.missing", DAY)))
    assert told["refused"]
    assert told["error"].replace(orders, "sales.missing") == missing["error"]


def test_no_partition_is_told_at_once(orders: str) -> None:
    told = asyncio.run(_first(CompletionTrigger(orders, "yesterday")))
    assert told["refused"]
    assert "yesterday" in told["error"]


def test_where_the_lake_keeps_no_stream_more_it_is_asked_now_and_then(
    tmp_path: Path, connection: Callable[..., None]
) -> None:
    lake = LakeServer(tmp_path / "full", CORDILLERA_EVENT_STREAMS="0")
    connection(url=lake.url, token=lake.token)
    orders = lake.create_dataset("sales.orders")
    publisher = threading.Timer(1.0, lake.complete, (orders, DAY))
    publisher.start()
    try:
        told = asyncio.run(_first(CompletionTrigger(orders, DAY, look_every_seconds=0.1)))
    finally:
        publisher.join()
        lake.stop()
    assert told["found"]["partition"] == DAY
