"""What somebody whose read grant has a row filter and masks learns of the rest: nothing, by any route of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from cordillera.app import Application, create_lake
from cordillera.client.lake import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import (
    AccessDeniedError,
    ContractViolationError,
    CordilleraError,
    InvalidSqlError,
    UnknownColumnError,
)
from cordillera.server import create_server
from cordillera.spec.narrowed import narrowed_by
from cordillera.spec.schema_evolution import AddColumn, DropColumn, RenameColumn
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.spec.workflow import WantedJob
from cordillera.worker import Worker
from tests.access.reading import READING, address, client_of
from tests.access.test_routes import API, CLAUSES, ICEBERG

OWNER, NARROW = "user:owner", "user:narrow"
HIDDEN = ("zzland", "zzmail", "zznote", "zzcode", "98765432", "zzold")
"""What is in values of hidden rows, of masked columns and of the hidden one."""
SCHEMA = {
    "id": pa.int64(),
    "region": pa.string(),
    "email": pa.string(),
    "note": pa.string(),
    "code": pa.string(),
    "pay": pa.int64(),
    "born": pa.date32(),
}


def person(number: int, region: str, note: str) -> dict[str, Any]:
    return {
        "id": number,
        "region": region,
        "email": f"zzmail{number}@example.com",
        "note": note,
        "code": f"zzcode-000{number}",
        "pay": 9876543200 + number,
        "born": date(1980, 5, 17),
    }


class House:
    """A lake with a dataset of which the narrow one sees the rows of the EU, masked; he may do much else with it."""

    def __init__(self, app: Application, folder: Path) -> None:
        self.app, self.lake = app, Lake(LocalBackend(app))
        self.run = self.subscription = UUID(int=0)
        self.candidate = ""
        self.server = create_server(app)
        lake = self.lake
        lake.create_namespace("team", owner=OWNER)
        self.people = people = lake.create_dataset("team.people", SCHEMA, key=["id"], partitioning=["region"])
        people.write([person(1, "EU", "seen"), person(2, "zzland", "zznote"), person(3, "EU", "zzold")], "upsert")
        people.write([person(3, "EU", "later seen")], "upsert")
        people.write([person(4, "EU", "zznote"), person(5, "EU", "zznote")], "upsert")
        people.write([person(4, "zzland", "zznote")], "upsert")
        people.write([person(5, "EU", "zznote")], "delete", completes="all")
        lake.backend.create_ref(people.name, "audit", "branch")
        people.write([person(6, "zzland", "zznote"), person(7, "EU", "on a branch")], "upsert", branch="audit")
        lake.backend.create_ref(people.name, "first", "tag", as_of=1)
        lake.backend.refresh_statistics(people.name)
        lake.create_target("sink", "duckdb", path=str(folder / "target.db"))
        lake.grant(
            NARROW, "read", people.name, row_filter="region = 'EU' AND note NOT LIKE 'zz%'",
            masks={"email": "hash", "code": "last4", "pay": "hidden", "born": "year"},
        )  # fmt: skip
        for privilege in ("write", "alter", "create", "external_use"):
            lake.grant(NARROW, privilege, "namespace:team")
        lake.grant(NARROW, "write", "target:sink")
        self.app.view_definitions.define("team.shape", "SELECT * EXCLUDE (pay) FROM team.people")
        lake.grant(NARROW, "read", "view:team.shape")
        lake.create_dataset("team.numbers", {"id": pa.int64(), "number": pa.int64(), "day": pa.string()}, key=["id"])
        for owner, name in ((NARROW, "team.narrow"), (OWNER, "team.owned")):
            query = "SELECT id, CAST(note AS BIGINT) AS number, 'all' AS day FROM team.people WHERE region <> 'EU'"
            lake.backend.create_job(WantedJob(name, query, "day = $partition", output="team.numbers", owner=owner))
            lake.backend.run_job(name, "all")
        self.subscription = lake.backend.subscribe(WantedSubscription(people.name, "sink", consumer=NARROW)).id
        Worker(app).run_until_idle()
        self.run = lake.backend.runs(job="team.narrow")[0].id
        with app.store.write() as tx:
            told = f"The row {person(2, 'zzland', 'zznote')} was not taken."
            tx.subscriptions.note_error(self.subscription, told, app.clock.now(), error_code="target_drift")

    def refused(self) -> str:
        """Return the branch of a commit that breaks a contract by rows and columns that are hidden, and by others."""
        self.people.create_branch("refused")
        for number in (7, 8):
            rows = [person(number, "zzland", "zznote"), person(number + 2, "EU", "on a branch")]
            self.people.write(rows, "upsert", branch="refused")
        draft = self.lake.backend.draft_contract(self.people.name)
        rule = '  - {{id: {0}_rule, type: custom, engine: cordillera, implementation: "{1}"}}\n'
        rules = rule.format("note", "note NOT LIKE 'zz%' AND id <> 10") + rule.format("pay", "pay < 0")
        self.people.put_contract(draft.replace("  properties:", f"  quality:\n{rules}  properties:", 1))
        try:
            self.people.cherry_pick(self.people.snapshots(branch="refused")[0])
        except ContractViolationError as error:
            return str(error.details["candidate"])
        raise AssertionError("the contract is broken")

    def client(self) -> TestClient:
        return client_of(self.server, self.app, NARROW)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("rows")
    with create_lake(folder / "lake") as app:
        made = House(app, folder)
        made.candidate = made.refused()
        yield made


def leaked(answer: Any) -> list[str]:
    """Return what an answer says that it should not: as text, or in the rows of an Arrow stream."""
    text = answer.content.decode("utf-8", "replace")
    if answer.headers.get("content-type", "").startswith("application/vnd.apache.arrow") and answer.status_code == 200:
        text += str(pa.ipc.open_stream(answer.content).read_all().to_pylist())
    return [secret for secret in HIDDEN if secret in text]


ROW_QUERIES: list[dict[str, Any]] = [
    {},
    {"as_of": "1"},
    {"as_of": "audit"},
    {"as_of": "first"},
    {"columns": "id,email"},
    {"columns": "pay"},
    {"where": "note = 'zznote'"},
    {"where": "pay > 0"},
    {"where": "CAST(email AS INTEGER) = 1"},
    {"where": "1 / (CASE WHEN region = 'EU' THEN 1 ELSE 0 END) = 1"},
    {"where": "CAST(note AS INTEGER) = 1"},
]
QUERIES: dict[str, list[dict[str, Any]]] = {
    f"GET {API}/datasets/{{name}}/rows": ROW_QUERIES,
    f"GET {API}/datasets/{{name}}/changes": [
        *(
            {"net": net, **query}
            for net in (True, False)
            for query in ({}, {"after": "1"}, {"after": "3", "upto": "4"})
        ),
        {"where": "CAST(note AS INTEGER) = 1"},
    ],
    "GET /datasets/{name:qualified}": [
        {"tab": tab}
        for tab in ("overview", "schema", "preview", "snapshots", "layout", "completions", "contract", "activity")
    ],
    f"GET {API}/search": [{"text": "zznote"}, {"text": "people"}],
    f"GET {API}/access/explanation": [{"principal": NARROW, "privilege": "discover", "on": "team.people"}],
}
PLACES = {
    "views/{name}": "views/team.shape",
    "jobs/{name}": "jobs/team.narrow",
    "jobs/{name:qualified}": "jobs/team.narrow",
    "{view}": "shape",
    "{ref}": "audit",
    "{plan_id}": "x",
}
ANSWERS = {
    "api": ("application/json", "application/vnd.apache.arrow.stream"),
    "pages": ("application/json", "text/html"),
}


@pytest.mark.parametrize("route", READING)
def test_no_route_that_reads_tells_of_what_is_hidden(house: House, route: str) -> None:
    client = house.client()
    path = address(
        route,
        "team.people",
        {**PLACES, "{branch}": house.candidate, "{run_id}": house.run, "{subscription_id}": house.subscription},
    )
    for query in QUERIES.get(route, [{}]):
        for accept in ANSWERS["api" if API in route or ICEBERG in route else "pages"]:
            answer = client.get(path, params=query, headers={"Accept": accept})
            asked = " ".join(map(str, query.values()))
            assert [secret for secret in leaked(answer) if secret not in asked] == [], (query, answer.text[:3000])
            assert answer.status_code < 500, answer.text


def test_rows_tell_that_they_are_not_all_there_is(house: House) -> None:
    less = {"dataset": "team.people", "filtered": True, "masked": ["email", "code", "born"], "hidden": ["pay"]}
    words = "You see a part of team.people: a filter leaves out rows; masked: email, code, born; hidden: pay."
    client, rows = house.client(), f"{API}/datasets/team.people/rows"
    for answer in (
        client.get(rows, params={"limit": 1}),
        client.get(f"{API}/datasets/team.people/changes"),
        client.post(f"{API}/query", json={"sql": "SELECT count(*) AS n FROM team.people"}),
    ):
        assert answer.json()["narrowed"] == [less]
    stream = client.get(rows, headers={"Accept": "application/vnd.apache.arrow.stream"}).content
    assert [one.in_words() for one in narrowed_by(pa.ipc.open_stream(stream).schema)] == [words]
    assert client.get(rows, headers={"Accept": "text/csv"}).headers["cordillera-narrowed"] == "team.people"
    page = client.get("/datasets/team.people", params={"tab": "preview"}, headers={"Accept": "text/html"})
    assert words in page.text
    with acting(OWNER):
        assert narrowed_by(house.people.scan().to_reader().schema) == ()
        assert narrowed_by(house.lake.sql("SELECT id FROM team.people").schema) == ()


def test_errors_that_others_ran_into_are_told_by_kind(house: House) -> None:
    with acting(NARROW):
        runs = house.lake.backend.runs()
        assert {run.job for run in runs} == {"team.narrow"}
        found = [runs[0].error, house.lake.backend.run(runs[0].id).error]
        subscriptions = [one.subscription for one in house.lake.backend.subscriptions()]
        found += [
            one.last_error for one in (*subscriptions, house.lake.backend.subscription(house.subscription).subscription)
        ]
    assert [one.startswith("It failed (") for one in found] == [True] * 4
    assert "(invalid sql)" in found[0]
    assert "(target drift)" in found[2]
    assert "may read all of team.people" in found[2]
    with acting(OWNER):
        assert "zznote" in house.lake.backend.run(house.run).error
        assert "zzland" in house.lake.backend.subscription(house.subscription).subscription.last_error


ASKED: list[tuple[str, dict[str, Any]]] = [
    (f"{API}/datasets/team.people/merges", {"json": [{"id": 2}], "params": {"clauses": CLAUSES}}),
    (f"{API}/datasets/team.people/merges/explanation", {"json": [{"id": 2}], "params": {"clauses": CLAUSES}}),
    (f"{API}/datasets/team.people/rows/deletion-explanation", {"params": {"where": "pay > 0"}}),
    (f"{API}/datasets/team.people/rows/explanation", {"json": [{"id": 2}], "params": {"operation": "upsert"}}),
    (f"{API}/datasets/team.people/cherry-pick", {"json": {"sequence_number": 6}}),
    (f"{API}/datasets/team.people/refresh-statistics", {"json": {}}),
    (f"{ICEBERG}/namespaces/team/tables/people/plan", {"json": {}}),
    (f"{ICEBERG}/namespaces/team/tables/people/tasks", {"json": {"plan-task": "x"}}),
    (
        f"{ICEBERG}/namespaces/team/tables/people/sign",
        {"json": {"region": "x", "uri": "s3://x/y", "method": "GET", "headers": {}}},
    ),
    (f"{ICEBERG}/namespaces/team/tables/people", {"json": {"requirements": [], "updates": []}}),
]


@pytest.mark.parametrize(("path", "asked"), ASKED, ids=[path for path, _ in ASKED])
def test_what_looks_at_rows_or_files_is_refused_with_what_to_do(house: House, path: str, asked: dict[str, Any]) -> None:
    refused = house.client().post(path, **asked)
    assert refused.status_code == 403, refused.text
    assert "through row filters and masks only" in refused.text
    assert "Dataset.scan()" in refused.text
    assert leaked(refused) == []


@pytest.mark.parametrize("delegation", ["", "vended-credentials", "remote-signing"])
def test_engines_get_neither_metadata_nor_credentials(house: House, delegation: str) -> None:
    client, table = house.client(), f"{ICEBERG}/namespaces/team/tables/people"
    for path in (table, f"{table}/credentials"):
        refused = client.get(path, headers={"X-Iceberg-Access-Delegation": delegation})
        assert refused.status_code == 403, refused.text
        assert "through row filters and masks only" in refused.text
    assert house.client().get(f"{API}/datasets/team.people/metadata-location").status_code == 403


def test_what_is_shown(house: House) -> None:
    with acting(NARROW):
        rows = house.people.scan().to_arrow().sort_by("id")
        assert rows.column_names == ["id", "region", "email", "note", "code", "born"]
        assert rows.select(["id", "note", "code", "born"]).to_pylist() == [
            {"id": 1, "note": "seen", "code": "****0001", "born": date(1980, 1, 1)},
            {"id": 3, "note": "later seen", "code": "****0003", "born": date(1980, 1, 1)},
        ]
        assert sorted(house.people.scan(["id"], as_of="audit").to_arrow()["id"].to_pylist()) == [1, 3, 7]
        assert sorted(house.people.scan(["id"], as_of=1).to_arrow()["id"].to_pylist()) == [1]
        one = rows["email"][0].as_py()
        assert sorted(house.people.scan(["id"], where=f"email = '{one}'").to_arrow()["id"].to_pylist()) == [1]
        assert house.people.scan(["id"], where="email LIKE 'zzmail%'").to_arrow().num_rows == 0


SQL = [
    "SELECT * FROM team.people",
    "SELECT * FROM team.shape",
    "SELECT count(*), min(email), max(note), sum(id) FROM team.people",
    "SELECT a.id FROM team.people a JOIN team.people b ON a.email = b.email AND b.note = 'zznote'",
    "SELECT id FROM team.people WHERE CAST(note AS INTEGER) > 0",
    "SELECT id FROM team.people WHERE 1 / (id - 2) > 5",
    "SELECT error(email || note) FROM team.people WHERE region <> 'EU'",
    "SELECT region, count(*) FROM team.people GROUP BY ALL ORDER BY 1",
    "SELECT (SELECT max(note) FROM team.people WHERE region = 'zzland') AS m",
    "SELECT id FROM team.people WHERE regexp_matches(email, 'zz') OR email IN (SELECT email FROM team.people)",
    "SELECT pay FROM team.people",
    "SELECT people FROM team.people",
    "SELECT histogram(note) FROM team.people",
    "WITH x AS (SELECT * FROM team.people) SELECT * FROM x TABLESAMPLE 100 PERCENT",
]


@pytest.mark.parametrize("sql", SQL)
def test_no_query_tells_of_what_is_hidden(house: House, sql: str) -> None:
    client = house.client()
    for as_of in ({}, {"team.people": "audit"}):
        answer = client.post(f"{API}/query", json={"sql": sql, "as_of": as_of})
        assert [secret for secret in leaked(answer) if secret not in sql] == [], answer.text[:3000]
        assert answer.status_code < 500, answer.text


def test_predicates_meet_what_is_shown_and_nothing_else(house: House) -> None:
    with acting(NARROW):
        assert house.lake.sql("SELECT id FROM team.people WHERE 10 / (id - 2) > -20 AND id <> 2").read_all().num_rows
        assert house.lake.sql("SELECT count(*) AS n FROM team.people").read_all().to_pylist() == [{"n": 2}]
        assert house.lake.sql("SELECT id FROM team.people WHERE note = 'zznote'").read_all().num_rows == 0
        with pytest.raises(InvalidSqlError, match="pay"):
            house.lake.sql("SELECT pay FROM team.people")
        with pytest.raises(UnknownColumnError, match="pay"):
            house.people.scan(where="pay > 0").to_arrow()
        with pytest.raises(InvalidSqlError) as failed:
            house.lake.sql("SELECT CAST(email AS INTEGER) AS e FROM team.people").read_all()
        assert "zzmail" not in str(failed.value)


def test_changes_are_those_of_what_is_shown(house: House) -> None:
    with acting(NARROW):
        net = house.people.changes(after=1, columns=["id", "note"]).to_arrow().to_pylist()
        assert [(one["id"], one["note"], one["_change_type"]) for one in net] == [(3, "later seen", "insert")]
        each = house.people.changes(columns=["id", "region"], net=False).to_arrow().to_pylist()
        assert [(one["id"], one["_change_type"], one["_commit_sequence_number"]) for one in each] == [
            (1, "insert", 1),
            (3, "insert", 2),
        ]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    with create_lake(tmp_path / "lake") as app:
        yield House(app, tmp_path)


def test_filters_and_masks_follow_renames_and_fail_closed(own: House) -> None:
    own.people.evolve(RenameColumn("region", "area"), RenameColumn("email", "mail"))
    own.people.evolve(AddColumn("email", pa.string()))
    called = {"region": "area", "email": "mail"}
    row = {called.get(name, name): value for name, value in person(8, "EU", "new").items()}
    own.people.write([{**row, "email": "zzmail of another kind"}], "upsert")
    with acting(NARROW):
        rows = own.people.scan(["id", "area", "mail", "email"]).to_arrow().sort_by("id").to_pylist()
        assert [one["id"] for one in rows] == [1, 3, 8]
        assert "zzmail" not in str(rows)
        assert sorted(own.people.scan(["id", "region"], as_of=2).to_arrow()["id"].to_pylist()) == [1, 3]
    own.people.evolve(DropColumn("note"))
    client = own.client()
    for answer in (
        client.get(f"{API}/datasets/team.people/rows"),
        client.get(f"{API}/datasets/team.people/changes"),
        client.post(f"{API}/query", json={"sql": "SELECT id FROM team.people"}),
    ):
        assert answer.status_code == 403, answer.text
        assert "filters rows by the column 'note', which is not there" in answer.text
        assert f"Ask its owner, {OWNER}" in answer.text


def test_what_was_granted_without_masks_is_masked_by_a_policy_tag(own: House) -> None:
    guest = "user:guest"
    own.lake.grant(guest, "read", "namespace:team")
    with acting(guest):
        assert own.people.metadata_location
    own.lake.set_policy_tag("team.people", "sensitivity", "pii", column="email", mask="null")
    with acting(guest):
        assert set(own.people.scan(["email"]).to_arrow()["email"].to_pylist()) == {None}
        with pytest.raises(AccessDeniedError, match="row filters and masks only"):
            own.people.snapshots()
    own.lake.grant(guest, "read", "namespace:team", tag_masks={"sensitivity = pii": "clear"})
    with acting(guest):
        assert own.people.metadata_location
    own.lake.revoke(guest, "read", "namespace:team")
    with acting(guest), pytest.raises(CordilleraError, match="There is no dataset"):
        own.people.scan().to_arrow()


CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: probe
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, logicalType: integer, required: true, primaryKey: true}
      - {name: pay, logicalType: integer}
    quality:
      - id: probe
        type: sql
        query: SELECT max(pay) FROM {object}
        mustBeLessOrEqualTo: 5
        severity: error
"""


def test_a_contract_does_not_tell_a_writer_of_rows_that_he_may_not_read(own: House) -> None:
    with acting(NARROW):
        own.people.put_contract(CONTRACT)
        with pytest.raises(ContractViolationError, match="told to those who may read all of it") as refused:
            own.people.write([{**person(9, "EU", "seen"), "pay": 1}], "upsert")
    assert "98765432" not in f"{refused.value} {refused.value.details} {refused.value.__cause__}"
    with acting(OWNER), pytest.raises(ContractViolationError, match="98765432"):
        own.people.write([{**person(9, "EU", "seen"), "pay": 1}], "upsert")


def test_a_job_computes_with_what_its_maker_is_shown(house: House) -> None:
    house.lake.create_dataset("team.result", {"id": pa.int64(), "email": pa.string(), "day": pa.string()}, key=["id"])
    house.lake.grant(NARROW, "read", "team.result")
    with acting(NARROW):
        house.lake.create_job(
            "team.copy", "SELECT id, email, $partition AS day FROM team.people", output="team.result",
            output_condition="day = $partition",
        )  # fmt: skip
        house.lake.backend.run_job("team.copy", "all")
    Worker(house.app).run_until_idle()
    assert house.lake.backend.runs(job="team.copy")[0].error == ""
    rows = house.lake.dataset("team.result").scan().to_arrow().sort_by("id").to_pylist()
    assert [one["id"] for one in rows] == [1, 3]
    assert "zzmail" not in str(rows)


def test_who_administers_or_owns_sees_everything(house: House) -> None:
    for privilege, on in (("administer", "team.people"), ("read", "lake")):
        principal = f"user:{privilege}"
        house.lake.grant(principal, privilege, on)
        with acting(principal):
            assert house.people.scan().to_arrow().num_rows == 4
    with acting(OWNER):
        assert "pay" in house.people.scan().to_arrow().column_names


def test_the_audit_log_has_filters_and_masks(house: House) -> None:
    entries = [one for one in house.lake.backend.audit(limit=1000) if one.action == "access.grant"]
    told = next(one.details for one in entries if "row_filter" in one.details)
    assert told["masks"]["email"] == "hash"
    assert json.dumps(told)
