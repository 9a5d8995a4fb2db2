"""A real MariaDB server for tests, from Debian's package ``mariadb-server-core``, on a free port of loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymysql

from cordillera.adapters.synchronizers.mariadb import MariaDBSynchronizer
from cordillera.adapters.synchronizers.mariadb_session import Place
from tests.servers_s3 import die_with_parent, free_ports

START_TIMEOUT_S = 60
USER, PASSWORD = "loader", "hunter2"
_TABLES = Path("/usr/share/mysql")
_SETTINGS = (
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=0",  # the machine does not lose power during a test
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--sync-frm=0",
    "--innodb-log-file-size=64M",
    "--innodb-buffer-pool-size=64M",
    "--innodb-use-native-aio=0",
    "--sql-mode=",  # whatever a server has set, the synchronizer needs none of it
    "--character-set-server=latin1",
    "--default-time-zone=+09:00",
)
_RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, CREATE TEMPORARY TABLES"


@dataclass(frozen=True)
class MariaDB:
    """A running server, and one database of it.

    Attributes:
        port: On loopback.
        database: Where tables are.
        pid: The server's process.
    """

    port: int
    database: str
    pid: int

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run what somebody else does to the database, and return the rows of its answer."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def connect(self) -> pymysql.Connection[Any]:
        """Connect as somebody who may do anything."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=self.database, charset="utf8mb4", autocommit=True,
            ssl_disabled=True,
        )  # fmt: skip

    @property
    def place(self) -> Place:
        """Where a synchronizer finds it."""
        return Place("127.0.0.1", self.port, USER, self.database, encrypted=False)

    def target(self) -> MariaDBSynchronizer:
        """Return the synchronizer."""
        return MariaDBSynchronizer(self.place, lambda: PASSWORD)

    def location(self) -> str:
        """Return what another process makes the same place of: ``Place(*json.loads(location))``."""
        return json.dumps(astuple(self.place))

    def another_database(self) -> MariaDB:
        """Return the same server with an empty database of its own, where the user of targets may make tables."""
        made = MariaDB(self.port, f"d{uuid4().hex}", self.pid)
        self.execute(f"CREATE DATABASE {made.database}")
        self.execute(f"GRANT {_RIGHTS} ON {made.database}.* TO {USER}@'%'")
        return made


@contextmanager
def start_mariadb(directory: Path) -> Iterator[MariaDB]:
    """Run a server with its data in ``directory`` for the length of the block."""
    data = directory / "data"
    (data / "mysql").mkdir(parents=True)
    account = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
    if account is not None:
        directory.parent.chmod(0o755)
        for path in (directory, data, data / "mysql"):
            shutil.chown(path, account)
    # A server that starts removes what others have of temporary tables in the same folder.
    own = ["--no-defaults", f"--datadir={data}", f"--tmpdir={directory}", *_SETTINGS]
    made = "USE mysql;\n" + "".join((_TABLES / f"mysql_system_tables{part}.sql").read_text() for part in ("", "_data"))
    log = directory / "log"
    with log.open("ab") as written:
        subprocess.run(
            [_binary(), *own, "--bootstrap"], input=made.encode(), stdout=written, stderr=written, user=account,
            check=True,
        )  # fmt: skip
        (port,) = free_ports(1)
        process = subprocess.Popen(
            [_binary(), *own, "--bind-address=127.0.0.1", f"--port={port}", f"--socket={directory}/socket"],
            stdin=subprocess.DEVNULL, stdout=written, stderr=written, user=account, preexec_fn=die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
    try:
        server = MariaDB(port, "mysql", process.pid)
        _wait_until_ready(process, server, log)
        server.execute(f"CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'")
        yield server
    finally:
        process.kill()
        process.wait()


def _binary() -> str:
    found = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise FileNotFoundError("The tests need MariaDB; on Debian: apt-get install mariadb-server-core")
    return found


def _wait_until_ready(process: subprocess.Popen[bytes], server: MariaDB, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            server.connect().close()
        except pymysql.Error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"MariaDB did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.05)
        else:
            return
