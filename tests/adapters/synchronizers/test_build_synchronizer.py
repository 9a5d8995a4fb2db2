from __future__ import annotations

import sys
import traceback
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.errors import InvalidConfigurationError, InvalidNameError, MissingExtraError, TargetUnreachableError
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, deliver, rows_of, spelled


def test_postgres_target_is_built_from_its_settings(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA mart")
    target = build_synchronizer("postgres", {"dsn": postgres_dsn, "schema": "mart"})
    target.check()
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    with psycopg.connect(postgres_dsn) as reader:
        assert reader.execute("SELECT count(*) FROM mart.orders").fetchone() == (3,)


def test_duckdb_target_is_built_from_its_settings(tmp_path: Path) -> None:
    target = build_synchronizer("duckdb", {"path": str(tmp_path / "t.duckdb")})
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("redis", {}, ["'redis'", "duckdb, postgres"]),
        ("postgres", {}, ["'dsn' is missing", "optional: password_env, schema"]),
        ("postgres", {"dsn": ""}, ["'dsn' is missing"]),
        ("postgres", {"dsn": "dbname=a", "table": "x"}, ["'table' is unknown", "dsn"]),
        ("duckdb", {"file": "x"}, ["'path' is missing", "'file' is unknown", "optional: none"]),
        ("duckdb", {"path": "s3://bucket/x.duckdb"}, ["not the path"]),
        ("duckdb", {"path": ":memory:"}, ["not the path"]),
    ],
)
def test_wrong_settings_are_named_with_the_right_ones(kind: str, config: dict[str, str], expected: list[str]) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        build_synchronizer(kind, config)
    for words in expected:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:hunter2@localhost/db",
        "host=localhost password=hunter2",
        "postgresql://localhost/db?sslpassword=hunter2",
    ],
)
def test_password_in_clear_is_refused(dsn: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        build_synchronizer("postgres", {"dsn": dsn})
    assert "hunter2" not in repr(caught.value)
    assert "password_env" in caught.value.hint


@pytest.mark.parametrize("dsn", ["postgresql://user:hunter2@[broken/db", "host=localhost hunter2"])
def test_unreadable_dsn_is_not_repeated(dsn: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        build_synchronizer("postgres", {"dsn": dsn})
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.fixture
def locked_dsn(postgres_dsn: str) -> str:
    """A database whose user 'locked' must give a password."""
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'locked'").fetchone() is None:
            admin.execute("CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'open sesame'")
            (hba_file,) = admin.execute("SHOW hba_file").fetchone() or ("",)
            rules = Path(hba_file).read_text()
            Path(hba_file).write_text("local all locked scram-sha-256\n" + rules)
            admin.execute("SELECT pg_reload_conf()")
    return conninfo.make_conninfo(postgres_dsn, user="locked")


def test_password_comes_from_the_environment(locked_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = build_synchronizer("postgres", {"dsn": locked_dsn, "password_env": "TARGET_PASSWORD"})
    with pytest.raises(InvalidConfigurationError, match="TARGET_PASSWORD"):
        target.check()
    monkeypatch.setenv("TARGET_PASSWORD", "not open sesame")
    with pytest.raises(InvalidConfigurationError) as caught:
        target.check()
    assert "sesame" not in repr(caught.value) + repr(target)
    monkeypatch.setenv("TARGET_PASSWORD", "open sesame")
    target.check()
    assert "sesame" not in repr(target)


def test_missing_password_user_database_and_server_are_told_apart(locked_dsn: str, tmp_path: Path) -> None:
    for change in ({}, {"user": "nobody_here"}, {"user": "postgres", "dbname": "nowhere"}):
        with pytest.raises(InvalidConfigurationError, match="refused the connection"):
            build_synchronizer("postgres", {"dsn": conninfo.make_conninfo(locked_dsn, **change)}).check()
    for dsn in (conninfo.make_conninfo(locked_dsn, host=str(tmp_path)), "host=127.0.0.1 port=1 dbname=x"):
        with pytest.raises(TargetUnreachableError):
            build_synchronizer("postgres", {"dsn": dsn}).read_cursor(deliver(ORDERS, (None, 1)).subscription_id)


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cordillera.adapters.synchronizers.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"cordillera\[postgres\]"):
        build_synchronizer("postgres", {"dsn": "dbname=x"})


def test_schema_name_is_checked() -> None:
    with pytest.raises(InvalidNameError, match="64 bytes"):
        build_synchronizer("postgres", {"dsn": "dbname=x", "schema": "s" * 64})
