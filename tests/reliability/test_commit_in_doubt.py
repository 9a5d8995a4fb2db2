"""A commit whose outcome the writer does not learn: the connection to the database breaks, or somebody presses Ctrl-C.

Whatever may have been committed stays; a repetition under the same idempotency key settles it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

import cordillera
from cordillera.adapters.db.dataset_versions import SqlDatasetVersionRows
from cordillera.app import Application
from cordillera.client import Lake
from cordillera.errors import CommitInDoubtError, StorageUnavailableError
from cordillera.ports.metadata import Transaction

SCHEMA = pa.schema([("id", pa.int64()), ("amount", pa.int64())])
OPERATIONS = ["append", "replace", "replace_partitions", "upsert", "partial_update", "delete"]
TROUBLES = [CommitInDoubtError("The connection broke."), KeyboardInterrupt()]


def app_of(lake: Lake) -> Application:
    return lake.backend.app


def break_next_commit(app: Application, error: BaseException, *, committed: bool) -> None:
    """Let the next commit's transaction end in an error, before or behind its commit."""
    original = app.store.write_together

    @contextmanager
    def broken() -> Iterator[Transaction]:
        app.store.write_together = original
        with original() as tx:
            yield tx
            if not committed:
                raise error
        raise error

    app.store.write_together = broken


@pytest.fixture
def keyed(lake: Lake) -> Lake:
    lake.create_namespace("a")
    dataset = lake.create_dataset("a.keyed", SCHEMA, key=["id"], partitioning=["id"])
    dataset.write(pa.table({"id": [1, 2], "amount": [1, 1]}), "append")
    return lake


def expected(operation: str) -> dict[int, int]:
    rows = {"append": {1: 1, 2: 1, 3: 9}, "replace": {3: 9}, "replace_partitions": {1: 1, 2: 1, 3: 9}}
    return rows.get(operation, {1: 1} if operation == "delete" else {1: 1, 2: 9})


def amounts(lake: Lake) -> dict[int, int]:
    return {row["id"]: row["amount"] for row in lake.dataset("a.keyed").scan().to_arrow().to_pylist()}


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_may_have_been_committed_stays(
    keyed: Lake, operation: str, trouble: BaseException, committed: bool
) -> None:
    rows = pa.table({"id": [3 if operation.startswith(("append", "replace")) else 2], "amount": [9]})
    break_next_commit(app_of(keyed), trouble, committed=committed)
    with pytest.raises(type(trouble)):
        keyed.dataset("a.keyed").write(rows, operation, idempotency_key="k")
    assert amounts(keyed) == (expected(operation) if committed else {1: 1, 2: 1})
    result = keyed.dataset("a.keyed").write(rows, operation, idempotency_key="k")
    assert result.replayed == committed
    assert amounts(keyed) == expected(operation)
    assert keyed.dataset("a.keyed").details().version.sequence_number == 2
    assert bool(keyed.backend.orphans(older_than_hours=0)) == (not committed)


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda error: type(error).__name__)
def test_what_a_transaction_may_have_committed_stays(keyed: Lake, trouble: BaseException, committed: bool) -> None:
    other = keyed.create_dataset("a.other", SCHEMA)

    def transact() -> bool:
        with keyed.transaction(idempotency_key="k") as tx:
            tx.write("a.keyed", pa.table({"id": [2], "amount": [9]}), "upsert")
            tx.write("a.other", pa.table({"id": [5], "amount": [9]}))
        return all(result.replayed for result in tx.results)

    break_next_commit(app_of(keyed), trouble, committed=committed)
    with pytest.raises(type(trouble)):
        transact()
    assert amounts(keyed) == ({1: 1, 2: 9} if committed else {1: 1, 2: 1})
    assert other.details().version.rows == int(committed)
    assert transact() == committed
    assert amounts(keyed) == {1: 1, 2: 9}
    assert other.scan().to_arrow().to_pylist() == [{"id": 5, "amount": 9}]
    assert bool(keyed.backend.orphans(older_than_hours=0)) == (not committed)


@pytest.mark.parametrize(("key", "advice"), [("k", "same idempotency key, 'k'"), (None, "newest snapshots")])
def test_the_error_names_the_dataset_and_says_what_to_do(keyed: Lake, key: str | None, advice: str) -> None:
    break_next_commit(app_of(keyed), CommitInDoubtError("The connection broke."), committed=True)
    with pytest.raises(CommitInDoubtError, match=r"not known whether the commit to a\.keyed was done") as caught:
        keyed.dataset("a.keyed").write(pa.table({"id": [3], "amount": [9]}), "append", idempotency_key=key)
    assert advice in caught.value.hint
    assert keyed.dataset("a.keyed").snapshots(limit=1)[0].sequence_number == 2


@pytest.mark.parametrize("lost", ["before", "behind"])
def test_a_connection_to_postgres_that_is_lost_during_the_commit(
    tmp_path: Path, metadata_url: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    original, rows = psycopg.Connection.commit, pa.table({"id": [2], "amount": [9]})

    def commit(connection: psycopg.Connection[object]) -> None:
        """Commit on a connection that the server ends before it has the request, or before it has answered."""
        monkeypatch.undo()
        if lost == "behind":
            original(connection)
        with psycopg.connect(connection.info.dsn, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        original(connection)
        connection.execute("SELECT 1")

    with cordillera.create(tmp_path / "lake", metadata_url=metadata_url) as lake:
        lake.create_namespace("a")
        dataset = lake.create_dataset("a.keyed", SCHEMA, key=["id"])
        dataset.write(pa.table({"id": [1], "amount": [1]}), "append")
        lose_next_commit(app_of(lake), monkeypatch, commit)
        with pytest.raises(CommitInDoubtError, match=r"a\.keyed"):
            dataset.write(rows, "upsert", idempotency_key="k")
        assert dataset.write(rows, "upsert", idempotency_key="k").replayed == (lost == "behind")
        assert amounts(lake) == {1: 1, 2: 9}
        assert bool(lake.backend.orphans(older_than_hours=0)) == (lost == "before")


def lose_next_commit(
    app: Application, monkeypatch: pytest.MonkeyPatch, commit: Callable[[psycopg.Connection[object]], None]
) -> None:
    """Let the next transaction that moves a table end with ``commit``."""
    swap = SqlDatasetVersionRows.swap

    def swapped(*args: object, **kwargs: object) -> bool:
        monkeypatch.setattr(psycopg.Connection, "commit", commit)
        return swap(*args, **kwargs)

    monkeypatch.setattr(SqlDatasetVersionRows, "swap", swapped)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_storage_that_fails_on_the_way_leaves_no_file(
    keyed: Lake, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: object) -> None:
        raise StorageUnavailableError("The storage does not answer.")

    rows = pa.table({"id": [3 if operation.startswith(("append", "replace")) else 2], "amount": [9]})
    monkeypatch.setattr(app_of(keyed).tables, "write_successor", unavailable)
    with pytest.raises(StorageUnavailableError):
        keyed.dataset("a.keyed").write(rows, operation, idempotency_key="k")
    monkeypatch.undo()
    assert amounts(keyed) == {1: 1, 2: 1}
    assert keyed.backend.orphans(older_than_hours=0) == []
    keyed.dataset("a.keyed").write(rows, operation, idempotency_key="k")
    assert amounts(keyed) == expected(operation)
