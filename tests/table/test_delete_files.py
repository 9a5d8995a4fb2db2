"""Delete files of other engines: every rule of the specification, what our writes do with them, and damage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from pyroaring import BitMap64

from cordillera.errors import CordilleraError, CorruptDataError, NotAllowedError
from cordillera.spec.commit import UpgradeFormatVersion, apply
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.schema_evolution import AddColumn, DropColumn, RenameColumn, WidenColumn
from cordillera.table.content_file import Content, Status
from cordillera.table.deletion_vector import encode_vector
from cordillera.table.reader import ReadOptions
from tests.examples import examples
from tests.interop.engines import IN_PROCESS
from tests.interop.test_table_formats import publish
from tests.table.foreign_deletes import commit, equality_deletes, live, position_deletes
from tests.table.harness import LooseTable
from tests.table.test_change_feed import feed, told
from tests.table.test_compaction_model import CompactingMachine
from tests.table.test_merge_model import identity

SCHEMA = pa.schema([("id", pa.int64()), ("day", pa.int32()), ("note", pa.string())])
VERSIONS = pytest.mark.parametrize("version", [2, 3])


def rows(*ids: int, day: int | None = 1, note: str | None = "n") -> list[dict[str, Any]]:
    return [{"id": i, "day": day, "note": note} for i in ids]


def ids(table: LooseTable) -> list[int]:
    return sorted(table.rows(columns=["id"]).column("id").to_pylist())


def judged(table: LooseTable, *engines: str) -> list[int]:
    """The ids we read, which other engines must read too; judged anew, without our caches."""
    table.forget()
    location = publish(table, len(table.metadata.snapshots))
    for engine in engines or ("duckdb",):
        assert sorted(IN_PROCESS[engine](location).column("id").to_pylist()) == ids(table), engine
    return ids(table)


def delete_entries(table: LooseTable) -> list[str]:
    """The paths of all live delete files and deletion vectors."""
    files = table.io.files
    return [
        entry.file.file_path
        for manifest in files.manifests(table.metadata.current_snapshot)
        for entry in files.entries(manifest)
        if entry.status is not Status.DELETED and entry.file.content is not Content.DATA
    ]


# --- positions -----------------------------------------------------------------------------------------------------


@VERSIONS
def test_position_deletes_of_a_partition(tmp_path: Path, version: int) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), format_version=version)
    table.write(Operation.APPEND, rows(1, 2, 3, 4))
    table.write(Operation.APPEND, rows(5, 6, 7))
    table.write(Operation.APPEND, rows(8))
    of = {one.file.record_count: one.path for one in live(table)}
    commit(table, position_deletes(table, {of[4]: [0, 3], of[3]: [1]}))
    commit(table, position_deletes(table, {of[4]: [1]}))
    assert judged(table, "duckdb", "pyiceberg") == [3, 5, 7, 8]
    assert sum(one.live_rows for one in live(table)) == 4
    assert [row[:2] for row in told(feed(table, table.metadata.snapshots[2]))] == [
        ("delete", 1), ("delete", 2), ("delete", 4), ("delete", 6),
    ]  # fmt: skip


def test_position_deletes_that_name_their_file(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.write(Operation.APPEND, rows(1, 2, 3))
    (one,) = live(table)
    commit(table, position_deletes(table, {one.path: [2]}, referenced_data_file=one.path, lower_bounds={}))
    assert judged(table) == [1, 2]


def test_position_deletes_are_about_files_of_their_partition(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), partitioning=("day",), format_version=2)
    table.write(Operation.APPEND, rows(1, 2, day=1))
    table.write(Operation.APPEND, rows(3, 4, day=2))
    first, second = sorted(live(table), key=lambda one: one.file.partition)
    table.write(Operation.APPEND, rows(5, 6, day=1))
    younger = next(one for one in live(table) if one not in (first, second) and one.file.partition == (1,))
    deletes = position_deletes(table, {first.path: [0], second.path: [1], younger.path: [0]})
    commit(table, deletes)
    assert ids(table) == [2, 3, 4, 6]  # the second file is of another partition
    commit(table, replace(deletes, partition=second.file.partition))
    assert judged(table, "duckdb", "pyiceberg") == [2, 3, 6]
    table.delete_where("day = 1")
    table.write(Operation.APPEND, rows(1, day=1))
    assert judged(table, "duckdb", "pyiceberg") == [1, 3]


# --- values --------------------------------------------------------------------------------------------------------


@VERSIONS
def test_equality_deletes_are_about_older_rows(tmp_path: Path, version: int) -> None:
    table = LooseTable(tmp_path, SCHEMA, format_version=version)
    table.write(Operation.APPEND, rows(1, 2, 3))
    commit(table, equality_deletes(table, ["id"], [{"id": 2}, {"id": 9}]))
    table.write(Operation.APPEND, rows(2, 9))
    assert judged(table) == [1, 2, 3, 9]
    commit(table, equality_deletes(table, ["id"], [{"id": 2}]))
    assert judged(table) == [1, 3, 9]


def test_null_equals_null(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA)
    table.write(Operation.APPEND, [*rows(1, note=None), *rows(2, note=None, day=None), *rows(3), *rows(4, note="")])
    commit(table, equality_deletes(table, ["note", "day"], [{"note": None, "day": None}, {"note": "n", "day": 1}]))
    assert ids(table) == [1, 4]  # DuckDB 1.5 takes NULL for any value here
    commit(table, equality_deletes(table, ["note"], [{"note": None}]))
    assert judged(table) == [4]


def test_equality_deletes_of_a_partition_and_of_all(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, partitioning=("day",), format_version=2)
    table.write(Operation.APPEND, [*rows(1, 2, day=1), *rows(1, 2, day=2)])
    unpartitioned = table.metadata.partition_spec.model_copy(update={"spec_id": 7, "fields": ()})
    specs = (*table.metadata.partition_specs, unpartitioned)
    table.metadata = table.metadata.with_changes(partition_specs=specs)
    commit(table, equality_deletes(table, ["id"], [{"id": 2}], spec_id=7))
    assert judged(table) == [1, 1]
    commit(table, equality_deletes(table, ["id"], [{"id": 1}], partition=(1,)))
    assert table.rows(columns=["id", "day"]).to_pylist() == [{"id": 1, "day": 2}]  # DuckDB 1.5 deletes it as well


def test_columns_evolve_under_equality_deletes(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA)
    table.write(Operation.APPEND, [*rows(1, day=1), *rows(2, day=2), *rows(3, day=3), *rows(4, day=4)])
    commit(table, equality_deletes(table, ["day"], [{"day": 1}]))
    table.evolve(RenameColumn("day", "when"), WidenColumn("when", pa.int64()), AddColumn("day", pa.string()))
    assert ids(table) == [2, 3, 4]
    commit(table, equality_deletes(table, ["when"], [{"when": 2}]))
    commit(table, equality_deletes(table, ["day", "id"], [{"day": None, "id": 3}]))
    assert ids(table) == [4]
    table.evolve(DropColumn("when"), DropColumn("day"))
    table.write(Operation.APPEND, [{"id": 5, "note": "x"}])
    table.forget()
    assert ids(table) == [4, 5]


def test_a_column_that_manifests_know_no_more_is_still_compared(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA)
    table.write(Operation.APPEND, [*rows(1, day=1), *rows(2, day=2)])
    deletes = equality_deletes(table, ["day"], [{"day": 1}])
    table.evolve(DropColumn("day"))
    commit(table, deletes)
    assert ids(table) == [2]


@pytest.mark.parametrize("mode", list(WriteMode))
def test_large_files_are_looked_through_while_they_are_read(tmp_path: Path, mode: WriteMode) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), mode=mode)
    count = 300_000
    numbers = np.arange(count)
    data = pa.table([pa.array(numbers), pa.array(numbers % 7, pa.int32()), pa.repeat("n", count)], schema=SCHEMA)
    table.write(Operation.APPEND, data)
    commit(table, equality_deletes(table, ["day"], [{"day": 3}]))
    assert table.rows(where="id % 2 = 0").num_rows == int(((numbers % 7 != 3) & (numbers % 2 == 0)).sum())
    table.forget()
    table.write(Operation.UPSERT, rows(3, 4, note="new"))
    assert ids(table) == sorted([*numbers[numbers % 7 != 3], 3])


# --- our writes on such tables -------------------------------------------------------------------------------------


def foreign(tmp_path: Path, version: int = 3, mode: WriteMode = WriteMode.MERGE_ON_READ) -> LooseTable:
    """A table of ids 1 to 12 in three files, of which 2 (position), 6 and 11 (equality) are deleted."""
    table = LooseTable(tmp_path, SCHEMA, key=("id",), format_version=version, mode=mode)
    for first in (1, 5, 9):
        table.write(Operation.APPEND, rows(*range(first, first + 4)))
    paths = sorted((one.file.lower_bounds[1], one.path) for one in live(table))
    commit(table, position_deletes(table, {paths[0][1]: [1]}))
    commit(table, equality_deletes(table, ["id"], [{"id": 6}, {"id": 11}]))
    return table


@pytest.mark.parametrize(("version", "mode"), [(2, WriteMode.COPY_ON_WRITE), *((3, mode) for mode in WriteMode)])
def test_writes_find_live_rows_only(tmp_path: Path, version: int, mode: WriteMode) -> None:
    table = foreign(tmp_path, version, mode)
    manifest = table.write(Operation.UPSERT, rows(2, 3, 6, note="back")).manifest
    assert (manifest.rows_inserted, manifest.rows_updated) == (2, 1)
    assert judged(table, "duckdb") == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12]
    manifest = table.write(Operation.DELETE, pa.table({"id": [1, 7, 11]})).manifest
    assert manifest.rows_deleted == 2
    assert judged(table) == [2, 3, 4, 5, 6, 8, 9, 10, 12]
    assert table.delete_where("id >= 9").manifest.rows_deleted == 3
    assert judged(table) == [2, 3, 4, 5, 6, 8]
    assert {row["id"] for row in table.rows(where="note = 'back'").to_pylist()} == {2, 3, 6}


def test_a_vector_takes_over_position_deletes(tmp_path: Path) -> None:
    table = foreign(tmp_path)
    assert len(delete_entries(table)) == 2
    table.write(Operation.DELETE, pa.table({"id": [4]}))
    first = next(one for one in live(table) if one.vector)
    assert list(table.io.files.deleted_positions(first) or ()) == [1, 3]
    assert [path for path in delete_entries(table) if path.endswith("-deletes.parquet")] == [
        one.file.file_path for one in next(one for one in live(table) if one.deletes).deletes
    ]
    summary = table.metadata.current_snapshot.summary if table.metadata.current_snapshot else {}
    assert (summary["removed-position-delete-files"], summary["total-equality-deletes"]) == ("1", "0")
    assert judged(table) == [1, 3, 5, 7, 8, 9, 10, 12]


@VERSIONS
def test_compaction_removes_all_deletes(tmp_path: Path, version: int) -> None:
    table = foreign(tmp_path, version)
    before = table.metadata.current_snapshot
    table.compact(rewrite_all=True)
    assert delete_entries(table) == []
    assert judged(table, "duckdb", "pyiceberg") == [1, 3, 4, 5, 7, 8, 9, 10, 12]
    assert feed(table, before) == []


def test_deletes_stay_while_a_file_needs_them(tmp_path: Path) -> None:
    table = foreign(tmp_path)
    table.compact(rewrite_all=True, where="id < 5")
    assert len(delete_entries(table)) == 1  # the equality deletes of the other files
    assert judged(table) == [1, 3, 4, 5, 7, 8, 9, 10, 12]
    table.delete_where("id >= 5")
    assert delete_entries(table) == []


def test_an_upgraded_table_keeps_its_deletes(tmp_path: Path) -> None:
    table = foreign(tmp_path, 2)
    table.metadata = apply((UpgradeFormatVersion(3),), table.metadata, table.io.now_ms())
    assert ids(table) == [1, 3, 4, 5, 7, 8, 9, 10, 12]
    table.write(Operation.DELETE, pa.table({"id": [1]}))
    assert judged(table) == [3, 4, 5, 7, 8, 9, 10, 12]


class ForeignMachine(CompactingMachine):
    """The merge machine beside another engine that deletes rows by position and by value."""

    @precondition(lambda self: self.stored and self.running is None)
    @rule(data=st.data(), by_value=st.booleans())
    def another_engine_deletes(self, data: st.DataObject, by_value: bool) -> None:
        if by_value:
            names = st.sampled_from(sorted({row["name"] for row in self.stored.values()}))
            gone = data.draw(st.lists(names, min_size=1, max_size=2, unique=True))
            if self.table.metadata.partition_spec.fields:
                return  # its engine would write one file of deletes for each partition
            commit(self.table, equality_deletes(self.table, ["name"], [{"name": name} for name in gone]))
            keys = [key for key, row in self.stored.items() if row["name"] in gone]
        else:
            one = data.draw(st.sampled_from([one for one in live(self.table) if one.live_rows]))
            if one.vector is not None:
                return  # its engine would write a vector
            deleted = set(self.table.io.files.deleted_positions(one) or ())
            position = data.draw(st.sampled_from([p for p in range(one.file.record_count) if p not in deleted]))
            options = self.table.io.reader.read(one, _everything(self.table))
            rows = [row for batch in options for row in batch.to_pylist()]
            (row,) = [row for row in rows if row.pop("_pos") == position]
            commit(self.table, position_deletes(self.table, {one.path: [position]}))
            keys = [identity((row["name"], row["ratio"]))]
        for key in keys:
            del self.stored[key]
        self.remember()


def _everything(table: LooseTable) -> Any:
    return ReadOptions(table.metadata.schema, ("_pos",))


def machine(name: str, **settings_of_table: Any) -> Any:
    case = type(name, (ForeignMachine,), settings_of_table).TestCase
    case.settings = settings(
        max_examples=examples(8),
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestMergeOnRead = machine("MergeOnRead")
TestCopyOnWrite = machine("CopyOnWrite", mode=WriteMode.COPY_ON_WRITE, sequenced=False)
TestFormatVersion2 = machine("FormatVersion2", format_version=2, sequenced=False)
TestPartitioned = machine("Partitioned", partitioning=("bucket(3, name)",), sequenced=False)


# --- damage --------------------------------------------------------------------------------------------------------


def damaged(table: LooseTable, path: str, data: bytes | None) -> None:
    """Put other bytes in the place of a file, or none."""
    table.io.storage.delete([path])
    if data is not None:
        table.io.storage.write(path, data)
    table.forget()


def refused(table: LooseTable, *said: str, kind: type[CordilleraError] = CorruptDataError) -> None:
    with pytest.raises(kind) as error:
        table.rows()
    assert all(part in str(error.value) for part in said), str(error.value)


@pytest.mark.parametrize("what", ["positions", "values", "data"])
def test_truncated_and_missing_files_are_named(tmp_path: Path, what: str) -> None:
    table = foreign(tmp_path)
    kinds = {"positions": Content.POSITION_DELETES, "values": Content.EQUALITY_DELETES}
    deletes = {one.file.content: one.file.file_path for data in live(table) for one in data.deletes}
    path = deletes[kinds[what]] if what in kinds else live(table)[1].path
    whole = table.io.storage.read(path)
    damaged(table, path, whole[: len(whole) // 2])
    refused(table, path)
    damaged(table, path, whole[:4] + bytes(len(whole) - 12) + whole[-8:])
    refused(table, path)
    damaged(table, path, None)
    refused(table, path, kind=CordilleraError)
    damaged(table, path, whole)
    assert len(ids(table)) == 9


def test_delete_files_hold_what_their_manifests_say(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.write(Operation.APPEND, rows(1, 2, 3))
    before, (one,) = table.metadata, live(table)
    for wrong, said in (
        (replace(position_deletes(table, {one.path: [0]}), record_count=2), "has 1 rows, its manifest says 2"),
        (position_deletes(table, {one.path: [3]}), "Row 3 of"),
        (replace(equality_deletes(table, ["id"], [{"id": 1}]), record_count=5), "has 1 rows, its manifest says 5"),
        (replace(equality_deletes(table, ["id"], [{"id": 1}]), equality_ids=(3,)), "lacks columns"),
    ):
        commit(table, wrong)
        refused(table, said)
        table.metadata = before
    commit(table, replace(equality_deletes(table, ["id"], [{"id": 1}]), file_format="ORC"))
    refused(table, "is ORC", kind=NotAllowedError)


@pytest.mark.parametrize("mode", list(WriteMode))
def test_no_wrong_bit_of_a_page_gives_wrong_rows(tmp_path: Path, mode: WriteMode) -> None:
    """Also where copy-on-write passes pages through as bytes."""
    table = LooseTable(tmp_path, SCHEMA, key=("id",), mode=mode)
    count = 20_000
    notes = [f"note {i * 7919 % count}" for i in range(count)]
    table.write(Operation.APPEND, pa.table([range(count), pa.nulls(count, pa.int32()), notes], schema=SCHEMA))
    table.write(Operation.PARTIAL_UPDATE, pa.table({"id": [5], "day": pa.array([1], pa.int32())}))
    one, right, refusals = max(live(table), key=lambda one: one.file.record_count), table.rows().sort_by("id"), 0
    whole = table.io.storage.read(one.path)
    footer = pq.read_metadata(pa.BufferReader(whole)).row_group(0)
    chunks = [footer.column(index) for index in range(footer.num_columns)]
    for chunk in chunks:
        first = chunk.dictionary_page_offset or chunk.data_page_offset
        for number in range(12):
            data = bytearray(whole)
            data[first + (number * 997 + 5) % chunk.total_compressed_size] ^= 1 << number % 8
            damaged(table, one.path, bytes(data))
            try:
                assert table.rows().sort_by("id") == right  # a bit that nobody needs
            except CorruptDataError as error:
                refusals += one.path in str(error)
    assert refusals > 30


@pytest.mark.parametrize("damage", ["checksum", "cardinality", "magic", "truncated", "outside", "missing"])
def test_damaged_vectors_are_named(tmp_path: Path, damage: str) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.write(Operation.APPEND, rows(1, 2, 3))
    table.write(Operation.DELETE, pa.table({"id": [2, 3]}))
    (one,) = live(table)
    assert one.vector is not None
    vector = one.vector.file
    whole, offset = table.io.storage.read(vector.file_path), vector.content_offset or 0
    blob = whole[offset : offset + (vector.content_size_in_bytes or 0)]
    blobs: dict[str, bytes | None] = {
        "checksum": blob[:-1] + bytes([blob[-1] ^ 1]),
        "cardinality": encode_vector(BitMap64([1])).ljust(len(blob), b"\0"),
        "magic": blob[:4] + b"none" + blob[8:],
        "truncated": blob[: len(blob) // 2],
        "outside": encode_vector(BitMap64([1, 7])),
        "missing": None,
    }
    new = blobs[damage]
    rest = b"" if damage == "truncated" else whole[offset + len(blob) :]
    damaged(table, vector.file_path, None if new is None else whole[:offset] + new + rest)
    named = one.path if damage in ("cardinality", "outside") else vector.file_path
    refused(table, named, kind=CordilleraError if new is None else CorruptDataError)


def test_two_vectors_of_a_file_are_refused(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.write(Operation.APPEND, rows(1, 2, 3))
    table.write(Operation.DELETE, pa.table({"id": [2]}))
    vector = live(table)[0].vector
    assert vector is not None
    commit(table, vector.file)
    refused(table, "two deletion vectors")
