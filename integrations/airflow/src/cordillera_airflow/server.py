"""The part of a lake's HTTP API that the provider needs, in blocking requests and in asynchronous ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx

from cordillera_airflow.errors import LakeError, LakeRefusedError, LakeUnreachableError

if TYPE_CHECKING:
    from airflow.sdk import Connection

API_PREFIX = "/api/v1"
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_PASSING = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Server:
    """Where a lake is, and the token by which it knows Airflow.

    Attributes:
        conn_id: The Airflow connection that says so, for messages.
    """

    conn_id: str
    url: str
    token: str = field(repr=False)

    @classmethod
    def of(cls, connection: Connection) -> Server:
        """Return the server that a connection names.

        Raises:
            LakeRefusedError: If it names none, or has no token.
        """
        conn_id, host = str(connection.conn_id), connection.host or ""
        if host and "://" not in host:
            host = f"{connection.schema or 'https'}://{host}"
        parts = urlsplit(host)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise LakeRefusedError(
                f"The connection {conn_id!r} names no lake. Set its host to the server's URL, for example "
                "https://lake.example.com."
            )
        port = f":{connection.port}" if connection.port and parts.port is None else ""
        token = connection.password or ""
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise LakeRefusedError(
                f"The connection {conn_id!r} has no API token as its password, or not a whole one. Make one with: "
                "cordillera token create airflow --principal service:airflow."
            )
        return cls(conn_id, f"{parts.scheme}://{parts.netloc}{port}{parts.path}".rstrip("/"), token)

    def client(self) -> httpx.Client:
        """Return a client for blocking requests."""
        return httpx.Client(**self._options())

    def async_client(self) -> httpx.AsyncClient:
        """Return a client for asynchronous requests."""
        return httpx.AsyncClient(**self._options())

    def _options(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": "airflow-provider-cordillera"}
        return {
            "base_url": self.url + API_PREFIX,
            "headers": headers,
            "timeout": _TIMEOUT,
            "trust_env": not _is_this_machine(self.url),  # no proxy leads back to this machine
        }

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn failures of the connection into this package's errors."""
        try:
            yield
        except httpx.TransportError as error:
            raise LakeUnreachableError(
                f"The lake of the connection {self.conn_id!r} cannot be reached at {self.url}: "
                f"{error or type(error).__name__}."
            ) from error

    def checked(self, response: httpx.Response) -> Any:
        """Return what an answer holds.

        Raises:
            LakeRefusedError: If the lake refused, and will again.
            LakeUnreachableError: If another attempt may succeed.
        """
        if not response.is_success:
            raise self.error_of(response)
        try:
            return response.json()
        except ValueError as error:
            raise LakeRefusedError(
                f"What answers at {self.url} is no lake. Correct the host of the connection {self.conn_id!r}."
            ) from error

    def error_of(self, response: httpx.Response) -> LakeError:
        """Return the error that an answer describes; it has been read, and is of any form: a proxy may have sent it."""
        try:
            found = response.json()["error"]
            message = f"{found['message']} {found['hint']}".strip()
        except (ValueError, KeyError, TypeError):
            message = f"The answer of {self.url} has the status {response.status_code} and no explanation."
        if response.status_code == httpx.codes.UNAUTHORIZED:
            message += f" The token is the password of the connection {self.conn_id!r}."
        if response.status_code not in _PASSING:
            return LakeRefusedError(message)
        wait = response.headers.get("retry-after", "")
        return LakeUnreachableError(message, float(wait) if wait.isdecimal() else None)


def path(*segments: str) -> str:
    """Return the address that leads through these names, whatever characters they have."""
    return "/" + "/".join(map(_segment, segments))


def _segment(name: str) -> str:
    text = quote(name, safe="")
    return text.replace(".", "%2E") if set(name) == {"."} else text


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
