"""Databases that benchmarks keep a lake's metadata in, and what they use of the machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import start_postgres

from benchmarks.usage import family_cpu_seconds

DURABLE = {"max_connections": "50", "listen_addresses": ""}
"""Settings of a PostgreSQL server that waits for its disk at every commit."""


@dataclass(frozen=True)
class Database:
    """A database for a lake.

    Attributes:
        url: For ``metadata_url``; empty for SQLite in the lake's folder.
        dsn: What psycopg connects to; empty for SQLite.
        server: The process of its server; 0 where there is none.
        folder: A folder that its server may enter.
    """

    url: str = ""
    dsn: str = ""
    server: int = 0
    folder: Path = Path()

    def cpu_seconds(self) -> float:
        """Return the CPU time of its server so far."""
        return family_cpu_seconds(self.server) if self.server else 0.0


@contextmanager
def sqlite() -> Iterator[Database]:
    """SQLite, which works within the processes that use it."""
    yield Database()


@contextmanager
def postgres() -> Iterator[Database]:
    """A PostgreSQL server of its own, which waits for its disk."""
    # The server runs under another account, which may not enter the folders that only their owner may.
    with tempfile.TemporaryDirectory(prefix="cordillera-bench-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with start_postgres(Path(folder, "server"), DURABLE) as dsn:
            host = dsn.split()[0].removeprefix("host=")
            server = int(Path(folder, "server", "data", "postmaster.pid").read_text().split()[0])
            yield Database(f"postgresql://postgres@/postgres?host={host}", dsn, server, Path(folder))


DATABASES = {"sqlite": sqlite, "postgres": postgres}
