"""Keeps Arrow IPC files (Feather) like datasets: one file a table, with the cursor in the file itself.

Rows and cursor appear together, because a file takes the place of another in one step.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa

from cordillera.adapters.synchronizers.columns import columns_from_json, columns_to_json, key_field_ids
from cordillera.adapters.synchronizers.deliveries import (
    StoredState,
    check_kept_table,
    check_table,
    is_due,
    read_columns,
    upsert_batches,
)
from cordillera.errors import InvalidConfigurationError, NotAllowedError, TargetDriftError, TargetUnreachableError
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, Synchronizer, TargetTable


def build(config: Mapping[str, str]) -> Synchronizer:
    """Return the synchronizer of a target; what the entry point names."""
    if set(config) != {"folder"} or not Path(config["folder"]).is_absolute():
        raise InvalidConfigurationError("A feather target needs a folder.", hint="Give folder=/the/whole/path.")
    return FeatherSynchronizer(Path(config["folder"]))


class FeatherSynchronizer:
    """Keeps tables as files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def capabilities(self) -> Capabilities:
        """Files appear whole or not at all, and only as a whole: deliveries bring everything."""
        return Capabilities(transactional=True, merges=False)

    def check(self) -> None:
        """Make sure that the folder can be written."""
        if not os.access(self._folder, os.W_OK):
            raise TargetUnreachableError(f"The folder {self._folder} cannot be written.", hint="Make it, or mount it.")

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor in a subscription's file."""
        stored = self._stored(subscription_id)
        return stored.cursor if stored else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Write a new file and put it into the place of the old one."""
        check_table(delivery.table)
        with self._turn():
            stored = self._stored(delivery.subscription_id)
            if not is_due(stored, delivery, delivery.table.name):
                return DeliveryResult(0, 0, already_applied=True)
            if not delivery.replace:
                raise NotAllowedError("Feather files are written whole: single rows cannot be changed in them.")
            path, kept = self._path(delivery.table.name), self._path(delivery.table.name, kept=True)
            if stored is None and (path.exists() or kept.exists()):
                raise TargetDriftError(f"There is a file {path} that this subscription did not make.")
            removed = _rows_in(path) if stored else 0
            return DeliveryResult(self._write(delivery, path), removed)

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the rows of a file."""
        wanted = read_columns(table, columns)
        found = [path for path in (self._path(table.name), self._path(table.name, kept=True)) if path.exists()]
        if not found:
            raise TargetDriftError(f"There is no file of the table {table.name!r} in {self._folder}.")
        file = pa.ipc.open_file(pa.memory_map(str(found[0])))
        schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in wanted])
        missing = set(schema.names) - set(file.schema.names)
        if missing:
            raise TargetDriftError(f"The file of the table {table.name!r} has no column {sorted(missing)[0]!r}.")
        batches = (file.get_batch(n).select(schema.names).cast(schema) for n in range(file.num_record_batches))
        return pa.RecordBatchReader.from_batches(schema, batches)

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Remove a subscription's file, or give it another name, under which it is nobody's."""
        with self._turn():
            stored = self._stored(subscription_id)
            if stored is None:
                return
            check_kept_table(stored, subscription_id, table.name)
            path = self._path(stored.table_name)
            if keep_rows:
                path.replace(self._path(stored.table_name, kept=True))
            else:
                path.unlink()

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _path(self, name: str, *, kept: bool = False) -> Path:
        return self._folder / f"t-{quote(name, safe='')}.{'kept' if kept else 'arrow'}"

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let one delivery at a time into the folder, whichever process makes it."""
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _stored(self, subscription_id: UUID) -> StoredState | None:
        for path in self._folder.glob("t-*.arrow"):
            with pa.memory_map(str(path)) as source:
                state = json.loads(pa.ipc.open_file(source).schema.metadata[b"cordillera"])
            if state["subscription_id"] == str(subscription_id):
                cursor = Cursor(state["sequence_number"], state["schema_id"])
                return StoredState(state["table"], cursor, columns_from_json(state["columns"]), tuple(state["key"]))
        return None

    def _write(self, delivery: Delivery, path: Path) -> int:
        state = {
            "subscription_id": str(delivery.subscription_id),
            "table": delivery.table.name,
            "sequence_number": delivery.to_cursor.sequence_number,
            "schema_id": delivery.to_cursor.schema_id,
            "columns": columns_to_json(delivery.table.columns),
            "key": list(key_field_ids(delivery.table)),
        }
        schema = delivery.table.arrow_schema().with_metadata({"cordillera": json.dumps(state)})
        unfinished, rows = path.with_suffix(".unfinished"), 0
        with unfinished.open("wb") as file:
            with pa.ipc.new_file(file, schema) as writer:
                for batch in upsert_batches(delivery):  # checked, and in pieces of a few megabytes
                    writer.write_batch(batch)
                    rows += batch.num_rows
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        return rows


def _rows_in(path: Path) -> int:
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        return sum(file.get_batch(n).num_rows for n in range(file.num_record_batches))
