"""Writers that have read a dataset's columns or partitioning before somebody changes them, and commit afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.client.dataset import Dataset
from cordillera.errors import WriteConflictError
from cordillera.spec.schema_evolution import AddColumn, DropColumn, RenameColumn, WidenColumn

SCHEMA = pa.schema([("id", pa.int32()), ("place", pa.string()), ("note", pa.string())])


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("a")
        made = lake.create_dataset("a.d", SCHEMA, key=["id"], partitioning=["place"])
        made.write(rows(1, 2), "append")
        yield made


def rows(*ids: int, place: str = "n") -> pa.Table:
    return pa.table([list(ids), [place] * len(ids), ["x"] * len(ids)], schema=SCHEMA)


def overtaken(table: pa.Table, meanwhile: Callable[[], object]) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        meanwhile()
        yield from table.to_batches()

    return pa.RecordBatchReader.from_batches(table.schema, batches())


def stored(dataset: Dataset) -> dict[int, tuple[object, ...]]:
    return {row["id"]: tuple(row.values())[1:] for row in dataset.scan().to_arrow().to_pylist()}


@pytest.mark.parametrize("operation", ["append", "upsert"])
def test_rows_follow_their_columns(dataset: Dataset, operation: str) -> None:
    changes = (
        RenameColumn("note", "remark"),
        WidenColumn("id", pa.int64()),
        AddColumn("note", pa.int32()),
        AddColumn("kind", pa.string(), default="d"),
    )
    dataset.write(overtaken(rows(3), lambda: dataset.evolve(*changes)), operation)
    assert dataset.schema.names == ["id", "place", "remark", "note", "kind"]
    assert stored(dataset) == dict.fromkeys((1, 2, 3), ("n", "x", None, "d"))


@pytest.mark.parametrize("operation", ["append", "upsert", "partial_update"])
def test_a_dropped_column_is_left_out(dataset: Dataset, operation: str) -> None:
    dataset.write(overtaken(rows(3), lambda: dataset.evolve(DropColumn("note"))), operation)
    assert stored(dataset) == {1: ("n",), 2: ("n",), 3: ("n",)}


@pytest.mark.parametrize("operation", ["append", "upsert", "partial_update", "replace"])
def test_files_are_laid_out_as_the_dataset_is_by_now(dataset: Dataset, operation: str) -> None:
    dataset.write(overtaken(rows(3, place="s"), lambda: dataset.partition_by("bucket(4, id)")), operation)
    added = [entry for entry in dataset.manifest(dataset.snapshots()[0]).entries if entry.added]
    assert [entry.partition.partition("=")[0] for entry in added] == ["id_bucket"]
    assert stored(dataset)[3] == ("s", "x")


def test_partitions_that_nobody_meant_are_not_replaced(dataset: Dataset) -> None:
    dataset.write(rows(3, place="s"), "append")
    with pytest.raises(WriteConflictError, match="partitioned otherwise"):
        dataset.write(overtaken(rows(4), lambda: dataset.partition_by("truncate(100, id)")), "replace_partitions")
    assert sorted(stored(dataset)) == [1, 2, 3]
    folder = Path(dataset.metadata_location.removeprefix("file://")).parent.parent / "data"
    assert len(list(folder.rglob("*.parquet"))) == 2  # nothing of the refused write remains
