"""A place, a file, a port, a token or a database that is not what it should be: the lake says so and stays whole."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import httpx2
import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

import cordillera
from cordillera.app import Application, create_lake, open_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.errors import (
    AlreadyExistsError,
    AuthenticationError,
    CordilleraError,
    CorruptDataError,
    InvalidConfigurationError,
    LakeNotFoundError,
    MetadataStoreBusyError,
    RequestTooLargeError,
    SchemaTooNewError,
    ServerUnreachableError,
)
from cordillera.server import create_server, serve
from cordillera.testing.running_server import running_server
from tests.cli.conftest import cli, quiet_surroundings
from tests.cli.harness import Cli
from tests.conftest import MovableClock
from tests.reliability.crash import ORDERS, new_lake, rows
from tests.tokens import administrators_token

__all__ = ["cli", "quiet_surroundings"]


def check(error: CordilleraError, *named: object) -> None:
    for name in named:
        assert str(name) in error.message
    assert error.hint.endswith("."), repr(error)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The folder of a lake with rows in it."""
    with new_lake(tmp_path / "lake") as lake:
        lake.dataset(ORDERS).write(rows(range(10), 1, 1), "append")
    return tmp_path / "lake"


# --- the lake's folder ----------------------------------------------------------------------------------------------


def commands(cli: Cli, path: Path, *, fails_with: type[CordilleraError]) -> None:
    """Nothing that is done with a lake's folder works, and everything says why."""
    for words in (("dataset", "list"), ("serve", "--port", "0"), ("worker",), ("doctor",), ("sql", "SELECT 1")):
        result = cli(*words, "--lake", path)
        assert (result.code, result.out) == (fails_with.exit_code, ""), words
        assert result.err.startswith("Error: ")
        assert "\nHint: " in result.err


def test_a_folder_without_a_lake(tmp_path: Path, cli: Cli) -> None:
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(LakeNotFoundError) as caught:
            cordillera.open(place)
        check(caught.value, place)
        assert f"cordillera init {place}" in caught.value.hint
        commands(cli, place, fails_with=LakeNotFoundError)
    assert not (tmp_path / "nowhere").exists()


def test_a_lake_is_not_made_twice(path: Path, cli: Cli) -> None:
    with pytest.raises(AlreadyExistsError) as caught:
        cordillera.create(path)
    check(caught.value, path)
    assert cli("init", path).code == 4
    with cordillera.open(path) as lake:
        assert lake.dataset(ORDERS).scan().to_arrow().num_rows == 10


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name = ", "cordillera.toml"),
        ("\x00\x01", "cordillera.toml"),
        (b"\xff\xfe", "cordillera.toml"),
        ('colour = "red"', "colour"),
        ('lease_seconds = "soon"', "lease_seconds"),
        ("lease_seconds = -1", "lease_seconds"),
        ('metadata_url = "mysql://db/lake"', "mysql"),
        ('storage_root = "ftp://host/lake"', "ftp"),
    ],
)
def test_corrupted_settings(path: Path, cli: Cli, text: str | bytes, named: str) -> None:
    file = path / "cordillera.toml"
    before = file.read_bytes()
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidConfigurationError) as caught:
        cordillera.open(path)
    check(caught.value, named)
    result = cli("worker", "--lake", path)
    assert (result.code, result.out) == (2, "")
    assert named in result.err
    file.write_bytes(before)
    with cordillera.open(path) as lake:
        assert lake.dataset(ORDERS).scan().to_arrow().num_rows == 10


def test_a_database_that_is_gone(path: Path, cli: Cli) -> None:
    (path / "lake.db").rename(path / "moved.db")
    with pytest.raises(InvalidConfigurationError) as caught:
        cordillera.open(path)
    check(caught.value, path / "lake.db")
    commands(cli, path, fails_with=InvalidConfigurationError)
    assert not (path / "lake.db").exists()


def test_a_database_that_is_damaged(path: Path, cli: Cli) -> None:
    for suffix in ("", "-wal", "-shm"):
        (path / f"lake.db{suffix}").unlink(missing_ok=True)
    (path / "lake.db").write_bytes(b"This is not a database. " * 100)
    with pytest.raises(CorruptDataError) as caught:
        cordillera.open(path)
    check(caught.value, path / "lake.db")
    commands(cli, path, fails_with=CorruptDataError)


def test_a_data_file_that_is_gone(path: Path, cli: Cli) -> None:
    (file,) = (path / "data").rglob("*.parquet")
    file.unlink()
    with cordillera.open(path) as lake:
        with pytest.raises(CorruptDataError) as caught:
            lake.dataset(ORDERS).scan().to_arrow()
        check(caught.value, file.name)
    assert cli("dataset", "read", ORDERS, "--lake", path).code == 7


# --- the metadata's schema ------------------------------------------------------------------------------------------


def test_metadata_of_a_newer_release(path: Path, cli: Cli) -> None:
    url = f"sqlite:///{path / 'lake.db'}"
    set_revision(url, "9999")
    files = sorted(path.rglob("*.parquet"))
    for operation in operations(path):
        with pytest.raises(SchemaTooNewError) as caught:
            operation()
        check(caught.value, path / "lake.db", "9999")
        assert "release" in caught.value.hint
    commands(cli, path, fails_with=SchemaTooNewError)
    assert "9999" in cli("migrate", "--lake", path).err
    assert sorted(path.rglob("*.parquet")) == files


def test_metadata_of_a_newer_release_on_postgres(tmp_path: Path, metadata_url: str, cli: Cli) -> None:
    path = tmp_path / "lake"
    new_lake(path, metadata_url=metadata_url).close()
    set_revision(metadata_url.replace("postgresql:", "postgresql+psycopg:"), "9999")
    for operation in operations(path):
        with pytest.raises(SchemaTooNewError) as caught:
            operation()
        check(caught.value, "9999")
    commands(cli, path, fails_with=SchemaTooNewError)


def operations(path: Path) -> list[Callable[[], object]]:
    return [lambda: cordillera.open(path), lambda: serve(path, port=0), lambda: open_lake(path)]


def set_revision(url: str, revision: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    engine.dispose()


def test_a_metadata_database_that_does_not_answer(tmp_path: Path, cli: Cli) -> None:
    with pytest.raises(MetadataStoreBusyError) as caught:
        cordillera.create(tmp_path / "lake", metadata_url="postgresql://me@127.0.0.1:1/lake")
    check(caught.value, "lake on 127.0.0.1:1")
    assert not (tmp_path / "lake" / "cordillera.toml").exists()
    result = cli("init", tmp_path / "lake", "--metadata-url", "postgresql://me@127.0.0.1:1/lake")
    assert result.code == 75
    cordillera.create(tmp_path / "lake").close()


def test_a_metadata_database_that_is_another_lakes(tmp_path: Path, metadata_url: str) -> None:
    cordillera.create(tmp_path / "first", metadata_url=metadata_url).close()
    with pytest.raises(AlreadyExistsError) as caught:
        cordillera.create(tmp_path / "second", metadata_url=metadata_url)
    check(caught.value)
    with psycopg.connect(metadata_url) as connection:
        assert connection.execute("SELECT count(*) FROM lake").fetchone() == (1,)


# --- the server -----------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken(path: Path, cli: Cli) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidConfigurationError) as caught:
            serve(path, port=port)
        check(caught.value, port, "127.0.0.1")
        assert "--port" in caught.value.hint
        result = cli("serve", "--lake", path, "--port", port)
        assert (result.code, result.out) == (2, "")


def test_no_server(cli: Cli) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as once:
        url = f"http://127.0.0.1:{once.getsockname()[1]}"
    with pytest.raises(ServerUnreachableError) as caught:
        cordillera.connect(url)
    check(caught.value, url)
    assert "cordillera serve" in caught.value.hint
    assert cli("dataset", "list", "--url", url).code == 75


@pytest.fixture
def served(tmp_path: Path, clock: MovableClock) -> Iterator[tuple[Application, str]]:
    """A lake behind a server that takes at most a megabyte."""
    with create_lake(tmp_path / "served", clock=clock, max_request_mb="1") as app:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("sales")
        lake.create_dataset(ORDERS, {"id": pa.int64(), "text": pa.string()}, key=["id"])
        with running_server(create_server(app)) as url:
            yield app, url


def test_tokens_that_do_not_let_in(
    served: tuple[Application, str], clock: MovableClock, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, url = served
    good, expired, revoked = (app.access.create_token(name, days=1) for name in ("good", "expired", "revoked"))
    app.access.revoke_token(revoked.token.id)
    clock.moment += timedelta(days=2)
    good = administrators_token(app)
    secrets = {"missing": "", "wrong": "cdl_wrong", "expired": expired.secret, "revoked": revoked.secret}
    audit, events = len(app.operations.audit()), len(app.operations.events())
    for secret in secrets.values():
        with pytest.raises(AuthenticationError) as caught:
            cordillera.connect(url, secret)
        check(caught.value)
        assert "token create" in caught.value.hint
        assert not secret or secret not in str(caught.value)
        monkeypatch.setenv("CORDILLERA_TOKEN", secret)
        result = cli("namespace", "create", "theirs", "--url", url)
        assert (result.code, result.out) == (6, "")
        answer = httpx2.post(
            f"{url}/api/v1/namespaces",
            json={"name": "x"},
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
        )
        assert answer.status_code == 401
    assert [namespace.name for namespace in app.namespaces.page()] == ["sales"]
    assert (len(app.operations.audit()), len(app.operations.events())) == (audit, events)
    with cordillera.connect(url, good) as lake:
        assert [namespace.name for namespace in lake.namespaces()] == ["sales"]


@pytest.mark.parametrize("key", [None, "k"], ids=["streamed", "with an idempotency key"])
@pytest.mark.parametrize("megabytes", [2, 60])
def test_a_request_over_the_limit(served: tuple[Application, str], key: str | None, megabytes: int) -> None:
    app, url = served
    batch = pa.record_batch({"id": range(1000), "text": ["x" * 1000] * 1000})
    batches = pa.RecordBatchReader.from_batches(batch.schema, (batch for _ in range(megabytes)))
    with cordillera.connect(url, administrators_token(app)) as lake:
        with pytest.raises(RequestTooLargeError) as caught:
            lake.dataset(ORDERS).write(batches, "append", idempotency_key=key)
        check(caught.value, "1.0 MB")
        assert caught.value.status == 413
        assert "max_request_mb" in caught.value.hint
        assert lake.dataset(ORDERS).snapshots() == []
        assert LocalBackend(app).orphans(older_than_hours=-1) == []
        lake.dataset(ORDERS).write([{"id": 1, "text": "small"}], "append")
        assert lake.dataset(ORDERS).scan().to_arrow().num_rows == 1
