"""What a dataset's isolation says about writes that were overtaken, and whose turn it is after lost races."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

import cordillera
from cordillera.catalog.requests import CommitRequest
from cordillera.client import Dataset, Lake
from cordillera.context import acting
from cordillera.errors import CommitConflictError, InvalidSchemaError, WriteConflictError
from cordillera.spec.commit import SetProperties

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("note", pa.string())])


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales", owner="team")
        yield lake


@pytest.fixture
def make(lake: Lake) -> Callable[[str], Dataset]:
    def make(isolation: str) -> Dataset:
        dataset = lake.create_dataset("sales.orders", SCHEMA, key=["id"], properties={"write.isolation": isolation})
        dataset.write(rows({1: "a", 2: "a", 3: "a"}), "append")
        return dataset

    return make


def rows(notes: dict[int, str]) -> pa.Table:
    return pa.table({"id": list(notes), "note": list(notes.values())}, schema=SCHEMA)


def overtaken(notes: dict[int, str], by: Callable[[], object]) -> pa.RecordBatchReader:
    """Rows during whose reading something else happens."""

    def batches() -> Iterator[pa.RecordBatch]:
        by()
        yield from rows(notes).to_batches()

    return pa.RecordBatchReader.from_batches(SCHEMA, batches())


def stored(dataset: Dataset) -> dict[int, str]:
    return {row["id"]: row["note"] for row in dataset.scan().to_arrow().to_pylist()}


@pytest.mark.parametrize("isolation", ["snapshot", "serializable"])
def test_who_is_overtaken_on_other_rows_commits_behind(make: Callable[[str], Dataset], isolation: str) -> None:
    dataset = make(isolation)
    result = dataset.write(
        overtaken({1: "b", 9: "b"}, lambda: dataset.write(rows({2: "c", 8: "c"}), "upsert")), "upsert"
    )
    assert (result.sequence_number, result.rows_inserted, result.rows_updated) == (3, 1, 1)
    assert stored(dataset) == {1: "b", 2: "c", 3: "a", 8: "c", 9: "b"}


def test_on_the_same_rows_the_later_commit_wins(make: Callable[[str], Dataset]) -> None:
    dataset = make("snapshot")
    dataset.write(overtaken({1: "b"}, lambda: dataset.write(rows({1: "c"}), "upsert")), "upsert")
    assert stored(dataset)[1] == "b"


@pytest.mark.parametrize(
    "other",
    [
        lambda dataset: dataset.write(rows({1: "c"}), "upsert"),
        lambda dataset: dataset.write(rows({9: "c"}), "append"),
        lambda dataset: dataset.delete_where("id = 1"),
    ],
)
def test_on_the_same_rows_serializable_writes_are_refused(
    make: Callable[[str], Dataset], lake: Lake, other: Callable[[Dataset], Any]
) -> None:
    dataset = make("serializable")
    with pytest.raises(WriteConflictError, match=r"sales\.orders"):
        dataset.write(overtaken({1: "b", 9: "b"}, lambda: other(dataset)), "upsert")
    assert "b" not in stored(dataset).values()
    assert lake.backend.orphans(older_than_hours=0) == []


def test_compaction_is_no_change(make: Callable[[str], Dataset]) -> None:
    dataset = make("serializable")
    dataset.write(rows({3: "b"}), "upsert")
    dataset.write(overtaken({1: "b"}, lambda: dataset.compact("sort")), "upsert")
    assert stored(dataset) == {1: "b", 2: "a", 3: "b"}
    assert len(dataset.snapshots()) == 4


def test_an_isolation_that_there_is_not_is_refused(make: Callable[[str], Dataset]) -> None:
    with pytest.raises(InvalidSchemaError, match="serialisable"):
        make("serialisable")


def test_nobody_commits_in_the_turn_of_another(make: Callable[[str], Dataset], lake: Lake) -> None:
    dataset, app = make("snapshot"), lake.backend.app
    target, writer, now = app.catalog.dataset("sales.orders"), uuid4(), app.clock.now()
    with app.store.write() as tx:
        assert tx.dataset_versions.reserve(target.version.id, writer, now, now + timedelta(minutes=1))
    with pytest.raises(CommitConflictError, match="turn"):
        app.commits.commit(target, CommitRequest(updates=(SetProperties({"a": "b"}),)))
    with acting(turn=writer):
        assert dataset.write(rows({1: "b"}), "upsert").sequence_number == 2
    with app.store.write() as tx:
        tx.dataset_versions.release(target.version.id, writer)
    assert dataset.write(rows({2: "c"}), "upsert").sequence_number == 3
    assert stored(dataset) == {1: "b", 2: "c", 3: "a"}
