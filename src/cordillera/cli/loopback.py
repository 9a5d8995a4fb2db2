"""Where a browser on this machine brings a code to: an address on loopback that is there for one answer."""

from __future__ import annotations

import hmac
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cordillera.errors import WaitTimeoutError

_PAGE = b"<!doctype html><meta charset=utf-8><title>Logged in</title><p>That is all here. Go back to the terminal."
_REQUEST_SECONDS = 5.0


class Loopback(HTTPServer):
    """Waits for a browser that brings the state it was sent away with, and a code.

    Args:
        state: What it was sent away with; whatever does not bring that is not answered.
    """

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._state, self._code = state, ""

    @property
    def port(self) -> int:
        """Where it waits."""
        return int(self.server_address[1])

    def wait(self, seconds: float) -> str:
        """Return the code.

        Raises:
            WaitTimeoutError: If nobody has brought it in time.
        """
        until = time.monotonic() + seconds
        while not self._code:
            self.timeout = until - time.monotonic()
            if self.timeout <= 0:
                raise WaitTimeoutError(
                    f"Nobody has let this terminal in within {seconds:.0f} s.",
                    hint="Begin again; with --no-browser you can log in on another machine.",
                )
            self.handle_request()
        return self._code

    def takes(self, address: str) -> bool:
        """Take the code out of an address, if it is the one that was waited for."""
        parts = urlsplit(address)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        known = hmac.compare_digest(given.get("state", "").encode(), self._state.encode())
        if parts.path != "/" or not known or not given.get("code"):
            return False
        self._code = given["code"]
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave out what became of a connection that broke off."""


class _Handler(BaseHTTPRequestHandler):
    server: Loopback
    timeout = _REQUEST_SECONDS

    def do_GET(self) -> None:
        taken = self.server.takes(self.path)
        self.send_response(200 if taken else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(_PAGE) if taken else 0))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if taken:
            self.wfile.write(_PAGE)

    def log_message(self, *_: Any) -> None:
        """Write no line: it would hold the code."""
