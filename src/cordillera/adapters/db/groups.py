"""Transactions of several threads that become durable together.

SQLite has one writer and waits for the disk at every commit. So threads that want to write while another does are let
in one after the other, each behind a savepoint of its own, and the last of them commits for all. Nobody waits for
company: whoever finds no one in line behind him commits at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy

import sqlalchemy as sa
from sqlalchemy import exc

from cordillera.adapters.db.failures import translate_commit, translating
from cordillera.errors import CommitInDoubtError, CordilleraError, MetadataStoreBusyError, StorageFullError

MOST = 16
"""So many transactions are committed together at most: the first one waits for the last."""


class Groups:
    """The line of threads that want to write, and the group that is open.

    Args:
        engine: Has one connection.
        database: What to call the database in messages.
        patience: Seconds to wait for a turn.
    """

    def __init__(self, engine: sa.Engine, database: str, patience: float) -> None:
        self._engine, self._database, self._patience = engine, database, patience
        self._guard = threading.Lock()
        self._taken = False
        self._line: deque[_Waiting] = deque()

    @contextmanager
    def member(self) -> Iterator[sa.Connection]:
        """Yield a connection on which a transaction is open. It is committed when the block has ended without an error,
        perhaps together with those of others; an error takes back what this block has written, and nothing else.

        Raises:
            MetadataStoreBusyError: If there was no turn in time, or another transaction of the group has broken it.
            StorageFullError: If the disk is full.
            CommitInDoubtError: If it is not known whether the group was committed.
        """
        group = self._enter()
        try:
            with group.part() as connection:
                yield connection
        finally:
            try:
                self._leave(group)
            finally:
                group.wait()

    def _enter(self) -> _Group:
        """Wait for a turn; return the group to go on with."""
        with self._guard:
            if not self._taken:
                self._taken = True
                return _Group(self._engine, self._database)
            waiting = _Waiting(_Group(self._engine, self._database))
            self._line.append(waiting)
        try:
            called = waiting.turn.wait(self._patience)
        except BaseException:
            if not self._withdrawn(waiting):
                self._leave(waiting.group)
            raise
        if not called and self._withdrawn(waiting):
            raise MetadataStoreBusyError(
                f"Others have been writing to the metadata database {self._database} all the time.", hint="Try again."
            )
        return waiting.group

    def _withdrawn(self, waiting: _Waiting) -> bool:
        """Leave the line; False if it is one's turn already."""
        with self._guard:
            if waiting not in self._line:
                return False
            self._line.remove(waiting)
            return True

    def _leave(self, group: _Group) -> None:
        """Let the next one go on with a group that has room; else commit it, and let the next one begin another."""
        with self._guard:
            if self._line and group.has_room:
                following = self._line.popleft()
                following.group = group
                following.turn.set()
                return
        try:
            group.commit()
        finally:
            with self._guard:
                if self._line:
                    self._line.popleft().turn.set()
                else:
                    self._taken = False


class _Group:
    """Transactions that are committed together, on one connection."""

    def __init__(self, engine: sa.Engine, database: str) -> None:
        self._engine, self._database = engine, database
        self._connection: sa.Connection | None = None
        self._parts = 0
        self._ended = threading.Event()
        self._failure: CordilleraError | None = None

    @property
    def has_room(self) -> bool:
        """Whether another may go on with it."""
        return self._connection is not None and self._parts < MOST

    @contextmanager
    def part(self) -> Iterator[sa.Connection]:
        """Yield the connection; an error takes back what the block has written."""
        try:
            with translating(self._database):
                connection = self._connection = self._connection or self._engine.connect()
                undone = connection.begin_nested() if self._parts else connection.begin()
        except BaseException as error:
            self._break(error)
            raise
        try:
            yield connection
            if self._parts:
                with translating(self._database):
                    undone.commit()
        except BaseException as error:
            self._take_back(undone, error)
            raise
        self._parts += 1

    def _take_back(self, undone: sa.Transaction, error: BaseException) -> None:
        """Undo a part, unless SQLite has undone everything by itself, as it does when its disk is full."""
        try:
            undone.rollback()
        except exc.SQLAlchemyError:
            self._break(error)
        except BaseException:  # an interrupt: what this part wrote may still be there, and must not be committed
            self._break(error)
            raise
        else:
            if not self._parts:
                self._close()

    def _break(self, error: BaseException) -> None:
        """Take back all parts for what has happened to one."""
        if self._parts:
            undone = f"What was written to the metadata database {self._database} was undone with another's writes."
            again = MetadataStoreBusyError(undone, hint="Try again.")
            self._failure = copy(error) if isinstance(error, StorageFullError) else again
        self._close()

    def commit(self) -> None:
        """Make it durable and end it."""
        try:
            if self._connection is not None:
                self._connection.commit()
        except exc.SQLAlchemyError as error:
            self._failure = translate_commit(error, self._database)
        except BaseException as error:  # an interrupt is for this thread; the others must not believe in a commit
            self._failure = CommitInDoubtError(
                f"A commit to the metadata database {self._database} was interrupted: {type(error).__name__}.",
                hint="Look whether it happened before you repeat it.",
            )
            raise
        finally:
            self._close()
            self._ended.set()

    def wait(self) -> None:
        """Wait until it has ended.

        Raises:
            CordilleraError: If it was not committed, or may not have been.
        """
        self._ended.wait()
        if self._failure is not None:
            raise copy(self._failure)  # each thread its own

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(exc.SQLAlchemyError):  # one that is broken has nothing to roll back
                connection.rollback()
            with suppress(exc.SQLAlchemyError):
                connection.close()


class _Waiting:
    """A thread in the line, and the group that it goes on with."""

    def __init__(self, group: _Group) -> None:
        self.group = group
        self.turn = threading.Event()
