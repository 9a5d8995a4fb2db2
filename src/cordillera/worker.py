"""The worker loop: handles events and does tasks until it is told to stop."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from cordillera.app import Application, open_lake
from cordillera.errors import TransientError
from cordillera.logs import configure_logging

_log = structlog.get_logger(__name__)
_IDLE_SECONDS, _LONGEST_IDLE_SECONDS = 0.02, 0.5
_PURGE_EVERY_SECONDS = 3600.0
_CHAIN_EVERY_SECONDS = 1.0


class Worker:
    """Does background work for one lake.

    Args:
        app: The lake.
        name: Shown with leases; by default host and process id.
    """

    def __init__(self, app: Application, name: str = "") -> None:
        self._app = app
        self._name = name or f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
        self._stopped = threading.Event()
        self._purge_due = time.monotonic() + _PURGE_EVERY_SECONDS
        self._chain_due = time.monotonic() + _CHAIN_EVERY_SECONDS

    def run(self) -> None:
        """Work until ``stop`` is called. Passing failures of the database or the storage are waited out."""
        idle = _IDLE_SECONDS
        while not self._stopped.is_set():
            try:
                busy = self.step()
            except TransientError as error:
                _log.warning("worker waits", error=str(error))
                busy = False
            idle = _IDLE_SECONDS if busy else min(2 * idle, _LONGEST_IDLE_SECONDS)
            if not busy:
                self._stopped.wait(idle)

    def step(self) -> bool:
        """Handle waiting events and do one task; False if there was nothing to do."""
        operations = self._app.operations
        handled = operations.dispatch_events() if operations.has_events() else 0
        performed = operations.perform_task(self._name)
        if time.monotonic() >= self._chain_due:
            self._app.audit.chain()
            self._app.service_levels.follow_up()
            self._app.proposals.follow_up()
            self._chain_due = time.monotonic() + _CHAIN_EVERY_SECONDS
        if time.monotonic() >= self._purge_due:
            self._app.deletion.purge()
            self._app.scans.forget_old()
            self._app.access_requests.follow_up()
            if self._app.settings.audit_dataset:
                self._app.audit.export(self._app.settings.audit_dataset)
            self._purge_due = time.monotonic() + _PURGE_EVERY_SECONDS
        return bool(handled) or performed

    def run_until_idle(self) -> int:
        """Work until nothing is due; return how many steps that took."""
        steps = 0
        while self.step():
            steps += 1
        return steps

    def stop(self) -> None:
        """Stop after the task in hand."""
        self._stopped.set()


@contextmanager
def workers(app: Application, count: int = 1) -> Iterator[None]:
    """Run workers in threads for the length of the block; it ends when the tasks in hand are done."""
    running = [Worker(app) for _ in range(count)]
    threads = [
        threading.Thread(target=worker.run, name=f"cordillera-worker-{index}", daemon=True)
        for index, worker in enumerate(running)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker in running:
            worker.stop()
        for thread in threads:
            thread.join()


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
    with open_lake(path) as app:
        worker = Worker(app)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the parent says when to stop
        threading.Thread(target=_stop_when_orphaned, args=(worker,), daemon=True).start()
        worker.run()


def _stop_when_orphaned(worker: Worker) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker process is started by another"
    parent.join()
    worker.stop()
