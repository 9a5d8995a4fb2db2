"""One target of the benchmark of deliveries, in a process of its own: its first delivery, and changes to what it holds.

python -m benchmarks.delivery.one_target postgres --rows 10000000 --records FILE …
"""

from __future__ import annotations

import argparse
import logging
import random
import resource
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from uuid import UUID

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

import cordillera
from benchmarks.contending import Record, Records, parse_contender
from benchmarks.databases import Database, postgres
from benchmarks.engine.data import KEY, Work, changed_rows, generate
from cordillera.app import Application
from cordillera.client import Lake
from cordillera.logs import configure_logging
from cordillera.worker import Worker, worker_process

DATASET, TARGET = "bench.orders", "copy"
_BATCH_ROWS, _LOOK_SECONDS, _PATIENCE_SECONDS = 122_880, 0.005, 120.0
_LONGEST_PAUSE = 1.0


class Target(ABC):
    """A target, and what it takes without a lake to load the same rows.

    Args:
        work: The rows.
        scratch: Where files go.
        stack: What is to be ended.
    """

    def __init__(self, work: Work, scratch: Path, stack: ExitStack) -> None:
        self._work, self._scratch = work, scratch
        self.prepare(stack)

    @abstractmethod
    def prepare(self, stack: ExitStack) -> None:
        """Start what is needed; not measured."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Return the target's kind and settings."""

    @abstractmethod
    def load(self, number: int) -> None:
        """Load the rows as the target itself does it best, into a table with that number."""

    def cpu_seconds(self) -> float:
        """Return the CPU time of its server."""
        return 0.0


class PostgresTarget(Target):
    """PostgreSQL: COPY from a prepared file that the server reads itself, and a primary key, as deliveries have it."""

    def prepare(self, stack: ExitStack) -> None:
        self._database: Database = stack.enter_context(postgres())
        self._file = self._database.folder / "orders.csv"
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY (FROM read_parquet('{self._work.table}/*.parquet')) TO '{self._file}' (HEADER false)")
        self._file.chmod(0o644)

    def settings(self) -> dict[str, str]:
        return {"kind": "postgres", "dsn": self._database.dsn}

    def load(self, number: int) -> None:
        with psycopg.connect(self._database.dsn) as connection:
            table = f"reference_{number}"
            connection.execute(f"CREATE TABLE {table} (LIKE first_{number})".encode())
            connection.execute(f"COPY {table} FROM '{self._file}' (FORMAT csv)".encode())
            connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({KEY})".encode())

    def cpu_seconds(self) -> float:
        return self._database.cpu_seconds()


class DuckDBTarget(Target):
    """DuckDB: CREATE TABLE AS from the Parquet files."""

    def prepare(self, stack: ExitStack) -> None:  # noqa: ARG002 - it needs no server
        self._path = self._scratch / "copy.duckdb"

    def settings(self) -> dict[str, str]:
        return {"kind": "duckdb", "path": str(self._path)}

    def load(self, number: int) -> None:
        with duckdb.connect(str(self._scratch / f"reference-{number}.duckdb")) as connection:
            connection.execute(f"CREATE TABLE orders AS FROM read_parquet('{self._work.table}/*.parquet')")


TARGETS: dict[str, type[Target]] = {"postgres": PostgresTarget, "duckdb": DuckDBTarget}


def filled(lake: Lake, work: Work) -> None:
    """Make the dataset."""
    schema = pq.read_schema(min(work.table.iterdir()))
    lake.create_namespace("bench", owner="bench")
    orders = lake.create_dataset(DATASET, schema, key=[KEY])
    orders.write(pa.RecordBatchReader.from_batches(schema, _batches(work)), "append")


def _batches(work: Work) -> Iterator[pa.RecordBatch]:
    for file in sorted(work.table.iterdir()):
        yield from pq.ParquetFile(file).iter_batches(_BATCH_ROWS)


def first_deliveries(lake: Lake, target: Target, rounds: int, records: Records) -> UUID:
    """Deliver everything and load it without a lake, in turn; return a subscription whose target holds all."""
    app: Application = lake.backend.app  # type: ignore[attr-defined]  # it is local
    found: dict[str, list[Record]] = {"delivered": [], "loaded": []}
    for number in range(rounds):
        subscription = lake.dataset(DATASET).subscribe(TARGET, table=f"first_{number}")
        steps: dict[str, Callable[[], object]] = {
            "delivered": partial(app.deliveries.deliver, subscription.id),
            "loaded": partial(target.load, number),
        }
        for name, step in steps.items():  # the reference takes its columns from the table that was delivered
            found[name].append(_measured(target, step))
    others = [one.subscription.id for one in lake.backend.subscriptions() if one.subscription.id != subscription.id]
    for other in others:
        lake.backend.revoke_subscription(other)
    for name, measured in found.items():
        median = {key: round(statistics.median(one[key] for one in measured), 3) for key in measured[0]}
        records.add({"case": f"first, {name}", **median})
    ratio = statistics.median(one["seconds"] for one in found["loaded"]) / statistics.median(
        one["seconds"] for one in found["delivered"]
    )
    records.add({"case": "first, ratio", "speed": round(ratio, 2)})
    return subscription.id


def _measured(target: Target, step: Callable[[], object]) -> Record:
    server, cpu, begun = target.cpu_seconds(), time.process_time(), time.perf_counter()
    step()
    return {
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": time.process_time() - cpu,
        "server_cpu_seconds": target.cpu_seconds() - server,
    }


def changes(lake: Lake, folder: Path, subscription: UUID, options: argparse.Namespace, records: Records) -> None:
    """Commit changes while a worker process lives, and tell how long each takes until it is delivered."""
    orders, generator = lake.dataset(DATASET), random.Random(1)
    seconds: list[float] = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with worker_process(folder):
        for turn in range(options.commits + 1):
            time.sleep(generator.random() * _LONGEST_PAUSE)  # workers that have nothing to do look ever less often
            changed = changed_rows(options.rows, turn, options.changed)
            sequence = orders.write(changed, "upsert").sequence_number
            begun = time.perf_counter()
            _wait_until_delivered(lake, subscription, sequence)
            seconds.append(time.perf_counter() - begun)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = sorted(seconds[1:])  # the worker has begun with the first
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    records.add(
        {
            "case": "changes", "commits": len(seconds), "rows_changed": options.changed,
            "p50_s": round(statistics.median(seconds), 3),
            "p95_s": round(seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))], 3),
            "worker_cpu_s_each": round(used / (options.commits + 1), 3),
        }
    )  # fmt: skip


def _wait_until_delivered(lake: Lake, subscription: UUID, sequence: int) -> None:
    """Wait until the lake has noted a delivery, which it does once the target has committed it."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (lake.backend.subscription(subscription).subscription.cursor_sequence or 0) < sequence:
        if time.monotonic() > deadline:
            raise TimeoutError(f"Snapshot {sequence} was not delivered within {_PATIENCE_SECONDS:g} s.")
        time.sleep(_LOOK_SECONDS)


def main() -> None:
    """Measure one target with one number of rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--commits", type=int, default=40)
    parser.add_argument("--changed", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parse_contender(parser)
    configure_logging(level=logging.WARNING)
    options.scratch.mkdir(parents=True)
    records, folder = Records(options.records), options.scratch / "lake"
    with ExitStack() as stack:
        work = generate(options.data, options.rows)
        target = TARGETS[options.target](work, options.scratch, stack)
        lake = stack.enter_context(cordillera.create(folder))
        filled(lake, work)
        settings = target.settings()
        lake.create_target(TARGET, settings.pop("kind"), **settings)
        subscription = first_deliveries(lake, target, options.rounds, records)
        Worker(lake.backend.app).run_until_idle()  # type: ignore[attr-defined]  # it is local
        changes(lake, folder, subscription, options, records)
        verified = lake.backend.verify_subscription(subscription)
        assert verified.equal, verified


if __name__ == "__main__":
    main()
