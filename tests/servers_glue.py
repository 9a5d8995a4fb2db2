"""A stand-in for the AWS Glue Data Catalog in tests: the emulator MiniStack, from the package ``ministack``.

It is no proof of what AWS does; it keeps tables in memory, counts ``VersionId`` up, and refuses one that is not the
current one, which is what is relied on here.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.servers_aws import REGION, start_aws


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
    with start_aws(directory, "glue") as (endpoint, process):
        yield GlueEmulator(endpoint, process)
