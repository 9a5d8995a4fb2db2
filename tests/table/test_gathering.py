"""Small files that one copy-on-write touches become fewer; rows of many partitions gather before files are created."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.spec.merge import Operation, WriteMode
from cordillera.table import data_writer
from cordillera.table.data_writer import DEFAULT_TARGET_FILE_SIZE
from tests.table.harness import LooseTable

SCHEMA = pa.schema(
    [pa.field("id", pa.int64(), nullable=False), pa.field("place", pa.string()), pa.field("n", pa.int64())]
)


def rows(numbers: range, n: int, places: int = 3) -> list[dict[str, object]]:
    return [{"id": number, "place": f"p{number % places}", "n": n} for number in numbers]


def filled(folder: Path, files: int, **options: object) -> LooseTable:
    table = LooseTable(folder, SCHEMA, key=("id",), partitioning=("place",), mode=WriteMode.COPY_ON_WRITE, **options)
    for number in range(files):
        table.write(Operation.APPEND, rows(range(30 * number, 30 * number + 30), 0))
    return table


def live_files(table: LooseTable) -> dict[str, tuple[object, ...]]:
    return {live.path: live.file.partition for live in table.io.files.live(table.metadata.current_snapshot)}


@pytest.mark.parametrize("format_version", [2, 3])
def test_small_files_of_a_partition_become_one_when_touched_together(tmp_path: Path, format_version: int) -> None:
    table = filled(tmp_path, files=4, format_version=format_version)
    before, lineage = live_files(table), table.rows(lineage=True).sort_by("id")
    changed = [{"id": number, "place": "p0", "n": 1} for number in (0, 30, 60, 90)]
    table.write(Operation.UPSERT, [*changed, {"id": 1000, "place": "p0", "n": 1}])
    after = live_files(table)
    assert sorted(after.values()) == [("p0",), *[("p1",)] * 4, *[("p2",)] * 4]
    assert set(after) - set(before) == {path for path, partition in after.items() if partition == ("p0",)}
    found = table.rows(lineage=True).sort_by("id")
    assert found["id"].to_pylist() == [*range(120), 1000]
    assert [number for number, n in zip(found["id"].to_pylist(), found["n"].to_pylist(), strict=True) if n] == [
        *(0, 30, 60, 90),
        1000,
    ]
    if format_version == 3:
        assert found["_row_id"].to_pylist()[:-1] == lineage["_row_id"].to_pylist()


def test_a_small_file_alone_keeps_the_order_of_its_rows(tmp_path: Path) -> None:
    table = filled(tmp_path, files=2)
    table.write(Operation.UPSERT, [{"id": 3, "place": "p0", "n": 1}])
    assert len(live_files(table)) == 6
    assert table.rows()["id"].to_pylist().count(3) == 1
    assert sorted(live.file.record_count for live in table.io.files.live(table.metadata.current_snapshot)) == [10] * 6


@pytest.mark.parametrize("gathered", [data_writer._MAX_GATHERED_BYTES, 1])
def test_many_partitions_take_a_file_each_as_long_as_memory_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gathered: int
) -> None:
    monkeypatch.setattr(data_writer, "_MAX_GATHERED_BYTES", gathered)
    table, partitions = LooseTable(tmp_path, SCHEMA, key=("id",), partitioning=("place",)), 200
    parts = [pa.Table.from_pylist(rows(range(first, first + 400), 0, partitions), SCHEMA) for first in (0, 400, 800)]
    table.write(Operation.APPEND, pa.concat_tables(parts))
    files = live_files(table)
    assert len(files) == partitions * (1 if gathered > 1 else len(parts))
    assert sorted(table.rows()["id"].to_pylist()) == list(range(1200))


@pytest.mark.parametrize("most", [1, 64])
def test_no_more_files_are_open_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(data_writer, "_MAX_OPEN_FILES", most)
    monkeypatch.setattr(data_writer, "ROW_GROUP_ROWS", 10)
    table = LooseTable(tmp_path, SCHEMA, key=("id",), partitioning=("place",))
    parts = [pa.Table.from_pylist(rows(range(first, first + 60), 0), SCHEMA) for first in range(0, 600, 60)]
    table.write(Operation.APPEND, pa.concat_tables(parts))
    assert sorted(table.rows()["id"].to_pylist()) == list(range(600))
    assert len(live_files(table)) == 3 if most == 64 else len(live_files(table)) > 3
    assert all(
        live.file.file_size_in_bytes < DEFAULT_TARGET_FILE_SIZE
        for live in table.io.files.live(table.metadata.current_snapshot)
    )
