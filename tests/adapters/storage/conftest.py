from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from uuid import uuid4

import pytest

from tests.servers_s3 import S3Server, start_seaweedfs

_ENDLESS_WRITER = """
import json, sys, time
from cordillera.adapters.storage import build_storage
given = json.load(sys.stdin)
storage = build_storage(given["root"], given["options"])
with storage.open_output(given["uri"]) as file:
    file.write(bytes(30_000_000))
    print("written", flush=True)
    time.sleep(300)
"""


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with start_seaweedfs(tmp_path_factory.mktemp("seaweedfs") / "server") as server:
        yield server


@pytest.fixture
def s3_root(s3_server: S3Server) -> str:
    return f"s3://{s3_server.bucket}/{uuid4().hex}/lake"


@pytest.fixture
def s3_options(s3_server: S3Server) -> dict[str, str]:
    return {
        "endpoint": s3_server.endpoint,
        "access_key": s3_server.access_key,
        "secret_key": s3_server.secret_key,
    }


@pytest.fixture
def kill_a_writer() -> Callable[[str, Mapping[str, str], str], None]:
    """Start writing 30 MB to a URI in another process, and kill it (SIGKILL) before the object is finished."""

    def kill(root: str, options: Mapping[str, str], uri: str) -> None:
        command = [sys.executable, "-c", _ENDLESS_WRITER]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
            try:
                assert writer.stdin is not None
                assert writer.stdout is not None
                writer.stdin.write(json.dumps({"root": root, "options": dict(options), "uri": uri}))
                writer.stdin.close()
                assert writer.stdout.readline() == "written\n"
            finally:
                writer.kill()
            assert writer.wait() == -signal.SIGKILL

    return kill
