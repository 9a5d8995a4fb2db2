"""A stand-in for services of AWS in tests: the emulator MiniStack, from the package ``ministack``.

It is no proof of what AWS does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from tests.servers_s3 import die_with_parent, free_ports

START_TIMEOUT = 60.0
REGION = "eu-central-1"


@contextmanager
def start_aws(directory: Path, services: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the emulator on loopback for the length of the block; yield its address, and the server.

    Args:
        directory: Where it keeps what it writes.
        services: Which services it has, as it calls them, with commas between.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = free_ports(1)[0]
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": services, "TMPDIR": str(directory)}
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
        yield f"http://127.0.0.1:{port}", process
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
