"""Views through the Iceberg REST catalog."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from uuid import UUID, uuid4

import httpx2
import pytest

from cordillera.app import Application
from cordillera.client import Lake
from cordillera.spec.event import Topic
from tests.api.iceberg_rest.conftest import SCHEMA, people
from tests.api.iceberg_rest.test_commits import refused

COLUMNS = {
    "type": "struct",
    "schema-id": 0,
    "fields": [
        {"id": 1, "name": "id", "type": "long", "required": False},
        {"id": 2, "name": "name", "type": "string", "required": False, "doc": "What it is called"},
    ],
}


def defined(sql: str, dialect: str = "spark", **more: Any) -> dict[str, Any]:
    return {
        "version-id": 1,
        "schema-id": 0,
        "timestamp-ms": 1_700_000_000_000,
        "summary": {"engine-name": "Spark", "engine-version": "3.5"},
        "representations": [{"type": "sql", "sql": sql, "dialect": dialect}],
        "default-namespace": ["default"],
        **more,
    }


def replaced(sql: str, dialect: str = "spark", columns: Any = COLUMNS, **more: Any) -> list[dict[str, Any]]:
    return [
        {"action": "add-schema", "schema": columns},
        {"action": "add-view-version", "view-version": defined(sql, dialect, **{"schema-id": -1, **more})},
        {"action": "set-current-view-version", "view-version-id": -1},
    ]


def wanted(name: str, sql: str = "SELECT id, name FROM people", **more: Any) -> dict[str, Any]:
    return {"name": name, "schema": COLUMNS, "view-version": defined(sql, **more), "properties": {"comment": "all"}}


@pytest.fixture
def views(namespace: str) -> str:
    return f"/namespaces/{namespace}/views"


@pytest.fixture
def view(iceberg: httpx2.Client, views: str) -> str:
    assert iceberg.post(views, json=wanted("open")).status_code == 200
    return f"{views}/open"


def path_of(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))


def test_a_view_lives_its_life(
    iceberg: httpx2.Client, app: Application, lake: Lake, namespace: str, views: str
) -> None:
    made = iceberg.post(views, json=wanted("open")).json()
    metadata = made["metadata"]
    assert metadata == {
        "view-uuid": metadata["view-uuid"],
        "format-version": 1,
        "location": f"{app.storage.root}/{namespace}/open/{metadata['view-uuid']}",
        "schemas": [{**COLUMNS, "identifier-field-ids": []}],
        "current-version-id": 1,
        "versions": [{**defined("SELECT id, name FROM people"), "schema-id": 0}],
        "version-log": [{"timestamp-ms": 1_700_000_000_000, "version-id": 1}],
        "properties": {"comment": "all"},
    }
    assert UUID(metadata["view-uuid"])
    assert json.loads(path_of(made["metadata-location"]).read_bytes()) == metadata
    assert iceberg.get(f"{views}/open").json() == made
    assert iceberg.head(f"{views}/open").status_code == 204
    listed = [{"namespace": [namespace], "name": "open"}]
    assert iceberg.get(views).json() == {"identifiers": listed}
    assert iceberg.get(f"/namespaces/{namespace}/tables").json() == {"identifiers": []}
    refused(iceberg.get(f"/namespaces/{namespace}/tables/open"), "NoSuchTableException", 404)
    refused(iceberg.post(views, json=wanted("open")), "AlreadyExistsException", 409)
    refused(iceberg.delete(f"/namespaces/{namespace}"), "NamespaceNotEmptyException", 409)
    assert iceberg.delete(f"{views}/open").status_code == 204
    refused(iceberg.get(f"{views}/open"), "NoSuchViewException", 404)
    assert iceberg.head(f"{views}/open").status_code == 404
    refused(iceberg.delete(f"{views}/open"), "NoSuchViewException", 404)
    done = app.operations.audit(object_name=f"{namespace}.open")
    assert [(one.action, one.object_kind) for one in done] == [("view.drop", "view"), ("view.create", "view")]
    told = [one for one in app.operations.events(dataset=f"{namespace}.open") if one.topic is Topic.VIEW_CHANGED]
    assert [one.payload["change"] for one in told] == ["dropped", "created"]


def test_lists_come_in_pages(iceberg: httpx2.Client, views: str, namespace: str) -> None:
    names = [f"view_{number}" for number in range(5)]
    for name in names:
        iceberg.post(views, json=wanted(name))
    seen: list[str] = []
    token: str | None = ""
    while token is not None:
        page = iceberg.get(views, params={"pageToken": token, "pageSize": 2}).json()
        seen += [one["name"] for one in page["identifiers"]]
        token = page.get("next-page-token")
    assert seen == names
    assert [one["name"] for one in iceberg.get(views).json()["identifiers"]] == names
    refused(iceberg.get("/namespaces/nowhere/views"), "NoSuchNamespaceException", 404)


def test_a_view_is_replaced(iceberg: httpx2.Client, view: str) -> None:
    before = iceberg.get(view).json()
    wider = {**COLUMNS, "fields": [*COLUMNS["fields"], {"id": 3, "name": "age", "type": "int", "required": False}]}
    commit = {
        "requirements": [{"type": "assert-view-uuid", "uuid": before["metadata"]["view-uuid"]}],
        "updates": [
            {"action": "assign-uuid", "uuid": before["metadata"]["view-uuid"]},
            {"action": "upgrade-format-version", "format-version": 1},
            {"action": "set-location", "location": before["metadata"]["location"]},
            *replaced("SELECT * FROM people", columns=wider, **{"timestamp-ms": 1_700_000_000_999}),
            {"action": "set-properties", "updates": {"a": "1", "b": "2"}},
            {"action": "remove-properties", "removals": ["comment", "never"]},
        ],
    }
    after = iceberg.post(view, json=commit).json()
    metadata = after["metadata"]
    assert after["metadata-location"] != before["metadata-location"]
    assert (metadata["current-version-id"], [one["version-id"] for one in metadata["versions"]]) == (2, [1, 2])
    assert [one["schema-id"] for one in metadata["schemas"]] == [0, 1]
    assert metadata["versions"][1]["schema-id"] == 1
    assert metadata["version-log"][1] == {"timestamp-ms": 1_700_000_000_999, "version-id": 2}
    assert metadata["properties"] == {"a": "1", "b": "2"}
    assert iceberg.post(view, json=commit).json() == after  # there is nothing left to change
    back = {"updates": [{"action": "set-current-view-version", "view-version-id": 1}]}
    again = iceberg.post(view, json=back).json()["metadata"]
    assert (again["current-version-id"], [one["version-id"] for one in again["version-log"]]) == (1, [1, 2, 1])
    assert again["version-log"][2]["timestamp-ms"] > 1_700_000_000_999
    same = iceberg.post(view, json={"updates": replaced("SELECT * FROM people", columns=wider)}).json()["metadata"]
    assert (same["current-version-id"], len(same["versions"])) == (2, 2)


def test_a_view_that_is_another_one_by_now_stays(iceberg: httpx2.Client, view: str) -> None:
    commit = {"requirements": [{"type": "assert-view-uuid", "uuid": str(uuid4())}], "updates": []}
    assert "another one" in refused(iceberg.post(view, json=commit), "CommitFailedException", 409)


def test_of_versions_and_files_the_newest_stay(iceberg: httpx2.Client, view: str) -> None:
    for number in range(20):
        updates = replaced(f"SELECT {number} AS id, name FROM people")
        assert iceberg.post(view, json={"updates": updates}).status_code == 200
    metadata = iceberg.get(view).json()["metadata"]
    assert [one["version-id"] for one in metadata["versions"]] == list(range(12, 22))
    assert [one["version-id"] for one in metadata["version-log"]] == list(range(12, 22))
    folder = path_of(metadata["location"]) / "metadata"
    assert len(list(folder.iterdir())) == 11
    keep = [{"action": "set-properties", "updates": {"version.history.num-entries": "2"}}]
    back = [{"action": "set-current-view-version", "view-version-id": 12}]
    metadata = iceberg.post(view, json={"updates": back}).json()["metadata"]
    metadata = iceberg.post(view, json={"updates": keep}).json()["metadata"]
    assert [one["version-id"] for one in metadata["versions"]] == [12, 21]
    assert [one["version-id"] for one in metadata["version-log"]] == [21, 12]
    for wrong in ("0", "101", "many", "-1", "9" * 5000):
        updates = [{"action": "set-properties", "updates": {"version.history.num-entries": wrong}}]
        assert "keep" in refused(iceberg.post(view, json={"updates": updates}), "BadRequestException", 400)


def test_a_view_speaks_several_dialects(iceberg: httpx2.Client, views: str) -> None:
    both = [
        {"type": "sql", "sql": "SELECT id, name FROM people", "dialect": "trino"},
        {"type": "sql", "sql": "SELECT `id`, `name` FROM people", "dialect": "spark"},
    ]
    made = iceberg.post(views, json=wanted("many", representations=both)).json()["metadata"]
    assert made["versions"][0]["representations"] == both
    less = {"updates": replaced("SELECT 1 AS id, name FROM people")}
    assert "lose its SQL for trino" in refused(iceberg.post(f"{views}/many", json=less), "BadRequestException", 400)
    may = [{"action": "set-properties", "updates": {"replace.drop-dialect.allowed": "true"}}, *less["updates"]]
    assert iceberg.post(f"{views}/many", json={"updates": may}).status_code == 200
    twice = [both[0], {**both[1], "dialect": "TRINO"}]
    answer = iceberg.post(views, json=wanted("twice", representations=twice))
    assert "two representations" in refused(answer, "BadRequestException", 400)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"name": "Open"}, "legal"),
        ({"name": "open_v2"}, "dataset version"),
        ({"name": "a/b"}, "legal"),
        ({"name": "x" * 300}, "legal|characters"),
        ({"location": "s3://elsewhere/x"}, "chooses"),
        ({"schema": {"type": "struct"}}, "column"),
        ({"schema": {"type": "struct", "fields": [{"id": 1}]}}, "cannot be read"),
        ({"view-version": {}}, "cannot be read"),
        ({"view-version": defined("", **{"representations": []})}, "cannot be read"),
        ({"view-version": defined("  ")}, "empty"),
        ({"view-version": defined("SELECT 1", representations=[{"type": "plan"}])}, "plan"),
        ({"view-version": defined("SELECT 1", representations=[{"type": "sql", "sql": 1, "dialect": "x"}])}, "no text"),
        ({"view-version": defined("SELECT 1", **{"default-namespace": "a"})}, "default-namespace"),
        ({"view-version": defined("SELECT 1", **{"version-id": "1"})}, "whole"),
        ({"view-version": defined("SELECT 1", summary={"a": 1})}, "text"),
        ({"properties": {"": "x"}}, "properties"),
        ({"properties": {str(number): "" for number in range(101)}}, "properties"),
        ({"properties": {"a": "x" * 100_000}}, "properties"),
        ({"properties": {"a": 1}}, "properties"),
    ],
)
def test_a_view_that_cannot_be_is_refused(
    iceberg: httpx2.Client, app: Application, views: str, changes: dict[str, Any], what: str
) -> None:
    message = refused(iceberg.post(views, json={**wanted("open"), **changes}), "BadRequestException", 400)
    assert any(one in message for one in what.split("|"))
    assert iceberg.get(views).json() == {"identifiers": []}


@pytest.mark.parametrize(
    "update",
    [
        {"action": "make-coffee"},
        {"action": "add-snapshot", "snapshot": {}},
        {"action": "set-current-schema", "schema-id": 0},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "assign-uuid", "uuid": "00000000-0000-0000-0000-000000000000"},
        {"action": "set-location", "location": "file:///elsewhere"},
        {"action": "set-current-view-version", "view-version-id": 77},
        {"action": "set-current-view-version", "view-version-id": -1},
        {"action": "set-current-view-version"},
        {"action": "add-view-version", "view-version": defined("SELECT 1", **{"schema-id": -1})},
        {"action": "add-view-version", "view-version": defined("SELECT 1", **{"schema-id": 9})},
        {"action": "add-view-version"},
        {"action": "set-properties", "updates": {"a": 1}},
    ],
)
def test_an_update_that_cannot_be_is_refused(iceberg: httpx2.Client, view: str, update: dict[str, Any]) -> None:
    before = iceberg.get(view).json()
    refused(iceberg.post(view, json={"updates": [update]}), "BadRequestException", 400)
    bad = {"requirements": [{"type": "assert-table-uuid", "uuid": "x"}], "updates": []}
    refused(iceberg.post(view, json=bad), "BadRequestException", 400)
    assert iceberg.get(view).json() == before


@pytest.mark.parametrize(
    "changed",
    [
        {"view-version": defined("SELECT '\ud800'")},
        {"view-version": defined("SELECT 1", "\ud800")},
        {"view-version": defined("SELECT 1", **{"default-catalog": "\ud800"})},
        {"view-version": defined("SELECT 1", summary={"a": "\ud800"})},
        {"view-version": defined("SELECT 1", **{"version-id": 2**70})},
        {"properties": {"a": "\ud800"}},
        {"properties": {"\ud800": "a"}},
        {"schema": {"type": "struct", "fields": [{"id": 1, "name": "\ud800", "type": "int", "required": False}]}},
        {"schema": {"type": "struct", "fields": [{"id": 2**70, "name": "a", "type": "int", "required": False}]}},
    ],
)
def test_what_nothing_can_store_is_refused(
    iceberg: httpx2.Client, views: str, view: str, changed: dict[str, Any]
) -> None:
    def post(address: str, body: dict[str, Any]) -> httpx2.Response:
        return iceberg.post(address, content=json.dumps(body), headers={"Content-Type": "application/json"})

    refused(post(views, {**wanted("strange"), **changed}), "BadRequestException", 400)
    if "view-version" in changed:
        update = {"action": "add-view-version", "view-version": changed["view-version"]}
        refused(post(view, {"updates": [update]}), "BadRequestException", 400)
    if "properties" in changed:
        update = {"action": "set-properties", "updates": changed["properties"]}
        refused(post(view, {"updates": [update]}), "BadRequestException", 400)


def test_a_name_is_a_table_s_or_a_view_s(
    iceberg: httpx2.Client, lake: Lake, namespace: str, views: str, view: str
) -> None:
    tables = f"/namespaces/{namespace}/tables"
    table = {"name": "open", "schema": COLUMNS}
    assert "view" in refused(iceberg.post(tables, json=table), "AlreadyExistsException", 409)
    staged = iceberg.post(tables, json={**table, "stage-create": True})
    assert "view" in refused(staged, "AlreadyExistsException", 409)
    lake.create_dataset(f"{namespace}.people", SCHEMA)
    assert "dataset" in refused(iceberg.post(views, json=wanted("people")), "AlreadyExistsException", 409)

    def rename(kind: str, source: str, destination: str, to: str = namespace) -> httpx2.Response:
        names = {
            "source": {"namespace": [namespace], "name": source},
            "destination": {"namespace": [to], "name": destination},
        }
        return iceberg.post(f"/{kind}/rename", json=names)

    refused(rename("tables", "people", "open"), "AlreadyExistsException", 409)
    refused(rename("views", "open", "people"), "AlreadyExistsException", 409)
    refused(rename("views", "open", "open"), "AlreadyExistsException", 409)
    refused(rename("views", "people", "others"), "NoSuchViewException", 404)
    refused(rename("tables", "open", "others"), "NoSuchTableException", 404)
    refused(rename("views", "open", "x", "nowhere"), "NoSuchNamespaceException", 404)
    refused(rename("views", "open", "a b"), "BadRequestException", 400)
    elsewhere = lake.create_namespace(f"{namespace}_b").name
    before = iceberg.get(view).json()
    assert rename("views", "open", "closed", elsewhere).status_code == 204
    assert iceberg.get(f"/namespaces/{elsewhere}/views/closed").json() == before
    assert iceberg.post(tables, json=table).status_code == 200
    lake.dataset(f"{namespace}.open").delete()
    assert iceberg.post(views, json=wanted("open")).status_code == 200
    with pytest.raises(Exception, match="view"):
        lake.restore_dataset(f"{namespace}.open")


def test_a_dropped_view_is_registered_again(
    iceberg: httpx2.Client, app: Application, lake: Lake, namespace: str, views: str, view: str
) -> None:
    iceberg.post(view, json={"updates": replaced("SELECT 2 AS id, name FROM people")})
    found = iceberg.get(view).json()
    location, metadata = found["metadata-location"], found["metadata"]
    register = f"/namespaces/{namespace}/register-view"

    def refusal(place: str, kind: str, status: int, name: str = "again") -> str:
        return refused(iceberg.post(register, json={"name": name, "metadata-location": place}), kind, status)

    assert "open" in refusal(location, "BadRequestException", 400)
    assert iceberg.delete(view).status_code == 204
    assert [path.name for path in path_of(location).parent.iterdir()] == [path_of(location).name]
    for outside in ("file:///etc/passwd", "http://127.0.0.1:1/x.metadata.json", f"{app.storage.root}/../x", "nowhere"):
        refusal(outside, "ForbiddenException", 403)
    refusal(location.replace(".metadata.json", ".json"), "ForbiddenException", 403)
    refusal(location.replace("00001", "00009"), "BadRequestException", 400)
    lake.create_dataset(f"{namespace}.taken", SCHEMA)
    refusal(location, "AlreadyExistsException", 409, "taken")
    again = iceberg.post(register, json={"name": "again", "metadata-location": location}).json()
    assert again["metadata"] == metadata
    assert again["metadata-location"] != location
    refusal(location, "BadRequestException", 400, "third")
    other = path_of(location).with_name("00007-x.metadata.json")
    iceberg.delete(f"{views}/again")
    for broken in (b"", b"{}", b"[]", json.dumps({**metadata, "view-uuid": str(uuid4())}).encode(),
                   json.dumps({**metadata, "location": f"{metadata['location']}x"}).encode(),
                   json.dumps({**metadata, "current-version-id": 9}).encode(),
                   json.dumps({**metadata, "schemas": []}).encode(),
                   json.dumps({**metadata, "format-version": 2}).encode()):  # fmt: skip
        other.write_bytes(broken)
        place = location.replace(path_of(location).name, other.name)
        refusal(place, "BadRequestException", 400)


def test_of_those_who_change_a_view_at_once_all_are_heard(iceberg: httpx2.Client, view: str) -> None:
    answers: list[int] = []

    def change(number: int) -> None:
        updates = [{"action": "set-properties", "updates": {f"p{number}": "x"}}]
        answers.append(iceberg.post(view, json={"updates": updates}).status_code)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    heard = [name for name in iceberg.get(view).json()["metadata"]["properties"] if name != "comment"]
    assert len(heard) == answers.count(200)
    assert set(answers) <= {200, 409}


def test_a_view_does_not_read_itself(iceberg: httpx2.Client, lake: Lake, namespace: str, views: str) -> None:
    lake.create_dataset(f"{namespace}.people", SCHEMA)
    lake.dataset(f"{namespace}.people").write(people(1), "append")
    own = {"default-namespace": [namespace]}
    itself = iceberg.post(views, json=wanted("a", "SELECT id, name FROM a", **own))
    assert "a → " in refused(itself, "BadRequestException", 400)
    for name, under in (("a", "people"), ("b", "a"), ("c", "b")):
        assert iceberg.post(views, json=wanted(name, f"SELECT id, name FROM {under}", **own)).status_code == 200
    circle = {"updates": replaced(f"SELECT c.id, c.name FROM {namespace}.c", **own)}
    assert "reads itself" in refused(iceberg.post(f"{views}/a", json=circle), "BadRequestException", 400)
    assert lake.sql(f"SELECT * FROM {namespace}.c").read_all().to_pylist() == [{"id": 1, "name": "x"}]
    deep = iceberg.post(views, json=wanted("deep", "SELECT " + "(" * 5000 + "1" + ")" * 5000))
    assert deep.status_code == 200  # what cannot be understood is kept as it is, for whom it is meant
