"""Who is let in, and what a browser may do in somebody's name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from cordillera.api.auth import COOKIE, is_loopback
from cordillera.app import Application, create_lake
from cordillera.context import local_principal
from cordillera.errors import InvalidConfigurationError
from cordillera.server import create_server
from tests.api.test_errors import shape_of
from tests.tokens import administrators_token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/lake",
        "/api/v1/openapi.json",
        "/metrics",
        "/",
        "/api/v1/nowhere",
        "/staticfiles",
        "/healthz/",
        "//login",
    ],
)
def test_everything_needs_a_token(anonymous: httpx2.Client, path: str) -> None:
    response = anonymous.get(path)
    shape_of(response, 401, "authentication")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_for_everybody(anonymous: httpx2.Client, path: str) -> None:
    assert anonymous.get(path).status_code == 200


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer cdl_wrong", "Basic dTpw", "cdl_x", "Bearer cdl_" + "x" * 5000, "Bearer ä"]
)
def test_a_token_that_is_none_is_refused(anonymous: httpx2.Client, value: str) -> None:
    headers = {"Authorization": value.encode("latin-1")}
    response = anonymous.get("/api/v1/lake", headers=headers)
    shape_of(response, 401, "authentication")
    assert "wrong" not in response.text


def test_a_token_is_good_until_it_is_revoked(app: Application, anonymous: httpx2.Client) -> None:
    made = app.access.create_token("short-lived", principal="user:x")
    assert anonymous.get("/api/v1/lake", headers=bearer(made.secret)).status_code == 200
    assert anonymous.get("/api/v1/lake", headers={"Authorization": f"bearer  {made.secret}"}).status_code == 200
    app.access.revoke_token(made.token.id)
    shape_of(anonymous.get("/api/v1/lake", headers=bearer(made.secret)), 401, "authentication")


class LateClock:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.late = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.late

    def new_id(self):
        from uuid import uuid4

        return uuid4()


def test_a_token_expires(tmp_path: Path) -> None:
    clock = LateClock()
    with create_lake(tmp_path / "lake", clock=clock) as app:
        secret = app.access.create_token("x", days=1).secret
        client = TestClient(create_server(app), base_url="http://localhost")
        assert client.get("/api/v1/lake", headers=bearer(secret)).status_code == 200
        clock.late = timedelta(days=1)
        shape_of(client.get("/api/v1/lake", headers=bearer(secret)), 401, "authentication")


def test_the_hash_of_a_token_is_nobodys_business(http: httpx2.Client) -> None:
    made = http.post("/tokens", json={"name": "hashless"}).json()
    assert made["token"]["hash"] == ""
    assert made["secret"].startswith("cdl_")
    listed = http.get("/tokens").json()["items"]
    assert {token["hash"] for token in listed} == {""}
    assert made["secret"] not in http.get("/tokens").text


# --- browsers -------------------------------------------------------------------------------------------------------


def test_a_cookie_is_as_good_as_a_header_for_reading(url: str, token: str) -> None:
    with httpx2.Client(base_url=url, cookies={COOKIE: token}, trust_env=False, timeout=60) as browser:
        assert browser.get("/api/v1/lake").status_code == 200
    with httpx2.Client(base_url=url, cookies={COOKIE: "cdl_wrong"}, trust_env=False, timeout=60) as browser:
        shape_of(browser.get("/api/v1/lake"), 401, "authentication")


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Origin": "{url}"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
    ],
)
def test_only_this_servers_pages_may_change_things_with_a_cookie(
    url: str, token: str, headers: dict[str, str], allowed: bool
) -> None:
    sent = {name: value.format(url=url) for name, value in headers.items()}
    with httpx2.Client(base_url=url, cookies={COOKIE: token}, headers=sent, trust_env=False, timeout=60) as browser:
        response = browser.delete("/api/v1/namespaces/nowhere")
    if allowed:
        shape_of(response, 404, "namespace_not_found")
    else:
        shape_of(response, 403, "access_denied")


def test_a_person_is_led_to_the_login_page(anonymous: httpx2.Client) -> None:
    response = anonymous.get("/datasets?q=a&b", headers={"Accept": "text/html,*/*"})
    assert response.status_code == 303
    assert response.headers["location"] == "/login?next=/datasets%3Fq%3Da%26b"
    shape_of(anonymous.get("/api/v1/lake", headers={"Accept": "text/html"}), 401, "authentication")
    sent = anonymous.post("/datasets", headers={"Accept": "text/html"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/"), "a form cannot be sent once more"
    shape_of(anonymous.post("/datasets", headers={"Accept": "application/json"}), 401, "authentication")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "", "[", "a b"])
def test_a_loopback_server_answers_to_no_other_name(anonymous: httpx2.Client, token: str, host: str) -> None:
    response = anonymous.get("/api/v1/lake", headers={"Host": host, **bearer(token)})
    assert response.status_code == 400
    response = anonymous.get("/healthz", headers={"Host": host})
    assert response.status_code == 400


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:8470", "LOCALHOST:8470"])
def test_a_loopback_server_answers_to_its_names(anonymous: httpx2.Client, token: str, host: str) -> None:
    assert anonymous.get("/api/v1/lake", headers={"Host": host, **bearer(token)}).status_code == 200


# --- without tokens -------------------------------------------------------------------------------------------------


@pytest.fixture
def open_door(app: Application) -> Iterator[TestClient]:
    with TestClient(create_server(app, insecure_local=True), base_url="http://127.0.0.1:8470") as client:
        yield client


def test_an_open_door_lets_the_local_user_in(open_door: TestClient, app: Application) -> None:
    assert open_door.get("/api/v1/lake").status_code == 200
    assert open_door.post("/api/v1/namespaces", json={"name": "by_local_user"}).json()["owner"] == local_principal()
    shape_of(open_door.get("/api/v1/lake", headers=bearer("cdl_wrong")), 401, "authentication")
    named = administrators_token(app, "user:named")
    made = open_door.post("/api/v1/namespaces", json={"name": "by_named_user"}, headers=bearer(named))
    assert made.json()["owner"] == "user:named"


def test_an_open_door_is_closed_to_other_sites(open_door: TestClient) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        response = open_door.post("/api/v1/targets/x/check", headers=headers)
        shape_of(response, 403, "access_denied")
    shape_of(open_door.get("/api/v1/lake", headers={"Host": "evil.example"}), 400, "invalid_input")


def test_a_door_is_never_open_to_the_network(app: Application) -> None:
    for host in ("0.0.0.0", "::", "192.168.0.1", "lake.example", ""):
        with pytest.raises(InvalidConfigurationError):
            create_server(app, host=host, insecure_local=True)
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))


def test_a_server_on_the_network_answers_to_any_name(app: Application, token: str) -> None:
    client = TestClient(create_server(app, host="0.0.0.0"), base_url="http://lake.example")
    assert client.get("/api/v1/lake", headers=bearer(token)).status_code == 200
    shape_of(client.get("/api/v1/lake"), 401, "authentication")
