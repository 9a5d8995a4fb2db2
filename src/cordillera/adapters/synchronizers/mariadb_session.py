"""Connections to MariaDB, and what its errors mean to a synchronizer."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pymysql
from pymysql import converters
from pymysql.cursors import SSCursor

from cordillera.adapters.synchronizers.deliveries import REPAIR_HINT
from cordillera.adapters.synchronizers.mariadb_types import COLLATION
from cordillera.errors import (
    CordilleraError,
    DuplicateKeyError,
    InvalidConfigurationError,
    InvalidNameError,
    NotAllowedError,
    StorageFullError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 30
MINIMUM_VERSION = (10, 11)
_CHUNK_BYTES, _MOST_ROWS = 4 * 1024 * 1024, 20_000
_STATEMENT_OVERHEAD = 1024  # bytes of a packet that a statement does not get
# What a server, a user or a database may have set otherwise. A worker that is gone without a word is noticed.
_SETTINGS = f"""SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,NO_ENGINE_SUBSTITUTION',
    time_zone = '+00:00', tx_isolation = 'REPEATABLE-READ', lock_wait_timeout = {LOCK_TIMEOUT_S},
    innodb_lock_wait_timeout = {LOCK_TIMEOUT_S}, wait_timeout = 1800, net_write_timeout = 1800, max_statement_time = 0,
    sql_select_limit = DEFAULT, sql_safe_updates = 0, unique_checks = 1, foreign_key_checks = 1"""
_ALIVE = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 60_000),  # milliseconds
)
"""By which it is noticed that the server's machine, or the way to it, is gone; some systems know fewer of them."""
_ENCODERS: dict[int | type[Any], Any] = {
    kind: write for kind, write in converters.conversions.items() if not isinstance(kind, int)
}
_VERSION = re.compile(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.\d+-MariaDB")  # as earlier ones said for old replicas
_COLUMN = re.compile(r"column (?:`[^`]+`\.)*[`'](?P<name>[^`']+)[`']")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database is, and how it is reached.

    Attributes:
        host: The server's name, which its certificate has to have.
        port: Its port.
        user: Who connects.
        database: The database that is asked for.
        encrypted: Whether by TLS, with the certificate checked.
        authorities: The file with the certificates of who may vouch for it; empty for those the system trusts.
    """

    host: str
    port: int
    user: str
    database: str
    encrypted: bool = True
    authorities: str = ""

    def __str__(self) -> str:
        return f"MariaDB target {self.host}/{self.database}"


@dataclass(frozen=True, slots=True)
class Session:
    """A connection whose statements are transactions by themselves, unless one is open.

    Attributes:
        connection: The client's connection.
        target: What errors name.
        another: Opens another connection to the same place.
        most_bytes: How large a statement may be.
        read_only: Whether the server takes no changes.
    """

    connection: pymysql.Connection[Any]
    target: str
    another: Callable[[], Session] = field(repr=False)
    most_bytes: int = 0
    read_only: bool = False

    def run(self, statement: str | bytes, values: Sequence[Any] = ()) -> int:
        """Run a statement and return how many rows it changed. With values, a ``%`` in it is written twice."""
        with self._translated(), self.connection.cursor() as cursor:
            if isinstance(statement, bytes):
                return int(self.connection.query(statement))
            return int(cursor.execute(statement, tuple(values) or None))

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query, their values as text."""
        with self._translated(), self.connection.cursor() as cursor:
            cursor.execute(query, tuple(values) or None)
            return list(cursor.fetchall())

    def stream(self, query: str) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query a few at a time, about as many as make four megabytes.

        Whoever stops before the end has to close the connection: the rest is on its way.
        """
        cursor = self.connection.cursor(_Stream)
        count = 16
        try:
            with self._translated():
                cursor.execute(query)
            while True:
                with self._translated():
                    found = list(cursor.fetchmany(count))
                if not found:
                    return
                size = len(found[-1]) * 8 + sum(len(value) for value in found[-1] if value is not None)
                yield found
                count = min(2 * count, max(1, _CHUNK_BYTES // size), _MOST_ROWS)
        finally:
            cursor.abandon()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block does when it ends, or undo it if it fails."""
        self.run("START TRANSACTION")
        try:
            yield
        except BaseException:
            with suppress(pymysql.Error):  # a lost connection undoes it too
                self.connection.rollback()
            raise
        with self._translated():
            self.connection.commit()

    def close(self) -> None:
        """End the connection, and with it what it has locked and staged."""
        with suppress(pymysql.Error):
            self.connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except pymysql.Error as error:
            # Without the cause: its message may quote rows.
            raise _meaning_of(error, self.target) from None


class _Stream(SSCursor):
    """Reads rows as they come, and need not have read them all."""

    def abandon(self) -> None:
        """Forget the rows that have not been read."""
        if self._result is not None:  # type: ignore[attr-defined]  # the stubs leave it out
            self._result.unbuffered_active = False  # type: ignore[attr-defined]  # likewise
        self.connection = None  # type: ignore[assignment]  # as a cursor leaves it that was closed


def open_session(place: Place, password: str) -> Session:
    """Connect.

    Raises:
        TargetUnreachableError: If there is nobody.
        InvalidConfigurationError: If the server refuses the user or the database, or is none that can be used.
    """
    try:
        way = socket.create_connection((place.host, place.port), CONNECT_TIMEOUT_S)
    except OSError as error:
        raise TargetUnreachableError(
            f"{place} cannot be reached: {error}", hint="Check that it runs and is reachable."
        ) from None
    for level, name, value in _ALIVE:
        if option := getattr(socket, name, None):
            way.setsockopt(level, option, value)
    try:
        connection = pymysql.connect(
            host=place.host,
            port=place.port,
            user=place.user,
            password=password.encode(),  # of text it would make Latin-1
            database=place.database,
            charset="utf8mb4",
            collation=COLLATION,
            autocommit=True,
            conv=_ENCODERS,
            ssl=ssl.create_default_context(cafile=place.authorities or None) if place.encrypted else None,
            ssl_disabled=not place.encrypted,
            local_infile=False,  # a server could ask for any file of this machine
            program_name="cordillera",
            defer_connect=True,
        )
        connection.connect(way)
    except (pymysql.Error, OSError) as error:
        way.close()
        raise _connection_error(error, str(place)) from None
    session = Session(connection, str(place), partial(open_session, place, password))
    try:
        session.run(_SETTINGS)
        ((version, read_only, packet),) = session.rows("SELECT VERSION(), @@read_only, @@max_allowed_packet")
        _check_version(version, place)
    except BaseException:
        session.close()
        raise
    return replace(session, most_bytes=int(packet) - _STATEMENT_OVERHEAD, read_only=read_only == "1")


def _check_version(version: str, place: Place) -> None:
    found = _VERSION.match(version)
    if found is None or (int(found[1]), int(found[2])) < MINIMUM_VERSION:
        raise InvalidConfigurationError(
            f"{place}: the server says that it is {version[:60]!r}, but has to be MariaDB "
            f"{'.'.join(map(str, MINIMUM_VERSION))} or newer.",
            hint="Earlier ones cannot rename tables or change columns all at once, and MySQL is another server.",
        )


# --- errors ---------------------------------------------------------------------------------------------------------

_MEANING: dict[type[CordilleraError], frozenset[int]] = {
    InvalidConfigurationError: frozenset({1044, 1045, 1049, 1142, 1143, 1227, 1251, 1290, 1698, 1836, 4151}),
    # Locks, deadlocks, shutdown, broken connections, limits on connections and time.
    TargetUnreachableError: frozenset(
        {1040, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1226, 1317, 1927, 1969}
    ),
    StorageFullError: frozenset({1021, 1114}),
    DuplicateKeyError: frozenset({1062, 1586}),
    TargetDriftError: frozenset({1050, 1051, 1054, 1060, 1091, 1146, 1288, 1347, 1364}),
    TypeMismatchError: frozenset({1048, 1071, 1074, 1117, 1118, 1153, 1264, 1265, 1292, 1366, 1406}),
    InvalidNameError: frozenset({1059, 1102, 1103, 1166, 1300}),
}
_QUOTING = {  # whose messages quote values of rows, and what is said instead
    1062: "a key, or a value of a unique index that somebody has added, comes twice",
    1586: "a key, or a value of a unique index that somebody has added, comes twice",
    1292: "a value does not fit",
    1366: "a value does not fit",
    1300: "a name or a text has characters that it cannot keep there",
}
_HINTS: dict[type[CordilleraError], str] = {
    InvalidConfigurationError: "Check the target's user and its rights, the password and the database.",
    DuplicateKeyError: "Every key may come once in a delivery.",
    TargetDriftError: REPAIR_HINT,
    NotAllowedError: "Remove what restricts the table in the target, such as triggers and foreign keys.",
    StorageFullError: "Make room on the target's disk.",
}
_OF_THE_CLIENT = 2000
"""The first number of errors that the client itself finds: nobody answers any more."""


def _meaning_of(error: pymysql.Error, target: str) -> CordilleraError:
    number, message = _details(error)
    if not number or _OF_THE_CLIENT <= number < _OF_THE_CLIENT + 1000:
        return TargetUnreachableError(f"{target}: the connection was lost: {message}")
    kind = next((kind for kind, numbers in _MEANING.items() if number in numbers), NotAllowedError)
    if number in _QUOTING:
        named = _COLUMN.search(message)
        message = _QUOTING[number] + (f" in column {named['name']!r}" if named else "")
    return kind(f"{target}: {message} (error {number}).", hint=_HINTS.get(kind, ""))


def _connection_error(error: Exception, target: str) -> CordilleraError:
    number, message = _details(error)
    if number in _MEANING[InvalidConfigurationError]:
        return InvalidConfigurationError(
            f"{target} refused the connection: {message}", hint="Check the target's user, password and database."
        )
    if "SSL" in message or "certificate" in message:
        return InvalidConfigurationError(
            f"{target} cannot be reached by TLS: {message}",
            hint="Name the file with the certificate of who vouches for the server as ca_file.",
        )
    return TargetUnreachableError(f"{target} cannot be reached: {message}", hint="Check that it runs and is reachable.")


def _details(error: Exception) -> tuple[int, str]:
    """Return the number, 0 if there is none, and the first line of what was said."""
    number, said = error.args if len(error.args) == 2 else (0, error)
    return number if isinstance(number, int) else 0, str(said).partition("\n")[0]
