"""A connection to Amazon Redshift through its own driver, and what its errors mean to a synchronizer."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import redshift_connector
from redshift_connector.core import Connection
from redshift_connector.cursor import Cursor
from redshift_connector.error import Error, InterfaceError, OperationalError

from cordillera.adapters.synchronizers.sql_states import hint_for, meaning_of
from cordillera.errors import CordilleraError, InvalidConfigurationError, NotAllowedError, TargetUnreachableError

CONNECT_TIMEOUT_S = 20
FETCH_ROWS = 1000
"""How many rows a cursor yields at once: the most that a cluster of one node gives."""

_LOST = (InterfaceError, OperationalError, OSError, struct.error)
_DENIED = ("Access Denied", "AccessDenied", "403", "not authorized", "InvalidAccessKeyId", "does not exist")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database is, and as whom it is used."""

    host: str
    port: int
    database: str
    user: str

    def __str__(self) -> str:
        return f"Redshift target {self.host}/{self.database}"


class Session:
    """One connection. Its errors are Cordillera's, and carry the server's first line: no statement, no row.

    Args:
        connection: An open connection of the driver.
        target: The target, for errors.
    """

    def __init__(self, connection: Connection, target: str) -> None:
        self._connection, self._target = connection, target

    def run(self, statement: str, values: Sequence[Any] | None = None) -> int:
        """Run a statement, in the transaction that is open or in a new one, and return how many rows it changed."""
        with self._translated():
            cursor = self._execute(statement, values)
            return int(cursor.rowcount)

    def rows(self, statement: str, values: Sequence[Any] | None = None) -> Sequence[Sequence[Any]]:
        """Run a query with few rows and return them."""
        with self._translated():
            found: Sequence[Sequence[Any]] = self._execute(statement, values).fetchall()
            return found

    def stream(self, query: str) -> Iterator[Sequence[Sequence[Any]]]:
        """Yield the rows of a query a few at a time, from a cursor of the server, in the transaction that is open."""
        self.run(f"DECLARE cordillera_rows CURSOR FOR {query}")
        while rows := self.rows(f"FETCH FORWARD {FETCH_ROWS} FROM cordillera_rows"):
            yield rows
        self.run("CLOSE cordillera_rows")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block does when it ends, or undo it if it fails."""
        try:
            yield
        except BaseException:
            with suppress(*_LOST, Error):  # a lost connection undoes it too
                self._connection.rollback()
            raise
        with self._translated():
            self._connection.commit()

    def close(self) -> None:
        """End the connection."""
        with suppress(*_LOST, Error):
            self._connection.close()

    def _execute(self, statement: str, values: Sequence[Any] | None) -> Cursor:
        cursor = self._connection.cursor()
        cursor.paramstyle = "qmark"
        return cursor.execute(statement, None if values is None else list(values))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (Error, *_LOST) as error:
            raise _meaning_of(error, self._target) from None


def open_session(place: Place, password: str) -> Session:
    """Connect, over TLS with the server's certificate and name checked.

    Raises:
        TargetUnreachableError: If there is nobody.
        InvalidConfigurationError: If the server refuses the user, the password or the database.
    """
    try:
        connection = redshift_connector.connect(
            host=place.host,
            port=place.port,
            database=place.database,
            user=place.user,
            password=password,
            ssl=True,
            sslmode="verify-full",
            timeout=CONNECT_TIMEOUT_S,
            tcp_keepalive_idle=30,  # with these it is noticed that the cluster, or the way to it, is gone
            tcp_keepalive_interval=10,
            tcp_keepalive_count=3,
            application_name="cordillera",
            max_prepared_statements=0,  # a table that changes its columns would leave outdated ones behind
        )
    except (Error, *_LOST) as error:
        raise connection_error(error, str(place)) from None
    connection._usock.settimeout(None)  # it was for connecting; a statement may take hours
    return Session(connection, str(place))


def connection_error(error: Exception, target: str) -> CordilleraError:
    """Return what a failed attempt to connect means."""
    code, message = _details(error)
    if code.startswith(("28", "3D")):
        return InvalidConfigurationError(
            f"{target} refused the connection: {message}", hint="Check the target's user, password and database."
        )
    return TargetUnreachableError(f"{target} cannot be reached: {message}", hint="Check that it runs and is reachable.")


def _meaning_of(error: Exception, target: str) -> CordilleraError:
    code, message = _details(error)
    if not code:
        return TargetUnreachableError(f"{target}: the connection was lost: {message}")
    kind = meaning_of(code)
    if kind is NotAllowedError:
        kind = _meaning_in_words(message)
    return kind(f"{target}: {message} (SQLSTATE {code}).", hint=_HINTS.get(kind) or hint_for(kind))


_HINTS: dict[type[CordilleraError], str] = {
    InvalidConfigurationError: "Check the rights of the user in the database, and those of the IAM role in the bucket.",
}


def _meaning_in_words(message: str) -> type[CordilleraError]:
    """Tell apart what Redshift reports as an internal error."""
    if "1023" in message or "Serializable isolation violation" in message or "1018" in message:
        return TargetUnreachableError
    if "S3ServiceException" in message or "AssumeRole" in message or "Spectrum" in message:
        return InvalidConfigurationError if any(words in message for words in _DENIED) else TargetUnreachableError
    return NotAllowedError


def _details(error: Exception) -> tuple[str, str]:
    """Return the SQLSTATE, empty if the server gave none, and the first line of what it said."""
    said = error.args[0] if error.args else None
    if isinstance(said, dict):
        return str(said.get("C", "")), str(said.get("M", "")).partition("\n")[0]
    return "", str(error).partition("\n")[0] or type(error).__name__
