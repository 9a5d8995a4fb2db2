"""Rows are split by partition: each comes once, in its order, in memory of its partition alone; files are finished
several at a time, all of them or none."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.types import ListType, LongType, NestedField, StringType

from cordillera.errors import StorageUnavailableError
from cordillera.spec.partition_values import split_by_partition
from cordillera.table.content_file import ContentFile
from cordillera.table.data_writer import DataWriter, stored_schema
from cordillera.table.parquet_encoding import ROW_GROUP_ROWS, ParquetEncoding
from cordillera.testing.storage_memory import FaultyStorage, MemoryStorage

ROWS = ROW_GROUP_ROWS + 1_000
SCHEMA = Schema(
    NestedField(1, "number", LongType(), required=True),
    NestedField(2, "region", StringType(), required=False),
    NestedField(3, "tags", ListType(4, StringType(), element_required=False), required=False),
)
BY_REGION = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "region"))


def rows(regions: list[str | None]) -> pa.RecordBatch:
    numbers = np.arange(ROWS)
    chosen = pa.array(regions).take(pa.array(numbers % len(regions)))
    tags = pa.array([["a", None], [], None] * (ROWS // 3 + 1), pa.list_(pa.string())).slice(0, ROWS)
    return pa.record_batch([pa.array(numbers), chosen, tags], ["number", "region", "tags"])


@pytest.mark.parametrize("lie_together", [True, False])
def test_each_row_comes_once_and_in_its_order_with_the_rows_of_its_partition(lie_together: bool) -> None:
    given = rows(["north", None, "south"]).slice(5)
    given = given.sort_by("region") if lie_together else given
    found = defaultdict(list)
    for partition, part in split_by_partition(BY_REGION, SCHEMA, given):
        found[partition].append(part)
    assert set(found) == {("north",), (None,), ("south",)}
    for (region,), parts in found.items():
        wanted = [value == region for value in given.column("region").to_pylist()]
        assert pa.Table.from_batches(parts).combine_chunks() == pa.table(given.filter(pa.array(wanted)))


def test_rows_of_one_partition_keep_no_others_in_memory() -> None:
    before = pa.total_allocated_bytes()
    given = rows(["seldom", *["often"] * 99])
    seldom = [part for partition, part in split_by_partition(BY_REGION, SCHEMA, given) if partition == ("seldom",)]
    kept = sum(part.num_rows for part in seldom)
    size = given.nbytes
    del given
    assert kept == -(-ROWS // 100)
    assert pa.total_allocated_bytes() - before < size / 10


def test_rows_of_an_unpartitioned_table_stay_together_and_no_rows_are_no_part() -> None:
    given = rows(["north"])
    assert list(split_by_partition(PartitionSpec(), SCHEMA, given)) == [((), given)]
    by_bucket = PartitionSpec(PartitionField(1, 1000, BucketTransform(4), "bucket"))
    assert [list(split_by_partition(spec, SCHEMA, given.slice(0, 0))) for spec in (PartitionSpec(), by_bucket)] == [
        [],
        [],
    ]


@pytest.mark.parametrize("fails_at", [1, 13, 30, None])
def test_if_one_of_many_files_cannot_be_finished_none_remains(fails_at: int | None) -> None:
    storage = MemoryStorage()
    faulty = FaultyStorage(storage)
    writer = DataWriter(faulty, "memory://lake/t", SCHEMA, BY_REGION, 1 << 20, ParquetEncoding({}, 3), uuid4)
    given = rows([f"region {number}" for number in range(30)]).cast(stored_schema(SCHEMA, []))
    if fails_at is not None:
        faulty.fail_write(fails_at)
        with pytest.raises(StorageUnavailableError, match="A failure was asked for"):
            writer.write([given])
        assert not list(storage.list(storage.root))
        return
    files = writer.write([given])
    assert {file.partition for file in files} == {(f"region {number}",) for number in range(30)}
    assert sum(file.record_count for file in files) == ROWS
    assert {one.uri: one.size for one in storage.list(storage.root)} == {
        file.file_path: file.file_size_in_bytes for file in files
    }


def test_what_a_small_commit_writes_is_one_file_for_which_no_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda *_: pytest.fail("a thread was started"))
    storage = MemoryStorage()
    faulty = FaultyStorage(storage)
    given = rows(["north"]).slice(0, 10).cast(stored_schema(SCHEMA, []))

    def write() -> list[ContentFile]:
        spec = PartitionSpec()
        return DataWriter(faulty, "memory://lake/t", SCHEMA, spec, 1 << 20, ParquetEncoding({}, 3), uuid4).write(
            [given]
        )

    faulty.fail_write(1)
    with pytest.raises(StorageUnavailableError, match="A failure was asked for"):
        write()
    assert not list(storage.list(storage.root))
    [file] = write()
    assert file.record_count == 10
    assert [(one.uri, one.size) for one in storage.list(storage.root)] == [(file.file_path, file.file_size_in_bytes)]
