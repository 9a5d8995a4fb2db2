"""fakesnow, an emulator of Snowflake, for tests: from packages, in an environment and a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from cordillera.adapters.synchronizers.snowflake import SnowflakeSynchronizer
from cordillera.adapters.synchronizers.snowflake_session import Account, Session, access_token, open_session
from tests.servers_s3 import die_with_parent, free_ports

PYTHON = Path(sys.prefix) / "snowflake" / "bin" / "python"
DATABASE = "LAKE"
_SCRIPT = Path(__file__).parent / "adapters" / "synchronizers" / "snowflake_emulator.py"
_START_TIMEOUT_S = 120


@dataclass(frozen=True)
class Snowflake:
    """A running emulator, and one schema of its database.

    Attributes:
        port: On loopback.
        schema: Where tables are.
    """

    port: int
    schema: str

    @property
    def account(self) -> Account:
        """Where a synchronizer finds it."""
        return Account("company-lab", "loader", "LOADER", endpoint=f"http://127.0.0.1:{self.port}")

    @property
    def settings(self) -> dict[str, str]:
        """A target's settings, but for those of its secret."""
        whose = {"account": "company-lab", "user": "loader", "role": "loader"}
        return {**whose, "database": DATABASE, "schema": self.schema, "endpoint": self.account.endpoint}

    def open_session(self) -> Session:
        """Connect as somebody else."""
        return open_session(self.account, lambda: access_token("-"), (DATABASE, self.schema))

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run what somebody else does in the schema, and return the rows of its answer."""
        with closing(self.open_session()) as session:
            return [tuple(row.values()) for row in session.rows(statement)]

    def tables(self) -> list[str]:
        """Return the names of the schema's tables."""
        found = f"SELECT table_name FROM INFORMATION_SCHEMA.TABLES WHERE table_schema = '{self.schema}'"
        return [str(row[0]) for row in self.execute(found)]

    def target(self) -> SnowflakeSynchronizer:
        """Return the synchronizer."""
        return SnowflakeSynchronizer(self.account, lambda: access_token("hunter2"), DATABASE, self.schema)

    def another_schema(self) -> Snowflake:
        """Return the same emulator with an empty schema of its own, which it makes for whoever connects."""
        return replace(self, schema=f"S{uuid4().hex.upper()}")


@contextmanager
def start_snowflake(directory: Path) -> Iterator[Snowflake]:
    """Run the emulator for the length of the block.

    Raises:
        RuntimeError: If it is not installed, or does not start.
    """
    if not PYTHON.exists():
        raise RuntimeError(f"There is no fakesnow in {PYTHON.parent.parent}: run `make setup-snowflake`.")
    (port,) = free_ports(1)
    log = directory / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [PYTHON, "-I", _SCRIPT, str(port)], cwd=directory, env={"TMPDIR": str(directory), "HOME": str(directory)},
            stdin=subprocess.DEVNULL, stdout=written, stderr=written, preexec_fn=die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
    try:
        _wait_until_ready(process, port, log)
        yield Snowflake(port, "PUBLIC")
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            httpx2.get(f"http://127.0.0.1:{port}/")
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"fakesnow does not start: {log.read_text(errors='replace')[-4_000:]}")
