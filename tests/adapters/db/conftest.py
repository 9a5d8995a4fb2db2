"""An empty, migrated database for each test, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import conninfo

from cordillera.adapters.db import open_metadata_store
from cordillera.adapters.db.schema import metadata
from tests.servers import start_postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    # Not pytest's own temporary directory: only its owner may enter that, and the server runs under another account.
    with (
        tempfile.TemporaryDirectory(prefix="cordillera-pg-data-", dir="/tmp") as directory,
        start_postgres(Path(directory)) as dsn,
    ):
        yield dsn


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: str) -> Iterator[str]:
    with _database(postgres_server) as url:
        _migrate(url)
        yield url


@pytest.fixture
def postgres_url(shared_postgres_url: str) -> Iterator[str]:
    yield shared_postgres_url
    with psycopg.connect(shared_postgres_url) as connection:  # emptying a database is faster than making one
        connection.execute("SET session_replication_role = replica")  # tables may be emptied in any order
        connection.execute(";".join(f"DELETE FROM {table}" for table in metadata.tables))


@pytest.fixture
def own_postgres_url(postgres_server: str, shared_postgres_url: str) -> Iterator[str]:
    """A database that no other test uses: what it knows of its tables stays, and plans follow from that."""
    template = shared_postgres_url.partition("@/")[2].partition("?")[0]
    with _database(postgres_server, f" TEMPLATE {template}") as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    with _database(postgres_server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'lake.db'}"
    _migrate(url)
    return url


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"empty_{request.param}_url"))


@contextmanager
def _database(server: str, made_from: str = "") -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}{made_from}")
        yield _url(server, name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _url(server: str, database: str) -> str:
    parts = conninfo.conninfo_to_dict(server)
    return f"postgresql://{parts['user']}@/{database}?host={parts['host']}"


def _migrate(url: str) -> None:
    store = open_metadata_store(url)
    store.migrate()
    store.close()
