from __future__ import annotations

import logging
import pickle
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import conninfo
from sqlalchemy import event

from cordillera.adapters.db import engine, open_metadata_store
from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.errors import (
    AlreadyExistsError,
    CommitInDoubtError,
    CordilleraError,
    CorruptDataError,
    InvalidConfigurationError,
    InvalidInputError,
    MetadataStoreBusyError,
    MissingExtraError,
    NotFoundError,
    StorageFullError,
)
from cordillera.ports.metadata import MetadataStore
from cordillera.testing.metadata_samples import manifest, namespace, snapshot, stored_dataset
from tests.servers import start_postgres

SECRET = "s3cr3t-pa55word"
NO_TEXT: Any = object()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_TIMEOUT", 0.3)


@pytest.fixture
def store(url: str) -> Iterator[MetadataStore]:
    store = open_metadata_store(url)
    yield store
    store.close()


@pytest.fixture
def postgres_store(impatient: None, postgres_url: str) -> Iterator[MetadataStore]:
    store = open_metadata_store(postgres_url)
    yield store
    store.close()


@pytest.fixture
def sqlite_store(impatient: None, sqlite_url: str) -> Iterator[SqlMetadataStore]:
    store = SqlMetadataStore(sqlite_url)
    yield store
    store.close()


# --- opening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "lake.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///lake.db?mode=ro",
        f"mysql://root:{SECRET}@localhost/lake",
        f"postgresql+asyncpg://root:{SECRET}@localhost/lake",
        f"postgresql://root:{SECRET}@localhost:port/lake",
        f"//root:{SECRET}@localhost/lake",
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        open_metadata_store(url)
    assert SECRET not in str(caught.value)
    assert "postgresql://" in caught.value.hint


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match="psycopg") as caught:
        open_metadata_store("postgresql://localhost/lake")
    assert "cordillera[postgres]" in caught.value.hint


def test_a_password_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = open_metadata_store(f"postgresql://ana:{SECRET}@127.0.0.1:1/lake?password={SECRET}")
    with pytest.raises(MetadataStoreBusyError, match="lake on 127") as caught, store.read() as tx:
        tx.lake.get()
    assert SECRET not in repr(store)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or error.__context__
    assert SECRET not in caplog.text


@pytest.mark.parametrize("option", ["sslmode=nonsense", f"no_such_option={SECRET}"])
def test_a_setting_that_the_driver_refuses_is_named_as_the_cause(option: str) -> None:
    store = open_metadata_store(f"postgresql://ana@127.0.0.1:1/lake?{option}")
    with pytest.raises((InvalidConfigurationError, MetadataStoreBusyError)) as caught, store.read() as tx:
        tx.lake.get()
    assert SECRET not in str(caught.value)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    store = open_metadata_store(f"sqlite:///{tmp_path}/no/lake.db")
    with pytest.raises(InvalidConfigurationError, match=r"no/lake\.db"):
        store.migrate()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lake.db"
    path.write_bytes(b"PAR1" * 1000)
    store = open_metadata_store(f"sqlite:///{path}")
    with pytest.raises(CorruptDataError, match=r"lake\.db"):
        store.check_schema()


# --- statements -----------------------------------------------------------------------------------------------------


def test_a_failed_statement_ends_the_transaction(store: MetadataStore) -> None:
    with pytest.raises(InvalidInputError), store.write() as tx:  # noqa: PT012
        tx.namespaces.insert(namespace("before"))
        with pytest.raises(InvalidInputError):
            tx.namespaces.insert(replace(namespace(), description=NO_TEXT))
        with pytest.raises(InvalidInputError):
            tx.namespaces.insert(namespace("after"))
    with store.read() as tx:
        assert tx.namespaces.page("", 9) == []


@pytest.mark.parametrize("text", ["a\ud800b"])
def test_text_that_is_not_unicode_is_refused(store: MetadataStore, text: str) -> None:
    with pytest.raises(InvalidInputError), store.write() as tx:
        tx.namespaces.insert(replace(namespace(), description=text))


def test_a_value_of_another_type_is_refused(store: MetadataStore) -> None:
    no_id: Any = "orders"
    with pytest.raises(InvalidInputError, match="cannot be kept"), store.read() as tx:
        tx.dataset_versions.get(no_id)
    with pytest.raises(InvalidInputError, match="cannot be kept"), store.write() as tx:
        tx.namespaces.insert(replace(namespace(), description=NO_TEXT))


def test_postgres_refuses_zero_bytes(postgres_store: MetadataStore) -> None:
    with pytest.raises(InvalidInputError), postgres_store.write() as tx:
        tx.namespaces.insert(replace(namespace(), description="a\0b"))


def test_a_number_that_is_too_large_is_refused(store: MetadataStore) -> None:
    _, version = stored_dataset(store)
    with pytest.raises(InvalidInputError), store.write() as tx:
        tx.snapshots.insert(replace(snapshot(version.id, 1), snapshot_id=2**63), manifest())
    with store.read() as tx:
        assert tx.snapshots.page(version.id, None, 9) == []


def test_a_row_of_something_that_does_not_exist_is_refused(store: MetadataStore) -> None:
    with pytest.raises(NotFoundError), store.write() as tx:
        tx.snapshots.insert(snapshot(namespace().id, 1), manifest())


def test_an_id_that_is_taken_is_refused(store: MetadataStore) -> None:
    task_id = namespace().id
    with pytest.raises(AlreadyExistsError), store.write() as tx:  # noqa: PT012
        for kind in ("deliver", "run"):
            tx.tasks.enqueue(task_id, kind, "a", {}, now=namespace().created_at, trace_id="")


def test_errors_tell_nothing_of_the_values(store: MetadataStore) -> None:
    with pytest.raises(CordilleraError) as caught, store.write() as tx:
        tx.snapshots.insert(replace(snapshot(namespace().id, 1), properties={"secret": SECRET}), manifest())
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__} {caught.value.details}"
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), type(caught.value))


# --- SQLite ---------------------------------------------------------------------------------------------------------


def test_sqlite_is_set_up_for_safety(sqlite_store: SqlMetadataStore) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    for side, query_only in ((sqlite_store._database.writer, 0), (sqlite_store._database.reader, 1)):
        with side.connect() as connection:
            found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in [*wanted, "query_only"]}
        assert found == {**wanted, "query_only": query_only}
    assert engine.LOCK_TIMEOUT == 0.3


def test_another_writer_makes_sqlite_busy(sqlite_store: SqlMetadataStore, sqlite_url: str) -> None:
    with sqlite_store.write() as tx:
        tx.namespaces.insert(namespace("before"))
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(MetadataStoreBusyError, match="locked"), sqlite_store.write():
        raise AssertionError("the block must not begin")
    with sqlite_store.read() as tx:
        assert tx.namespaces.get("before") is not None
    other.execute("ROLLBACK")
    other.close()
    with sqlite_store.write() as tx:
        tx.namespaces.insert(namespace("after"))


def test_a_full_disk_commits_nothing(sqlite_store: SqlMetadataStore) -> None:
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")

    event.listen(sqlite_store._database.writer, "connect", limit)
    with pytest.raises(StorageFullError, match="full"), sqlite_store.write() as tx:  # noqa: PT012
        tx.namespaces.insert(namespace("small"))
        tx.namespaces.insert(replace(namespace("large"), description="x" * 1_000_000))
    with sqlite_store.read() as tx:
        assert tx.namespaces.page("", 9) == []
    with sqlite_store.write() as tx:
        tx.namespaces.insert(namespace("small"))
    with sqlite_store.read() as tx:
        assert [space.name for space in tx.namespaces.page("", 9)] == ["small"]


def test_a_damaged_page_is_reported(sqlite_store: SqlMetadataStore, sqlite_url: str) -> None:
    with sqlite_store.write() as tx:
        tx.namespaces.insert(replace(namespace(), description="x" * 50_000))
    sqlite_store.close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(CorruptDataError), sqlite_store.read() as tx:
        tx.namespaces.get("sales")


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


def test_a_lock_that_is_held_makes_postgres_busy(postgres_store: MetadataStore, postgres_url: str) -> None:
    sales = namespace()
    with postgres_store.write() as tx:
        tx.namespaces.insert(sales)
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT * FROM namespaces FOR UPDATE")
        with pytest.raises(MetadataStoreBusyError, match="in time"), postgres_store.write() as tx:
            tx.namespaces.update(replace(sales, owner="x"))
    with postgres_store.write() as tx:
        tx.namespaces.update(replace(sales, owner="x"))


def test_a_statement_that_takes_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch, impatient: None, postgres_url: str
) -> None:
    monkeypatch.setattr(engine, "STATEMENT_TIMEOUT", 0.3)
    store = SqlMetadataStore(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(5); END$$")
        other.execute("CREATE TRIGGER slow BEFORE INSERT ON namespaces FOR EACH ROW EXECUTE FUNCTION slow()")
        try:
            with pytest.raises(MetadataStoreBusyError, match="in time"), store.write() as tx:
                tx.namespaces.insert(namespace())
        finally:
            other.execute("DROP FUNCTION slow CASCADE")
    store.close()


def test_of_two_that_wait_for_each_other_one_goes_on(postgres_url: str) -> None:
    store, stored = open_metadata_store(postgres_url), {name: namespace(name) for name in "ab"}
    with store.write() as tx:
        for one in stored.values():
            tx.namespaces.insert(one)
    both = threading.Barrier(2, timeout=30)
    outcome: list[str] = []

    def lock(names: str) -> None:
        try:
            with store.write() as tx:
                tx.namespaces.update(replace(stored[names[0]], owner=names))
                both.wait()
                tx.namespaces.update(replace(stored[names[1]], owner=names))
            outcome.append(names)
        except MetadataStoreBusyError:
            outcome.append("busy")

    threads = [threading.Thread(target=lock, args=(names,)) for names in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "busy" in outcome
    (winner,) = {*outcome} - {"busy"}
    with store.read() as tx:
        assert {space.owner for space in tx.namespaces.page("", 9)} == {winner}
    store.close()


def test_a_broken_connection_is_replaced(
    postgres_store: MetadataStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_all() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    with pytest.raises(MetadataStoreBusyError, match="reached"), postgres_store.write() as tx:  # noqa: PT012
        tx.namespaces.insert(namespace("a"))
        end_all()
        tx.namespaces.insert(namespace("b"))
    with pytest.raises(CommitInDoubtError, match="may have happened"), postgres_store.write() as tx:  # noqa: PT012
        tx.namespaces.insert(namespace("a"))
        end_all()  # the commit finds it broken
    with postgres_store.write() as tx:
        tx.namespaces.insert(namespace("c"))
    end_all()  # while the connection was in use a moment ago
    with pytest.raises(MetadataStoreBusyError, match="reached"), postgres_store.read() as tx:
        tx.lake.get()
    with postgres_store.read() as tx:
        tx.lake.get()
    end_all()  # while the connection is idle
    monkeypatch.setattr(engine, "_IDLE_SECONDS", 0.0)
    with postgres_store.read() as tx:
        assert [space.name for space in tx.namespaces.page("", 9)] == ["c"]


def test_a_server_that_is_gone_is_waited_for(impatient: None) -> None:
    with tempfile.TemporaryDirectory(prefix="cordillera-pg-data-", dir="/tmp") as directory:
        with start_postgres(Path(directory)) as dsn:
            socket = conninfo.conninfo_to_dict(dsn)["host"]
            store = open_metadata_store(f"postgresql://postgres@/postgres?host={socket}")
            store.migrate()
        with pytest.raises(MetadataStoreBusyError, match="reached"), store.read() as tx:
            tx.lake.get()
        store.close()


def test_postgres_itself_forbids_writing_while_reading(postgres_url: str) -> None:
    store = SqlMetadataStore(postgres_url)
    with (
        store._database.reader.connect() as connection,
        pytest.raises(sa.exc.InternalError, match="read-only"),
    ):
        connection.execute(sa.text("DELETE FROM namespaces"))
    store.close()
