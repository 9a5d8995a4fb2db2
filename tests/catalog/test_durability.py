"""Everything that a commit makes visible is on the disk before: its files, and their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.client import Dataset, Lake
from cordillera.errors import ContractViolationError
from cordillera.ports.metadata import Transaction
from tests.contracts.test_contracts import CONTRACT, batch

_OF_TABLES = {".parquet", ".avro", ".json", ".puffin", ".arrow"}


@pytest.fixture
def missing(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """What of the tables' files was not durable when the transaction of a commit began."""
    synced: set[int] = set()
    found: list[Path] = []
    commits = 0
    fsync, write_together = os.fsync, SqlMetadataStore.write_together

    def record(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    @contextmanager
    def check(store: SqlMetadataStore) -> Iterator[Transaction]:
        nonlocal commits
        files = [one for one in (tmp_path / "lake").rglob("*") if one.suffix in _OF_TABLES]
        found.extend(one for one in {*files, *(one.parent for one in files)} if one.stat().st_ino not in synced)
        commits += len(files) > 1
        with write_together(store) as tx:
            yield tx

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(SqlMetadataStore, "write_together", check)
    yield found
    assert commits


@pytest.fixture
def orders(lake: Lake, missing: list[Path]) -> Dataset:
    lake.create_namespace("sales")
    return lake.create_dataset("sales.orders", contract=CONTRACT)


def test_files_are_durable_before_a_write_is_visible(orders: Dataset, missing: list[Path]) -> None:
    orders.write(batch((1, 1, "AB"), (2, 2, "AB")), "upsert")
    orders.write(batch((2, 3, "AB")), "upsert")  # brings a deletion vector
    orders.write(batch((3, 3, "AB")), "append")
    orders.delete_where("id = 1")
    assert orders.scan().to_arrow().num_rows == 2
    assert missing == []


def test_files_are_durable_before_a_refused_write_is_kept(orders: Dataset, missing: list[Path]) -> None:
    with pytest.raises(ContractViolationError) as caught:
        orders.write(batch((1, 600, "AB"), (2, 600, "AB")), "upsert")
    assert orders.scan(as_of=caught.value.details["candidate"]).to_arrow().num_rows == 2
    assert missing == []


def test_files_are_durable_before_a_transaction_is_visible(lake: Lake, orders: Dataset, missing: list[Path]) -> None:
    lake.create_dataset("sales.others", contract=CONTRACT)
    with lake.transaction() as tx:
        tx.write("sales.orders", batch((1, 1, "AB")), "upsert")
        tx.write("sales.others", batch((1, 1, "AB")), "append")
    assert missing == []
