"""Metadata files of long histories: compressed piece by piece, the same content as in one piece."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import CorruptDataError, InvalidSchemaError
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.metadata_encoding import MetadataEncoder, combined
from tests.table.harness import LooseTable


@pytest.fixture
def metadata(tmp_path: Path) -> TableMetadata:
    return LooseTable(tmp_path, pa.schema([pa.field("id", pa.int64())]), key=("id",)).metadata


def history(metadata: TableMetadata, numbers: range, **changes: Any) -> TableMetadata:
    """The table with snapshots of these numbers."""
    snapshots = tuple(
        IcebergSnapshot(
            number * 7, number * 7 - 7, number, number, f"file:///list-{number}", {"operation": "append"}, 0
        )
        for number in numbers
    )
    log = tuple({"snapshot-id": number * 7, "timestamp-ms": number} for number in numbers)
    return metadata.with_changes(snapshots=snapshots, snapshot_log=log, last_sequence_number=numbers.stop, **changes)


@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_checksums_are_combined(first: bytes, second: bytes) -> None:
    assert combined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_checksums_of_long_pieces_are_combined() -> None:
    first, second = b"x" * 5, bytes(range(256)) * 40_000
    assert combined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_every_length_is_what_it_would_be_in_one_piece(metadata: TableMetadata) -> None:
    encoder = MetadataEncoder()
    for last in [*range(0, 400, 13), 64, 65, 128, 129, 192, 193]:
        table = history(metadata, range(1, last + 1), properties={"write.metadata.compression-codec": "gzip"})
        content, ending = encoder.encode(table)
        assert ending == "gz.metadata.json"
        assert orjson.loads(gzip.decompress(content)) == orjson.loads(table.to_json())
        assert TableMetadata.from_json(content) == TableMetadata.from_json(table.to_json())


def test_what_expired_is_gone(metadata: TableMetadata) -> None:
    encoder = MetadataEncoder()
    for numbers in (range(1, 300), range(70, 300), range(70, 420), range(300, 700)):
        table = history(metadata, numbers)
        assert TableMetadata.from_json(encoder.encode(table)[0]).snapshots == table.snapshots


def test_tables_do_not_meet_in_the_cache(metadata: TableMetadata) -> None:
    encoder = MetadataEncoder()
    one, other = history(metadata, range(1, 300)), history(metadata, range(1, 300), table_uuid="another")
    other = other.with_changes(
        snapshots=tuple(IcebergSnapshot(s.snapshot_id, None, 1, 1, "elsewhere", {}, 0) for s in other.snapshots)
    )
    for table in (one, other):
        assert TableMetadata.from_json(encoder.encode(table)[0]).snapshots == table.snapshots


def test_short_histories_are_plain_and_a_codec_is_kept_to(metadata: TableMetadata) -> None:
    encoder, codec = MetadataEncoder(), "write.metadata.compression-codec"
    assert encoder.encode(history(metadata, range(1, 129)))[1] == "metadata.json"
    assert encoder.encode(history(metadata, range(1, 130)))[1] == "gz.metadata.json"
    content, ending = encoder.encode(history(metadata, range(1, 400), properties={codec: "none"}))
    assert (ending, orjson.loads(content)["last-sequence-number"]) == ("metadata.json", 400)
    with pytest.raises(InvalidSchemaError, match="zstd"):
        encoder.encode(history(metadata, range(1, 2), properties={codec: "zstd"}))


def test_damage_is_told(metadata: TableMetadata) -> None:
    content = bytearray(MetadataEncoder().encode(history(metadata, range(1, 300)))[0])
    for damaged in (content[:-1], content[:200], [*content[:-5], content[-5] ^ 1, *content[-4:]]):
        with pytest.raises(CorruptDataError, match="somewhere"):
            TableMetadata.from_json(bytes(damaged), "somewhere")
