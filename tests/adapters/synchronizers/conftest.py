"""Real targets for these tests: PostgreSQL with an empty database for each test that asks, and two catalogs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import conninfo
from tests.rest_catalogs import RestCatalog, lake_catalog, seaweedfs_catalog
from tests.servers import start_postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    # Not pytest's own temporary directory: only its owner may enter that, and the server runs under another account.
    with (
        tempfile.TemporaryDirectory(prefix="cordillera-pg-data-", dir="/tmp") as directory,
        start_postgres(Path(directory)) as dsn,
    ):
        yield dsn


@pytest.fixture
def postgres_dsn(postgres_server: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield conninfo.make_conninfo(postgres_server, dbname=name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def lake_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestCatalog]:
    """Another lake's server."""
    with lake_catalog(tmp_path_factory.mktemp("elsewhere")) as catalog:
        yield catalog


@pytest.fixture(scope="session")
def weed_catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestCatalog]:
    """SeaweedFS's catalog."""
    with seaweedfs_catalog(tmp_path_factory.mktemp("weed")) as catalog:
        yield catalog
