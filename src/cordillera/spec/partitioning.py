"""Partition specs as people write them: ``month(time_hour)``, ``bucket(16, id)``, ``origin``.

Follows the Iceberg specification, "Partition Transforms".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    VoidTransform,
    YearTransform,
)

from cordillera.errors import InvalidSchemaError

_TERM = re.compile(
    r"\s*(?:(?P<transform>[a-z]+)\s*\(\s*(?:(?P<width>\d+)\s*,)?\s*(?P<inner>[^()]+?)\s*\)|(?P<plain>[^()]+?))\s*"
)
_SIMPLE: dict[str, Any] = {
    "identity": IdentityTransform,
    "year": YearTransform,
    "month": MonthTransform,
    "day": DayTransform,
    "hour": HourTransform,
}
_SIZED: dict[str, Any] = {"bucket": BucketTransform, "truncate": TruncateTransform}


def parse_partitioning(terms: Sequence[str], schema: Schema, spec_id: int = 0) -> PartitionSpec:
    """Return the partition spec that ``terms`` describe over ``schema``.

    Raises:
        InvalidSchemaError: If a term has another form, names an unknown column, or its transform cannot take the type.
    """
    fields = []
    for number, term in enumerate(terms):
        column, transform = _parse_term(term)
        source = next((f for f in schema.fields if f.name == column), None)
        if source is None:
            raise InvalidSchemaError(
                f"The partitioning {term!r} names the column {column!r}, which does not exist.",
                hint=f"Columns: {', '.join(f.name for f in schema.fields)}.",
            )
        if not transform.can_transform(source.field_type):
            raise InvalidSchemaError(f"The partitioning {term!r} cannot be applied to the type {source.field_type}.")
        name = column if isinstance(transform, IdentityTransform) else f"{column}_{str(transform).split('[')[0]}"
        fields.append(PartitionField(source.field_id, PARTITION_FIELD_ID_START + number, transform, name))
    if len({field.name for field in fields}) != len(fields):
        raise InvalidSchemaError(f"The partitioning {list(terms)} uses the same term twice.", hint="Name it once.")
    return PartitionSpec(*fields, spec_id=spec_id)


def _parse_term(term: str) -> tuple[str, Transform]:  # type: ignore[type-arg]  # a spec mixes source types
    matched = _TERM.fullmatch(term)
    if not matched:
        raise InvalidSchemaError(
            f"The partitioning {term!r} cannot be read.",
            hint="Write a column, or year, month, day, hour (column), bucket(16, column) or truncate(4, column).",
        )
    if matched["plain"]:
        return matched["plain"], IdentityTransform()
    kind, width = matched["transform"], matched["width"]
    if kind in _SIMPLE and width is None:
        return matched["inner"], _SIMPLE[kind]()
    if kind in _SIZED and width is not None and int(width) > 0:
        return matched["inner"], _SIZED[kind](int(width))
    raise InvalidSchemaError(
        f"The partitioning {term!r} uses no known transform.",
        hint="Known are identity, year, month, day, hour, bucket(N, …) and truncate(N, …).",
    )


def describe_partitioning(spec: PartitionSpec, schema: Schema) -> tuple[str, ...]:
    """Return the terms of a partition spec as people write them; void (dropped) fields are left out."""
    terms = []
    for field in spec.fields:
        column = schema.find_column_name(field.source_id) or f"#{field.source_id}"
        match field.transform:
            case VoidTransform():
                continue
            case IdentityTransform():
                terms.append(column)
            case BucketTransform(num_buckets=width):
                terms.append(f"bucket({width}, {column})")
            case TruncateTransform(width=width):
                terms.append(f"truncate({width}, {column})")
            case transform:
                terms.append(f"{transform}({column})")
    return tuple(terms)
