"""A real lake behind a real server in a process of its own, which is told what to do over HTTP."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx

PROGRAM = Path(sys.prefix).parent / "bin" / "cordillera"
"""Airflow has an environment of its own, within that of the lake's server."""
PATIENCE_SECONDS = 120.0
_Found = TypeVar("_Found")


class LakeServer:
    """A lake in a folder; ``start`` and ``stop`` its server on one port, as often as wanted.

    Args:
        folder: Where to keep it; is made.
        environment: Settings of the server.

    Attributes:
        url: Where it is.
        token: An administrator's.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        if not PROGRAM.exists():
            raise FileNotFoundError(f"There is no {PROGRAM}: run `make setup-dev`.")
        self._folder, self._environment = folder, {**os.environ, **environment}
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url, self.token = f"http://127.0.0.1:{self._port}", ""
        self._server: subprocess.Popen[bytes] | None = None
        subprocess.run([PROGRAM, "init", folder / "lake"], check=True, capture_output=True)
        self.start()
        self.admin = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
            timeout=60,
        )

    def start(self) -> None:
        """Start the server, with a worker."""
        log = self._folder / "log"
        with log.open("ab") as output:
            command = [PROGRAM, "serve", "--lake", self._folder / "lake", "--port", str(self._port)]
            self._server = subprocess.Popen(command, stdout=output, stderr=output, env=self._environment)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                httpx.get(f"{self.url}/health", trust_env=False, timeout=60)
                break
            except httpx.TransportError:
                assert self._server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        if not self.token:
            (self.token,) = re.findall(r"cdl_\S+", log.read_text())

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server, or kill it."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(PATIENCE_SECONDS)
            self._server = None

    def ask(self, method: str, address: str, body: object = None, **parameters: object) -> Any:
        """Make a request as the administrator."""
        answer = self.admin.request(method, address, json=body, params={**parameters})
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def create_dataset(self, name: str) -> str:
        """Create a dataset of orders whose partitions are days, with a snapshot, and its namespace."""
        self.admin.post("/namespaces", json={"name": name.rpartition(".")[0]})
        columns = [{"name": "id", "type": "long", "required": True}, {"name": "day", "type": "date"}]
        options = {"completion_unit": "day", "key": ["id"]}
        self.ask("POST", "/datasets", {"name": name, "columns": columns, "options": options})
        self.write(name, 1)
        return name

    def write(self, name: str, number: int, **parameters: object) -> None:
        """Write a row."""
        rows = [{"id": number, "day": "2026-01-31"}]
        self.ask("POST", f"/datasets/{name}/rows", rows, operation="upsert", **parameters)

    def complete(self, name: str, *partitions: str) -> None:
        """Declare partitions complete."""
        for partition in partitions:
            self.ask("POST", f"/datasets/{name}/completions", {"partition": partition})

    def complete_without_server(self, name: str, partition: str) -> None:
        """Declare a partition complete while the server is away."""
        command = [PROGRAM, "completion", "declare", name, partition, "--lake", self._folder / "lake"]
        subprocess.run(command, check=True, capture_output=True)

    def completions(self, name: str) -> list[tuple[str, int, int]]:
        """Return the partitions that are complete, with revision and snapshot."""
        found = self.ask("GET", f"/datasets/{name}/completions")["items"]
        return sorted((one["partition"], one["revision"], one["sequence_number"]) for one in found)

    def create_token(self, principal: str) -> tuple[str, str]:
        """Return the id and the secret of a token."""
        made = self.ask("POST", "/tokens", {"name": uuid4().hex, "principal": principal})
        return made["token"]["id"], made["secret"]

    def open_streams(self) -> int:
        """Return how many streams of events are open."""
        lines = self.admin.get(f"{self.url}/metrics").text.splitlines()
        (count,) = (line.split()[1] for line in lines if line.startswith("cordillera_event_streams "))
        return int(float(count))


def eventually(look: Callable[[], _Found], explain: Callable[[], object] = lambda: "it did not happen") -> _Found:
    """Look until something is there, and return it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, explain()
        time.sleep(0.1)
    return found
