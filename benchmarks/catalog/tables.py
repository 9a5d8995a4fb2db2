"""Tables, and the commits that clients make to them, prepared before anything is measured."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import urllib3
from pyiceberg.io import InputFile, OutputFile, OutputStream
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, NestedField, StringType

from benchmarks.catalog.client import Request
from benchmarks.catalog.servers import Catalog

NAMESPACE = "bench"
SCHEMA = Schema(NestedField(1, "id", LongType()), NestedField(2, "note", StringType()))
_ROWS = 10


def path_of(name: str) -> str:
    """Return a table's route."""
    return f"/namespaces/{NAMESPACE}/tables/{name}"


def creation(name: str) -> Request:
    """Return the request that makes a table."""
    body = {"name": name, "schema": json.loads(SCHEMA.model_dump_json()), "properties": {"format-version": "2"}}
    return Request("POST", f"/namespaces/{NAMESPACE}/tables", json.dumps(body).encode())


def property_commits(name: str, count: int, mark: str) -> list[Request]:
    """Return commits that set a property."""
    return [
        _commit(name, [], [{"action": "set-properties", "updates": {"mark": f"{mark}-{number}"}}])
        for number in range(count)
    ]


@dataclass
class Table:
    """A table that commits add snapshots to, each on top of the one before.

    Attributes:
        catalog: Where it is.
        name: What it is called.
    """

    catalog: Catalog
    name: str
    location: str = field(init=False)
    _manifests: list[ManifestFile] = field(default_factory=list)
    _snapshots: int = 0

    def __post_init__(self) -> None:
        answer = send(self.catalog, creation(self.name))
        self.location = answer["metadata"]["location"]

    def append_commits(self, count: int) -> Iterator[Request]:
        """Write the files of so many appends and yield the commits."""
        for _ in range(count):
            before, number = self._snapshots or None, self._snapshots + 1
            self._manifests.append(self._manifest(number))
            snapshot = self._snapshot(number, self._manifest_list(number))
            self._snapshots = number
            ref = {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": before}
            yield _commit(self.name, [ref], [_adding(snapshot), _main(number)])

    def many_snapshots(self, count: int) -> Iterator[Request]:
        """Yield commits by which the table has so many snapshots: one of rows, and others with the same files."""
        yield from self.append_commits(1)
        manifest_list = self._manifest_list_of(1)
        while self._snapshots < count:
            updates = []
            for _ in range(min(500, count - self._snapshots)):
                self._snapshots += 1
                updates.append(_adding(self._snapshot(self._snapshots, manifest_list)))
            yield _commit(self.name, [], [*updates, _main(self._snapshots)])

    def _snapshot(self, number: int, manifest_list: str) -> dict[str, Any]:
        summary = {"operation": "append", "added-data-files": "1", "added-records": str(_ROWS)}
        return {
            "snapshot-id": number,
            "sequence-number": number,
            "timestamp-ms": int(time.time() * 1000),
            "manifest-list": manifest_list,
            "summary": summary,
            "schema-id": 0,
            **({"parent-snapshot-id": number - 1} if number > 1 else {}),
        }

    def _manifest(self, number: int) -> ManifestFile:
        path = f"{self.location}/data/{number:05d}.parquet"
        self.catalog.put(path, _DATA)
        file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=path,
            file_format=FileFormat.PARQUET,
            partition=Record(),
            record_count=_ROWS,
            file_size_in_bytes=len(_DATA),
        )
        entry = ManifestEntry.from_args(status=ManifestEntryStatus.ADDED, snapshot_id=number, data_file=file)
        output = _Output(f"{self.location}/metadata/manifest-{number:05d}.avro")
        with write_manifest(2, UNPARTITIONED_PARTITION_SPEC, SCHEMA, output, number, "null") as writer:
            writer.add_entry(entry)
        self.catalog.put(output.location, output.content)
        return writer.to_manifest_file()

    def _manifest_list(self, number: int) -> str:
        output = _Output(self._manifest_list_of(number))
        with write_manifest_list(2, output, number, number - 1 or None, number, "null") as writer:
            writer.add_manifests(self._manifests)
        self.catalog.put(output.location, output.content)
        self._manifests[-1].sequence_number = self._manifests[-1].min_sequence_number = number
        return output.location

    def _manifest_list_of(self, number: int) -> str:
        return f"{self.location}/metadata/snap-{number:05d}.avro"


def send(catalog: Catalog, request: Request) -> Any:
    """Send a request that has to succeed."""
    headers = {"Authorization": f"Bearer {catalog.token}", "Content-Type": "application/json"}
    answer = urllib3.request(
        request.method, catalog.url + request.path, body=request.body, headers=headers, timeout=600, retries=False
    )
    if answer.status >= 300:
        raise RuntimeError(f"{request.method} {request.path}: {answer.status} {answer.data[:500]!r}")
    return answer.json()


def _commit(name: str, requirements: list[dict[str, Any]], updates: list[dict[str, Any]]) -> Request:
    return Request("POST", path_of(name), json.dumps({"requirements": requirements, "updates": updates}).encode())


def _adding(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {"action": "add-snapshot", "snapshot": snapshot}


def _main(snapshot_id: int) -> dict[str, Any]:
    return {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": snapshot_id}


def _data() -> bytes:
    names = {"id": 1, "note": 2}
    columns = [
        pa.field(name, kind, metadata={"PARQUET:field_id": str(names[name])})
        for name, kind in (("id", pa.int64()), ("note", pa.string()))
    ]
    rows = pa.table([list(range(_ROWS)), ["x"] * _ROWS], schema=pa.schema(columns))
    buffer = io.BytesIO()
    pq.write_table(rows, buffer)
    return buffer.getvalue()


_DATA = _data()


class _Output(OutputFile):
    """A file in memory that says it lies elsewhere."""

    content = b""

    def __len__(self) -> int:
        return len(self.content)

    def exists(self) -> bool:
        return False

    def to_input_file(self) -> InputFile:
        raise NotImplementedError

    def create(self, overwrite: bool = False) -> OutputStream:  # noqa: ARG002 - pyiceberg's interface
        return _Stream(self)


class _Stream(io.BytesIO):
    def __init__(self, output: _Output) -> None:
        super().__init__()
        self._output = output

    def close(self) -> None:
        if not self.closed:
            self._output.content = self.getvalue()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
