"""Other engines on the lake's Iceberg REST catalog: each finds tables by name, and does with them what it can."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from importlib import resources
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog

from tests.interop.engines import start_sail
from tests.servers_s3 import S3Server

REGION = "us-east-1"


class RestEngine(ABC):
    """An engine with a catalog, which can at least read.

    Args:
        url, token: The lake's server, and what gives access to it.
        s3: Where the lake's files are; None for files on this machine.

    Attributes:
        title: Its name and version, as the documentation has them.
        package: Where it comes from.
        local: Whether it reads files on this machine.
        deletion_vectors: Whether it knows them.
        nested: Whether it reads tables of namespaces within others.
    """

    title: str
    package: str
    local = True
    deletion_vectors = True
    nested = True

    @abstractmethod
    def __init__(self, url: str, token: str, s3: S3Server | None = None) -> None: ...

    @abstractmethod
    def tables(self, namespace: str) -> list[str]:
        """List the tables of a namespace."""

    @abstractmethod
    def read(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of a table by id."""


class Writer(RestEngine):
    """An engine that writes.

    Attributes:
        writes: Format versions that it can write.
    """

    writes: tuple[int, ...] = (2, 3)

    @abstractmethod
    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows."""

    @abstractmethod
    def update(self, table: str, name: str, where: str) -> None:
        """Give the rows that satisfy a condition another name."""

    @abstractmethod
    def delete(self, table: str, where: str) -> None:
        """Delete the rows that satisfy a condition."""

    @abstractmethod
    def merge(self, table: str, rows: pa.Table) -> None:
        """Update rows by id, insert the others."""


class Definer(Writer):
    """An engine that creates tables where the catalog puts them, and changes what they look like."""

    @abstractmethod
    def create(self, table: str, rows: pa.Table) -> None:
        """Create a table with rows."""

    @abstractmethod
    def add_column(self, table: str) -> None:
        """Add the column ``age``, a 32-bit number."""


class OnPyIceberg(RestEngine):
    """An engine that is led to tables by PyIceberg's catalog."""

    def __init__(self, url: str, token: str, s3: S3Server | None = None) -> None:
        storage = {} if s3 is None else {
            "s3.endpoint": s3.endpoint,
            "s3.access-key-id": s3.access_key,
            "s3.secret-access-key": s3.secret_key,
            "s3.region": REGION,
        }  # fmt: skip
        self._s3 = s3
        self._catalog = RestCatalog("lake", uri=f"{url}/iceberg", **self.credentials(url, token), **storage)

    def credentials(self, url: str, token: str) -> dict[str, str]:
        """Return how the client shows who it is."""
        return {"token": token}

    def tables(self, namespace: str) -> list[str]:
        return [name for *_, name in self._catalog.list_tables(namespace)]


class PyIceberg(OnPyIceberg, Definer):
    """PyIceberg itself, which cannot write format version 3."""

    title, package = "PyIceberg 0.12", "pyiceberg"
    writes = (2,)

    def read(self, table: str) -> list[dict[str, Any]]:
        return self._catalog.load_table(table).scan().to_arrow().sort_by("id").to_pylist()

    def append(self, table: str, rows: pa.Table) -> None:
        self._catalog.load_table(table).append(rows)

    def update(self, table: str, name: str, where: str) -> None:
        loaded = self._catalog.load_table(table)
        changed = loaded.scan(row_filter=where).to_arrow()
        names = pa.array([name] * changed.num_rows, changed.schema.field("name").type)
        loaded.overwrite(changed.set_column(1, "name", names).cast(rows_schema(changed)), overwrite_filter=where)

    def delete(self, table: str, where: str) -> None:
        self._catalog.load_table(table).delete(where)

    def merge(self, table: str, rows: pa.Table) -> None:
        self._catalog.load_table(table).upsert(rows, join_cols=["id"])

    def create(self, table: str, rows: pa.Table) -> None:
        with self._catalog.create_table_transaction(table, schema=rows.schema) as transaction:
            transaction.append(rows)

    def add_column(self, table: str) -> None:
        from pyiceberg.types import IntegerType

        with self._catalog.load_table(table).update_schema() as change:
            change.add_column("age", IntegerType())


def rows_schema(table: pa.Table) -> pa.Schema:
    """Return a schema in which the id is never missing, as PyIceberg wants to be told."""
    return pa.schema([field.with_nullable(field.name != "id") for field in table.schema])


class DuckDB(Definer):
    """DuckDB's iceberg extension."""

    title, package = "DuckDB 1.5", "duckdb"
    delegation = "none"
    """How it is to get at files: with keys of its own, or ``vended_credentials``."""

    def __init__(self, url: str, token: str, s3: S3Server | None = None) -> None:
        self._connection = duckdb.connect()
        for name in ("avro", "httpfs", "iceberg"):
            folder = resources.files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
            self._connection.execute(f"LOAD '{folder / f'{name}.duckdb_extension'}'")
        if s3 is not None:
            self._connection.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{s3.access_key}', SECRET '{s3.secret_key}', REGION '{REGION}', "
                f"ENDPOINT '{s3.endpoint.removeprefix('http://')}', URL_STYLE 'path', USE_SSL false)"
            )
        shown = f"ENDPOINT '{url}/iceberg', ACCESS_DELEGATION_MODE '{self.delegation}', {self.credentials(url, token)}"
        self._connection.execute(f"ATTACH 'lake' AS lake (TYPE iceberg, SUPPORT_NESTED_NAMESPACES true, {shown})")

    def credentials(self, url: str, token: str) -> str:
        """Return how the client shows who it is."""
        return f"TOKEN '{token}'"

    def tables(self, namespace: str) -> list[str]:
        shown = "SELECT table_name FROM information_schema.tables WHERE table_schema = ?"
        return [name for (name,) in self._connection.execute(shown, [namespace]).fetchall()]

    def read(self, table: str) -> list[dict[str, Any]]:
        schema, _, name = table.rpartition(".")
        found = self._connection.execute(f'SELECT * FROM lake."{schema}".{name} ORDER BY id')
        return found.to_arrow_table().to_pylist()

    def append(self, table: str, rows: pa.Table) -> None:
        self._with(rows, f"INSERT INTO lake.{table} SELECT * FROM given")

    def update(self, table: str, name: str, where: str) -> None:
        self._connection.execute(f"UPDATE lake.{table} SET name = '{name}' WHERE {where}")

    def delete(self, table: str, where: str) -> None:
        self._connection.execute(f"DELETE FROM lake.{table} WHERE {where}")

    def merge(self, table: str, rows: pa.Table) -> None:
        self._with(
            rows,
            f"MERGE INTO lake.{table} t USING given g ON t.id = g.id "
            "WHEN MATCHED THEN UPDATE SET name = g.name WHEN NOT MATCHED THEN INSERT VALUES (g.id, g.name)",
        )

    def create(self, table: str, rows: pa.Table) -> None:
        self._with(rows, f"CREATE TABLE lake.{table} AS SELECT * FROM given")

    def add_column(self, table: str) -> None:
        self._connection.execute(f"ALTER TABLE lake.{table} ADD COLUMN age INTEGER")

    def _with(self, rows: pa.Table, statement: str) -> None:
        self._connection.register("given", rows)
        self._connection.execute(statement)
        self._connection.unregister("given")


class Sail(Writer):
    """Sail, which is Spark without Java. It puts new tables where it likes, and cannot alter any."""

    title, package = "Sail 0.7", "pysail"
    nested = False

    def __init__(self, url: str, token: str, s3: S3Server | None = None) -> None:
        catalog = {"type": "iceberg-rest", "name": "lake", "uri": f"{url}/iceberg", "bearer_access_token": token}
        fields = ", ".join(f"{name}={json.dumps(value)}" for name, value in catalog.items())
        self._session = start_sail({"SAIL_CATALOG__LIST": f"[{{{fields}}}]", "SAIL_CATALOG__DEFAULT_CATALOG": "lake"})
        self._storage = {} if s3 is None else {
            "AWS_ENDPOINT_URL": s3.endpoint,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
        }  # fmt: skip

    def tables(self, namespace: str) -> list[str]:
        shown = self._run(f"SHOW TABLES IN lake.{namespace}")
        return list(shown["tableName"].to_pylist())

    def read(self, table: str) -> list[dict[str, Any]]:
        return list(self._run(f"SELECT * FROM lake.{table} ORDER BY id").to_pylist())

    def append(self, table: str, rows: pa.Table) -> None:
        self._run(f"INSERT INTO lake.{table} {values(rows)}")

    def update(self, table: str, name: str, where: str) -> None:
        self._run(f"UPDATE lake.{table} SET name = '{name}' WHERE {where}")

    def delete(self, table: str, where: str) -> None:
        self._run(f"DELETE FROM lake.{table} WHERE {where}")

    def merge(self, table: str, rows: pa.Table) -> None:
        self._run(
            f"MERGE INTO lake.{table} t USING (SELECT * FROM ({values(rows)}) AS v(id, name)) g ON t.id = g.id "
            "WHEN MATCHED THEN UPDATE SET name = g.name WHEN NOT MATCHED THEN INSERT *"
        )

    def _run(self, statement: str) -> pa.Table:
        with pytest.MonkeyPatch.context() as patch:  # it reads them when it reaches a bucket for the first time
            for name, value in self._storage.items():
                patch.setenv(name, value)
            return self._session.sql(statement).toArrow()


def values(rows: pa.Table) -> str:
    """Return rows of an id and a name as SQL."""
    pairs = zip(rows["id"].to_pylist(), rows["name"].to_pylist(), strict=True)
    return "VALUES " + ", ".join(f"(CAST({number} AS BIGINT), '{name}')" for number, name in pairs)


class Polars(OnPyIceberg):
    """Polars, with its own reader of data and delete files."""

    title, package = "Polars 2.1", "polars"

    def read(self, table: str) -> list[dict[str, Any]]:
        storage = None if self._s3 is None else {
            "aws_endpoint_url": self._s3.endpoint,
            "aws_access_key_id": self._s3.access_key,
            "aws_secret_access_key": self._s3.secret_key,
            "aws_region": REGION,
            "aws_allow_http": "true",
        }  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
            scan = polars.scan_iceberg(
                self._catalog.load_table(table), storage_options=storage, reader_override="native"
            )
            return scan.sort("id").collect().to_arrow().to_pylist()


class Daft(OnPyIceberg):
    """Daft, with its own reader of data files."""

    title, package = "Daft 0.7", "daft"
    deletion_vectors = False

    def read(self, table: str) -> list[dict[str, Any]]:
        import daft
        from daft.io import IOConfig, S3Config

        storage = None if self._s3 is None else IOConfig(
            s3=S3Config(
                endpoint_url=self._s3.endpoint,
                key_id=self._s3.access_key,
                access_key=self._s3.secret_key,
                region_name=REGION,
                use_ssl=False,
            )
        )  # fmt: skip
        return daft.read_iceberg(self._catalog.load_table(table), io_config=storage).sort("id").to_arrow().to_pylist()


class ChDB(RestEngine):
    """chDB, which is ClickHouse in this process. It reaches no file outside a folder of its own."""

    title, package = "chDB 4.4", "chdb"
    local = False
    deletion_vectors = False

    def __init__(self, url: str, token: str, s3: S3Server | None = None) -> None:
        assert s3 is not None, "it reads from object storage only"
        self._attach = (
            f"CREATE DATABASE lake ENGINE = DataLakeCatalog('{url}/iceberg/v1', '{s3.access_key}', '{s3.secret_key}') "
            f"SETTINGS catalog_type = 'rest', warehouse = 'lake', auth_header = 'Authorization: Bearer {token}', "
            f"storage_endpoint = '{s3.endpoint}/{s3.bucket}', vended_credentials = 0"
        )

    def tables(self, namespace: str) -> list[str]:
        found = self._query("SHOW TABLES FROM lake")["name"].to_pylist()
        return [name for space, _, name in (one.rpartition(".") for one in found) if space == namespace]

    def read(self, table: str) -> list[dict[str, Any]]:
        return self._query(f"SELECT * FROM lake.`{table}` ORDER BY id").to_pylist()

    def _query(self, statement: str) -> pa.Table:
        from chdb.session import Session

        with Session() as session:  # one that has failed once answers the next question with nothing
            session.query("SET allow_database_iceberg = 1")
            session.query(self._attach)
            return session.query(statement, "ArrowTable")


ENGINES: dict[str, type[RestEngine]] = {
    "pyiceberg": PyIceberg,
    "duckdb": DuckDB,
    "sail": Sail,
    "polars": Polars,
    "daft": Daft,
    "chdb": ChDB,
}
