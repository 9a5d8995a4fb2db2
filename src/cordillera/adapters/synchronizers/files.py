"""Keeps exports of datasets as files, Parquet or tab-separated values, in a folder of this machine or in a bucket.

Every delivery makes one complete export, which never changes. Of a table ``orders`` there is::

    orders/00000000000000000007-0000000001-0000/      of snapshot 7, under schema 1, revision 0
        3f2b…/part-00000.parquet …                    rows, in a folder of the attempt that wrote them
        3f2b…/manifest.json                           the files, as Amazon Redshift's COPY reads a manifest
        _SUCCESS                                      written last: cursor, columns, rows, files with sizes

An export is there when its ``_SUCCESS`` is. Storage creates an object under a name once, so of two workers that export
the same snapshot one succeeds, and finds the other's marker otherwise; a worker that dies before leaves files that no
marker names. The newest marker is the cursor. Older exports are removed but for the newest few, and files of attempts
that came to nothing after a day.

Laid out by partitions, files are in folders of those, ``3f2b…/day=2013-01-01/part-00000.parquet``. A delivery writes
the partitions that changed; for the others its marker names the files of earlier exports, which stay as long as a
marker names them.

``_subscriptions/ID.json`` says which table a subscription keeps, ``orders/_owner.json`` whose the table is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
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
from cordillera.adapters.synchronizers.file_parts import PartFiles
from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CorruptDataError,
    IncompatibleSchemaError,
    InvalidNameError,
    NotAllowedError,
    TargetDriftError,
)
from cordillera.ports.storage import Storage
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetColumn, TargetTable
from cordillera.spec.partition_layout import PartitionLayout

MARKER = "_SUCCESS"
_ABANDONED_AFTER = timedelta(days=1)
_File: TypeAlias = dict[str, Any]
"""A file as a marker has it: ``uri``, ``rows``, ``bytes``, and of which partition it is."""
_EXPORT = re.compile(r"(\d{20})-(\d{10})-(\d{4})")


@dataclass(frozen=True, slots=True)
class _Export:
    """A complete export: where it is, and what its marker says.

    Attributes:
        place: What its folder's name says of the cursor, by which exports are in order; see ``_folder``.
        revision: Which of those with that in their names it is.
    """

    folder: str
    place: Cursor
    revision: int
    marker: dict[str, Any]

    @property
    def cursor(self) -> Cursor:
        """What it holds."""
        return Cursor(self.marker["sequence_number"], self.marker["schema_id"])


class FilesSynchronizer:
    """Exports whole datasets into folders of a storage.

    Args:
        storage: Where to.
        form: What the files look like.
        keep: How many complete exports of a table stay.
        by_partition: Whether exports are laid out by the partitions of datasets that have some.
    """

    def __init__(self, storage: Storage, form: FileFormat, *, keep: int = 3, by_partition: bool = False) -> None:
        self._storage, self._form, self._keep, self._by_partition = storage, form, keep, by_partition

    def __repr__(self) -> str:
        return f"<FilesSynchronizer: {self._storage.root}>"

    @property
    def capabilities(self) -> Capabilities:
        """Takes whole contents, or whole partitions; each delivery appears at once."""
        return Capabilities(transactional=True, merges=False, swaps=self._by_partition)

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
            NotAllowedError: If the delivery is of single rows.
            IncompatibleSchemaError: If it is of partitions, and the newest export has other columns or another layout.
        """
        check_table(delivery.table)
        name = delivery.table.name
        kept = self._table_of(delivery.subscription_id)
        newest = self._newest(kept) if kept is not None else None
        stored = _state(kept, newest) if kept is not None and newest else None
        if not is_due(stored, delivery, name):
            return DeliveryResult(0, 0, already_applied=True)
        stays, goes = self._carried_over(delivery, newest)
        self._claim(delivery.subscription_id, name, kept)
        folder = self._folder(name, delivery.to_cursor, newest)
        made = self._export(delivery, folder, stays)
        if made is None:
            return DeliveryResult(0, 0, already_applied=True)
        self._tidy(name)
        partitions = None if delivery.swap is None else len({file["partition"] for file in (*made, *goes)})
        return DeliveryResult(_rows(made), _rows(goes), rows_updated=0, partitions=partitions)

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

    def _folder(self, name: str, at: Cursor, newest: _Export | None) -> str:
        """Return the folder of the next export. Its name comes behind all others, also under an earlier schema."""
        revision, last = 0, newest.place if newest else None
        if newest and last and last.sequence_number == at.sequence_number and last.schema_id >= at.schema_id:
            at, revision = last, newest.revision + 1
        return f"{self._place(name)}/{at.sequence_number:020d}-{at.schema_id:010d}-{revision:04d}"

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

    def _carried_over(self, delivery: Delivery, newest: _Export | None) -> tuple[list[_File], list[_File]]:
        """Return the files of the newest export that the next one has, too, and those that it has not."""
        name, files = delivery.table.name, newest.marker["files"] if newest else []
        if delivery.replace:
            return [], files
        if delivery.swap is None:
            raise NotAllowedError(f"Single rows cannot be changed in exports of {name!r}.")
        table, layout = delivery.table, self._layout(delivery.table)
        if newest is None or layout is None or newest.marker.get("layout") != layout.in_words():
            raise IncompatibleSchemaError(f"The newest export of {name!r} is not laid out by the same partitions.")
        before = columns_from_json(newest.marker["columns"])
        if list(map(_undescribed, before)) != list(map(_undescribed, table.columns)):
            raise IncompatibleSchemaError(f"The newest export of {name!r} has other columns.")
        stays = [file for file in files if file["partition"] not in delivery.swap]
        there = {one.uri: one.size for one in self._storage.list(self._place(name))}
        for file in stays:
            if there.get(file["uri"]) != file["bytes"]:
                raise TargetDriftError(
                    f"The file {file['uri']} of an export is gone, or another.",
                    hint="Repair the subscription, which writes a new export.",
                )
        return stays, [file for file in files if file["partition"] in delivery.swap]

    def _layout(self, table: TargetTable) -> PartitionLayout | None:
        return table.layout if self._by_partition else None

    def _export(self, delivery: Delivery, folder: str, stays: list[_File]) -> list[_File] | None:
        """Write the files and then the marker; None if another worker's marker was there first.

        Returns:
            The files written, which the new export has besides those that stay.
        """
        attempt, layout = f"{folder}/{uuid4()}", self._layout(delivery.table)
        written = PartFiles(self._storage, self._form, attempt, delivery, layout).write(upsert_batches(delivery))
        files = [*stays, *written]
        entries = [{"url": file["uri"], "mandatory": True, "meta": {"content_length": file["bytes"]}} for file in files]
        self._storage.write(f"{attempt}/manifest.json", json.dumps({"entries": entries}, indent=1).encode())
        marker = {
            "subscription_id": str(delivery.subscription_id),
            "table": delivery.table.name,
            "sequence_number": delivery.to_cursor.sequence_number,
            "schema_id": delivery.to_cursor.schema_id,
            "columns": columns_to_json(delivery.table.columns),
            "key": list(key_field_ids(delivery.table)),
            "layout": layout.in_words() if layout else [],
            "rows": _rows(files),
            "manifest": f"{attempt}/manifest.json",
            "files": files,
            "finished_at": datetime.now(UTC).isoformat(),
        }
        try:
            self._storage.write(f"{folder}/{MARKER}", json.dumps(marker, indent=1).encode())
        except AlreadyExistsError:
            self._storage.delete([*(file["uri"] for file in written), f"{attempt}/manifest.json"])
            return None
        return written

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
        """Remove exports that are too many, and files of attempts that came to nothing a day ago.

        Files that an export which stays has, too, stay with it: exports after it have no others of earlier ones.
        """
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
            if one.uri not in named
            and (
                one.uri.startswith(inside)
                or (one.uri.endswith((f".{self._form.suffix}", "/manifest.json")) and one.modified_at < gone)
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


def _rows(files: Sequence[_File]) -> int:
    return sum(file["rows"] for file in files)


def _undescribed(column: TargetColumn) -> TargetColumn:
    return replace(column, doc=None)
