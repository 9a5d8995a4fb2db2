"""Connections of clients that are slow, by nature or on purpose: none is held for ever."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cordillera.api.errors import AnswerBrokenOff, BodyRefused, too_large
from cordillera.errors import WaitTimeoutError

_HEADER_SECONDS = 20.0
_BODY_SECONDS, _BODY_BYTES_A_SECOND = 30.0, 1_000
_UNREAD_SECONDS = 600.0
_MOST_HEADER_BYTES = 128 * 1024
"""Longest request line and headers; conditions on rows travel there, and the client sends half of this at most."""


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose clients have limited time and room for a request's line and headers, however they trickle.

    uvicorn itself only ends connections on which nothing arrives after an answer.
    """

    _deadline: asyncio.TimerHandle | None = None
    _unfinished = 0
    """Bytes that have come since the last that meant something: of a head, or between the parts of a body."""

    # uvicorn's class narrows asyncio's parameter to the transports that it is given, and so does this one.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and expect a request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a body have a time of their own, see ``within``."""
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > _MOST_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's line and headers are too long.")
        self._watch()

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._unfinished = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._unfinished = 0
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._expect_nothing()

    def _watch(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering:
            self._expect_nothing()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(_HEADER_SECONDS, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def within(receive: Receive, most_bytes: int) -> Receive:
    """Return ``receive`` for a body that is neither too large, whatever length was announced, nor too slow.

    What is waited for is half a minute and a second for every kilobyte that has come: one byte at a time is not enough.
    """
    received, waited, complete = 0, 0.0, False

    async def receive_within_limits() -> Message:
        nonlocal received, waited, complete
        if complete:
            return await receive()  # until the client goes away
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(_BODY_SECONDS + received / _BODY_BYTES_A_SECOND - waited):
                message = await receive()
        except TimeoutError:
            raise BodyRefused(_too_slow(received)) from None
        waited += loop.time() - began
        if message["type"] == "http.request":
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > most_bytes:
                raise BodyRefused(too_large(most_bytes))
        return message

    return receive_within_limits


async def sent(send: Send, message: Message) -> None:
    """Send a part of an answer on; a client that takes nothing for ten minutes does not get the rest.

    Raises:
        AnswerBrokenOff: If that is so.
    """
    try:
        async with asyncio.timeout(_UNREAD_SECONDS):
            await send(message)
    except TimeoutError:
        raise AnswerBrokenOff from None


def _too_slow(received: int) -> WaitTimeoutError:
    return WaitTimeoutError(
        f"The request's body arrived too slowly: {received:,} bytes in more than {_BODY_SECONDS:g} s.",
        hint="Repeat the request over a faster connection.",
    )
