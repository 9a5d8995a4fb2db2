"""Snowflake itself: collected only where CORDILLERA_TEST_SNOWFLAKE_ACCOUNT is set.

It reads a lake's files, and keeps native tables. CONTRIBUTING.md has the environment variables. The lake is a folder of
its own on S3, and stays there; the native tables of every test are in a schema of their own, which it removes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

import cordillera
from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.adapters.synchronizers.snowflake_session import Account, key_pair, open_session
from cordillera.ports.pointing import PointingTarget
from cordillera.ports.synchronizer import Synchronizer
from cordillera.spec.schema_evolution import AddColumn
from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_suite import SynchronizerSuite

_VARIABLE = "CORDILLERA_TEST_SNOWFLAKE_{}"
_SETTINGS = ("account", "user", "role", "database", "schema", "root", "external_volume", "catalog")


def settings() -> dict[str, str]:
    found = {name: os.environ[_VARIABLE.format(name.upper())] for name in _SETTINGS}
    return {**found, "private_key_env": _VARIABLE.format("PRIVATE_KEY")}


def rows(table: str) -> list[tuple[object, ...]]:
    """Return the rows of a table as a reader in Snowflake finds them."""
    given = settings()
    return run(f"SELECT * FROM {given['database']}.{given['schema']}.{table} ORDER BY id")


def run(statement: str) -> list[tuple[object, ...]]:
    """Run a statement and return the rows of its answer."""
    given = settings()
    account = Account(given["account"], given["user"], given["role"], os.environ[_VARIABLE.format("WAREHOUSE")])
    secret = os.environ[given["private_key_env"]]
    with closing(open_session(account, lambda: key_pair(secret))) as session:
        return [tuple(row.values()) for row in session.rows(statement)]


class TestSnowflakeTables(HistorySuite, SynchronizerSuite):
    signed_zeros = False  # nobody has looked

    @pytest.fixture
    def synchronizer(self) -> Iterator[Synchronizer]:
        schema, of_files = f"CORDILLERA_TEST_{uuid4().hex}", ("schema", "root", "external_volume", "catalog")
        given = {name: value for name, value in settings().items() if name not in of_files}
        run(f"CREATE SCHEMA {given['database']}.{schema}")
        made = {**given, "schema": schema, "warehouse": os.environ[_VARIABLE.format("WAREHOUSE")]}
        target = build_synchronizer("snowflake", made)
        assert not isinstance(target, PointingTarget)
        yield target
        run(f"DROP SCHEMA {given['database']}.{schema} CASCADE")


def test_snowflake_finds_every_commit_of_a_dataset(tmp_path: Path) -> None:
    table = f"orders_{uuid4().hex}"
    root = f"{settings()['root'].rstrip('/')}/{table}"
    with cordillera.create(tmp_path / "lake", storage_root=root) as lake:
        lake.create_target("snowflake", "snowflake_iceberg", **settings())
        lake.create_namespace("sales")
        columns = {"id": pa.int64(), "country": pa.string()}
        orders = lake.create_dataset("sales.orders", columns, key=["id"], description="What's ordered.")
        orders.write([{"id": 1, "country": "PE"}, {"id": 2, "country": "CL"}], "upsert")
        made = orders.subscribe("snowflake", table=table)
        lake.run_pending()
        assert rows(table) == [(1, "PE"), (2, "CL")]

        orders.write([{"id": 1}], "delete")
        orders.evolve(AddColumn("total", pa.int32()))
        orders.write([{"id": 3, "country": "BO", "total": 7}], "upsert")
        orders.update(description="What was ordered.")
        lake.run_pending()
        assert rows(table) == [(2, "CL", None), (3, "BO", 7)]
        assert lake.backend.verify_subscription(made.id).equal

        lake.backend.revoke_subscription(made.id, keep_rows=False)
        lake.run_pending()
        target = build_synchronizer("snowflake_iceberg", settings())
        assert isinstance(target, PointingTarget)
        assert target.points_at(made.id, table) is None
