"""Column statistics of a Parquet file in the form Iceberg manifests want (specification, "Data File Fields")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
from pyiceberg.conversions import to_bytes
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    DoubleType,
    FloatType,
    IcebergType,
    ListType,
    MapType,
    PrimitiveType,
    StringType,
    StructType,
    UUIDType,
)
from pyiceberg.utils.truncate import truncate_upper_bound_binary_string, truncate_upper_bound_text_string

BOUND_LENGTH = 32


def leaf_columns(schema: Schema) -> dict[str, tuple[int, PrimitiveType, bool]]:
    """Return, by Parquet column path, each leaf's field id, type, and whether it may have bounds (lists' may not)."""
    return {
        path: (field_id, leaf, bounded)
        for field in schema.fields
        for path, field_id, leaf, bounded in _leaves(field.name, field.field_id, field.field_type, bounded=True)
    }


def _leaves(
    path: str, field_id: int, kind: IcebergType, *, bounded: bool
) -> Iterator[tuple[str, int, PrimitiveType, bool]]:
    match kind:
        case StructType():
            for field in kind.fields:
                yield from _leaves(f"{path}.{field.name}", field.field_id, field.field_type, bounded=bounded)
        case ListType():
            yield from _leaves(f"{path}.list.element", kind.element_id, kind.element_type, bounded=False)
        case MapType():
            yield from _leaves(f"{path}.key_value.key", kind.key_id, kind.key_type, bounded=False)
            yield from _leaves(f"{path}.key_value.value", kind.value_id, kind.value_type, bounded=False)
        case PrimitiveType():
            yield path, field_id, kind, bounded


def collect_statistics(metadata: pq.FileMetaData, schema: Schema, only_group: int | None = None) -> dict[str, Any]:
    """Return sizes, counts, bounds per field id, and offsets, as ``ContentFile`` fields; of one row group if given."""
    leaves = leaf_columns(schema)
    sizes: defaultdict[int, int] = defaultdict(int)
    values: defaultdict[int, int] = defaultdict(int)
    nulls: defaultdict[int, int] = defaultdict(int)
    bounds: defaultdict[int, list[tuple[Any, Any]]] = defaultdict(list)
    unbounded: set[int] = set()
    offsets = []
    groups = range(metadata.num_row_groups) if only_group is None else (only_group,)
    for group in (metadata.row_group(index) for index in groups):
        for column in (group.column(index) for index in range(group.num_columns)):
            if column.path_in_schema not in leaves:
                continue
            field_id, _, bounded = leaves[column.path_in_schema]
            sizes[field_id] += column.total_compressed_size
            values[field_id] += column.num_values
            statistics = column.statistics if column.is_stats_set else None
            null_count = statistics.null_count if statistics is not None and statistics.has_null_count else 0
            nulls[field_id] += null_count
            if statistics is not None and bounded and statistics.has_min_max:
                bounds[field_id].append((statistics.min, statistics.max))
            elif null_count < column.num_values:
                unbounded.add(field_id)
        first = group.column(0)
        offsets.append(first.dictionary_page_offset or first.data_page_offset)
    types = {field_id: leaf for field_id, leaf, _ in leaves.values()}
    usable = {i: pairs for i, pairs in bounds.items() if i not in unbounded}
    return {
        "column_sizes": dict(sizes),
        "value_counts": dict(values),
        "null_value_counts": dict(nulls),
        "lower_bounds": {i: _lower(types[i], min(low for low, _ in pairs)) for i, pairs in usable.items()},
        "upper_bounds": {
            i: upper for i, pairs in usable.items() if (upper := _upper(types[i], max(high for _, high in pairs)))
        },
        "split_offsets": tuple(offsets),
    }


def _lower(kind: PrimitiveType, value: Any) -> bytes:
    match kind:
        case StringType():
            return to_bytes(kind, value[:BOUND_LENGTH])
        case BinaryType():
            return bytes(value[:BOUND_LENGTH])
        case FloatType() | DoubleType():
            return to_bytes(kind, -0.0 if value == 0 else value)
        case _:
            return _exact(kind, value)


def _upper(kind: PrimitiveType, value: Any) -> bytes | None:
    """Return the upper bound, or None where a long value has no shortened upper bound."""
    match kind:
        case StringType():
            shortened = truncate_upper_bound_text_string(value, BOUND_LENGTH)
            return to_bytes(kind, shortened) if shortened is not None else None
        case BinaryType():
            return truncate_upper_bound_binary_string(value, BOUND_LENGTH)
        case FloatType() | DoubleType():
            return to_bytes(kind, 0.0 if value == 0 else value)
        case _:
            return _exact(kind, value)


def _exact(kind: PrimitiveType, value: Any) -> bytes:
    if isinstance(kind, UUIDType):
        return value if isinstance(value, bytes) else to_bytes(kind, value)
    return to_bytes(kind, value)
