"""Work, servers and workers in processes of their own, which die or stand still where a test says.

The processes are forked off one that has imported everything, so that starting one takes no time.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

import cordillera
from cordillera.adapters.db.engine import open_database
from cordillera.adapters.db.schema import tasks
from cordillera.cli.main import main
from cordillera.client import Lake
from tests.reliability.crash import WORK, kill_at

PATIENCE = 60.0
_Found = TypeVar("_Found")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["cordillera.server", "cordillera.adapters.storage.s3", "polars", __name__])


def eventually(
    look: Callable[[], _Found], explain: Callable[[], object] = lambda: "it did not happen", seconds: float = PATIENCE
) -> _Found:
    """Look until something is there, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)
    return found


def settled(lake: Lake) -> bool:
    """Tell whether nothing is left to be done: every event is handled, no task waits, and none has caused events."""
    events = lake.backend.events(limit=1000)
    if lake.backend.tasks() or not all(event.handled_at for event in events):
        return False
    return [event.number for event in lake.backend.events(limit=1)] == [event.number for event in events[:1]]


def end_leases(lake: Lake) -> None:
    """Let the time pass that the leases on tasks last."""
    database = open_database(lake.backend.app.settings.metadata_url.get_secret_value())
    past = datetime.now(UTC) - timedelta(seconds=1)
    with database.writer.begin() as connection:
        connection.execute(sa.update(tasks).where(tasks.c.lease_until.is_not(None)).values(lease_until=past))
    database.close()


@dataclass(frozen=True)
class Running:
    """A process that runs a function."""

    process: BaseProcess
    log: Path

    def written(self) -> str:
        """Return what it has printed and logged."""
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed or logged something, and return it."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.written())
            assert found or self.process.is_alive(), self.written()[-3000:]
            return found

        found = eventually(look, self.written)
        assert found is not None
        return found

    def wait(self) -> int | None:
        """Wait for its end and return its exit code, negative for a signal."""
        self.process.join(PATIENCE)
        return self.process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def stands_still(self) -> bool:
        """Tell whether it has been stopped (SIGSTOP)."""
        state = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def url(self) -> str:
        """Return where the server listens that it is."""
        return self.wait_for(r'"url": "(http://127\.0\.0\.1:\d+)"')[1]

    def connect(self) -> Lake:
        """Connect to the server it is."""
        return cordillera.connect(self.url())


@contextmanager
def started(function: Callable[..., object], *arguments: object, folder: Path) -> Iterator[Running]:
    """Run a function in a process of its own for the length of the block.

    Args:
        function: What to run; its result is the exit code.
        arguments: For it.
        folder: Where to keep what it writes to stdout and stderr.
    """
    log = folder / f"{function.__name__}-{time.monotonic_ns()}.log"
    log.touch()
    process = _context.Process(target=_child, args=(dict(os.environ), log, function, arguments))
    process.start()
    try:
        yield Running(process, log)
    finally:
        process.kill()
        process.join()


def _child(
    environment: Mapping[str, str], log: Path, function: Callable[..., int], arguments: Sequence[object]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(function(*arguments))


def run_and_kill(lake: Path, kind: str, point: str) -> None:
    """Do a kind of work in another process that is killed at a point; fails if it was not."""
    with started(_work, lake, kind, point, folder=lake.parent) as worker:
        code = worker.wait()
        assert code == -signal.SIGKILL, f"{point} was not reached: {code}\n{worker.written()[-3000:]}"


def _work(path: Path, kind: str, point: str) -> None:
    kill_at(point)
    with cordillera.open(path) as lake:
        WORK[kind](lake)


@contextmanager
def command(
    name: str, lake: Path, *options: str, point: str = "", fatal_signal: signal.Signals = signal.SIGKILL
) -> Iterator[Running]:
    """Run ``cordillera serve`` or ``cordillera worker`` for the length of the block.

    Args:
        name: The command.
        lake: The lake's folder.
        options: Further options.
        point: Where the process sends itself a signal.
        fatal_signal: The signal.
    """
    arguments = [name, "--lake", str(lake), *options]
    if name == "serve":
        arguments += ["--port", "0", "--insecure-local"]
    with started(_command, arguments, point, fatal_signal, folder=lake.parent) as process:
        yield process


def _command(arguments: Sequence[str], point: str, fatal_signal: signal.Signals) -> int:
    if point:
        kill_at(point, fatal_signal)
    return main(arguments)
