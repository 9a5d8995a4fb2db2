"""Registering tables that lie in the lake's storage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import duckdb
import httpx2
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType

from cordillera.app import Application
from cordillera.catalog.external_tables import NewExternalTable
from cordillera.client import Lake
from cordillera.commit_codec import updates_from_plain
from cordillera.spec.commit import apply
from cordillera.spec.table_metadata import TableMetadata
from cordillera.worker import Worker
from tests.api.iceberg_rest.conftest import Engine, people
from tests.api.iceberg_rest.test_commits import refused, rows

COLUMNS = Schema(
    NestedField(1, "id", LongType(), required=True), NestedField(2, "name", StringType()), identifier_field_ids=[1]
)


class Foreign(Engine):
    """Writes a table that no catalog knows."""

    def __init__(self, app: Application, name: str, format_version: int) -> None:
        super().__init__(app, name)
        self.app = app
        staged = app.external_tables.stage(
            NewExternalTable(name, COLUMNS, properties={"format-version": str(format_version)})
        )
        self.state = staged.with_changes(properties={"comment": "ours"}, schemas=(_keyed(staged, []),))

    @property
    def metadata(self) -> TableMetadata:
        return self.state

    def do(self, commit: dict[str, Any]) -> None:
        """Take a commit into the table."""
        self.state = apply(updates_from_plain(commit["updates"]), self.state, self.app.tables.io.now_ms())

    def saved(self, **changes: Any) -> str:
        """Write the metadata file and return its location."""
        metadata = self.state.with_changes(schemas=(_keyed(self.state, [1]),)).with_changes(**changes)
        location = f"{self.state.location}/metadata/00001-{uuid4()}.metadata.json"
        self.app.storage.write(location, metadata.to_json())
        return location


def _keyed(metadata: TableMetadata, ids: list[int]) -> Schema:
    return metadata.schema.model_copy(update={"identifier_field_ids": ids})


@pytest.fixture(params=[2, 3])
def foreign(request: pytest.FixtureRequest, app: Application, namespace: str) -> Foreign:
    return Foreign(app, f"{namespace}.staged", request.param)


@pytest.fixture
def register(iceberg: httpx2.Client, namespace: str) -> Callable[..., httpx2.Response]:
    def register(location: str, name: str = "people", **more: Any) -> httpx2.Response:
        body = {"name": name, "metadata-location": location, **more}
        return iceberg.post(f"/namespaces/{namespace}/register", json=body)

    return register


def test_a_table_becomes_a_dataset(
    app: Application,
    lake: Lake,
    foreign: Foreign,
    namespace: str,
    register: Callable[..., httpx2.Response],
    tmp_path: Any,
) -> None:
    foreign.do(foreign.append(people(1, 2, 3)))
    first = foreign.state.current_snapshot
    foreign.do(foreign.delete("id = 2"))
    foreign.do(foreign.append(people(4)))
    assert first is not None
    tag = {"snapshot-id": first.snapshot_id, "type": "tag", "max-ref-age-ms": 10**12}
    long_ago = [
        replace(one, timestamp_ms=one.timestamp_ms - (3 - number) * 86_400_000)
        for number, one in enumerate(foreign.state.snapshots)
    ]
    location = foreign.saved(refs={**foreign.state.refs, "first": tag}, snapshots=tuple(long_ago))
    answer = register(location).json()
    name = f"{namespace}.people"
    assert answer["metadata"]["table-uuid"] == foreign.state.table_uuid
    assert answer["metadata"]["properties"]["comment"] == "ours"
    assert answer["metadata"]["metadata-log"][0]["metadata-file"] == location
    assert rows(lake, name) == {1: "x", 3: "x", 4: "x"}
    dataset = lake.dataset(name)
    assert dataset.scan(as_of=1).to_arrow().num_rows == dataset.scan(as_of="first").to_arrow().num_rows == 3
    then = datetime.now(UTC) - timedelta(days=1, hours=12)
    assert dataset.scan(as_of=then).to_arrow()["id"].to_pylist() == [1, 3]
    history = [(one.rows, one.rows_inserted - one.rows_deleted) for one in dataset.snapshots()]
    assert history == [(3, 1), (2, -1), (3, 3)]
    version = app.catalog.dataset(name).version
    assert (version.rows, version.key, version.sequence_number) == (3, ("id",), 3)
    lake.create_target(f"t{namespace}", "duckdb", path=str(tmp_path / "t.duckdb"))
    dataset.subscribe(f"t{namespace}", table="copy")
    Worker(app).run_until_idle()
    dataset.write(people(3, 5, name="new"), "upsert")
    Worker(app).run_until_idle()
    with duckdb.connect(str(tmp_path / "t.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT id, name FROM copy ORDER BY id").fetchall() == [
            (1, "x"), (3, "new"), (4, "x"), (5, "new"),
        ]  # fmt: skip
    assert not [one for one in lake.backend.orphans(0) if one.uri.endswith(".parquet") and one.dataset == name]


def test_what_has_expired_is_not_missed(
    lake: Lake, foreign: Foreign, namespace: str, register: Callable[..., httpx2.Response]
) -> None:
    foreign.do(foreign.append(people(1, 2)))
    foreign.do(foreign.append(people(3)))
    location = foreign.saved(snapshots=foreign.state.snapshots[1:], last_sequence_number=9)
    assert register(location).status_code == 200
    dataset = lake.dataset(f"{namespace}.people")
    assert [(one.rows, one.rows_inserted) for one in dataset.snapshots()] == [(3, 3)]
    dataset.write(people(4), "append")
    assert dataset.snapshots()[0].sequence_number == 10
    assert rows(lake, f"{namespace}.people") == {1: "x", 2: "x", 3: "x", 4: "x"}


def test_an_empty_table_is_one(foreign: Foreign, register: Callable[..., httpx2.Response]) -> None:
    assert register(foreign.saved()).json()["metadata"]["snapshots"] == []


def test_a_table_belongs_to_one_dataset(
    iceberg: httpx2.Client, lake: Lake, foreign: Foreign, namespace: str, register: Callable[..., httpx2.Response]
) -> None:
    foreign.do(foreign.append(people(1)))
    location = foreign.saved()
    assert register(location).status_code == 200
    assert "belongs to" in refused(register(location, "again"), "BadRequestException", 400)
    assert "overwritten" in refused(register(location, overwrite=True), "BadRequestException", 400)
    lake.create_dataset(f"{namespace}.taken", people().schema)
    other = Foreign(foreign.app, f"{namespace}.other", 2).saved()
    refused(register(other, "taken"), "AlreadyExistsException", 409)
    nowhere = {"name": "x", "metadata-location": other}
    refused(iceberg.post("/namespaces/nowhere/register", json=nowhere), "NoSuchNamespaceException", 404)


def test_a_dropped_table_comes_back(
    iceberg: httpx2.Client, lake: Lake, name: str, namespace: str, table: str, register: Callable[..., httpx2.Response]
) -> None:
    before = lake.dataset(name).metadata_location
    lake.dataset(name).write(people(4), "append")
    newest, found = lake.dataset(name).metadata_location, lake.dataset(name).details().dataset
    assert iceberg.delete(table).status_code == 204
    lake.create_dataset(name, people().schema)
    assert "newest" in refused(register(before, "back"), "BadRequestException", 400)
    refused(register(newest, "people"), "AlreadyExistsException", 409)
    assert register(newest, "back").json()["metadata-location"] == newest
    back = lake.dataset(f"{namespace}.back")
    assert back.details().dataset.id == found.id
    assert rows(lake, f"{namespace}.back") == {1: "x", 2: "x", 3: "x", 4: "x"}
    assert [one.sequence_number for one in back.snapshots()] == [2, 1]


def test_places_that_are_no_tables_are_refused(
    app: Application, foreign: Foreign, register: Callable[..., httpx2.Response]
) -> None:
    location, root = foreign.saved(), app.storage.root
    for wrong in (
        "file:///etc/passwd",
        "http://127.0.0.1/metadata.json",
        f"{root}/x.metadata.json",
        f"{root}/a/b/c/metadata/x.metadata.json",
        f"{foreign.state.location}/metadata/../metadata/x.metadata.json",
        f"{foreign.state.location}/data/x.metadata.json",
        f"{foreign.state.location}/metadata/x.avro",
    ):
        assert register(wrong).status_code in (400, 403), wrong
    missing = f"{foreign.state.location}/metadata/none.metadata.json"
    assert register(missing).status_code in (400, 404)
    app.storage.write(broken := f"{foreign.state.location}/metadata/broken.metadata.json", b"{}")
    refused(register(broken), "BadRequestException", 400)
    other = foreign.state.location[:-3] + ("aaa" if foreign.state.location[-3:] != "aaa" else "bbb")
    app.storage.write(copied := f"{other}/metadata/00001.metadata.json", app.storage.read(location))
    refused(register(copied), "ForbiddenException", 403)


@pytest.mark.parametrize(
    "changes",
    [
        {"last_column_id": 1},
        {"last_sequence_number": 0},
        {"current_schema_id": 7},
        {"default_spec_id": 7},
        {"current_snapshot_id": None},
        {"current_snapshot_id": 12345},
        {"properties": {"cordillera.key-field-ids": "2"}},
        {"properties": {"cordillera.tombstones": "file:///etc/passwd"}},
        {"properties": {"a": 1}},
        {"refs": {"main": {"type": "branch"}}},
        {"refs": {"x": {"snapshot-id": "1", "type": "tag"}}},
        {"refs": {"x": 7}},
        {"table_uuid": "x"},
        {"sort_orders": ({"order-id": "x"},)},
        {"last_updated_ms": "now"},
    ],
)
def test_metadata_that_contradicts_itself_is_refused(
    app: Application, namespace: str, register: Callable[..., httpx2.Response], changes: dict[str, Any]
) -> None:
    foreign = Foreign(app, f"{namespace}.people", 2)
    foreign.do(foreign.append(people(1)))
    refused(register(foreign.saved(**changes)), "BadRequestException", 400)


def test_rows_that_break_the_key_are_refused(
    app: Application, foreign: Foreign, register: Callable[..., httpx2.Response]
) -> None:
    foreign.do(foreign.append(people(1)))
    foreign.do(foreign.append(people(1)))
    assert "id=1" in refused(register(foreign.saved()), "BadRequestException", 400)


def test_snapshots_that_are_not_the_tables_are_refused(
    app: Application, lake: Lake, name: str, foreign: Foreign, register: Callable[..., httpx2.Response]
) -> None:
    foreign.do(foreign.append(people(9)))
    [mine], [other] = foreign.state.snapshots, app.tables.load(app.catalog.dataset(name).version).snapshots
    elsewhere = replace(mine, manifest_list=other.manifest_list)
    assert "elsewhere" in refused(register(foreign.saved(snapshots=(elsewhere,)), "other"), "ForbiddenException", 403)
    ours = replace(mine, summary={**mine.summary, "engine-name": "cordillera"})
    refused(register(foreign.saved(snapshots=(ours,)), "other"), "BadRequestException", 400)
    missing = replace(mine, manifest_list=f"{foreign.state.location}/metadata/none.avro")
    refused(register(foreign.saved(snapshots=(missing,)), "other"), "BadRequestException", 400)


def test_a_registration_is_reachable_everywhere(
    lake: Lake, foreign: Foreign, http: httpx2.Client, namespace: str
) -> None:
    foreign.do(foreign.append(people(1)))
    made = http.post(f"/datasets/{namespace}.people/register", json={"metadata_location": foreign.saved()})
    assert made.json()["version"]["rows"] == 1
    newest = lake.dataset(f"{namespace}.people").metadata_location
    lake.dataset(f"{namespace}.people").delete()
    assert lake.register_dataset(f"{namespace}.again", newest).scan().to_arrow().num_rows == 1
