"""``catalog verify`` names the step at which an engine would fail; each fails here for the reason it would."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.app import Application, create_lake
from cordillera.client import Lake
from cordillera.client.catalog_check import EngineConfiguration, verify_catalog
from cordillera.client.local import LocalBackend
from cordillera.operations.doctor import Verdict
from cordillera.server import create_server
from cordillera.spec.access import Privilege
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.testing.running_server import running_server
from tests.servers_s3 import ROLE_ARN, S3Server
from tests.tokens import administrators_token

PEOPLE = pa.table({"id": [1, 2, 3]})
STEPS = ["reach", "auth", "warehouse", "grant", "load", "vend", "read", "write"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Application]:
    folder: Path = tmp_path_factory.mktemp("lake")
    with (
        create_lake(
            folder / "lake",
            name="company",
            storage_root=f"s3://{s3_server.bucket}/verified",
            s3_endpoint=s3_server.endpoint,
            s3_region="us-east-1",
            s3_access_key=s3_server.access_key,
            s3_secret_key=s3_server.secret_key,
            s3_role_arn=ROLE_ARN,
        ) as app,
        Lake(LocalBackend(app)) as lake,
    ):
        lake.create_namespace("sales")
        for name in ("people", "damaged", "lost"):
            lake.create_dataset(f"sales.{name}", PEOPLE.schema).write(PEOPLE, "append")
        yield app


@pytest.fixture(scope="module")
def catalog(app: Application) -> Iterator[str]:
    with running_server(create_server(app)) as url:
        yield f"{url}/iceberg"


@pytest.fixture(scope="module")
def token(app: Application) -> str:
    return administrators_token(app, "service:engine")


def granted(app: Application, name: str, *privileges: Privilege) -> str:
    for privilege in privileges:
        app.grants.grant(WantedGrant(f"service:{name}", privilege, "dataset:sales.people"))
    return app.access.create_token(name, principal=f"service:{name}").secret


def failing(configuration: EngineConfiguration, *, write: bool = False) -> tuple[str, str]:
    """Return the step that fails, the last one, and what it says; those before it are well."""
    *before, last = verify_catalog(configuration, write=write)
    assert [one.check for one in (*before, last)] == STEPS[: len(before) + 1]
    assert {one.verdict for one in before} <= {Verdict.OK}
    assert last.verdict is Verdict.ERROR
    return last.check, f"{last.message} {last.hint}"


def test_all_steps_are_well(app: Application, catalog: str, token: str) -> None:
    found = verify_catalog(EngineConfiguration(catalog, "sales.people", token, warehouse="company"), write=True)
    assert found[-1].verdict is Verdict.OK, found[-1].message
    assert [(one.check, one.verdict) for one in found] == [(step, Verdict.OK) for step in STEPS]
    [put] = [one for one in app.storage.list(app.catalog.dataset("sales.people").version.location) if not one.size]
    assert put.uri in found[-1].message  # the role of the tests' storage may not remove it
    assert "gives out credentials" in found[5].message


def test_client_credentials_are_exchanged(app: Application, catalog: str) -> None:
    secret = app.access.create_token("exchanged", principal="service:engine").secret
    administrators_token(app, "service:engine")
    found = verify_catalog(EngineConfiguration(catalog, "sales.people", secret, client_id="exchanged"))
    assert [one.check for one in found if one.verdict is Verdict.OK] == STEPS[:-1]
    step, said = failing(EngineConfiguration(catalog, "sales.people", secret, client_id="another"))
    assert step == "auth"
    assert "'another'" in said
    assert secret not in said


def test_nobody_listens() -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}/iceberg"
        step, said = failing(EngineConfiguration(uri, "sales.people", "t"))
    assert step == "reach"
    assert "cannot be reached" in said


def test_it_is_no_catalog(catalog: str, token: str) -> None:
    step, said = failing(EngineConfiguration(catalog.replace("/iceberg", "/healthz"), "sales.people", token))
    assert step == "reach"
    assert "no Iceberg REST catalog" in said


def test_the_token_is_another(catalog: str) -> None:
    step, said = failing(EngineConfiguration(catalog, "sales.people", "cdl_unknown"))
    assert step == "auth"
    assert "does not know who is asking" in said


def test_the_warehouse_is_another(catalog: str, token: str) -> None:
    step, said = failing(EngineConfiguration(catalog, "sales.people", token, warehouse="elsewhere"))
    assert step == "warehouse"
    assert "'elsewhere'" in said


def test_the_table_is_not_there_or_may_not_be_read(app: Application, catalog: str, token: str) -> None:
    assert failing(EngineConfiguration(catalog, "sales.nothing", token))[0] == "grant"
    finder = granted(app, "finder", Privilege.DISCOVER)
    step, said = failing(EngineConfiguration(catalog, "sales.people", finder))
    assert step == "grant"
    assert "may not read sales.people" in said


def test_the_table_cannot_be_loaded(app: Application, catalog: str, token: str) -> None:
    location = app.catalog.dataset("sales.damaged").version.metadata_location
    app.storage.delete([location])
    app.tables._loaded.forget(location)
    app.tables._encoded.forget((location, False))
    step, said = failing(EngineConfiguration(catalog, "sales.damaged", token))
    assert step == "load"
    assert "(500)" in said


def test_credentials_are_not_for_everybody(app: Application, catalog: str) -> None:
    reader = granted(app, "reader", Privilege.READ)
    step, said = failing(EngineConfiguration(catalog, "sales.people", reader))
    assert step == "vend"
    assert "external_use" in said


def test_files_are_not_where_they_should_be(app: Application, catalog: str, token: str) -> None:
    location = app.catalog.dataset("sales.lost").version.metadata_location
    app.storage.delete([location])  # the server knows what it said
    step, said = failing(EngineConfiguration(catalog, "sales.lost", token))
    assert step == "read"
    assert location in said


def test_credentials_to_read_are_not_for_writing(app: Application, catalog: str) -> None:
    outside = granted(app, "outside", Privilege.READ, Privilege.EXTERNAL_USE)
    step, said = failing(EngineConfiguration(catalog, "sales.people", outside), write=True)
    assert step == "write"
    assert outside not in said
