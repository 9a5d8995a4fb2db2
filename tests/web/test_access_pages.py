"""The pages on which access is asked for, decided about and explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pyarrow as pa
import pytest

import cordillera
from cordillera.api.auth import COOKIE
from cordillera.client.lake import Lake
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from tests.web.conftest import read

OWNER, BEN, EVE = "user:olga", "user:ben", "user:eve"
Person = Callable[[str], httpx2.Client]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder: Path = tmp_path_factory.mktemp("access")
    with cordillera.create(folder / "lake") as lake:
        lake.create_namespace("sales", owner=OWNER)
        for name in ("orders", "prices", "secret"):
            lake.create_dataset(f"sales.{name}", {"id": pa.int64()}, key=["id"])
        for name in ("orders", "prices"):
            lake.grant(BEN, "discover", f"sales.{name}")
        lake.create_namespace("sales.europe", description="What is sold in Europe.")
        inner = lake.create_dataset("sales.europe.orders", {"id": pa.int64()}, key=["id"])
        inner.write([{"id": 1}])
        lake.create_target("warehouse", "duckdb", path=str(folder / "warehouse.duckdb"))
        inner.subscribe("warehouse")
        lake.grant(BEN, "discover", "sales.europe.orders")
        yield lake


@pytest.fixture(scope="module")
def person(lake: Lake) -> Iterator[Person]:
    """Return what gives somebody's browser."""
    with running_server(create_server(lake.backend.app)) as url, ExitStack() as open_clients:

        def client(principal: str) -> httpx2.Client:
            token = lake.backend.app.access.create_token(str(lake.backend.app.clock.new_id()), principal=principal)
            headers = {"Accept": "text/html", "Origin": url}
            made = httpx2.Client(
                base_url=url, cookies={COOKIE: token.secret}, headers=headers, trust_env=False, timeout=60
            )
            return open_clients.enter_context(made)

        yield client


def ask(client: httpx2.Client, on: str, **form: object) -> httpx2.Response:
    return client.post("/access/ask", data={"on": on, "privilege": "read", "purpose": "report", "days": "30", **form})


def test_a_request_goes_from_the_form_to_the_grant(person: Person) -> None:
    ben, olga = person(BEN), person(OWNER)
    tab = read(ben.get("/datasets/sales.orders?tab=access").text)
    assert "What you have" in tab.text
    assert "Who has what, and why" not in tab.text
    assert ("form", "/access/ask") in [(tag, attributes.get("action")) for tag, attributes in tab.tags]
    sent = ask(ben, "sales.orders", privilege=["read", "write"])
    assert sent.status_code == 303
    place = sent.headers["location"]
    assert "Withdraw" in read(ben.get(place).text).text
    waiting = read(olga.get("/access?show=waiting").text)
    assert place in waiting.links
    shown = read(olga.get(place).text)
    assert {f"{place}/approve", f"{place}/refuse"} <= set(shown.addresses)
    assert f"{place}/withdraw" not in shown.addresses
    narrowed = {"privilege": "read", "days": "7", "reason": "until Friday", "row_filter": "id > 1"}
    assert "says no masks" in olga.post(f"{place}/approve", data={**narrowed, "masks": "id"}).text
    decided = olga.post(f"{place}/approve", data={**narrowed, "masks": "id=clear"})
    assert decided.status_code == 303
    done = read(ben.get(place).text).text
    for words in (
        "Narrowed to read for 7 days",
        "Rows id > 1 Masks id clear",
        "Approved until Friday user:olga for administrators",
    ):
        assert words in done
    assert ben.get("/datasets/sales.orders?tab=preview").status_code == 200
    owners = read(olga.get("/datasets/sales.orders?tab=access").text).text
    assert "user:ben read dataset:sales.orders report user:olga" in owners
    assert ben.get(f"{place}.json").json()["data"]["request"]["state"] == "approved"


def test_what_cannot_be_done_comes_back_with_the_reason(person: Person) -> None:
    ben, olga = person(BEN), person(OWNER)
    for form, words in (
        ({"purpose": " "}, "A request needs a purpose."),
        ({"privilege": []}, "No privilege is named."),
        ({"days": "soon"}, "is no number of days"),
        ({"on": "sales.secret"}, "There is no dataset sales.secret."),
        ({"on": "<b>"}, "names nothing that privileges can be granted on"),
    ):
        answer = ask(ben, **{"on": "sales.prices", **form})
        assert answer.status_code in (400, 404)
        page = read(answer.text)
        assert words in page.text
        assert "Ask for access" in page.text
    place = ask(ben, "sales.prices").headers["location"]
    assert "has asked for dataset:sales.prices already" in read(ask(ben, "sales.prices").text).text
    refused = ben.post(f"{place}/approve", data={"privilege": "read"})
    assert (refused.status_code, "Nobody approves his own" in refused.text) == (409, True)
    assert "Nothing is ticked" in olga.post(f"{place}/approve", data={}).text
    assert "A refusal needs a reason" in olga.post(f"{place}/refuse", data={}).text
    assert olga.post(f"{place}/withdraw").status_code == 403
    assert olga.post(f"{place}/refuse", data={"reason": "Use sales.orders."}).status_code == 303
    assert "Use sales.orders." in read(ben.get(place).text).text
    assert ben.post(f"{place}/withdraw").status_code == 409


def test_others_see_nothing_of_it(person: Person) -> None:
    ben, eve = person(BEN), person(EVE)
    place = ask(ben, "sales.prices").headers["location"]
    assert eve.get(place).status_code == eve.post(f"{place}/approve", data={"privilege": "read"}).status_code == 404
    assert "sales.prices" not in eve.get("/access").text
    assert eve.get("/access/requests/nothing").status_code == 404
    elsewhere = ben.post(f"{place}/withdraw", headers={"Origin": "https://elsewhere.example"})
    assert elsewhere.status_code == 403
    assert ben.post(f"{place}/withdraw").status_code == 303


def test_a_page_says_why(person: Person) -> None:
    ben, olga = person(BEN), person(OWNER)
    query = {"principal": BEN, "privilege": "discover", "on": "sales.prices"}
    own = read(ben.get("/access/explain", params=query).text).text
    assert "user:ben may discover dataset:sales.prices" in own
    assert read(olga.get("/access/explain", params=query).text).text.count("granted by") == 1
    other = ben.get("/access/explain", params={**query, "principal": EVE})
    assert (other.status_code, "may not administer" in other.text) == (403, True)
    hidden = ben.get("/access/explain", params={**query, "on": "sales.secret"})
    assert (hidden.status_code, "There is no dataset sales.secret" in hidden.text) == (404, True)


def test_an_owner_sees_and_edits_deputies(person: Person) -> None:
    olga, ben, eve = person(OWNER), person(BEN), person(EVE)
    assert "You have no deputies" in read(olga.get("/access/deputies").text).text
    form = {"deputy": EVE, "duty": "access_requests", "on": "namespace:sales", "days": "9", "reason": "on leave"}
    for wrong, problem in (
        ({"duty": []}, "No duty is ticked"),
        ({"days": "0"}, "for 0 days"),
        ({"starts": "soon"}, "no day to begin on"),
        ({"deputy": OWNER}, "cannot stand in for himself"),
        ({"owner": BEN}, "may not administer the lake"),
    ):
        assert problem in read(olga.post("/access/deputies/add", data={**form, **wrong}).text).text
    assert olga.post("/access/deputies/add", data=form).status_code == 303
    shown = read(eve.get("/access/deputies").text)
    assert "user:olga user:eve access requests namespace:sales" in shown.text
    assert "on leave acting" in shown.text
    assert "user:eve" not in read(ben.get("/access/deputies").text).text
    place = ask(ben, "sales.prices").headers["location"]
    assert place in read(eve.get("/access?show=waiting").text).links
    assert eve.post(f"{place}/approve", data={"privilege": "read"}).status_code == 303
    assert "user:eve , a deputy of user:olga, for administrators" in read(ben.get(place).text).text
    [end] = [one for one in shown.addresses if one.endswith("/end")]
    assert olga.post(end).status_code == 303
    assert "ended" in read(olga.get("/access/deputies").text).text
    assert olga.post("/access/deputies/nothing/end").status_code == 404
    assert olga.post("/access/deputies/add", data={**form, "starts": "2099-01-01"}).status_code == 303
    assert "on leave to come" in read(eve.get("/access/deputies").text).text


def test_a_dataset_of_a_namespace_within_another_has_its_pages(person: Person) -> None:
    olga, place = person(OWNER), "/datasets/sales.europe.orders"
    page = read(olga.get(place).text)
    assert "/namespaces/sales.europe" in page.links
    assert read(olga.get(f"{place}/snapshots/1").text).text.startswith("sales.europe.orders: snapshot 1")
    assert olga.get(f"{place}.json").json()["data"]["name"] == "sales.europe.orders"
    outer = read(olga.get("/namespaces/sales").text)
    assert "/namespaces/sales.europe" in outer.links
    assert "What is sold in Europe." in outer.text
    inner = read(olga.get("/namespaces/sales.europe").text)
    assert "/namespaces/sales" in inner.links
    assert "/namespaces/sales.europe" in read(olga.get("/namespaces?parent=sales").text).links
    counted = {one["state"]: one["count"] for one in olga.get("/.json").json()["data"]["subscriptions"]}
    assert counted == {"in step": 0, "behind": 0, "failed": 0, "waiting": 1}


def test_who_may_only_discover_a_dataset_is_told_no_untruth_and_led_to_the_form(person: Person) -> None:
    ben, place = person(BEN), "/datasets/sales.europe.orders"
    page = read(ben.get(place).text)
    assert "You see no target that follows this dataset" in page.text
    assert "Snapshot 1," in page.text
    assert f"{place}/edit" not in page.links
    refused = ben.get(f"{place}?tab=preview")
    assert refused.status_code == 403
    form = "/access/ask?on=dataset%3Asales.europe.orders&privilege=read"
    assert form in read(refused.text).links
    assert 'value="read" checked' in ben.get(form).text
