"""What tests of several parts share: lakes, clocks, servers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import settings
from psycopg import conninfo, sql

import cordillera
from cordillera.adapters.db import migration, store
from cordillera.adapters.db.engine import Database, open_database
from cordillera.app import Application, create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from tests.servers import start_postgres
from tests.servers_glue import GlueEmulator, start_glue
from tests.servers_kafka import start_kafka
from tests.servers_s3 import S3Server, start_seaweedfs

pytest.register_assert_rewrite("cordillera.testing")  # what differs is told of the shipped suites' asserts, too

# How long one example takes tells of the machine's load, not of the code. (CI's own profile has no deadline either.)
if not os.environ.get("CI"):
    settings.register_profile("cordillera", deadline=None)
    settings.load_profile("cordillera")


def app_of(lake: Lake) -> Application:
    """Return the services of a lake that is open in this process."""
    assert isinstance(lake.backend, LocalBackend)
    return lake.backend.app


class MovableClock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.moment += timedelta(milliseconds=1)
        return self.moment

    def new_id(self) -> UUID:
        return uuid4()

    def advance(self, **duration: float) -> None:
        self.moment += timedelta(**duration)


@pytest.fixture(scope="session", autouse=True)
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Migrate one empty SQLite database; each other of this process becomes a copy: a hundredth of the work."""
    template, lock = tmp_path_factory.mktemp("migrated") / "lake.db", Lock()

    def migrate(database: Database) -> None:
        with lock:
            file = database.file
            if file is None or file.exists() or not file.parent.is_dir():
                migration.migrate(database)
                return
            if not template.exists():
                made = open_database(f"sqlite:///{template}")
                migration.migrate(made)
                made.close()
            shutil.copyfile(template, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "migrate", migrate)
        yield


@pytest.fixture
def all_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every empty database migrated from the first revision on."""
    monkeypatch.setattr(store, "migrate", migration.migrate)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """An embedded lake on SQLite and local files."""
    with cordillera.create(tmp_path / "lake") as made:
        yield made


@pytest.fixture
def timed_lake(tmp_path: Path, clock: MovableClock) -> Iterator[Lake]:
    """An embedded lake whose clock is the test's."""
    with Lake(LocalBackend(create_lake(tmp_path / "lake", clock=clock))) as made:
        yield made


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """DSN of a PostgreSQL server that lives as long as the session."""
    # Not pytest's own temporary directory: only its owner may enter that, and the server runs under another account.
    with (
        tempfile.TemporaryDirectory(prefix="cordillera-pg-data-", dir="/tmp") as directory,
        start_postgres(Path(directory)) as dsn,
    ):
        yield dsn


@pytest.fixture
def postgres_database(postgres_server: str) -> Iterator[str]:
    """DSN of a fresh database."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield postgres_server.replace("dbname=postgres", f"dbname={name}")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def metadata_url(postgres_database: str) -> str:
    """URL of an empty PostgreSQL database."""
    parts = conninfo.conninfo_to_dict(postgres_database)
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that lives as long as the session."""
    with start_seaweedfs(tmp_path_factory.mktemp("seaweedfs") / "server") as server:
        yield server


@pytest.fixture(scope="session")
def glue_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GlueEmulator]:
    """An emulator of the AWS Glue Data Catalog that lives as long as the session."""
    with start_glue(tmp_path_factory.mktemp("glue") / "server") as emulator:
        yield emulator


@pytest.fixture
def kafka_server(tmp_path: Path) -> Iterator[str]:
    """``host:port`` of a Kafka broker that holds nothing yet; it starts at once."""
    with start_kafka(tmp_path / "kafka") as place:
        yield place
