"""What is not there, not allowed or not possible: a page for people, the API's one shape for programs."""

from __future__ import annotations

import httpx2
import pytest

from tests.web.conftest import read

NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("path", "says", "hint"),
    [
        ("/nowhere", "There is no page at /nowhere", "Search"),
        ("/datasets/no.such", "no.such", "cordillera dataset list"),
        ("/datasets/no.such?tab=lineage", "no.such", "cordillera dataset list"),
        ("/datasets/flights.flights_v9", "flights.flights", ""),
        ("/datasets/flights", "There is no page at /datasets/flights", "Search"),
        ("/datasets/no.such/edit", "no.such", "cordillera dataset list"),
        ("/datasets/flights.flights/snapshots/99", "99", ""),
        ("/namespaces/nosuch", "nosuch", ""),
        ("/jobs/no.such", "no.such", ""),
        ("/runs/abc", "There is no run 'abc'", "list of runs"),
        (f"/runs/{NOBODY}", NOBODY, ""),
        ("/subscriptions/abc", "There is no subscription 'abc'", "list of subscriptions"),
        (f"/subscriptions/{NOBODY}", NOBODY, ""),
    ],
)
def test_what_is_not_there_has_a_page_that_says_what_next(
    pages: httpx2.Client, path: str, says: str, hint: str
) -> None:
    response = pages.get(path)
    assert response.status_code == 404
    page = read(response.text)
    assert says in page.text
    assert hint in page.text
    assert {"/", "/search"} <= set(page.links)
    assert response.headers["x-trace-id"] in page.text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/datasets/flights.flights?tab=nope", "Tabs: overview, schema"),
        ("/datasets/flights.flights?tab=snapshots&before=x", "'x' is not a place in this list"),
        ("/datasets/flights.flights/snapshots/-1", "'-1' is not a place"),
        ("/events?before=1e9", "not a place in this list"),
        ("/subscriptions?after=x", "'x' is not an id"),
        ("/subscriptions?state=lazy", "lazy"),
        ("/runs?state=lazy", "lazy"),
    ],
)
def test_what_cannot_be_understood_says_so(pages: httpx2.Client, path: str, says: str) -> None:
    response = pages.get(path)
    assert response.status_code == 400
    assert says in read(response.text).text


@pytest.mark.parametrize("path", ["/nowhere.json", "/datasets/no.such.json", "/runs/abc.json"])
def test_a_program_gets_an_error_in_the_one_shape(pages: httpx2.Client, path: str) -> None:
    response = pages.get(path)
    assert response.status_code == 404
    assert set(response.json()["error"]) >= {"code", "message", "hint", "trace_id"}
    assert pages.get("/api/v1/datasets/no.such").json()["error"]["code"] == "dataset_not_found"


def test_an_address_is_shown_as_text(pages: httpx2.Client) -> None:
    response = pages.get("/<img src=x onerror=alert(1)>")
    assert response.status_code == 404
    assert not [tag for tag, _ in read(response.text).tags if tag == "img"]


def test_a_method_that_a_page_does_not_have(pages: httpx2.Client) -> None:
    response = pages.post("/search")
    assert response.status_code == 405
    assert "POST is not possible at /search" in read(response.text).text


def test_a_bug_becomes_a_page_without_details(pages: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from cordillera.client.local import LocalBackend

    def fail(self: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(LocalBackend, "info", fail)
    response = pages.get("/health")
    assert response.status_code == 500
    assert "secret detail" not in response.text
    assert response.headers["x-trace-id"] in response.text
