"""The contenders: one interface over the table formats that are compared."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import cordillera
from benchmarks.merge_suite.data import Step, Suite, load_extension, statements
from benchmarks.merge_suite.operations import DAY, ITEM, KEY, Kind
from benchmarks.sql_engines import SQL_ENGINES, SqlEngine, start
from cordillera.catalog.commits import CommitResult

BATCH_ROWS = 122_880


class Contender(ABC):
    """A table that is loaded once, partitioned by the month of the day, and changed by every step.

    Args:
        suite: What to load.
        scratch: An empty folder of its own.
        rows: How many rows to load; None for all.

    Attributes:
        pid: The process that does the work.
    """

    pid = os.getpid()

    def __init__(self, suite: Suite, scratch: Path, rows: int | None = None) -> None:
        self.suite, self.scratch = suite, scratch
        files = sorted(suite.table.iterdir())
        self.schema = pq.read_schema(files[0])
        self._files, self._limit = files, rows
        self.load()

    @abstractmethod
    def load(self) -> None:
        """Make the table."""

    @abstractmethod
    def apply(self, step: Step) -> object:
        """Apply a step; committed when it returns."""

    @abstractmethod
    def fingerprint(self) -> tuple[int, str]:
        """Return the number of rows, and their hash."""

    def rows(self) -> pa.RecordBatchReader:
        """Stream the rows to load."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        remaining = self._limit
        for file in self._files:
            for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS):
                yield batch if remaining is None else batch.slice(0, remaining)
                if remaining is not None:
                    remaining -= batch.num_rows
                    if remaining <= 0:
                        return

    def _fingerprint_of(self, rows: pa.RecordBatchReader) -> tuple[int, str]:
        connection = duckdb.connect()
        connection.register("stored", rows)
        return connection.execute(self.suite.fingerprint_query("stored")).fetchall()[0]  # type: ignore[return-value]


class Cordillera(Contender):
    """Through the public interface, embedded."""

    def __init__(self, suite: Suite, scratch: Path, rows: int | None = None, *, mode: str) -> None:
        self._mode = mode
        super().__init__(suite, scratch, rows)

    def load(self) -> None:
        lake = cordillera.create(self.scratch / "lake", name="benchmark")
        lake.create_namespace("tpcds", owner="benchmark")
        lake.create_dataset(
            "tpcds.web_returns", self.schema, key=KEY, partitioning=[f"month({DAY})"], write_mode=self._mode
        )
        self.dataset = lake.dataset("tpcds.web_returns")
        self.dataset.write(self.rows(), "append")

    def apply(self, step: Step) -> CommitResult:
        if step.kind is Kind.DELETE_WHERE:
            return self.dataset.delete_where(step.where)
        source = pq.ParquetFile(step.source)
        rows = pa.RecordBatchReader.from_batches(source.schema_arrow, source.iter_batches(BATCH_ROWS))
        match step.kind:
            case Kind.INSERT:
                return self.dataset.merge(rows).when_not_matched().insert().execute()
            case Kind.INSERT_BY_CASE:
                even = self.dataset.merge(rows).when_not_matched(f"source.{ITEM} % 2 = 0").insert()
                return even.when_not_matched(f"source.{ITEM} % 2 = 1").insert().execute()
            case Kind.DELETE_MATCHED:
                return self.dataset.merge(rows).when_matched().delete().execute()
            case Kind.DELETE_KEYS:
                return self.dataset.write(rows, "delete")
            case _:
                return self.dataset.write(rows, "upsert")

    def fingerprint(self) -> tuple[int, str]:
        return self._fingerprint_of(self.dataset.scan().to_reader())


class DeltaRs(Contender):
    """delta-rs, which partitions by columns only and so gets one with the month."""

    MONTH = "wr_returned_month"
    ON = " AND ".join(f"target.{name} = source.{name}" for name in KEY)

    def load(self) -> None:
        from deltalake import DeltaTable, write_deltalake

        path = str(self.scratch / "delta")
        first = self._with_month(self.schema.empty_table())
        batches = (batch for rows in self.rows() for batch in self._with_month(pa.table(rows)).to_batches())
        write_deltalake(path, pa.RecordBatchReader.from_batches(first.schema, batches), partition_by=[self.MONTH])
        self._table = DeltaTable(path)

    def _with_month(self, rows: pa.Table) -> pa.Table:
        return rows.append_column(self.MONTH, pc.strftime(rows.column(DAY), "%Y-%m"))

    def apply(self, step: Step) -> None:
        if step.kind is Kind.DELETE_WHERE:
            self._table.delete(step.where.replace("DATE ", ""))
            return
        source = pq.read_table(step.source)
        source = self._with_month(source) if DAY in source.column_names else source
        merge = self._table.merge(source, self.ON, source_alias="source", target_alias="target")
        match step.kind:
            case Kind.INSERT:
                merge.when_not_matched_insert_all().execute()
            case Kind.INSERT_BY_CASE:
                even = merge.when_not_matched_insert_all(f"source.{ITEM} % 2 = 0")
                even.when_not_matched_insert_all(f"source.{ITEM} % 2 = 1").execute()
            case Kind.UPSERT:
                merge.when_matched_update_all().when_not_matched_insert_all().execute()
            case Kind.DELETE_MATCHED | Kind.DELETE_KEYS:
                merge.when_matched_delete().execute()

    def fingerprint(self) -> tuple[int, str]:
        scanner = self._table.to_pyarrow_dataset().scanner(self.schema.names)
        return self._fingerprint_of(scanner.to_reader())


class DuckLake(Contender):
    """DuckLake with its catalog in a DuckDB file."""

    def load(self) -> None:
        self._db = duckdb.connect()
        load_extension(self._db, "ducklake")
        self._db.execute(f"ATTACH 'ducklake:{self.scratch}/meta.duckdb' AS lake (DATA_PATH '{self.scratch}/data')")
        self._db.register("rows", self.rows())
        self._db.execute("CREATE TABLE lake.t AS SELECT * FROM rows LIMIT 0")
        self._db.execute(f"ALTER TABLE lake.t SET PARTITIONED BY (year({DAY}), month({DAY}))")
        self._db.execute("INSERT INTO lake.t SELECT * FROM rows")
        self._db.unregister("rows")

    def apply(self, step: Step) -> None:
        source = f"(SELECT * FROM read_parquet('{step.source}'))"
        for statement in statements(step.kind, "lake.t", source, self.suite.columns, step.where):
            self._db.execute(statement)

    def fingerprint(self) -> tuple[int, str]:
        return self._db.execute(self.suite.fingerprint_query("lake.t")).fetchall()[0]  # type: ignore[return-value]


class OnSql(Contender):
    """An engine that is spoken to in SQL, the same one for all its tables: it has to be warm."""

    def __init__(self, suite: Suite, scratch: Path, rows: int | None = None, *, engine: SqlEngine) -> None:
        self._engine, self.pid = engine, engine.pid
        self._table = f"t_{scratch.name.replace('-', '_')}"
        super().__init__(suite, engine.folder, rows)

    def load(self) -> None:
        self._engine.create(self._table, self.suite.table, DAY)
        limit = "" if self._limit is None else f" LIMIT {self._limit}"
        rows = self._engine.files(self.suite.table)
        self._engine.run(f"INSERT INTO {self._engine.name(self._table)} SELECT * FROM {rows}{limit}")

    def apply(self, step: Step) -> None:
        source = f"(SELECT * FROM {self._engine.files(step.source)})" if step.source else ""
        name = self._engine.name(self._table)
        for statement in statements(step.kind, name, source, self.suite.columns, step.where):
            self._engine.run(statement)

    def fingerprint(self) -> tuple[int, str]:
        return self._fingerprint_of(self._engine.rows(self._table))


CONTENDERS: dict[str, Callable[..., Contender]] = {
    "cordillera merge-on-read": partial(Cordillera, mode="merge-on-read"),
    "cordillera copy-on-write": partial(Cordillera, mode="copy-on-write"),
    "cordillera auto": partial(Cordillera, mode="auto"),
    "delta-rs": DeltaRs,
    "ducklake": DuckLake,
}
NAMES = (*CONTENDERS, *SQL_ENGINES)


@contextmanager
def making(name: str, folder: Path) -> Iterator[Callable[..., Contender]]:
    """Yield what makes tables of a contender, for the length of the block; an engine is started for it.

    Args:
        name: The contender.
        folder: An empty folder, where such an engine keeps its tables.
    """
    if name in CONTENDERS:
        yield CONTENDERS[name]
        return
    with start(name, folder) as engine:
        yield partial(OnSql, engine=engine)
