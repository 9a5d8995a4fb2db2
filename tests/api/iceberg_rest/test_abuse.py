"""What an engine with a bug, or a caller who means harm, cannot do to a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pyarrow as pa
import pytest

from cordillera.app import Application
from cordillera.client import Lake
from cordillera.errors import ContractViolationError
from cordillera.spec.schema_evolution import AddColumn, WidenColumn
from cordillera.table import snapshot_producer
from cordillera.table.content_file import ManifestFile
from cordillera.table.live_files import SnapshotFiles
from cordillera.table.manifest_encoding import encode_manifest_list
from tests.api.iceberg_rest.conftest import Engine, people
from tests.api.iceberg_rest.test_commits import CONTRACT, KEPT, refused, rows
from tests.api.iceberg_rest.test_tables import COLUMNS

KEY = {"id": 1, "name": "id", "type": "long", "required": True}
NAME = {"id": 2, "name": "name", "type": "string", "required": False}


def updated(iceberg: httpx2.Client, table: str, *updates: dict[str, Any]) -> httpx2.Response:
    return iceberg.post(table, json={"requirements": [], "updates": list(updates)})


@pytest.fixture
def on_branch(iceberg: httpx2.Client, lake: Lake, engine: Engine, name: str, table: str) -> int:
    """Return a snapshot that an engine has put on a branch, with a row that the contract forbids."""
    lake.dataset(name).put_contract(CONTRACT)
    lake.dataset(name).create_branch("audit")
    commit = engine.append(people(4, name="bad"))
    commit["updates"][1]["ref-name"] = "audit"
    commit["requirements"] = []
    assert iceberg.post(table, json=commit).status_code == 200
    return int(commit["updates"][0]["snapshot"]["snapshot-id"])


def test_no_way_by_a_branch_leads_around_the_contract(
    iceberg: httpx2.Client, lake: Lake, name: str, table: str, on_branch: int
) -> None:
    main = {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": on_branch}
    assert "name" in refused(updated(iceberg, table, main), "BadRequestException", 400)
    dataset = lake.dataset(name)
    for publish in (
        lambda: dataset.publish("audit"),
        lambda: dataset.cherry_pick(dataset.snapshots(branch="audit")[0]),
    ):
        with pytest.raises(ContractViolationError):
            publish()
    assert rows(lake, name) == dict.fromkeys([1, 2, 3], "x")


def test_partition_specs_that_files_need_stay(iceberg: httpx2.Client, lake: Lake, name: str, table: str) -> None:
    lake.dataset(name).partition_by("bucket(4, id)")
    gone = {"action": "remove-partition-specs", "spec-ids": [0]}
    assert "files" in refused(updated(iceberg, table, gone), "BadRequestException", 400)
    assert rows(lake, name) == dict.fromkeys([1, 2, 3], "x")
    lake.dataset(name).compact(rewrite_all=True)
    lake.dataset(name).write(people(4), "upsert")  # the compaction's own manifests tell of the files that went
    lake.dataset(name).expire_snapshots(older_than=timedelta(), keep_last=1)
    assert updated(iceberg, table, gone).status_code == 200
    assert rows(lake, name) == dict.fromkeys([1, 2, 3, 4], "x")


def part(**changes: Any) -> dict[str, Any]:
    return {"source-id": 1, "field-id": 1000, "name": "part", "transform": "bucket[4]", **changes}


SPECS = [
    [part(**{"source-id": 99})],
    [part(transform="unheard-of")],
    [part(transform="day")],
    [part(name="name")],
    [part(), part(**{"field-id": 1001})],
    [part(), part(name="other")],
]
ORDERS = [[{"source-id": 99}], [{"transform": "unheard-of"}], [{"transform": "hour"}]]


@pytest.mark.parametrize("fields", SPECS)
def test_a_partitioning_that_cannot_be_is_refused(
    iceberg: httpx2.Client, lake: Lake, namespace: str, name: str, table: str, fields: list[dict[str, Any]]
) -> None:
    add = {"action": "add-spec", "spec": {"spec-id": 1, "fields": fields}}
    answer = updated(iceberg, table, add, {"action": "set-default-spec", "spec-id": -1})
    refused(answer, "BadRequestException", 400)
    created = {
        "name": "made",
        "schema": {"type": "struct", "fields": [KEY, NAME]},
        "partition-spec": {"fields": fields},
    }
    refused(iceberg.post(f"/namespaces/{namespace}/tables", json=created), "BadRequestException", 400)
    lake.dataset(name).write(people(4), "upsert")


@pytest.mark.parametrize("fields", ORDERS)
def test_a_sort_order_that_cannot_be_is_refused(
    iceberg: httpx2.Client, lake: Lake, namespace: str, name: str, table: str, fields: list[dict[str, Any]]
) -> None:
    plain = {"source-id": 1, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}
    order = {"order-id": 1, "fields": [{**plain, **field} for field in fields]}
    add = {"action": "add-sort-order", "sort-order": order}
    answer = updated(iceberg, table, add, {"action": "set-default-sort-order", "sort-order-id": -1})
    refused(answer, "BadRequestException", 400)
    created = {"name": "made", "schema": {"type": "struct", "fields": [KEY, NAME]}, "write-order": order}
    refused(iceberg.post(f"/namespaces/{namespace}/tables", json=created), "BadRequestException", 400)
    lake.dataset(name).write(people(4), "upsert")


def test_a_partition_field_id_stands_for_one_thing(iceberg: httpx2.Client, lake: Lake, name: str, table: str) -> None:
    lake.dataset(name).partition_by("bucket(4, id)")
    other = {"action": "add-spec", "spec": {"spec-id": 9, "fields": [part(name="other", transform="truncate[10]")]}}
    refused(updated(iceberg, table, other), "BadRequestException", 400)


def test_a_file_is_live_once(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    (live,) = app.tables.io.files.live(engine.metadata.current_snapshot)
    assert "twice" in refused(iceberg.post(table, json=engine.append_file(live)), "BadRequestException", 400)
    assert rows(lake, name) == dict.fromkeys([1, 2, 3], "x")


@pytest.mark.parametrize(
    "described",
    [
        {"lower_bounds": {1: (50).to_bytes(8, "little")}, "upper_bounds": {1: (60).to_bytes(8, "little")}},
        {"upper_bounds": {1: (1).to_bytes(8, "little")}},
        {"record_count": 1},
        {"record_count": 3},
        {"file_format": "ORC"},
        {"file_size_in_bytes": -1},
    ],
)
def test_a_file_is_what_its_manifest_says(
    iceberg: httpx2.Client, lake: Lake, engine: Engine, name: str, table: str, described: dict[str, Any]
) -> None:
    refused(iceberg.post(table, json=engine.append_as(people(1, 9), **described)), "BadRequestException", 400)
    refused(iceberg.post(table, json=engine.append_as(people(8, 9), **described)), "BadRequestException", 400)
    lake.dataset(name).write(people(8), "upsert")
    assert rows(lake, name) == dict.fromkeys([1, 2, 3, 8], "x")


def test_rows_lie_in_the_partitions_that_their_files_name(
    iceberg: httpx2.Client, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    lake.dataset(name).partition_by("truncate(10, id)")
    assert iceberg.post(table, json=engine.append(people(20))).status_code == 200
    answer = iceberg.post(table, json=engine.append_as(people(21), partition=(30,)))
    assert "partition" in refused(answer, "BadRequestException", 400)


@pytest.mark.parametrize(
    "said",
    [
        {"sequence-number": 2**62},
        {"sequence-number": 77},
        {"schema-id": 99},
        {"timestamp-ms": 253_402_300_800_000},
        {"snapshot-id": 2**70},
        {"snapshot-id": -5},
        {"timestamp-ms": 2**70},
        {"first-row-id": 2**62},
        {"added-rows": 0},
        {"added-rows": 2**62},
        {"added-rows": -1},
        {"summary": {"operation": "x" * 10}},
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, table: str, said: dict[str, Any]
) -> None:
    commit = engine.append(people(4))
    if engine.metadata.format_version < 3 and {"first-row-id", "added-rows"} & said.keys():
        said = {"sequence-number": -1}
    commit["updates"][0]["snapshot"] |= said
    commit["updates"][1]["snapshot-id"] = commit["updates"][0]["snapshot"]["snapshot-id"]
    refused(iceberg.post(table, json=commit), "BadRequestException", 400)
    lake.dataset(name).write(people(5), "append")
    assert rows(lake, name) == dict.fromkeys([1, 2, 3, 5], "x")


@pytest.mark.parametrize("depth", [31, 200, 5_000])
def test_a_document_that_is_too_deep_is_refused(iceberg: httpx2.Client, namespace: str, table: str, depth: int) -> None:
    kind = '{"type":"list","element-id":9,"element":' * depth + '"int"' + ',"element-required":false}' * depth
    schema = '{"type":"struct","fields":[{"id":5,"name":"deep","required":false,"type":' + kind + "}]}"
    headers = {"Content-Type": "application/json"}
    created = f'{{"name":"deep","schema":{schema}}}'
    answer = iceberg.post(f"/namespaces/{namespace}/tables", content=created, headers=headers)
    refused(answer, "BadRequestException", 400)
    added = f'{{"requirements":[],"updates":[{{"action":"add-schema","schema":{schema}}}]}}'
    refused(iceberg.post(table, content=added, headers=headers), "BadRequestException", 400)


@pytest.mark.parametrize("number", [0, -1, 2147483540, 2**31, 2**40])
def test_a_field_id_that_is_not_for_columns_is_refused(iceberg: httpx2.Client, table: str, number: int) -> None:
    taken = {"id": number, "name": "taken", "type": "long", "required": False}
    schema = {"type": "struct", "schema-id": 1, "fields": [KEY, NAME, taken], "identifier-field-ids": [1]}
    refused(updated(iceberg, table, {"action": "add-schema", "schema": schema}), "BadRequestException", 400)


def test_a_creation_that_is_repeated_has_no_further_effect(
    iceberg: httpx2.Client, lake: Lake, app: Application, namespace: str
) -> None:
    address = f"/namespaces/{namespace}/tables"
    staged = iceberg.post(address, json={"name": "made", "schema": COLUMNS, "stage-create": True}).json()["metadata"]
    commit = {
        "requirements": [{"type": "assert-create"}],
        "updates": [
            {"action": "add-schema", "schema": staged["schemas"][0]},
            {"action": "set-current-schema", "schema-id": -1},
            {"action": "set-location", "location": staged["location"]},
        ],
    }
    headers = {"Idempotency-Key": "0190b1e2-0000-7000-8000-000000000002"}
    first, second = (iceberg.post(f"{address}/made", json=commit, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    refused(iceberg.post(f"{address}/made", json=commit), "AlreadyExistsException", 409)


def test_compaction_does_not_smuggle_rows_past_the_contract(
    iceberg: httpx2.Client, lake: Lake, engine: Engine, name: str, table: str, on_branch: int
) -> None:
    stored = pa.concat_tables([people(1, 2, 3), people(4, name="bad")])
    moved = engine.compact(on_branch, stored)
    assert "name" in refused(iceberg.post(table, json=moved), *KEPT)
    assert rows(lake, name) == dict.fromkeys([1, 2, 3], "x")


def test_an_earlier_schema_comes_back_only_if_it_still_fits(
    iceberg: httpx2.Client, lake: Lake, name: str, table: str
) -> None:
    lake.dataset(name).evolve(AddColumn("n", pa.int32()))
    lake.dataset(name).evolve(WidenColumn("n", pa.int64()))
    narrower = {"action": "set-current-schema", "schema-id": 1}
    assert "int" in refused(updated(iceberg, table, narrower), "BadRequestException", 400)
    assert updated(iceberg, table, {"action": "set-current-schema", "schema-id": 0}).status_code == 200
    assert "n" not in lake.dataset(name).schema.names


def described(number: int, *fields: dict[str, Any]) -> list[dict[str, Any]]:
    schema = {"type": "struct", "schema-id": number, "fields": list(fields), "identifier-field-ids": [1]}
    return [{"action": "add-schema", "schema": schema}, {"action": "set-current-schema", "schema-id": -1}]


def test_files_are_not_to_be_laid_out_by_columns_that_are_gone(
    iceberg: httpx2.Client, lake: Lake, name: str, table: str
) -> None:
    dataset, gone = lake.dataset(name), described(8, KEY)
    by_name = {"source-id": 2, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}
    sorts = [
        {"action": "add-sort-order", "sort-order": {"order-id": 7, "fields": [by_name]}},
        {"action": "set-default-sort-order", "sort-order-id": 7},
    ]
    lays_out = {"action": "set-default-spec", "spec-id": 1}
    dataset.partition_by("name")
    dataset.partition_by("bucket(4, id)")
    for updates in ([lays_out, *gone], [*sorts, *gone]):
        assert "no column" in refused(updated(iceberg, table, *updates), "BadRequestException", 400)
    assert updated(iceberg, table, *gone).status_code == 200
    assert "no column" in refused(updated(iceberg, table, lays_out), "BadRequestException", 400)
    dataset.write(people(4).select(["id"]), "upsert")
    assert dataset.scan().to_arrow().num_rows == 4


def test_a_column_is_not_called_like_a_partition_field_of_another(
    iceberg: httpx2.Client, lake: Lake, name: str, table: str
) -> None:
    lake.dataset(name).partition_by("bucket(4, id)")
    renamed = described(8, KEY, {**NAME, "name": "id_bucket"})
    assert "id_bucket" in refused(updated(iceberg, table, *renamed), "BadRequestException", 400)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("statistics", {}),
        ("statistics", {"file-size-in-bytes": 1, "file-footer-size-in-bytes": 1, "blob-metadata": "x"}),
        ("statistics", {"file-size-in-bytes": "1", "file-footer-size-in-bytes": 1, "blob-metadata": []}),
        ("statistics", {"file-size-in-bytes": 1, "file-footer-size-in-bytes": 1, "blob-metadata": [{"type": "t"}]}),
        ("partition-statistics", {}),
        ("encryption-key", {}),
        ("encryption-key", {"encrypted-key-metadata": "AA==", "properties": {"n": 1}}),
    ],
)
def test_metadata_that_no_engine_could_load_is_refused(
    iceberg: httpx2.Client, app: Application, engine: Engine, table: str, what: str, said: dict[str, Any]
) -> None:
    place = f"{engine.metadata.location}/metadata/own.stats"
    file = {"snapshot-id": engine.metadata.current_snapshot_id, "statistics-path": place, "key-id": "k", **said}
    action = f"{'add' if what == 'encryption-key' else 'set'}-{what}"
    answer = updated(iceberg, table, {"action": action, what: file})
    assert "cannot be read" in refused(answer, "BadRequestException", 400) or "lacks" in answer.text


@pytest.mark.parametrize("parent", ["itself", "each other"])
def test_a_snapshot_is_not_made_from_itself(
    iceberg: httpx2.Client, lake: Lake, engine: Engine, name: str, table: str, parent: str
) -> None:
    """Who follows the snapshots of a branch, to expire some of them, would never come to an end."""
    commit = engine.append_one_by_one(people(4), people(5))
    first, second = (commit["updates"][place]["snapshot"] for place in (0, 2))
    first["parent-snapshot-id"] = (first if parent == "itself" else second)["snapshot-id"]
    for place in (1, 3):
        commit["updates"][place]["ref-name"] = "audit"
    assert "from itself" in refused(iceberg.post(table, json=commit | {"requirements": []}), "BadRequestException", 400)
    lake.dataset(name).expire_snapshots(older_than=timedelta(), keep_last=1)


def test_a_manifest_list_cannot_leave_out_the_files_of_others(
    iceberg: httpx2.Client, lake: Lake, engine: Engine, name: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(manifests: list[ManifestFile], *others: Any) -> bytes:
        return encode_manifest_list([replace(one, added_files_count=0) for one in manifests], *others)

    with monkeypatch.context() as patch:
        patch.setattr(snapshot_producer, "encode_manifest_list", forgetful)
        patch.setattr(SnapshotFiles, "remember", lambda *_: None)
        commit = engine.append(people(4))
    assert "0 new files" in refused(iceberg.post(table, json=commit), "BadRequestException", 400)
    lake.dataset(name).delete_where("id = 3")
    assert rows(lake, name) == dict.fromkeys([1, 2], "x")
