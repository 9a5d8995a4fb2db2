"""Reading Iceberg's manifests and manifest lists (specification, "Manifests", versions 2 and 3), which are Avro files.

``cordillera.table.manifest_encoding`` writes them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

import fastavro
import orjson
from pyiceberg.schema import Schema
from pyiceberg.utils.datetime import date_to_days, datetime_to_micros, time_to_micros

from cordillera.errors import CorruptDataError
from cordillera.table.content_file import Content, ContentFile, ManifestEntry, ManifestFile, Status

DATA, DELETES = 0, 1
_UNREADABLE = (ValueError, EOFError, KeyError, IndexError, StopIteration, TypeError)


def decode_manifest_list(data: bytes, where: str) -> tuple[ManifestFile, ...]:
    """Decode a manifest list.

    Raises:
        CorruptDataError: Naming the file ``where``.
    """
    return tuple(_manifest_file(record) for record in _records(_open(data, where), where))


def _manifest_file(record: dict[str, Any]) -> ManifestFile:
    known = {name: record.get(name) for name in ManifestFile.__dataclass_fields__}
    known["content"] = record.get("content") or DATA
    known["partitions"] = tuple(record.get("partitions") or ())
    return ManifestFile(**known)  # type: ignore[arg-type]  # the Avro schema guarantees the types


def decode_manifest(data: bytes, manifest: ManifestFile) -> tuple[ManifestEntry, ...]:
    """Decode a manifest and apply inheritance: sequence numbers, snapshot id and first row ids.

    Raises:
        CorruptDataError: Naming the manifest.
    """
    where = manifest.manifest_path
    reader = _open(data, where)
    laid_out_by = reader.metadata.get("partition-spec-id", str(manifest.partition_spec_id))
    if laid_out_by != str(manifest.partition_spec_id):
        raise CorruptDataError(
            f"{where} is of partition spec {laid_out_by}, its manifest list says {manifest.partition_spec_id}."
        )
    names = _partition_names(reader, where)
    return inherited((_entry(record, manifest, names) for record in _records(reader, where)), manifest)


def inherited(entries: Iterable[ManifestEntry], manifest: ManifestFile) -> tuple[ManifestEntry, ...]:
    """Apply inheritance to the entries of a manifest as they are stored, or were written."""
    resolved = []
    next_row_id = manifest.first_row_id
    for stored in entries:
        file, sequence, file_sequence = stored.file, stored.sequence_number, stored.file_sequence_number
        if next_row_id is not None and _inherits_row_ids(stored):
            file = replace(file, first_row_id=next_row_id)
            next_row_id += file.record_count
        if stored.status is Status.ADDED:
            sequence = manifest.sequence_number if sequence is None else sequence
            file_sequence = manifest.sequence_number if file_sequence is None else file_sequence
        snapshot_id = manifest.added_snapshot_id if stored.snapshot_id is None else stored.snapshot_id
        resolved.append(ManifestEntry(stored.status, snapshot_id, sequence, file_sequence, file))
    return tuple(resolved)


def _inherits_row_ids(entry: ManifestEntry) -> bool:
    file = entry.file
    return file.content is Content.DATA and file.first_row_id is None and entry.status is not Status.DELETED


def manifest_schema(data: bytes, where: str) -> Schema:
    """Return the table's schema as of when a manifest was written.

    Raises:
        CorruptDataError: Naming the file ``where``.
    """
    header = _open(data, where).metadata
    try:
        return Schema.model_validate_json(header["schema"])
    except _UNREADABLE as error:
        raise CorruptDataError(f"{where} does not tell the table's schema: {error!r}.") from error


def _open(data: bytes, where: str) -> Any:
    try:
        return fastavro.reader(io.BytesIO(data))
    except _UNREADABLE as error:
        raise CorruptDataError(f"{where} is not a readable Avro file: {error!r}.") from error


def _records(reader: Any, where: str) -> Iterator[dict[str, Any]]:
    try:
        yield from reader
    except _UNREADABLE as error:
        raise CorruptDataError(f"{where} is not a readable Avro file: {error!r}.") from error


def _partition_names(reader: Any, where: str) -> tuple[str, ...]:
    """Return the fields of a manifest's partitioning, in order, as its records call them.

    Raises:
        CorruptDataError: If its records have others. Readers make different things of that: rows that were deleted are
            there for some.
    """
    try:
        stored = _record_of(_record_of(reader.writer_schema, "data_file"), "partition")
        named = {field["field-id"]: field["name"] for field in stored["fields"]}
        wanted = {part["field-id"]: part["name"] for part in orjson.loads(reader.metadata["partition-spec"])}
    except _UNREADABLE as error:
        raise CorruptDataError(f"{where} does not tell how it is partitioned: {error!r}.") from error
    if named.keys() != wanted.keys():
        raise CorruptDataError(
            f"{where} is partitioned by {', '.join(wanted.values()) or 'nothing'}, and has partition values of "
            f"{', '.join(named.values()) or 'nothing'}.",
            hint="DuckDB 1.5 writes deletes so where a table has been partitioned otherwise before. Delete through "
            "Cordillera, or with another engine.",
        )
    return tuple(named[field_id] for field_id in wanted)


def _record_of(schema: Mapping[str, Any], field: str) -> Any:
    """Return the schema of a field that is a record, or may be."""
    kind = next(one["type"] for one in schema["fields"] if one["name"] == field)
    return next(one for one in kind if one != "null") if isinstance(kind, list) else kind


def _entry(record: Mapping[str, Any], manifest: ManifestFile, partition_names: Sequence[str]) -> ManifestEntry:
    raw = record["data_file"]
    file = ContentFile(
        content=Content(raw.get("content") or 0),
        file_path=raw["file_path"],
        file_format=raw["file_format"].upper(),
        spec_id=manifest.partition_spec_id,
        partition=tuple(_partition_value(raw["partition"][name]) for name in partition_names),
        record_count=raw["record_count"],
        file_size_in_bytes=raw["file_size_in_bytes"],
        column_sizes=_mapping(raw.get("column_sizes")),
        value_counts=_mapping(raw.get("value_counts")),
        null_value_counts=_mapping(raw.get("null_value_counts")),
        nan_value_counts=_mapping(raw.get("nan_value_counts")),
        lower_bounds=_mapping(raw.get("lower_bounds")),
        upper_bounds=_mapping(raw.get("upper_bounds")),
        split_offsets=tuple(raw.get("split_offsets") or ()),
        equality_ids=tuple(raw.get("equality_ids") or ()),
        sort_order_id=raw.get("sort_order_id"),
        first_row_id=raw.get("first_row_id"),
        referenced_data_file=raw.get("referenced_data_file"),
        content_offset=raw.get("content_offset"),
        content_size_in_bytes=raw.get("content_size_in_bytes"),
    )
    return ManifestEntry(
        Status(record["status"]),
        record.get("snapshot_id"),
        record.get("sequence_number"),
        record.get("file_sequence_number"),
        file,
    )


def _mapping(pairs: Iterable[Mapping[str, Any]] | Mapping[str, Any] | None) -> dict[int, Any]:
    if not pairs:
        return {}
    if isinstance(pairs, Mapping):
        return {int(key): value for key, value in pairs.items()}
    return {pair["key"]: pair["value"] for pair in pairs}


def _partition_value(value: Any) -> Any:
    """Return a partition value in Iceberg's internal form: dates and times as numbers since the epoch."""
    match value:
        case datetime():
            return datetime_to_micros(value.astimezone(UTC) if value.tzinfo else value)
        case date():
            return date_to_days(value)
        case time():
            return time_to_micros(value)
        case _:
            return value
