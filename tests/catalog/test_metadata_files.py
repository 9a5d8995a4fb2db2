"""How many of a table's earlier metadata files stay."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.catalog.external_commits import TableChange
from cordillera.client import Lake
from cordillera.spec.commit import SetProperties

COMMITS = 25


@pytest.mark.parametrize(("declared", "least"), [("1", 1), ("10", 9)])
def test_earlier_files_are_removed_a_tenth_at_a_time_and_the_log_names_those_that_stay(
    lake: Lake, declared: str, least: int
) -> None:
    app = lake.backend.app
    lake.create_namespace("a")
    lake.create_dataset("a.b", pa.schema([("id", pa.int64())]))
    counts = []
    for number in range(COMMITS):
        change = SetProperties({"write.metadata.previous-versions-max": declared, "n": str(number)})
        [found] = app.external_commits.commit([TableChange("a.b", (), (change,))])
        metadata = app.tables.load(found.version)
        folder = Path(metadata.location.removeprefix("file://")) / "metadata"
        named = {Path(str(entry["metadata-file"])).name for entry in metadata.metadata_log}
        there = {path.name for path in folder.glob("*.metadata.json")}
        assert there == {*named, Path(found.version.metadata_location).name}
        counts.append(len(named))
    assert max(counts) == int(declared)
    assert min(counts[int(declared) :]) == least
