"""Looking few keys up: the rows found are those that a scan finds, whatever happened to the table in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordillera.errors import CorruptDataError
from cordillera.spec.merge import Operation
from cordillera.spec.schema_evolution import RenameColumn, WidenColumn
from cordillera.table import data_writer, key_lookup
from cordillera.table.integer_keys import IntegerSearch, KeyNumbers
from cordillera.table.pruning import key_ranges
from tests.table.harness import LooseTable
from tests.table.test_key_types import KEYS, batch

ROWS = 300_000  # three row groups
DAY = datetime(2026, 1, 1, tzinfo=UTC)


def table_of(folder: Path, key: tuple[str, ...] = ("id",)) -> LooseTable:
    schema = pa.schema([("id", pa.int32()), ("at", pa.timestamp("us", "UTC")), ("name", pa.string())])
    return LooseTable(folder, schema, key=key)


def rows(numbers: range, name: str = "x") -> pa.Table:
    ids = pa.array(numbers, pa.int32())
    at = pc.add(pa.scalar(DAY), pc.multiply(pc.cast(pc.divide(ids, 1000), pa.int64()), pa.scalar(timedelta(hours=1))))
    return pa.table({"id": ids, "at": at.cast(pa.timestamp("us", "UTC")), "name": [name] * len(numbers)})


def found(table: LooseTable, keys: pa.Table) -> list[dict[str, Any]]:
    schema = table.metadata.schema
    ranges = key_ranges(keys, schema, keys.column_names)
    live = table.io.files.live(table.metadata.current_snapshot)
    result = table.io.keys.find(live, schema.select(*keys.column_names), ranges)
    return sorted(result.select([*keys.column_names, "_row_id"]).to_pylist(), key=lambda row: row["_row_id"])


def scanned(table: LooseTable, keys: pa.Table) -> list[dict[str, Any]]:
    stored = table.rows(lineage=True)
    for name in keys.column_names:
        stored = stored.filter(pc.is_in(stored.column(name), value_set=keys.column(name).combine_chunks()))
    return sorted(stored.select([*keys.column_names, "_row_id"]).to_pylist(), key=lambda row: row["_row_id"])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> LooseTable:
    table = table_of(tmp_path_factory.mktemp("large"))
    table.write(Operation.APPEND, rows(range(ROWS)))
    table.write(Operation.DELETE, rows(range(0, ROWS, 7)).select(["id"]))
    table.write(Operation.UPSERT, rows(range(5, ROWS + 50, 10_007), "y"))
    return table


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-5, ROWS + 100), min_size=1, max_size=30))
def test_what_is_found_is_what_a_scan_finds(large: LooseTable, numbers: list[int]) -> None:
    keys = pa.table({"id": pa.array(numbers, pa.int32())})
    assert found(large, keys) == scanned(large, keys)


@pytest.mark.parametrize("numbers", [range(-5, ROWS + 100, 30), range(7, 5_000, 7), range(99_990, 100_010)])
@pytest.mark.parametrize("key", [["id"], ["at", "id"]])
def test_the_keys_of_many_rows_are_found_as_numbers(large: LooseTable, key: list[str], numbers: range) -> None:
    keys = rows(numbers).select(key)
    numbered = KeyNumbers.of(keys, key)
    assert numbered is not None
    live = large.io.files.live(large.metadata.current_snapshot)
    schema = large.metadata.schema.select(*key)
    found = large.io.keys.stream(live, schema, lambda _: True, IntegerSearch(numbered)).read_all()
    stored = large.rows(lineage=True).join(keys, key, join_type="inner")
    ordered = [rows.select([*key, "_row_id"]).sort_by("_row_id").to_pydict() for rows in (found, stored)]
    assert ordered[0] == ordered[1]


def test_of_a_key_with_several_columns_each_value_counts(tmp_path: Path) -> None:
    table = table_of(tmp_path, ("at", "id"))
    table.write(Operation.APPEND, rows(range(0, ROWS, 3)))
    keys = rows(range(0, ROWS, 29_997)).select(["at", "id"])
    assert len(found(table, keys)) == 11
    assert found(table, keys) == scanned(table, keys)


def test_many_keys_of_a_type_that_is_stored_as_numbers(tmp_path: Path) -> None:
    table = table_of(tmp_path, ("at", "id"))
    table.write(Operation.APPEND, rows(range(0, ROWS, 3)))
    keys = rows(range(0, ROWS, 1_500)).select(["at", "id"])
    assert len(found(table, keys)) == 200
    assert found(table, keys) == scanned(table, keys)


def test_a_key_that_was_renamed_and_widened(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(Operation.APPEND, rows(range(1000)))
    assert len(found(table, pa.table({"id": pa.array([5, 999, 1000], pa.int32())}))) == 2
    table.evolve(WidenColumn("id", pa.int64()), RenameColumn("id", "number"))
    table.write(Operation.UPSERT, [{"number": 2**40, "at": DAY, "name": "z"}, {"number": 5, "at": DAY, "name": "z"}])
    keys = pa.table({"number": pa.array([5, 999, 2**40], pa.int64())})
    assert [row["number"] for row in found(table, keys)] == [5, 999, 2**40]


def reads(table: LooseTable, work: Callable[[], object]) -> int:
    """Count the row groups that are read in doing something."""
    with patch.object(
        pq.ParquetFile, "read_row_group", autospec=True, side_effect=pq.ParquetFile.read_row_group
    ) as read:
        work()
    return int(read.call_count)


def test_only_row_groups_that_may_hold_a_key_are_read_and_only_once(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(Operation.APPEND, rows(range(ROWS)))
    keys = pa.table({"id": pa.array([3, ROWS - 3], pa.int32())})
    table.forget()
    assert reads(table, lambda: found(table, keys)) == 2
    assert reads(table, lambda: found(table, keys)) == 0


def test_what_the_manifest_does_not_tell_of_a_file_its_footer_does(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(Operation.APPEND, rows(range(1000)))
    table.forget()
    (live,) = table.io.files.live(table.metadata.current_snapshot)
    silent = replace(live, data=replace(live.data, file=replace(live.file, lower_bounds={}, upper_bounds={})))
    schema = table.metadata.schema.select("id")
    ranges = key_ranges(pa.table({"id": pa.array([1000], pa.int32())}), schema, ["id"])
    assert reads(table, lambda: table.io.keys.find([silent], schema, ranges)) == 0


def stored_keys(table: LooseTable) -> list[str]:
    """Return keys, sequences and row ids as a lookup sees them, in its order."""
    schema = table.metadata.schema.select(*table.metadata.semantics.identifying)
    live = table.io.files.live(table.metadata.current_snapshot)
    return [repr(row) for row in table.io.keys.stream(live, schema, lambda _: True).read_all().to_pylist()]


def kept_keys(table: LooseTable) -> list[str]:
    """Return what ``stored_keys`` does, without reading a file that was written."""
    kept: list[str] = []
    assert reads(table, lambda: kept.extend(stored_keys(table))) == 0
    return kept


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_every_type_are_kept_as_they_are_read(tmp_path: Path, name: str) -> None:
    kind, keys = KEYS[name]
    table = LooseTable(tmp_path, pa.schema([("k", kind), ("v", pa.int64())]), key=("k",))
    table.write(Operation.APPEND, batch(kind, keys, 1))
    table.write(Operation.UPSERT, batch(kind, keys[1:], 2))
    kept = kept_keys(table)
    table.forget()
    assert kept == stored_keys(table)


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(1, 2_500), min_size=1, max_size=4), st.sampled_from([(), ("region",)]), st.booleans())
def test_keys_of_many_row_groups_are_kept_as_they_are_read(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], partitioning: tuple[str, ...], compacted: bool
) -> None:
    schema = pa.schema([("region", pa.string()), ("id", pa.int64()), ("at", pa.int32())])
    folder = tmp_path_factory.mktemp("groups")
    table = LooseTable(folder, schema, key=("region", "id"), sequence="at", partitioning=partitioning)
    ids = range(sum(sizes))
    given = pa.table({"region": [("north", "south")[i % 7 % 2] for i in ids], "id": ids, "at": ids}, schema=schema)
    with patch.object(data_writer, "ROW_GROUP_ROWS", 1_000):
        staged = table.writer.stage(Operation.APPEND, split(given, sizes), table.metadata)
        table.commit(table.writer.resolve(staged, table.metadata))
        table.write(Operation.UPSERT, given.slice(0, 1))
        if compacted:
            table.compact()
    kept = kept_keys(table)
    table.forget()
    assert kept == stored_keys(table)


def split(given: pa.Table, sizes: list[int]) -> pa.RecordBatchReader:
    """Return rows in batches of some sizes."""
    whole, ends = given.combine_chunks().to_batches()[0], list(accumulate(sizes))
    batches = [whole.slice(end - size, size) for end, size in zip(ends, sizes, strict=True)]
    return pa.RecordBatchReader.from_batches(given.schema, batches)


def test_kept_keys_keep_nothing_else_in_memory(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(Operation.APPEND, rows(range(500, 510)))
    table.forget()
    (live,) = table.io.files.live(table.metadata.current_snapshot)
    key = table.metadata.schema.select("id")
    table.io.keys.keeper(key).keep_rows(live.path, 0, rows(range(10_000)).slice(500, 10))
    kept = table.io.keys.stream([live], key, lambda _: True).read_all().column("id")
    assert kept.to_pylist() == list(range(500, 510))
    assert kept.chunk(0).buffers()[1].size == kept.nbytes


def test_what_is_kept_in_memory_is_bounded(tmp_path: Path) -> None:
    with patch.object(key_lookup, "_KEY_BYTES", 1_000_000):
        table = table_of(tmp_path)
    table.write(Operation.APPEND, rows(range(ROWS)))
    keys = pa.table({"id": pa.array([3, ROWS // 2, ROWS - 3], pa.int32())})
    for _ in range(2):
        assert len(found(table, keys)) == 3
    assert reads(table, lambda: found(table, keys)) > 0


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(Operation.APPEND, rows(range(1000)))
    (live,) = table.io.files.live(table.metadata.current_snapshot)
    path = Path(live.path.removeprefix("file://"))
    path.write_bytes(path.read_bytes()[:-100])
    table.forget()
    with pytest.raises(CorruptDataError, match=path.name):
        found(table, pa.table({"id": pa.array([3], pa.int32())}))
