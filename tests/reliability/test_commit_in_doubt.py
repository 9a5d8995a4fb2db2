"""A commit whose outcome the writer does not learn: the connection to the database breaks, or somebody presses Ctrl-C.

Whatever may have been committed stays; a repetition under the same idempotency key settles it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest

from cordillera.app import Application
from cordillera.client import Lake
from cordillera.errors import MetadataStoreBusyError, StorageUnavailableError
from cordillera.ports.metadata import Transaction

SCHEMA = pa.schema([("id", pa.int64()), ("amount", pa.int64())])
OPERATIONS = ["append", "replace", "replace_partitions", "upsert", "partial_update", "delete"]
TROUBLES = [MetadataStoreBusyError("The connection broke."), KeyboardInterrupt()]


def app_of(lake: Lake) -> Application:
    return lake.backend.app  # type: ignore[attr-defined]


def break_next_commit(app: Application, error: BaseException, *, committed: bool) -> None:
    """Let the next writing transaction end in an error, before or behind its commit."""
    original = app.store.write

    @contextmanager
    def broken() -> Iterator[Transaction]:
        app.store.write = original  # type: ignore[method-assign]
        with original() as tx:
            yield tx
            if not committed:
                raise error
        raise error

    app.store.write = broken  # type: ignore[method-assign]


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
