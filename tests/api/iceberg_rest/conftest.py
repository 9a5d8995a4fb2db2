"""A lake behind a real server, a client of its Iceberg REST catalog, and an engine that writes without our care."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx2
import pyarrow as pa
import pytest

from cordillera.app import Application
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.commit_codec import updates_from_plain
from cordillera.spec.commit import AddSnapshot, SetSnapshotRef, Update, apply
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.merge import Operation
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.live_files import LiveFile
from cordillera.table.prepared_write import StagedWrite
from cordillera.table.write import TableWriter

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])


def people(*ids: int, name: str = "x") -> pa.Table:
    """Return rows."""
    return pa.table({"id": list(ids), "name": [name] * len(ids)}, schema=SCHEMA)


class Engine:
    """Prepares commits as another engine would: it knows the Iceberg table, and nothing of keys and contracts."""

    def __init__(self, app: Application, name: str) -> None:
        self._app, self._name = app, name
        self._writer = TableWriter(app.tables.io, name)

    @property
    def metadata(self) -> TableMetadata:
        metadata = self._app.tables.load(self._app.catalog.dataset(self._name).version)
        schema = metadata.schema.model_copy(update={"identifier_field_ids": []})
        return metadata.with_changes(
            properties={}, schemas=tuple(schema if one is metadata.schema else one for one in metadata.schemas)
        )

    def append(self, rows: pa.Table, **summary: str) -> dict[str, Any]:
        """Return the commit of an append."""
        metadata = self.metadata
        staged = self._writer.stage(Operation.APPEND, rows.to_reader(), metadata)
        return self.commit(staged, metadata, summary)

    def append_as(self, rows: pa.Table, **described: Any) -> dict[str, Any]:
        """Return the commit of an append whose manifest describes its one file otherwise than it is."""
        metadata = self.metadata
        staged = self._writer.stage(Operation.APPEND, rows.to_reader(), metadata)
        return self.commit(replace(staged, files=(replace(staged.files[0], **described),)), metadata, {})

    def append_file(self, live: LiveFile) -> dict[str, Any]:
        """Return the commit of an append of a file that there is."""
        metadata = self.metadata
        return self.commit(StagedWrite(Operation.APPEND, files=(live.file,)), metadata, {})

    def append_one_by_one(self, *appended: pa.Table) -> dict[str, Any]:
        """Return one commit of several appends, each a snapshot of its own."""
        metadata, updates = self.metadata, []
        requirements = None
        for rows in appended:
            staged = self._writer.stage(Operation.APPEND, rows.to_reader(), metadata)
            commit = self.commit(staged, metadata, {})
            requirements = requirements or commit["requirements"]
            updates += commit["updates"]
            metadata = apply(updates_from_plain(commit["updates"]), metadata, self._app.tables.io.now_ms())
        return {"requirements": requirements, "updates": updates}

    def delete(self, where: str, **summary: str) -> dict[str, Any]:
        """Return the commit of a delete."""
        metadata = self.metadata
        row_filter = parse_row_filter(where, metadata.schema)
        return self.commit(StagedWrite(Operation.DELETE, where=row_filter), metadata, summary)

    def replace(self, rows: pa.Table, **summary: str) -> dict[str, Any]:
        """Return the commit that puts rows in the place of all there are."""
        metadata = self.metadata
        return self.commit(self._writer.stage(Operation.REPLACE, rows.to_reader(), metadata), metadata, summary)

    def compact(self, snapshot_id: int, rows: pa.Table) -> dict[str, Any]:
        """Return the commit of a compaction of a snapshot that puts what comes of it on main."""
        metadata = self.metadata
        refs = {**metadata.refs, "main": {"snapshot-id": snapshot_id, "type": "branch"}}
        there = metadata.with_changes(current_snapshot_id=snapshot_id, refs=refs)
        staged = self._writer.stage(Operation.REPLACE, rows.to_reader(), there)
        return self.commit(staged, there, {"operation": "replace"}) | {"requirements": []}

    def commit(self, staged: StagedWrite, metadata: TableMetadata, summary: dict[str, str]) -> dict[str, Any]:
        """Return a staged write as a commit."""
        prepared = self._writer.resolve(staged, metadata)
        head = metadata.current_snapshot_id
        return {
            "requirements": [
                {"type": "assert-table-uuid", "uuid": metadata.table_uuid},
                {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": head},
            ],
            "updates": [update for one in prepared.updates for update in plain(one, summary)],
        }


def plain(update: Update, summary: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield an update as JSON has it, with the summary of another engine."""
    match update:
        case AddSnapshot(snapshot):
            said = {"operation": snapshot.summary["operation"], "engine-name": "test", **summary}
            yield {"action": "add-snapshot", "snapshot": {**snapshot.to_dict(), "summary": said}}
        case SetSnapshotRef(ref, snapshot_id, kind):
            yield {"action": "set-snapshot-ref", "ref-name": ref, "snapshot-id": snapshot_id, "type": kind}


@pytest.fixture
def iceberg(url: str, token: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=f"{url}/iceberg/v1", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
    ) as client:
        yield client


@pytest.fixture
def lake(app: Application) -> Lake:
    return Lake(LocalBackend(app))


@pytest.fixture
def namespace(lake: Lake) -> str:
    return lake.create_namespace(f"t{uuid4().hex[:12]}").name


@pytest.fixture(params=[2, 3])
def name(request: pytest.FixtureRequest, lake: Lake, namespace: str) -> str:
    """Return a dataset with a key and three rows, of either format version."""
    lake.create_dataset(f"{namespace}.people", SCHEMA, key=["id"], format_version=request.param)
    lake.dataset(f"{namespace}.people").write(people(1, 2, 3), "append")
    return f"{namespace}.people"


@pytest.fixture
def engine(app: Application, name: str) -> Engine:
    return Engine(app, name)


@pytest.fixture
def table(name: str) -> str:
    """Return the path of the dataset's table."""
    namespace, dataset = name.split(".")
    return f"/namespaces/{namespace}/tables/{dataset}"
