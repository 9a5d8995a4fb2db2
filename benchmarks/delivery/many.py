"""Many subscriptions of the benchmark of deliveries, in a process of its own: idle, and under many commits a second.

python -m benchmarks.delivery.many sqlite --subscriptions 3000 --datasets 1000 --records FILE …

The target counts what it is given and keeps nothing, so that what is measured is the lake's part. It refuses a delivery
that does not begin where it stands, as targets have to.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import pyarrow as pa
from sqlalchemy import event

import cordillera
from benchmarks.contending import Record, Records, parse_contender
from benchmarks.databases import DATABASES, Database
from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.app import Application, open_lake
from cordillera.errors import NotAllowedError, TargetDriftError
from cordillera.logs import configure_logging
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetTable
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.worker import Worker, workers

TARGET, KIND = "counting", "counting"
_SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), ("value", pa.int64())])
_PAGE = 500


class CountingTarget:
    """Counts the rows and deliveries of each subscription."""

    def __init__(self) -> None:
        self.rows: dict[UUID, int] = defaultdict(int)
        self.keys: dict[UUID, int] = defaultdict(int)
        self.deliveries = self.repeated = 0
        self.cpu_seconds = 0.0
        self._cursors: dict[UUID, Cursor] = {}
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(True)

    def check(self) -> None:
        """Do nothing: it is always there."""

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        return self._cursors.get(subscription_id)

    def apply(self, delivery: Delivery) -> DeliveryResult:
        begun, mine = time.thread_time(), delivery.subscription_id
        rows = delivery.upserts().read_all()
        with self._lock:
            held = self._cursors.get(mine)
            if held == delivery.to_cursor:
                self.repeated += 1
                return DeliveryResult(0, 0, already_applied=True)
            if held != delivery.from_cursor:
                raise TargetDriftError(f"{mine} stands at {held}, but the delivery begins at {delivery.from_cursor}.")
            self._cursors[mine] = delivery.to_cursor
            self.rows[mine] += rows.num_rows
            self.keys[mine] += sum(rows.column("id").to_pylist())
            self.deliveries += 1
            self.cpu_seconds += time.thread_time() - begun
        return DeliveryResult(rows.num_rows, 0)

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:  # noqa: ARG002
        if any(self.rows.values()):
            raise NotAllowedError("The counting target keeps no rows.")
        return table.arrow_schema().empty_table().to_reader()

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:  # noqa: ARG002
        self._cursors.pop(subscription_id, None)

    def close(self) -> None:
        """Do nothing: there are no connections."""


def dataset_name(number: int) -> str:
    """Return the name of a dataset."""
    return f"bench.d{number:05}"


def publish(
    folder: Path, datasets: int, rate: float, seconds: float, results: multiprocessing.Queue[tuple[list[int], float]]
) -> None:
    """Commit a row to a dataset after the other, at a rate as far as it can be kept; tell how many each got, and the
    CPU time that all took: without imports, and without opening the lake."""
    configure_logging(level=logging.WARNING)
    generator, commits = random.Random(1), [0] * datasets
    with cordillera.open(folder) as lake:
        pa.table({"id": [0]})  # the first one imports much
        begun, made, cpu = time.monotonic(), 0, time.process_time()
        while (due := begun + made / rate) < begun + seconds and time.monotonic() < begun + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            number = generator.randrange(datasets)
            commits[number] += 1
            row = pa.table({"id": [commits[number]], "value": [made]}, schema=_SCHEMA)
            lake.dataset(dataset_name(number)).write(row, "append")
            made += 1
        cpu = time.process_time() - cpu
    results.put((commits, cpu))


class Many:
    """Many subscriptions of one lake.

    Args:
        folder: The lake's.
        database: Keeps its metadata.
        options: How many of what.
        records: Where figures go.
    """

    def __init__(self, folder: Path, database: Database, options: argparse.Namespace, records: Records) -> None:
        self._folder, self._database, self._options, self._records = folder, database, options, records
        self._target = CountingTarget()

    def run(self) -> None:
        """Measure an idle lake without subscriptions and with them, and then commits."""
        cordillera.create(self._folder, metadata_url=self._database.url).close()
        self._idle(0)
        self._make()
        self._idle(self._options.subscriptions)
        self._commits()

    def _open(self) -> Application:
        return open_lake(self._folder, synchronizers=self._build)

    def _build(self, kind: str, config: Mapping[str, str]) -> CountingTarget:  # noqa: ARG002 - there is one
        return self._target

    def _make(self) -> None:
        with cordillera.open(self._folder) as lake:
            lake.create_namespace("bench", owner="bench")
            for number in range(self._options.datasets):
                lake.create_dataset(dataset_name(number), _SCHEMA)
        with self._open() as app:
            app.subscriptions.create_target(TARGET, KIND, {"deliveries_at_once": str(self._options.at_once)})
            for number in range(self._options.subscriptions):
                name = dataset_name(number % self._options.datasets)
                app.subscriptions.subscribe(WantedSubscription(name, TARGET, table=f"t{number}"))
            Worker(app).run_until_idle()
        states = {one.state for one in self._subscriptions()}
        assert states == {"live"}, states

    def _idle(self, subscriptions: int) -> None:
        """Tell what workers take that have nothing to do."""
        with self._open() as app:
            statements = _counted(app)
            with workers(app, self._options.workers):
                time.sleep(2)  # what was left over is done
                begun, before = time.process_time(), statements[0]
                time.sleep(self._options.idle)
                used, asked = time.process_time() - begun, statements[0] - before
        self._records.add(
            {
                "case": "idle", "subscriptions": subscriptions, "seconds": self._options.idle,
                "cpu_seconds": round(used, 3), "statements": asked,
            }
        )  # fmt: skip

    def _commits(self) -> None:
        """Commit to datasets from another process while workers deliver; prove that each row came, and came once."""
        options = self._options
        results: multiprocessing.Queue[tuple[list[int], float]] = multiprocessing.get_context("spawn").Queue()
        arguments = (self._folder, options.datasets, options.rate, options.seconds, results)
        publisher = multiprocessing.get_context("spawn").Process(target=publish, args=arguments)
        with self._open() as app:
            statements, cpu, begun = _counted(app), time.process_time(), time.monotonic()
            server_cpu = self._database.cpu_seconds()
            with workers(app, options.workers):
                publisher.start()
                commits, published_cpu = results.get()
                publisher.join()
                published = time.monotonic() - begun
                expected = sum(commits[number % options.datasets] for number in range(options.subscriptions))
                while sum(self._target.rows.values()) < expected:
                    assert time.monotonic() < begun + options.patience, "not all was delivered in time"
                    time.sleep(0.2)
                drained = time.monotonic() - begun
            used, server_used = time.process_time() - cpu, self._database.cpu_seconds() - server_cpu
        self._check(commits)
        made, deliveries = sum(commits), self._target.deliveries - options.subscriptions  # but the first ones
        self._records.add(
            {
                "case": "commits", "subscriptions": options.subscriptions, "datasets": options.datasets,
                "commits": made, "commits_per_second": round(made / options.seconds, 1), "rows_delivered": expected,
                "deliveries": deliveries, "published_s": round(published, 1), "drained_s": round(drained, 1),
                "workers_cpu_s": round(used, 2), "workers_cpu_ms_a_commit": round(1000 * used / made, 2),
                "workers_cpu_ms_a_row": round(1000 * used / expected, 2),
                "of_that_reading_and_target_s": round(self._target.cpu_seconds, 2),
                "publisher_cpu_s": round(published_cpu, 2),
                "publisher_cpu_ms_a_commit": round(1000 * published_cpu / made, 2),
                "database_cpu_ms_a_commit": round(1000 * server_used / made, 2),
                "statements_a_commit": round(statements[0] / made, 1), "repeated": self._target.repeated,
            }
        )  # fmt: skip

    def _check(self, commits: Sequence[int]) -> None:
        """Make sure that each subscription got each row of its dataset once: as many, and these."""
        for one in self._subscriptions():
            made = commits[int(one.dataset.removeprefix("bench.d"))]
            assert self._target.rows[one.id] == made, f"{one.id} got {self._target.rows[one.id]} rows of {made}"
            assert self._target.keys[one.id] == made * (made + 1) // 2, f"{one.id} got other rows than there are"

    def _subscriptions(self) -> list[Record]:
        found, after = [], None
        with self._open() as app:
            while page := app.subscriptions.subscriptions(after=after, limit=_PAGE):
                found += [one.subscription for one in page]
                after = page[-1].subscription.id
        return found


def _counted(app: Application) -> list[int]:
    """Return a number that grows with each statement that a lake's database gets from now on."""
    store, found = app.store, [0]
    assert isinstance(store, SqlMetadataStore)

    def note(*_: object) -> None:
        found[0] += 1

    for engine in (store._database.reader, store._database.writer):
        event.listen(engine, "before_cursor_execute", note)
    return found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("database", choices=DATABASES)
    parser.add_argument("--subscriptions", type=int, default=3_000)
    parser.add_argument("--datasets", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--idle", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--patience", type=float, default=3600.0)
    options = parse_contender(parser)
    configure_logging(level=logging.ERROR)
    options.scratch.mkdir(parents=True)
    with DATABASES[options.database]() as database:
        Many(options.scratch / "lake", database, options, Records(options.records)).run()


if __name__ == "__main__":
    main()
