"""One contender of the engine benchmark, run in a process of its own: tells a record for every case.

python -m benchmarks.engine.contenders NAME --rows 10000000 --data FOLDER --scratch FOLDER --records FILE
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.contending import Record, Records, parse_contender
from benchmarks.engine.data import KEY, Work, generate
from benchmarks.sql_engines import SQL_ENGINES, start
from benchmarks.usage import cpu_seconds, peak_mb

BATCH_ROWS = 122_880
MICRO_BATCHES = 20
CHECK = "check"


class Contender(ABC):
    """A table that is loaded, changed, read and compacted.

    Attributes:
        pid: The process that does the work.
        compacts: Whether it can rewrite a table without deletes.
    """

    pid = os.getpid()
    compacts = True

    def __init__(self, work: Work, scratch: Path) -> None:
        self.work, self.scratch, self.stack = work, scratch, ExitStack()
        self.prepare()

    def source(self, changes: pa.Table) -> Any:
        """Return changes in the form in which they are merged; not measured."""
        return changes

    def prepare(self) -> None:  # noqa: B027 - not every contender needs it
        """Import what is needed and set up what there is once for all tables; not measured."""

    @abstractmethod
    def load(self) -> None:
        """Make the table of the work's files."""

    @abstractmethod
    def merge(self, changes: Any) -> None:
        """Upsert or delete rows as their ``op`` says; committed when it returns."""

    @abstractmethod
    def read(self) -> object:
        """Read every column of every row, as Arrow if that is what it has."""

    @abstractmethod
    def rows(self) -> pa.RecordBatchReader:
        """Stream all rows, to be checked."""

    def compact(self) -> None:
        """Rewrite the table without deletes, where ``compacts`` says that it can."""
        raise NotImplementedError


class _Cordillera(Contender):
    mode = ""

    def prepare(self) -> None:
        import cordillera

        self._lake = cordillera.create(self.scratch / "lake", name="benchmark")
        self._lake.create_namespace("b", owner="benchmark")

    def load(self) -> None:
        schema = pq.read_schema(next(iter(sorted(self.work.table.iterdir()))))
        self._table = self._lake.create_dataset("b.t", schema, key=[KEY], write_mode=self.mode)
        self._table.write(pa.RecordBatchReader.from_batches(schema, _batches(self.work)), "append")

    def merge(self, changes: pa.Table) -> None:
        columns = [name for name in changes.column_names if name != "op"]
        merging = self._table.merge(changes).when_matched("source.op = 'delete'").delete()
        merging = merging.when_matched().update(columns)
        merging.when_not_matched("source.op <> 'delete'").insert(columns).execute()

    def read(self) -> int:
        return sum(batch.num_rows for batch in self.rows())

    def rows(self) -> pa.RecordBatchReader:
        return self._table.scan().to_reader()

    def compact(self) -> None:
        self._table.compact()


class CordilleraMergeOnRead(_Cordillera):
    mode = "merge-on-read"


class CordilleraCopyOnWrite(_Cordillera):
    mode = "copy-on-write"


class DeltaRs(Contender):
    def prepare(self) -> None:
        import deltalake  # noqa: F401 - a native library, which takes time to load

    def load(self) -> None:
        from deltalake import DeltaTable, write_deltalake

        path = str(self.scratch / "delta")
        schema = pq.read_schema(next(iter(sorted(self.work.table.iterdir()))))
        write_deltalake(path, pa.RecordBatchReader.from_batches(schema, _batches(self.work)))
        self._table = DeltaTable(path)

    def merge(self, changes: pa.Table) -> None:
        columns = {name: f"source.{name}" for name in changes.column_names if name != "op"}
        (
            self._table.merge(changes, f"target.{KEY} = source.{KEY}", source_alias="source", target_alias="target")
            .when_matched_delete("source.op = 'delete'")
            .when_matched_update(columns)
            .when_not_matched_insert(columns, "source.op <> 'delete'")
            .execute()
        )

    def read(self) -> int:
        return sum(batch.num_rows for batch in self._table.to_pyarrow_dataset().to_batches())

    def rows(self) -> pa.RecordBatchReader:
        return self._table.to_pyarrow_dataset().scanner().to_reader()

    def compact(self) -> None:
        self._table.optimize.compact()


class DuckLake(Contender):
    def prepare(self) -> None:
        self._db = duckdb.connect()
        self._db.execute("SET TimeZone = 'UTC'")
        folder = resources.files("duckdb_extension_ducklake") / "extensions" / f"v{duckdb.__version__}"
        self._db.execute(f"LOAD '{folder / 'ducklake.duckdb_extension'}'")
        self._db.execute(f"ATTACH 'ducklake:{self.scratch}/meta.duckdb' AS l (DATA_PATH '{self.scratch}/data')")

    def load(self) -> None:
        self._db.execute(f"CREATE TABLE l.t AS SELECT * FROM read_parquet('{self.work.table}/*.parquet')")

    def merge(self, changes: pa.Table) -> None:
        names = [name for name in changes.column_names if name != "op"]
        deletes = pc.equal(changes["op"], "delete")
        self._db.register("upserts", changes.filter(pc.invert(deletes)))
        self._db.register("deletes", changes.filter(deletes))
        self._db.execute("BEGIN")  # one MERGE of DuckLake takes an UPDATE or a DELETE, not both
        self._db.execute(f"DELETE FROM l.t WHERE {KEY} IN (SELECT {KEY} FROM deletes)")
        self._db.execute(
            f"MERGE INTO l.t USING upserts AS source ON t.{KEY} = source.{KEY} "
            f"WHEN MATCHED THEN UPDATE SET {', '.join(f'{n} = source.{n}' for n in names)} "
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({', '.join(f'source.{n}' for n in names)})"
        )
        self._db.execute("COMMIT")

    def read(self) -> int:
        return sum(batch.num_rows for batch in self.rows())

    def rows(self) -> pa.RecordBatchReader:
        return self._db.sql("SELECT * FROM l.t").to_arrow_reader(BATCH_ROWS)

    def compact(self) -> None:
        self._db.execute("CALL ducklake_rewrite_data_files('l', 't', delete_threshold => 0.0)")
        self._db.execute("CALL ducklake_merge_adjacent_files('l', 't')")


class Bare(Contender):
    """What the machine needs without a table format: read all rows, write all rows; nothing is looked up."""

    def load(self) -> None:
        shutil.copytree(self.work.table, self.scratch / "bare")

    def merge(self, changes: pa.Table) -> None:  # noqa: ARG002 - whatever changed, all is rewritten
        connection = duckdb.connect()
        source, out = self.scratch / "bare", self.scratch / "bare-new"
        shutil.rmtree(out, ignore_errors=True)
        connection.execute(
            f"COPY (SELECT * FROM read_parquet('{source}/*.parquet')) TO '{out}' "
            "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PER_THREAD_OUTPUT)"
        )

    def read(self) -> int:
        return sum(
            batch.num_rows
            for file in sorted((self.scratch / "bare").iterdir())
            for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS)
        )

    def rows(self) -> pa.RecordBatchReader:
        raise NotImplementedError


class OnSql(Contender):
    """An engine that is spoken to in SQL; it is warm: it has merged into a small table before."""

    def __init__(self, work: Work, scratch: Path, *, kind: str) -> None:
        self._kind = kind
        super().__init__(work, scratch)

    def prepare(self) -> None:
        self._engine = self.stack.enter_context(start(self._kind, self.scratch))
        self.pid, self.compacts, self._sources = self._engine.pid, self._engine.compacts, count()
        self._table, file = "warm", min(self.work.table.iterdir())
        rows = pq.read_table(file).slice(0, 1_000)
        self._load(self.source(rows))
        for _ in range(3):
            self.merge(self.source(rows.append_column("op", pa.array(["delete", *["upsert"] * (rows.num_rows - 1)]))))
            self.read()
        self._table = "t"

    def source(self, changes: pa.Table) -> Path:
        path = self.scratch / f"source-{next(self._sources)}" / "rows.parquet"
        path.parent.mkdir()
        pq.write_table(changes, path)
        return path.parent

    def load(self) -> None:
        self._load(self.work.table)

    def _load(self, files: Path) -> None:
        self._engine.create(self._table, files)
        self._engine.run(f"INSERT INTO {self._engine.name(self._table)} SELECT * FROM {self._engine.files(files)}")

    def merge(self, changes: Path) -> None:
        names = [name for name in pq.read_schema(changes / "rows.parquet").names if name != "op"]
        target, source = self._engine.name(self._table), self._engine.files(changes)
        merge = (
            f"WHEN MATCHED THEN UPDATE SET {', '.join(f'{n} = s.{n}' for n in names)} "
            f"WHEN NOT MATCHED AND s.op <> 'delete' THEN INSERT ({', '.join(names)}) "
            f"VALUES ({', '.join(f's.{n}' for n in names)})"
        )
        if self._engine.updates_and_deletes:
            both = f"WHEN MATCHED AND s.op = 'delete' THEN DELETE {merge}"
            self._engine.run(
                f"MERGE INTO {target} AS t USING (SELECT * FROM {source}) AS s ON t.{KEY} = s.{KEY} {both}"
            )
            return
        self._engine.run("BEGIN")
        self._engine.run(f"DELETE FROM {target} WHERE {KEY} IN (SELECT {KEY} FROM {source} WHERE op = 'delete')")
        upserts = f"(SELECT * FROM {source} WHERE op <> 'delete')"
        self._engine.run(f"MERGE INTO {target} AS t USING {upserts} AS s ON t.{KEY} = s.{KEY} {merge}")
        self._engine.run("COMMIT")

    def read(self) -> None:
        self._engine.pass_over(self._table)

    def rows(self) -> pa.RecordBatchReader:
        return self._engine.rows(self._table)

    def compact(self) -> None:
        self._engine.compact(self._table)


CONTENDERS: dict[str, Callable[[Work, Path], Contender]] = {
    "cordillera merge-on-read": CordilleraMergeOnRead,
    "cordillera copy-on-write": CordilleraCopyOnWrite,
    "delta-rs": DeltaRs,
    "ducklake": DuckLake,
    "bare read + rewrite": Bare,
    **{kind: partial(OnSql, kind=kind) for kind in SQL_ENGINES},
}


def _batches(work: Work) -> Iterator[pa.RecordBatch]:
    for file in sorted(work.table.iterdir()):
        yield from pq.ParquetFile(file).iter_batches(BATCH_ROWS)


def run(contender: Contender, work: Work, records: Records) -> None:
    """Run the cases in their order, each on the table that the one before left."""
    uniform, skewed = pq.read_table(work.changes("uniform")), pq.read_table(work.changes("skewed"))
    batches = [uniform.slice(number * 997, 10) for number in range(MICRO_BATCHES)]

    def measure(case: str, step: Callable[[], object]) -> None:
        records.add({"case": case, **_measured(contender.pid, step)})

    def merge(case: str, changes: pa.Table) -> None:
        source = contender.source(changes)
        measure(case, lambda: contender.merge(source))

    measure("load", contender.load)
    measure("plain read", contender.read)
    merge("merge 10% uniform", uniform)
    measure("read after merge", contender.read)
    merge("merge 1% skewed", skewed)
    if isinstance(contender, Bare):
        return
    for rows in batches:
        merge("merge 10 rows", rows)
    if contender.compacts:
        measure("compact", contender.compact)
    records.add({"case": CHECK, "equal": check(contender, work, [uniform, skewed, *batches])})


def _measured(pid: int, step: Callable[[], object]) -> Record:
    wall, cpu = time.perf_counter(), cpu_seconds(pid)
    step()
    return {
        "seconds": round(time.perf_counter() - wall, 4),
        "cpu_seconds": round(cpu_seconds(pid) - cpu, 4),
        "peak_mb": peak_mb(pid),
    }


def check(contender: Contender, work: Work, changes: Sequence[pa.Table]) -> bool:
    """Tell whether the table has exactly the rows that changes, one after the other, make of the work's files.

    Whatever a change is, afterwards a key has its row, or none: of the changes of a key, only the last one matters.
    """
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    steps = [one.append_column("step", pa.array(np.full(one.num_rows, step))) for step, one in enumerate(changes)]
    connection.register("changes", pa.concat_tables(steps))
    newest = f"row_number() OVER (PARTITION BY {KEY} ORDER BY step DESC) = 1"
    connection.execute(f"CREATE TABLE last AS FROM changes QUALIFY {newest}")
    described = connection.execute(f"DESCRIBE FROM read_parquet('{work.table}/*.parquet')").fetchall()
    columns = ", ".join(name for name, *_ in described)
    values = ", ".join(f"{name}::{kind}" for name, kind, *_ in described)
    query = f"SELECT count(*), sum(hash({values})::HUGEINT)::VARCHAR FROM "
    expected = f"""(SELECT {columns} FROM read_parquet('{work.table}/*.parquet') ANTI JOIN last USING ({KEY})
        UNION ALL SELECT {columns} FROM last WHERE op <> 'delete')"""
    connection.register("stored", contender.rows())
    return connection.execute(query + "stored").fetchall() == connection.execute(query + expected).fetchall()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("--rows", type=int, default=10_000_000)
    options = parse_contender(parser)
    work = generate(options.data, options.rows)
    shutil.rmtree(options.scratch, ignore_errors=True)
    options.scratch.mkdir(parents=True)
    try:
        contender = CONTENDERS[options.contender](work, options.scratch)
        with contender.stack:
            run(contender, work, Records(options.records))
    finally:
        shutil.rmtree(options.scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
