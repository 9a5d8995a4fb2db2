"""Manifests are held to what the manifest list of another engine's snapshot says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from cordillera.errors import CorruptDataError, InvalidInputError
from cordillera.spec.merge import Operation
from cordillera.spec.table_metadata import IcebergSnapshot
from cordillera.table.content_file import ManifestFile
from cordillera.table.external_manifests import check_manifests
from cordillera.table.live_files import SnapshotFiles
from cordillera.table.manifest_encoding import encode_manifest_list
from cordillera.table.row_deletes import RowDeletes
from tests.table.harness import LooseTable

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("note", pa.string())])
Said = dict[str, Any] | None


@pytest.fixture
def table(tmp_path: Path) -> LooseTable:
    """Return a table of two snapshots, each with a manifest of its own and the second with its parent's as well."""
    made = LooseTable(tmp_path, SCHEMA, key=("id",))
    for number in (1, 2):
        made.write(Operation.APPEND, [{"id": number, "note": "x"}])
    return made


def told(table: LooseTable, of_new: Said = None, of_earlier: Said = None) -> tuple[SnapshotFiles, IcebergSnapshot]:
    """Return the newest snapshot with another manifest list, and what reads it as if it had come from elsewhere."""
    snapshot = table.metadata.snapshots[-1]

    def said(one: ManifestFile) -> ManifestFile:
        is_new = one.added_snapshot_id == snapshot.snapshot_id
        return replace(one, **((of_new if is_new else of_earlier) or {}))

    manifests = [said(one) for one in table.io.files.manifests(snapshot)]
    number, parent = snapshot.sequence_number, snapshot.parent_snapshot_id
    listed = encode_manifest_list(manifests, snapshot.snapshot_id, parent, number, table.metadata.format_version)
    path = f"{table.metadata.location}/metadata/{uuid4()}.avro"
    table.io.storage.write(path, listed)
    files = SnapshotFiles(table.io.storage, RowDeletes(table.io.storage, table.io.engine))
    return files, replace(snapshot, manifest_list=path)


def check(table: LooseTable, of_new: Said = None, of_earlier: Said = None) -> None:
    files, snapshot = told(table, of_new, of_earlier)
    check_manifests(files, table.metadata, table.metadata.snapshots[0], snapshot, "test.table")


def test_what_is_true_is_believed(table: LooseTable) -> None:
    check(table)
    check(table, of_new={"added_rows_count": 7, "manifest_length": 3}, of_earlier={"existing_rows_count": 7})


@pytest.mark.parametrize("which", ["of_new", "of_earlier"])
@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"added_files_count": 0}, "0 new files, where there are 1"),
        ({"existing_files_count": 1}, "1 earlier files, where there are 0"),
        ({"deleted_files_count": 1}, "1 removed files"),
        ({"content": 1}, "deletes, where there are others"),
        ({"sequence_number": 3, "min_sequence_number": 3}, "sequence number"),
        ({"min_sequence_number": -1}, "sequence number -1"),
        ({"partition_spec_id": 9}, "partition spec 9"),
    ],
)
def test_what_would_lose_rows_or_bring_deleted_ones_back_is_refused(
    table: LooseTable, which: str, said: dict[str, Any], match: str
) -> None:
    with pytest.raises(InvalidInputError, match=match):
        check(table, **{which: said})


@pytest.mark.parametrize("said", [{"sequence_number": 0}, {"added_snapshot_id": 5}, {"first_row_id": 1}])
def test_what_the_entries_of_an_earlier_manifest_inherit_stays(table: LooseTable, said: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="which was"):
        check(table, of_earlier=said)


def test_a_manifest_of_another_partitioning_is_told_by_itself(table: LooseTable) -> None:
    spec = table.metadata.partition_spec.model_copy(update={"spec_id": 1})
    table.metadata = table.metadata.with_changes(partition_specs=(*table.metadata.partition_specs, spec))
    with pytest.raises(CorruptDataError, match="of partition spec 0, its manifest list says 1"):
        check(table, of_new={"partition_spec_id": 1})


@pytest.mark.parametrize("number", [3, -1])
def test_a_file_is_not_of_a_snapshot_to_come(table: LooseTable, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    files, snapshot = told(table)
    entries = {one.manifest_path: files.entries(one) for one in files.manifests(snapshot)}
    monkeypatch.setattr(
        files,
        "entries",
        lambda manifest: tuple(replace(one, sequence_number=number) for one in entries[manifest.manifest_path]),
    )
    with pytest.raises(InvalidInputError, match=f"the sequence number {number}"):
        check_manifests(files, table.metadata, table.metadata.snapshots[0], snapshot, "test.table")
