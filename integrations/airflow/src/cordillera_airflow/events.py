"""Following the events of a lake, asynchronously: a stream of server-sent events that goes on where it broke off."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from airflow.sdk import BaseHook

from cordillera_airflow.errors import LakeUnreachableError
from cordillera_airflow.server import Server

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 15.0
_SILENCE = httpx.Timeout(45.0, connect=10.0)
"""A stream says something every 15 seconds; one that says nothing for so long is dead."""

_log = logging.getLogger(__name__)
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Frame:
    """What a stream says.

    Attributes:
        position: Behind which it goes on; None if it does not say, or is not there at the moment.
        event: What has happened; None if nothing has, or it is not known.
    """

    position: int | None = None
    event: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Follower:
    """Follows events of certain topics about a dataset, for as long as it is asked to.

    Attributes:
        server: The lake.
        topic: The topic.
        within: The dataset; empty for all that may be discovered.
    """

    server: Server
    client: httpx.AsyncClient
    topic: str
    within: str

    async def frames(self, after: int | None = None) -> AsyncGenerator[Frame]:
        """Yield frames without end: one without event at least when the stream begins, is lost, begins again, and when
        nothing has happened for 15 seconds.

        Args:
            after: The position behind which to begin; None for now.

        Raises:
            LakeRefusedError: If the lake refuses to tell.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                async with aclosing(self._stream(after)) as stream:
                    async for frame in stream:
                        after = after if frame.position is None else frame.position
                        pause = _FIRST_PAUSE_SECONDS
                        yield frame
                lost = LakeUnreachableError("The stream of events has ended.")
            except LakeUnreachableError as error:
                lost = error
            pause = await _rest(lost, pause)
            yield Frame()

    async def _stream(self, after: int | None) -> AsyncGenerator[Frame]:
        """Yield what one connection brings."""
        wanted = {"topic": self.topic, "within": self.within or None, "after": after}
        parameters = {name: value for name, value in wanted.items() if value is not None}
        address = "/events/stream"
        with self.server.explained():
            async with self.client.stream("GET", address, params=parameters, timeout=_SILENCE) as response:
                if not response.is_success:
                    await response.aread()
                    raise self.server.error_of(response)
                async for frame in _parsed(response.aiter_lines()):
                    yield frame


async def patiently(ask: Callable[[], Awaitable[_Found]]) -> _Found:
    """Ask until the lake answers.

    Raises:
        LakeRefusedError: If it refuses.
    """
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await ask()
        except LakeUnreachableError as error:
            pause = await _rest(error, pause)


async def server_of(conn_id: str) -> Server:
    """Return the server that a connection names, from where the event loop must not be blocked."""
    return Server.of(await BaseHook.aget_connection(conn_id))


async def _rest(error: LakeUnreachableError, pause: float) -> float:
    """Wait before another attempt, and return how long to wait before the next."""
    _log.warning("%s Trying again.", error)
    await asyncio.sleep(pause if error.retry_after is None else min(error.retry_after, _LONGEST_PAUSE_SECONDS))
    return min(2 * pause, _LONGEST_PAUSE_SECONDS)


async def _parsed(lines: AsyncIterator[str]) -> AsyncGenerator[Frame]:
    """Yield the frames that lines of server-sent events are; a comment is one too, which says nothing."""
    fields: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(":")
        if line and not name:
            yield Frame()
        elif line:
            fields[name] = value.removeprefix(" ")
        elif "id" in fields:
            yield Frame(int(fields["id"]), json.loads(fields["data"]) if "data" in fields else None)
            fields = {}
        else:
            fields = {}
