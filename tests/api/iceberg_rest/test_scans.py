"""Scans planned here and carried out elsewhere: by the tasks alone, a client reads the rows that we read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from uuid import uuid4

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter
from pyiceberg.expressions import BooleanExpression
from pyiceberg.expressions.visitors import bind
from pyiceberg.io.pyarrow import expression_to_pyarrow
from pyiceberg.schema import Schema
from pyroaring import BitMap64

from cordillera.app import Application
from cordillera.catalog import scan_plans
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.spec.schema_evolution import RenameColumn
from cordillera.table.deletion_vector import decode_vector
from tests.api.iceberg_rest.conftest import people
from tests.api.iceberg_rest.test_commits import refused

EVENTS = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("region", pa.string()),
        pa.field("day", pa.date32()),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("price", pa.decimal128(9, 2)),
        pa.field("weight", pa.float64()),
        pa.field("level", pa.int32()),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("place", pa.struct([pa.field("city", pa.string())])),
    ]
)


def events(first: int, upto: int) -> list[dict[str, Any]]:
    return [
        {
            "id": i,
            "region": [None, "north", "south", "north-east"][i // 10 % 4],
            "day": date(2024, 1 + i // 25, 1),
            "at": datetime(2024, 1, 1, i % 24, tzinfo=UTC),
            "price": Decimal(f"{i}.50"),
            "weight": [float("nan"), None, i / 2][i % 3] if i < 60 else i / 2,
            "level": i // 20,
            "tags": ["a"],
            "place": {"city": f"c{i % 3}"},
        }
        for i in range(first, upto)
    ]


def make_events(app: Application, format_version: int) -> str:
    """Create a dataset of many files, of several partitionings, and delete rows of most."""
    lake = Lake(LocalBackend(app))
    name = f"{lake.create_namespace(f't{uuid4().hex[:12]}').name}.events"
    dataset = lake.create_dataset(name, EVENTS, key=["id"], format_version=format_version, partitioning=["region"])
    for first in range(0, 60, 15):
        dataset.write(events(first, first + 15), "append")
    dataset.partition_by("month(day)", "bucket(3, id)")
    dataset.write(events(60, 100), "append")
    dataset.delete_where("id % 7 = 3")
    return name


@pytest.fixture(scope="module", params=[2, 3])
def name(request: pytest.FixtureRequest, app: Application) -> str:
    """Return a dataset that no test changes."""
    return make_events(app, request.param)


@pytest.fixture
def table(name: str) -> str:
    return path_of(name)


@pytest.fixture
def changing(app: Application) -> str:
    """Return a dataset of a test's own."""
    return make_events(app, 3)


def path_of(name: str) -> str:
    namespace, dataset = name.split(".")
    return f"/namespaces/{namespace}/tables/{dataset}"


class Client:
    """Carries scans out by tasks alone."""

    def __init__(self, iceberg: httpx2.Client, table: str) -> None:
        self._http, self.table = iceberg, table
        self.answers: list[dict[str, Any]] = []

    def plan(self, **wanted: Any) -> dict[str, Any]:
        answer = self._http.post(f"{self.table}/plan", json=wanted)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refusal(self, **wanted: Any) -> str:
        answer = self._http.post(f"{self.table}/plan", json=wanted)
        return refused(answer, "BadRequestException", 400)

    def everything(self, **wanted: Any) -> Iterator[dict[str, Any]]:
        """Yield all parts of a plan."""
        answer = self.plan(**wanted)
        waiting = list(answer["plan-tasks"])
        yield answer
        while waiting:
            answer = self._http.post(f"{self.table}/tasks", json={"plan-task": waiting.pop(0)}).json()
            waiting += answer["plan-tasks"]
            yield answer

    def ids(self, schema: Schema, *, case_sensitive: bool = True, **wanted: Any) -> list[int]:
        """Return the ids of the rows that a scan finds."""
        self.answers = list(self.everything(**wanted, **{"case-sensitive": case_sensitive}))
        found: list[int] = []
        for part in self.answers:
            for task in part["file-scan-tasks"]:
                rows = _stored(task["data-file"])
                for number in task.get("delete-file-references", ()):
                    deleted = _deleted(part["delete-files"][number], task["data-file"])
                    rows = rows.filter(pa.array([i not in deleted for i in rows["#"].to_pylist()]))
                rows = rows.filter(_condition(task["residual-filter"], schema, case_sensitive))
                found += rows["id"].to_pylist()
        return sorted(found)


def _path(file: dict[str, Any]) -> Path:
    return Path(unquote(urlparse(file["file-path"]).path))


def _stored(file: dict[str, Any]) -> pa.Table:
    rows = pq.read_table(_path(file))
    assert (file["file-format"], file["record-count"]) == ("parquet", rows.num_rows)
    return rows.append_column("#", pa.array(range(rows.num_rows)))


def _deleted(file: dict[str, Any], data_file: dict[str, Any]) -> BitMap64:
    assert file["referenced-data-file"] == data_file["file-path"]
    begin, size = file["content-offset"], file["content-size-in-bytes"]
    return decode_vector(_path(file).read_bytes()[begin : begin + size], file["file-path"])


def _condition(plain: Any, schema: Schema, case_sensitive: bool) -> Any:
    """Return a condition as PyIceberg understands it."""
    read = TypeAdapter(BooleanExpression).validate_python(plain)
    return expression_to_pyarrow(bind(schema, read, case_sensitive), schema)


def eq(term: Any, value: Any, kind: str = "eq") -> dict[str, Any]:
    return {"type": kind, "term": term, "value": value}


def both(left: Any, right: Any, kind: str = "and") -> dict[str, Any]:
    return {"type": kind, "left": left, "right": right}


def no(child: Any) -> dict[str, Any]:
    return {"type": "not", "child": child}


FILTERS: list[tuple[Any, str]] = [
    (True, "true"),
    (False, "false"),
    (eq("id", 42), "id = 42"),
    (eq("id", 2**40, "lt"), "true"),
    ({"type": "in", "term": "id", "values": [1, 2, 50, 99, 3]}, "id IN (1, 2, 50, 99, 3)"),
    ({"type": "in", "term": "level", "values": [1, 2**40]}, "level = 1"),
    ({"type": "not-in", "term": "id", "values": [1, 2]}, "id NOT IN (1, 2)"),
    (both(eq("id", 20, "gt-eq"), eq("id", 30, "lt")), "id >= 20 AND id < 30"),
    (no(both(eq("id", 20, "gt-eq"), eq("id", 70, "lt-eq"))), "NOT (id >= 20 AND id <= 70)"),
    (eq("region", "north"), "region = 'north'"),
    (eq("region", "north", "starts-with"), "region LIKE 'north%'"),
    ({"type": "is-null", "term": "region"}, "region IS NULL"),
    (no({"type": "is-null", "term": "region"}), "region IS NOT NULL"),
    (both(eq("region", "south"), eq("day", "2024-03-01", "gt"), "or"), "region = 'south' OR day > '2024-03-01'"),
    (eq("day", "2024-02-01"), "day = '2024-02-01'"),
    (eq("day", 19754, "lt-eq"), "day <= '2024-02-01'"),
    (eq("at", "2024-01-01T05:00:00+00:00"), "at = '2024-01-01 05:00:00Z'"),
    (eq("at", "2024-01-01T20:00:00+00:00", "gt"), "at > '2024-01-01 20:00:00Z'"),
    (eq("price", "42.50"), "price = 42.5"),
    (eq("price", "90.00", "gt"), "price > 90"),
    (eq("weight", 45.0, "gt-eq"), "weight >= 45 AND NOT isnan(weight)"),
    ({"type": "is-nan", "term": "weight"}, "isnan(weight)"),
    (eq("level", 2, "not-eq"), "level <> 2"),
    (both(eq("level", 0), both(eq("id", 4, "gt"), eq("region", "north"))), "level = 0 AND id > 4 AND region = 'north'"),
]


@pytest.mark.parametrize(("wanted", "where"), FILTERS, ids=[where for _, where in FILTERS])
def test_a_client_reads_what_we_read(
    iceberg: httpx2.Client, app: Application, lake: Lake, name: str, table: str, wanted: Any, where: str
) -> None:
    schema = app.tables.load(app.catalog.dataset(name).version).schema
    client = Client(iceberg, table)
    ours = sorted(lake.dataset(name).scan(["id"], where=where).to_arrow()["id"].to_pylist())
    assert client.ids(schema, filter=wanted) == ours


def test_only_what_may_matter_is_read_and_tested(
    iceberg: httpx2.Client, app: Application, lake: Lake, name: str, table: str
) -> None:
    schema = app.tables.load(app.catalog.dataset(name).version).schema
    client = Client(iceberg, table)
    client.ids(schema)
    every = client.answers[0]["file-scan-tasks"]
    assert len(every) == lake.dataset(name).details().version.files
    assert all(task["residual-filter"] is True for task in every)
    client.ids(schema, filter=both(eq("region", "north"), eq("id", 1000, "lt")))
    tasks = client.answers[0]["file-scan-tasks"]
    assert 0 < len(tasks) < len(every)
    old = [task for task in tasks if task["data-file"]["spec-id"] == 0]
    assert [task["residual-filter"] for task in old] == [True] * len(old)
    assert [task["data-file"]["partition"] for task in old] == [["north"]] * len(old)
    new = [task["residual-filter"] for task in tasks if task["data-file"]["spec-id"] != 0]
    assert eq("region", "north") in new
    assert all(one in (True, eq("region", "north")) for one in new)


def test_deletes_come_with_the_files_they_are_about(iceberg: httpx2.Client, name: str, table: str) -> None:
    plan = Client(iceberg, table).plan(filter=eq("id", 25))
    [task] = plan["file-scan-tasks"]
    if not plan["delete-files"]:  # format version 2: rows were taken out of the file itself
        assert "delete-file-references" not in task
        return
    [vector], [number] = plan["delete-files"], task["delete-file-references"]
    assert (vector["content"], vector["file-format"], number) == ("position-deletes", "puffin", 0)
    assert vector["referenced-data-file"] == task["data-file"]["file-path"]
    assert (vector["content-size-in-bytes"] > 0, vector["record-count"] > 0) == (True, True)


def test_statistics_are_told_of_the_columns_asked_for(iceberg: httpx2.Client, changing: str) -> None:
    client = Client(iceberg, path_of(changing))
    [bare] = client.plan(filter=eq("id", 42))["file-scan-tasks"]
    assert "lower-bounds" not in bare["data-file"]
    wanted = ["id", "day", "at", "price", "weight", "region", "place.city"]
    [task] = client.plan(filter=eq("id", 42), **{"stats-fields": wanted})["file-scan-tasks"]
    lower = dict(zip(*task["data-file"]["lower-bounds"].values(), strict=True))
    upper = dict(zip(*task["data-file"]["upper-bounds"].values(), strict=True))
    assert (lower[1], upper[1]) == (40, 44)
    assert (lower[3], upper[3]) == ("2024-02-01", "2024-02-01")
    assert (lower[4], upper[4]) == ("2024-01-01T16:00:00+00:00", "2024-01-01T20:00:00+00:00")
    assert (lower[5], upper[5]) == ("40.50", "44.50")
    counts = dict(zip(*task["data-file"]["null-value-counts"].values(), strict=True))
    assert counts[2] == 5
    assert 7 not in counts


def test_names_may_be_written_otherwise_where_the_client_says_so(
    iceberg: httpx2.Client, app: Application, name: str, table: str
) -> None:
    schema = app.tables.load(app.catalog.dataset(name).version).schema
    client = Client(iceberg, table)
    assert "does not exist" in client.refusal(filter=eq("ID", 42))
    assert client.ids(schema, filter=eq("ID", 42), select=["REGION"], case_sensitive=False) == [42]


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "eq", "left": {"type": "reference", "name": "id"}, "right": 42},
        {"type": "eq", "left": {"type": "reference", "id": 1}, "right": {"type": "literal", "value": 42}},
        {"type": "eq", "left": 42, "right": {"type": "reference", "name": "id"}},
        {"type": "eq", "term": {"type": "reference", "term": "id"}, "value": {"type": "literal", "value": 42}},
        {
            "type": "in",
            "child": {"type": "reference", "name": "id"},
            "values": {"type": "literals", "values": [42], "data-type": "long"},
        },
        {"type": "eq", "term": {"type": "transform", "transform": "identity", "term": "id"}, "value": 42},
    ],
)
def test_conditions_are_read_in_each_form_of_the_specification(
    iceberg: httpx2.Client, name: str, table: str, wanted: dict[str, Any]
) -> None:
    client = Client(iceberg, table)
    files = [task["data-file"]["file-path"] for task in client.plan(filter=eq("id", 42))["file-scan-tasks"]]
    plan = client.plan(filter=wanted)
    assert [task["data-file"]["file-path"] for task in plan["file-scan-tasks"]] == files
    assert plan["file-scan-tasks"][0]["residual-filter"] == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "eq", "left": {"type": "reference", "name": "id"}, "right": {"type": "reference", "name": "level"}},
        {"type": "eq", "term": {"type": "transform", "transform": "bucket[4]", "term": "id"}, "value": 1},
        eq("place.city", "c1"),
        eq("region", "north", "not-starts-with"),
        {"type": "not-nan", "term": "weight"},
        eq("at", "2024-01-01T05:00:00.123456789+00:00"),
        eq("price", "1.234"),
    ],
)
def test_what_statistics_cannot_decide_is_left_to_the_client(
    iceberg: httpx2.Client, lake: Lake, name: str, table: str, wanted: dict[str, Any]
) -> None:
    tasks = Client(iceberg, table).plan(filter=wanted)["file-scan-tasks"]
    assert len(tasks) == lake.dataset(name).details().version.files
    assert all(task["residual-filter"] == wanted for task in tasks)


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        ({"type": "like", "term": "region", "value": "n%"}, "no condition"),
        ({"type": ["eq"]}, "no condition"),
        ({}, "no condition"),
        ({"type": "eq", "term": "id"}, "lacks"),
        ({"type": "and", "left": True}, "lacks"),
        (eq("nothing", 1), "does not exist"),
        (eq({"type": "reference", "id": 99}, 1), "does not exist"),
        (eq("tags.element", "a"), "one value"),
        (eq("place", "a"), "one value"),
        (eq("id", "x"), "compared"),
        (eq("id", True), "compared"),
        (eq("id", 2**64), "compared"),
        (eq("day", "2024-13-01"), "compared"),
        (eq("at", "yesterday"), "compared"),
        (eq("price", "much"), "compared"),
        (eq("weight", "NaN"), "compared"),
        (eq("region", None), "compared"),
        (eq("id", "1", "starts-with"), "compared"),
        (eq("level", 1, "starts-with"), "starts with nothing"),
        ({"type": "is-nan", "term": "id"}, "never NaN"),
        ({"type": "in", "term": "id", "values": 5}, "list"),
        ({"type": "in", "term": "id", "values": ["x"]}, "compared"),
        (eq({"type": "apply", "function": "lower", "arguments": []}, "a"), "no column"),
        (eq({"type": "transform", "transform": "rot13", "term": "region"}, "a"), "transformed"),
        (eq({"type": "transform", "transform": "year", "term": "region"}, "a"), "transformed"),
        ({"type": "eq", "left": 1, "right": 1}, "compares no column"),
        (eq({"type": "transform", "transform": "bucket[4]", "term": "id"}, 2**70), "compared"),
        (eq("place.city", [[["x"]]]), "compared"),
        (eq("place.city", None), "compared"),
        ("id = 3", "filter"),
        ([], "filter"),
    ],
)
def test_a_condition_that_cannot_be_read_is_refused(
    iceberg: httpx2.Client, name: str, table: str, wanted: Any, what: str
) -> None:
    assert what in Client(iceberg, table).refusal(filter=wanted)
    assert what in Client(iceberg, table).refusal(filter=no(no(wanted))) or what == "filter"


def test_a_moment_without_a_zone_is_one_in_utc(iceberg: httpx2.Client, name: str, table: str) -> None:
    client = Client(iceberg, table)  # PyIceberg leaves the zone out

    def files(moment: str) -> list[str]:
        plan = client.plan(filter=eq("at", moment, "gt"))
        return [task["data-file"]["file-path"] for task in plan["file-scan-tasks"]]

    assert files("2024-01-01T20:00:00") == files("2024-01-01T22:00:00+02:00")
    assert 0 < len(files("2024-01-01T20:00:00")) < len(files("2024-01-01T00:00:00"))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", '"\\ud800"', "1e999", "1" + "0" * 400])
@pytest.mark.parametrize("column", ["weight", "region", "place.city"])
def test_values_that_nothing_can_store_are_refused(
    iceberg: httpx2.Client, name: str, table: str, column: str, value: str
) -> None:
    body = f'{{"filter": {{"type": "eq", "term": "{column}", "value": {value}}}}}'
    answer = iceberg.post(f"{table}/plan", content=body, headers={"Content-Type": "application/json"})
    refused(answer, "BadRequestException", 400)


def test_a_filter_may_be_long_but_not_deep(iceberg: httpx2.Client, name: str, table: str) -> None:
    client = Client(iceberg, table)
    chain, deep = eq("id", 0), eq("id", 0)
    for number in range(1, 300):
        chain = both(chain, eq("id", number + 1000), "or")
        deep = no(deep)
    assert [task["data-file"]["record-count"] for task in client.plan(filter=chain)["file-scan-tasks"]]
    assert "deep" in client.refusal(filter=deep)
    bomb = '{"filter": ' + '{"type":"not","child":' * 50_000 + "true" + "}" * 50_001
    answer = iceberg.post(f"{table}/plan", content=bomb, headers={"Content-Type": "application/json"})
    assert refused(answer, "BadRequestException", 400)


def test_the_past_is_planned_under_either_schema(
    iceberg: httpx2.Client, app: Application, lake: Lake, changing: str
) -> None:
    metadata = app.tables.load(app.catalog.dataset(changing).version)
    first, client = metadata.snapshots[0].snapshot_id, Client(iceberg, path_of(changing))
    lake.dataset(changing).evolve(RenameColumn("region", "area"))
    assert client.ids(metadata.schema, **{"snapshot-id": first}) == list(range(15))
    at_first = {"snapshot-id": first, "use-snapshot-schema": True}
    assert client.ids(metadata.schema, filter=eq("region", "north"), **at_first) == list(range(10, 15))
    assert "does not exist" in client.refusal(filter=eq("region", "north"), **{"snapshot-id": first})
    assert "does not exist" in client.refusal(filter=eq("area", "north"), **at_first)
    now = app.tables.load(app.catalog.dataset(changing).version).schema
    assert client.ids(now, filter=eq("area", "north"), **{"snapshot-id": first}) == list(range(10, 15))


def test_what_was_appended_between_two_snapshots_is_planned(
    iceberg: httpx2.Client, app: Application, lake: Lake, changing: str
) -> None:
    def between(start: int, end: int) -> dict[str, int]:
        found = app.tables.load(app.catalog.dataset(changing).version).snapshots
        return {"start-snapshot-id": found[start].snapshot_id, "end-snapshot-id": found[end].snapshot_id}

    schema = app.tables.load(app.catalog.dataset(changing).version).schema
    client = Client(iceberg, path_of(changing))
    assert client.ids(schema, **between(0, 3)) == list(range(15, 60))
    assert client.ids(schema, filter=eq("id", 50, "lt"), **between(2, 4)) == list(range(45, 50))
    assert client.ids(schema, **between(2, 2)) == []
    assert "not only appended" in client.refusal(**between(3, 5))
    assert "ancestor" in client.refusal(**between(3, 1))
    assert "not both" in client.refusal(**{"snapshot-id": 1}, **between(0, 1))
    assert "not one of them" in client.refusal(**{"start-snapshot-id": between(0, 1)["start-snapshot-id"]})
    assert "no snapshot" in client.refusal(**{"start-snapshot-id": 1, "end-snapshot-id": 2})
    assert "no snapshot" in client.refusal(**{"snapshot-id": 5})
    dataset = lake.dataset(changing)
    dataset.compact(rewrite_all=True)
    dataset.write(events(200, 205), "append")
    # the deletes are behind these two; compaction has moved rows only
    assert client.ids(schema, **between(5, 7)) == list(range(200, 205))


def test_a_large_plan_comes_in_parts_that_any_process_goes_on_with(
    iceberg: httpx2.Client, app: Application, lake: Lake, changing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = app.tables.load(app.catalog.dataset(changing).version).schema
    client = Client(iceberg, path_of(changing))
    whole = client.ids(schema, filter=eq("id", 10, "gt"))
    files = len(client.answers[0]["file-scan-tasks"])
    monkeypatch.setattr(scan_plans, "TASKS", 2)
    assert client.ids(schema, filter=eq("id", 10, "gt")) == whole
    assert [len(part["file-scan-tasks"]) for part in client.answers] == [2] * (files // 2) + [1] * (files % 2)
    monkeypatch.setattr(scan_plans, "_TOKENS", 1000)  # only so much in one answer: the last part has parts itself
    assert client.ids(schema, filter=eq("id", 10, "gt")) == whole
    assert max(len(part["plan-tasks"]) for part in client.answers) == 2
    # what is written meanwhile changes nothing
    first = client.plan()
    lake.dataset(changing).write(events(200, 201), "append")
    with Application(app.settings) as another:
        found = [another.scan_plans.tasks(changing, token) for token in first["plan-tasks"]]
    assert all(plan is not None and 1 <= len(plan.tasks) <= 2 for plan in found)


def test_tokens_are_understood_only_as_they_were_made(
    iceberg: httpx2.Client, lake: Lake, name: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_plans, "TASKS", 2)
    lake.create_dataset(name.replace(".events", ".other"), pa.schema([pa.field("id", pa.int64())]))
    plan = Client(iceberg, table).plan()
    token, plan_id = plan["plan-tasks"][0], plan["plan-id"]
    body, _, mac = token.partition(".")
    other = table.replace("/events", "/other")
    changed = body[:-2] + ("A" if body[-2] != "A" else "B") + body[-1]
    for bad in ("", ".", "x", "ü.ü", body, f"{changed}.{mac}", f"{body}.{'A' * len(mac)}", plan_id, "A" * 900_000):
        answer = iceberg.post(f"{table}/tasks", json={"plan-task": bad})
        refused(answer, "NoSuchPlanTaskException", 404)
    refused(iceberg.post(f"{other}/tasks", json={"plan-task": token}), "NoSuchPlanTaskException", 404)
    refused(iceberg.post(f"{table}x/tasks", json={"plan-task": token}), "NoSuchTableException", 404)
    refused(iceberg.post(f"{table}/tasks", json={}), "BadRequestException", 400)
    again = iceberg.get(f"{table}/plan/{plan_id}").json()
    assert again["file-scan-tasks"] == plan["file-scan-tasks"]
    assert again["status"] == "completed"
    assert iceberg.delete(f"{table}/plan/{plan_id}").status_code == 204
    for wrong in ("x", token, f"{changed}.{mac}"):
        refused(iceberg.get(f"{table}/plan/{wrong}"), "NoSuchPlanIdException", 404)
        refused(iceberg.delete(f"{table}/plan/{wrong}"), "NoSuchPlanIdException", 404)
    refused(iceberg.get(f"{other}/plan/{plan_id}"), "NoSuchPlanIdException", 404)


def test_the_id_of_a_plan_fits_into_an_address(iceberg: httpx2.Client, name: str, table: str) -> None:
    values = [str(uuid4()) for _ in range(2000)]
    plan = Client(iceberg, table).plan(filter={"type": "in", "term": "region", "values": values})
    assert len(plan["plan-id"]) < 400
    refused(iceberg.get(f"{table}/plan/{plan['plan-id']}"), "NoSuchPlanIdException", 404)
    assert iceberg.delete(f"{table}/plan/{plan['plan-id']}").status_code == 204


def test_a_plan_ends_with_its_snapshot(
    iceberg: httpx2.Client, lake: Lake, changing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_plans, "TASKS", 2)
    plan = Client(iceberg, path_of(changing)).plan()
    lake.dataset(changing).write(events(200, 201), "append")
    lake.dataset(changing).expire_snapshots(older_than=timedelta(0), keep_last=1)
    answer = iceberg.post(f"{path_of(changing)}/tasks", json={"plan-task": plan["plan-tasks"][0]})
    assert "expired" in refused(answer, "NoSuchPlanTaskException", 404)


def test_an_empty_table_has_nothing_to_read(iceberg: httpx2.Client, lake: Lake, namespace: str) -> None:
    lake.create_dataset(f"{namespace}.empty", people(1).schema)
    plan = Client(iceberg, f"/namespaces/{namespace}/tables/empty").plan(filter=eq("id", 1))
    assert (plan["status"], plan["file-scan-tasks"], plan["plan-tasks"]) == ("completed", [], [])
    assert iceberg.get(f"/namespaces/{namespace}/tables/empty/plan/{plan['plan-id']}").status_code == 200


def test_planning_is_advertised_and_counted(
    iceberg: httpx2.Client, app: Application, lake: Lake, name: str, table: str
) -> None:
    known = iceberg.get("/config").json()["endpoints"]
    path = "/v1/{prefix}/namespaces/{namespace}/tables/{table}"
    wanted = {
        f"POST {path}/plan",
        f"GET {path}/plan/{{plan-id}}",
        f"DELETE {path}/plan/{{plan-id}}",
        f"POST {path}/tasks",
    }
    assert wanted <= set(known)
    Client(iceberg, table).plan(filter=eq("level", 1))
    app.scans.flush()
    version = app.catalog.dataset(name).version
    with app.store.read() as tx:
        found = {one.column_id: one.scans for one in tx.scans.totals(version.id, date(2020, 1, 1))}
    assert found[7] >= 1
