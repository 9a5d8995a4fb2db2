"""PyIceberg reading what is planned here: it asks which files to read, and opens no manifest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.manifest import ManifestFile

from cordillera.app import create_lake
from cordillera.catalog import scan_plans
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from tests.interop.rest_engines import Sail
from tests.tokens import administrators_token

SCHEMA = pa.schema(
    [pa.field("id", pa.int64(), nullable=False), pa.field("region", pa.string()), pa.field("day", pa.date32())]
)
FILTERS = [
    ("id = 17", "id = 17"),
    ("id > 30 and region = 'north'", "id > 30 AND region = 'north'"),
    ("region in ('south', 'east') or id < 3", "region IN ('south', 'east') OR id < 3"),
    ("not (id >= 10 and id < 50)", "NOT (id >= 10 AND id < 50)"),
    ("region like 'no%'", "region LIKE 'no%'"),
    ("day >= '2024-02-01'", "day >= '2024-02-01'"),
    ("region is null", "region IS NULL"),
]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, RestCatalog]]:
    with create_lake(tmp_path_factory.mktemp("lake") / "lake") as app, running_server(create_server(app)) as url:
        lake, token = Lake(LocalBackend(app)), administrators_token(app)
        lake.create_namespace("sales")
        yield lake, RestCatalog("lake", uri=f"{url}/iceberg", token=token, **{"scan-planning-mode": "server"})


@pytest.mark.parametrize("version", [2, 3])
def test_pyiceberg_reads_what_is_planned_here(
    catalog: tuple[Lake, RestCatalog], version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, client = catalog
    name = f"sales.orders{version}"
    dataset = lake.create_dataset(name, SCHEMA, key=["id"], format_version=version, partitioning=["truncate(20, id)"])
    regions = ["north", "south", "east", None]

    def rows(first: int, upto: int) -> list[dict[str, Any]]:
        day = pa.scalar(19_723, pa.date32()).as_py()
        return [{"id": i, "region": regions[i % 4], "day": day.replace(month=1 + i // 30)} for i in range(first, upto)]

    for first in range(0, 60, 20):
        dataset.write(rows(first, first + 20), "append")
    dataset.delete_where("id % 5 = 1")
    dataset.partition_by("month(day)")
    dataset.write(rows(60, 80), "append")
    assert client.supports_server_side_planning()
    monkeypatch.setattr(scan_plans, "TASKS", 2)
    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", None)
    table = client.load_table(name)
    for theirs, ours in [*FILTERS, ("true", "true")]:
        condition = {} if theirs == "true" else {"row_filter": theirs}
        found = table.scan(**condition, selected_fields=("id", "region")).to_arrow().sort_by("id")
        assert found.to_pylist() == dataset.scan(["id", "region"], where=ours).to_arrow().sort_by("id").to_pylist()
        assert table.scan(**condition).count() == found.num_rows
    first_snapshot = table.snapshots()[0].snapshot_id
    assert table.scan(snapshot_id=first_snapshot).to_arrow().num_rows == 20


def test_delete_files_of_another_engine_are_part_of_a_plan(
    catalog: tuple[Lake, RestCatalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, client = catalog
    dataset = lake.create_dataset("sales.of_sail", SCHEMA, key=["id"], format_version=2)
    day = pa.scalar(19_723, pa.date32()).as_py()
    for first in (0, 10):
        dataset.write([{"id": i, "region": "x", "day": day} for i in range(first, first + 10)], "append")
    sail = Sail(str(client.properties["uri"]).removesuffix("/iceberg"), str(client.properties["token"]))
    sail._session.sql(
        "MERGE INTO lake.sales.of_sail t USING (SELECT CAST(3 AS BIGINT) AS id) g ON t.id = g.id "
        "WHEN MATCHED THEN DELETE"
    ).toArrow()
    left = sorted(dataset.scan(["id"]).to_arrow()["id"].to_pylist())
    assert left == [i for i in range(20) if i != 3]
    plan = client._session.post(f"{client.uri}/v1/namespaces/sales/tables/of_sail/plan", json={}).json()
    assert [one["content"] for one in plan["delete-files"]] == ["position-deletes"]
    assert {tuple(one["delete-file-references"]) for one in plan["file-scan-tasks"]} == {(0,)}
    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", None)
    theirs = client.load_table("sales.of_sail").scan(selected_fields=("id",)).to_arrow()["id"].to_pylist()
    assert sorted(theirs) == left
