"""A stream of events whose connection is lost goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import orjson

from cordillera.client.connection import Connection
from cordillera.client.event_streams import RemoteEventStreams
from cordillera.codec import to_plain
from cordillera.spec.event import Event, Topic
from cordillera.testing.metadata_samples import NOW


def frame(position: int) -> bytes:
    event = Event(position, Topic.RUN_FINISHED, NOW, "user:a", "", "a.b", None, {}, NOW, position)
    return f"event: run.finished\nid: {position}\ndata: {orjson.dumps(to_plain(event)).decode()}\n\n".encode()


def test_what_is_lost_with_a_connection_is_asked_for_again() -> None:
    asked: list[str | None] = []

    def broken(*frames: bytes) -> Iterator[bytes]:
        yield from frames
        raise httpx2.ReadError("reset")

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.params.get("after"))
        if len(asked) == 1:
            return httpx2.Response(
                200, content=broken(b"retry: 1\nid: 6\n\n", frame(7), b": nothing\n\n", b"id: 8\nda")
            )
        if len(asked) == 2:
            raise httpx2.ConnectError("restarting")
        return httpx2.Response(200, content=iter([b"retry: 1\nid: 7\n\n", frame(8), frame(9)]))

    streams = RemoteEventStreams()
    streams._server = Connection("http://localhost", "", httpx2.MockTransport(answer))
    assert [event.position for event in streams.follow_events(timeout=0)] == [7, 8, 9]
    assert asked == [None, "7", "7"]
