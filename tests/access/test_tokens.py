"""Tokens that get a new secret, and tokens with which nothing can be changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from cordillera.app import Application, create_lake
from cordillera.context import acting
from cordillera.errors import AuthenticationError, InvalidInputError, NotFoundError
from cordillera.ports.credentials import StorageCredentials
from cordillera.server import create_server
from cordillera.spec.access import Privilege
from cordillera.spec.wanted_grant import WantedGrant
from tests.api.test_auth import LateClock, bearer
from tests.api.test_errors import shape_of


@pytest.fixture
def clock() -> LateClock:
    return LateClock()


@pytest.fixture
def app(tmp_path: Path, clock: LateClock) -> Iterator[Application]:
    with create_lake(tmp_path / "lake", clock=clock) as app:
        yield app


def works(app: Application, secret: str) -> bool:
    try:
        return bool(app.access.authenticate(secret))
    except AuthenticationError:
        return False


# --- new secrets ----------------------------------------------------------------------------------------------------


def test_an_old_secret_is_good_for_a_while(app: Application, clock: LateClock) -> None:
    old = app.access.create_token("etl", principal="service:etl", days=30)
    access = app.access.issue("etl", old.secret)
    clock.late = timedelta(days=20)
    new = app.access.rotate_token(old.token.id, keep_hours=2)
    assert new.token.id == old.token.id
    assert new.secret != old.secret
    assert works(app, old.secret)
    assert works(app, new.secret)
    assert app.access.issue("etl", old.secret).expires_in == 3600
    clock.late += timedelta(hours=2)
    assert not works(app, old.secret)
    assert works(app, new.secret)
    assert not works(app, access.secret), "it lasted an hour anyway"
    clock.late += timedelta(days=29, hours=21)
    assert works(app, new.secret)
    clock.late += timedelta(hours=2)
    assert not works(app, new.secret), "it lasts as long as the first was meant to"
    entry = next(one for one in app.operations.audit() if one.action == "token.rotate")
    assert (entry.object_name, entry.details) == ("etl", {"principal": "service:etl"})


def test_an_old_secret_can_end_at_once_and_ends_with_the_next(app: Application) -> None:
    first = app.access.create_token("a", days=None)
    second = app.access.rotate_token(first.token.id)
    assert second.token.expires_at is None
    third = app.access.rotate_token(first.token.id)
    assert [works(app, one.secret) for one in (first, second, third)] == [False, True, True]
    fourth = app.access.rotate_token(first.token.id, keep_hours=0)
    assert [works(app, one.secret) for one in (second, third, fourth)] == [False, False, True]
    app.access.revoke_token(first.token.id)
    assert not works(app, fourth.secret)


def test_an_old_secret_lives_no_longer_than_it_would_have(app: Application, clock: LateClock) -> None:
    old = app.access.create_token("a", days=1)
    clock.late = timedelta(hours=23)
    app.access.rotate_token(old.token.id, keep_hours=24)
    clock.late = timedelta(hours=24)
    assert not works(app, old.secret)


def test_a_new_secret_is_another_signing_key(app: Application) -> None:
    made = app.access.create_token("a").token
    before = app.access.signing_key(made.id)
    app.access.rotate_token(made.id)
    after = app.access.signing_key(made.id)
    assert after.access_key_id == before.access_key_id
    assert after.secret_access_key != before.secret_access_key


def test_who_may_give_a_token_a_new_secret(app: Application) -> None:
    app.grants.grant(WantedGrant("user:admin", Privilege.ADMINISTER, "lake"))
    token = app.access.create_token("a", principal="user:ana").token
    for allowed in ("user:ana", "user:admin"):
        with acting(allowed):
            assert app.access.rotate_token(token.id).token.principal == "user:ana"
    with acting("user:ben"), pytest.raises(NotFoundError):
        app.access.rotate_token(token.id)
    with pytest.raises(NotFoundError):
        app.access.rotate_token(uuid4())
    for hours in (-1, 721):
        with pytest.raises(InvalidInputError):
            app.access.rotate_token(token.id, keep_hours=hours)


def test_hashes_are_nobodys_business(app: Application) -> None:
    made = app.access.create_token("a", principal="user:ana")
    client = TestClient(create_server(app), base_url="http://127.0.0.1", headers=bearer(made.secret))
    answer = client.post(f"/api/v1/tokens/{made.token.id}/rotate", json={"keep_hours": 5}).json()
    assert (answer["token"]["hash"], answer["token"]["previous_hash"]) == ("", None)
    assert works(app, answer["secret"])
    assert made.token.hash not in client.get("/api/v1/tokens").text


# --- for reading alone ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Return a client with a token for reading, of somebody who may do everything."""
    with create_lake(tmp_path_factory.mktemp("reading") / "lake") as app:
        yield from _reading(app)


def _reading(app: Application) -> Iterator[TestClient]:
    app.grants.grant(WantedGrant("user:admin", Privilege.ADMINISTER, "lake"))
    secret = app.access.create_token("reading", principal="user:admin", read_only=True).secret
    app.namespaces.create("sales", properties={"a": "b"})
    with TestClient(create_server(app), base_url="http://127.0.0.1", headers=bearer(secret)) as client:
        yield client


READS = {
    "/api/v1/query",
    "/api/v1/datasets/{name}/rows/explanation",
    "/api/v1/datasets/{name}/rows/deletion-explanation",
    "/api/v1/datasets/{name}/merges/explanation",
    "/iceberg/v1/namespaces/{namespace}/tables/{table}/plan",
    "/iceberg/v1/namespaces/{namespace}/tables/{table}/tasks",
    "/iceberg/v1/namespaces/{namespace}/tables/{table}/metrics",
    "/iceberg/v1/namespaces/{namespace}/tables/{table}/sign",
    "/iceberg/v1/oauth/tokens",
    "/login",
    "/login/terminal",
    "/api/v1/session/code",
    "/api/v1/session/end",
    "/logout",
}


def routes(server: Any) -> Iterator[tuple[str, str]]:
    pending = list(server.routes)
    while pending:
        route = pending.pop()
        if isinstance(route, APIRoute):
            yield from ((method, route.path) for method in route.methods)
        pending += getattr(route, "routes", None) or []


def test_nothing_can_be_changed_by_any_route(reading: TestClient) -> None:
    schema = reading.app.openapi()
    described = {(method.upper(), path) for path, methods in schema["paths"].items() for method in methods}
    found = {*described, *routes(reading.app)}
    assert len(found) > 100
    for method, path in sorted(found):
        if method in ("GET", "HEAD") or path in READS or path.endswith(".json"):
            continue
        address = path
        while "{" in address:
            before, _, rest = address.partition("{")
            address = f"{before}sales.x{rest.partition('}')[2]}"
        answer = reading.request(method, address, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 403, (method, path, answer.text)
        assert "is for reading" in answer.text, (method, path, answer.text)


def test_what_only_reads_is_done(reading: TestClient) -> None:
    assert reading.get("/api/v1/namespaces/sales").json()["properties"] == {"a": "b"}
    assert reading.post("/api/v1/query", json={"sql": "SELECT 1 AS one"}).json()["rows"] == [{"one": 1}]
    assert reading.get("/iceberg/v1/namespaces").status_code == 200
    assert reading.get("/api/v1/tokens").json()["items"][0]["read_only"] is True


def test_what_stands_for_the_token_reads_too(reading: TestClient) -> None:
    secret = reading.headers["authorization"].removeprefix("Bearer ")
    form = {"grant_type": "client_credentials", "client_id": "reading", "client_secret": secret}
    access = reading.post("/iceberg/v1/oauth/tokens", data=form).json()["access_token"]
    for token in (access, secret):
        answer = reading.post("/api/v1/namespaces", json={"name": "x"}, headers=bearer(token))
        shape_of(answer, 403, "access_denied")
    shape_of(reading.post("/api/v1/tokens", json={"name": "mine"}), 403, "access_denied")


class Vendor:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.wrote: list[bool] = []

    def vend(self, prefix: str, holder: str, *, write: bool) -> StorageCredentials:
        self.wrote.append(write)
        return StorageCredentials(prefix, "a", "b", "c", datetime.now(UTC))


def test_credentials_for_files_are_for_reading_too(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = Vendor()
    monkeypatch.setattr(app.credentials, "_vendor", vendor)
    app.namespaces.create("sales", owner="user:ana")
    for read_only in (False, True):
        with acting("user:ana", read_only=read_only):
            app.credentials.for_staged("sales.new", "s3://x/y")
            with acting(operator=False):
                app.credentials.for_staged("sales.new", "s3://x/y")
    assert vendor.wrote == [True, True, False, False]
