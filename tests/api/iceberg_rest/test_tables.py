"""Finding, loading, creating and dropping tables through the Iceberg REST catalog."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from cordillera.app import Application
from cordillera.catalog.new_table import TableOptions
from cordillera.client import Lake
from tests.api.iceberg_rest.conftest import Engine, people
from tests.api.iceberg_rest.test_commits import refused, rows

COLUMNS = {
    "type": "struct",
    "fields": [
        {"id": 7, "name": "id", "type": "long", "required": True},
        {"id": 9, "name": "name", "type": "string", "required": False},
    ],
    "identifier-field-ids": [7],
}


def test_the_catalog_says_what_it_can_do(iceberg: httpx2.Client, app: Application) -> None:
    answer = iceberg.get("/config", params={"warehouse": app.lake().name}).json()
    assert "POST /v1/{prefix}/transactions/commit" in answer["endpoints"]
    refused(iceberg.get("/config", params={"warehouse": "another"}), "NotFoundException", 404)


def test_callers_are_recognised(url: str) -> None:
    with httpx2.Client(base_url=f"{url}/iceberg/v1", trust_env=False, timeout=60) as client:
        refused(client.get("/namespaces"), "NotAuthorizedException", 401)


def test_a_namespace_lives_its_life(iceberg: httpx2.Client, namespace: str) -> None:
    properties = {"owner": "team:a", "comment": "of a", "location": "somewhere", "ü": ""}
    made = {"namespace": [f"{namespace}_a"], "properties": properties}
    assert iceberg.post("/namespaces", json=made).json() == made
    refused(iceberg.post("/namespaces", json=made), "AlreadyExistsException", 409)
    refused(iceberg.post("/namespaces", json={"namespace": [f"{namespace}_b", "b"]}), "NoSuchNamespaceException", 404)
    for levels in ([], [""], [f"{namespace}_a.b"], [f"{namespace}_a", ""], ["a"] * 99):
        refused(iceberg.post("/namespaces", json={"namespace": levels}), "BadRequestException", 400)
    address = f"/namespaces/{namespace}_a"
    assert iceberg.head(address).status_code == 204
    changes = {"removals": ["comment", "x", "location"], "updates": {"owner": "team:b", "new": "1"}}
    changed = iceberg.post(f"{address}/properties", json=changes)
    assert changed.json() == {"updated": ["new", "owner"], "removed": ["comment", "location"], "missing": ["x"]}
    assert iceberg.get(address).json()["properties"] == {"owner": "team:b", "new": "1", "ü": ""}
    both = {"removals": ["new"], "updates": {"new": "2"}}
    assert "both" in refused(iceberg.post(f"{address}/properties", json=both), "UnprocessableEntityException", 422)
    many = {"updates": {f"p{number}": "" for number in range(99)}}
    assert "101" in refused(iceberg.post(f"{address}/properties", json=many), "BadRequestException", 400)
    assert iceberg.delete(address).status_code == 204
    assert iceberg.head(address).status_code == 404
    refused(iceberg.get(address), "NoSuchNamespaceException", 404)


def test_namespaces_within_namespaces(iceberg: httpx2.Client, namespace: str) -> None:
    levels, inner = [namespace, "inner", "most"], f"{namespace}%1Finner"
    for count in (2, 3):
        made = iceberg.post("/namespaces", json={"namespace": levels[:count], "properties": {}}).json()
        assert made["namespace"] == levels[:count]
    assert [namespace] in iceberg.get("/namespaces").json()["namespaces"]
    assert levels[:2] not in iceberg.get("/namespaces").json()["namespaces"]
    for parent, within in ((namespace, levels[:2]), (f"{namespace}\x1finner", levels)):
        assert iceberg.get("/namespaces", params={"parent": parent}).json()["namespaces"] == [within]
    refused(iceberg.get("/namespaces", params={"parent": f"{namespace}.inner"}), "BadRequestException", 400)
    refused(iceberg.get(f"/namespaces/{namespace}.inner"), "BadRequestException", 400)
    assert iceberg.get(f"/namespaces/{inner}").json()["namespace"] == levels[:2]
    refused(iceberg.delete(f"/namespaces/{inner}"), "NamespaceNotEmptyException", 409)
    address = f"/namespaces/{inner}%1Fmost/tables"
    iceberg.post(address, json={"name": "people", "schema": COLUMNS}).raise_for_status()
    assert iceberg.get(address).json()["identifiers"] == [{"namespace": levels, "name": "people"}]
    assert iceberg.get(f"/namespaces/{inner}/tables").json()["identifiers"] == []
    renaming = {
        "source": {"namespace": levels, "name": "people"},
        "destination": {"namespace": levels[:2], "name": "persons"},
    }
    assert iceberg.post("/tables/rename", json=renaming).status_code == 204
    assert iceberg.head(f"/namespaces/{inner}/tables/persons").status_code == 204
    assert iceberg.delete(f"/namespaces/{inner}%1Fmost").status_code == 204


def test_lists_come_in_pages_to_those_who_ask(iceberg: httpx2.Client, namespace: str) -> None:
    names = [f"table_{number}" for number in range(5)]
    for name in names:
        iceberg.post(f"/namespaces/{namespace}/tables", json={"name": name, "schema": COLUMNS})
    address, seen, token = f"/namespaces/{namespace}/tables", [], ""
    assert [one["name"] for one in iceberg.get(address).json()["identifiers"]] == names
    while token is not None:
        page = iceberg.get(address, params={"pageToken": token, "pageSize": 2}).json()
        seen += [one["name"] for one in page["identifiers"]]
        token = page.get("next-page-token")
    assert seen == names
    everywhere = [one[0] for one in iceberg.get("/namespaces").json()["namespaces"]]
    assert namespace in everywhere
    refused(iceberg.delete(f"/namespaces/{namespace}"), "NamespaceNotEmptyException", 409)


def test_a_table_is_a_dataset(iceberg: httpx2.Client, lake: Lake, app: Application, namespace: str) -> None:
    wanted = {
        "name": "people",
        "schema": COLUMNS,
        "partition-spec": {"fields": [{"source-id": 7, "field-id": 1000, "name": "part", "transform": "bucket[4]"}]},
        "write-order": {
            "order-id": 1,
            "fields": [{"source-id": 9, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}],
        },
        "properties": {"format-version": "3", "comment": "all of them"},
    }
    made = iceberg.post(f"/namespaces/{namespace}/tables", json=wanted).json()["metadata"]
    assert (made["format-version"], made["properties"]["comment"]) == (3, "all of them")
    version = app.catalog.dataset(f"{namespace}.people").version
    assert (version.key, version.partitioning) == (("id",), ("bucket(4, id)",))
    lake.dataset(f"{namespace}.people").write(people(1, 2), "append")
    assert rows(lake, f"{namespace}.people") == {1: "x", 2: "x"}
    again = iceberg.post(f"/namespaces/{namespace}/tables", json=wanted)
    refused(again, "AlreadyExistsException", 409)
    assert iceberg.delete(f"/namespaces/{namespace}/tables/people?purgeRequested=true").status_code == 204
    assert iceberg.head(f"/namespaces/{namespace}/tables/people").status_code == 404


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"name": "People"}, "legal"),
        ({"location": "file:///elsewhere"}, "chooses"),
        ({"schema": {"type": "struct", "fields": []}}, "at least one column"),
        ({"schema": {"type": "struct", "fields": [{"id": 1, "name": "a"}]}}, "schema"),
        ({"properties": {"format-version": "1"}}, "version"),
        ({"properties": {"cordillera.key": "7"}}, "Cordillera"),
        ({"properties": {"write.merge.mode": "never"}}, "merge"),
    ],
)
def test_a_table_that_cannot_be_is_refused(
    iceberg: httpx2.Client, namespace: str, changes: dict[str, Any], what: str
) -> None:
    answer = iceberg.post(f"/namespaces/{namespace}/tables", json={"name": "people", "schema": COLUMNS, **changes})
    assert what in refused(answer, "BadRequestException", 400)


def test_a_staged_table_comes_with_its_rows(
    iceberg: httpx2.Client, lake: Lake, app: Application, namespace: str
) -> None:
    address = f"/namespaces/{namespace}/tables"
    staged = iceberg.post(address, json={"name": "made", "schema": COLUMNS, "stage-create": True}).json()
    assert "metadata-location" not in staged
    assert iceberg.head(f"{address}/made").status_code == 404
    metadata = staged["metadata"]
    commit = {
        "requirements": [{"type": "assert-create"}],
        "updates": [
            {"action": "assign-uuid", "uuid": metadata["table-uuid"]},
            {"action": "upgrade-format-version", "format-version": 2},
            {"action": "add-schema", "schema": metadata["schemas"][0]},
            {"action": "set-current-schema", "schema-id": -1},
            {"action": "add-spec", "spec": metadata["partition-specs"][0]},
            {"action": "set-default-spec", "spec-id": -1},
            {"action": "add-sort-order", "sort-order": metadata["sort-orders"][0]},
            {"action": "set-default-sort-order", "sort-order-id": -1},
            {"action": "set-location", "location": metadata["location"]},
            {"action": "set-properties", "updates": {"comment": "made"}},
        ],
    }
    elsewhere = {**commit, "updates": [*commit["updates"][:-2], {"action": "set-location", "location": "file:///x/y"}]}
    assert "chooses" in refused(iceberg.post(f"{address}/made", json=elsewhere), "BadRequestException", 400)
    assert iceberg.post(f"{address}/made", json=commit).status_code == 200
    refused(iceberg.post(f"{address}/made", json=commit), "AlreadyExistsException", 409)
    assert app.catalog.dataset(f"{namespace}.made").version.location == metadata["location"]
    assert iceberg.post(f"{address}/made", json=Engine(app, f"{namespace}.made").append(people(1))).status_code == 200
    assert rows(lake, f"{namespace}.made") == {1: "x"}


def test_a_table_that_has_not_changed_is_not_sent_again(
    iceberg: httpx2.Client, lake: Lake, name: str, table: str
) -> None:
    first = iceberg.get(table)
    tag = first.headers["etag"]
    unchanged = iceberg.get(table, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert iceberg.get(table, params={"snapshots": "refs"}, headers={"If-None-Match": tag}).status_code == 200
    lake.dataset(name).write(people(4), "append")
    changed = iceberg.get(table, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert len(changed.json()["metadata"]["snapshots"]) == 2
    named = iceberg.get(table, params={"snapshots": "refs"}).json()["metadata"]
    assert [one["snapshot-id"] for one in named["snapshots"]] == [named["current-snapshot-id"]]


def test_a_dataset_version_is_a_table(iceberg: httpx2.Client, lake: Lake, name: str, table: str) -> None:
    lake.backend.create_dataset_version(name, lake.dataset(name).schema, TableOptions(key=("id",)), active=True)
    lake.dataset(f"{name}_v2").write(people(50), "append")
    assert [one["snapshot-id"] for one in iceberg.get(f"{table}_v1").json()["metadata"]["snapshots"]]
    assert iceberg.get(table).json()["metadata-location"] == lake.dataset(f"{name}_v2").metadata_location
    refused(iceberg.get(f"{table}_v9"), "NoSuchTableException", 404)


def evolved(iceberg: httpx2.Client, table: str, *fields: dict[str, Any], **more: Any) -> httpx2.Response:
    schema = {"type": "struct", "schema-id": 1, "fields": list(fields), **more}
    updates = [{"action": "add-schema", "schema": schema}, {"action": "set-current-schema", "schema-id": -1}]
    return iceberg.post(table, json={"requirements": [], "updates": updates})


KEY = {"id": 1, "name": "id", "type": "long", "required": True}
NAME = {"id": 2, "name": "name", "type": "string", "required": False}


def test_a_schema_evolves(iceberg: httpx2.Client, lake: Lake, name: str, table: str) -> None:
    added = {"id": 3, "name": "age", "type": "int", "required": False}
    assert evolved(iceberg, table, KEY, {**NAME, "name": "called"}, added).status_code == 200
    assert lake.dataset(name).schema.names == ["id", "called", "age"]
    assert lake.dataset(name).details().version.key == ("id",)
    lake.dataset(name).write([{"id": 9, "called": "z", "age": 3}], "upsert")
    widened = [{**KEY}, {**NAME, "name": "called"}, {**added, "type": "long"}]
    assert evolved(iceberg, table, *widened, **{"identifier-field-ids": [1]}).status_code == 200
    # the same schema again is the one there is
    assert evolved(iceberg, table, *widened, **{"identifier-field-ids": [1]}).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        [NAME],
        [{**KEY, "required": False}, NAME],
        [{**KEY, "type": "int"}, NAME],
        [KEY, {**NAME, "type": "long"}],
        [KEY, {**NAME, "required": True}],
        [KEY, NAME, {"id": 3, "name": "new", "type": "int", "required": True}],
        [KEY, NAME, {"id": 3, "name": "NAME", "type": "int", "required": False}],
    ],
)
def test_a_schema_that_would_break_rows_is_refused(
    iceberg: httpx2.Client, lake: Lake, name: str, table: str, fields: list[dict[str, Any]]
) -> None:
    before = lake.dataset(name).metadata_location
    refused(evolved(iceberg, table, *fields), "BadRequestException", 400)
    assert lake.dataset(name).metadata_location == before


@pytest.mark.parametrize(
    "update",
    [
        {"action": "make-coffee"},
        {"action": "set-location", "location": "file:///elsewhere"},
        {"action": "assign-uuid", "uuid": "00000000-0000-0000-0000-000000000000"},
        {"action": "set-properties", "updates": {"cordillera.key": "2"}},
        {"action": "remove-properties", "removals": ["cordillera.key-field-ids"]},
        {"action": "set-current-schema", "schema-id": 77},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-snapshot", "snapshot": {"snapshot-id": 1}},
        {"action": "add-snapshot"},
        {"action": "set-snapshot-ref", "ref-name": "main", "snapshot-id": 5, "type": "branch"},
        {"action": "upgrade-format-version", "format-version": 1},
        {"action": "remove-partition-specs", "spec-ids": [0]},
    ],
)
def test_an_update_that_cannot_be_is_refused(
    iceberg: httpx2.Client, lake: Lake, name: str, table: str, update: dict[str, Any]
) -> None:
    before = lake.dataset(name).metadata_location
    refused(iceberg.post(table, json={"requirements": [], "updates": [update]}), "BadRequestException", 400)
    refused(iceberg.post(table, json={"requirements": [{"type": "x"}], "updates": []}), "BadRequestException", 400)
    assert lake.dataset(name).metadata_location == before


def test_properties_are_kept(iceberg: httpx2.Client, table: str) -> None:
    changes = [
        {"action": "set-properties", "updates": {"comment": "ours", "write.merge.mode": "copy-on-write", "a": "b"}},
        {"action": "remove-properties", "removals": ["a", "unknown"]},
    ]
    found = iceberg.post(table, json={"requirements": [], "updates": changes}).json()["metadata"]["properties"]
    assert (found["comment"], found["write.merge.mode"]) == ("ours", "copy-on-write")
    assert "a" not in found


def test_metrics_are_taken(iceberg: httpx2.Client, table: str) -> None:
    report = {"report-type": "scan-report", "table-name": "people"}
    assert iceberg.post(f"{table}/metrics", json=report).status_code == 204


def test_a_table_is_renamed(iceberg: httpx2.Client, lake: Lake, name: str, table: str, namespace: str) -> None:
    elsewhere = lake.create_namespace(f"{namespace}_b").name
    source = {"namespace": [namespace], "name": "people"}
    location = iceberg.get(table).json()["metadata"]["location"]

    def rename(wanted: dict[str, Any], given: dict[str, Any] = source) -> httpx2.Response:
        return iceberg.post("/tables/rename", json={"source": given, "destination": wanted})

    refused(rename(source), "AlreadyExistsException", 409)
    refused(rename({"namespace": ["nowhere"], "name": "x"}), "NoSuchNamespaceException", 404)
    refused(rename(source, {**source, "name": "none"}), "NoSuchTableException", 404)
    refused(rename({"namespace": [namespace], "name": "a b"}), "BadRequestException", 400)
    assert rename({"namespace": [elsewhere], "name": "persons"}).status_code == 204
    assert iceberg.head(table).status_code == 404
    found = iceberg.get(f"/namespaces/{elsewhere}/tables/persons").json()["metadata"]
    assert (found["location"], len(found["snapshots"])) == (location, 1)
    assert rows(lake, f"{elsewhere}.persons") == {1: "x", 2: "x", 3: "x"}
