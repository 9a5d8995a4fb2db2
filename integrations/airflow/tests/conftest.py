"""Airflow with a database of its own, and a lake behind a server, as long as the tests run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from uuid import uuid4

import airflow_home
import pytest
from lake_server import LakeServer


@pytest.fixture(scope="session", autouse=True)
def airflow_database() -> None:
    """Airflow's own tables."""
    airflow_home.make_database()


@pytest.fixture(autouse=True)
def no_dag_stays() -> Iterator[None]:
    """A test's DAGs are gone when it ends."""
    yield
    for file in airflow_home.DAGS.glob("*.py"):
        file.unlink()


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeServer]:
    """A lake behind a server."""
    server = LakeServer(tmp_path_factory.mktemp("lake") / "server")
    yield server
    server.stop()


@pytest.fixture
def orders(lake: LakeServer) -> str:
    """A dataset that no other test has."""
    return lake.create_dataset(f"sales.orders_{uuid4().hex[:8]}")


@pytest.fixture(autouse=True)
def connection(lake: LakeServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The default connection leads to the lake, as its administrator; call it to change that."""

    def lead_to(url: str = lake.url, token: str = lake.token, conn_id: str = "cordillera_default") -> None:
        found = json.dumps({"conn_type": "cordillera", "host": url, "password": token})
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", found)

    lead_to()
    return lead_to
