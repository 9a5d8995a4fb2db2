"""Writing Iceberg's manifests and manifest lists (specification, "Manifests", versions 2 and 3), which are Avro files.

A manifest has up to six values for each column of each file, and every commit that takes a file out writes its manifest
anew. So the records of a manifest are put together here, not by a general encoder, which takes ten times as long.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import fastavro
import orjson
from pyiceberg.conversions import to_bytes
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.types import DecimalType, FixedType, NestedField

from cordillera.spec.arrow_types import primitive
from cordillera.table.content_file import ContentFile, ManifestEntry, ManifestFile
from cordillera.table.live_files import LruCache
from cordillera.table.manifests import DATA

AvroSchema = dict[str, Any]
T = TypeVar("T")
_NULL, _PRESENT, _END = b"\x00", b"\x02", b"\x00"
"""The branches of an optional value, and the end of an array."""
_MARKER_BYTES = 16
_BLOCK_BYTES = 256 * 1024
_ENCODED_STATISTICS = 500_000
"""How many values of column statistics are kept encoded, with what they were encoded from; about 100 bytes each."""
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


def _partition_schema(spec: PartitionSpec, schema: Schema) -> AvroSchema:
    fields: list[AvroSchema] = []
    described: set[str] = set()
    for part in spec.partition_type(schema).fields:
        kind = _partition_type(part)
        if isinstance(kind, dict) and "name" in kind:
            if kind["name"] in described:  # Avro describes a name once, and PyIceberg reads no references to one
                kind = {**kind, "name": f"{kind['name']}_{part.field_id}"}
            described.add(kind["name"])
        fields.append(_field(part.field_id, part.name, kind, optional=True))
    return {"type": "record", "name": "r102", "fields": fields}


def _entry_schema(partition: AvroSchema, format_version: int) -> AvroSchema:
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


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What all manifests of a partition spec, schema and format version have in common.

    Attributes:
        entry, partition: Parsed Avro schemas.
        header: What the file says about itself.
        names: Of the partition fields.
    """

    entry: Any
    partition: Any
    header: Mapping[str, str]
    names: tuple[str, ...]


@lru_cache(maxsize=256)
def _prepared(spec_json: str, schema_json: str, format_version: int) -> _Prepared:
    spec, schema = PartitionSpec.model_validate_json(spec_json), Schema.model_validate_json(schema_json)
    header = {
        "schema": schema_json,
        "schema-id": str(schema.schema_id),
        "partition-spec": orjson.dumps(orjson.loads(spec_json)["fields"]).decode(),
        "partition-spec-id": str(spec.spec_id),
        "format-version": str(format_version),
    }
    partition = _partition_schema(spec, schema)
    entry = fastavro.parse_schema(_entry_schema(partition, format_version))
    return _Prepared(entry, fastavro.parse_schema(partition), header, tuple(part.name for part in spec.fields))


@lru_cache(maxsize=4)
def _parsed_list_schema(format_version: int) -> Any:
    return fastavro.parse_schema(_list_schema(format_version))


# --- manifests ------------------------------------------------------------------------------------------------------


def encode_manifest(
    entries: Iterable[ManifestEntry], content: int, spec: PartitionSpec, schema: Schema, format_version: int
) -> bytes:
    """Encode a manifest. An ADDED entry without sequence numbers inherits them from the snapshot that adds it."""
    prepared = _prepared(spec.model_dump_json(), schema.model_dump_json(), format_version)
    header = {**prepared.header, "content": "data" if content == DATA else "deletes"}
    out, marker = io.BytesIO(), os.urandom(_MARKER_BYTES)
    fastavro.writer(out, prepared.entry, [], codec="deflate", metadata=header, sync_marker=marker)
    block: list[bytes] = []
    size = 0
    for entry in entries:
        block.append(_entry(entry, prepared, format_version))
        size += len(block[-1])
        if size >= _BLOCK_BYTES:
            out.write(_block(block, marker))
            block, size = [], 0
    if block:
        out.write(_block(block, marker))
    return out.getvalue()


def _block(records: Sequence[bytes], marker: bytes) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = compressor.compress(b"".join(records)) + compressor.flush()
    return b"".join((_long(len(records)), _long(len(data)), data, marker))


def _entry(entry: ManifestEntry, prepared: _Prepared, format_version: int) -> bytes:
    """Encode an entry, its fields in the order of ``_entry_schema``."""
    file = entry.file
    parts = [
        _long(entry.status),
        _optional(entry.snapshot_id),
        _optional(entry.sequence_number),
        _optional(entry.file_sequence_number),
        _long(file.content),
        _text(file.file_path),
        _text(file.file_format),
        _partition(file.partition, prepared),
        _long(file.record_count),
        _long(file.file_size_in_bytes),
        _statistics(file),
        _NULL,  # key_metadata
        _list_of(file.split_offsets),
        _list_of(file.equality_ids),
        _optional(file.sort_order_id),
    ]
    if format_version >= 3:
        path = file.referenced_data_file
        parts += [
            _optional(file.first_row_id),
            _NULL if path is None else _PRESENT + _text(path),
            _optional(file.content_offset),
            _optional(file.content_size_in_bytes),
        ]
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class _EncodedStatistics:
    """The column statistics of a file as a manifest has them, and what they were encoded from."""

    maps: tuple[Mapping[int, Any], ...]
    data: bytes


_encoded: LruCache[tuple[int, ...], _EncodedStatistics] = LruCache(
    _ENCODED_STATISTICS, lambda one: sum(map(len, one.maps))
)


def _statistics(file: ContentFile) -> bytes:
    """Encode the maps of column statistics, most of an entry; once, though its manifest is written again and again.

    Entries that are written again share these maps, which never change. They are known by identity, and kept as long
    as what is known of them.
    """
    maps = (
        file.column_sizes, file.value_counts, file.null_value_counts, file.nan_value_counts,
        file.lower_bounds, file.upper_bounds,
    )  # fmt: skip
    if not any(maps):
        return _NULL * len(maps)
    return _encoded.get(tuple(map(id, maps)), lambda: _EncodedStatistics(maps, _encode_statistics(maps))).data


def _encode_statistics(maps: Sequence[Mapping[int, Any]]) -> bytes:
    *numbers, lower, upper = maps
    return b"".join([*(_items(one, _long) for one in numbers), _items(lower, _binary), _items(upper, _binary)])


def _partition(values: Sequence[Any], prepared: _Prepared) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, prepared.partition, dict(zip(prepared.names, values, strict=True)))
    return out.getvalue()


@lru_cache(maxsize=65_536)
def _long(number: int) -> bytes:
    """Encode a number: zigzag, seven bits a byte."""
    rest = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def _binary(data: bytes) -> bytes:
    return _long(len(data)) + data


def _text(text: str) -> bytes:
    return _binary(text.encode())


def _optional(number: int | None) -> bytes:
    return _NULL if number is None else _PRESENT + _long(number)


def _items(values: Mapping[int, T], encode: Callable[[T], bytes]) -> bytes:
    """Encode a map by field id as an optional array of one block."""
    if not values:
        return _NULL
    items = b"".join([_long(key) + encode(value) for key, value in values.items()])
    return b"".join((_PRESENT, _long(len(values)), items, _END))


def _list_of(numbers: Sequence[int]) -> bytes:
    if not numbers:
        return _NULL
    return b"".join((_PRESENT, _long(len(numbers)), *map(_long, numbers), _END))


# --- manifest lists -------------------------------------------------------------------------------------------------


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
