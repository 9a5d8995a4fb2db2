"""What somebody learns who was granted one dataset version: of the others nothing, by any route of the server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from cordillera.app import Application, create_lake
from cordillera.catalog.new_table import TableOptions
from cordillera.client.lake import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, DatasetNotFoundError, DatasetVersionNotFoundError, InvalidNameError
from cordillera.server import create_server
from cordillera.spec.access import Securable, SecurableKind, parse_securable
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.web.dataset_tabs import TABS
from cordillera.worker import Worker
from tests.access.reading import READING, address, client_of
from tests.access.test_leaks import QUERIES
from tests.access.test_routes import API, ICEBERG

OWNER, GUEST = "user:owner", "user:guest"
SECRETS = ("zznote", "zzvalue", "1987-12-31", "zzbranch", "zzrule", "zztable", "zzjob")
"""What is in the first dataset version, and what follows it: columns, values, partitions, branches, contract …"""
FIRST = {"id": pa.int64(), "zznote": pa.string(), "day": pa.string()}
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: zzrule
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, logicalType: integer, required: true, primaryKey: true}
"""


class House:
    """A lake with a dataset of two dataset versions: the first is the active one, a guest may read the second."""

    def __init__(self, app: Application, folder: Path) -> None:
        self.app, self.lake = app, Lake(LocalBackend(app))
        self.server, lake = create_server(app), self.lake
        lake.create_namespace("team", owner=OWNER)
        people = lake.create_dataset("team.people", FIRST, key=["id"], completion_unit="day")
        people.write([{"id": 1, "zznote": "zzvalue", "day": "1987-12-31"}], "upsert", completes="1987-12-31")
        lake.backend.create_ref(people.name, "zzbranch", "branch")
        people.put_contract(CONTRACT)
        lake.backend.refresh_statistics(people.name)
        schema = pa.schema({"id": pa.int64(), "plain": pa.string()})
        lake.backend.create_dataset_version("team.people", schema, TableOptions(key=("id",)))
        lake.dataset("team.people_v2").write([{"id": 1, "plain": "shown"}], "upsert", completes="all")
        lake.create_dataset("team.output", FIRST, key=["id"])
        lake.create_target("sink", "duckdb", path=str(folder / "sink.db"))
        lake.backend.subscribe(WantedSubscription("team.people", "sink", table="zztable", consumer=OWNER))
        lake.create_job(
            "team.zzjob", "SELECT id, zznote, day FROM team.people_v1", output="team.output",
            output_condition="day = $partition",
        )  # fmt: skip
        Worker(app).run_until_idle()
        lake.grant(GUEST, "read", "team.people_v2")

    def client(self, principal: str = GUEST) -> TestClient:
        return client_of(self.server, self.app, principal)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("versions")
    with create_lake(folder / "lake") as app:
        yield House(app, folder)


@pytest.mark.parametrize("route", READING)
def test_no_answer_tells_of_another_dataset_version(house: House, route: str) -> None:
    client = house.client()
    for name in ("people", "people_v2", "people_v1"):
        path = address(route, f"team.{name}", {})
        for query in (*QUERIES.get(route, [{}]), {"text": "zznote"}, {"tab": "schema"}, {"tab": "preview"}):
            for accept in ("application/json", "text/html"):
                answer = client.get(path, params=query, headers={"Accept": accept})
                given = " ".join(map(str, query.values()))
                found = [secret for secret in SECRETS if secret in answer.text and secret not in given]
                assert found == [], (path, query, answer.text[:3000])
                assert answer.status_code < 500, (path, query, answer.text[:3000])


def test_the_dataset_is_the_dataset_version_that_one_may_discover(house: House) -> None:
    with acting(GUEST):
        lake = house.lake
        for name in ("team.people", "team.people_v2"):
            assert lake.dataset(name).scan().to_arrow().to_pylist() == [{"id": 1, "plain": "shown"}]
        assert lake.sql("SELECT plain FROM team.people").read_all().to_pylist() == [{"plain": "shown"}]
        assert [one.full_name for one in lake.backend.datasets()] == ["team.people"]
        assert [one.number for one in lake.backend.dataset("team.people").versions] == [2]
        for number in (1, 3):  # the first is hidden, there is no third
            with pytest.raises(DatasetVersionNotFoundError, match=f"no dataset version {number}. It has: 2."):
                lake.dataset(f"team.people_v{number}").scan().to_arrow()
        with pytest.raises(AccessDeniedError):
            lake.dataset("team.people").write([{"id": 2, "plain": "no"}], "upsert")
        with pytest.raises(AccessDeniedError, match="may not see all of the dataset"):
            lake.backend.update_dataset("team.people", description="mine")
    with acting(OWNER):
        assert "zznote" in house.lake.dataset("team.people").scan().to_arrow().column_names


@pytest.mark.parametrize("name", ["team.people", "team.people_v2"])
def test_every_tab_of_the_page_is_there(house: House, name: str) -> None:
    for tab in TABS:
        page = house.client().get(f"/datasets/{name}", params={"tab": tab}, headers={"Accept": "text/html"})
        assert page.status_code == 200, (tab, page.text[-900:])


def test_engines_get_the_dataset_version_and_no_other(house: House) -> None:
    client = house.client()
    assert client.get(f"{ICEBERG}/namespaces").json()["namespaces"] == [["team"]]
    listed = client.get(f"{ICEBERG}/namespaces/team/tables").json()["identifiers"]
    assert [one["name"] for one in listed] == ["people"]
    for table in ("people", "people_v2"):
        loaded = client.get(f"{ICEBERG}/namespaces/team/tables/{table}").json()
        assert [one["name"] for one in loaded["metadata"]["schemas"][-1]["fields"]] == ["id", "plain"]
    assert client.get(f"{ICEBERG}/namespaces/team/tables/people_v1").status_code == 404


def test_a_lifecycle_takes_the_whole_dataset(house: House) -> None:
    house.lake.grant("user:keeper", "alter", "team.people_v2")
    keeper = house.client("user:keeper")
    refused = keeper.put(f"{API}/datasets/team.people_v2/lifecycle", json={"lifecycle": "active"})
    assert refused.status_code == 403, refused.text
    made = keeper.post(f"{API}/datasets/team.people/versions", json={"columns": []})
    assert made.status_code in (403, 404), made.text


def test_it_is_granted_asked_for_explained_and_taken_back(house: House) -> None:
    eva, on = "user:eva", "team.people_v2"
    house.lake.grant(eva, "discover", on)
    with acting(eva):
        request = house.lake.request_access(on, "read", purpose="to see", days=9)
    assert request.on == "dataset_version:team.people_v2"
    with acting(OWNER):
        assert request.id in {one.id for one in house.lake.access_requests(waiting=True)}
        house.lake.approve_access(request.id)
    explained = house.lake.explain_access(eva, "read", on)
    assert (explained.allowed, explained.on) == (True, "dataset_version:team.people_v2")
    assert [one.on for one in explained.reasons if one.holds] == ["dataset_version:team.people_v2"]
    assert not house.lake.explain_access(eva, "read", "team.people_v1").allowed
    assert not house.lake.explain_access(eva, "read", "team.people").allowed
    assert {one.on for one in house.lake.grants(principal=eva)} == {"dataset_version:team.people_v2"}
    house.lake.revoke(eva, "read", on)
    house.lake.revoke(eva, "discover", on)
    with acting(eva), pytest.raises(DatasetNotFoundError):
        house.lake.dataset(on).scan().to_arrow()


def test_rows_of_a_dataset_version_are_narrowed_alone(house: House) -> None:
    tom = "user:tom"
    house.lake.grant(tom, "read", "team.people_v2", row_filter="id > 5", masks={"plain": "null"})
    with acting(tom):
        assert house.lake.dataset("team.people").scan().to_arrow().num_rows == 0
        with pytest.raises(AccessDeniedError, match="row filters and masks only"):
            house.lake.dataset("team.people").snapshots()
    house.lake.grant(tom, "read", "team.people")
    with acting(tom):
        assert house.lake.dataset("team.people_v1").scan().to_arrow().num_rows == 1


def test_a_dataset_version_is_subscribed_and_resumed(house: House, tmp_path: Path) -> None:
    sam, lake = "user:sam", house.lake
    lake.create_target("own", "duckdb", path=str(tmp_path / "own.db"))
    lake.grant(sam, "write", "target:own")
    lake.grant(sam, "read", "team.people_v2")
    with acting(sam):
        subscription = lake.dataset("team.people_v2").subscribe("own")
        lake.backend.pause_subscription(subscription.id)
        lake.backend.resume_subscription(subscription.id)
    Worker(house.app).run_until_idle()
    assert lake.backend.subscription(subscription.id).in_step
    lake.revoke(sam, "read", "team.people_v2")
    Worker(house.app).run_until_idle()
    assert lake.backend.subscription(subscription.id).subscription.error_code == "access_denied"


def test_a_grant_that_ends_is_over(house: House) -> None:
    house.lake.grant("user:late", "read", "team.people_v2", expires_at=house.app.clock.now() + timedelta(hours=1))
    house.lake.revoke("user:late", "read", "team.people_v2")
    assert house.client("user:late").get(f"{API}/datasets").json()["items"] == []


@pytest.mark.parametrize("text", ["team.people_v2", "dataset:team.people_v2", "dataset_version:team.people_v2"])
def test_a_dataset_version_is_named_as_everywhere(text: str) -> None:
    assert parse_securable(text) == Securable(SecurableKind.DATASET_VERSION, "team.people_v2")


@pytest.mark.parametrize("text", ["view:team.people_v2", "dataset_version:team.people"])
def test_what_is_no_dataset_version_is_not_called_one(text: str) -> None:
    with pytest.raises(InvalidNameError):
        parse_securable(text)
