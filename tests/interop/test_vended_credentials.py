"""Engines without keys of their own get at a table's files, and at nothing else: enforced by a real S3 server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import httpx2
import pyarrow as pa
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError
from joserfc import jwt
from joserfc.jwk import OctKey
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import SignError
from pyiceberg.io.fsspec import S3V4RestSigner

from cordillera.app import Application, create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.ports.credentials import StorageCredentials
from cordillera.server import create_server
from cordillera.spec.access import Privilege, parse_securable
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.testing.running_server import running_server
from tests.interop.rest_engines import Definer, DuckDB, PyIceberg
from tests.servers_s3 import ROLE_ARN, S3Server
from tests.tokens import administrators_token


class KeylessDuckDB(DuckDB):
    delegation = "vended_credentials"


DELEGATION = {"X-Iceberg-Access-Delegation": "vended-credentials,remote-signing"}
PEOPLE = pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]})


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Application]:
    folder: Path = tmp_path_factory.mktemp("lake")
    with (
        create_lake(
            folder / "lake",
            storage_root=f"s3://{s3_server.bucket}/vended",
            s3_endpoint=s3_server.endpoint,
            s3_region="us-east-1",
            s3_access_key=s3_server.access_key,
            s3_secret_key=s3_server.secret_key,
            s3_role_arn=ROLE_ARN,
        ) as app,
        Lake(LocalBackend(app)) as lake,
    ):
        lake.create_namespace("sales")
        for name, version in (("people", 2), ("others", 3)):
            made = lake.create_dataset(f"sales.{name}", PEOPLE.schema, key=["id"], format_version=version)
            made.write(PEOPLE, "upsert")
        yield app


@pytest.fixture(scope="module")
def server(app: Application) -> Iterator[str]:
    with running_server(create_server(app)) as url:
        yield url


@pytest.fixture(scope="module")
def token(app: Application) -> str:
    return administrators_token(app, "service:engine")


@pytest.fixture
def iceberg(server: str, token: str) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=f"{server}/iceberg/v1", headers=headers, trust_env=False, timeout=30) as client:
        yield client


def s3(server: S3Server, config: dict[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=config["s3.endpoint"],
        region_name=config["s3.region"],
        aws_access_key_id=config["s3.access-key-id"],
        aws_secret_access_key=config["s3.secret-access-key"],
        aws_session_token=config["s3.session-token"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def refused(call: Any, **arguments: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def loaded(iceberg: httpx2.Client, table: str) -> dict[str, Any]:
    answer = iceberg.get(f"/namespaces/sales/tables/{table}", headers=DELEGATION)
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def key_of(uri: str) -> str:
    return uri.removeprefix("s3://").partition("/")[2]


def test_credentials_open_one_table_and_nothing_else(
    iceberg: httpx2.Client, app: Application, s3_server: S3Server
) -> None:
    answer = loaded(iceberg, "people")
    (credential,) = answer["storage-credentials"]
    assert credential["prefix"] == answer["metadata"]["location"] + "/"
    assert credential["config"].items() <= answer["config"].items()
    lasts = int(credential["config"]["s3.session-token-expires-at-ms"]) / 1000 - time.time()
    assert 3000 < lasts <= 3600
    client, bucket = s3(s3_server, credential["config"]), s3_server.bucket
    own, other = answer["metadata"], loaded(iceberg, "others")
    assert client.get_object(Bucket=bucket, Key=key_of(answer["metadata-location"]))["Body"].read()
    place, elsewhere = key_of(own["location"]), key_of(other["metadata"]["location"])
    client.put_object(Bucket=bucket, Key=f"{place}/data/new", Body=b"x")
    found = client.list_objects_v2(Bucket=bucket, Prefix=f"{place}/")["Contents"]
    assert f"{place}/data/new" in [one["Key"] for one in found]

    refused(client.get_object, Bucket=bucket, Key=key_of(other["metadata-location"]))
    refused(client.put_object, Bucket=bucket, Key=f"{elsewhere}/data/new", Body=b"x")
    refused(client.put_object, Bucket=bucket, Key=f"{place}-beside/new", Body=b"x")
    refused(client.copy_object, Bucket=bucket, Key=f"{place}/data/copy", CopySource=f"{bucket}/{elsewhere}/data/new")
    refused(client.delete_object, Bucket=bucket, Key=key_of(other["metadata-location"]))
    refused(client.list_objects_v2, Bucket=bucket, Prefix=f"{elsewhere}/")
    refused(client.list_objects_v2, Bucket=bucket)
    entry = next(one for one in app.operations.audit() if one.action == "credentials.vend")
    assert (entry.principal, entry.object_name) == ("service:engine", "sales.others_v1")


def test_credentials_to_read_cannot_write(app: Application, s3_server: S3Server) -> None:
    location = app.catalog.dataset("sales.people").version.location
    vendor = app.credential_vendor()
    assert vendor is not None
    made = vendor.vend(location, "user:ann smith/é", write=False)
    client, bucket = s3(s3_server, plain(made, s3_server)), s3_server.bucket
    metadata = key_of(app.catalog.dataset("sales.people").version.metadata_location)
    assert client.get_object(Bucket=bucket, Key=metadata)["Body"].read()
    refused(client.put_object, Bucket=bucket, Key=f"{key_of(location)}/data/new", Body=b"x")
    refused(client.create_multipart_upload, Bucket=bucket, Key=f"{key_of(location)}/data/new")
    refused(client.delete_object, Bucket=bucket, Key=metadata)


def plain(made: StorageCredentials, server: S3Server) -> dict[str, str]:
    return {
        "s3.endpoint": server.endpoint,
        "s3.region": "us-east-1",
        "s3.access-key-id": made.access_key,
        "s3.secret-access-key": made.secret_key,
        "s3.session-token": made.session_token,
    }


def test_credentials_end(app: Application, iceberg: httpx2.Client, s3_server: S3Server) -> None:
    """The server gives out none for less than a quarter of an hour, so the end of some is written anew with its key."""
    location = app.catalog.dataset("sales.people").version.location
    vendor = app.credential_vendor()
    assert vendor is not None
    made = vendor.vend(location, "service:engine", write=True)
    key = OctKey.import_key(s3_server.signing_key)
    claims = jwt.decode(made.session_token, key).claims
    assert claims["exp"] == int(made.expires_at.timestamp())
    metadata = key_of(app.catalog.dataset("sales.people").version.metadata_location)

    def reads(signed_with: OctKey, **changed: Any) -> bytes:
        token = jwt.encode({"alg": "HS256", "typ": "JWT"}, {**claims, **changed}, signed_with)
        client = s3(s3_server, plain(replace(made, session_token=token), s3_server))
        return client.get_object(Bucket=s3_server.bucket, Key=metadata)["Body"].read()

    assert reads(key, exp=int(time.time()) + 60)
    refused(reads, signed_with=key, exp=int(time.time()) - 60)
    refused(reads, signed_with=OctKey.import_key(b"x" * 32))
    fresh = iceberg.get("/namespaces/sales/tables/people/credentials").json()["storage-credentials"][0]["config"]
    assert s3(s3_server, fresh).get_object(Bucket=s3_server.bucket, Key=metadata)["Body"].read()


@pytest.mark.parametrize("kind", [PyIceberg, KeylessDuckDB])
def test_engines_without_keys_read_and_write(
    kind: type[Definer], server: str, token: str, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    engine = kind(server, token)
    before = {row["id"] for row in engine.read("sales.people")}
    new = max(before) + 1
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])
    engine.append("sales.people", pa.table({"id": [new], "name": [kind.__name__]}, schema=schema))
    assert {row["id"] for row in engine.read("sales.people")} == before | {new}
    stored = Lake(LocalBackend(app)).dataset("sales.people").scan().to_arrow()
    assert set(stored["id"].to_pylist()) == before | {new}


def test_credentials_are_as_good_as_the_grants(server: str, app: Application, s3_server: S3Server) -> None:
    people, bucket = parse_securable("sales.people"), s3_server.bucket
    token = app.access.create_token("reader", principal="service:reader").secret
    headers = {"Authorization": f"Bearer {token}"}
    address = "/namespaces/sales/tables/people"
    with httpx2.Client(base_url=f"{server}/iceberg/v1", headers=headers, trust_env=False, timeout=30) as reader:
        assert reader.get(address, headers=DELEGATION).status_code == 404
        app.grants.grant(WantedGrant("service:reader", Privilege.READ, str(people)))
        assert "storage-credentials" not in reader.get(address, headers=DELEGATION).json()
        assert reader.get(f"{address}/credentials").status_code == 403
        app.grants.grant(WantedGrant("service:reader", Privilege.EXTERNAL_USE, str(people)))
        answer = loaded(reader, "people")
        client, key = s3(s3_server, answer["config"]), key_of(answer["metadata-location"])
        place = key_of(answer["metadata"]["location"])
        assert client.get_object(Bucket=bucket, Key=key)["Body"].read()
        refused(client.put_object, Bucket=bucket, Key=f"{place}/data/by-reader", Body=b"x")
        app.grants.grant(WantedGrant("service:reader", Privilege.WRITE, str(people)))
        client = s3(s3_server, loaded(reader, "people")["config"])
        client.put_object(Bucket=bucket, Key=f"{place}/data/by-reader", Body=b"x")
        app.grants.revoke("service:reader", Privilege.EXTERNAL_USE, people)
        assert "storage-credentials" not in reader.get(address, headers=DELEGATION).json()
        assert reader.get(f"{address}/credentials").status_code == 403
        app.grants.revoke("service:reader", Privilege.READ, people)
        assert reader.get(address, headers=DELEGATION).status_code == 403


def test_requests_are_signed_where_a_client_takes_no_credentials(
    server: str, app: Application, s3_server: S3Server
) -> None:
    token = app.access.create_token("signed", principal="service:signed").secret
    people, bucket = parse_securable("sales.people"), s3_server.bucket
    app.grants.grant(WantedGrant("service:signed", Privilege.READ, str(people)))
    app.grants.grant(WantedGrant("service:signed", Privilege.EXTERNAL_USE, str(people)))
    headers = {"Authorization": f"Bearer {token}"}
    address = f"{server}/iceberg/v1/namespaces/sales/tables/people"
    asked = {**headers, "X-Iceberg-Access-Delegation": "remote-signing"}
    answer = httpx2.get(address, headers=asked, trust_env=False, timeout=60).json()
    config = answer["config"]
    assert config["s3.remote-signing-enabled"] == "true"
    assert "s3.secret-access-key" not in config
    client = boto3.client(
        "s3",
        endpoint_url=config["s3.endpoint"],
        region_name=config["s3.region"],
        config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    signer = S3V4RestSigner({**config, "uri": f"{server}/iceberg", "token": token})
    client.meta.events.register("before-send.s3", lambda request, **_: signed(signer, request))
    place, key = key_of(answer["metadata"]["location"]), key_of(answer["metadata-location"])
    other = key_of(app.catalog.dataset("sales.others").version.metadata_location)
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read()
    assert client.get_object(Bucket=bucket, Key=key, Range="bytes=0-3")["ContentLength"] == 4
    found = client.list_objects_v2(Bucket=bucket, Prefix=f"{place}/metadata/")["Contents"]
    assert key in [one["Key"] for one in found]
    for forbidden in (
        lambda: client.get_object(Bucket=bucket, Key=other),
        lambda: client.list_objects_v2(Bucket=bucket),
        lambda: client.put_object(Bucket=bucket, Key=f"{place}/data/signed", Body=b"x"),
        lambda: client.delete_object(Bucket=bucket, Key=key),
    ):
        with pytest.raises(SignError, match="403"):
            forbidden()
    app.grants.grant(WantedGrant("service:signed", Privilege.WRITE, str(people)))
    client.put_object(Bucket=bucket, Key=f"{place}/data/signed", Body=b"x")
    assert s3_server.client().get_object(Bucket=bucket, Key=f"{place}/data/signed")["Body"].read() == b"x"
    upload = client.create_multipart_upload(Bucket=bucket, Key=f"{place}/data/parts")["UploadId"]
    part = {"Bucket": bucket, "Key": f"{place}/data/parts", "UploadId": upload}
    etag = client.upload_part(**part, PartNumber=1, Body=b"y")["ETag"]
    client.complete_multipart_upload(**part, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    with pytest.raises(SignError, match="403"):
        client.copy_object(Bucket=bucket, Key=f"{place}/data/copy", CopySource=f"{bucket}/{other}")
    app.grants.revoke("service:signed", Privilege.EXTERNAL_USE, people)
    with pytest.raises(SignError, match="403"):
        client.get_object(Bucket=bucket, Key=key)


def signed(signer: S3V4RestSigner, request: Any) -> None:
    """Have a request signed as PyIceberg does, which is told of it a moment earlier."""
    asked = AWSRequest(request.method, request.url, headers={k: _text(v) for k, v in request.headers.items()})
    asked.context["client_region"] = "us-east-1"
    signer(asked)
    for name, value in asked.headers.items():
        request.headers[name] = value


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def test_a_client_gets_fresh_credentials_by_itself(server: str, token: str) -> None:
    catalog = RestCatalog("lake", uri=f"{server}/iceberg", token=token)
    location = catalog.load_table("sales.people").metadata_location
    fresh = catalog.load_credentials("sales.people", location)
    assert fresh["s3.session-token"]


def test_a_table_to_be_has_credentials_for_its_place(iceberg: httpx2.Client, s3_server: S3Server) -> None:
    columns = {"type": "struct", "fields": [{"id": 1, "name": "id", "type": "long", "required": True}]}
    wanted = {"name": "staged", "schema": columns, "stage-create": True}
    staged = iceberg.post("/namespaces/sales/tables", json=wanted, headers=DELEGATION).json()
    client = s3(s3_server, staged["config"])
    place = key_of(staged["metadata"]["location"])
    client.put_object(Bucket=s3_server.bucket, Key=f"{place}/data/first", Body=b"x")
    refused(client.put_object, Bucket=s3_server.bucket, Key=f"{place.rpartition('/')[0]}/first", Body=b"x")


def test_nobody_gets_credentials_unasked(iceberg: httpx2.Client) -> None:
    answer = iceberg.get("/namespaces/sales/tables/people")
    assert "storage-credentials" not in answer.json()
    assert not [name for name in answer.json()["config"] if "key" in name or "token" in name]
    again = iceberg.get("/namespaces/sales/tables/people", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    asked = {"If-None-Match": answer.headers["etag"], **DELEGATION}
    assert iceberg.get("/namespaces/sales/tables/people", headers=asked).status_code == 200
