"""The kinds of targets a lake can keep equal with its datasets, and how each is configured.

Packages add kinds by entry points of the group ``cordillera.synchronizers``: the name is the kind, the object a
function that takes a target's settings and returns its synchronizer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from cordillera.adapters.secrets import read_secret
from cordillera.errors import InvalidConfigurationError, MissingExtraError
from cordillera.ports.pointing import AnyTarget, PointingTarget
from cordillera.ports.synchronizer import Synchronizer
from cordillera.spec.local_path import is_relative, whole_path
from cordillera.spec.residency import RESIDENCY, residency_of
from cordillera.spec.target_limits import LIMITS, limits_of

if TYPE_CHECKING:
    from cordillera.adapters.synchronizers.snowflake_session import Account, Credentials

ENTRY_POINTS = "cordillera.synchronizers"
_ALLOCATOR = "ARROW_DEFAULT_MEMORY_POOL"
_SECRETS = ("password", "sslpassword", "oauth_client_secret")
_TOKENS, _KEYS = ("token", "credential"), ("access_key", "secret_key")
_MOST_EXPORTS, _MOST_PORTS = 1000, 65_536
_S3_ROOT = re.compile(r"s3://[a-z0-9.-]+(/[^/\s'\\]+)*", re.ASCII)
_STAGING = re.compile(r"s3://[a-z0-9.-]+(/[\w.=-]+)+/?", re.ASCII)
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_OF_ALL_KINDS = (RESIDENCY, *LIMITS)
_LAYOUTS = ("whole", "partitions")
_FILE_SETTINGS = ("keep", "endpoint", "region", "access_key_env", "secret_key_env")


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of target: the settings it must have, those it may have, and what builds it from them.

    Attributes:
        paths: Which of the settings are paths of local files.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    build: Callable[[Mapping[str, str]], AnyTarget]
    paths: tuple[str, ...] = ()


def build_synchronizer(kind: str, config: Mapping[str, str]) -> AnyTarget:
    """Return what drives a configured target, without connecting.

    Args:
        kind: ``postgres``, ``redshift``, ``clickhouse``, ``mariadb``, ``duckdb``, ``parquet``, ``tsv``, ``iceberg``,
            ``glue``, ``snowflake_iceberg``, ``snowflake``, ``kafka``, or one that an installed package adds.
        config: Its settings. ``postgres``: ``dsn`` (without a password), ``password_env`` (the name of an environment
            variable that holds it, read when a connection is opened), ``schema`` (``public`` where not given).
            ``redshift``: ``host``, ``database``, ``user``, ``password_env`` (as above), ``staging``
            (``s3://bucket/folder``), ``iam_role`` (by which the cluster reads it: an ARN, or ``default``), ``port``
            (5439), ``schema``, ``distribution`` (``key``, ``even``, ``all``, ``auto``), ``sorting`` (``key``, ``auto``,
            ``none``), and for the staging folder the same as ``parquet``. ``clickhouse``: ``url``
            (``https://host:8443``), ``user`` and ``database`` (``default`` where not given), ``password_env``.
            ``mariadb``: ``host``, ``database``, ``user``, ``password_env``, ``port`` (3306), ``tls`` (``verify`` or
            ``off``, which it is on this machine where not given), ``ca_file``. ``duckdb``: the whole ``path`` of the
            file.
            ``parquet`` and ``tsv``: ``root``, a folder's whole path or
            ``s3://bucket/folder``, ``keep`` (how many exports stay), ``layout`` (``whole``, or ``partitions`` for
            folders by partition), and for S3 ``endpoint``, ``region`` and the names
            of environment variables that hold the keys: ``access_key_env``, ``secret_key_env``. ``iceberg``: ``uri``
            (what comes before ``/v1``), ``namespace``, ``warehouse``, ``token_env`` or ``credential_env`` (the names of
            environment variables with a bearer token, or with ``client_id:client_secret``), ``format_version``, and
            for files the same as ``parquet``, where the catalog gives out no credentials. ``glue``: ``database``,
            ``region``, ``catalog_id`` (an account), ``endpoint``; credentials by AWS's usual chain.
            ``snowflake_iceberg``: ``account``, ``user``, ``role``, ``database``, ``schema``, ``root`` (where the
            external volume begins), ``private_key_env`` or ``token_env`` (the names of environment variables with a PEM
            file, or with a programmatic access token), ``external_volume`` and ``catalog`` (``CORDILLERA`` where not
            given), ``warehouse``, ``endpoint``. ``snowflake``: ``account``, ``user``, ``role``, ``database``,
            ``schema`` (``PUBLIC`` where not given), and the secret, ``warehouse`` and ``endpoint`` as that. ``kafka``:
            see
            ``cordillera.adapters.synchronizers.kafka_settings``. All kinds:
            ``residency``, where the target keeps its data, and the limits of ``cordillera.spec.target_limits``.

    Raises:
        InvalidConfigurationError: If the kind is unknown, or a setting is missing, unknown or cannot work.
        MissingExtraError: If the kind needs a package that is not installed.
    """
    residency_of(config)
    limits_of(config)
    config = {name: value for name, value in config.items() if name not in _OF_ALL_KINDS}
    found = _KINDS.get(kind)
    if found is None:
        return _added(kind)(config)
    valid = found.required + found.optional
    settings = {name: value for name, value in config.items() if value}
    problems = [f"{name!r} is missing" for name in found.required if name not in settings]
    problems += [f"{name!r} is unknown" for name in config if name not in valid]
    if problems:
        raise InvalidConfigurationError(
            f"A {kind} target cannot be configured so: {', '.join(problems)}.",
            hint=f"Settings: {', '.join(found.required)}; optional: {', '.join(found.optional) or 'none'}.",
        )
    for name in found.paths:
        if is_relative(settings.get(name, "")):
            raise InvalidConfigurationError(
                f"The {name} {settings[name]!r} of a {kind} target is relative: every process that delivers would look "
                "for it in a directory of its own.",
                hint="Give the whole path, such as /data/lake.duckdb.",
            )
    return found.build(settings)


def complete_paths(kind: str, config: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return a target's settings with the relative paths of local files among them counted from a folder."""
    paths = _KINDS[kind].paths if kind in _KINDS else ()
    return {name: whole_path(value, folder) if name in paths else value for name, value in config.items()}


def _added(kind: str) -> Callable[[Mapping[str, str]], AnyTarget]:
    """Return what builds the synchronizers of a kind that an installed package adds."""
    added = entry_points(group=ENTRY_POINTS)
    found = list(added.select(name=kind))
    if not found:
        raise InvalidConfigurationError(
            f"There is no kind of target called {kind!r}.", hint=f"Kinds: {', '.join(sorted({*_KINDS, *added.names}))}."
        )
    if len(found) > 1:
        raise InvalidConfigurationError(
            f"Several installed packages add the kind of target {kind!r}: {', '.join(map(_package_of, found))}.",
            hint="Uninstall all but one of them.",
        )
    try:
        build: Callable[[Mapping[str, str]], AnyTarget] = found[0].load()
    except (ImportError, AttributeError) as error:
        raise InvalidConfigurationError(
            f"The kind of target {kind!r} of the package {_package_of(found[0])} cannot be loaded: {error}.",
            hint="Install the package anew, with what it needs.",
        ) from error
    return build


def _package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _postgres(config: Mapping[str, str]) -> Synchronizer:
    try:
        from psycopg import Error, conninfo

        from cordillera.adapters.synchronizers.postgres import PostgresSynchronizer
    except ImportError as error:
        raise MissingExtraError(
            "A postgres target needs the package psycopg.", hint="Run: pip install 'cordillera[postgres]'"
        ) from error
    dsn, variable = config["dsn"], config.get("password_env")
    try:
        secrets = [name for name in _SECRETS if conninfo.conninfo_to_dict(dsn).get(name)]
    except Error:
        secrets = []  # the synchronizer refuses what cannot be read
    if secrets:
        raise InvalidConfigurationError(
            f"The dsn of a postgres target holds a {secrets[0]}, which would be stored in clear.",
            hint="Put the password into an environment variable, and the variable's name into password_env.",
        )
    password = None if variable is None else lambda: read_secret(variable)
    return PostgresSynchronizer(dsn, schema=config.get("schema", "public"), password=password)


def _duckdb(config: Mapping[str, str]) -> Synchronizer:
    from cordillera.adapters.synchronizers.duckdb import DuckDBSynchronizer

    return DuckDBSynchronizer(config["path"])


def _files(kind: str, config: Mapping[str, str]) -> Synchronizer:
    from cordillera.adapters.storage import build_storage
    from cordillera.adapters.synchronizers.file_formats import FORMATS
    from cordillera.adapters.synchronizers.files import FilesSynchronizer

    keep = config.get("keep", "3")
    if not keep.isdigit() or not 1 <= int(keep) <= _MOST_EXPORTS:
        raise InvalidConfigurationError(
            f"A {kind} target cannot keep {keep[:20]!r} exports.", hint=f"Give a number from 1 to {_MOST_EXPORTS}."
        )
    layout = config.get("layout", "whole")
    if layout not in _LAYOUTS:
        raise InvalidConfigurationError(
            f"A {kind} target has no layout {layout[:20]!r}.", hint=f"Give {' or '.join(_LAYOUTS)}."
        )
    storage = build_storage(config["root"], _storage_options(config))
    return FilesSynchronizer(storage, FORMATS[kind], keep=int(keep), by_partition=layout == "partitions")


def _storage_options(config: Mapping[str, str]) -> dict[str, str]:
    """Return the options of the storage that a target's files go to."""
    options = {name: config[name] for name in ("endpoint", "region") if name in config}
    for name in _KEYS:
        if variable := config.get(f"{name}_env"):
            options[name] = read_secret(variable)
    return options


def _redshift(config: Mapping[str, str]) -> Synchronizer:
    from cordillera.adapters.storage import build_storage
    from cordillera.adapters.synchronizers.redshift_statements import Layout, check_role

    try:
        from cordillera.adapters.synchronizers.redshift import RedshiftSynchronizer
        from cordillera.adapters.synchronizers.redshift_session import Place, open_session
    except ImportError as error:
        raise MissingExtraError(
            "A redshift target needs the package redshift-connector.", hint="Run: pip install 'cordillera[redshift]'"
        ) from error
    port, staging, variable = config.get("port", "5439"), config["staging"], config["password_env"]
    if not port.isdigit() or not 0 < int(port) < _MOST_PORTS:
        raise InvalidConfigurationError(f"A redshift target cannot have the port {port[:20]!r}.", hint="Often: 5439.")
    if not _STAGING.fullmatch(staging):
        raise InvalidConfigurationError(
            f"{staging[:100]!r} cannot be the staging folder of a redshift target.",
            hint="Give s3://bucket/folder, of letters, digits and ._-/ alone, in the region of the cluster.",
        )
    role = check_role(config["iam_role"])
    layout = Layout(config.get("distribution", "key"), config.get("sorting", "key"))
    place = Place(config["host"], int(port), config["database"], config["user"])
    storage = build_storage(staging.rstrip("/"), _storage_options(config))
    return RedshiftSynchronizer(
        lambda: open_session(place, read_secret(variable)),
        storage,
        role,
        schema=config.get("schema", "public"),
        layout=layout,
    )


def _clickhouse(config: Mapping[str, str]) -> Synchronizer:
    try:
        from cordillera.adapters.synchronizers.clickhouse import ClickHouseSynchronizer
        from cordillera.adapters.synchronizers.clickhouse_session import place_of
    except ImportError as error:
        raise MissingExtraError(
            "A clickhouse target needs the package clickhouse-connect.",
            hint="Run: pip install 'cordillera[clickhouse]'",
        ) from error
    variable = config.get("password_env")
    place = place_of(config["url"], user=config.get("user", "default"), database=config.get("database", "default"))
    return ClickHouseSynchronizer(place, lambda: "" if variable is None else read_secret(variable))


def _mariadb(config: Mapping[str, str]) -> Synchronizer:
    try:
        from cordillera.adapters.synchronizers.mariadb import MariaDBSynchronizer
        from cordillera.adapters.synchronizers.mariadb_session import Place
    except ImportError as error:
        raise MissingExtraError(
            "A mariadb target needs the package PyMySQL.", hint="Run: pip install 'cordillera[mariadb]'"
        ) from error
    host, port, variable = config["host"], config.get("port", "3306"), config["password_env"]
    if not port.isdigit() or not 0 < int(port) < _MOST_PORTS:
        raise InvalidConfigurationError(f"A mariadb target cannot have the port {port[:20]!r}.", hint="Often: 3306.")
    tls = config.get("tls", "off" if host in _THIS_MACHINE else "verify")
    if tls not in ("verify", "off"):
        raise InvalidConfigurationError(f"A mariadb target has no tls {tls[:20]!r}.", hint="Give verify or off.")
    place = Place(host, int(port), config["user"], config["database"], tls == "verify", config.get("ca_file", ""))
    return MariaDBSynchronizer(place, lambda: read_secret(variable))


def _iceberg(config: Mapping[str, str]) -> Synchronizer:
    from cordillera.adapters.synchronizers.iceberg import IcebergSynchronizer
    from cordillera.adapters.synchronizers.iceberg_catalog import Access, RestCatalog
    from cordillera.adapters.synchronizers.iceberg_files import FileAccess

    version = config.get("format_version", "3")
    if version not in ("2", "3"):
        raise InvalidConfigurationError(f"Iceberg has no format version {version[:20]!r} to write.", hint="Use 3 or 2.")
    if "token_env" in config and "credential_env" in config:
        raise InvalidConfigurationError(
            "An iceberg target has both a token_env and a credential_env.", hint="Leave one of them out."
        )
    secrets = {name: partial(read_secret, config[f"{name}_env"]) for name in _TOKENS if f"{name}_env" in config}
    catalog = RestCatalog(Access(config["uri"], config.get("warehouse", ""), **secrets), config["namespace"])
    own = {name: config[name] for name in ("endpoint", "region") if name in config}
    keys = {name: partial(read_secret, config[f"{name}_env"]) for name in _KEYS if f"{name}_env" in config}
    files = FileAccess(own, keys, local=catalog.is_local)
    return IcebergSynchronizer(catalog, files.storage_for, format_version=int(version))


def _glue(config: Mapping[str, str]) -> PointingTarget:
    try:
        from cordillera.adapters.synchronizers.glue import GlueSynchronizer
    except ImportError as error:
        raise MissingExtraError(
            "A glue target needs the package boto3.", hint="Run: pip install 'cordillera[glue]'"
        ) from error
    return GlueSynchronizer(**config)


def _snowflake_login(kind: str, config: Mapping[str, str]) -> tuple[Account, Credentials]:
    """Return which account of Snowflake a target is in, and how it logs in there."""
    from cordillera.adapters.synchronizers.snowflake_statements import fold

    chosen = os.environ.get(_ALLOCATOR)
    try:
        from cordillera.adapters.synchronizers.snowflake_session import Account, access_token, key_pair
    except ImportError as error:
        raise MissingExtraError(
            f"A {kind} target needs the package snowflake-connector-python.",
            hint="Run: pip install 'cordillera[snowflake]'",
        ) from error
    if chosen is None:
        os.environ.pop(_ALLOCATOR, None)  # the connector sets it, and processes that are started later would heed it
    ways = {"private_key_env": key_pair, "token_env": access_token}
    given = [name for name in ways if name in config]
    if len(given) != 1:
        raise InvalidConfigurationError(
            f"A {kind} target needs one of {' and '.join(ways)}; it has {len(given)}.",
            hint="Put the key or the token into an environment variable, and the variable's name into the setting.",
        )
    way, variable = ways[given[0]], config[given[0]]
    optional = {name: config.get(name, "") for name in ("warehouse", "endpoint")}
    account = Account(config["account"], config["user"], fold(config["role"], "role"), **optional)
    return account, lambda: way(read_secret(variable))


def _snowflake_iceberg(config: Mapping[str, str]) -> PointingTarget:
    from cordillera.adapters.synchronizers.snowflake_statements import Shelf, fold

    account, credentials = _snowflake_login("snowflake_iceberg", config)
    from cordillera.adapters.synchronizers.snowflake_iceberg import SnowflakeIcebergSynchronizer

    root = config["root"].rstrip("/")
    if not _S3_ROOT.fullmatch(root):
        raise InvalidConfigurationError(
            f"{config['root'][:100]!r} cannot be the root of a snowflake_iceberg target.",
            hint="Give the root of the lake's storage, or a folder above or in it: s3://bucket/folder.",
        )
    shelf = Shelf(
        database=fold(config["database"], "database"),
        schema=fold(config["schema"], "schema"),
        volume=fold(config.get("external_volume", "CORDILLERA"), "volume"),
        catalog=fold(config.get("catalog", "CORDILLERA"), "catalog integration"),
        root=root,
        role=account.role,
    )
    return SnowflakeIcebergSynchronizer(account, credentials, shelf)


def _snowflake(config: Mapping[str, str]) -> Synchronizer:
    from cordillera.adapters.synchronizers.snowflake_statements import fold

    account, credentials = _snowflake_login("snowflake", config)
    from cordillera.adapters.synchronizers.snowflake import SnowflakeSynchronizer

    database, schema = fold(config["database"], "database"), fold(config.get("schema", "PUBLIC"), "schema")
    return SnowflakeSynchronizer(account, credentials, database, schema)


def _kafka(config: Mapping[str, str]) -> Synchronizer:
    from cordillera.adapters.synchronizers.kafka_settings import connection, topics

    try:
        from cordillera.adapters.synchronizers.kafka import KafkaSynchronizer, TopicSettings
        from cordillera.adapters.synchronizers.kafka_cluster import Cluster
    except ImportError as error:
        raise MissingExtraError(
            "A kafka target needs the package confluent-kafka.", hint="Run: pip install 'cordillera[kafka]'"
        ) from error
    password = {"sasl.password": partial(read_secret, config["password_env"])} if "password_env" in config else {}
    cluster = Cluster(config["servers"], connection(config), password)
    return KafkaSynchronizer(cluster, TopicSettings(**topics(config)))


_KINDS = {
    "postgres": _Kind(("dsn",), ("password_env", "schema"), _postgres),
    "redshift": _Kind(
        ("host", "database", "user", "password_env", "staging", "iam_role"),
        ("port", "schema", "distribution", "sorting", *_FILE_SETTINGS[1:]),
        _redshift,
    ),
    "clickhouse": _Kind(("url",), ("user", "password_env", "database"), _clickhouse),
    "mariadb": _Kind(
        ("host", "database", "user", "password_env"), ("port", "tls", "ca_file"), _mariadb, paths=("ca_file",)
    ),
    "duckdb": _Kind(("path",), (), _duckdb, paths=("path",)),
    "iceberg": _Kind(
        ("uri", "namespace"),
        ("warehouse", "token_env", "credential_env", "format_version", *_FILE_SETTINGS[1:]),
        _iceberg,
    ),
    "glue": _Kind(("database",), ("region", "catalog_id", "endpoint"), _glue),
    "snowflake_iceberg": _Kind(
        ("account", "user", "role", "database", "schema", "root"),
        ("private_key_env", "token_env", "external_volume", "catalog", "warehouse", "endpoint"),
        _snowflake_iceberg,
    ),
    "snowflake": _Kind(
        ("account", "user", "role", "database"),
        ("schema", "private_key_env", "token_env", "warehouse", "endpoint"),
        _snowflake,
    ),
    "kafka": _Kind(
        ("servers",),
        ("security", "mechanism", "user", "password_env", "ca_file", "partitions", "replication", "keep", "tombstones"),
        _kafka,
        paths=("ca_file",),
    ),
    **{
        kind: _Kind(("root",), ("layout", *_FILE_SETTINGS), partial(_files, kind), paths=("root",))
        for kind in ("parquet", "tsv")
    },
}
