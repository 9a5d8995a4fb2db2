from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

import cordillera
from cordillera.adapters.synchronizers import build_synchronizer, complete_paths
from cordillera.errors import InvalidConfigurationError, InvalidNameError, MissingExtraError, TargetUnreachableError
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, deliver, rows_of, spelled
from cordillera.testing.synchronizer_memory import MemorySynchronizer


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
        (
            "redis",
            {},
            [
                "'redis'",
                "clickhouse, duckdb, glue, iceberg, kafka, mariadb, parquet, postgres, redshift, snowflake,",
                "snowflake_iceberg,",
            ],
        ),
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


# --- redshift -------------------------------------------------------------------------------------------------------

REDSHIFT = {
    "host": "127.0.0.1",
    "port": "1",
    "database": "dev",
    "user": "lake",
    "password_env": "REDSHIFT_PASSWORD",
    "staging": "s3://bucket/folder",
    "iam_role": "arn:aws:iam::123456789012:role/lake-staging",
    "region": "eu-central-1",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"iam_role": ""}, "'iam_role' is missing"),
        ({"password": "hunter2"}, "'password' is unknown"),
        ({"iam_role": "lake-staging"}, "not the ARN"),
        ({"port": "five"}, "port 'five'"),
        ({"port": "70000"}, "port '70000'"),
        ({"staging": "s3://bucket"}, "staging folder"),
        ({"staging": "/tmp/staging"}, "staging folder"),
        ({"staging": "s3://bucket/it's"}, "staging folder"),
        ({"distribution": "hash"}, "distribution 'hash'"),
        ({"sorting": "interleaved"}, "sorting 'interleaved'"),
    ],
)
def test_wrong_settings_of_redshift_are_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=words):
        build_synchronizer("redshift", {**REDSHIFT, **change})


def test_redshift_is_built_from_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    target = build_synchronizer("redshift", {**REDSHIFT, "schema": "mart", "distribution": "even", "sorting": "none"})
    assert "mart" in repr(target)
    with pytest.raises(InvalidConfigurationError, match="REDSHIFT_PASSWORD"):
        target.check()
    monkeypatch.setenv("REDSHIFT_PASSWORD", "hunter2")
    with pytest.raises(TargetUnreachableError) as caught:
        target.check()
    assert "hunter2" not in repr(caught.value) + repr(target)


def test_missing_driver_of_redshift_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cordillera.adapters.synchronizers.redshift")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redshift_connector", None)
    with pytest.raises(MissingExtraError, match=r"cordillera\[redshift\]"):
        build_synchronizer("redshift", REDSHIFT)


# --- clickhouse -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": ""}, "'url' is missing"),
        ({"password": "hunter2"}, "'password' is unknown"),
        ({"url": "https://loader:hunter2@ch.example.com"}, "holds a password"),
        ({"url": "clickhouse://ch.example.com"}, "not the URL"),
        ({"url": "https://ch.example.com:port"}, "not the URL"),
        ({"url": "https://ch.example.com/?database=x"}, "not the URL"),
        ({"url": "http://ch.example.com:8123"}, "not encrypted"),
    ],
)
def test_wrong_settings_of_clickhouse_are_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=words) as caught:
        build_synchronizer("clickhouse", {"url": "https://127.0.0.1:1", **change})
    assert "hunter2" not in str(caught.value)


def test_clickhouse_is_built_from_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ch.example.com:8443/default" in repr(build_synchronizer("clickhouse", {"url": "https://ch.example.com/"}))
    target = build_synchronizer(
        "clickhouse",
        {"url": "http://127.0.0.1:1", "user": "loader", "password_env": "CLICKHOUSE_PASSWORD", "database": "mart"},
    )
    with pytest.raises(InvalidConfigurationError, match="CLICKHOUSE_PASSWORD"):
        target.check()
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "hunter2")
    with pytest.raises(TargetUnreachableError, match=r"127\.0\.0\.1:1/mart") as caught:
        target.check()
    assert "hunter2" not in repr(caught.value) + repr(target)


def test_missing_client_of_clickhouse_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cordillera.adapters.synchronizers.clickhouse")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "clickhouse_connect", None)
    with pytest.raises(MissingExtraError, match=r"cordillera\[clickhouse\]"):
        build_synchronizer("clickhouse", {"url": "https://127.0.0.1:1"})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"port": "0"}, "port '0'"),
        ({"tls": "maybe"}, "tls 'maybe'"),
        ({"password": "hunter2"}, "'password' is unknown"),
        ({"ca_file": "ca.pem"}, "relative"),
    ],
)
def test_settings_of_a_mariadb_target_that_cannot_work_are_refused(settings: dict[str, str], words: str) -> None:
    usual = {"host": "db.example.com", "database": "mart", "user": "loader", "password_env": "MARIADB_PASSWORD"}
    build_synchronizer("mariadb", usual)
    with pytest.raises(InvalidConfigurationError, match=words) as caught:
        build_synchronizer("mariadb", {**usual, **settings})
    assert "hunter2" not in repr(caught.value)


def test_missing_client_of_mariadb_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cordillera.adapters.synchronizers.mariadb")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(MissingExtraError, match=r"cordillera\[mariadb\]"):
        build_synchronizer("mariadb", {"host": "h", "database": "d", "user": "u", "password_env": "P"})


# --- native tables of Snowflake -------------------------------------------------------------------------------------

SNOWFLAKE = {"account": "company-lab", "user": "loader", "role": "loader", "database": "analytics"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "private_key_env and token_env; it has 0"),
        ({"private_key_env": "K", "token_env": "T"}, "it has 2"),
        ({"token_env": "T", "account": "a/b"}, "no account"),
        ({"token_env": "T", "endpoint": "http://example.com"}, "unencrypted"),
        ({"token_env": "T", "root": "s3://b"}, "'root' is unknown"),
        ({"token_env": "T", "warehouse": "w", "database": ""}, "'database' is missing"),
    ],
)
def test_settings_of_a_snowflake_target_that_cannot_work_are_refused(settings: dict[str, str], words: str) -> None:
    made = build_synchronizer("snowflake", {**SNOWFLAKE, "token_env": "T", "schema": "mart", "warehouse": "w"})
    assert repr(made) == "<SnowflakeSynchronizer: ANALYTICS.MART>"
    assert repr(build_synchronizer("snowflake", {**SNOWFLAKE, "private_key_env": "K"})).endswith("ANALYTICS.PUBLIC>")
    with pytest.raises(InvalidConfigurationError, match=words):
        build_synchronizer("snowflake", {**SNOWFLAKE, **settings})


def test_missing_connector_of_snowflake_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cordillera.adapters.synchronizers.snowflake")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "snowflake", None)
    with pytest.raises(MissingExtraError, match=r"cordillera\[snowflake\]"):
        build_synchronizer("snowflake", {**SNOWFLAKE, "token_env": "T"})


# --- relative paths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["t.duckdb", "./t.duckdb", "../t.duckdb", "data/t.duckdb", "~/t.duckdb"])
def test_a_relative_path_is_refused_and_can_be_completed(path: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigurationError, match="relative") as caught:
        build_synchronizer("duckdb", {"path": path})
    assert path in caught.value.message
    completed = complete_paths("duckdb", {"path": path}, tmp_path)
    assert Path(completed["path"]) == (tmp_path / Path(path).expanduser()).resolve()
    build_synchronizer("duckdb", completed)


def test_only_paths_are_completed(tmp_path: Path) -> None:
    for kind, config in [
        ("duckdb", {"path": "/data/t.duckdb"}),
        ("duckdb", {"path": ":memory:"}),
        ("duckdb", {"path": "s3://bucket/t.duckdb"}),
        ("postgres", {"dsn": "dbname=bi", "schema": "mart"}),
        ("abacus", {"path": "beads"}),
    ]:
        assert complete_paths(kind, config, tmp_path) == config


# --- kinds of other packages ----------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what installs a package of kinds: real metadata of a distribution on the path."""

    def install(package: str, **kinds: str) -> None:
        info = tmp_path / package / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{kind} = {target}" for kind, target in kinds.items()]
        (info / "entry_points.txt").write_text("\n".join(["[cordillera.synchronizers]", *lines]))
        monkeypatch.syspath_prepend(str(tmp_path / package))

    return install


def build_abacus(config: Mapping[str, str]) -> MemorySynchronizer:
    if config != {"beads": "10"}:
        raise InvalidConfigurationError("An abacus needs beads=10.")
    return MemorySynchronizer()


def test_a_package_adds_a_kind(installed: Callable[..., None], tmp_path: Path) -> None:
    installed("abacus_targets", abacus=f"{__name__}:build_abacus")
    with pytest.raises(InvalidConfigurationError, match="beads=10"):
        build_synchronizer("abacus", {})
    with pytest.raises(InvalidConfigurationError) as caught:
        build_synchronizer("redis", {})
    assert caught.value.hint.startswith("Kinds: abacus, clickhouse, duckdb, glue, iceberg, kafka, mariadb, parquet, ")
    with cordillera.create(tmp_path / "lake") as lake:
        assert lake.create_target("mine", "abacus", beads="10").kind == "abacus"
        lake.backend.check_target("mine")


def test_a_package_cannot_take_the_place_of_a_kind(installed: Callable[..., None], tmp_path: Path) -> None:
    installed("thief", duckdb=f"{__name__}:build_abacus")
    assert not isinstance(build_synchronizer("duckdb", {"path": str(tmp_path / "t.duckdb")}), MemorySynchronizer)


def test_two_packages_with_one_kind_are_named(installed: Callable[..., None]) -> None:
    installed("first", abacus=f"{__name__}:build_abacus")
    installed("second", abacus=f"{__name__}:build_abacus")
    with pytest.raises(InvalidConfigurationError) as caught:
        build_synchronizer("abacus", {})
    assert "first" in caught.value.message
    assert "second" in caught.value.message


@pytest.mark.parametrize("target", ["no_such_module:build", f"{__name__}:no_such_function"])
def test_a_kind_that_cannot_be_loaded_names_its_package(installed: Callable[..., None], target: str) -> None:
    installed("broken", abacus=target)
    with pytest.raises(InvalidConfigurationError, match=r"broken.*no_such") as caught:
        build_synchronizer("abacus", {})
    assert caught.value.hint
