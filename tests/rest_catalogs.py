"""Real Iceberg REST catalogs for tests: another lake's server, as a process of its own, and SeaweedFS's."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from cordillera.app import create_lake
from cordillera.spec.access import Privilege
from cordillera.spec.wanted_grant import WantedGrant
from tests.servers_s3 import start_seaweedfs

_START_SECONDS = 60


@dataclass(frozen=True)
class RestCatalog:
    """A running catalog.

    Attributes:
        settings: What a target needs to know, but for the namespace.
        secrets: The environment variables that the settings name.
        url: Of its routes, with its prefix.
        headers: What requests carry.
        lake: The folder of the lake behind it, if there is one.
    """

    settings: dict[str, str]
    secrets: dict[str, str] = field(repr=False)
    url: str
    headers: Callable[[], dict[str, str]] = field(repr=False)
    lake: Path | None = None

    def new_namespace(self) -> dict[str, str]:
        """Make an empty namespace, and return the settings of a target that keeps tables there."""
        name, deadline = f"copies_{secrets.token_hex(6)}", time.monotonic() + _START_SECONDS
        while True:  # SeaweedFS makes its bucket for tables a while after it has started
            answer = self.ask("POST", "/namespaces", json={"namespace": [name]})
            if answer.status_code == 200:
                return {**self.settings, "namespace": name}
            if answer.status_code == 403 or time.monotonic() > deadline:
                raise RuntimeError(f"The catalog makes no namespace: {answer.text[:500]}")
            time.sleep(0.1)

    def ask(self, method: str, path: str, **further: Any) -> httpx2.Response:
        """Send a request as anybody may."""
        return httpx2.request(
            method, f"{self.url}{path}", headers=self.headers(), trust_env=False, timeout=60, **further
        )


@contextmanager
def lake_catalog(folder: Path) -> Iterator[RestCatalog]:
    """Run another lake's server, on SQLite and local files, for the length of the block."""
    with create_lake(folder / "lake", name="elsewhere") as app:
        token = app.access.create_token("replication", principal="user:replication").secret
        app.grants.grant(WantedGrant("user:replication", Privilege.CREATE, "lake"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cordillera.cli.main", "serve", "--lake", str(folder / "lake")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--port", str(port), "--workers", "0"], stdout=log, stderr=log)
    try:
        uri = f"http://127.0.0.1:{port}/iceberg"
        settings = {"uri": uri, "token_env": "ELSEWHERE_TOKEN"}
        headers = {"Authorization": f"Bearer {token}"}
        catalog = RestCatalog(settings, {"ELSEWHERE_TOKEN": token}, f"{uri}/v1", lambda: headers, folder / "lake")
        _wait(process, catalog, folder / "log")
        yield catalog
    finally:
        process.terminate()
        process.wait()


@contextmanager
def seaweedfs_catalog(folder: Path) -> Iterator[RestCatalog]:
    """Run SeaweedFS with its catalog for the length of the block."""
    with start_seaweedfs(folder / "seaweedfs", catalog=True) as server:
        settings = {
            "uri": server.catalog, "warehouse": server.bucket, "credential_env": "WEED_CREDENTIAL",
            "endpoint": server.endpoint, "region": "us-east-1",
            "access_key_env": "WEED_ACCESS_KEY", "secret_key_env": "WEED_SECRET_KEY",
        }  # fmt: skip
        environment = {
            "WEED_CREDENTIAL": f"{server.access_key}:{server.secret_key}",
            "WEED_ACCESS_KEY": server.access_key,
            "WEED_SECRET_KEY": server.secret_key,
        }
        form = {"grant_type": "client_credentials", "client_id": server.access_key, "client_secret": server.secret_key}
        answer = _answered(
            lambda: httpx2.post(f"{server.catalog}/v1/oauth/tokens", data=form, trust_env=False, timeout=60)
        )
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        yield RestCatalog(settings, environment, f"{server.catalog}/v1/{server.bucket}", lambda: headers)


def _answered(ask: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Ask until somebody listens: SeaweedFS serves objects before it serves its catalog."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return ask()
        except httpx2.ConnectError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _wait(process: subprocess.Popen[bytes], catalog: RestCatalog, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            answer = catalog.ask("GET", "/config")
            if answer.status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The server did not start: {log.read_text()[-4000:]}")
        time.sleep(0.1)
