"""Keeps exports of datasets as files, Parquet or tab-separated values, in a folder of this machine or in a bucket.

Every delivery is one whole export; what is complete never changes. Of a table ``orders`` there is::

    orders/00000000000000000007-0000000001-0000/      of snapshot 7, under schema 1, revision 0
        3f2b…/part-00000.parquet …                    rows, in a folder of the attempt that wrote them
        3f2b…/manifest.json                           the files, as Amazon Redshift's COPY reads a manifest
        _SUCCESS                                      written last: cursor, columns, rows, files with sizes

An export is there when its ``_SUCCESS`` is. Storage creates an object under a name once, so of two workers that export
the same snapshot one succeeds, and finds the other's marker otherwise; a worker that dies before leaves files that no
marker names. The newest marker is the cursor. Older exports are removed but for the newest few, and files of attempts
that came to nothing after a day.

``_subscriptions/ID.json`` says which table a subscription keeps, ``orders/_owner.json`` whose the table is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

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
from cordillera.adapters.synchronizers.file_formats import FileFormat
from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CorruptDataError,
    InvalidNameError,
    NotAllowedError,
    TargetDriftError,
)
from cordillera.ports.storage import Storage
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetTable

MARKER = "_SUCCESS"
PART_BYTES = 256 * 1024 * 1024
"""How much Arrow data goes into one file."""

_ABANDONED_AFTER = timedelta(days=1)
_EXPORT = re.compile(r"(\d{20})-(\d{10})-(\d{4})")


@dataclass(frozen=True, slots=True)
class _Export:
    """A complete export: where it is, and what its marker says."""

    folder: str
    cursor: Cursor
    revision: int
    marker: dict[str, Any]


class FilesSynchronizer:
    """Exports whole datasets into folders of a storage.

    Args:
        storage: Where to.
        form: What the files look like.
        keep: How many complete exports of a table stay.
    """

    def __init__(self, storage: Storage, form: FileFormat, *, keep: int = 3) -> None:
        self._storage, self._form, self._keep = storage, form, keep

    def __repr__(self) -> str:
        return f"<FilesSynchronizer: {self._storage.root}>"

    @property
    def capabilities(self) -> Capabilities:
        """Takes whole contents only; each of them appears at once."""
        return Capabilities(transactional=True, merges=False)

    def check(self) -> None:
        """Make sure that the storage can be written: an object is made and removed."""
        probe = f"{self._storage.root}/_checks/{uuid4()}"
        self._storage.write(probe, b"")
        self._storage.delete([probe])

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor of the newest complete export, or None before the first."""
        name = self._table_of(subscription_id)
        newest = self._newest(name) if name is not None else None
        return newest.cursor if newest else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Write an export, and then its marker; see the port.

        Raises:
            NotAllowedError: If the delivery is not of the whole content.
        """
        check_table(delivery.table)
        name = delivery.table.name
        kept = self._table_of(delivery.subscription_id)
        newest = self._newest(kept) if kept is not None else None
        stored = _state(kept, newest) if kept is not None and newest else None
        if not is_due(stored, delivery, name):
            return DeliveryResult(0, 0, already_applied=True)
        if not delivery.replace:
            raise NotAllowedError(f"Exports of {name!r} are written whole: single rows cannot be changed in them.")
        self._claim(delivery.subscription_id, name, kept)
        same = newest is not None and newest.cursor == delivery.to_cursor
        folder = self._folder(name, delivery.to_cursor, newest.revision + 1 if newest and same else 0)
        rows = self._export(delivery, folder)
        if rows is None:
            return DeliveryResult(0, 0, already_applied=True)
        self._tidy(name)
        return DeliveryResult(rows, newest.marker["rows"] if newest else 0)

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the rows of the newest export."""
        check_table(table)
        wanted = read_columns(table, columns)
        newest = self._newest(table.name)
        if newest is None:
            raise TargetDriftError(f"There is no export of {table.name!r} in {self._storage.root}.")
        there = {column.name: column.type for column in columns_from_json(newest.marker["columns"])}
        for column in wanted:
            if column.name not in there:
                raise TargetDriftError(f"The newest export of {table.name!r} has no column {column.name!r}.")
        schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in wanted])
        return pa.RecordBatchReader.from_batches(schema, self._read(newest, schema))

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Forget a subscription and, unless ``keep_rows``, remove its exports: the markers first."""
        kept = self._table_of(subscription_id)
        if kept is None:
            return
        check_kept_table(StoredState(kept, Cursor(0, 0), (), ()), subscription_id, table.name)
        if not keep_rows:
            found = [one.uri for one in self._storage.list(self._place(kept))]
            owner = self._owner_uri(kept)
            self._storage.delete([uri for uri in found if uri.endswith(f"/{MARKER}")])
            self._storage.delete([uri for uri in found if uri != owner])
            self._storage.delete([owner])
        self._storage.delete([self._subscription_uri(subscription_id)])

    def close(self) -> None:
        """Do nothing: storages hold no connections."""

    # --- names ------------------------------------------------------------------------------------------------------

    def _place(self, name: str) -> str:
        """Return the folder of a table; what file systems and S3 do not like in names is written in hexadecimal."""
        if not name.strip(".") or name.startswith("_"):
            raise InvalidNameError(f"{name!r} cannot be a folder of exports.", hint="Choose another table name.")
        safe = re.sub(r"[^A-Za-z0-9._-]", lambda found: "".join(f"~{b:02x}" for b in found[0].encode()), name)
        return f"{self._storage.root}/{safe}"

    def _folder(self, name: str, cursor: Cursor, revision: int) -> str:
        return f"{self._place(name)}/{cursor.sequence_number:020d}-{cursor.schema_id:010d}-{revision:04d}"

    def _owner_uri(self, name: str) -> str:
        return f"{self._place(name)}/_owner.json"

    def _subscription_uri(self, subscription_id: UUID) -> str:
        return f"{self._storage.root}/_subscriptions/{subscription_id}.json"

    # --- whose a table is -------------------------------------------------------------------------------------------

    def _table_of(self, subscription_id: UUID) -> str | None:
        uri = self._subscription_uri(subscription_id)
        return str(self._read_json(uri)["table"]) if self._storage.exists(uri) else None

    def _claim(self, subscription_id: UUID, name: str, kept: str | None) -> None:
        """Make a table the subscription's; a first delivery that was interrupted goes on.

        Raises:
            TargetDriftError: If it is another's, or nobody's any more.
        """
        owner = self._owner_uri(name)
        if self._storage.exists(owner) and (kept is None or self._read_json(owner)["id"] != str(subscription_id)):
            raise TargetDriftError(
                f"There are exports of {name!r} in {self._storage.root} that this subscription did not make; they were "
                "left untouched.",
                hint="Choose another table name for the subscription, or move that folder away.",
            )
        for uri, content in (
            (self._subscription_uri(subscription_id), {"table": name}),
            (owner, {"id": str(subscription_id)}),
        ):
            try:
                self._storage.write(uri, json.dumps(content).encode())
            except AlreadyExistsError:
                if self._read_json(uri) != content:
                    raise TargetDriftError(
                        f"Another subscription has begun to export {name!r} at this moment."
                    ) from None

    # --- exports ----------------------------------------------------------------------------------------------------

    def _exports(self, name: str) -> list[str]:
        """Return the folders of complete exports, oldest first."""
        place = self._place(name)
        markers = (one.uri for one in self._storage.list(place) if one.uri.endswith(f"/{MARKER}"))
        return sorted(uri.removesuffix(f"/{MARKER}") for uri in markers)

    def _newest(self, name: str) -> _Export | None:
        folders = self._exports(name)
        if not folders:
            return None
        found = _EXPORT.fullmatch(folders[-1].rsplit("/", 1)[-1])
        if found is None:
            raise TargetDriftError(f"{folders[-1]} is no export that Cordillera made.", hint="Move it away.")
        sequence, schema, revision = map(int, found.groups())
        marker = self._read_json(f"{folders[-1]}/{MARKER}")
        return _Export(folders[-1], Cursor(sequence, schema), revision, marker)

    def _export(self, delivery: Delivery, folder: str) -> int | None:
        """Write the files and then the marker; None if another worker's marker was there first."""
        attempt = f"{folder}/{uuid4()}"
        files = list(self._write_parts(delivery, attempt))
        rows: int = sum(file["rows"] for file in files)
        entries = [{"url": file["uri"], "mandatory": True, "meta": {"content_length": file["bytes"]}} for file in files]
        self._storage.write(f"{attempt}/manifest.json", json.dumps({"entries": entries}, indent=1).encode())
        marker = {
            "subscription_id": str(delivery.subscription_id),
            "table": delivery.table.name,
            "sequence_number": delivery.to_cursor.sequence_number,
            "schema_id": delivery.to_cursor.schema_id,
            "columns": columns_to_json(delivery.table.columns),
            "key": list(key_field_ids(delivery.table)),
            "rows": rows,
            "manifest": f"{attempt}/manifest.json",
            "files": files,
            "finished_at": datetime.now(UTC).isoformat(),
        }
        try:
            self._storage.write(f"{folder}/{MARKER}", json.dumps(marker, indent=1).encode())
        except AlreadyExistsError:
            self._storage.delete([*(file["uri"] for file in files), f"{attempt}/manifest.json"])
            return None
        return rows

    def _write_parts(self, delivery: Delivery, attempt: str) -> Iterator[dict[str, Any]]:
        """Write the rows into files of about ``PART_BYTES``, at least one."""
        batches = upsert_batches(delivery)
        batch, number = next(batches, None), 0
        while batch is not None or not number:
            uri, rows, size = f"{attempt}/part-{number:05d}.{self._form.suffix}", 0, 0
            with self._storage.open_output(uri) as sink:
                with closing(self._form.writer(sink, delivery.table.arrow_schema())) as writer:
                    while batch is not None and size < PART_BYTES:
                        writer.write(batch)
                        rows, size = rows + batch.num_rows, size + batch.nbytes
                        batch = next(batches, None)
                written = sink.tell()
            yield {"uri": uri, "rows": rows, "bytes": written}
            number += 1

    def _read(self, export: _Export, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        stored = pa.schema([(column.name, column.type) for column in columns_from_json(export.marker["columns"])])
        for file in export.marker["files"]:
            try:
                with self._storage.open_input(file["uri"]) as source:
                    yield from self._form.read(source, stored, schema)
            except (AccessDeniedError, CorruptDataError, pa.ArrowException) as error:
                raise TargetDriftError(
                    f"The file {file['uri']} of an export is gone or damaged: {str(error).splitlines()[0]}",
                    hint="Repair the subscription, or wait for the next delivery: either writes a new export.",
                ) from None

    def _tidy(self, name: str) -> None:
        """Remove exports that are too many, and files of attempts that came to nothing a day ago."""
        surplus = self._exports(name)[: -self._keep]
        gone = datetime.now(UTC) - _ABANDONED_AFTER
        place, markers = self._place(name), [f"{folder}/{MARKER}" for folder in surplus]
        self._storage.delete(markers)
        named = {
            file["uri"]
            for folder in self._exports(name)
            for marker in [self._read_json(f"{folder}/{MARKER}")]
            for file in [*marker["files"], {"uri": marker["manifest"]}]
        }
        inside = tuple(f"{folder}/" for folder in surplus)
        self._storage.delete(
            one.uri
            for one in list(self._storage.list(place))
            if one.uri.startswith(inside)
            or (
                one.uri.endswith((f".{self._form.suffix}", "/manifest.json"))
                and one.uri not in named
                and one.modified_at < gone
            )
        )

    def _read_json(self, uri: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._storage.read(uri))
        except (ValueError, CorruptDataError) as error:
            raise TargetDriftError(f"{uri} is gone, or not what Cordillera wrote: {error}") from None
        return found


def _state(name: str, newest: _Export) -> StoredState:
    columns = columns_from_json(newest.marker["columns"])
    return StoredState(name, newest.cursor, columns, tuple(newest.marker["key"]))
