"""A connection to a ClickHouse server by its own client, over HTTP, and what its errors mean to a synchronizer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error
from urllib3.exceptions import HTTPError

from cordillera.adapters.synchronizers.clickhouse_types import EVERY_YEAR, OLDER_YEARS, Years
from cordillera.adapters.synchronizers.iceberg_catalog import is_this_machine
from cordillera.errors import (
    CordilleraError,
    InvalidConfigurationError,
    NotAllowedError,
    StorageFullError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)

CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 3600
"""How long a statement may take without a sign of life; copying a large table takes long."""

_SETTINGS: Mapping[str, Any] = {
    # A statement is over when what it says is done, and what was written can be read.
    "alter_sync": 2,
    "mutations_sync": 2,
    "lightweight_deletes_sync": 2,
    "async_insert": 0,
    "select_sequential_consistency": 1,
    # Deletes ask other tables for keys, which do not change meanwhile.
    "allow_nondeterministic_mutations": 1,
    # Nothing is left out, made up or cut.
    "insert_deduplicate": 0,
    "input_format_null_as_default": 0,
    "input_format_arrow_allow_missing_columns": 0,
    "date_time_overflow_behavior": "throw",
    "enable_time_time64_type": 1,
    "output_format_arrow_string_as_string": 0,
}
_PORTS = {"https": 8443, "http": 8123}
_LOST = (HTTPError, OSError, pa.ArrowInvalid)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is, and as whom it is used.

    Attributes:
        host, port: Of its HTTP interface.
        secure: Whether by TLS, with the server's certificate and name checked.
        user: Who connects.
        database: Where tables are that name none.
    """

    host: str
    port: int
    secure: bool
    user: str
    database: str

    def __str__(self) -> str:
        return f"ClickHouse target {self.host}:{self.port}/{self.database}"


def place_of(url: str, *, user: str, database: str) -> Place:
    """Return the place that a URL names, as ``https://host:8443``.

    Raises:
        InvalidConfigurationError: If it is not the URL of a server, or passwords and rows would travel unencrypted.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    held = [name for name, value in (("a user", parts.username), ("a password", parts.password)) if value]
    if held:
        raise InvalidConfigurationError(
            f"The url of a clickhouse target holds {held[-1]}, which would be stored in clear.",
            hint="Give user, and the name of the environment variable with the password as password_env.",
        )
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidConfigurationError(
            f"{url[:100]!r} is not the URL of a ClickHouse server.", hint="Write it as https://host:8443."
        )
    secure = parts.scheme == "https"
    if not secure and not is_this_machine(parts.hostname):
        raise InvalidConfigurationError(
            f"The url of the clickhouse target {parts.hostname} is not encrypted, and leads to another machine.",
            hint="Use https.",
        )
    return Place(parts.hostname, port or _PORTS[parts.scheme], secure, user, database)


class Session:
    """A client. Its errors are Cordillera's, and carry the first line of what the server said: no statement, no row.

    Args:
        client: A client of ``clickhouse-connect``.
        target: The target, for errors.
    """

    def __init__(self, client: Client, target: str) -> None:
        self._client, self._target = client, target
        (spelled,) = self.rows("SELECT toString(CAST(-719162, 'Date32')) = '0001-01-01'")[0]
        self.years: Years = EVERY_YEAR if spelled else OLDER_YEARS

    def run(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement and wait until it is done."""
        with self._translated():
            self._client.command(statement, parameters=dict(parameters or {}))

    def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Run a query with few rows and return them."""
        with self._translated():
            found: Sequence[Sequence[Any]] = self._client.query(query, parameters=dict(parameters or {})).result_rows
            return found

    def stream(self, query: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query, as they come."""
        with (
            self._translated(),
            self._client.raw_stream(query, fmt="ArrowStream") as source,
            pa.ipc.open_stream(source) as reader,
        ):
            yield from reader

    def insert(self, into: str, rows: Iterable[bytes]) -> None:
        """Insert rows in one statement.

        Args:
            into: The table and its columns.
            rows: A stream of Arrow; what it raises comes out as it is.
        """
        with self._translated():
            self._client.raw_insert(into, insert_block=iter(rows), fmt="ArrowStream")  # type: ignore[arg-type] # it takes iterators

    def close(self) -> None:
        """Release connections."""
        self._client.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (ClickHouseError, *_LOST) as error:
            raise meaning_of(error, self._target) from None


def open_session(place: Place, password: str) -> Session:
    """Connect.

    Raises:
        TargetUnreachableError: If there is nobody.
        InvalidConfigurationError: If the server refuses the user or the password, or is too old.
    """
    try:
        client = clickhouse_connect.get_client(
            host=place.host,
            port=place.port,
            secure=place.secure,
            username=place.user,
            password=password,
            settings=dict(_SETTINGS),
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=ANSWER_TIMEOUT_S,
            autogenerate_session_id=False,  # sessions would let one thread wait for another
            compress=False,
            client_name="cordillera",
        )
    except (ClickHouseError, *_LOST) as error:
        raise meaning_of(error, str(place)) from None
    return Session(client, str(place))


# --- errors ---------------------------------------------------------------------------------------------------------

# Names of ClickHouse's error codes, as it lists them in system.errors.
_MEANING: dict[type[CordilleraError], tuple[str, ...]] = {
    InvalidConfigurationError: (
        "AUTHENTICATION_FAILED", "UNKNOWN_USER", "WRONG_PASSWORD", "REQUIRED_PASSWORD", "ACCESS_DENIED",
        "UNKNOWN_DATABASE", "READONLY", "UNKNOWN_SETTING", "UNKNOWN_FUNCTION",
    ),
    TargetDriftError: (
        "UNKNOWN_TABLE", "CANNOT_GET_CREATE_TABLE_QUERY", "TABLE_ALREADY_EXISTS", "NO_SUCH_COLUMN_IN_TABLE",
        "NOT_FOUND_COLUMN_IN_BLOCK", "UNKNOWN_IDENTIFIER", "INCOMPATIBLE_COLUMNS", "THERE_IS_NO_COLUMN",
    ),
    TargetUnreachableError: (
        "TIMEOUT_EXCEEDED", "SOCKET_TIMEOUT", "NETWORK_ERROR", "TOO_MANY_SIMULTANEOUS_QUERIES", "TOO_MANY_PARTS",
        "MEMORY_LIMIT_EXCEEDED", "QUERY_WAS_CANCELLED", "DEADLOCK_AVOIDED", "KEEPER_EXCEPTION", "NO_ZOOKEEPER",
        "TABLE_IS_READ_ONLY", "TABLE_IS_DROPPED", "TABLE_IS_BEING_RESTARTED", "UNKNOWN_STATUS_OF_INSERT",
        "UNFINISHED", "ABORTED", "CANNOT_SCHEDULE_TASK", "TOO_MANY_QUERIES", "SERVER_OVERLOADED",
    ),
    StorageFullError: ("NOT_ENOUGH_SPACE",),
    TypeMismatchError: (
        "TYPE_MISMATCH", "CANNOT_CONVERT_TYPE", "CANNOT_PARSE_TEXT", "CANNOT_PARSE_NUMBER", "ARGUMENT_OUT_OF_BOUND",
        "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", "TOO_LARGE_STRING_SIZE", "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
        "DECIMAL_OVERFLOW", "INCORRECT_DATA",
    ),
}  # fmt: skip
_KIND_OF = {name: kind for kind, found in _MEANING.items() for name in found}
_HINTS: dict[type[CordilleraError], str] = {
    InvalidConfigurationError: "Check the target's user, password, database and rights; the how-to lists them.",
    TargetDriftError: "Only Cordillera may change the table's columns and key; drop it and deliver it whole.",
    TargetUnreachableError: "Check that it runs and is reachable.",
    StorageFullError: "Make room on the target's disk.",
}
_SAID = re.compile(
    r"DB::Exception: (.*?)(?:\. In scope |: In scope |: [Ww]hile |\(in query| Maybe you meant|\(version|$)"
)
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)")
_LONGEST = 300


def meaning_of(error: Exception, target: str) -> CordilleraError:
    """Return what an error of the client, or of the connection below it, means."""
    words = str(error)
    found = _NAME.findall(words)
    if not isinstance(error, Error) or (error.code is None and "DB::Exception" not in words):
        if isinstance(error, Error) and "HTTP request" not in words and "status" not in words:
            return InvalidConfigurationError(f"{target}: {words[:_LONGEST]}", hint=_HINTS[InvalidConfigurationError])
        return TargetUnreachableError(
            f"{target} cannot be reached: {type(error.__cause__ or error).__name__}.",
            hint=_HINTS[TargetUnreachableError],
        )
    name = error.name or (found[-1] if found else "")
    kind = _KIND_OF.get(name, NotAllowedError)
    said = _SAID.search(words.replace("\n", " "))
    told = said[1].strip(" .")[:_LONGEST] if said else "it refused"
    return kind(f"{target}: {told} ({name or error.code}).", hint=_HINTS.get(kind, ""))
