"""What can be changed on pages."""

from __future__ import annotations

import duckdb
import httpx2
import pytest

from cordillera.client.lake import Lake
from tests.web.conftest import PERSON, read
from tests.web.sample_lake import SCRIPT

EDITED = "flights.delays"


def test_the_form_holds_what_is_there(pages: httpx2.Client) -> None:
    form = read(pages.get("/datasets/flights.flights/edit").text)
    assert "team-departures" in form.values("input", "value")
    assert "departures" in form.values("input", "value")
    assert SCRIPT in form.text


def test_owner_description_and_tags_are_stored(pages: httpx2.Client, sample: Lake) -> None:
    sent = {
        "owner": " team-late ",
        "description": " Mean delay.\r\n\r\n<b>By carrier</b> ",
        "tags": "daily, late  report",
    }
    answer = pages.post(f"/datasets/{EDITED}/edit", data=sent)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/datasets/{EDITED}"
    stored = sample.backend.dataset(EDITED).dataset
    assert stored.owner == "team-late"
    assert stored.description == "Mean delay.\n\n<b>By carrier</b>"
    assert set(stored.tags) == {"daily", "late", "report"}
    shown = pages.get(answer.headers["location"])
    assert "&lt;b&gt;By carrier&lt;/b&gt;" in shown.text
    assert sample.backend.audit(object_name=EDITED, limit=1)[0].principal == PERSON
    found = pages.get("/search.json", params={"q": "carrier", "tag": "late"}).json()["data"]
    assert [hit["dataset"]["name"] for hit in found["hits"]["items"]] == ["delays"]


def test_everything_can_be_emptied(pages: httpx2.Client, sample: Lake) -> None:
    assert pages.post("/datasets/weather.weather_v2/edit", data={"owner": "team-sky"}).status_code == 303
    stored = sample.backend.dataset("weather.weather").dataset
    assert (stored.owner, stored.description, stored.tags) == ("team-sky", "", ())
    assert "No description yet" in pages.get("/datasets/weather.weather").text


@pytest.mark.parametrize("tags", ["UPPER", "<b>", "ok, -not-"])
def test_what_cannot_be_stored_comes_back_as_it_was_typed(pages: httpx2.Client, sample: Lake, tags: str) -> None:
    before = sample.backend.dataset(EDITED).dataset
    sent = {"owner": "team-new", "description": "typed at </textarea> length", "tags": tags}
    answer = pages.post(f"/datasets/{EDITED}/edit", data=sent)
    assert answer.status_code == 400
    form = read(answer.text)
    assert "alert" in form.values("div", "role")
    assert {"team-new", tags} <= set(form.values("input", "value"))
    assert sent["description"] in form.text
    assert sample.backend.dataset(EDITED).dataset == before


def test_editing_what_is_not_there(pages: httpx2.Client) -> None:
    assert pages.post("/datasets/no.such/edit", data={"owner": "x"}).status_code == 404


def test_a_target_that_drifted_is_shown_and_repaired(pages: httpx2.Client, sample: Lake) -> None:
    (status,) = sample.dataset("flights.flights").subscriptions()
    place, target = f"/subscriptions/{status.subscription.id}", sample.backend.target("warehouse")
    assert f"{place}/repair" not in read(pages.get(place).text).values("form", "action")
    with duckdb.connect(target.config["path"]) as connection:
        connection.execute("UPDATE flights SET dep_delay = 999 WHERE flight = (SELECT min(flight) FROM flights)")
    assert "Columns that differ : dep_delay" in read(pages.post(f"{place}/verify").text).text
    page = read(pages.get(place).text)
    assert "The target has drifted" in page.text
    assert f"{place}/repair" in page.values("form", "action")
    assert "drifted" in read(pages.get("/subscriptions").text).text
    assert "equal" in read(pages.post(f"{place}/repair").text).text
    assert f"{place}/repair" not in read(pages.get(place).text).values("form", "action")


def test_a_subscription_is_verified_paused_and_resumed(pages: httpx2.Client, sample: Lake) -> None:
    (status,) = sample.dataset("flights.flights").subscriptions()
    place = f"/subscriptions/{status.subscription.id}"
    page = read(pages.get(place).text)
    assert {f"{place}/verify", f"{place}/pause"} <= set(page.values("form", "action"))
    verified = pages.post(f"{place}/verify")
    assert verified.status_code == 200
    assert "Verified as of snapshot 4 equal" in read(verified.text).text
    assert "equal as of snapshot 4" in read(pages.get(place).text).text
    paused = pages.post(f"{place}/pause")
    assert (paused.status_code, paused.headers["location"]) == (303, place)
    page = read(pages.get(place).text)
    assert f"{place}/resume" in page.values("form", "action")
    assert f"{place}/pause" not in page.values("form", "action")
    assert pages.get(f"{place}.json").json()["data"]["subscription"]["state"] == "paused"
    assert pages.post(f"{place}/resume").status_code == 303
    assert pages.get(f"{place}.json").json()["data"]["subscription"]["state"] == "live"
    sample.run_pending()


def test_a_contract_is_checked_before_it_is_put(pages: httpx2.Client, sample: Lake) -> None:
    place = "/datasets/flights.delays/contract/edit"
    draft = sample.backend.draft_contract("flights.delays")
    form = read(pages.get(place).text)
    assert "No contract is in force" in form.text
    assert draft.splitlines()[0] in form.text
    wrong = read(pages.post(place, data={"text": "apiVersion: v3.1.0\nkind: <b>", "step": "check"}).text)
    assert "What is wrong" in wrong.text
    assert "kind: <b>" in wrong.text
    assert pages.post(place, data={"text": "kind: <b>", "step": "put"}).status_code == 400
    sent = {"text": draft.replace("\n", "\r\n"), "step": "put"}
    assert pages.post(place, data=sent).headers["location"] == "/datasets/flights.delays?tab=contract"
    assert sample.backend.contract("flights.delays").text == draft, "browsers end lines otherwise"
    checked = read(pages.post(place, data={"text": draft.replace("status: active", "status: draft") + "\nx: 1\n"}).text)
    assert "What it changes" in checked.text or "promises the same" in checked.text


def test_a_proposal_is_made_acknowledged_and_withdrawn(pages: httpx2.Client, sample: Lake) -> None:
    place, contract = "/datasets/flights.flights/contract", sample.backend.contract("flights.flights").text
    (status,) = sample.dataset("flights.flights").subscriptions()
    consumer = status.subscription.on_behalf_of or status.subscription.created_by
    less = contract.replace("status: active", "status: retired")
    assert less != contract
    checked = read(pages.post(f"{place}/edit", data={"text": less, "step": "check"}).text)
    assert "Ask those whom it concerns" in checked.text
    put = pages.post(f"{place}/edit", data={"text": less, "step": "put"})
    assert put.status_code == 409
    assert "takes back what 1 consumer relies on" in read(put.text).text
    refused = pages.post(f"{place}/edit", data={"text": less, "step": "propose", "days": "x", "reason": "why"})
    assert (refused.status_code, "no number of days" in refused.text) == (400, True)
    sent = {"text": less, "step": "propose", "reason": "It is <b>not</b> kept any more."}
    assert pages.post(f"{place}/edit", data=sent).status_code == 303
    (made, *_) = sample.backend.contract_proposals("flights.flights")
    tab = read(pages.get("/datasets/flights.flights?tab=contract").text)
    decisions = tab.values("form", "action")
    assert f"{place}/proposals/{made.id}/override" in decisions
    assert f"{place}/proposals/{made.id}/acknowledge" not in decisions, f"it waits for {consumer}"
    assert "It is <b>not</b> kept any more." in tab.text
    assert pages.post(f"{place}/proposals/{made.id}/acknowledge").status_code == 403
    assert pages.post(f"{place}/proposals/{made.id}/sing").status_code == 400
    assert pages.post(f"{place}/proposals/none/withdraw").status_code == 404
    assert pages.post(f"{place}/proposals/{made.id}/withdraw", data={"reason": "no"}).status_code == 303
    assert sample.backend.contract("flights.flights").text == contract
