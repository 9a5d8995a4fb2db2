"""One database of the benchmark of completions, in a process of its own: tells a record for every case.

python -m benchmarks.completion.contender sqlite --jobs 10000 --events 5000 --records FILE …
"""

from __future__ import annotations

import argparse
import logging
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import islice

from sqlalchemy import event

from benchmarks.completion.progress import Progress
from benchmarks.completion.waiting import Call, WaitingLake, feed, label
from benchmarks.contending import Record, Records, parse_contender
from benchmarks.databases import DATABASES, Database
from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.app import Application, open_lake
from cordillera.logs import configure_logging
from cordillera.spec.workflow import Run
from cordillera.worker import worker_process

_PAGE, _PATIENCE_SECONDS = 500, 600.0
_PARTS = 10
_CALLS_AT_ONCE = 20


class Case:
    """One database with one number of jobs.

    Args:
        lake: The lake, made.
        database: Its database.
        records: Where figures go.
    """

    def __init__(self, lake: WaitingLake, database: Database, records: Records) -> None:
        self._lake, self._database, self._records = lake, database, records
        self._complete: dict[tuple[str, str], datetime] = {}
        """When what jobs wait for was called complete; of the rest there may be more than memory holds."""
        self._next_part = 0

    def live(self, events: int, rate: float, workers: int) -> None:
        """Call partitions complete at a rate while workers live, and tell how soon the runs are queued and begin."""
        own, server = _children_cpu(), self._database.cpu_seconds()
        with ExitStack() as stack:
            app = stack.enter_context(open_lake(self._lake.folder))
            with ExitStack() as working:
                for _ in range(workers):
                    working.enter_context(worker_process(self._lake.folder))
                calls = self._calls(events + 1, 1)
                self._call_complete(app, next(calls))
                _wait_until_handled(app)  # the workers are there
                begun = time.monotonic()
                for number, call in enumerate(calls):
                    time.sleep(max(0.0, begun + number / rate - time.monotonic()))
                    self._call_complete(app, call)
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

    def backlog(self, events: int, publishers: int, singly: int, together: int) -> None:
        """Call partitions complete while nobody works, then handle them all, in ten parts, and tell what each took.

        Args:
            events: How many.
            publishers: Threads that call them complete.
            singly: So many of them one at a time.
            together: Of the others so many of a dataset in one call.
        """
        with open_lake(self._lake.folder) as app, ThreadPoolExecutor(publishers) as pool:
            self._told("recorded one by one", app, lambda: self._record(app, pool, self._calls(singly, 1), singly))
            several = (events - singly) // _PARTS
            calls = self._calls(several * _PARTS, together)
            for part in range(_PARTS):
                case = f"recorded {together} together, part {part + 1} of {_PARTS}"
                self._told(case, app, lambda: self._record(app, pool, calls, several))
            for part in range(_PARTS):
                self._told(f"handled, part {part + 1} of {_PARTS}", app, lambda: _handle(app, events // _PARTS))
            _handle(app, events)
            self._check(_runs(app), self._lake.due(set(self._complete)))

    def _record(self, app: Application, pool: ThreadPoolExecutor, calls: Iterator[Call], events: int) -> int:
        """Call so many partitions complete, or a few more; return how many those were."""
        done, progress = 0, Progress("recorded", events)
        while done < events and (some := list(islice(calls, _CALLS_AT_ONCE))):
            done += sum(pool.map(lambda call: self._call_complete(app, call), some))
            progress.tell(done)
        return done

    def _calls(self, events: int, together: int) -> Iterator[Call]:
        """Return what to call complete next, from the first partition of which nothing is so far."""
        first = self._next_part
        self._next_part += -(-events // (self._lake.datasets * together)) * together
        return islice(self._lake.calls(first, together), events // together)

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

    def _call_complete(self, app: Application, call: Call) -> int:
        made = app.declarations.complete(feed(call.dataset), [label(part) for part in call.parts])
        for part, found in zip(call.parts, made, strict=True):
            if self._lake.is_waited_for(call.dataset, part):
                self._complete[feed(call.dataset), label(part)] = found.declared_at
        return len(made)

    def _check(self, runs: Iterable[Run], due: dict[str, tuple[tuple[str, str], ...]]) -> None:
        """Make sure that each job that has all that it waits for has one run, and no other has any."""
        names: set[str] = set()
        for run in runs:
            assert run.job not in names, f"{run.job} has run twice for one state of its inputs"
            assert not run.error, run.error
            names.add(run.job)
        assert names == set(due), "a job has not started, or one that waits has"

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
    done, progress = 0, Progress("handled", events)
    while done < events and (handled := app.operations.dispatch_events()):
        done += handled
        progress.tell(done)
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
    parser.add_argument("--singly", type=int, default=5_000)
    parser.add_argument("--together", type=int, default=100)
    parser.add_argument("--datasets", type=int, default=100)
    options = parse_contender(parser)
    configure_logging(level=logging.WARNING)
    with DATABASES[options.database]() as database:
        lake = WaitingLake(options.scratch / "lake", database.url, options.datasets, options.jobs)
        lake.make()
        case = Case(lake, database, Records(options.records))
        if options.live:
            case.live(options.live, options.rate, options.workers)
        case.backlog(options.events, options.publishers, options.singly, options.together)


if __name__ == "__main__":
    main()
