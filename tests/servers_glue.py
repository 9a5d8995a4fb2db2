"""A stand-in for the AWS Glue Data Catalog in tests: the emulator MiniStack, from the package ``ministack``.

It is no proof of what AWS does; it keeps tables in memory, counts ``VersionId`` up, and refuses one that is not the
current one, which is what is relied on here.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
from botocore.config import Config

from tests.servers_s3 import die_with_parent, free_ports

START_TIMEOUT = 60.0
REGION = "eu-central-1"


class GlueEmulator:
    """A running emulator.

    Attributes:
        endpoint: Its address on loopback.
        process: The server; a test may stop it.
    """

    def __init__(self, endpoint: str, process: subprocess.Popen[bytes]) -> None:
        self.endpoint, self.process = endpoint, process
        self.client: Any = boto3.client(
            "glue",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def new_database(self) -> str:
        """Make a database that nobody else has, and return its name."""
        name = f"lake_{secrets.token_hex(6)}"
        self.client.create_database(DatabaseInput={"Name": name})
        return name

    def table(self, database: str, name: str) -> dict[str, Any]:
        """Return a table as Glue tells of it."""
        found: dict[str, Any] = self.client.get_table(DatabaseName=database, Name=name)["Table"]
        return found

    def tables(self, database: str) -> list[str]:
        """Return the names of a database's tables."""
        return sorted(one["Name"] for one in self.client.get_tables(DatabaseName=database)["TableList"])

    def point(self, database: str, name: str, location: str, **parameters: str) -> None:
        """Let a table name another metadata file, as an engine does that commits through Glue."""
        entry = self.table(database, name)
        changed = {**entry["Parameters"], "metadata_location": location, **parameters}
        kept = {key: entry[key] for key in ("Name", "Description", "TableType", "StorageDescriptor")}
        self.client.update_table(
            DatabaseName=database, TableInput={**kept, "Parameters": changed}, VersionId=entry["VersionId"]
        )


@contextmanager
def start_glue(directory: Path) -> Iterator[GlueEmulator]:
    """Run the emulator on loopback, with Glue alone, for the length of the block."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_ports(1)[0]
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "glue", "TMPDIR": str(directory)}
    settings["IOT_MTLS_ENABLED"] = "0"  # no port of its own choice
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            cwd=directory,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}", directory / "log")
        yield GlueEmulator(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            urlopen(f"{endpoint}/_ministack/health", timeout=5).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"MiniStack did not start: {error}\n{log.read_text()[-4000:]}") from error
        time.sleep(0.05)
