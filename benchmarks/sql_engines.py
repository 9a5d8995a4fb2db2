"""Engines that write Iceberg tables and are spoken to in SQL, one interface over them.

Spark has a warehouse folder for its catalog, Sail the folder of the table, and DuckDB, which writes to REST catalogs
only, a lake's. None of them checks keys.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path

import duckdb
import pyarrow as pa

NAMESPACE = "b"
SPARK_MEMORY = "6g"
SQL_ENGINES = (
    "spark copy-on-write",
    "spark merge-on-read",
    "sail copy-on-write",
    "sail merge-on-read",
    "duckdb iceberg",
)


class SqlEngine(ABC):
    """An engine with its tables in a folder.

    Attributes:
        folder: That folder.
        pid: The process that does the work.
        updates_and_deletes: Whether one MERGE of it can do both.
        compacts: Whether it can rewrite a table without deletes.
    """

    folder: Path
    pid = os.getpid()
    updates_and_deletes = True
    compacts = False

    @abstractmethod
    def create(self, table: str, files: Path, partitioning: str = "") -> None:
        """Make an empty table with the columns of Parquet files.

        Args:
            table: Its name.
            files: A folder of them.
            partitioning: A column whose months the partitions are.
        """

    @abstractmethod
    def name(self, table: str) -> str:
        """Return what a table is called in statements."""

    @abstractmethod
    def files(self, path: Path) -> str:
        """Return what stands for a Parquet file, or a folder of some, in statements."""

    @abstractmethod
    def run(self, statement: str) -> None:
        """Run a statement; what it changes is committed when it returns."""

    @abstractmethod
    def pass_over(self, table: str) -> None:
        """Read every column of every row."""

    @abstractmethod
    def rows(self, table: str) -> pa.RecordBatchReader:
        """Stream all rows."""

    def compact(self, table: str) -> None:
        """Rewrite a table without deletes, where ``compacts`` says that it can."""
        raise NotImplementedError


class SparkEngine(SqlEngine):
    """Spark with Iceberg, whose JVM does the work."""

    compacts = True

    def __init__(self, folder: Path, stack: ExitStack, mode: str) -> None:
        from tests.spark.process import start_spark

        self._spark = stack.enter_context(start_spark({"spark.driver.memory": SPARK_MEMORY}))
        self._spark.attach("lake", {"type": "hadoop", "warehouse": (folder / "warehouse").as_uri()})
        self._mode, self.folder, self.pid = mode, folder, self._spark.jvm

    def create(self, table: str, files: Path, partitioning: str = "") -> None:
        self.run(
            f"CREATE TABLE {self.name(table)} USING iceberg {_monthly(partitioning)} {_properties(self._mode)} "
            f"AS SELECT * FROM {self.files(files)} LIMIT 0"
        )

    def name(self, table: str) -> str:
        return f"lake.{NAMESPACE}.{table}"

    def files(self, path: Path) -> str:
        return f"parquet.`{path.as_uri()}`"

    def run(self, statement: str) -> None:
        self._spark.run(statement)

    def pass_over(self, table: str) -> None:
        self._spark.pass_over(f"SELECT * FROM {self.name(table)}")

    def rows(self, table: str) -> pa.RecordBatchReader:
        return self._spark.rows(f"SELECT * FROM {self.name(table)}").to_reader()

    def compact(self, table: str) -> None:
        options = "options => map('rewrite-all', 'true', 'remove-dangling-deletes', 'true')"
        self.run(f"CALL lake.system.rewrite_data_files(table => '{NAMESPACE}.{table}', {options})")


class SailEngine(SqlEngine):
    """Sail, whose server runs in this process."""

    def __init__(self, folder: Path, mode: str) -> None:
        from tests.interop.engines import start_sail

        self._session, self.folder, self._mode = start_sail({}), folder, mode

    def create(self, table: str, files: Path, partitioning: str = "") -> None:
        columns = self._session.sql(f"SELECT * FROM {self.files(files)} LIMIT 0").schema
        described = ", ".join(f"{field.name} {field.dataType.simpleString()}" for field in columns)
        self.run(
            f"CREATE TABLE {table} ({described}) USING iceberg {_monthly(partitioning)} "
            f"LOCATION '{(self.folder / table).as_uri()}' {_properties(self._mode)}"
        )

    def name(self, table: str) -> str:
        return table

    def files(self, path: Path) -> str:
        return f"parquet.`{path}`"

    def run(self, statement: str) -> None:
        self._session.sql(statement).collect()

    def pass_over(self, table: str) -> None:
        self._session.table(table).write.format("noop").mode("overwrite").save()

    def rows(self, table: str) -> pa.RecordBatchReader:
        return self._session.table(table).toArrow().to_reader()


class DuckDBEngine(SqlEngine):
    """DuckDB's iceberg extension, on the REST catalog of a lake that a thread of this process serves."""

    updates_and_deletes = False

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        from tests.tokens import administrators_token

        from cordillera.app import create_lake
        from cordillera.client import Lake
        from cordillera.client.local import LocalBackend
        from cordillera.server import create_server
        from cordillera.testing.running_server import running_server

        app = stack.enter_context(create_lake(folder / "lake"))
        url = stack.enter_context(running_server(create_server(app)))
        self._lake = Lake(LocalBackend(app))
        self._lake.create_namespace(NAMESPACE)
        self.folder, self._db = folder, duckdb.connect()
        self._db.execute("SET TimeZone = 'UTC'")
        for name in ("avro", "httpfs", "iceberg"):
            extension = resources.files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
            self._db.execute(f"LOAD '{extension / f'{name}.duckdb_extension'}'")
        self._db.execute(
            f"ATTACH 'lake' AS lake (TYPE iceberg, ENDPOINT '{url}/iceberg', ACCESS_DELEGATION_MODE 'none', "
            f"TOKEN '{administrators_token(app)}')"
        )

    def create(self, table: str, files: Path, partitioning: str = "") -> None:
        schema = self._db.execute(f"SELECT * FROM {self.files(files)} LIMIT 0").to_arrow_table().schema
        terms = [f"month({partitioning})"] if partitioning else []
        self._lake.create_dataset(f"{NAMESPACE}.{table}", schema, partitioning=terms)

    def name(self, table: str) -> str:
        return f"lake.{NAMESPACE}.{table}"

    def files(self, path: Path) -> str:
        return f"read_parquet('{path}/*.parquet')" if path.is_dir() else f"read_parquet('{path}')"

    def run(self, statement: str) -> None:
        self._db.execute(statement)

    def pass_over(self, table: str) -> None:
        for _ in self.rows(table):
            pass

    def rows(self, table: str) -> pa.RecordBatchReader:
        return self._db.sql(f"SELECT * FROM {self.name(table)}").to_arrow_reader(122_880)


@contextmanager
def start(kind: str, folder: Path) -> Iterator[SqlEngine]:
    """Run an engine for the length of the block.

    Args:
        kind: One of ``SQL_ENGINES``.
        folder: Where its tables are to be.
    """
    with ExitStack() as stack:
        match kind.partition(" "):
            case "spark", _, mode:
                yield SparkEngine(folder, stack, mode)
            case "sail", _, mode:
                yield SailEngine(folder, mode)
            case _:
                yield DuckDBEngine(folder, stack)


def _monthly(column: str) -> str:
    return f"PARTITIONED BY (months({column}))" if column else ""


def _properties(mode: str) -> str:
    modes = ", ".join(f"'write.{operation}.mode' = '{mode}'" for operation in ("delete", "update", "merge"))
    return f"TBLPROPERTIES ('format-version' = '3', {modes})"
