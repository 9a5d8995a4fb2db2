"""Transactions of several threads in SQLite that are committed together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from cordillera.adapters.db import groups
from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.errors import AlreadyExistsError, CommitInDoubtError, MetadataStoreBusyError, StorageFullError
from cordillera.ports.metadata import Transaction
from cordillera.testing.metadata_samples import namespace

PATIENCE = 60
Work = Callable[[Transaction], object]


class Together:
    """A store, and threads that write to it in one group: the first one holds it open until all others are in line."""

    def __init__(self, url: str) -> None:
        self.store = SqlMetadataStore(url)
        self.path = Path(url.removeprefix("sqlite:///"))
        self.commits = 0
        sa.event.listen(self.store._database.writer, "commit", self._count)

    def _count(self, _connection: sa.Connection) -> None:
        self.commits += 1

    def write(self, *works: Work) -> list[Future[None]]:
        """Let a thread do each, the first of them when all others wait; return what became of them."""
        first, *others = works
        with ThreadPoolExecutor(len(works)) as threads:
            begun, go_on = threading.Event(), threading.Event()

            def held(tx: Transaction) -> None:
                begun.set()
                assert go_on.wait(PATIENCE)
                first(tx)

            futures = [threads.submit(self._one, held)]
            assert begun.wait(PATIENCE)
            for number, work in enumerate(others, 1):
                futures.append(threads.submit(self._one, work))
                self.wait_for_line(number)
            go_on.set()
        return futures

    def _one(self, work: Work) -> None:
        with self.store.write_together() as tx:
            work(tx)

    def wait_for_line(self, length: int) -> None:
        waiting = self.store._database.groups
        assert waiting is not None
        deadline = time.monotonic() + PATIENCE
        while len(waiting._line) < length:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def stored(self) -> set[str]:
        """Return the namespaces that are durable, as another connection sees them."""
        with closing(sqlite3.connect(self.path)) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM namespaces")}


@pytest.fixture
def together(sqlite_url: str) -> Iterator[Together]:
    made = Together(sqlite_url)
    yield made
    made.store.close()


def adding(name: str) -> Work:
    return lambda tx: tx.namespaces.insert(namespace(name))


def undone_by_sqlite(tx: Transaction) -> None:
    """Fail as SQLite does when it takes back the whole transaction by itself."""
    adding("lost")(tx)
    tx.namespaces._session.connection.exec_driver_sql("ROLLBACK")  # type: ignore[attr-defined]  # the SQL store's
    raise StorageFullError("The disk is full.")


def test_who_waits_is_committed_with_whoever_writes(together: Together) -> None:
    for future in together.write(*(adding(name) for name in "abcd")):
        future.result()
    assert together.stored() == set("abcd")
    assert together.commits == 1


def test_who_is_alone_is_committed_at_once(together: Together) -> None:
    for name in "ab":
        with together.store.write_together() as tx:
            adding(name)(tx)
        assert name in together.stored()
    assert together.commits == 2


def test_nobody_goes_on_before_the_group_is_durable(together: Together) -> None:
    seen: list[set[str]] = []

    def wait_for_the_first(tx: Transaction) -> None:
        adding("b")(tx)
        seen.append(together.stored())

    first, second = together.write(adding("a"), wait_for_the_first)
    first.add_done_callback(lambda _: seen.append(together.stored()))
    second.result()
    assert seen == [set(), {"a", "b"}]


@pytest.mark.parametrize("failing", range(3))
def test_one_that_fails_takes_back_its_own_writes_only(together: Together, failing: int) -> None:
    def fail(tx: Transaction) -> None:
        adding("lost")(tx)
        raise ZeroDivisionError

    works = [adding("a"), adding("b")]
    works.insert(failing, fail)
    futures = together.write(*works)
    assert [type(future.exception()) for future in futures].count(ZeroDivisionError) == 1
    assert isinstance(futures[failing].exception(), ZeroDivisionError)
    assert together.stored() == {"a", "b"}


def test_each_sees_what_those_before_it_have_written(together: Together) -> None:
    first, second, third = together.write(adding("a"), adding("a"), adding("b"))
    first.result()
    third.result()
    assert isinstance(second.exception(), AlreadyExistsError)
    assert together.stored() == {"a", "b"}


def test_a_refused_statement_that_is_passed_over_still_takes_its_own_transaction_back(together: Together) -> None:
    def refused(tx: Transaction) -> None:
        adding("lost")(tx)
        with pytest.raises(Exception, match="no such"):
            tx.namespaces._session.write(sa.text("INSERT INTO nowhere VALUES (1)"))  # type: ignore[attr-defined]  # not of the port

    first, second, third = together.write(adding("a"), refused, adding("b"))
    first.result()
    third.result()
    assert second.exception() is not None
    assert together.stored() == {"a", "b"}


def test_when_sqlite_undoes_everything_all_are_told_and_others_go_on(together: Together) -> None:
    first, second, third = together.write(adding("a"), undone_by_sqlite, adding("b"))
    assert [type(one.exception()) for one in (first, second)] == [StorageFullError, StorageFullError]
    assert first.exception() is not second.exception()
    third.result()
    assert together.stored() == {"b"}


def test_when_the_commit_fails_all_are_told(together: Together) -> None:
    trouble = sqlite3.OperationalError("disk I/O error")
    trouble.sqlite_errorname = "SQLITE_IOERR_FSYNC"

    def break_disk(_connection: sa.Connection) -> None:
        sa.event.remove(together.store._database.writer, "commit", break_disk)
        raise sa.exc.OperationalError("COMMIT", None, trouble)

    sa.event.listen(together.store._database.writer, "commit", break_disk)
    futures = together.write(adding("a"), adding("b"))
    assert [type(one.exception()) for one in futures] == [CommitInDoubtError, CommitInDoubtError]
    assert together.stored() == set()
    with together.store.write_together() as tx:
        adding("c")(tx)
    assert together.stored() == {"c"}


@pytest.mark.parametrize("moment", ["commit", "rollback_savepoint"])
def test_an_interrupt_is_told_to_all_that_it_may_concern(together: Together, moment: str) -> None:
    def interrupt(*_: object) -> None:
        sa.event.remove(together.store._database.writer, moment, interrupt)
        raise KeyboardInterrupt

    def fail(tx: Transaction) -> None:
        adding("lost")(tx)
        raise ZeroDivisionError

    sa.event.listen(together.store._database.writer, moment, interrupt)
    first, second = together.write(adding("a"), fail if moment == "rollback_savepoint" else adding("b"))
    assert isinstance(first.exception(), CommitInDoubtError | MetadataStoreBusyError)
    assert isinstance(second.exception(), KeyboardInterrupt | CommitInDoubtError | MetadataStoreBusyError)
    assert together.stored() == set()
    with together.store.write_together() as tx:
        adding("c")(tx)
    assert together.stored() == {"c"}


def test_a_group_has_a_most(together: Together, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST", 2)
    for future in together.write(*(adding(name) for name in "abcde")):
        future.result()
    assert together.stored() == set("abcde")
    assert together.commits == 3


def test_who_has_waited_for_too_long_is_refused_and_holds_up_nobody(together: Together) -> None:
    waiting = together.store._database.groups
    assert waiting is not None

    def hold(tx: Transaction) -> None:
        adding("a")(tx)
        waiting._patience = 0.01
        with ThreadPoolExecutor(1) as threads, pytest.raises(MetadataStoreBusyError):
            threads.submit(together._one, adding("lost")).result()
        waiting._patience = PATIENCE

    first, second = together.write(hold, adding("b"))
    first.result()
    second.result()
    assert together.stored() == {"a", "b"}


def test_plain_transactions_and_groups_take_turns(together: Together) -> None:
    def write(name: str) -> None:
        with together.store.write() if name.startswith("plain") else together.store.write_together() as tx:
            adding(name)(tx)

    names = [f"{kind}{number}" for number in range(15) for kind in ("plain", "joined", "another")]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(write, names))
    assert together.stored() == set(names)


def test_a_killed_process_has_kept_what_it_has_said_is_committed(sqlite_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_write_for_ever, args=(sqlite_url, theirs))
    process.start()
    said: set[str] = set()
    while len(said) < 100:
        assert ours.poll(PATIENCE)
        said.add(ours.recv())
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE)
    theirs.close()
    with suppress(EOFError):
        while True:
            said.add(ours.recv())
    together = Together(sqlite_url)
    assert said <= together.stored()
    with together.store.write_together() as tx:
        adding("after")(tx)
    together.store.close()


def _write_for_ever(url: str, connection: multiprocessing.connection.Connection) -> None:
    store, sending = SqlMetadataStore(url), threading.Lock()

    def write(thread: int) -> None:
        for number in range(1_000_000):
            name = f"n{thread}_{number}"
            with store.write_together() as tx:
                adding(name)(tx)
            with sending:
                connection.send(name)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(write, range(6)))
