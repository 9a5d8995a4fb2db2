"""What an upgrade, a rollback and a cherry-pick do to rows, files and row ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cordillera.spec.commit import UpgradeFormatVersion, apply
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.refs import on_branch
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.branching import BranchWriter
from tests.table.harness import LooseTable

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("note", pa.string())])


def rows(ids: range, note: str) -> list[dict[str, Any]]:
    return [{"id": i, "note": note} for i in ids]


def lineage(table: LooseTable, snapshot: IcebergSnapshot | None = None) -> dict[int, tuple[int, int]]:
    found = table.rows(snapshot, lineage=True).to_pylist()
    return {row["id"]: (row["_row_id"], row["_last_updated_sequence_number"]) for row in found}


def data_files(table: LooseTable) -> set[str]:
    return {found.uri for found in table.io.storage.list(table.metadata.location) if found.uri.endswith(".parquet")}


def test_an_upgrade_is_a_metadata_commit_and_the_next_commit_assigns_ids(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), format_version=2)
    table.write(Operation.APPEND, rows(range(4), "a"))
    table.write(Operation.APPEND, rows(range(4, 6), "b"))
    before, files = table.metadata, data_files(table)
    table.metadata = TableMetadata.from_json(apply((UpgradeFormatVersion(3),), before, table.io.now_ms()).to_json())
    assert (table.metadata.format_version, table.metadata.next_row_id) == (3, 0)
    assert table.metadata.snapshots == before.snapshots
    assert set(lineage(table).values()) == {(None, None)}
    assert data_files(table) == files
    table.write(Operation.UPSERT, [{"id": 5, "note": "c"}, {"id": 9, "note": "c"}])
    now = lineage(table)
    assert sorted(row_id for row_id, _ in now.values()) == sorted({row_id for row_id, _ in now.values()})
    assert {i: sequence for i, (_, sequence) in now.items()} == {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 3, 9: 3}
    snapshot = table.metadata.current_snapshot
    assert snapshot is not None
    assert snapshot.first_row_id == 0
    assert table.metadata.next_row_id == snapshot.added_rows
    assert max(row_id for row_id, _ in now.values()) < (table.metadata.next_row_id or 0)
    assert set(lineage(table, before.current_snapshot).values()) == {(None, None)}
    assert len(data_files(table)) == len(files) + 1


@pytest.mark.parametrize("mode", WriteMode)
def test_a_rollback_has_the_same_rows_ids_and_files_again(tmp_path: Path, mode: WriteMode) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), mode=mode)
    table.write(Operation.APPEND, rows(range(10), "a"))
    table.write(Operation.UPSERT, rows(range(3, 6), "b"))
    good, known = table.metadata.current_snapshot, lineage(table)
    assert good is not None
    table.write(Operation.UPSERT, rows(range(4, 15), "c"))
    table.write(Operation.DELETE, pa.table({"id": pa.array([0, 1], pa.int64())}))
    files, next_row_id = data_files(table), table.metadata.next_row_id
    table.commit(BranchWriter(table.io, "test.table").rollback(table.metadata, good))
    assert lineage(table) == known
    assert data_files(table) == files
    now = table.metadata.current_snapshot
    assert now is not None
    assert (now.sequence_number, now.added_rows, table.metadata.next_row_id) == (5, 0, next_row_id)
    assert now.summary["total-records"] == good.summary["total-records"]
    table.write(Operation.UPSERT, rows(range(9, 11), "d"))
    assert lineage(table)[10][0] >= (next_row_id or 0)


def test_a_cherry_picked_append_writes_no_data_file(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.write(Operation.APPEND, rows(range(10), "a"))
    fork = table.metadata
    assert fork.current_snapshot_id is not None
    table.metadata = fork.with_changes(refs={**fork.refs, "audit": fork.refs["main"]})
    view = on_branch(table.metadata, "audit", "test.table")
    staged = table.writer.stage(Operation.APPEND, _reader(rows(range(20, 25), "b")), view)
    picked = table.commit(table.writer.resolve(staged, view)).snapshot
    table.write(Operation.APPEND, rows(range(30, 32), "c"))
    files = data_files(table)
    assert picked is not None
    taken = table.commit(BranchWriter(table.io, "test.table").cherry_pick(table.metadata, picked, None))
    assert data_files(table) == files
    assert taken.snapshot is not None
    assert taken.snapshot.summary["source-snapshot-id"] == str(picked.snapshot_id)
    now = lineage(table)
    assert now.keys() == {*range(10), *range(20, 25), 30, 31}
    assert {now[i][1] for i in range(20, 25)} == {taken.snapshot.sequence_number}
    assert len({row_id for row_id, _ in now.values()}) == len(now)


def _reader(values: list[dict[str, Any]]) -> pa.RecordBatchReader:
    return pa.Table.from_pylist(values, schema=SCHEMA).to_reader()
