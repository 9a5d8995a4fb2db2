"""What we write, other engines read: after every kind of operation, in both format versions and write modes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.merge_clauses import MergeClause, Then, When
from cordillera.spec.schema_evolution import AddColumn, DropColumn, MoveColumn, RenameColumn, WidenColumn
from tests.interop.engines import EVERY_READER, READERS
from tests.spark.process import SparkError
from tests.table.harness import LooseTable

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("day", pa.timestamp("us", "UTC")),
        pa.field("amount", pa.int32()),
        pa.field("price", pa.decimal128(12, 2)),
        pa.field("ratio", pa.float32()),
        pa.field("note", pa.string()),
        pa.field("flag", pa.bool_()),
        pa.field("born", pa.date32()),
        pa.field("home", pa.struct([pa.field("city", pa.string()), pa.field("zip", pa.int32())])),
        pa.field("marks", pa.list_(pa.int64())),
    ]
)
CASES = [
    pytest.param(3, WriteMode.MERGE_ON_READ, id="v3-merge-on-read"),
    pytest.param(3, WriteMode.COPY_ON_WRITE, id="v3-copy-on-write"),
    pytest.param(2, WriteMode.COPY_ON_WRITE, id="v2-copy-on-write"),
]
MERGE = [
    MergeClause(When.MATCHED, Then.DELETE, "source.id = 105"),
    MergeClause(When.MATCHED, Then.UPDATE, columns=("note",)),
    MergeClause(When.NOT_MATCHED, Then.INSERT),
]


def rows(ids: range, note: str | None) -> list[dict[str, Any]]:
    start = datetime(2013, 1, 1, tzinfo=UTC)
    return [
        {
            "id": i,
            "day": start + timedelta(days=i, microseconds=i),
            "amount": i * 10,
            "price": Decimal(i) / 4,
            "ratio": i / 2,
            "note": note,
            "flag": i % 2 == 0,
            "born": date(2000, 1, 1) + timedelta(days=i),
            "home": {"city": f"city {i}", "zip": i} if i % 3 else None,
            "marks": list(range(i % 4)) if i % 5 else None,
        }
        for i in ids
    ]


def publish(table: LooseTable, number: int) -> str:
    """Write the metadata file as the catalog would; return its location."""
    location = f"{table.metadata.location}/metadata/{number:05d}-test.metadata.json"
    table.io.storage.write(location, table.metadata.to_json())
    return location


def same_rows(ours: pa.Table, theirs: pa.Table) -> None:
    assert set(ours.column_names) == set(theirs.column_names)
    left = sorted(ours.to_pylist(), key=lambda row: row["id"])
    right = sorted(theirs.select(ours.column_names).to_pylist(), key=lambda row: row["id"])
    assert left == right


@pytest.mark.parametrize(("format_version", "mode"), CASES)
@EVERY_READER
def test_engine_reads_every_operation(tmp_path: Path, engine: str, format_version: int, mode: WriteMode) -> None:
    table = LooseTable(
        tmp_path, SCHEMA, key=("id",), partitioning=("month(day)",), mode=mode, format_version=format_version
    )
    steps: list[Any] = [
        lambda: table.write(Operation.APPEND, rows(range(60), "first")),
        lambda: table.write(Operation.UPSERT, rows(range(50, 80), "second")),
        lambda: table.write(Operation.DELETE, pa.table({"id": pa.array([3, 55, 79], pa.int64())})),
        lambda: table.write(
            Operation.PARTIAL_UPDATE,
            pa.table({"id": pa.array([1, 2], pa.int64()), "note": pa.array(["third", None], pa.string())}),
        ),
        lambda: table.delete_where("amount BETWEEN 300 AND 420"),
        lambda: table.write(Operation.REPLACE_PARTITIONS, rows(range(0, 20), "fourth")),
        lambda: table.write(Operation.REPLACE, rows(range(100, 110), "fifth"), where="id >= 70"),
        lambda: table.merge(MERGE, pa.Table.from_pylist(rows(range(105, 115), "sixth"), schema=SCHEMA)),
    ]
    history = []
    for number, step in enumerate(steps):
        step()
        location = publish(table, number)
        same_rows(table.rows(), READERS[engine](location))
        history.append((table.metadata.current_snapshot_id, table.rows()))
    for snapshot_id, then in history:
        same_rows(then, READERS[engine](location, snapshot_id))


@pytest.mark.parametrize(("format_version", "mode"), CASES)
@EVERY_READER
def test_engine_reads_evolved_schemas(tmp_path: Path, engine: str, format_version: int, mode: WriteMode) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), mode=mode, format_version=format_version)
    table.write(Operation.APPEND, rows(range(10), "first"))
    table.evolve(
        RenameColumn("note", "remark"),
        AddColumn("note", pa.int32()),
        WidenColumn("amount", pa.int64()),
        WidenColumn("price", pa.decimal128(20, 2)),
        WidenColumn("ratio", pa.float64()),
        DropColumn("flag"),
        AddColumn("home.street", pa.string()),
        RenameColumn("home.zip", "code"),
        MoveColumn("born"),
    )
    same_rows(table.rows(), READERS[engine](publish(table, 1)))
    changed = [{**row, "remark": "new", "note": 7} for row in table.rows().to_pylist() if row["id"] > 6]
    table.write(Operation.UPSERT, changed)
    table.write(Operation.DELETE, pa.table({"id": pa.array([0], pa.int64())}))
    same_rows(table.rows(), READERS[engine](publish(table, 2)))


@pytest.mark.parametrize(("format_version", "mode"), CASES)
@EVERY_READER
def test_engine_reads_evolved_partitionings(tmp_path: Path, engine: str, format_version: int, mode: WriteMode) -> None:
    table = LooseTable(
        tmp_path, SCHEMA, key=("id",), partitioning=("amount",), mode=mode, format_version=format_version
    )
    steps: list[Any] = [
        lambda: table.write(Operation.APPEND, rows(range(8), "first")),
        lambda: table.partition_by("month(day)"),
        lambda: table.write(Operation.UPSERT, rows(range(5, 60), "second")),
        lambda: table.evolve(WidenColumn("amount", pa.int64())),
        lambda: table.partition_by("bucket(4, id)", "truncate(1, note)"),
        lambda: table.write(Operation.UPSERT, rows(range(50, 70), None)),
        lambda: table.write(Operation.DELETE, pa.table({"id": pa.array([0, 6, 55, 69], pa.int64())})),
        lambda: table.partition_by("month(day)", "amount"),
        lambda: table.write(Operation.REPLACE_PARTITIONS, rows(range(2, 4), "third")),
        table.partition_by,
        lambda: table.write(Operation.UPSERT, rows(range(30, 35), "fourth")),
        lambda: table.compact(rewrite_all=True, where="id < 20"),
    ]
    history = []
    for number, step in enumerate(steps):
        step()
        location = publish(table, number)
        same_rows(table.rows(), READERS[engine](location))
        history.append((table.metadata.current_snapshot_id, table.rows()))
    assert [spec.spec_id for spec in table.metadata.partition_specs] == [0, 1, 2, 3, 4]
    assert table.metadata.last_partition_id == 1003
    for snapshot_id, then in dict(history).items():
        if engine == "spark" and table.metadata.snapshot_by_id(snapshot_id).schema_id == 0:
            with pytest.raises(SparkError, match="ClassCastException"):  # it takes partition values as they are by now
                READERS[engine](location, snapshot_id)
        else:
            same_rows(then, READERS[engine](location, snapshot_id))


@pytest.mark.parametrize(("format_version", "mode"), CASES)
@EVERY_READER
def test_engine_reads_sorted_tables(tmp_path: Path, engine: str, format_version: int, mode: WriteMode) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), partitioning=("flag",), mode=mode, format_version=format_version)
    steps: list[Any] = [
        lambda: table.write(Operation.APPEND, rows(range(30), "first")),
        lambda: table.sort_by("ratio desc", "bucket(4, id)", "month(day) nulls last"),
        lambda: table.write(Operation.UPSERT, rows(range(20, 50), "second")),
        lambda: table.sort_by("note", "price desc nulls first"),
        lambda: table.write(Operation.UPSERT, rows(range(40, 60), None)),
        lambda: table.evolve(RenameColumn("note", "remark")),
        lambda: table.write(Operation.DELETE, pa.table({"id": pa.array([0, 25, 45], pa.int64())})),
        table.sort_by,
        lambda: table.evolve(DropColumn("remark")),
        lambda: table.compact(rewrite_all=True, where="id < 40"),
    ]
    for number, step in enumerate(steps):
        step()
        same_rows(table.rows(), READERS[engine](publish(table, number)))
    assert [order["order-id"] for order in table.metadata.sort_orders] == [0, 1, 2]


@EVERY_READER
def test_walkthrough_of_format_version_3(tmp_path: Path, engine: str) -> None:
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("name", pa.string())])
    table = LooseTable(tmp_path, schema, key=("id",))
    table.write(Operation.UPSERT, [{"id": i, "name": f"n{i}"} for i in range(1, 6)])
    table.write(Operation.DELETE, pa.table({"id": pa.array([5], pa.int64())}))
    table.write(Operation.UPSERT, [{"id": 2, "name": "changed"}])
    metadata = table.metadata
    assert [snapshot.sequence_number for snapshot in metadata.snapshots] == [1, 2, 3]
    vectors = [live for live in table.io.files.live(metadata.current_snapshot) if live.vector]
    assert len(vectors) == 1
    assert list(table.io.files.deleted_positions(vectors[0])) == [1, 4]
    lineage = {row["id"]: row for row in table.rows(lineage=True).to_pylist()}
    assert {i: row["_row_id"] for i, row in lineage.items()} == {1: 0, 2: 1, 3: 2, 4: 3}
    assert {i: row["_last_updated_sequence_number"] for i, row in lineage.items()} == {1: 1, 2: 3, 3: 1, 4: 1}
    same_rows(table.rows(metadata.snapshots[0]), READERS[engine](publish(table, 1), metadata.snapshots[0].snapshot_id))
    assert table.rows(metadata.snapshots[0]).num_rows == 5
    same_rows(table.rows(), READERS[engine](publish(table, 2)))


@pytest.mark.parametrize(("format_version", "mode"), CASES)
@EVERY_READER
def test_engine_reads_a_history(tmp_path: Path, engine: str, format_version: int, mode: WriteMode) -> None:
    table = LooseTable(
        tmp_path,
        pa.schema([("id", pa.int64()), ("day", pa.date32()), ("city", pa.string())]),
        key=("id",),
        sequence="day",
        partitioning=("is_current",),
        mode=mode,
        format_version=format_version,
        rule="scd7",
    )

    def batch(*changes: tuple[int, int, str]) -> pa.Table:
        ids, days, cities = zip(*changes, strict=True)
        return pa.table({"id": ids, "day": pa.array(days, pa.int32()).cast(pa.date32()), "city": cities})

    def spans(rows: pa.Table) -> list[tuple[Any, ...]]:
        ordered = rows.sort_by([("id", "ascending"), ("valid_from", "ascending")])
        return [tuple(row.values()) for row in ordered.select(sorted(rows.column_names)).to_pylist()]

    for number, (operation, changes) in enumerate(
        [
            (Operation.UPSERT, batch((1, 1, "Oslo"), (2, 1, "Rome"))),
            (Operation.UPSERT, batch((1, 9, "Lima"), (2, 5, "Rome"), (3, 4, ""))),
            (Operation.UPSERT, batch((1, 5, "Kyiv"))),
            (Operation.DELETE, batch((2, 7, "")).drop_columns(["city"])),
        ]
    ):
        table.write(operation, changes)
        assert spans(READERS[engine](publish(table, number))) == spans(table.rows())
    assert table.rows().num_rows == 5
    assert table.rows(where="is_current").num_rows == 2
