"""What somebody without grants learns of what is not his: nothing, by any route that answers him at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from cordillera.app import Application, create_lake
from cordillera.client.lake import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, CordilleraError, DatasetNotFoundError
from cordillera.server import create_server
from cordillera.spec.access import Privilege, Securable, SecurableKind
from cordillera.spec.subscription import SubscriptionState
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.spec.workflow import RunState, WantedJob
from cordillera.worker import Worker
from tests.access.reading import READING, address, client_of
from tests.access.test_routes import API, ICEBERG, ROUTES
from tests.conftest import MovableClock

SCHEMA = {"id": pa.int64(), "day": pa.string()}
OWNER, GUEST = "user:owner", "user:guest"
SECRETS = ("zzteam", "zzdeputy", "zzsecret", "zzjob", "zztarget", "zzword", "zzrole")
"""What is in the names of everything that the guest has nothing to do with."""


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


class House:
    """A lake: what is the owner's, with every trace that it leaves; and one dataset that a guest may discover."""

    def __init__(self, app: Application, folder: Path) -> None:
        self.app, self.lake, self.backend = app, Lake(LocalBackend(app)), LocalBackend(app)
        self.server = create_server(app)
        lake = self.lake
        lake.create_namespace("zzteam", owner=OWNER)
        lake.create_namespace("open", owner=OWNER)
        for name in ("zzteam.zzsecret", "zzteam.zzresult", "open.shown", "open.zzsecret"):
            hidden = name != "open.shown"
            columns = {**SCHEMA, "zzword": pa.string()} if hidden else SCHEMA
            lake.create_dataset(name, columns, key=["id"], description="zzword" if hidden else "")
            rows = [{"id": 1, "day": "all", **({"zzword": "x"} if hidden else {})}]
            lake.dataset(name).write(rows, "upsert", completes="all")
        with lake.transaction("both") as together:
            together.write("open.shown", [{"id": 2, "day": "a"}], "upsert")
            together.write("zzteam.zzsecret", [{"id": 2, "day": "a", "zzword": "x"}], "upsert")
        lake.create_target("zztarget", "duckdb", path=str(folder / "target.db"))
        subscribed = lake.backend.subscribe(
            WantedSubscription("open.shown", "zztarget", consumer="user:other", table="zztable")
        )
        lake.backend.subscribe(WantedSubscription("zzteam.zzsecret", "zztarget", consumer="user:other"))
        lake.create_job(
            "zzteam.zzjob",
            "SELECT a.id, a.day, b.zzword FROM open.shown a JOIN zzteam.zzsecret b USING (id)",
            output="zzteam.zzresult",
            output_condition="day = $partition",
        )
        self.run = lake.backend.run_job("zzteam.zzjob", "all")
        lake.grant("role:zzrole", "read", "zzteam.zzsecret")
        lake.add_member("role:zzrole", "user:other")
        lake.set_policy_tag("zzteam.zzsecret", "level", "zzword")
        lake.add_approver("level = zzword", "group:zzword")
        lake.add_deputy("user:zzdeputy", tomorrow(), owner=OWNER, on="namespace:zzteam", reason="zzword")
        for on in ("zzteam.zzsecret", "target:zztarget", "open.shown"):
            lake.grant("user:other", "discover", on)
            with acting("user:other"):
                lake.request_access(on, "write", purpose="zzword")
        gone = lake.create_dataset("open.zzdeleted", SCHEMA)
        lake.backend.delete_dataset(gone.name)
        self.subscription = subscribed.id
        self.token = lake.backend.create_token("zzsecret of another", principal="user:other").token.id
        Worker(app).run_until_idle()
        lake.grant(GUEST, "discover", "open.shown")

    def client(self, principal: str = GUEST) -> TestClient:
        return client_of(self.server, self.app, principal)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("leaks")
    with create_lake(folder / "lake") as app:
        yield House(app, folder)


QUERIES: dict[str, list[dict[str, Any]]] = {
    f"GET {API}/search": [{"text": "zzword"}, {"text": ""}, {"namespace": "zzteam"}, {"owner": OWNER}],
    f"GET {API}/datasets": [{}, {"deleted": True}, {"namespace": "open"}],
    f"GET {API}/events": [{}, {"dataset": "zzteam.zzsecret"}, {"dataset": "open.shown"}],
    f"GET {API}/lineage": [
        {"kind": "dataset", "name": "open.shown", "upstream": 3, "downstream": 3},
        {"kind": "job", "name": "zzteam.zzjob"},
        {"kind": "target", "name": "zztarget:zztable"},
    ],
    f"GET {API}/subscriptions": [{}, {"dataset": "open.shown"}, {"target": "zztarget"}],
    f"GET {API}/runs": [{}, {"partition": "all"}],
    f"GET {API}/access/requests": [{}, {"on": "open.shown"}, {"requester": "user:other"}, {"waiting": True}],
    f"GET {API}/access/grants": [{}, {"on": "open.shown"}, {"principal": "role:zzrole"}],
    f"GET {API}/access/deputies": [{}, {"owner": OWNER}],
    "GET /search": [{"q": "zzword"}],
    "GET /search/suggestions": [{"q": "zz"}],
    "GET /datasets/{name:qualified}": [
        {"tab": tab}
        for tab in ("overview", "completions", "contract", "subscriptions", "lineage", "access", "activity")
    ],
}


@pytest.mark.parametrize("route", READING)
def test_no_answer_names_what_is_hidden(house: House, route: str) -> None:
    """Asked in every way that does not name it, no route says its name; nor a count that counts it."""
    path = address(route, "open.shown", {"{subscription_id}": house.subscription, "{run_id}": house.run.id})
    client = house.client()
    for query in QUERIES.get(route, [{}]):
        for accept in ("application/json", "text/html"):
            answer = client.get(path, params=query, headers={"Accept": accept})
            given = " ".join(str(value) for value in query.values())
            found = [secret for secret in SECRETS if secret in answer.text and secret not in given]
            assert found == [], (path, query, answer.text[:3000])


def test_counts_count_what_is_seen(house: House) -> None:
    client = house.client()
    found = client.get(f"{API}/search").json()
    assert (found["total"], [hit["dataset"]["name"] for hit in found["hits"]]) == (1, ["shown"])
    assert {(facet["name"], facet["value"]): facet["count"] for facet in found["facets"] if facet["value"]} == {
        ("namespace", "open"): 1,
        ("owner", OWNER): 1,
        ("lifecycle", "active"): 1,
    }
    graph = client.get(f"{API}/lineage", params={"kind": "dataset", "name": "open.shown", "downstream": 5}).json()
    assert (graph["edges"], graph["more"]) == ([], [])
    assert client.get(f"{API}/run-counts").json()["items"] == []
    assert client.get(f"{API}/namespaces").json()["items"] != []
    assert [one["name"] for one in client.get(f"{API}/namespaces").json()["items"]] == ["open"]
    assert client.get(f"{ICEBERG}/namespaces").json()["namespaces"] == [["open"]]


HIDDEN = ("zzteam.zzsecret", "open.zzsecret")
ABSENT = ("zzteam.aaaaaaaa", "open.aaaaaaaa")


@pytest.mark.parametrize("route", [route for route, needs in ROUTES.items() if needs.on in ("dataset", "target")])
@pytest.mark.parametrize("pair", [0, 1])
def test_what_is_hidden_is_answered_like_what_is_not_there(house: House, route: str, pair: int) -> None:
    client, said = house.client(), []
    for name in (HIDDEN[pair], ABSENT[pair]):
        path, needs = route.split(" ")[1], ROUTES[route]
        space, table = name.split(".")
        target = "zztarget" if name in HIDDEN else "bbbbbbbb"
        values = {
            "name": target if needs.on == "target" else name,
            "name:qualified": name,
            "namespace": space,
            "table": table,
            "partition:path": "all",
            "ref": "audit",
            "sequence_number": "1",
            "sequence": "1",
            "dataset": name,
            "output": "open.shown",
            "target": target,
            "new": "n1",
            "proposal_id": "0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3",
            "decision": "withdraw",
            "folder": "/tmp",
        }

        def filled(value: Any, values: dict[str, str] = values) -> Any:
            if isinstance(value, str):
                for key, known in values.items():
                    value = value.replace(f"{{{key}}}", known)
                return value
            if isinstance(value, dict):
                return {key: filled(one) for key, one in value.items()}
            return [filled(one) for one in value] if isinstance(value, list) else value

        answer = client.request(
            route.split(" ")[0],
            filled(path),
            json=filled(needs.json),
            params=filled(needs.query),
            data=filled(needs.form),
            headers={"Accept": "application/json"},
        )
        body = answer.text.replace(name, "NAME").replace(table, "TABLE").replace(target, "TARGET")
        trace = answer.headers["x-trace-id"]
        said.append((answer.status_code, body.replace(trace, "")))
    assert said[0] == said[1]
    assert said[0][0] in (403, 404) or route.endswith("/access/explanation")


def test_lists_hold_what_is_granted(house: House) -> None:
    principal = "user:reader"
    house.lake.grant(principal, "read", "zzteam.zzsecret")
    client = house.client(principal)
    assert [one["name"] for one in client.get(f"{API}/datasets").json()["items"]] == ["zzsecret"]
    assert client.get(f"{API}/datasets/zzteam.zzsecret/rows").json()["rows"] != []
    assert client.get(f"{API}/datasets/zzteam.zzresult").status_code == 404
    snapshots = client.get(f"{API}/datasets/zzteam.zzsecret/snapshots").json()["items"]
    assert [one for one in snapshots if "transaction" in one["properties"]] != []
    assert "open.shown" not in str(snapshots)
    house.lake.revoke(principal, "read", "zzteam.zzsecret")
    assert client.get(f"{API}/datasets").json()["items"] == []
    assert client.get(f"{API}/datasets/zzteam.zzsecret/rows").status_code == 404


def test_an_administrator_of_a_dataset_sees_who_follows_it(house: House) -> None:
    client = house.client("user:steward")
    house.lake.grant("user:steward", "administer", "open.shown")
    seen = client.get(f"{API}/subscriptions").json()["items"]
    assert [one["subscription"]["dataset"] for one in seen] == ["open.shown"]
    assert client.get(f"{API}/jobs").json()["items"] == []  # it names a dataset that he may not see
    house.lake.grant("user:steward", "discover", "namespace:zzteam")
    assert [one["name"] for one in client.get(f"{API}/jobs").json()["items"]] == ["zzteam.zzjob"]
    assert {one["job"] for one in client.get(f"{API}/runs").json()["items"]} == {"zzteam.zzjob"}
    graph = client.get(f"{API}/lineage", params={"kind": "dataset", "name": "open.shown"}).json()
    assert "zzteam.zzjob" in str(graph)


# --- later, on somebody's behalf -------------------------------------------------------------------------------------


@pytest.fixture
def working(tmp_path: Path, clock: MovableClock) -> Iterator[Lake]:
    with create_lake(tmp_path / "lake", clock=clock) as app:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("a", owner=OWNER)
        for name in ("a.source", "a.sink"):
            lake.create_dataset(name, {"id": pa.int64(), "day": pa.string()}, key=["id"])
        lake.create_target("files", "duckdb", path=str(tmp_path / "target.db"))
        lake.dataset("a.source").write([{"id": 1, "day": "all"}], "upsert")
        yield lake


def _allow(lake: Lake, *privileges: tuple[str, str]) -> None:
    for privilege, on in privileges:
        lake.grant(GUEST, privilege, on)


def test_a_delivery_stops_when_its_reader_may_not_read_any_more(working: Lake) -> None:
    _allow(working, ("read", "a.source"), ("write", "target:files"))
    with acting(GUEST):
        made = working.backend.subscribe(WantedSubscription("a.source", "files"))
    working.run_pending()
    assert working.backend.subscription(made.id).in_step
    working.revoke(GUEST, "read", "a.source")
    working.dataset("a.source").write([{"id": 2, "day": "all"}], "upsert")
    working.run_pending()
    found = working.backend.subscription(made.id).subscription
    assert (found.state, found.rows_delivered) == (SubscriptionState.FAILED, 1)
    assert "user:guest may not" in found.last_error
    with acting(GUEST), pytest.raises(AccessDeniedError):
        working.backend.resume_subscription(made.id)
    working.backend.resume_subscription(made.id)
    working.run_pending()
    assert working.backend.subscription(made.id).in_step
    assert working.backend.subscription(made.id).subscription.on_behalf_of == ""


def test_nobody_delivers_to_a_target_that_is_not_his(working: Lake) -> None:
    _allow(working, ("read", "a.source"))
    with acting(GUEST), pytest.raises(CordilleraError, match="no target 'files'"):
        working.backend.subscribe(WantedSubscription("a.source", "files"))
    _allow(working, ("discover", "target:files"))
    with acting(GUEST), pytest.raises(AccessDeniedError, match="write to the target files"):
        working.backend.subscribe(WantedSubscription("a.source", "files"))


def _job(lake: Lake, name: str = "a.job", owner: str = "") -> None:
    lake.backend.create_job(
        WantedJob(
            name, "SELECT id, day FROM a.source", output="a.sink", output_condition="day = $partition", owner=owner
        )
    )


def test_a_job_runs_with_the_privileges_of_whoever_made_it(working: Lake) -> None:
    _allow(working, ("create", "namespace:a"), ("read", "a.source"), ("read", "a.sink"), ("write", "a.sink"))
    with acting(GUEST):
        _job(working, owner=OWNER)  # naming another as the owner lends nobody his privileges
    assert working.backend.job("a.job").on_behalf_of == GUEST
    working.dataset("a.source").complete("all")
    working.run_pending()
    assert working.backend.runs(job="a.job")[0].state is RunState.SUCCEEDED
    assert working.dataset("a.sink").snapshots()[0].principal == GUEST
    working.revoke(GUEST, "write", "a.sink")
    working.dataset("a.source").complete("all")
    working.run_pending()
    failed = working.backend.runs(job="a.job")[0]
    assert (failed.state, "user:guest may not write" in failed.error) == (RunState.FAILED, True)


@pytest.mark.parametrize(
    "given",
    [
        [("create", "namespace:a"), ("read", "a.source")],
        [("create", "namespace:a"), ("read", "a.sink"), ("write", "a.sink")],
        [("read", "a.source"), ("read", "a.sink"), ("write", "a.sink")],
    ],
)
def test_a_job_takes_what_its_runs_will_take(working: Lake, given: list[tuple[str, str]]) -> None:
    _allow(working, *given)
    with acting(GUEST), pytest.raises((AccessDeniedError, DatasetNotFoundError)):
        _job(working)


def test_a_grant_ends_by_itself(working: Lake, clock: MovableClock) -> None:
    working.grant(GUEST, "read", "a.source", expires_at=clock.now() + timedelta(days=1))
    with acting(GUEST):
        assert working.dataset("a.source").scan().to_arrow().num_rows == 1
    clock.advance(days=2)
    with acting(GUEST), pytest.raises(DatasetNotFoundError):
        working.dataset("a.source").scan().to_arrow()


def test_a_refusal_is_on_record(house: House) -> None:
    client = house.client()
    assert client.get(f"{API}/datasets/open.shown/rows").status_code == 403
    [entry, *_] = house.app.operations.audit(object_name="open.shown")
    assert (entry.action, entry.principal, entry.object_kind) == ("access.denied", GUEST, "dataset")
    assert entry.details == {"privilege": "read"}


def test_grants_are_on_record(working: Lake) -> None:
    on = Securable(SecurableKind.DATASET, "a.source")
    working.backend.app.grants.grant(WantedGrant(GUEST, Privilege.READ, str(on), reason="report"))
    working.revoke(GUEST, "read", "a.source")
    entries = working.backend.audit(object_name="a.source")
    told = [(one.action, one.details.get("principal")) for one in entries if one.action.startswith("access.")]
    assert told == [("access.revoke", GUEST), ("access.grant", GUEST)]
