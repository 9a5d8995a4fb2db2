"""Engines that sign their requests to the Iceberg REST catalog (AWS Signature Version 4)."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pyarrow as pa
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from pyiceberg.exceptions import ForbiddenError, UnauthorizedError

from cordillera.access.service import SigningKey
from cordillera.app import Application, create_lake
from cordillera.client import Lake, connect
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import NotFoundError
from cordillera.server import create_server
from cordillera.spec.access import Privilege
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.testing.running_server import running_server
from tests.interop.rest_engines import PyIceberg
from tests.tokens import administrators_token

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])


class SigningPyIceberg(PyIceberg):
    """PyIceberg with an access key."""

    def credentials(self, url: str, token: str) -> dict[str, str]:
        key, _, secret = token.partition(":")
        return {
            "rest.sigv4-enabled": "true",
            "rest.signing-region": "local",
            "rest.signing-name": "execute-api",
            "client.access-key-id": key,
            "client.secret-access-key": secret,
        }


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with create_lake(tmp_path_factory.mktemp("signed") / "lake") as app:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("sales")
        lake.create_dataset("sales.people", SCHEMA, key=["id"], format_version=2)
        app.grants.grant(WantedGrant("user:engine", Privilege.READ, "namespace:sales"))
        app.grants.grant(WantedGrant("user:engine", Privilege.WRITE, "namespace:sales"))
        yield app


@pytest.fixture(scope="module")
def url(app: Application) -> Iterator[str]:
    with running_server(create_server(app)) as url:
        yield url


@pytest.fixture(scope="module")
def key(app: Application) -> SigningKey:
    return app.access.signing_key(app.access.create_token("engine", principal="user:engine").token.id)


def engine(url: str, key: SigningKey) -> SigningPyIceberg:
    return SigningPyIceberg(url, f"{key.access_key_id}:{key.secret_access_key}")


def test_pyiceberg_signs_what_it_asks(app: Application, url: str, key: SigningKey) -> None:
    signing = engine(url, key)
    assert signing.tables("sales") == ["people"]
    signing.append("sales.people", pa.table({"id": [1], "name": ["ä"]}, schema=SCHEMA))
    assert signing.read("sales.people") == [{"id": 1, "name": "ä"}]
    newest = app.catalog.snapshots("sales.people")[0]
    assert newest.principal == "user:engine"
    (token,) = [one for one in app.access.tokens() if one.name == "engine"]
    assert token.last_used_at is not None


def test_a_key_gives_what_was_granted(url: str, key: SigningKey) -> None:
    with pytest.raises(ForbiddenError):
        engine(url, key)._catalog.create_namespace("own")


def test_other_keys_and_ended_tokens_sign_nothing(app: Application, url: str, key: SigningKey) -> None:
    made = app.access.create_token("short-lived", principal="user:engine").token
    short = app.access.signing_key(made.id)
    assert engine(url, short).tables("sales")
    app.access.revoke_token(made.id)
    for wrong in (
        short,
        SigningKey(key.access_key_id, short.secret_access_key),
        SigningKey(short.access_key_id, key.secret_access_key),
        SigningKey(f"CDL{'0' * 32}", key.secret_access_key),
        SigningKey("AKIA0123", key.secret_access_key),
        SigningKey(key.access_key_id.removeprefix("CDL"), key.secret_access_key),
    ):
        with pytest.raises(UnauthorizedError):
            engine(url, wrong).tables("sales")


def test_a_key_is_the_tokens_and_only_its_holder_learns_it(app: Application, url: str, key: SigningKey) -> None:
    (token,) = [one for one in app.access.tokens() if one.name == "engine"]
    assert app.access.signing_key(token.id) == key, "every server finds the same"
    assert key.secret_access_key not in repr(key)
    with acting("user:engine"):
        assert app.access.signing_key(token.id) == key
    for stranger in ("user:other", "service:engine"):
        with acting(stranger), pytest.raises(NotFoundError):
            app.access.signing_key(token.id)
    with connect(url, token=administrators_token(app, "user:admin")) as lake, pytest.raises(NotFoundError):
        lake.backend.signing_key(token.id)
    entry = next(one for one in app.operations.audit() if one.action == "token.signing_key")
    assert key.secret_access_key not in str(entry)


def send(url: str, key: SigningKey, method: str, path: str, body: bytes, /, **changes: str) -> httpx2.Response:
    """Sign a request as botocore does, and send it otherwise."""
    headers = {"Content-Type": "application/json"}
    request = AWSRequest(method, f"{url}{path}", data=body, headers=headers)
    SigV4Auth(Credentials(key.access_key_id, key.secret_access_key), "execute-api", "local").add_auth(request)
    sent = {**dict(request.headers.items()), **{k: v for k, v in changes.items() if k not in ("path", "body")}}
    content = changes.get("body", body.decode())
    return httpx2.request(
        method, f"{url}{changes.get('path', path)}", content=content, headers=sent, trust_env=False, timeout=60
    )


def test_what_was_signed_is_what_is_done(url: str, key: SigningKey) -> None:
    path, body = "/iceberg/v1/namespaces/sales/properties", b'{"updates": {"a": "b"}}'
    assert send(url, key, "POST", path, body).status_code == 403, "signed by one who may not"
    for changes in (
        {"body": '{"updates": {"a": "c"}}'},
        {"path": "/iceberg/v1/namespaces/other/properties"},
        {"path": f"{path}?x=1"},
        {"Content-Type": "text/plain"},
        {"X-Amz-Date": "20260101T000000Z"},
        {"Host": "localhost"},
    ):
        answer = send(url, key, "POST", path, body, **changes)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "NotAuthorizedException"), changes
    assert "Bearer" in answer.headers["www-authenticate"]


def test_signatures_are_for_the_catalog_alone(url: str, key: SigningKey) -> None:
    assert send(url, key, "GET", "/iceberg/v1/namespaces", b"").status_code == 200
    assert send(url, key, "GET", "/api/v1/lake", b"").status_code == 401
