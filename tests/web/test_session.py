"""Logging in and out, and who may send forms."""

from __future__ import annotations

import httpx2
import pytest

from cordillera.api.auth import COOKIE
from cordillera.client.lake import Lake
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from tests.web.conftest import PERSON, read


def cookie_flags(response: httpx2.Response) -> set[str]:
    (cookie,) = response.headers.get_list("set-cookie")
    return {part.strip().lower() for part in cookie.split(";")[1:]}


def test_a_stranger_is_led_to_the_login_and_then_where_they_wanted(stranger: httpx2.Client, token: str) -> None:
    sent = stranger.get("/datasets/flights.flights?tab=schema")
    assert sent.status_code == 303
    form = read(stranger.get(sent.headers["location"]).text)
    assert "/datasets/flights.flights?tab=schema" in form.values("input", "value")
    answer = stranger.post("/login", data={"token": f" {token} ", "next": "/datasets/flights.flights?tab=schema"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/datasets/flights.flights?tab=schema"
    assert {"httponly", "samesite=strict", "path=/"} <= cookie_flags(answer)
    assert "secure" not in cookie_flags(answer), "the test's server speaks plain HTTP"
    assert stranger.get(answer.headers["location"]).status_code == 200


def test_the_cookie_stays_on_tls_where_there_is_tls(stranger: httpx2.Client, url: str, token: str) -> None:
    headers = {"X-Forwarded-Proto": "https"}
    answer = stranger.post("/login", data={"token": token}, headers=headers)
    assert "secure" in cookie_flags(answer)


@pytest.mark.parametrize("wrong", ["", "cdl_wrong", "<script>"])
def test_a_wrong_token_is_refused_on_the_form(stranger: httpx2.Client, wrong: str) -> None:
    answer = stranger.post("/login", data={"token": wrong, "next": "/jobs"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    form = read(answer.text)
    assert "alert" in form.values("div", "role")
    assert "/jobs" in form.values("input", "value")
    assert wrong not in form.values("input", "value") or not wrong, "a token is not sent back"


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:1"])
def test_a_login_leads_to_no_other_site(stranger: httpx2.Client, token: str, elsewhere: str) -> None:
    form = read(stranger.get("/login", params={"next": elsewhere}).text)
    assert "/" in form.values("input", "value")
    assert elsewhere not in form.values("input", "value")
    assert stranger.post("/login", data={"token": token, "next": elsewhere}).headers["location"] == "/"


def test_only_who_is_logged_in_sees_the_navigation(stranger: httpx2.Client, pages: httpx2.Client) -> None:
    form = read(stranger.get("/login").text)
    assert [link for link in form.links if link and link != "/"] == []
    assert "This page as JSON" not in form.text
    home = read(pages.get("/").text)
    assert {"/search", "/subscriptions", "/jobs", "/events", "/audit", "/health"} <= set(home.links)
    assert "/logout" in home.values("form", "action")
    assert PERSON in home.text


def test_logging_out_forgets_the_token(stranger: httpx2.Client, token: str) -> None:
    stranger.post("/login", data={"token": token})
    assert stranger.get("/").status_code == 200
    answer = stranger.post("/logout")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login"
    assert {"httponly", "samesite=strict"} <= cookie_flags(answer)
    assert stranger.get("/").status_code == 303


def test_a_token_that_was_revoked_ends_the_session(stranger: httpx2.Client, sample: Lake) -> None:
    made = sample.backend.create_token("short", principal="user:x")
    stranger.cookies.set(COOKIE, made.secret)
    assert stranger.get("/").status_code == 200
    sample.backend.revoke_token(made.token.id)
    assert stranger.get("/").headers["location"] == "/login?next=/"


FORMS = ("/datasets/weather.weather/edit", "/logout", "/login", "/subscriptions/x/pause", "/subscriptions/x/verify")


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_can_send_no_form(
    url: str, token: str, sample: Lake, path: str, headers: dict[str, str]
) -> None:
    before = sample.backend.dataset("weather.weather").dataset
    with httpx2.Client(base_url=url, cookies={COOKIE: token}, trust_env=False, timeout=60) as browser:
        answer = browser.post(path, data={"description": "taken over", "token": token}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert sample.backend.dataset("weather.weather").dataset == before


def test_a_form_without_any_origin_is_refused(url: str, token: str) -> None:
    with httpx2.Client(base_url=url, cookies={COOKIE: token}, trust_env=False, timeout=60) as browser:
        assert browser.post("/datasets/weather.weather/edit", data={}).status_code == 403


def test_without_tokens_nobody_logs_out(sample: Lake) -> None:
    with (
        running_server(create_server(sample.backend.app, insecure_local=True)) as url,
        httpx2.Client(base_url=url, headers={"Accept": "text/html"}, trust_env=False, timeout=60) as browser,
    ):
        home = read(browser.get("/").text)
    assert "/search" in home.links
    assert "/logout" not in home.values("form", "action")


@pytest.mark.parametrize(
    ("referer", "wanted"),
    [
        ("{url}/datasets/flights.flights/edit?x=1", "/datasets/flights.flights/edit?x=1"),
        ("{url}", "/"),
        ("", "/"),
        ("https://evil.example/datasets", "/"),
        ("http://[", "/"),
    ],
)
def test_a_form_sent_after_the_session_has_ended_leads_to_the_login(
    stranger: httpx2.Client, sample: Lake, url: str, token: str, referer: str, wanted: str
) -> None:
    before = sample.backend.dataset("flights.flights").dataset
    stranger.cookies.set(COOKIE, "cdl_expired")
    headers = {"Referer": referer.format(url=url)} if referer else {}
    answer = stranger.post("/datasets/flights.flights/edit", data={"owner": "somebody"}, headers=headers)
    assert answer.status_code == 303
    form = read(stranger.get(answer.headers["location"]).text)
    assert wanted in form.values("input", "value")
    assert sample.backend.dataset("flights.flights").dataset == before
    stranger.cookies.clear()
    assert stranger.post("/login", data={"token": token, "next": wanted}).headers["location"] == wanted


def test_a_program_gets_its_error_as_json(stranger: httpx2.Client) -> None:
    answer = stranger.post("/datasets/flights.flights/edit", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "authentication")
    assert stranger.post("/api/v1/namespaces", json={"name": "x"}).status_code == 401
