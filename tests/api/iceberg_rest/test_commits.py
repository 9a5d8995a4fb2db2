"""Commits by other engines take the same way as our own: checked, described, audited, propagated."""

from __future__ import annotations

import threading
from typing import Any

import httpx2
import pytest

from cordillera.app import Application
from cordillera.client import Lake
from cordillera.spec.event import Topic
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.worker import Worker
from tests.api.iceberg_rest.conftest import SCHEMA, Engine, people

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: people
name: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, logicalType: integer, required: true, primaryKey: true, primaryKeyPosition: 1}
      - name: name
        logicalType: string
        quality: [{type: library, metric: invalidValues, arguments: {validValues: [x, y]}, mustBe: 0}]
"""
KEPT = ("UnprocessableEntityException", 422)
"""The answer to what the contract refuses: at 400 engines would remove the files that they have written."""


def rows(lake: Lake, name: str, **options: Any) -> dict[int, str]:
    table = lake.dataset(name).scan(**options).to_arrow()
    return dict(zip(table["id"].to_pylist(), table["name"].to_pylist(), strict=True))


def refused(answer: httpx2.Response, kind: str, status: int) -> str:
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (status, kind, status)
    return str(error["message"])


def test_an_append_is_a_snapshot_like_any_other(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    answer = iceberg.post(table, json=engine.append(people(4, 5)))
    assert answer.status_code == 200
    assert answer.json()["metadata-location"] == lake.dataset(name).metadata_location
    assert rows(lake, name) == dict.fromkeys([1, 2, 3, 4, 5], "x")
    snapshot = app.catalog.snapshots(name)[0]
    assert (snapshot.operation, snapshot.rows_inserted, snapshot.rows, snapshot.principal) == (
        None,
        2,
        5,
        "user:tester",
    )
    assert app.catalog.dataset(name).version.rows == 5
    entry = app.operations.audit(object_name=name)[0]
    assert (entry.action, entry.details["engine"]) == ("dataset.external_commit", "test")
    assert app.operations.events(dataset=name)[0].topic is Topic.SNAPSHOT_COMMITTED


def test_deletes_and_replacements_are_counted_by_what_they_do(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    lying = {"total-records": "77", "total-position-deletes": "70"}
    assert iceberg.post(table, json=engine.delete("id = 2", **lying)).status_code == 200
    assert iceberg.post(table, json=engine.replace(people(1, 7, name="y"), **lying)).status_code == 200
    assert rows(lake, name) == {1: "y", 7: "y"}
    replaced, deleted, *_ = app.catalog.snapshots(name)
    assert (deleted.rows_inserted, deleted.rows_deleted, deleted.rows) in [(0, 1, 2), (2, 3, 2)]  # version 2 copies
    assert (replaced.rows_inserted, replaced.rows_deleted, replaced.rows) == (2, 2, 2)
    lake.dataset(name).write(people(8), "upsert")
    assert app.catalog.dataset(name).version.rows == 3


def test_rows_that_break_the_key_are_refused(
    iceberg: httpx2.Client, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    message = refused(iceberg.post(table, json=engine.append(people(4, 2))), "BadRequestException", 400)
    assert "id=2" in message
    assert "id=9" in refused(iceberg.post(table, json=engine.append(people(9, 9))), "BadRequestException", 400)
    assert rows(lake, name) == dict.fromkeys([1, 2, 3], "x")


def test_a_contract_sees_the_rows(iceberg: httpx2.Client, lake: Lake, engine: Engine, name: str, table: str) -> None:
    lake.dataset(name).put_contract(CONTRACT)
    message = refused(iceberg.post(table, json=engine.append(people(4, name="bad"))), *KEPT)
    assert "name" in message
    assert iceberg.post(table, json=engine.append(people(4, name="y"))).status_code == 200
    assert rows(lake, name)[4] == "y"


def test_what_a_contract_refuses_an_engine_is_kept_where_it_can_be_put_right(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    dataset = lake.dataset(name)
    dataset.put_contract(CONTRACT)
    events = len(app.operations.events(dataset=name))
    refused(iceberg.post(table, json=engine.append(people(4, 5, name="bad"))), *KEPT)
    [candidate] = dataset.candidates()
    assert rows(lake, name, as_of=candidate.branch) == {**dict.fromkeys([1, 2, 3], "x"), 4: "bad", 5: "bad"}
    [broken] = dataset.candidate(candidate.branch).violations
    assert (broken.rule, broken.rows, broken.examples) == (
        "name.invalidValues", 2, ({"id": 4, "name": "bad"}, {"id": 5, "name": "bad"}),
    )  # fmt: skip
    assert candidate.branch in iceberg.get(table).json()["metadata"]["refs"]
    assert len(app.operations.events(dataset=name)) == events
    dataset.write(people(4, 5, name="y"), "upsert", branch=candidate.branch)
    dataset.publish(candidate.branch)
    assert rows(lake, name)[5] == "y"


def test_a_contract_warns_of_the_rows(
    iceberg: httpx2.Client, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    lake.dataset(name).put_contract(CONTRACT.replace("mustBe: 0", "mustBe: 0, severity: warn"))
    assert iceberg.post(table, json=engine.append(people(4, name="bad"))).status_code == 200
    assert rows(lake, name)[4] == "bad"
    assert lake.dataset(name).snapshots()[0].properties["contract.warnings"] == "name.invalidValues (1 row)"


def test_a_snapshot_cannot_bring_files_from_elsewhere(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, namespace: str, table: str
) -> None:
    lake.create_dataset(f"{namespace}.secret", SCHEMA)
    lake.dataset(f"{namespace}.secret").write(people(99, name="secret"), "append")
    stranger = Engine(app, f"{namespace}.secret").append(people(98))
    stolen = engine.append(people(4))
    stolen["updates"][0]["snapshot"]["manifest-list"] = stranger["updates"][0]["snapshot"]["manifest-list"]
    assert "elsewhere" in refused(iceberg.post(table, json=stolen), "ForbiddenException", 403)
    statistics = {"snapshot-id": stolen["requirements"][1]["snapshot-id"], "statistics-path": "file:///elsewhere"}
    statistics |= {"file-size-in-bytes": 1, "file-footer-size-in-bytes": 1, "blob-metadata": []}
    commit = {"requirements": [], "updates": [{"action": "set-statistics", "statistics": statistics}]}
    assert "elsewhere" in refused(iceberg.post(table, json=commit), "ForbiddenException", 403)
    gone = engine.append(people(4))
    gone["updates"][0]["snapshot"]["manifest-list"] += ".missing"
    assert "cannot be read" in refused(iceberg.post(table, json=gone), "BadRequestException", 400)


def test_what_says_that_it_moves_rows_must_not_change_them(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    lie = engine.replace(people(1, 2, 4), operation="replace")
    assert "same rows" in refused(iceberg.post(table, json=lie), "BadRequestException", 400)
    assert iceberg.post(table, json=engine.replace(people(3, 2, 1), operation="replace")).status_code == 200
    assert rows(lake, name) == dict.fromkeys([1, 2, 3], "x")
    moved = app.catalog.snapshots(name)[0]
    assert (moved.operation, moved.rows_inserted, moved.rows_deleted, moved.rows) == ("compact", 0, 0, 3)


@pytest.mark.parametrize("said", [{"engine-name": "cordillera"}, {"cordillera.tombstones": "x"}])
def test_nobody_passes_for_us(iceberg: httpx2.Client, engine: Engine, table: str, said: dict[str, str]) -> None:
    assert "Cordillera" in refused(
        iceberg.post(table, json=engine.append(people(4), **said)), "BadRequestException", 400
    )


def test_a_requirement_that_does_not_hold_is_a_conflict(
    iceberg: httpx2.Client, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    late = engine.append(people(4))
    lake.dataset(name).write(people(5), "append")
    refused(iceberg.post(table, json=late), "CommitFailedException", 409)
    late["requirements"] = []
    refused(iceberg.post(table, json=late), "CommitFailedException", 409)
    assert 4 not in rows(lake, name)


def test_branches_do_not_lose_commits(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    first = app.tables.load(app.catalog.dataset(name).version).current_snapshot_id
    lake.dataset(name).write(people(4), "append")
    back = {"action": "set-snapshot-ref", "ref-name": "main", "snapshot-id": first, "type": "branch"}
    message = refused(iceberg.post(table, json={"requirements": [], "updates": [back]}), "BadRequestException", 400)
    assert "rollback" in message
    kept = {**back, "ref-name": "audit"}
    assert iceberg.post(table, json={"requirements": [], "updates": [kept]}).status_code == 200
    assert rows(lake, name, as_of="audit") == dict.fromkeys([1, 2, 3], "x")
    gone = {"action": "remove-snapshot-ref", "ref-name": "main"}
    refused(iceberg.post(table, json={"requirements": [], "updates": [gone]}), "BadRequestException", 400)


def test_several_snapshots_come_in_one_commit(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    commit = engine.append_one_by_one(people(4), people(5))
    assert iceberg.post(table, json=commit).status_code == 200
    assert [(one.rows_inserted, one.rows) for one in app.catalog.snapshots(name)] == [(1, 5), (1, 4), (3, 3)]
    assert rows(lake, name) == dict.fromkeys([1, 2, 3, 4, 5], "x")


def test_a_repeated_commit_has_no_further_effect(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, table: str
) -> None:
    commit, headers = engine.append(people(4)), {"Idempotency-Key": "0190b1e2-0000-7000-8000-000000000001"}
    first, second = (iceberg.post(table, json=commit, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert len(app.catalog.snapshots(name)) == 2
    other = iceberg.post(table, json=engine.append(people(5)), headers=headers)
    assert "different write" in refused(other, "BadRequestException", 400)


def test_a_transaction_is_whole_or_not_at_all(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, namespace: str
) -> None:
    lake.create_dataset(f"{namespace}.other", SCHEMA, key=["id"])
    other = Engine(app, f"{namespace}.other")

    def change(dataset: str, commit: dict[str, Any]) -> dict[str, Any]:
        return {"identifier": {"namespace": [namespace], "name": dataset}, **commit}

    bad = [change("other", other.append(people(1))), change("people", engine.append(people(3)))]
    refused(iceberg.post("/transactions/commit", json={"table-changes": bad}), "BadRequestException", 400)
    assert rows(lake, f"{namespace}.other") == {}
    good = [change("other", other.append(people(1))), change("people", engine.append(people(4)))]
    assert iceberg.post("/transactions/commit", json={"table-changes": good}).status_code == 204
    assert rows(lake, f"{namespace}.other") == {1: "x"}
    assert 4 in rows(lake, name)


def test_many_writers_at_once_lose_nothing(
    iceberg: httpx2.Client, app: Application, lake: Lake, name: str, table: str
) -> None:
    statuses: list[int] = []

    def write(number: int) -> None:
        engine = Engine(app, name)
        while True:
            answer = iceberg.post(table, json=engine.append(people(number)))
            statuses.append(answer.status_code)
            if answer.status_code != 409:
                return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(100, 106)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 409}
    assert sorted(rows(lake, name)) == [1, 2, 3, *range(100, 106)]


def test_subscriptions_follow(
    iceberg: httpx2.Client, app: Application, lake: Lake, engine: Engine, name: str, table: str, tmp_path: Any
) -> None:
    target = name.replace(".", "_")
    lake.create_target(target, "duckdb", path=str(tmp_path / "copy.duckdb"))
    subscription = lake.backend.subscribe(WantedSubscription(name, target))
    Worker(app).run_until_idle()
    iceberg.post(table, json=engine.append(people(4)))
    iceberg.post(table, json=engine.delete("id = 1"))
    Worker(app).run_until_idle()
    verified = lake.backend.verify_subscription(subscription.id)
    assert verified.equal
    assert verified.rows_lake == 3
