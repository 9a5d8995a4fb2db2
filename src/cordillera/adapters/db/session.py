"""One open transaction on a connection: runs statements, and forgets nothing that went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from cordillera.adapters.db.engine import Database
from cordillera.adapters.db.failures import read_only_error, translate, translate_commit, translating
from cordillera.adapters.db.prepared import Prepared, Values
from cordillera.errors import CordilleraError

Row = sa.Row[*tuple[Any, ...]]
_FAILURES = (exc.SQLAlchemyError, CordilleraError, OverflowError, UnicodeEncodeError)
_KEEP_ROWCOUNT = {"preserve_rowcount": True}  # of an INSERT it would be forgotten

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class Session:
    """A transaction as the row groups use it.

    A statement that the database refuses ends the transaction, even if the error is caught: on PostgreSQL nothing of
    it could be committed any more.

    Args:
        connection: Where the transaction is open.
        database: What to call the database in messages.
        writable: Whether it may write.
    """

    def __init__(self, connection: sa.Connection, database: str, *, writable: bool) -> None:
        self.connection = connection
        self._database = database
        self._writable = writable
        self._failure: CordilleraError | None = None
        self.locked: set[UUID] = set()
        """Ids of the dataset versions whose rows the transaction has changed or locked."""
        self.is_postgres = connection.dialect.name == "postgresql"

    def rows(self, prepared: Prepared, parameters: Mapping[str, Any]) -> list[Values]:
        """Run a prepared query and return its rows."""
        return self._run(prepared, parameters)[0]

    def change(self, prepared: Prepared, parameters: Mapping[str, Any]) -> int:
        """Run a prepared statement that changes rows and return how many; see ``write``."""
        self.check_writable()
        return self._run(prepared, parameters)[1]

    def _run(self, prepared: Prepared, parameters: Mapping[str, Any]) -> tuple[list[Values], int]:
        self.check()
        try:
            return prepared.run(self.connection, parameters)
        except _FAILURES as error:  # as ``translated`` does, which is slow for what every request does a dozen times
            raise self._failed(error) from error

    def read(self, statement: sa.Executable, parameters: Parameters | None = None) -> Sequence[Row]:
        """Run a query and return its rows."""
        self.check()
        with self.translated():
            return self.connection.execute(statement, parameters).all()

    def scalar(self, statement: sa.Executable, parameters: Parameters | None = None) -> Any:
        """Run a query and return the first column of its first row; None if there is no row."""
        rows = self.read(statement, parameters)
        return rows[0][0] if rows else None

    def lock(self, statement: sa.Select[Any], parameters: Parameters | None = None) -> Row | None:
        """Run a query for one row, FOR UPDATE or the like, and return the row.

        SQLite locks no rows: the transaction is the only one that writes.
        """
        rows = self.write_rows(statement, parameters)
        return rows[0] if rows else None

    def write(self, statement: sa.Executable, parameters: Parameters | None = None) -> int:
        """Run a statement that changes rows and return how many.

        Raises:
            InvalidInputError: If the transaction was opened for reading.
        """
        self.check_writable()
        self.check()
        with self.translated():
            return self.connection.execute(statement, parameters, execution_options=_KEEP_ROWCOUNT).rowcount

    def write_rows(self, statement: sa.Executable, parameters: Parameters | None = None) -> Sequence[Row]:
        """Run a statement that changes or locks rows and return those it gives back."""
        self.check_writable()
        return self.read(statement, parameters)

    def insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """Return an INSERT that can say what to do on a conflict."""
        return _insert(table, self.is_postgres)

    def insert_new(self, table: sa.Table, values: Mapping[str, Any]) -> bool:
        """Add a row unless one with the same unique values exists, also if another transaction is just adding it."""
        return self.change(_insert_unless_there(table, self.is_postgres, tuple(values)), values) == 1

    def update_unique(self, statement: sa.Update) -> bool:
        """Run an UPDATE; False, with nothing changed, if it would make two rows alike that must not be."""
        self.check_writable()
        self.check()
        try:
            with self.translated(let_pass=exc.IntegrityError), self.connection.begin_nested():
                self.connection.execute(statement)
        except exc.IntegrityError:
            return False
        return True

    def allow_long_statements(self) -> None:
        """Lift the limit on a statement's time for the rest of the transaction."""
        if self.is_postgres:
            self.write(sa.text("SET LOCAL statement_timeout = 0"))

    def check_writable(self) -> None:
        """Refuse to go on in a transaction for reading."""
        if not self._writable:
            raise read_only_error()

    def check(self) -> None:
        """Refuse to go on after a statement has failed."""
        if self._failure:
            raise self._failure

    @contextmanager
    def translated(self, let_pass: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        """Turn what the database raises into Cordillera's errors, and remember that the transaction has failed."""
        try:
            yield
        except let_pass:
            raise
        except _FAILURES as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> CordilleraError:
        self._failure = translate(error, self._database)
        return self._failure


def _insert(table: sa.Table, is_postgres: bool) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if is_postgres else sqlite.insert(table)


@lru_cache(256)
def _insert_unless_there(table: sa.Table, is_postgres: bool, columns: tuple[str, ...]) -> Prepared:
    return Prepared(_insert(table, is_postgres).on_conflict_do_nothing().inline(), columns)


@contextmanager
def open_session(database: Database, engine: sa.Engine) -> Iterator[Session]:
    """Open a transaction for the length of the block, and commit it if the block ends without an error.

    Args:
        database: Whose it is.
        engine: Which of the database's.
    """
    writable = engine is database.writer
    with translating(database.label):
        connection = engine.connect()
    try:
        with translating(database.label):
            connection.begin()
        session = Session(connection, database.label, writable=writable)
        yield session
        session.check()
        with translating(database.label, translate_commit if writable else translate):
            connection.commit()
    except BaseException:
        with suppress(exc.SQLAlchemyError):  # a connection that is broken has nothing to roll back
            connection.rollback()
        raise
    finally:
        with suppress(exc.SQLAlchemyError):
            connection.close()


@contextmanager
def open_joined_session(database: Database) -> Iterator[Session]:
    """Open a transaction for writing that may be committed together with those of other threads."""
    if database.groups is None:
        with open_session(database, database.writer) as session:
            yield session
        return
    with database.groups.member() as connection:
        session = Session(connection, database.label, writable=True)
        yield session
        session.check()
