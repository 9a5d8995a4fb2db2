"""Airflow's own processes: what a deployment consists of."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AirflowProcesses:
    """Processes of Airflow, each in a group of its own, so that whatever it has forked ends with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        self._environment = {
            **os.environ,
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self._port}/execution/",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "no_proxy": "127.0.0.1",
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start processes: api-server, scheduler, dag-processor, triggerer."""
        for name in names:
            command = [str(Path(sys.prefix) / "bin" / "airflow"), name]
            if name == "api-server":
                command += ["--host", "127.0.0.1", "--port", self._port, "--workers", "1"]
            with (self._folder / name).open("ab") as log:
                self._running[name] = subprocess.Popen(
                    command, stdout=log, stderr=log, env=self._environment, start_new_session=True
                )

    def kill(self, name: str) -> None:
        """Kill a process and whatever it has forked."""
        process = self._running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def written(self) -> str:
        """Return the ends of what the processes have printed."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self._folder.iterdir()))

    def kill_all(self) -> None:
        """Kill what runs."""
        for name in list(self._running):
            self.kill(name)


@contextmanager
def airflow_processes(folder: Path) -> Iterator[AirflowProcesses]:
    """Let processes run for the length of the block."""
    folder.mkdir()
    processes = AirflowProcesses(folder)
    try:
        yield processes
    finally:
        processes.kill_all()
