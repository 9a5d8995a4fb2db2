"""Programs elsewhere exchange the tokens that their platform signs for them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from starlette.testclient import TestClient

from cordillera.adapters.identity.documents import ProviderDocuments
from cordillera.app import Application, create_lake, open_lake
from cordillera.errors import IdentityProviderError, InvalidInputError
from cordillera.server import create_server
from cordillera.spec.access import Privilege
from cordillera.spec.wanted_grant import WantedGrant
from tests.api.test_auth import LateClock, bearer

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
AUDIENCE, SUBJECT = "https://lake.example.com", "repo:acme/etl:ref:refs/heads/main"


class Platform(ThreadingHTTPServer):
    """An issuer of tokens, with its discovery document and its keys, that notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Documents)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
        self.asked: list[str] = []

    def sign(self, header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
        """Return a token, by default one that is good for ten minutes."""
        now = datetime.now(UTC)
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": SUBJECT,
            "exp": int((now + timedelta(minutes=10)).timestamp()),
        }
        given = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        header = {"alg": "ES256", "kid": "one", **(header or {})}
        return jwt.encode(header, given, key or self.key, ["ES256", "HS256"])


class _Documents(BaseHTTPRequestHandler):
    server: Platform

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        documents: dict[str, Any] = {
            "/.well-known/openid-configuration": {"issuer": self.server.url, "jwks_uri": f"{self.server.url}/keys"},
            "/keys": {"keys": [self.server.key.as_dict(private=False)]},
        }
        body = json.dumps(documents.get(self.path, {})).encode()
        self.send_response(200 if self.path in documents else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with Platform() as platform:
        thread = Thread(target=platform.serve_forever)
        thread.start()
        yield platform
        platform.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def clock() -> LateClock:
    return LateClock()


def _set(folder: Path, platform: Platform, more: str = "") -> None:
    create_lake(folder).close()
    with (folder / "cordillera.toml").open("a") as settings:
        settings.write(f'[[workloads]]\nissuer = "{platform.url}"\naudience = "{AUDIENCE}"\n{more}')
        settings.write(f'[workloads.principals]\n"{SUBJECT}" = "service:etl"\n')


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, platform: Platform, clock: LateClock) -> Iterator[Application]:
    folder = tmp_path_factory.mktemp("workloads") / "lake"
    _set(folder, platform)
    with open_lake(folder, clock) as app:
        app.grants.grant(WantedGrant("service:etl", Privilege.DISCOVER, "lake"))
        yield app


@pytest.fixture(scope="module")
def taking(tmp_path_factory: pytest.TempPathFactory, platform: Platform, clock: LateClock) -> Iterator[Application]:
    """A lake that takes the platform's tokens as they are."""
    folder = tmp_path_factory.mktemp("taking") / "lake"
    _set(folder, platform, "bearer = true\n")
    with open_lake(folder, clock) as app:
        app.grants.grant(WantedGrant("service:etl", Privilege.DISCOVER, "lake"))
        yield app


@pytest.fixture(scope="module")
def client(app: Application) -> TestClient:
    return TestClient(create_server(app), base_url="http://127.0.0.1")


@pytest.fixture(autouse=True)
def on_time(clock: LateClock) -> None:
    clock.late = timedelta()


def exchange(client: TestClient, token: str, kind: str = JWT) -> httpx2.Response:
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": kind}
    return client.post("/iceberg/v1/oauth/tokens", data=form)


def audited(app: Application, action: str) -> list[Any]:
    return [one for one in app.operations.audit(limit=200) if one.action == action]


def test_a_program_gets_a_token_for_as_long_as_its_platform_vouches(
    app: Application, client: TestClient, platform: Platform, clock: LateClock
) -> None:
    issued = exchange(client, platform.sign()).json()
    assert (issued["token_type"], 590 <= issued["expires_in"] <= 600) == ("bearer", True)
    headers = bearer(issued["access_token"])
    who = client.get("/api/v1/session", headers=headers).json()
    assert (who["principal"], who["operator"], who["read_only"]) == ("service:etl", False, False)
    assert client.get("/iceberg/v1/namespaces", headers=headers).status_code == 200
    entry = audited(app, "access.workload")[0]
    assert (entry.principal, entry.details["subject"]) == ("service:etl", SUBJECT)
    assert issued["access_token"] not in str(entry)
    clock.late = timedelta(minutes=10, seconds=1)
    assert client.get("/api/v1/session", headers=headers).status_code == 401
    clock.late = timedelta()
    day = int((datetime.now(UTC) + timedelta(days=1)).timestamp())
    assert exchange(client, platform.sign(exp=day)).json()["expires_in"] == 3600
    app.access.revoke_token(
        next(one.id for one in app.access.tokens(limit=99) if str(one.id) == entry.details["token"])
    )
    assert client.get("/api/v1/session", headers=headers).status_code == 401


NAMELESS = ("another issuer", "an issuer that is longer", "no issuer", "claims without end", "no token")
"""The forgeries that do not say that the platform has signed them."""


def forgeries(platform: Platform) -> dict[str, str]:
    """Return tokens that look as if the platform had signed them for this program."""
    good, now = platform.sign(), int(datetime.now(UTC).timestamp())
    none = urlsafe_b64encode(b'{"alg":"none","kid":"one"}').decode().rstrip("=")
    public = OctKey.import_key(json.dumps(platform.key.as_dict(private=False)))
    other = ECKey.generate_key("P-256", {"kid": "one"})
    return {
        "another issuer": platform.sign(iss="https://evil.example"),
        "an issuer that is longer": platform.sign(iss=f"{platform.url}/"),
        "no issuer": platform.sign(iss=None),
        "another audience": platform.sign(aud="https://other.example.com"),
        "no audience": platform.sign(aud=None),
        "expired": platform.sign(exp=now - 1),
        "no end": platform.sign(exp=None),
        "an end that is none": platform.sign(exp="never"),
        "an end beyond time": platform.sign(exp=10**18),
        "not yet": platform.sign(nbf=now + 300),
        "another program": platform.sign(sub="repo:acme/etl:ref:refs/heads/other"),
        "a part of the name": platform.sign(sub="repo:acme/etl"),
        "no program": platform.sign(sub=None),
        "several programs": platform.sign(sub=[SUBJECT]),
        "another key": platform.sign(key=other),
        "an unknown key": platform.sign({"kid": "two"}),
        "a key by a path": platform.sign({"kid": "../../etc/passwd"}),
        "a key of its own": platform.sign({"jwk": other.as_dict(private=False)}, key=other),
        "a key elsewhere": platform.sign({"jku": "http://127.0.0.1:1/keys"}, key=other),
        "a shared secret": platform.sign({"alg": "HS256"}, key=public),
        "no signature": f"{none}.{good.split('.')[1]}.",
        "a changed signature": good[:-6] + ("AAAAAA" if good[-6:] != "AAAAAA" else "BBBBBB"),
        "claims without end": f"{good.split('.')[0]}.{urlsafe_b64encode(b'[' * 3000).decode().rstrip('=')}.AAAA",
        "no token": "x",
        "no text": "é.é.é",
    }


def test_what_the_platform_has_not_signed_for_this_program_gives_nothing_and_is_noted(
    app: Application, client: TestClient, platform: Platform
) -> None:
    for name, forged in forgeries(platform).items():
        before = len(audited(app, "access.workload_refused"))
        answer = exchange(client, forged)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), name
        assert len(audited(app, "access.workload_refused")) == before + 1, name
    assert set(platform.asked) <= {"/.well-known/openid-configuration", "/keys"}
    assert not [one for one in app.access.tokens(limit=999) if one.principal != "service:etl"]


def test_a_platforms_token_is_no_token_of_the_lakes(app: Application, client: TestClient, platform: Platform) -> None:
    token, before = platform.sign(), len(audited(app, "access.workload_refused"))
    answer = client.get("/api/v1/session", headers=bearer(token))
    assert (answer.status_code, "are not taken as they are" in answer.text) == (401, True)
    assert "/oauth/tokens" in answer.json()["error"]["hint"]
    assert len(audited(app, "access.workload_refused")) == before + 1
    assert exchange(client, token, "urn:ietf:params:oauth:token-type:access_token").status_code == 400


def test_a_platforms_token_is_taken_as_it_is_where_that_is_set(
    taking: Application, platform: Platform, clock: LateClock
) -> None:
    client, token = TestClient(create_server(taking), base_url="http://127.0.0.1"), platform.sign()
    for _ in range(3):
        who = client.get("/api/v1/session", headers=bearer(token)).json()
        assert (who["principal"], who["operator"], who["read_only"]) == ("service:etl", False, False)
    assert client.get("/iceberg/v1/namespaces", headers=bearer(token)).status_code == 200
    assert client.get("/api/v1/audit", headers=bearer(token)).status_code == 403  # it may do what it was granted
    [entry] = audited(taking, "access.workload")
    assert (entry.principal, entry.details["subject"], token in str(entry)) == ("service:etl", SUBJECT, False)
    clock.late = timedelta(minutes=6)  # it is looked at again, and noted
    assert client.get("/api/v1/session", headers=bearer(token)).status_code == 200
    assert len(audited(taking, "access.workload")) == 2
    clock.late = timedelta(minutes=10, seconds=1)  # it has ended, remembered or not
    assert client.get("/api/v1/session", headers=bearer(token)).status_code == 401
    assert taking.access.tokens(limit=9) == []


def test_what_the_platform_has_not_signed_is_not_taken_and_noted_if_it_is_in_its_name(
    taking: Application, platform: Platform
) -> None:
    client = TestClient(create_server(taking), base_url="http://127.0.0.1")
    assert client.get("/api/v1/session", headers=bearer(platform.sign())).status_code == 200
    for name, forged in forgeries(platform).items():
        if not forged.isascii():
            continue  # no header can hold it
        before = len(audited(taking, "access.workload_refused"))
        answer = client.get("/api/v1/session", headers=bearer(forged))
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "authentication"), name
        told = len(audited(taking, "access.workload_refused")) - before
        assert told == (name not in NAMELESS), name


def test_guessing_is_slowed_down(app: Application, platform: Platform) -> None:
    client = TestClient(create_server(app), base_url="http://127.0.0.1")
    answers = [exchange(client, platform.sign(sub="x")).status_code for _ in range(110)]
    assert answers[-1] == 429


def test_without_issuers_nobody_is_trusted(tmp_path: Path, platform: Platform) -> None:
    with create_lake(tmp_path / "lake") as app:
        client = TestClient(create_server(app), base_url="http://127.0.0.1")
        assert "trusts no issuer" in exchange(client, platform.sign()).json()["error_description"]


@pytest.mark.parametrize(
    "wrong",
    [
        '[[workloads]]\nissuer = "http://people.example.com"\naudience = "a"\nprincipals = {x = "service:a"}',
        '[[workloads]]\nissuer = "https://people.example.com"\naudience = ""\nprincipals = {x = "service:a"}',
        '[[workloads]]\nissuer = "https://people.example.com"\naudience = "a"\nprincipals = {x = "user:a"}',
        '[[workloads]]\nissuer = "https://people.example.com"\naudience = "a"\nprincipals = {x = "service:"}',
    ],
)
def test_an_issuer_that_cannot_be_trusted_is_refused(tmp_path: Path, wrong: str) -> None:
    create_lake(tmp_path / "lake").close()
    with (tmp_path / "lake" / "cordillera.toml").open("a") as settings:
        settings.write(wrong)
    with pytest.raises(InvalidInputError):
        open_lake(tmp_path / "lake")


def test_an_issuer_elsewhere_does_not_make_the_lake_ask_itself() -> None:
    issuer = "https://people.example.com"

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.url.host == "people.example.com"
        return httpx2.Response(200, json={"issuer": issuer, "jwks_uri": "http://127.0.0.1:8470/api/v1/lake"})

    documents = ProviderDocuments(issuer, httpx2.MockTransport(answer))
    with pytest.raises(IdentityProviderError, match="safe to use"):
        documents.endpoint("jwks_uri")
