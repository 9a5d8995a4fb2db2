"""Destinations over HTTP: to addresses that were checked, within a limited time, without following anything further.

The host is looked up once, what was found is checked, and the connection goes to just that: a name that leads elsewhere
a moment later (DNS rebinding) leads nowhere. Proxies of the environment are not used, since they would look names up
themselves.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from ipaddress import ip_address
from urllib.parse import SplitResult

from cordillera.adapters.destinations.addresses import Resolver, look_up, look_up_within
from cordillera.errors import InvalidInputError
from cordillera.spec.destination import Attempt, Failure, Message, signed_headers
from cordillera.spec.endpoint import EndpointRules

_SECONDS, _CONNECT_SECONDS = 15.0, 5.0
_SECONDS_TEXT = re.compile(r"\d{1,9}")
_PORTS = {"https": 443, "http": 80}
_CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
_GONE = 410


class WebhookSender:
    """Sends signed CloudEvents to URLs.

    Args:
        rules: What addresses may be sent to.
        resolver: Looks hosts up.
        seconds: How long one attempt may take, from looking the host up to the head of the answer.
    """

    at_once = 1

    def __init__(self, rules: EndpointRules, resolver: Resolver = look_up, seconds: float = _SECONDS) -> None:
        self._rules, self._resolver, self._seconds = rules, resolver, seconds

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()  # reads every certificate that the system trusts

    def check(self, config: Mapping[str, str]) -> None:
        """Make sure that the URL is one to send to."""
        self._rules.check_url(config["url"])

    def send(self, config: Mapping[str, str], messages: Sequence[Message]) -> list[Attempt]:
        """Send the first message once, with the headers that say who sends it."""
        message = messages[0]
        body = message.body
        signed = signed_headers(str(message.id), message.at, body, message.secrets)
        return [self.post(config["url"], {"content-type": _CONTENT_TYPE, **signed}, body)]

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Send a body once. An answer with a status from 200 to 299 is a success; nothing of its body is read."""
        began = time.monotonic()
        status, retry_after = None, None
        try:
            parts = self._rules.check_url(url)
            status, asked = self._answer(parts, headers, body, began + self._seconds)
            error = "" if 200 <= status < 300 else _refused(status)
            retry_after = timedelta(seconds=int(asked)) if _SECONDS_TEXT.fullmatch(asked) else None
        except InvalidInputError as refused:
            error = refused.message
        except (OSError, http.client.HTTPException, UnicodeError) as failure:
            late = time.monotonic() - began >= self._seconds
            error = f"There was no answer within {self._seconds:g} s." if late else _described(failure)
        lasting = Failure.DESTINATION if status == _GONE else Failure.PASSING
        return Attempt(status, error, time.monotonic() - began, retry_after, lasting)

    def _answer(self, parts: SplitResult, headers: Mapping[str, str], body: bytes, deadline: float) -> tuple[int, str]:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or _PORTS[parts.scheme])
        try:
            with self._connected(parts, connection.port, deadline) as connection.sock:
                target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
                host = {"host": parts.netloc, "user-agent": "cordillera", "connection": "close"}
                connection.request("POST", target, body, {**headers, **host})
                answer = connection.getresponse()
                if time.monotonic() >= deadline:  # what was cut off can look like an answer
                    raise TimeoutError
                return answer.status, answer.headers.get("retry-after", "")
        finally:
            connection.close()

    @contextmanager
    def _connected(self, parts: SplitResult, port: int, deadline: float) -> Iterator[socket.socket]:
        """Return a connection that ends at the deadline, whatever goes on in it then."""
        connected = self._connect(parts, port, deadline)
        secured: socket.socket = connected
        if parts.scheme == "https":
            secured = self._tls.wrap_socket(connected, server_hostname=parts.hostname, do_handshake_on_connect=False)
        timer = threading.Timer(max(deadline - time.monotonic(), 0.0), _break_off, [secured])
        timer.daemon = True
        timer.start()
        try:
            if isinstance(secured, ssl.SSLSocket):
                secured.do_handshake()
            yield secured
        finally:
            timer.cancel()
            secured.close()

    def _connect(self, parts: SplitResult, port: int, deadline: float) -> socket.socket:
        """Return a connection to the first of a host's addresses that takes one; all have to be allowed."""
        host = parts.hostname or ""
        addresses = look_up_within(deadline - time.monotonic(), self._resolver, host, port)
        for address in addresses:
            self._rules.check_address(parts, ip_address(address))
        failure = OSError(f"The host {host} has no address.")
        for address in addresses:
            seconds = min(_CONNECT_SECONDS, deadline - time.monotonic())
            if seconds <= 0:
                break
            try:
                connected = socket.create_connection((address, port), timeout=seconds)
            except OSError as error:
                failure = error
                continue
            connected.settimeout(self._seconds)
            return connected
        raise failure


def _break_off(connected: socket.socket) -> None:
    """Wake whoever waits for a connection. TLS's own way to shut down would change its state under his hands."""
    with suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _refused(status: int) -> str:
    if 300 <= status < 400:
        return f"The answer was {status}: it leads elsewhere, and the lake does not follow. Correct the URL."
    if status == _GONE:
        return "The answer was 410: nobody takes events there any more, so nothing is sent until a test is taken."
    return f"The answer was {status}."


def _described(failure: Exception) -> str:
    if isinstance(failure, ssl.SSLCertVerificationError):
        return f"The certificate is not valid: {failure.verify_message}."
    if isinstance(failure, socket.gaierror):
        return f"The host cannot be found: {failure.strerror}."
    if isinstance(failure, (http.client.HTTPException, UnicodeError)):
        return f"What came was no HTTP answer ({type(failure).__name__})."
    return f"The connection failed: {getattr(failure, 'strerror', None) or failure or type(failure).__name__}."
