"""Following events: in this process, and over the HTTP API."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from cordillera.app import Application
from cordillera.client.connection import Connection, ServerSentEvent
from cordillera.codec import decode
from cordillera.errors import ServerUnreachableError
from cordillera.spec.event import Event
from cordillera.spec.event_filter import event_filter

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 0.5
_MOST_LOSSES = 10


class LocalEventStreams:
    """The part of ``LakeBackend`` by which events are followed, on the services of an application."""

    app: Application

    def follow_events(
        self,
        *,
        topics: Sequence[str] = (),
        within: Sequence[str] = (),
        after: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[Event]:
        """Yield events as they are handled."""
        wanted, operations = event_filter(topics, within), self.app.operations
        position = operations.check_position(after)

        def follow() -> Iterator[Event]:
            place, pause, quiet_since = position, _FIRST_PAUSE_SECONDS, time.monotonic()
            while True:
                found = operations.follow_events(wanted, place)
                yield from found.events
                place, now = found.position, time.monotonic()
                if found.events:
                    pause, quiet_since = _FIRST_PAUSE_SECONDS, now
                elif found.caught_up:
                    if timeout is not None and now - quiet_since >= timeout:
                        return
                    time.sleep(pause if timeout is None else min(pause, max(timeout - (now - quiet_since), 0.0)))
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

        return follow()


class RemoteEventStreams:
    """The part of ``LakeBackend`` by which events are followed, over the HTTP API."""

    _server: Connection

    def follow_events(
        self,
        *,
        topics: Sequence[str] = (),
        within: Sequence[str] = (),
        after: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[Event]:
        """Yield events as they are handled; where the connection is lost, from where it was."""
        parameters = {"topic": list(topics), "within": list(within), "idle_seconds": timeout}
        first = self._server.read_events("/events/stream", {**parameters, "after": after})

        def follow() -> Iterator[Event]:
            frames, position, losses = first, after, 0
            while True:
                try:
                    for frame in frames:
                        position, losses = int(frame.id), 0
                        if frame.data:
                            yield decode(Event, frame.data)
                    if timeout is not None:
                        return
                except ServerUnreachableError:
                    losses += 1
                    if losses > _MOST_LOSSES:
                        raise
                time.sleep(min(2.0**losses * _FIRST_PAUSE_SECONDS, 5.0))
                frames = self._resumed(parameters, position)

        return follow()

    def _resumed(self, parameters: Mapping[str, object], position: int | None) -> Iterator[ServerSentEvent]:
        """Yield the frames of a stream behind a position; that the server cannot be reached is raised from here."""
        yield from self._server.read_events("/events/stream", {**parameters, "after": position})
