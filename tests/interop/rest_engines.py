"""Other engines on the lake's Iceberg REST catalog: each reads and writes tables by name."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from importlib import resources
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.catalog.rest import RestCatalog

from tests.interop.engines import start_sail


class RestEngine(ABC):
    """An engine with a catalog.

    Attributes:
        writes: Format versions that it can write.
        creates: Whether it can create tables where the catalog puts them.
        evolves: Whether it can add columns.
    """

    writes: tuple[int, ...] = (2, 3)
    creates = True
    evolves = True

    @abstractmethod
    def __init__(self, url: str, token: str) -> None: ...

    @abstractmethod
    def tables(self, namespace: str) -> list[str]:
        """List the tables of a namespace."""

    @abstractmethod
    def read(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of a table by id."""

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

    def create(self, table: str, rows: pa.Table) -> None:
        """Create a table with rows."""
        raise NotImplementedError

    def add_column(self, table: str) -> None:
        """Add the column ``age``, a 32-bit number."""
        raise NotImplementedError


class PyIceberg(RestEngine):
    """PyIceberg, which cannot write format version 3."""

    writes = (2,)

    def __init__(self, url: str, token: str) -> None:
        self._catalog = RestCatalog("lake", uri=f"{url}/iceberg", **self.credentials(url, token))

    def credentials(self, url: str, token: str) -> dict[str, str]:
        """Return how the client shows who it is."""
        return {"token": token}

    def tables(self, namespace: str) -> list[str]:
        return [name for _, name in self._catalog.list_tables(namespace)]

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


class DuckDB(RestEngine):
    """DuckDB's iceberg extension."""

    def __init__(self, url: str, token: str) -> None:
        self._connection = duckdb.connect()
        for name in ("avro", "httpfs", "iceberg"):
            folder = resources.files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
            self._connection.execute(f"LOAD '{folder / f'{name}.duckdb_extension'}'")
        shown = self.credentials(url, token)
        self._connection.execute(f"ATTACH 'lake' AS lake (TYPE iceberg, ENDPOINT '{url}/iceberg', {shown})")

    def credentials(self, url: str, token: str) -> str:
        """Return how the client shows who it is."""
        return f"TOKEN '{token}'"

    def tables(self, namespace: str) -> list[str]:
        shown = "SELECT table_name FROM information_schema.tables WHERE table_schema = ?"
        return [name for (name,) in self._connection.execute(shown, [namespace]).fetchall()]

    def read(self, table: str) -> list[dict[str, Any]]:
        return self._connection.execute(f"SELECT * FROM lake.{table} ORDER BY id").to_arrow_table().to_pylist()

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


class Sail(RestEngine):
    """Sail, which is Spark without Java. It puts new tables where it likes, and cannot alter any."""

    creates = False
    evolves = False

    def __init__(self, url: str, token: str) -> None:
        catalog = {"type": "iceberg-rest", "name": "lake", "uri": f"{url}/iceberg", "bearer_access_token": token}
        fields = ", ".join(f"{name}={json.dumps(value)}" for name, value in catalog.items())
        self._session = start_sail({"SAIL_CATALOG__LIST": f"[{{{fields}}}]", "SAIL_CATALOG__DEFAULT_CATALOG": "lake"})

    def tables(self, namespace: str) -> list[str]:
        shown = self._session.sql(f"SHOW TABLES IN lake.{namespace}").toArrow()
        return list(shown["tableName"].to_pylist())

    def read(self, table: str) -> list[dict[str, Any]]:
        return list(self._session.sql(f"SELECT * FROM lake.{table} ORDER BY id").toArrow().to_pylist())

    def append(self, table: str, rows: pa.Table) -> None:
        self._session.sql(f"INSERT INTO lake.{table} {_values(rows)}").toArrow()

    def update(self, table: str, name: str, where: str) -> None:
        self._session.sql(f"UPDATE lake.{table} SET name = '{name}' WHERE {where}").toArrow()

    def delete(self, table: str, where: str) -> None:
        self._session.sql(f"DELETE FROM lake.{table} WHERE {where}").toArrow()

    def merge(self, table: str, rows: pa.Table) -> None:
        self._session.sql(
            f"MERGE INTO lake.{table} t USING (SELECT * FROM ({_values(rows)}) AS v(id, name)) g ON t.id = g.id "
            "WHEN MATCHED THEN UPDATE SET name = g.name WHEN NOT MATCHED THEN INSERT *"
        ).toArrow()


def _values(rows: pa.Table) -> str:
    pairs = zip(rows["id"].to_pylist(), rows["name"].to_pylist(), strict=True)
    return "VALUES " + ", ".join(f"(CAST({number} AS BIGINT), '{name}')" for number, name in pairs)


ENGINES: dict[str, type[RestEngine]] = {"pyiceberg": PyIceberg, "duckdb": DuckDB, "sail": Sail}
