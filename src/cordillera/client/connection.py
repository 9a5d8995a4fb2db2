"""The connection to a lake's server: requests, retries, errors, and rows as streams."""

from __future__ import annotations

import os
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import IO, Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx2
import pyarrow as pa
import stamina

from cordillera import __version__
from cordillera.arrow_stream import ARROW_STREAM, decoded, encoded
from cordillera.client.saved_logins import SavedLogin, saved_login
from cordillera.codec import API_PREFIX, decode, error_from_plain
from cordillera.context import current, new_trace_id
from cordillera.errors import (
    AuthenticationError,
    InvalidConfigurationError,
    InvalidInputError,
    InvalidNameError,
    RateLimitedError,
    RequestTooLargeError,
    ServerUnreachableError,
)

TOKEN_VARIABLE = "CORDILLERA_TOKEN"  # noqa: S105 - the name of the variable

_T = TypeVar("_T")
_ATTEMPTS = 4
_LONGEST_WAIT_SECONDS = 15
_TIMEOUT = httpx2.Timeout(connect=10.0, read=600.0, write=120.0, pool=None)
_STREAM_TIMEOUT = httpx2.Timeout(connect=10.0, read=45.0, write=120.0, pool=None)
_SAFE_METHODS = ("GET", "HEAD")
_HEADER_SAFE = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"
_LOST = (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ConnectTimeout)
"""A connection that was not made, or broke off: what became of the request is not known."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """A frame of a stream: where the stream stands behind it, and what has come; nothing if it only says where."""

    id: str
    data: bytes


class Connection:
    """Speaks the HTTP API.

    Requests that only read are repeated when the connection is lost; others only under an idempotency key, because
    what was lost may be the answer alone.

    Args:
        url: Where the server is, for example ``http://127.0.0.1:8470``.
        token: An API token; by default that of ``CORDILLERA_TOKEN``, or what ``cordillera login`` keeps.
        transport: Carries the requests; for tests.

    Raises:
        InvalidConfigurationError: If the URL is none.
    """

    def __init__(self, url: str, token: str | None = None, transport: httpx2.BaseTransport | None = None) -> None:
        self.url = checked_url(url)
        self._login: SavedLogin | None = None
        if token is None and not (token := os.environ.get(TOKEN_VARIABLE, "")):
            self._login = saved_login(self.url)
            token = self._login.secret if self._login is not None else ""
        headers = {"User-Agent": f"cordillera/{__version__}"}
        if token:
            headers["Authorization"] = f"Bearer {_checked_token(token)}"
        self._client = httpx2.Client(
            base_url=self.url + API_PREFIX,
            headers=headers,
            timeout=_TIMEOUT,
            transport=transport,
            trust_env=not is_this_machine(self.url),  # no proxy leads back to this machine
        )

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"

    def close(self) -> None:
        """Close what is open."""
        self._client.close()

    # --- requests ------------------------------------------------------------------------------------------------

    def get(self, kind: type[_T], address: str, /, **parameters: object) -> _T:
        """Return what is at an address."""
        return decode(kind, self.request("GET", address, parameters=parameters))

    def post(
        self, kind: type[_T], address: str, body: object = None, *, method: str = "POST", key: str | None = None,
        **parameters: object,
    ) -> _T:  # fmt: skip
        """Send a JSON body and return the answer.

        Args:
            kind: The answer's type.
            address: Where to send it.
            body: What to send, as dicts and lists; None for nothing.
            method: Another method than POST.
            key: An idempotency key.
            parameters: Parameters of the query string.
        """
        return decode(kind, self.request(method, address, parameters=parameters, json=body, key=key))

    def request(
        self,
        method: str,
        address: str,
        *,
        parameters: Mapping[str, object] | None = None,
        json: object = None,
        content: bytes | None = None,
        key: str | None = None,
        media_type: str | None = None,
    ) -> bytes:
        """Make a request and return the answer's body."""
        headers = _headers(key, media_type)
        with self._explained(address):
            for attempt in self._attempts(method in _SAFE_METHODS or key is not None):
                with attempt:
                    request = self._built(method, address, parameters, headers, json=json, content=content)
                    response = _patiently(lambda: self._client.send(request))  # noqa: B023 - at once
        self._raise_for_error(response)
        return response.content

    def _built(
        self,
        method: str,
        address: str,
        parameters: Mapping[str, object] | None,
        headers: Mapping[str, str],
        **body: Any,
    ) -> httpx2.Request:
        try:
            return self._client.build_request(method, address, params=_query(parameters), headers=headers, **body)
        except ValueError as error:  # halves of characters, or NaN in JSON
            raise InvalidInputError(
                f"What {address} is to be asked cannot be written: {error}.", hint="Correct the text or number."
            ) from error

    def _attempts(self, repeatable: bool) -> Iterable[stamina.Attempt]:
        attempts = _ATTEMPTS if repeatable else 1
        return stamina.retry_context(on=_LOST, attempts=attempts, timeout=None, wait_initial=0.1, wait_max=2.0)

    # --- rows ----------------------------------------------------------------------------------------------------

    def read_rows(
        self, method: str, address: str, *, parameters: Mapping[str, object] | None = None, json: object = None
    ) -> pa.RecordBatchReader:
        """Return a stream of rows; whatever makes it end early is raised by the reader."""
        headers = {**_headers(), "Accept": ARROW_STREAM}
        with self._explained(address):
            for attempt in self._attempts(repeatable=True):
                with attempt:
                    request = self._built(method, address, parameters, headers, json=json)
                    response = _patiently(lambda: self._client.send(request, stream=True))  # noqa: B023 - at once
                    if not response.is_success:
                        response.read()
        self._raise_for_error(response)
        batches = _Batches(self, response, address)
        return pa.RecordBatchReader.from_batches(batches.schema, batches)

    def write_rows(
        self, kind: type[_T], address: str, *rows: pa.RecordBatchReader, key: str | None, **parameters: object
    ) -> _T:
        """Send rows, one stream of them behind the other, in bounded memory, and return the answer.

        Without an idempotency key they are sent as they come. With one they are put into a temporary file first, to
        be sent again if the connection is lost.
        """
        if key is None:
            return decode(kind, self._send_rows(address, lambda: _encoded_all(rows), None, parameters))
        with tempfile.TemporaryFile(prefix="cordillera-rows-") as file:
            for chunk in _encoded_all(rows):
                file.write(chunk)

            def rewound() -> IO[bytes]:
                file.seek(0)
                return file

            return decode(kind, self._send_rows(address, rewound, key, parameters))

    def _send_rows(
        self,
        address: str,
        content: Callable[[], Iterable[bytes]],
        key: str | None,
        parameters: Mapping[str, object],
    ) -> bytes:
        headers = _headers(key, ARROW_STREAM)
        with self._explained(address):
            for attempt in self._attempts(key is not None):
                with attempt:
                    request = self._built("POST", address, parameters, headers, content=content())
                    response = self._client.send(request)
        self._raise_for_error(response)
        return response.content

    def read_events(self, address: str, parameters: Mapping[str, object]) -> Iterator[ServerSentEvent]:
        """Return what a stream of server-sent events holds: events, and frames that say where it stands alone.

        Raises:
            ServerUnreachableError: From the iterator, when the connection is lost; a stream is silent for 15 seconds
                at most.
        """
        headers = {**_headers(), "Accept": "text/event-stream"}
        with self._explained(address):
            request = self._built("GET", address, parameters, headers, timeout=_STREAM_TIMEOUT)
            response = _patiently(lambda: self._client.send(request, stream=True))
            if not response.is_success:
                response.read()
        self._raise_for_error(response)
        return self._frames(response, address)

    def _frames(self, response: httpx2.Response, address: str) -> Iterator[ServerSentEvent]:
        fields: dict[str, str] = {}
        with self._explained(address), closing(response):
            for line in response.iter_lines():
                name, _, value = line.partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                elif fields and not line:
                    if "id" in fields:
                        yield ServerSentEvent(fields["id"], fields.get("data", "").encode())
                    fields = {}

    # --- failures ------------------------------------------------------------------------------------------------

    def _raise_for_error(self, response: httpx2.Response) -> None:
        if response.is_success:
            return
        try:
            answer = response.json()
        except ValueError:
            answer = None
        error = error_from_plain(response.status_code, answer)
        if isinstance(error, AuthenticationError) and self._login is not None:
            error.message = f"Your login at {self.url} as {self._login.principal} has ended."
            error.hint = f"Log in again: cordillera login --url {self.url}."
        raise error

    @contextmanager
    def _explained(self, address: str) -> Iterator[None]:
        """Turn failures of the connection into this package's errors."""
        try:
            yield
        except httpx2.ConnectError as error:
            raise ServerUnreachableError(
                f"No server answers at {self.url}: {error}.", hint="Start it with: cordillera serve."
            ) from error
        except httpx2.TimeoutException as error:
            raise ServerUnreachableError(
                f"The server at {self.url} did not answer {address} in time.", hint=_MAYBE_DONE
            ) from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise ServerUnreachableError(
                f"The connection to {self.url} was lost: {error}.", hint=_MAYBE_DONE
            ) from error
        except httpx2.InvalidURL as error:
            raise RequestTooLargeError(
                f"The request cannot be put into a URL: {error}.", hint="Use a shorter condition."
            ) from error


class _Batches:
    """Record batches out of an answer that is still arriving; the answer is closed behind the last one, or with it."""

    def __init__(self, connection: Connection, response: httpx2.Response, address: str) -> None:
        self._connection, self._response, self._address = connection, response, address
        self._closed = weakref.finalize(self, response.close)
        truncated = ServerUnreachableError(
            f"The rows of {address} broke off before their end.", hint="Read them again; the server's log tells why."
        )
        with self._closing_on_error():
            self._reader = decoded(self._chunks(), truncated)

    @property
    def schema(self) -> pa.Schema:
        return self._reader.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        with self._closing_on_error():
            batch = next(self._reader, None)
        if batch is None:
            self._closed()
            raise StopIteration
        return batch

    def _chunks(self) -> Iterator[bytes]:
        with self._connection._explained(self._address):
            yield from self._response.iter_bytes()

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._closed()
            raise


def _encoded_all(streams: Sequence[pa.RecordBatchReader]) -> Iterator[bytes]:
    for rows in streams:
        yield from encoded(rows.schema, rows)


_MAYBE_DONE = "What was asked may have been done; look before you repeat it, or write under an idempotency key."


def path(*segments: str) -> str:
    """Return the address that leads through these names, whatever characters they have.

    Raises:
        InvalidNameError: If one is empty or has a slash, so that it would lead somewhere else.
        InvalidInputError: If one is no text.
    """
    for segment in segments:
        if not segment or "/" in segment:
            raise InvalidNameError(f"{segment[:60]!r} is not a legal name.", hint="Names have no slash.")
    return "/" + "/".join(map(segment_text, segments))


def segment_text(segment: str) -> str:
    """Return one part of an address. A slash in it stays a part of the name; so do dots, which mean nothing then."""
    text = _encoded(segment)
    return text.replace(".", "%2E") if set(segment) == {"."} else text


def _encoded(text: str, safe: str = "") -> str:
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{text[:60]!r} has halves of characters.", hint="Write whole ones.") from error


def _patiently(send: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Send a request; as long as the server says that it takes it only later, wait and send it again, a few times."""
    response = send()
    for _ in range(_ATTEMPTS - 1):
        wait = response.headers.get("retry-after", "")
        if response.status_code != RateLimitedError.status or not wait.isdecimal() or int(wait) > _LONGEST_WAIT_SECONDS:
            break
        response.close()
        time.sleep(int(wait))
        response = send()
    return response


def _query(parameters: Mapping[str, object] | None) -> httpx2.QueryParams:
    """Return the parameters that are set; a sequence becomes a repeated parameter."""
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in (parameters or {}).items():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        pairs += [(name, _text(one)) for one in values if one is not None]
    return httpx2.QueryParams(pairs)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _headers(key: str | None = None, media_type: str | None = None) -> dict[str, str]:
    trace_id = current().trace_id
    headers = {"traceparent": f"00-{trace_id}-{new_trace_id()[:16]}-01"}
    if key is not None:
        headers["Idempotency-Key"] = _encoded(key, safe=_HEADER_SAFE)
    if media_type is not None:
        headers["Content-Type"] = media_type
    return headers


def checked_url(url: str) -> str:
    """Return the URL of a server without a slash at its end.

    Raises:
        InvalidConfigurationError: If it is none, or holds a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise InvalidConfigurationError(
            "The server's URL cannot be used.", hint="Write it like http://127.0.0.1:8470, without a user or password."
        )
    return url.rstrip("/")


def _checked_token(token: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidConfigurationError("The token has characters that no token has.", hint="Copy it again, whole.")
    return token


def is_this_machine(url: str) -> bool:
    """Tell whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
