"""Access tokens for client credentials."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from starlette.testclient import TestClient

from cordillera.access.service import NewToken
from cordillera.access.signed_tokens import Signer
from cordillera.app import Application, create_lake
from cordillera.catalog.lake_keys import new_key, usable_keys
from cordillera.server import create_server
from cordillera.spec.access import Privilege
from cordillera.spec.lake_key import KeyPurpose
from cordillera.spec.wanted_grant import WantedGrant
from tests.api.iceberg_rest.test_commits import refused
from tests.api.test_auth import LateClock, bearer

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@pytest.fixture
def made(app: Application) -> Iterator[NewToken]:
    app.grants.grant(WantedGrant("user:engine", Privilege.ADMINISTER, "lake"))
    made = app.access.create_token(f"engine ü+% {uuid4()}", principal="user:engine")
    yield made
    app.access.revoke_token(made.token.id)


def ask(client: httpx2.Client, **form: str) -> httpx2.Response:
    return client.post("/iceberg/v1/oauth/tokens", data=form)


def credentials(made: NewToken, client_id: str = "") -> dict[str, str]:
    name = client_id or str(made.token.id)
    return {"grant_type": "client_credentials", "client_id": name, "client_secret": made.secret, "scope": "catalog"}


def not_given(answer: httpx2.Response, problem: str, status: int) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, problem)
    assert answer.json()["error_description"]
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_credentials_give_an_access_token(anonymous: httpx2.Client, app: Application, made: NewToken) -> None:
    for name in (str(made.token.id), made.token.name):
        answer = ask(anonymous, **credentials(made, name))
        assert answer.headers["cache-control"] == "no-store"
        issued = answer.json()
        assert (issued["token_type"], issued["expires_in"]) == ("bearer", 3600)
        assert made.secret not in answer.text
        headers = bearer(issued["access_token"])
        assert anonymous.get("/iceberg/v1/namespaces", headers=headers).status_code == 200
        assert anonymous.get("/api/v1/lake", headers=headers).status_code == 200
        namespace = f"t{uuid4().hex[:12]}"
        anonymous.post("/iceberg/v1/namespaces", headers=headers, json={"namespace": [namespace]})
        assert app.namespaces.get(namespace).owner == "user:engine"


def test_credentials_may_come_in_a_header(anonymous: httpx2.Client, made: NewToken) -> None:
    from urllib.parse import quote_plus

    for name in (str(made.token.id), quote_plus(made.token.name)):
        basic = b64encode(f"{name}:{made.secret}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}
        form = {"grant_type": "client_credentials"}
        assert anonymous.post("/iceberg/v1/oauth/tokens", data=form, headers=headers).status_code == 200
    for wrong in ("Basic ???", "Basic " + b64encode(b"no colon").decode(), "Basic /w==", "Bearer x"):
        headers = {"Authorization": wrong}
        not_given(anonymous.post("/iceberg/v1/oauth/tokens", data=form, headers=headers), "invalid_request", 400)


def test_wrong_credentials_give_none(anonymous: httpx2.Client, app: Application, made: NewToken) -> None:
    other = app.access.create_token(f"other {uuid4()}")
    good = credentials(made)
    for wrong in (
        {"client_secret": "cdl_wrong"},
        {"client_secret": "wrong"},
        {"client_secret": other.secret},
        {"client_id": str(other.token.id)},
        {"client_id": "ü"},
    ):
        not_given(ask(anonymous, **{**good, **wrong}), "invalid_client", 401)
    for missing in ("client_id", "client_secret", "grant_type"):
        not_given(
            ask(anonymous, **{name: text for name, text in good.items() if name != missing}), "invalid_request", 400
        )
    not_given(ask(anonymous, grant_type="password"), "unsupported_grant_type", 400)
    not_given(anonymous.post("/iceberg/v1/oauth/tokens", json=good), "invalid_request", 400)
    access = ask(anonymous, **good).json()["access_token"]
    not_given(ask(anonymous, **{**good, "client_secret": access}), "invalid_client", 401)


def test_an_access_token_can_be_renewed(anonymous: httpx2.Client, app: Application, made: NewToken) -> None:
    for subject in (ask(anonymous, **credentials(made)).json()["access_token"], made.secret):
        issued = ask(anonymous, grant_type=EXCHANGE, subject_token=subject)
        assert issued.json()["issued_token_type"].endswith(":access_token")
        assert app.access.authenticate(issued.json()["access_token"]) == "user:engine"
    not_given(ask(anonymous, grant_type=EXCHANGE, subject_token="x.y.z"), "invalid_grant", 400)
    not_given(ask(anonymous, grant_type=EXCHANGE), "invalid_request", 400)
    not_given(ask(anonymous, grant_type=EXCHANGE, subject_token=made.secret, actor_token="x"), "invalid_request", 400)


def test_revoking_ends_access_tokens(anonymous: httpx2.Client, app: Application) -> None:
    made = app.access.create_token(f"short-lived {uuid4()}")
    access = ask(anonymous, **credentials(made)).json()["access_token"]
    assert anonymous.get("/iceberg/v1/namespaces", headers=bearer(access)).status_code == 200
    app.access.revoke_token(made.token.id)
    refused(anonymous.get("/iceberg/v1/namespaces", headers=bearer(access)), "NotAuthorizedException", 401)
    not_given(ask(anonymous, grant_type=EXCHANGE, subject_token=access), "invalid_grant", 400)


def test_access_tokens_end(tmp_path: Path) -> None:
    clock = LateClock()
    with create_lake(tmp_path / "lake", clock=clock) as app:
        client = TestClient(create_server(app), base_url="http://127.0.0.1")
        long, short = app.access.create_token("long", days=None), app.access.create_token("short", days=1)
        access = app.access.issue("long", long.secret)
        assert client.get("/iceberg/v1/namespaces", headers=bearer(access.secret)).status_code == 200
        clock.late = timedelta(minutes=61)
        assert client.get("/iceberg/v1/namespaces", headers=bearer(access.secret)).status_code == 401
        clock.late = timedelta(hours=23, minutes=30)
        assert 1790 < app.access.issue("short", short.secret).expires_in <= 1800
        assert "cdl_" not in repr(access)
        assert access.secret not in repr(access)


def test_a_token_that_the_lake_has_not_signed_for_itself_is_refused(
    anonymous: httpx2.Client, app: Application, made: NewToken
) -> None:
    good = ask(anonymous, **credentials(made)).json()["access_token"]
    (stored,) = usable_keys(app.store, app.clock, KeyPurpose.ACCESS_TOKENS)
    key, another = stored.secret, replace(stored, secret="another key " * 3)
    until, token = datetime.now(UTC) + timedelta(hours=1), made.token
    claims = jwt.decode(good, OctKey.import_key(key), ["HS256"]).claims

    def signed(header: dict[str, str] | None = None, **changes: object) -> str:
        given = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return jwt.encode(header or {"alg": "HS256"}, given, OctKey.import_key(key), ["HS256", "HS512"])

    none = b64encode(b'{"alg":"none"}').decode().rstrip("=")
    unsigned = f"{none}.{good.split('.')[1]}."
    assert app.access.authenticate(signed()) == "user:engine"
    for wrong in (
        good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
        unsigned,
        Signer([another], app.lake().id).sign(token.id, token.principal, until),
        Signer([replace(stored, id=uuid4())], app.lake().id).sign(token.id, token.principal, until),
        Signer([stored], uuid4()).sign(token.id, token.principal, until),
        Signer([stored], app.lake().id).sign(uuid4(), token.principal, until),
        signed({"alg": "HS256", "kid": "../../key"}),
        signed({"alg": "HS256", "kid": ""}),
        signed({"alg": "HS512"}),
        signed(iss="somebody"),
        signed(aud=None),
        signed(exp=None),
        signed(exp=1),
        signed(exp="never"),
        signed(token=None),
        signed(token=["x"]),
        "a.b.c",
        "é" * 9,
    ):
        headers = {"Authorization": f"Bearer {wrong}".encode()}
        refused(anonymous.get("/iceberg/v1/namespaces", headers=headers), "NotAuthorizedException", 401)


def test_the_key_is_made_once(tmp_path: Path) -> None:
    with create_lake(tmp_path / "lake") as app:
        made = app.access.create_token("engine")
        first = app.access.issue("engine", made.secret)
        with app.store.write() as tx:
            assert not tx.signing_keys.insert(new_key(KeyPurpose.ACCESS_TOKENS, app.clock))
        assert len(usable_keys(app.store, app.clock, KeyPurpose.ACCESS_TOKENS)) == 1
        assert app.access.authenticate(first.secret) == made.token.principal
