"""The worker loop: handles events and does tasks until it is told to stop."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog

from cordillera.app import Application, open_lake
from cordillera.errors import TransientError
from cordillera.logs import configure_logging
from cordillera.spec.event import WorkDone
from cordillera.stop_signal import StopSignal

_log = structlog.get_logger(__name__)
_IDLE_SECONDS, _LONGEST_IDLE_SECONDS = 0.02, 0.5
_PURGE_EVERY_SECONDS = 3600.0
_CHAIN_EVERY_SECONDS = 1.0
_LOOK_EVERY_SECONDS = 0.5
_TASKS_FOR_SECONDS = 0.05
"""For so long a worker does one task after the other before it looks for events again, which then come together."""
_PATIENCE_SECONDS = 2.0
"""How long a worker may be at a target or a destination before another one stands in for it."""
_MOST_STAND_INS = 16


class Worker:
    """Does background work for one lake.

    Args:
        app: The lake.
        name: Shown with leases; by default host and process id.
    """

    def __init__(self, app: Application, name: str = "") -> None:
        self._app = app
        self._name = name or _process_name()
        self._stopped = threading.Event()
        self._purge_due = time.monotonic() + _PURGE_EVERY_SECONDS
        self._chain_due = time.monotonic() + _CHAIN_EVERY_SECONDS

    def run(self, may_leave: Callable[[], bool] = lambda: False) -> None:
        """Work until ``stop`` is called. Passing failures of the database or the storage are waited out.

        Args:
            may_leave: Asked between two steps; it ends when told that it may.
        """
        idle = _IDLE_SECONDS
        while not self._stopped.is_set() and not may_leave():
            try:
                busy = any(self.step())
            except TransientError as error:
                _log.warning("worker waits", error=str(error))
                busy = False
            except Exception as error:  # a bug must not end the worker
                _log.exception("worker waits", error=repr(error))
                busy = False
            idle = _IDLE_SECONDS if busy else min(2 * idle, _LONGEST_IDLE_SECONDS)
            if not busy:
                self._stopped.wait(idle)

    def step(self) -> WorkDone:
        """Handle waiting events and do tasks for a moment, at least one if one is due."""
        operations = self._app.operations
        waiting = operations.waiting()
        handled = operations.dispatch_events() if waiting.events else 0
        due = waiting.tasks or handled > 0
        performed = operations.perform_tasks(self._name, self._for_a_moment()) if due else 0
        if time.monotonic() >= self._chain_due:
            self._app.audit.chain()
            self._app.service_levels.follow_up()
            self._app.proposals.follow_up()
            self._app.candidates.follow_up()
            self._chain_due = time.monotonic() + _CHAIN_EVERY_SECONDS
        if time.monotonic() >= self._purge_due:
            self._app.deletion.purge()
            self._app.scans.forget_old()
            self._app.access_requests.follow_up()
            if self._app.settings.audit_dataset:
                self._app.audit.export(self._app.settings.audit_dataset)
            self._purge_due = time.monotonic() + _PURGE_EVERY_SECONDS
        return WorkDone(handled, performed)

    def _for_a_moment(self) -> Callable[[], bool]:
        """Return what tells whether to do one more task before events are looked for again."""
        end = time.monotonic() + _TASKS_FOR_SECONDS
        return lambda: time.monotonic() < end and not self._stopped.is_set()

    def run_until_idle(self) -> WorkDone:
        """Work until nothing is due; return what was done."""
        events = tasks = 0
        while any(done := self.step()):
            events, tasks = events + done.events, tasks + done.tasks
        return WorkDone(events, tasks)

    def stop(self) -> None:
        """Stop after the task in hand."""
        self._stopped.set()


class Crew:
    """Workers in threads of this process: as many as were asked for, besides those who are kept waiting.

    A target or a destination that hangs, or just takes long, holds up the workers that are at it. After a few seconds
    others stand in for them, so that everything else goes on; they leave when the others are back.

    Args:
        app: The lake.
        count: How many.
    """

    def __init__(self, app: Application, count: int) -> None:
        self._app, self._count = app, count
        self._guard, self._stopped = threading.Lock(), threading.Event()
        self._present: list[Worker] = []
        self._numbers = itertools.count(1)
        self._threads = [threading.Thread(target=self._attend, name="cordillera-crew", daemon=True)]

    def start(self) -> None:
        """Begin to work."""
        self._fill()
        self._threads[0].start()

    def stop(self) -> None:
        """End when the tasks in hand are done."""
        self._stopped.set()
        with self._guard:
            for worker in self._present:
                worker.stop()
        for thread in self._threads:
            thread.join()

    def _attend(self) -> None:
        while not self._stopped.wait(_LOOK_EVERY_SECONDS):
            self._fill()

    def _fill(self) -> None:
        with self._guard:
            while len(self._present) < self._wanted() and not self._stopped.is_set():
                worker = Worker(self._app, f"{_process_name()}:{next(self._numbers)}")
                work = partial(worker.run, partial(self._leaves, worker))
                thread = threading.Thread(target=work, name=f"cordillera-worker-{len(self._present)}", daemon=True)
                self._present.append(worker)
                self._threads = [one for one in self._threads if one.ident is None or one.is_alive()] + [thread]
                thread.start()

    def _wanted(self) -> int:
        return self._count + min(self._app.operations.outward_for(_PATIENCE_SECONDS), _MOST_STAND_INS)

    def _leaves(self, worker: Worker) -> bool:
        with self._guard:
            surplus = len(self._present) > self._wanted()
            if surplus:
                self._present.remove(worker)
            return surplus


def _process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@contextmanager
def workers(app: Application, count: int = 1) -> Iterator[None]:
    """Run workers in threads for the length of the block; it ends when the tasks in hand are done."""
    crew = Crew(app, count)
    crew.start()
    try:
        yield
    finally:
        crew.stop()


@contextmanager
def worker_process(path: Path) -> Iterator[None]:
    """Run a worker in a process of its own for the length of the block, so that it shares no interpreter lock with it.

    Args:
        path: The lake's folder. Unlike with ``workers``, it is opened by its settings alone.
    """
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(path,), name="cordillera-worker")
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _work(path: Path) -> None:
    """Work until told to stop, or until the process that started this one is gone."""
    configure_logging(level=logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the parent says when to stop
    with StopSignal() as stop:
        threading.Thread(target=_stop_when_orphaned, args=(stop,), daemon=True).start()
        with open_lake(path) as app, workers(app):
            stop.wait()


def _stop_when_orphaned(stop: StopSignal) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker process is started by another"
    parent.join()
    stop.tell()
