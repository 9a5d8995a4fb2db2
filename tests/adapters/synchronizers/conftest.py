"""Targets for these tests: PostgreSQL with an empty database for each test that asks, two catalogs, and a stand-in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import conninfo
from tests.adapters.synchronizers import clickhouse_stand_in
from tests.adapters.synchronizers.redshift_stand_in import StandIn, prepare_database, stand_in, stand_in_proxy
from tests.rest_catalogs import RestCatalog, lake_catalog, seaweedfs_catalog
from tests.servers import start_postgres
from tests.servers_mariadb import MariaDB, start_mariadb
from tests.servers_snowflake import Snowflake, start_snowflake

collect_ignore = []  # what needs a real cluster or account; CONTRIBUTING says how
if "CORDILLERA_TEST_REDSHIFT_HOST" not in os.environ:
    collect_ignore += ["test_redshift_cluster.py"]
if "CORDILLERA_TEST_SNOWFLAKE_ACCOUNT" not in os.environ:
    collect_ignore += ["test_snowflake_account.py"]


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
def redshift_database(postgres_server: str) -> Iterator[tuple[int, str]]:
    """A port where Redshift's driver finds PostgreSQL, and a database that stands in for one of Redshift."""
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute("CREATE DATABASE redshift")
    prepare_database(conninfo.make_conninfo(postgres_server, dbname="redshift"))
    with stand_in_proxy(postgres_server) as port:
        yield port, "redshift"


@pytest.fixture
def redshift(redshift_database: tuple[int, str], tmp_path: Path) -> StandIn:
    """A stand-in for Redshift with an empty schema of its own."""
    return stand_in(redshift_database, f"file://{tmp_path}/staging")


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clickhouse_stand_in.StandIn]:
    """ClickHouse's engine behind HTTP."""
    with clickhouse_stand_in.start_stand_in(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture
def clickhouse(clickhouse_server: clickhouse_stand_in.StandIn) -> clickhouse_stand_in.StandIn:
    """The stand-in for ClickHouse with an empty database of its own."""
    return clickhouse_server.another_database()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """A MariaDB server."""
    # Not pytest's own temporary directory, as with PostgreSQL.
    with (
        tempfile.TemporaryDirectory(prefix="cordillera-mariadb-", dir="/tmp") as directory,
        start_mariadb(Path(directory) / "server") as server,
    ):
        yield server


@pytest.fixture
def mariadb(mariadb_server: MariaDB) -> Iterator[MariaDB]:
    """The server with an empty database of its own."""
    made = mariadb_server.another_database()
    yield made
    mariadb_server.execute(f"DROP DATABASE {made.database}")


@pytest.fixture(scope="session")
def snowflake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snowflake]:
    """An emulator of Snowflake."""
    with start_snowflake(tmp_path_factory.mktemp("snowflake")) as server:
        yield server


@pytest.fixture
def snowflake(snowflake_server: Snowflake) -> Snowflake:
    """The emulator with an empty schema of its own."""
    return snowflake_server.another_schema()


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
