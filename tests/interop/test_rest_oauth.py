"""Engines that sign in with client credentials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.app import Application, create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.server import create_server
from cordillera.spec.access import Privilege
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.testing.running_server import running_server
from tests.interop.rest_engines import DuckDB, PyIceberg, RestEngine

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])


class SignedInPyIceberg(PyIceberg):
    """PyIceberg with a credential."""

    def credentials(self, url: str, token: str) -> dict[str, str]:
        return {"credential": f"engines:{token}", "oauth2-server-uri": f"{url}/iceberg/v1/oauth/tokens"}


class SignedInDuckDB(DuckDB):
    """DuckDB with a client id and secret."""

    def credentials(self, url: str, token: str) -> str:
        server = f"{url}/iceberg/v1/oauth/tokens"
        return f"CLIENT_ID 'engines', CLIENT_SECRET '{token}', OAUTH2_SERVER_URI '{server}'"


def _engines_secret(app: Application) -> str:
    app.grants.grant(WantedGrant("user:engines", Privilege.ADMINISTER, "lake"))
    return app.access.create_token("engines", principal="user:engines").secret


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[tuple[Lake, str, str]]:
    with create_lake(tmp_path / "lake") as app, running_server(create_server(app)) as url:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("sales")
        lake.create_dataset("sales.people", SCHEMA, key=["id"], format_version=2)
        yield lake, url, _engines_secret(app)


@pytest.mark.parametrize("kind", [SignedInPyIceberg, SignedInDuckDB])
def test_an_engine_signs_in(lake: tuple[Lake, str, str], kind: type[RestEngine]) -> None:
    ours, url, secret = lake
    with pytest.raises(Exception, match=r"invalid_client|401|client id"):
        kind(url, "cdl_wrong").tables("sales")
    engine = kind(url, secret)
    engine.append("sales.people", pa.table({"id": [1], "name": ["a"]}, schema=SCHEMA))
    assert engine.read("sales.people") == [{"id": 1, "name": "a"}]
    assert [one.principal for one in ours.dataset("sales.people").snapshots()] == ["user:engines"]
