"""Content files as the Iceberg REST specification has them in JSON ("ContentFile")."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pyiceberg.conversions import from_bytes, to_json
from pyiceberg.types import (
    BinaryType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    NestedField,
    PrimitiveType,
    TimestampNanoType,
    TimestamptzNanoType,
    UnknownType,
    UUIDType,
)

from cordillera.spec.arrow_types import primitive
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.content_file import Content, ContentFile

_NAMES = {
    Content.DATA: "data",
    Content.POSITION_DELETES: "position-deletes",
    Content.EQUALITY_DELETES: "equality-deletes",
}


def content_file_to_plain(
    file: ContentFile, metadata: TableMetadata, statistics: Collection[int] = ()
) -> dict[str, Any]:
    """Return a data or delete file.

    Args:
        file: The file.
        metadata: Its table.
        statistics: Ids of the columns whose statistics are told.
    """
    plain = {
        "content": _NAMES[file.content],
        "file-path": file.file_path,
        "file-format": file.file_format.lower(),
        "spec-id": file.spec_id,
        "partition": _partition(file, metadata),
        "file-size-in-bytes": file.file_size_in_bytes,
        "record-count": file.record_count,
        "split-offsets": list(file.split_offsets) or None,
        "sort-order-id": file.sort_order_id,
        "first-row-id": file.first_row_id,
        "equality-ids": list(file.equality_ids) or None,
        "referenced-data-file": file.referenced_data_file,
        "content-offset": file.content_offset,
        "content-size-in-bytes": file.content_size_in_bytes,
        **(_statistics(file, metadata, statistics) if statistics else {}),
    }
    return {name: value for name, value in plain.items() if value is not None}


def _partition(file: ContentFile, metadata: TableMetadata) -> list[Any]:
    types = [
        primitive(NestedField(part.field_id, part.name, part.transform.result_type(_type_of(part.source_id, metadata))))
        for part in metadata.spec_by_id(file.spec_id).fields
    ]
    return [_plain(kind, value) for kind, value in zip(types, file.partition, strict=True)]


def _type_of(field_id: int, metadata: TableMetadata) -> PrimitiveType:
    """Return the type of a column, which may have been dropped since."""
    for schema in (metadata.schema, *reversed(metadata.schemas)):
        kind = schema._lazy_id_to_field[field_id].field_type if field_id in schema._lazy_id_to_field else None
        if isinstance(kind, PrimitiveType):
            return kind
    return UnknownType()


def _statistics(file: ContentFile, metadata: TableMetadata, wanted: Collection[int]) -> dict[str, Any]:
    counts = {
        "column-sizes": file.column_sizes,
        "value-counts": file.value_counts,
        "null-value-counts": file.null_value_counts,
        "nan-value-counts": file.nan_value_counts,
    }
    bounds = {"lower-bounds": file.lower_bounds, "upper-bounds": file.upper_bounds}
    told = {name: _chosen(values, wanted) for name, values in counts.items()}
    for name, values in bounds.items():
        types = {number: _type_of(number, metadata) for number in values if number in wanted}
        known = {number: _plain(kind, from_bytes(kind, values[number])) for number, kind in types.items()}
        told[name] = _chosen(known, wanted)
    return told


def _chosen(values: Mapping[int, Any], wanted: Collection[int]) -> dict[str, list[Any]] | None:
    chosen = {number: value for number, value in values.items() if number in wanted}
    return {"keys": list(chosen), "values": list(chosen.values())} if chosen else None


def _plain(kind: PrimitiveType, value: Any) -> Any:
    """Return a value in the form of the specification ("PrimitiveTypeValue")."""
    match kind, value:
        case _, None:
            return None
        case UnknownType(), _:  # of a column that no schema of the table has any more
            return value if isinstance(value, str | int | float) else None
        case DecimalType(), Decimal():
            return format(value, "f")
        case UUIDType(), bytes():
            return str(UUID(bytes=value))
        case BinaryType() | FixedType(), bytes():
            return value.hex().upper()
        case FloatType() | DoubleType(), float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case TimestampNanoType() | TimestamptzNanoType(), int():
            second = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value // 1_000_000_000)
            zone = "+00:00" if isinstance(kind, TimestamptzNanoType) else ""
            return f"{second:%Y-%m-%dT%H:%M:%S}.{value % 1_000_000_000:09d}{zone}"
        case _:
            return to_json(kind, value)
