"""Compressed metadata files, as long histories have them, are read by other engines."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.client import Dataset
from tests.interop.engines import EVERY_READER, READERS


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales", owner="team")
        schema = pa.schema([pa.field("id", pa.int64()), pa.field("note", pa.string())])
        codec = {"write.metadata.compression-codec": "gzip"}
        yield lake.create_dataset("sales.orders", schema, key=["id"], properties=codec)


@EVERY_READER
def test_engines_read_compressed_metadata(dataset: Dataset, engine: str) -> None:
    for turn in range(70):  # more than are compressed at once
        dataset.write(pa.table({"id": [turn, 500], "note": [f"{turn}", f"{turn}"]}), "upsert")
    location = dataset.metadata_location
    assert location.endswith(".gz.metadata.json")
    assert gzip.decompress(Path(location.removeprefix("file://")).read_bytes())[:1] == b"{"
    rows = READERS[engine](location).to_pylist()
    assert {(row["id"], row["note"]) for row in rows} == {*((n, f"{n}") for n in range(70)), (500, "69")}
    assert len(rows) == 71
    first = dataset.snapshots(limit=100)[-1]
    assert len(READERS[engine](location, first.snapshot_id).to_pylist()) == 2
