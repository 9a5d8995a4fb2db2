"""One contender of the engine benchmark, run in a process of its own: prints a JSON line for every case.

python -m benchmarks.engine.contenders NAME --rows 10000000 --data FOLDER --scratch FOLDER
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.engine.data import KEY, Work, generate

BATCH_ROWS = 122_880
MICRO_BATCHES = 20


class Contender(ABC):
    """A table that is loaded, changed, read and compacted."""

    def __init__(self, work: Work, scratch: Path) -> None:
        self.work, self.scratch = work, scratch
        self.prepare()

    def prepare(self) -> None:  # noqa: B027 - not every contender needs it
        """Import what is needed and set up what there is once for all tables; not measured."""

    @abstractmethod
    def load(self) -> None:
        """Make the table of the work's files."""

    @abstractmethod
    def merge(self, changes: pa.Table) -> None:
        """Upsert or delete rows as their ``op`` says; committed when it returns."""

    @abstractmethod
    def read(self) -> int:
        """Read every column of every row as Arrow; return how many rows."""

    def compact(self) -> None:
        """Rewrite the table without deletes."""
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
        return sum(batch.num_rows for batch in self._table.scan().to_reader())

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
        return sum(batch.num_rows for batch in self._db.sql("SELECT * FROM l.t").to_arrow_reader(BATCH_ROWS))

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


CONTENDERS: dict[str, type[Contender]] = {
    "cordillera merge-on-read": CordilleraMergeOnRead,
    "cordillera copy-on-write": CordilleraCopyOnWrite,
    "delta-rs": DeltaRs,
    "ducklake": DuckLake,
    "bare read + rewrite": Bare,
}


def _batches(work: Work) -> Iterator[pa.RecordBatch]:
    for file in sorted(work.table.iterdir()):
        yield from pq.ParquetFile(file).iter_batches(BATCH_ROWS)


@contextmanager
def _timed(case: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    figures = {
        "case": case,
        "seconds": round(time.perf_counter() - wall, 4),
        "cpu_seconds": round(time.process_time() - cpu, 4),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(figures), flush=True)


def run(contender: Contender, work: Work) -> None:
    """Run the cases in their order, each on the table that the one before left."""
    uniform, skewed = pq.read_table(work.changes("uniform")), pq.read_table(work.changes("skewed"))
    with _timed("load"):
        contender.load()
    with _timed("plain read"):
        contender.read()
    _optional("merge 10% uniform", lambda: contender.merge(uniform))
    _optional("read after merge", contender.read)
    _optional("merge 1% skewed", lambda: contender.merge(skewed))
    if not isinstance(contender, Bare):
        for number in range(MICRO_BATCHES):
            rows = uniform.slice(number * 997, 10)
            _optional("merge 10 rows", lambda rows=rows: contender.merge(rows))
    _optional("compact", contender.compact)


def _optional(case: str, work: Callable[[], object]) -> None:
    try:
        with _timed(case):
            work()
    except NotImplementedError:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    options = parser.parse_args()
    work = generate(options.data, options.rows)
    shutil.rmtree(options.scratch, ignore_errors=True)
    options.scratch.mkdir(parents=True)
    try:
        run(CONTENDERS[options.contender](work, options.scratch), work)
    finally:
        shutil.rmtree(options.scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
