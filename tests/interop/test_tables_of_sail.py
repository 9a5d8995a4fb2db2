"""What Sail (Spark without Java) writes, we read: every snapshot, both format versions, each kind of delete it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cordillera.spec.merge import Operation
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.content_file import Content
from tests.interop.engines import IN_PROCESS, read_with_sail, sail
from tests.interop.test_table_formats import publish, same_rows
from tests.table.foreign_deletes import live
from tests.table.harness import LooseTable

SCHEMA = pa.schema([("id", pa.int64()), ("day", pa.date32()), ("note", pa.string()), ("price", pa.decimal128(12, 2))])
ROWS = "id, date_add(DATE'2013-01-01', CAST(id AS INT)), '{note}', CAST(id AS DECIMAL(12, 2)) / 4"
INSERT = f"INSERT INTO foreign SELECT {ROWS.format(note='first')} FROM range(60)"
DELETE = "DELETE FROM foreign WHERE id IN (3, 40)"
UPDATE = "UPDATE foreign SET note = 'second', price = price + 1 WHERE id BETWEEN 10 AND 20"
MERGE = """
MERGE INTO foreign USING (SELECT id, 'third' AS note FROM range(55, 65)) AS source ON foreign.id = source.id
WHEN MATCHED AND source.id = 56 THEN DELETE
WHEN MATCHED THEN UPDATE SET note = source.note
WHEN NOT MATCHED THEN INSERT (id, note) VALUES (source.id, source.note)
"""
DELETE_MORE = "DELETE FROM foreign WHERE note = 'third' AND id < 60"
OVERWRITE = f"INSERT OVERWRITE foreign SELECT {ROWS.format(note='fourth')} FROM range(5)"
UPGRADE = "ALTER TABLE foreign SET TBLPROPERTIES ('format-version' = '3')"
MONTHLY = "PARTITIONED BY (months(day))"
EVERYTHING = [INSERT, DELETE, UPDATE, MERGE, DELETE_MORE, OVERWRITE]
CASES = [
    pytest.param(3, "merge-on-read", "", EVERYTHING, id="v3-merge-on-read"),
    pytest.param(3, "merge-on-read", MONTHLY, EVERYTHING, id="v3-merge-on-read-partitioned"),
    pytest.param(3, "copy-on-write", MONTHLY, EVERYTHING, id="v3-copy-on-write-partitioned"),
    pytest.param(2, "copy-on-write", MONTHLY, EVERYTHING, id="v2-copy-on-write-partitioned"),
    # In version 2 Sail deletes by equality where there are no partitions, and merges by position; it does not update.
    pytest.param(2, "merge-on-read", "", [INSERT, DELETE, MERGE, DELETE_MORE], id="v2-merge-on-read"),
    pytest.param(2, "merge-on-read", MONTHLY, [INSERT, MERGE, OVERWRITE], id="v2-merge-on-read-partitioned"),
    pytest.param(2, "merge-on-read", "", [INSERT, DELETE, MERGE, UPGRADE, DELETE_MORE], id="v2-upgraded"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where Sail puts the table, of which it forgets the name afterwards."""
    yield tmp_path / "table"
    sail().sql("DROP TABLE IF EXISTS foreign")


def newest(folder: Path) -> Path:
    return max(folder.glob("metadata/*.metadata.json"), key=lambda path: int(path.name.removeprefix("v").split(".")[0]))


def load(folder: Path) -> LooseTable:
    """The table as we see it."""
    table = LooseTable(folder.parent, SCHEMA)
    location = f"file://{newest(folder)}"
    metadata = TableMetadata.from_json(table.io.storage.read(location), location)
    table.metadata = replace(metadata, location=metadata.location.rstrip("/"))  # else our files get // in their names
    return table


def by_id(rows: pa.Table) -> list[dict[str, Any]]:
    return sorted(rows.to_pylist(), key=lambda row: row["id"])


@pytest.mark.parametrize(("format_version", "mode", "partitioning", "statements"), CASES)
def test_we_read_what_sail_writes(
    folder: Path, format_version: int, mode: str, partitioning: str, statements: list[str]
) -> None:
    modes = ", ".join(f"'write.{operation}.mode' = '{mode}'" for operation in ("delete", "update", "merge"))
    sail().sql(
        "CREATE TABLE foreign (id BIGINT, day DATE, note STRING, price DECIMAL(12, 2)) USING iceberg "
        f"{partitioning} LOCATION '{folder.as_uri()}' TBLPROPERTIES ('format-version' = '{format_version}', {modes})"
    )
    deletes = set()
    for statement in statements:
        sail().sql(statement).collect()
        table = load(folder)
        same_rows(table.rows(), sail().sql("SELECT * FROM foreign").toArrow())
        for one in live(table):
            deletes |= {"vector"} if one.vector else {delete.file.content for delete in one.deletes}
    if mode == "copy-on-write":
        assert not deletes
    elif format_version == 3:
        assert deletes == {"vector"}
    else:
        assert Content.POSITION_DELETES in deletes
        assert (Content.EQUALITY_DELETES in deletes) == (DELETE in statements)
    snapshots = table.metadata.snapshots
    assert len(snapshots) == len([statement for statement in statements if statement != UPGRADE])
    location = f"file://{newest(folder)}"
    for snapshot in snapshots:
        ours, theirs = table.rows(snapshot), read_with_sail(location, snapshot.snapshot_id)
        same_rows(ours, theirs)
    assert [row["id"] for row in by_id(table.rows(table.metadata.snapshots[0]))] == list(range(60))


@pytest.mark.parametrize(("format_version", "mode"), [(3, "merge-on-read"), (3, "copy-on-write"), (2, "merge-on-read")])
def test_we_go_on_with_a_table_of_sail(folder: Path, format_version: int, mode: str) -> None:
    """Our writes on top of theirs, with their deletes in place, as all engines see them."""
    modes = ", ".join(f"'write.{operation}.mode' = '{mode}'" for operation in ("delete", "update", "merge"))
    sail().sql(
        "CREATE TABLE foreign (id BIGINT, day DATE, note STRING, price DECIMAL(12, 2)) USING iceberg "
        f"LOCATION '{folder.as_uri()}' TBLPROPERTIES ('format-version' = '{format_version}', {modes})"
    )
    for statement in (INSERT, DELETE, MERGE):
        sail().sql(statement).collect()
    table = load(folder)
    there = {row["id"] for row in by_id(table.rows())}
    steps = [
        lambda: table.delete_where("id BETWEEN 20 AND 29"),
        lambda: table.write(Operation.APPEND, [{"id": 100, "day": None, "note": "ours", "price": None}]),
        lambda: table.compact(rewrite_all=True),
    ]
    expected = [there - set(range(20, 30)), *[(there - set(range(20, 30))) | {100}] * 2]
    for number, (step, ids) in enumerate(zip(steps, expected, strict=True), start=100):
        step()
        location = publish(table, number)
        assert {row["id"] for row in table.rows().to_pylist()} == ids
        for read in IN_PROCESS.values():
            same_rows(table.rows(), read(location))
