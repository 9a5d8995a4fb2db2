"""Manifests are what a general Avro library reads them as, and are kept in memory as they will be read."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.avro.file import AvroFile
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record

from cordillera.spec.merge import Operation
from cordillera.spec.table_metadata import SUPPORTED_FORMAT_VERSIONS
from cordillera.table.content_file import Content, ContentFile, ManifestEntry, ManifestFile, Status
from cordillera.table.live_files import SnapshotFiles
from cordillera.table.manifest_encoding import encode_manifest
from cordillera.table.manifests import DATA, decode_manifest, inherited
from cordillera.table.row_deletes import RowDeletes
from tests.table.harness import LooseTable

longs = st.integers(-(2**63), 2**63 - 1)
field_ids = st.integers(1, 2**31 - 1)
optional_longs = st.none() | longs
files = st.builds(
    ContentFile,
    content=st.just(Content.DATA),
    file_path=st.text(min_size=1),
    file_format=st.just("PARQUET"),
    spec_id=st.just(0),
    partition=st.just(()),
    record_count=longs,
    file_size_in_bytes=longs,
    column_sizes=st.dictionaries(field_ids, longs),
    value_counts=st.dictionaries(field_ids, longs),
    null_value_counts=st.dictionaries(field_ids, longs),
    nan_value_counts=st.dictionaries(field_ids, longs),
    lower_bounds=st.dictionaries(field_ids, st.binary()),
    upper_bounds=st.dictionaries(field_ids, st.binary()),
    split_offsets=st.lists(longs).map(tuple),
    equality_ids=st.lists(field_ids).map(tuple),
    sort_order_id=st.none() | field_ids,
    first_row_id=optional_longs,
    referenced_data_file=st.none() | st.text(),
    content_offset=optional_longs,
    content_size_in_bytes=optional_longs,
)
entries = st.builds(ManifestEntry, st.sampled_from(Status), optional_longs, optional_longs, optional_longs, files)


def manifest(first_row_id: int | None = None) -> ManifestFile:
    return ManifestFile("file:///m", 0, 0, DATA, 9, 9, 77, 0, 0, 0, 0, 0, 0, (), first_row_id)


def encoded(content: Iterable[ManifestEntry], format_version: int = 3) -> bytes:
    return encode_manifest(content, DATA, UNPARTITIONED_PARTITION_SPEC, Schema(), format_version)


@given(content=st.lists(entries, max_size=4))
def test_entries_are_read_as_they_were_written(content: list[ManifestEntry]) -> None:
    for listed in (manifest(), manifest(first_row_id=1_000)):
        assert decode_manifest(encoded(content), listed) == inherited(content, listed)


def test_a_manifest_of_many_blocks_has_all_entries() -> None:
    def entry(number: int) -> ManifestEntry:
        statistics = dict.fromkeys(range(100), number)
        file = ContentFile(Content.DATA, f"file:///{number}", "PARQUET", 0, (), number, 1, value_counts=statistics)
        return ManifestEntry(Status.EXISTING, 5, 6, 7, file)

    many = [entry(number) for number in range(3_000)]
    data = encoded(many)
    assert len(list(fastavro.block_reader(io.BytesIO(data)))) > 1
    assert decode_manifest(data, manifest()) == tuple(many)


@settings(max_examples=25)
@given(content=st.lists(entries, max_size=4), row_id=longs)
def test_entries_that_are_written_again_are_read_as_they_are_then(content: list[ManifestEntry], row_id: int) -> None:
    encoded(content)
    again = [replace(one, status=Status.EXISTING, file=replace(one.file, first_row_id=row_id)) for one in content]
    assert decode_manifest(encoded(again), manifest()) == inherited(again, manifest())


def test_version_2_has_no_fields_of_version_3() -> None:
    file = ContentFile(Content.DATA, "file:///a", "PARQUET", 0, (), 1, 1, first_row_id=3, content_offset=4)
    (entry,) = decode_manifest(encoded([ManifestEntry(Status.ADDED, 1, None, None, file)], 2), manifest())
    assert (entry.file.first_row_id, entry.file.content_offset) == (None, None)
    assert (entry.sequence_number, entry.file_sequence_number) == (9, 9)


PARTITION_VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "boolean": (pa.bool_(), [True, False, None]),
    "int": (pa.int32(), [-(2**31), 0, None]),
    "long": (pa.int64(), [2**63 - 1, -1, None]),
    "date": (pa.date32(), [dt.date(1969, 12, 31), dt.date(2024, 2, 29), None]),
    "time": (pa.time64("us"), [dt.time(0, 0, 0, 1), dt.time(23, 59, 59), None]),
    "timestamp": (pa.timestamp("us"), [dt.datetime(1969, 1, 1, 1), dt.datetime(2024, 1, 1, 1, 1, 1, 7), None]),
    "timestamptz": (pa.timestamp("us", "UTC"), [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None]),
    "string": (pa.string(), ["", "straße", None]),
    "fixed": (pa.binary(4), [b"\x00abc", None]),
    "binary": (pa.binary(), [b"", b"\xff", None]),
    "decimal": (pa.decimal128(12, 3), [Decimal("-1.500"), Decimal("123456789.001"), None]),
}


@pytest.mark.parametrize("format_version", SUPPORTED_FORMAT_VERSIONS)
@pytest.mark.parametrize("name", PARTITION_VALUES)
def test_what_is_remembered_is_what_would_be_read(tmp_path: Path, name: str, format_version: int) -> None:
    kind, values = PARTITION_VALUES[name]
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("part", kind)])
    table = LooseTable(tmp_path, schema, key=("id",), partitioning=("part",), format_version=format_version)
    ids = list(range(2 * len(values)))
    table.write(Operation.APPEND, pa.table({"id": ids, "part": pa.array(values * 2, kind)}, schema=schema))
    table.write(Operation.UPSERT, pa.table({"id": ids[:1], "part": pa.array(values[1:2], kind)}, schema=schema))
    table.delete_where("id = 1")
    fresh = SnapshotFiles(table.io.storage, RowDeletes(table.io.storage, table.io.engine))
    for snapshot in table.metadata.snapshots:
        remembered, stored = table.io.files.manifests(snapshot), fresh.manifests(snapshot)
        assert remembered == stored
        for one in stored:
            assert table.io.files.entries(one) == fresh.entries(one)


def test_several_columns_of_one_type_partition_a_table(tmp_path: Path) -> None:
    kinds = {name: PARTITION_VALUES[name.rstrip("2")] for name in ("fixed", "fixed2", "decimal", "decimal2")}
    schema = pa.schema([("id", pa.int64()), *((name, kind) for name, (kind, _) in kinds.items())])
    table = LooseTable(tmp_path, schema, key=("id",), partitioning=tuple(kinds))
    first, last = ([values[index] for _, values in kinds.values()] for index in (0, -1))
    rows = [dict(zip(schema.names, (number, *row), strict=True)) for number, row in enumerate((first, last))]
    table.write(Operation.APPEND, pa.Table.from_pylist(rows, schema=schema))
    fresh = SnapshotFiles(table.io.storage, RowDeletes(table.io.storage, table.io.engine))
    found = {live.file.partition for live in fresh.live(table.metadata.current_snapshot)}
    assert found == {tuple(first), tuple(last)}
    (manifest_file,) = fresh.manifests(table.metadata.current_snapshot)
    read = PyArrowFileIO().new_input(manifest_file.manifest_path)
    with AvroFile[Record](read) as entries_read:
        assert len(list(entries_read)) == 2
