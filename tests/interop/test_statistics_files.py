"""The statistics files that we write are read by PyIceberg and Apache DataSketches, and what others wrote is used."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from datasketches import compact_theta_sketch, update_theta_sketch
from pyiceberg.table import StaticTable
from pyiceberg.table.puffin import PuffinFile

from cordillera.catalog.requests import CommitRequest
from cordillera.client import Dataset, Lake
from cordillera.spec.metadata_updates import SetStatistics
from cordillera.table.puffin import Blob, encode_puffin
from tests.conftest import app_of
from tests.interop.engines import IN_PROCESS

SCHEMA = pa.schema([("id", pa.int64()), ("place", pa.struct([("town", pa.string())])), ("day", pa.date32())])
ROWS = 20_000


def rows(first: int, count: int) -> pa.Table:
    ids = range(first, first + count)
    places = [{"town": f"town {i % 50}"} for i in ids]
    return pa.table({"id": ids, "place": places, "day": [i % 9 for i in ids]}, schema=SCHEMA)


@pytest.fixture(params=[2, 3])
def places(request: pytest.FixtureRequest, lake: Lake) -> Dataset:
    lake.create_namespace("a")
    dataset = lake.create_dataset(
        "a.places", SCHEMA, key=["id"], partitioning=["month(day)"], format_version=request.param
    )
    dataset.write(rows(0, ROWS), "append")
    return dataset


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def test_pyiceberg_and_datasketches_read_what_we_write(places: Dataset) -> None:
    places.refresh_statistics(["place.town"])
    table = StaticTable.from_metadata(places.details().version.metadata_location)
    (file,) = table.metadata.statistics
    stored = path_of(file.statistics_path).read_bytes()
    assert (file.snapshot_id, file.file_size_in_bytes) == (table.metadata.current_snapshot_id, len(stored))
    assert stored[-file.file_footer_size_in_bytes :][:4] == b"PFA1"
    puffin = PuffinFile(stored)
    ours = {one.column: one.distinct_values for one in places.statistics()}
    assert ours == {"id": pytest.approx(ROWS, rel=0.06), "place.town": 50, "day": 9}
    for blob, described in zip(puffin.footer.blobs, file.blob_metadata, strict=True):
        assert blob.type == described.type == "apache-datasketches-theta-v1"
        assert (blob.fields, blob.snapshot_id) == (described.fields, described.snapshot_id)
        name = table.schema().find_column_name(blob.fields[0])
        sketch = compact_theta_sketch.deserialize(puffin.get_blob_payload(blob))
        assert round(sketch.get_estimate()) == int(described.properties["ndv"]) == ours[name or ""]
    for read in IN_PROCESS.values():
        assert read(places.details().version.metadata_location).num_rows == ROWS


def test_what_another_engine_counted_is_shown_and_continued(lake: Lake, places: Dataset) -> None:
    app, field_id = app_of(lake), 1
    sketch = update_theta_sketch()
    for number in range(ROWS):
        sketch.update(number)
    target = app.catalog.dataset("a.places")
    metadata = app.tables.load(target.version)
    snapshot = metadata.current_snapshot
    assert snapshot is not None
    blob = Blob(
        "apache-datasketches-theta-v1",
        sketch.compact().serialize(),
        (field_id,),
        snapshot.snapshot_id,
        snapshot.sequence_number,
        {"ndv": str(round(sketch.get_estimate()))},
    )
    data, _, footer = encode_puffin([blob])
    path = f"{metadata.location}/metadata/theirs.stats"
    app.tables.io.storage.write(path, data)
    entry = {
        "snapshot-id": snapshot.snapshot_id,
        "statistics-path": path,
        "file-size-in-bytes": len(data),
        "file-footer-size-in-bytes": footer,
        "blob-metadata": [blob.described()],
    }
    app.commits.commit(target, CommitRequest(updates=(SetStatistics(entry),)))
    assert [one.column for one in places.statistics()] == ["id"]
    places.write(rows(ROWS, 1000), "append")
    refreshed = {one.column: one.distinct_values for one in places.refresh_statistics().columns}
    assert refreshed == {"id": pytest.approx(ROWS + 1000, rel=0.06), "day": 9}
