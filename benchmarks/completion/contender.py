"""One database of the benchmark of completions, in a process of its own: tells a record for every case.

python -m benchmarks.completion.contender sqlite --jobs 10000 --events 5000 --records FILE …
"""

from __future__ import annotations

import argparse
import logging
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import islice

from sqlalchemy import event

from benchmarks.completion.waiting import WaitingLake
from benchmarks.contending import Record, Records, parse_contender
from benchmarks.databases import DATABASES, Database
from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.app import Application, open_lake
from cordillera.logs import configure_logging
from cordillera.spec.workflow import Run
from cordillera.worker import worker_process

_PAGE, _PATIENCE_SECONDS = 500, 600.0
_PARTS = 10


class Case:
    """One database with one number of jobs.

    Args:
        lake: The lake, made.
        database: Its database.
        records: Where figures go.
    """

    def __init__(self, lake: WaitingLake, database: Database, records: Records) -> None:
        self._lake, self._database, self._records = lake, database, records
        self._coming = lake.completions()
        self._complete: dict[tuple[str, str], datetime] = {}

    def live(self, events: int, rate: float, workers: int) -> None:
        """Call partitions complete at a rate while workers live, and tell how soon the runs are queued and begin."""
        own, server = _children_cpu(), self._database.cpu_seconds()
        with ExitStack() as stack:
            app = stack.enter_context(open_lake(self._lake.folder))
            with ExitStack() as working:
                for _ in range(workers):
                    working.enter_context(worker_process(self._lake.folder))
                self._call_complete(app, *next(self._coming))
                _wait_until_handled(app)  # the workers are there
                begun = time.monotonic()
                for number, (dataset, partition) in enumerate(islice(self._coming, events)):
                    time.sleep(max(0.0, begun + number / rate - time.monotonic()))
                    self._call_complete(app, dataset, partition)
                recorded = time.monotonic() - begun
                due = self._lake.due(set(self._complete))
                _wait_until_finished(app, len(due))
                took = time.monotonic() - begun
            runs = list(_runs(app))
        self._check(runs, due)
        queued, started = self._latencies(runs, due)
        self._records.add(
            {
                "case": "live", "jobs": self._lake.jobs, "events": events, "runs": len(runs), "workers": workers,
                "recorded_per_second": round(events / recorded, 1), "runs_per_second": round(len(runs) / took, 1),
                **_percentiles("queued", queued), **_percentiles("started", started),
                "workers_cpu_seconds": round(_children_cpu() - own, 2),
                "server_cpu_seconds": round(self._database.cpu_seconds() - server, 2),
            }
        )  # fmt: skip

    def backlog(self, events: int, publishers: int) -> None:
        """Call partitions complete while nobody works, then handle them all, in ten parts, and tell what each took."""
        with open_lake(self._lake.folder) as app, ThreadPoolExecutor(publishers) as pool:
            wanted = list(islice(self._coming, events))
            self._told("recorded", app, lambda: sum(pool.map(lambda one: self._call_complete(app, *one), wanted)))
            for part in range(_PARTS):
                self._told(f"handled, part {part + 1} of {_PARTS}", app, lambda: _handle(app, events // _PARTS))
            _handle(app, events)
            due = self._lake.due(set(self._complete))
            self._check(list(_runs(app)), due)

    def _told(self, case: str, app: Application, work: Callable[[], int]) -> None:
        """Tell what some work took for each event; it returns how many those were."""
        with counted(app) as statements:
            server, cpu, begun = self._database.cpu_seconds(), time.process_time(), time.perf_counter()
            events = work()
            took, used = time.perf_counter() - begun, time.process_time() - cpu
        if not events:
            return
        self._records.add(
            {
                "case": case, "jobs": self._lake.jobs, "events": events, "per_second": round(events / took, 1),
                "cpu_ms": round(1000 * used / events, 3),
                "server_cpu_ms": round(1000 * (self._database.cpu_seconds() - server) / events, 3),
                "statements": round(statements[0] / events, 2),
            }
        )  # fmt: skip

    def _call_complete(self, app: Application, dataset: str, partition: str) -> int:
        [found] = app.declarations.complete(dataset, [partition])
        self._complete[dataset, partition] = found.declared_at
        return 1

    def _check(self, runs: Sequence[Run], due: dict[str, tuple[tuple[str, str], ...]]) -> None:
        """Make sure that each job that has all that it waits for has one run, and no other has any."""
        names = [run.job for run in runs]
        assert len(names) == len(set(names)), "a job has run twice for one state of its inputs"
        assert set(names) == set(due), "a job has not started, or one that waits has"
        failed = [run for run in runs if run.error]
        assert not failed, failed[0].error

    def _latencies(
        self, runs: Sequence[Run], due: dict[str, tuple[tuple[str, str], ...]]
    ) -> tuple[list[float], list[float]]:
        """Return the seconds from when the last input was called complete to when runs were queued, and began."""
        queued, started = [], []
        for run in runs:
            ready = max(self._complete[one] for one in due[run.job])
            queued.append((run.created_at - ready).total_seconds())
            assert run.started_at is not None
            started.append((run.started_at - ready).total_seconds())
        return queued, started


@contextmanager
def counted(app: Application) -> Iterator[list[int]]:
    """Count the statements that a lake's database gets meanwhile."""
    store, found = app.store, [0]
    assert isinstance(store, SqlMetadataStore)
    engines = (store._database.reader, store._database.writer)

    def note(*_: object) -> None:
        found[0] += 1

    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield found
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


def _handle(app: Application, events: int) -> int:
    """Handle so many events, as far as there are any, or a few more; return how many."""
    done = 0
    while done < events and (handled := app.operations.dispatch_events()):
        done += handled
    return done


def _runs(app: Application) -> Iterator[Run]:
    before = None
    while page := app.workflows.runs(before=before, limit=_PAGE):
        yield from page
        before = page[-1].id


def _wait_until_handled(app: Application) -> None:
    _wait_while(lambda: app.operations.waiting().events, "the events were not handled")


def _wait_until_finished(app: Application, runs: int) -> None:
    _wait_until_handled(app)
    _wait_while(lambda: sum(run.finished_at is not None for run in _runs(app)) < runs, f"not all {runs:,} runs ended")


def _wait_while(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Within {_PATIENCE_SECONDS:g} s {failure}.")
        time.sleep(0.2)


def _percentiles(name: str, seconds: Sequence[float]) -> Record:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return {f"{name}_p50_s": round(statistics.median(ordered), 3), f"{name}_p99_s": round(p99, 3)}


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure one database with one number of jobs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("database", choices=DATABASES)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--live", type=int, default=500)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--publishers", type=int, default=4)
    parser.add_argument("--datasets", type=int, default=100)
    options = parse_contender(parser)
    configure_logging(level=logging.WARNING)
    with DATABASES[options.database]() as database:
        lake = WaitingLake(options.scratch / "lake", database.url, options.datasets, options.jobs)
        lake.make()
        case = Case(lake, database, Records(options.records))
        if options.live:
            case.live(options.live, options.rate, options.workers)
        case.backlog(options.events, options.publishers)


if __name__ == "__main__":
    main()
