"""Events as a stream (server-sent events): one look at the database for all streams of a process, no thread for any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from cordillera.api.auth import caller_of
from cordillera.codec import to_plain
from cordillera.errors import AuthenticationError, RateLimitedError, TransientError
from cordillera.metrics import EVENT_STREAMS
from cordillera.operations.service import FollowedEvents, OperationsService
from cordillera.spec.event import Event
from cordillera.spec.event_filter import EventFilter

_LOOK_SECONDS = 0.2
_CHECK_SECONDS = 5.0
"""How long a token that is not valid any more still keeps a stream on which nothing happens."""
_HEARTBEAT_SECONDS = 15.0
_AT_ONCE = 100


class EventStreams:
    """The streams of one process. They share one task that looks how far events have come.

    Args:
        operations: Knows the events.
        most: How many streams there may be at once.
    """

    def __init__(self, operations: OperationsService, most: int) -> None:
        self._operations, self._most, self._open = operations, most, 0
        self._position, self._moved = -1, asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    def check_free(self) -> None:
        """Make sure that there may be one stream more.

        Raises:
            RateLimitedError: If there may not.
        """
        if self._open >= self._most:
            raise RateLimitedError(
                f"This server follows events for {self._most} callers already.",
                hint="Try again later, or raise event_streams.",
                details={"retry_after_seconds": int(_HEARTBEAT_SECONDS)},
            )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.check_free()
        self._open += 1
        EVENT_STREAMS.inc()
        try:
            yield
        finally:
            self._open -= 1
            EVENT_STREAMS.dec()

    async def frames(
        self, request: Request, wanted: EventFilter, start: int, idle_seconds: float | None
    ) -> AsyncIterator[bytes]:
        """Yield what a stream consists of, until the client goes, his token ends, or nothing happens for long enough.

        Args:
            request: Whose stream it is.
            wanted: Which events.
            start: The position behind which it begins.
            idle_seconds: How long nothing has to happen for it to end; None for ever.
        """
        with suppress(RateLimitedError), self._counted():  # others may have begun since it was let in
            async for frame in self._frames(request, wanted, start, idle_seconds):
                yield frame

    async def _frames(
        self, request: Request, wanted: EventFilter, start: int, idle_seconds: float | None
    ) -> AsyncIterator[bytes]:
        position, quiet_since = start, time.monotonic()
        beat_at = quiet_since + _HEARTBEAT_SECONDS
        yield f"retry: 1000\nid: {position}\n\n".encode()
        while not request.app.state.stopping():
            moved = self._watched()
            found = await self._look(request, wanted, position)
            if found is None:
                return
            position, now = found.position, time.monotonic()
            if found.events:
                quiet_since, beat_at = now, now + _HEARTBEAT_SECONDS
                yield b"".join(map(_frame, found.events))
                continue
            if found.caught_up and idle_seconds is not None and now - quiet_since >= idle_seconds:
                return
            if now >= beat_at:
                beat_at = now + _HEARTBEAT_SECONDS
                yield b": nothing has happened\n\n"
            if found.caught_up:
                await self._wait(request, moved, idle_seconds)

    async def _look(self, request: Request, wanted: EventFilter, position: int) -> FollowedEvents | None:
        """Return what has come behind a position for somebody; None if he is nobody any more."""
        try:
            await run_in_threadpool(caller_of, request)
        except AuthenticationError:
            return None
        with suppress(TransientError):
            return await run_in_threadpool(self._operations.follow_events, wanted, position, _AT_ONCE)
        return FollowedEvents([], position)  # the database will answer again

    async def _wait(self, request: Request, moved: asyncio.Event, idle_seconds: float | None) -> None:
        """Wait until events have come, it is time to look at the token again, or the server stops."""
        until = time.monotonic() + min(_CHECK_SECONDS, _CHECK_SECONDS if idle_seconds is None else idle_seconds)
        while not moved.is_set() and time.monotonic() < until and not request.app.state.stopping():
            with suppress(TimeoutError):
                await asyncio.wait_for(moved.wait(), min(1.0, max(until - time.monotonic(), 0.0)))

    def _watched(self) -> asyncio.Event:
        """Return what is set when events have come from now on."""
        if self._watcher is None or self._watcher.done():
            self._moved = asyncio.Event()
            self._watcher = asyncio.get_running_loop().create_task(self._watch())
        return self._moved

    async def _watch(self) -> None:
        while self._open:
            with suppress(TransientError):
                position = await run_in_threadpool(self._operations.last_position)
                if position != self._position:
                    self._position = position
                    self._moved.set()
                    self._moved = asyncio.Event()
            await asyncio.sleep(_LOOK_SECONDS)


def _frame(event: Event) -> bytes:
    """Return an event as the specification of server-sent events writes it; JSON has no line breaks in it."""
    return f"event: {event.topic}\nid: {event.position}\ndata: {orjson.dumps(to_plain(event)).decode()}\n\n".encode()
