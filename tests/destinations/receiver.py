"""A real receiver of destinations on this machine: checks every signature as a receiver would, and answers as told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """A request that came."""

    id: str
    timestamp: int
    signatures: tuple[str, ...]
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def payload(self) -> dict[str, Any]:
        found: dict[str, Any] = self.event["data"]["payload"]
        return found

    def signed_by(self, secret: str) -> bool:
        """Tell whether a secret has signed it, as the specification says, and not as the lake computes it."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{self.id}.{self.timestamp}.".encode() + self.body
        expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        return any(hmac.compare_digest(f"v1,{expected}", one) for one in self.signatures)


@dataclass
class Receiver:
    """What came, and what is answered: a status, or what a function says of a request."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answer: Callable[[Received], int] = lambda _: 204
    headers: dict[str, str] = field(default_factory=dict)
    drip: bool = False
    """Whether an answer comes byte by byte, and never to its end."""

    def of(self, topic: str) -> list[Received]:
        return [one for one in self.received if one.event["type"] == f"cordillera.{topic}"]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            one = Received(
                self.headers["webhook-id"],
                int(self.headers["webhook-timestamp"]),
                tuple(self.headers["webhook-signature"].split(" ")),
                {name.lower(): value for name, value in self.headers.items()},
                body,
            )
            receiver.received.append(one)
            status = receiver.answer(one)
            if receiver.drip:
                self._drip()
                return
            self.send_response(status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def _drip(self) -> None:
            try:
                for byte in b"HTTP/1.1 200 OK\r\nx: " + b"y" * 10_000:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.02)
            except OSError:
                return

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
