from __future__ import annotations

import json
from dataclasses import replace
from uuid import uuid4

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema

from cordillera.errors import CommitConflictError, CorruptDataError, InvalidInputError, NotAllowedError
from cordillera.spec.arrow_types import from_arrow_schema
from cordillera.spec.commit import (
    AddSchema,
    AddSnapshot,
    RemoveProperties,
    RemoveSnapshotRef,
    RemoveSnapshots,
    SetCurrentSchema,
    SetProperties,
    SetSnapshotRef,
    UpgradeFormatVersion,
    apply,
)
from cordillera.spec.metadata_updates import SetStatistics
from cordillera.spec.partitioning import parse_partitioning
from cordillera.spec.requirements import (
    AssertCurrentSchemaId,
    AssertProperty,
    AssertRefSnapshot,
    AssertTableUuid,
    check,
)
from cordillera.spec.statistics import SKETCH, ColumnStatistics, TableStatistics
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata

SCHEMA = from_arrow_schema(pa.schema([("id", pa.int64())]), key=("id",))


def table(format_version: int = 3) -> TableMetadata:
    return TableMetadata(
        format_version=format_version,
        table_uuid=str(uuid4()),
        location="file:///lake/t",
        last_sequence_number=0,
        last_updated_ms=1_000,
        last_column_id=1,
        schemas=(SCHEMA,),
        current_schema_id=0,
        partition_specs=(parse_partitioning([], SCHEMA),),
        default_spec_id=0,
        last_partition_id=999,
        next_row_id=0 if format_version == 3 else None,
    )


def snapshot(number: int, parent: int | None = None, first_row_id: int | None = 0) -> IcebergSnapshot:
    rows = 10 if first_row_id is not None else None
    return IcebergSnapshot(
        100 + number, parent, number, 1_000 + number, f"file:///lake/t/{number}.avro", {"operation": "append"}, 0,
        first_row_id, rows,
    )  # fmt: skip


def with_snapshots(count: int) -> TableMetadata:
    metadata = table()
    for number in range(1, count + 1):
        parent = 100 + number - 1 if number > 1 else None
        updates = (AddSnapshot(snapshot(number, parent, metadata.next_row_id)), SetSnapshotRef("main", 100 + number))
        metadata = apply(updates, metadata, 2_000)
    return metadata


def test_metadata_survives_a_round_trip_with_what_it_does_not_know() -> None:
    raw = json.loads(with_snapshots(3).to_json())
    raw["statistics"] = [{"snapshot-id": 101}]
    raw["x-unknown"] = {"a": 1}
    again = json.loads(TableMetadata.from_json(json.dumps(raw).encode()).to_json())
    assert again == raw


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format-version": 1}', b'{"format-version": 9}'])
def test_other_files_are_refused_with_their_name(data: bytes) -> None:
    with pytest.raises(CorruptDataError, match=r"file:///x"):
        TableMetadata.from_json(data, "file:///x")


def test_row_ids_advance_with_every_snapshot() -> None:
    metadata = with_snapshots(3)
    assert metadata.next_row_id == 30
    assert metadata.last_sequence_number == 3
    assert [s.first_row_id for s in metadata.snapshots] == [0, 10, 20]
    assert metadata.current_snapshot_id == 103


def test_time_never_goes_back() -> None:
    assert apply((SetProperties({"a": "b"}),), table(), 5).last_updated_ms == 1_000


@pytest.mark.parametrize(
    "requirement",
    [AssertTableUuid("x"), AssertRefSnapshot("main", 102), AssertCurrentSchemaId(3), AssertProperty("p", "v"),
     AssertRefSnapshot("other", 103)],
)  # fmt: skip
def test_requirements_that_do_not_hold_are_conflicts(requirement: object) -> None:
    with pytest.raises(CommitConflictError, match="expected"):
        check((requirement,), with_snapshots(3))


def test_requirements_that_hold_pass() -> None:
    metadata = with_snapshots(1)
    check(
        (AssertTableUuid(metadata.table_uuid), AssertRefSnapshot("main", 101), AssertRefSnapshot("b", None)), metadata
    )


def test_schemas_are_added_and_chosen() -> None:
    wider = from_arrow_schema(pa.schema([("id", pa.int64()), ("b", pa.string())]))
    new = type(wider)(*wider.fields, schema_id=4)
    changed = apply((AddSchema(new), SetCurrentSchema()), table(), 2_000)
    assert changed.current_schema_id == 4
    assert changed.last_column_id == 2
    with pytest.raises(InvalidInputError, match="no schema 9"):
        apply((SetCurrentSchema(9),), table(), 2_000)


def test_snapshots_out_of_order_or_without_row_ids_are_refused() -> None:
    metadata = with_snapshots(2)
    with pytest.raises(CommitConflictError, match="sequence number"):
        apply((AddSnapshot(snapshot(2, 102, 20)),), metadata, 2_000)
    with pytest.raises(CommitConflictError, match="below"):
        apply((AddSnapshot(snapshot(3, 102, 5)),), metadata, 2_000)
    with pytest.raises(InvalidInputError, match="lacks"):
        apply((AddSnapshot(snapshot(3, 102, None)),), metadata, 2_000)


def test_referenced_snapshots_stay() -> None:
    metadata = with_snapshots(3)
    with pytest.raises(NotAllowedError, match="main"):
        apply((RemoveSnapshots(frozenset({103})),), metadata, 2_000)
    left = apply((RemoveSnapshots(frozenset({101})),), metadata, 2_000)
    assert [s.snapshot_id for s in left.snapshots] == [102, 103]
    assert all(entry["snapshot-id"] != 101 for entry in left.snapshot_log)


def test_refs_and_properties_change() -> None:
    metadata = apply((SetSnapshotRef("v1", 101, "tag"), SetProperties({"a": "1", "b": "2"})), with_snapshots(2), 2_000)
    assert metadata.refs["v1"] == {"snapshot-id": 101, "type": "tag"}
    assert metadata.current_snapshot_id == 102
    metadata = apply((RemoveSnapshotRef("v1"), RemoveProperties(("a", "z"))), metadata, 2_000)
    assert "v1" not in metadata.refs
    assert metadata.properties == {"b": "2"}
    with pytest.raises(InvalidInputError, match="no snapshot"):
        apply((SetSnapshotRef("v1", 999),), metadata, 2_000)


def test_format_version_only_rises() -> None:
    upgraded = apply((UpgradeFormatVersion(3),), table(2), 2_000)
    assert (upgraded.format_version, upgraded.next_row_id) == (3, 0)
    with pytest.raises(InvalidInputError, match="cannot become 2"):
        apply((UpgradeFormatVersion(2),), table(3), 2_000)


def statistics(number: int, path: str, properties: object = None, field: int = 1) -> dict[str, object]:
    blob = {"type": SKETCH, "fields": [field], "properties": properties or {"ndv": str(number)}}
    return {"snapshot-id": 100 + number, "statistics-path": path, "blob-metadata": [blob]}


def test_statistics_stand_in_place_of_those_of_the_same_snapshot_and_go_with_it() -> None:
    metadata = with_snapshots(3)
    for number, path in ((1, "a"), (3, "b"), (1, "c")):
        metadata = apply([SetStatistics(statistics(number, path))], metadata, 3_000)
    assert [item["statistics-path"] for item in metadata.extra["statistics"]] == ["b", "c"]
    assert TableMetadata.from_json(metadata.to_json()).extra == metadata.extra
    newest = TableStatistics.newest(metadata)
    assert newest is not None
    assert (newest.snapshot.sequence_number, newest.path, newest.distinct) == (3, "b", {1: 3})
    assert newest.columns(metadata) == (ColumnStatistics("id", 3, 3),)
    assert [
        item["statistics-path"] for item in apply([RemoveSnapshots((101,))], metadata, 4_000).extra["statistics"]
    ] == ["b"]
    with pytest.raises(InvalidInputError, match="999"):
        apply([SetStatistics(statistics(899, "d"))], metadata, 4_000)


@pytest.mark.parametrize(
    "odd", [{}, {"blob-metadata": None}, {"blob-metadata": [{}]}, statistics(2, "x", {"ndv": "1.5"})]
)
def test_statistics_that_say_nothing_of_use_are_passed_over(odd: dict[str, object]) -> None:
    metadata = apply([SetStatistics(statistics(1, "a", field=7))], with_snapshots(2), 3_000)
    metadata = apply([SetStatistics({"snapshot-id": 102, **odd})], metadata, 3_000)
    newest = TableStatistics.newest(metadata)
    assert newest is not None
    assert newest.path == "a"
    assert newest.columns(metadata) == ()  # of a column that is gone


def test_what_was_found_out_about_a_table_is_not_kept_for_one_that_has_changed():
    before = table()
    assert before.semantics.key == ("id",)
    before.to_json()
    wider = from_arrow_schema(pa.schema([("id", pa.int64()), ("note", pa.string())]))
    changes = (
        {"schemas": (*before.schemas, Schema(*wider.fields, schema_id=7)), "current_schema_id": 7},
        {"partition_specs": (parse_partitioning(("id",), SCHEMA),), "default_spec_id": 1},
        {"properties": {"write.merge.mode": "copy-on-write"}},
        {"last_sequence_number": 5},
    )
    for change in changes:
        after, fresh = before.with_changes(**change), replace(before, **change)
        assert (after.to_json(), after.semantics) == (fresh.to_json(), fresh.semantics)
