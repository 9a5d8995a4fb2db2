"""Reading and writing Iceberg's manifests and manifest lists (specification, "Manifests", versions 2 and 3) in Avro."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any

import fastavro
import orjson
from pyiceberg.conversions import to_bytes
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.types import DecimalType, FixedType, NestedField
from pyiceberg.utils.datetime import date_to_days, datetime_to_micros, time_to_micros

from cordillera.errors import CorruptDataError
from cordillera.spec.arrow_types import primitive
from cordillera.table.content_file import Content, ContentFile, ManifestEntry, ManifestFile, Status

AvroSchema = dict[str, Any]
DATA, DELETES = 0, 1
_AVRO_TYPES: dict[str, Any] = {
    "boolean": "boolean",
    "int": "int",
    "long": "long",
    "float": "float",
    "double": "double",
    "date": {"type": "int", "logicalType": "date"},
    "time": {"type": "long", "logicalType": "time-micros"},
    "timestamp": {"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": False},
    "timestamptz": {"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": True},
    "string": "string",
    "uuid": {"type": "fixed", "size": 16, "name": "uuid_fixed", "logicalType": "uuid"},
    "binary": "bytes",
}


def _field(field_id: int, name: str, avro_type: Any, *, optional: bool = False) -> AvroSchema:
    if optional:
        return {"name": name, "type": ["null", avro_type], "default": None, "field-id": field_id}
    return {"name": name, "type": avro_type, "field-id": field_id}


def _map(field_id: int, name: str, key_id: int, value_id: int, value_type: str) -> AvroSchema:
    """An int-keyed map, which Avro lacks: an array of key-value records."""
    record = {
        "type": "record",
        "name": f"k{key_id}_v{value_id}",
        "fields": [_field(key_id, "key", "int"), _field(value_id, "value", value_type)],
    }
    return _field(field_id, name, {"type": "array", "logicalType": "map", "items": record}, optional=True)


def _list(field_id: int, name: str, element_id: int, element_type: Any) -> AvroSchema:
    return _field(field_id, name, {"type": "array", "items": element_type, "element-id": element_id}, optional=True)


def _partition_type(field: NestedField) -> Any:
    if isinstance(field.field_type, DecimalType):
        precision, scale = field.field_type.precision, field.field_type.scale
        size = next(n for n in range(1, 17) if 10**precision <= 1 << (8 * n - 1))
        return {
            "type": "fixed", "size": size, "name": f"decimal_{precision}_{scale}",
            "logicalType": "decimal", "precision": precision, "scale": scale,
        }  # fmt: skip
    if isinstance(field.field_type, FixedType):
        return {"type": "fixed", "size": len(field.field_type), "name": f"fixed_{len(field.field_type)}"}
    return _AVRO_TYPES[str(field.field_type)]


def _entry_schema(spec: PartitionSpec, schema: Schema, format_version: int) -> AvroSchema:
    partition = {
        "type": "record",
        "name": "r102",
        "fields": [
            _field(part.field_id, part.name, _partition_type(part), optional=True)
            for part in spec.partition_type(schema).fields
        ],
    }
    file_fields = [
        _field(134, "content", "int"),
        _field(100, "file_path", "string"),
        _field(101, "file_format", "string"),
        _field(102, "partition", partition),
        _field(103, "record_count", "long"),
        _field(104, "file_size_in_bytes", "long"),
        _map(108, "column_sizes", 117, 118, "long"),
        _map(109, "value_counts", 119, 120, "long"),
        _map(110, "null_value_counts", 121, 122, "long"),
        _map(137, "nan_value_counts", 138, 139, "long"),
        _map(125, "lower_bounds", 126, 127, "bytes"),
        _map(128, "upper_bounds", 129, 130, "bytes"),
        _field(131, "key_metadata", "bytes", optional=True),
        _list(132, "split_offsets", 133, "long"),
        _list(135, "equality_ids", 136, "int"),
        _field(140, "sort_order_id", "int", optional=True),
    ]
    if format_version >= 3:
        file_fields += [
            _field(142, "first_row_id", "long", optional=True),
            _field(143, "referenced_data_file", "string", optional=True),
            _field(144, "content_offset", "long", optional=True),
            _field(145, "content_size_in_bytes", "long", optional=True),
        ]
    return {
        "type": "record",
        "name": "manifest_entry",
        "fields": [
            _field(0, "status", "int"),
            _field(1, "snapshot_id", "long", optional=True),
            _field(3, "sequence_number", "long", optional=True),
            _field(4, "file_sequence_number", "long", optional=True),
            _field(2, "data_file", {"type": "record", "name": "r2", "fields": file_fields}),
        ],
    }


def _list_schema(format_version: int) -> AvroSchema:
    summary = {
        "type": "record",
        "name": "r508",
        "fields": [
            _field(509, "contains_null", "boolean"),
            _field(518, "contains_nan", "boolean", optional=True),
            _field(510, "lower_bound", "bytes", optional=True),
            _field(511, "upper_bound", "bytes", optional=True),
        ],
    }
    fields = [
        _field(500, "manifest_path", "string"),
        _field(501, "manifest_length", "long"),
        _field(502, "partition_spec_id", "int"),
        _field(517, "content", "int"),
        _field(515, "sequence_number", "long"),
        _field(516, "min_sequence_number", "long"),
        _field(503, "added_snapshot_id", "long"),
        _field(504, "added_files_count", "int"),
        _field(505, "existing_files_count", "int"),
        _field(506, "deleted_files_count", "int"),
        _field(512, "added_rows_count", "long"),
        _field(513, "existing_rows_count", "long"),
        _field(514, "deleted_rows_count", "long"),
        _list(507, "partitions", 508, summary),
        _field(519, "key_metadata", "bytes", optional=True),
    ]
    if format_version >= 3:
        fields.append(_field(520, "first_row_id", "long", optional=True))
    return {"type": "record", "name": "manifest_file", "fields": fields}


@lru_cache(maxsize=256)
def _prepared_entry_schema(spec_json: str, schema_json: str, format_version: int) -> tuple[Any, dict[str, str]]:
    """Return the parsed Avro schema and the file header that every manifest of a spec and schema shares."""
    spec, schema = PartitionSpec.model_validate_json(spec_json), Schema.model_validate_json(schema_json)
    header = {
        "schema": schema_json,
        "schema-id": str(schema.schema_id),
        "partition-spec": orjson.dumps(orjson.loads(spec_json)["fields"]).decode(),
        "partition-spec-id": str(spec.spec_id),
        "format-version": str(format_version),
    }
    return fastavro.parse_schema(_entry_schema(spec, schema, format_version)), header


@lru_cache(maxsize=4)
def _parsed_list_schema(format_version: int) -> Any:
    return fastavro.parse_schema(_list_schema(format_version))


# --- writing --------------------------------------------------------------------------------------------------------


def encode_manifest(
    entries: Iterable[ManifestEntry], content: int, spec: PartitionSpec, schema: Schema, format_version: int
) -> bytes:
    """Encode a manifest. An ADDED entry without sequence numbers inherits them from the snapshot that adds it."""
    parsed, header = _prepared_entry_schema(spec.model_dump_json(), schema.model_dump_json(), format_version)
    names = [part.name for part in spec.fields]
    header = {**header, "content": "data" if content == DATA else "deletes"}
    out = io.BytesIO()
    records = (_entry_record(entry, names) for entry in entries)
    fastavro.writer(out, parsed, records, codec="deflate", codec_compression_level=1, metadata=header)
    return out.getvalue()


def _entry_record(entry: ManifestEntry, partition_names: Sequence[str]) -> dict[str, Any]:
    file = entry.file
    return {
        "status": int(entry.status),
        "snapshot_id": entry.snapshot_id,
        "sequence_number": entry.sequence_number,
        "file_sequence_number": entry.file_sequence_number,
        "data_file": {
            "content": int(file.content),
            "file_path": file.file_path,
            "file_format": file.file_format,
            "partition": dict(zip(partition_names, file.partition, strict=True)),
            "record_count": file.record_count,
            "file_size_in_bytes": file.file_size_in_bytes,
            "column_sizes": _pairs(file.column_sizes),
            "value_counts": _pairs(file.value_counts),
            "null_value_counts": _pairs(file.null_value_counts),
            "nan_value_counts": _pairs(file.nan_value_counts),
            "lower_bounds": _pairs(file.lower_bounds),
            "upper_bounds": _pairs(file.upper_bounds),
            "key_metadata": None,
            "split_offsets": list(file.split_offsets) or None,
            "equality_ids": list(file.equality_ids) or None,
            "sort_order_id": file.sort_order_id,
            "first_row_id": file.first_row_id,
            "referenced_data_file": file.referenced_data_file,
            "content_offset": file.content_offset,
            "content_size_in_bytes": file.content_size_in_bytes,
        },
    }


def _pairs(values: Mapping[int, Any]) -> list[dict[str, Any]] | None:
    return [{"key": key, "value": value} for key, value in values.items()] if values else None


def encode_manifest_list(
    manifests: Iterable[ManifestFile],
    snapshot_id: int,
    parent_snapshot_id: int | None,
    sequence_number: int,
    format_version: int,
) -> bytes:
    """Encode the manifest list of a snapshot."""
    header = {
        "snapshot-id": str(snapshot_id),
        "parent-snapshot-id": str(parent_snapshot_id) if parent_snapshot_id is not None else "null",
        "sequence-number": str(sequence_number),
        "format-version": str(format_version),
    }
    records = [
        {
            **{name: getattr(manifest, name) for name in ManifestFile.__dataclass_fields__ if name != "partitions"},
            "partitions": list(manifest.partitions) or None,
        }
        for manifest in manifests
    ]
    out = io.BytesIO()
    fastavro.writer(out, _parsed_list_schema(format_version), records, codec="deflate", metadata=header)
    return out.getvalue()


def partition_summaries(
    files: Sequence[ContentFile], spec: PartitionSpec, schema: Schema
) -> tuple[dict[str, Any], ...]:
    """Summarise the partition values of a manifest's files, which lets readers pass over the whole manifest."""
    summaries = []
    for index, part in enumerate(spec.partition_type(schema).fields):
        kind = primitive(part)
        values = [file.partition[index] for file in files]
        present = [value for value in values if value is not None and value == value]
        ordered = sorted(set(present))
        summaries.append(
            {
                "contains_null": any(value is None for value in values),
                "contains_nan": any(value is not None and value != value for value in values),
                "lower_bound": to_bytes(kind, ordered[0]) if ordered else None,
                "upper_bound": to_bytes(kind, ordered[-1]) if ordered else None,
            }
        )
    return tuple(summaries)


# --- reading --------------------------------------------------------------------------------------------------------


def decode_manifest_list(data: bytes, where: str) -> tuple[ManifestFile, ...]:
    """Decode a manifest list.

    Raises:
        CorruptDataError: Naming the file ``where``.
    """
    return tuple(_manifest_file(record) for record in _records(data, where))


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
    entries = []
    next_row_id = manifest.first_row_id
    for record in _records(data, manifest.manifest_path):
        inherits = next_row_id is not None and _inherits_row_ids(record)
        entry = _entry(record, manifest, next_row_id if inherits else record["data_file"].get("first_row_id"))
        if next_row_id is not None and inherits:
            next_row_id += entry.file.record_count
        entries.append(entry)
    return tuple(entries)


def _inherits_row_ids(record: Mapping[str, Any]) -> bool:
    file = record["data_file"]
    is_data = (file.get("content") or Content.DATA) == Content.DATA
    return is_data and file.get("first_row_id") is None and record["status"] != Status.DELETED


def manifest_schema(data: bytes, where: str) -> Schema:
    """Return the table's schema as of when a manifest was written.

    Raises:
        CorruptDataError: Naming the file ``where``.
    """
    try:
        header: Any = fastavro.reader(io.BytesIO(data)).metadata
        return Schema.model_validate_json(header["schema"])
    except (ValueError, EOFError, KeyError, IndexError, StopIteration, TypeError) as error:
        raise CorruptDataError(f"{where} does not tell the table's schema: {error!r}.") from error


def _records(data: bytes, where: str) -> Iterator[dict[str, Any]]:
    try:
        yield from fastavro.reader(io.BytesIO(data))  # type: ignore[misc]  # a manifest has records only
    except (ValueError, EOFError, KeyError, IndexError, StopIteration, TypeError) as error:
        raise CorruptDataError(f"{where} is not a readable Avro file: {error!r}.") from error


def _entry(record: Mapping[str, Any], manifest: ManifestFile, first_row_id: int | None) -> ManifestEntry:
    raw, status = record["data_file"], Status(record["status"])
    added = status is Status.ADDED
    sequence, file_sequence = record.get("sequence_number"), record.get("file_sequence_number")
    file = ContentFile(
        content=Content(raw.get("content") or 0),
        file_path=raw["file_path"],
        file_format=raw["file_format"].upper(),
        spec_id=manifest.partition_spec_id,
        partition=tuple(_partition_value(value) for value in raw["partition"].values()),
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
        first_row_id=first_row_id,
        referenced_data_file=raw.get("referenced_data_file"),
        content_offset=raw.get("content_offset"),
        content_size_in_bytes=raw.get("content_size_in_bytes"),
    )
    snapshot_id = record.get("snapshot_id")
    return ManifestEntry(
        status=status,
        snapshot_id=manifest.added_snapshot_id if snapshot_id is None else snapshot_id,
        sequence_number=manifest.sequence_number if sequence is None and added else sequence,
        file_sequence_number=manifest.sequence_number if file_sequence is None and added else file_sequence,
        file=file,
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
