"""Connections to SQLite and PostgreSQL, set up so that both keep the port's promises."""

from __future__ import annotations

import math
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import ConnectionPoolEntry

from cordillera.adapters.db.groups import Groups
from cordillera.adapters.db.prepared import execute_plainly
from cordillera.adapters.db.types import dump_json
from cordillera.errors import InvalidConfigurationError, MissingExtraError

LOCK_TIMEOUT = 30
"""Seconds to wait for a lock, or for a connection."""
STATEMENT_TIMEOUT = 60
"""Seconds a statement may take on PostgreSQL."""
CONNECT_TIMEOUT = 10
"""Seconds to wait for a PostgreSQL server."""
_IDLE_SECONDS = 1.0
"""After so long without use a PostgreSQL server is asked whether a connection still works."""

_COMMON: dict[str, Any] = {
    "json_serializer": dump_json,
    "json_deserializer": orjson.loads,
    "hide_parameters": True,  # they hold hashes of tokens and people's data, and errors end up in logs
    "pool_timeout": LOCK_TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class Database:
    """A database with engines for reading and for writing.

    Attributes:
        label: What to call it in messages; without a password.
        reader, inquirer, writer: For transactions that read, for single queries, for transactions that write.
        file: The file of an SQLite database; None on PostgreSQL.
        groups: Commits of several threads at once; None on PostgreSQL, which does so by itself.
    """

    label: str
    reader: sa.Engine
    inquirer: sa.Engine
    writer: sa.Engine
    file: Path | None = None
    groups: Groups | None = None

    def close(self) -> None:
        """Release the connections."""
        self.reader.dispose()
        self.writer.dispose()


def open_database(text: str) -> Database:
    """Prepare to connect to the database of a URL; nothing is connected yet.

    Args:
        text: ``sqlite:///path/lake.db`` or ``postgresql://user:password@host/database``.

    Raises:
        InvalidConfigurationError: If the URL names no such database.
        MissingExtraError: If the driver is not installed.
    """
    try:
        url = sa.make_url(text)
    except (exc.ArgumentError, ValueError):
        raise InvalidConfigurationError("The URL of the metadata database cannot be read.", hint=_URL_HINT) from None
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return _open_sqlite(url)
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return _open_postgres(url.set(drivername="postgresql+psycopg"))
    raise InvalidConfigurationError(f"{url.drivername!r} cannot hold the metadata of a lake.", hint=_URL_HINT)


_URL_HINT = "Write sqlite:///path/lake.db or postgresql://user@host/database."


# --- SQLite ---------------------------------------------------------------------------------------------------------


def _open_sqlite(url: sa.URL) -> Database:
    if not url.database or url.database == ":memory:" or url.query or url.host:
        raise InvalidConfigurationError("The URL of the metadata database names no file.", hint=_URL_HINT)
    # One connection writes: threads line up for it in order, where SQLite would have them poll for its lock.
    writer = sa.create_engine(url, pool_size=1, max_overflow=0, **_COMMON)
    reader = sa.create_engine(url, pool_size=8, max_overflow=32, **_COMMON)
    for engine, begin in ((writer, "BEGIN IMMEDIATE"), (reader, "BEGIN")):
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_with(begin))
    event.listen(reader, "connect", _forbid_writing)
    groups = Groups(writer, url.database, LOCK_TIMEOUT)
    return Database(url.database, reader, reader, writer, Path(url.database), groups)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where the engine says, not where Python guesses
    connection.execute(f"PRAGMA busy_timeout = {int(LOCK_TIMEOUT * 1000)}")
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Let readers and the writer work side by side. The change takes a lock that SQLite does not wait for."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise InvalidConfigurationError(
                "The file system of the metadata database cannot share memory between processes, which SQLite needs.",
                hint="Keep it on a local disk, or use PostgreSQL.",
            )
        return


def _forbid_writing(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")


def _begin_with(statement: str) -> Any:
    def begin(connection: sa.Connection) -> None:
        execute_plainly(connection, statement)

    return begin


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


def _open_postgres(url: sa.URL) -> Database:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "A metadata database on PostgreSQL needs psycopg, which is not installed.",
            hint="pip install 'cordillera[postgres]'",
        ) from error
    settings = {"connect_timeout": CONNECT_TIMEOUT, "application_name": "cordillera"}
    engine = sa.create_engine(
        url,
        pool_size=10,
        max_overflow=20,
        connect_args={name: value for name, value in settings.items() if name not in url.query},
        **_COMMON,
    )
    event.listen(engine, "connect", _prepare_postgres)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _check_works(engine.dialect))
    host = url.host or url.query.get("host", "localhost")
    return Database(
        f"{url.database} on {host}:{url.port or 5432}",
        reader=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        inquirer=engine.execution_options(isolation_level="AUTOCOMMIT"),  # to begin and to end take as long as a query
        writer=engine.execution_options(isolation_level="READ COMMITTED"),
    )


def _prepare_postgres(connection: Any, _record: object) -> None:
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = {int(LOCK_TIMEOUT * 1000)}")
    connection.execute(f"SET statement_timeout = {int(STATEMENT_TIMEOUT * 1000)}")
    connection.execute("SET timezone = 'UTC'")
    connection.autocommit = False


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _check_works(dialect: sa.Dialect) -> Any:
    """Return what makes a pool pass over connections that the server has ended while they were idle.

    SQLAlchemy's own check asks before every transaction, which costs as much as a query.
    """

    def check(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        if time.monotonic() - record.info.get("used_at", math.inf) <= _IDLE_SECONDS:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise exc.InvalidatePoolError("The server has ended the connection.") from error

    return check
