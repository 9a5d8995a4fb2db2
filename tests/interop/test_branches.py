"""Branches, tags, rolled back and cherry-picked snapshots and upgraded tables, as other engines read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable

import cordillera
from cordillera.client import Dataset, Lake
from cordillera.spec.merge import WriteMode
from tests.interop.engines import EVERY_READER, READERS

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("note", pa.string())])
CASES = [
    pytest.param(3, WriteMode.MERGE_ON_READ, id="v3-merge-on-read"),
    pytest.param(3, WriteMode.COPY_ON_WRITE, id="v3-copy-on-write"),
    pytest.param(2, WriteMode.COPY_ON_WRITE, id="v2-copy-on-write"),
]


def rows(ids: range, note: str) -> list[dict[str, Any]]:
    return [{"id": i, "note": note} for i in ids]


def as_dict(table: pa.Table) -> dict[int, str]:
    found = dict(zip(table["id"].to_pylist(), table["note"].to_pylist(), strict=True))
    assert len(found) == table.num_rows
    return found


def same(dataset: Dataset, engine: str) -> None:
    """Every snapshot and every name reads the same here and there."""
    location = dataset.metadata_location
    assert as_dict(dataset.scan().to_arrow()) == as_dict(READERS[engine](location))
    theirs = StaticTable.from_metadata(location)
    for ref in dataset.refs():
        found = theirs.snapshot_by_name(ref.name)
        assert found is not None
        assert found.snapshot_id == ref.snapshot_id
        ours = as_dict(dataset.scan(as_of=ref.name).to_arrow())
        assert ours == as_dict(READERS[engine](location, ref.snapshot_id))


@pytest.fixture
def lake(tmp_path: Path) -> Any:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("a")
        yield lake


@pytest.mark.parametrize(("format_version", "mode"), CASES)
@EVERY_READER
def test_engines_read_every_name(lake: Lake, engine: str, format_version: int, mode: WriteMode) -> None:
    dataset = lake.create_dataset("a.b", SCHEMA, key=["id"], write_mode=mode.value, format_version=format_version)
    dataset.write(rows(range(20), "first"))
    dataset.create_tag("v1")
    dataset.create_branch("audit")
    dataset.write(rows(range(15, 25), "audited"), "upsert", branch="audit")
    dataset.write(pa.table({"id": [3]}), "delete", branch="audit")
    dataset.write(rows(range(30, 35), "audited"), branch="audit")
    same(dataset, engine)
    dataset.write(rows(range(40, 42), "main"))
    for snapshot in sorted(dataset.snapshots(branch="audit"), key=lambda s: s.sequence_number):
        dataset.cherry_pick(snapshot)
        same(dataset, engine)
    assert as_dict(dataset.scan().to_arrow()).keys() == {*range(25), *range(30, 35), 40, 41} - {3}
    dataset.rollback("v1")
    same(dataset, engine)
    dataset.write(rows(range(18, 22), "after"), "upsert")
    dataset.create_branch("next")
    dataset.delete_where("id < 10", branch="next")
    dataset.publish("next")
    same(dataset, engine)


@EVERY_READER
def test_engines_read_an_upgraded_table(lake: Lake, engine: str) -> None:
    dataset = lake.create_dataset("a.b", SCHEMA, key=["id"], format_version=2)
    dataset.write(rows(range(10), "first"))
    dataset.write(rows(range(5, 12), "second"), "upsert")
    dataset.create_tag("v2")
    dataset.upgrade()
    same(dataset, engine)
    for step in range(3):
        dataset.write(rows(range(step, step + 8), f"v3 {step}"), "upsert")
        same(dataset, engine)
    dataset.rollback("v2")
    same(dataset, engine)
    dataset.write(pa.table({"id": [1, 5]}), "delete")
    same(dataset, engine)
