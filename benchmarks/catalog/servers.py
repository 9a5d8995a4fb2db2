"""The catalogs that are compared, each running as a server of its own on loopback."""

from __future__ import annotations

import json
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import urllib3
from tests.servers import start_postgres
from tests.servers_s3 import start_seaweedfs

from cordillera.app import create_lake

START_SECONDS = 60
_DURABLE = {"max_connections": "50", "listen_addresses": ""}


@dataclass(frozen=True)
class Catalog:
    """A running Iceberg REST catalog.

    Attributes:
        url: Of its routes, with its prefix.
        token: What requests carry.
        put: Stores a file that a commit is about.
    """

    url: str
    token: str
    put: Callable[[str, bytes], None]


@contextmanager
def cordillera_sqlite(folder: Path) -> Iterator[Catalog]:
    """One API process on SQLite and local files."""
    with _cordillera(folder, "") as catalog:
        yield catalog


@contextmanager
def cordillera_postgres(folder: Path) -> Iterator[Catalog]:
    """One API process on PostgreSQL, which waits for its disk at every commit, and local files."""
    with start_postgres(folder / "postgres", _DURABLE) as dsn:
        host = dsn.split()[0].removeprefix("host=")
        with _cordillera(folder, f"postgresql://postgres@/postgres?host={host}") as catalog:
            yield catalog


@contextmanager
def _cordillera(folder: Path, metadata_url: str) -> Iterator[Catalog]:
    lake = folder / "lake"
    with create_lake(lake, metadata_url=metadata_url) as app:
        token = app.access.create_token("bench", principal="user:bench").secret
        app.namespaces.create("bench", owner="user:bench")
    log, port = folder / "log", _free_port()
    command = [Path(sysconfig.get_path("scripts")) / "cordillera", "serve", "--lake", lake, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--workers", "0"], stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}/iceberg/v1"
        _wait(process, f"{url}/config", {"Authorization": f"Bearer {token}"}, log)
        yield Catalog(url, token, _write)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Catalog]:
    """SeaweedFS's own, on its own storage; it does not wait for the disk."""
    with start_seaweedfs(folder / "seaweedfs", catalog=True) as server:
        form = {"grant_type": "client_credentials", "client_id": server.access_key, "client_secret": server.secret_key}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = urllib3.request("POST", f"{server.catalog}/v1/oauth/tokens", body=urlencode(form), headers=headers)
        token = answer.json()["access_token"]
        url, deadline = f"{server.catalog}/v1/{server.bucket}", time.monotonic() + START_SECONDS
        while True:  # its bucket for tables comes into being a while after it has started
            made = urllib3.request(
                "POST", f"{url}/namespaces", json={"namespace": ["bench"]}, headers={"Authorization": f"Bearer {token}"}
            )
            if made.status == 200:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS's catalog does not answer: {made.data[:500]!r}")
            time.sleep(0.2)
        client = server.client()

        def put(location: str, data: bytes) -> None:
            bucket, _, key = location.removeprefix("s3://").partition("/")
            client.put_object(Bucket=bucket, Key=key, Body=data)

        yield Catalog(url, token, put)


def _write(location: str, data: bytes) -> None:
    path = Path(location.removeprefix("file://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, headers: dict[str, str], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            answer = urllib3.request("GET", url, headers=headers, retries=False)
            if answer.status == 200:
                return
            raise RuntimeError(f"{url} answers {answer.status}: {json.dumps(answer.data.decode())[:500]}")
        except urllib3.exceptions.HTTPError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The server did not start: {log.read_text()[-4000:]}") from None
        time.sleep(0.1)


CATALOGS = {
    "Cordillera on SQLite": cordillera_sqlite,
    "Cordillera on PostgreSQL": cordillera_postgres,
    "SeaweedFS": seaweedfs,
}
