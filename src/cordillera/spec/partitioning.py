"""Partition specs as people write them: ``month(time_hour)``, ``bucket(16, id)``, ``origin``.

Follows the Iceberg specification, "Partition Transforms".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, count
from typing import Any

from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TimeTransform,
    Transform,
    TruncateTransform,
    UnknownTransform,
    VoidTransform,
    YearTransform,
)
from pyiceberg.types import NestedField, StructType

from cordillera.errors import InvalidSchemaError
from cordillera.spec.argument_types import of_type

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
AnyTransform = Transform[Any, Any]
_NO_FIELD_ID = PARTITION_FIELD_ID_START - 1
_SIZED: dict[str, Any] = {"bucket": BucketTransform, "truncate": TruncateTransform}
_MAX_WIDTH = 2**31 - 1


def parse_partitioning(
    terms: Sequence[str], schema: Schema, earlier: Sequence[PartitionSpec] = (), last_field_id: int = _NO_FIELD_ID
) -> PartitionSpec:
    """Return the partition spec that ``terms`` describe over ``schema``.

    Follows the Iceberg specification, "Partition Evolution": a column under a transform has the same field id in every
    spec of a table, and what a spec described once it describes for ever, so one of ``earlier`` is returned if it says
    the same.

    Args:
        terms: What to partition by; none for one partition of everything.
        schema: The table's columns.
        earlier: The table's specs so far.
        last_field_id: The highest partition field id the table has ever assigned.

    Raises:
        InvalidSchemaError: If a term has another form, names an unknown column, its transform cannot take the type, or
            another term says the same.
    """
    sources = [bound_term(term, schema) for term in terms]
    _check_distinct(terms, sources)
    known = {_meaning(field): field for spec in earlier for field in spec.fields}
    names = _Names(schema, earlier)
    fields: list[PartitionField] = []
    for source, transform in sources:
        field = known.get((source.field_id, str(transform)))
        if field is None:
            last_field_id += 1
            field = PartitionField(source.field_id, last_field_id, transform, names.new(source, transform))
        fields.append(field)
    same = (spec for spec in earlier if [_meaning(f) for f in spec.fields] == [_meaning(f) for f in fields])
    return next(same, PartitionSpec(*fields, spec_id=max((spec.spec_id for spec in earlier), default=-1) + 1))


def taken_name(schema: Schema, specs: Sequence[PartitionSpec]) -> tuple[str, PartitionField] | None:
    """Return a column that has the name of a partition field made from another column, with that field.

    Engines refuse such tables: they could not tell the two apart.
    """
    fields = {field.name.lower(): field for spec in specs for field in spec.fields}
    for column in schema.fields:
        field = fields.get(column.name.lower())
        same = field is not None and isinstance(field.transform, IdentityTransform | VoidTransform)
        if field is not None and not (same and field.source_id == column.field_id):
            return column.name, field
    return None


def check_partitioning(spec: PartitionSpec, schema: Schema) -> None:
    """Refuse a partition spec that somebody else made, if no table can be laid out by it.

    Raises:
        InvalidSchemaError: If a field has an unknown transform, or one that its column's type does not allow, if two
            fields have one name, one id or say the same, or a column that is not its own has a field's name.
    """
    fields = spec.fields
    alive = [field for field in fields if not isinstance(field.transform, VoidTransform)]
    for field in alive:
        check_transform(field.source_id, field.transform, schema, f"partition field {field.name[:60]!r}")
    for what, values in (
        ("name", [field.name.lower() for field in fields]),
        ("field id", [field.field_id for field in fields]),
        ("column and transform", list(map(_meaning, alive))),
    ):
        if len(set(values)) != len(values):
            raise InvalidSchemaError(f"Two fields of the partitioning have the same {what}.", hint="Leave one out.")
    if any(not field.name or field.field_id < PARTITION_FIELD_ID_START for field in fields):
        raise InvalidSchemaError(
            "Each field of a partitioning has a name, and an id from 1000 on.", hint="Write it with Iceberg's library."
        )
    if taken := taken_name(schema, [spec]):
        raise InvalidSchemaError(
            f"The partition field {taken[1].name!r} is called like a column that it is not made from, so that engines "
            "could not tell the two apart.",
            hint="Choose another name for it.",
        )


def check_transform(source_id: int, transform: AnyTransform, schema: Schema, what: str) -> None:
    """Refuse a transform that is unknown, or of what is no column, or of a type that it is not for.

    Args:
        source_id: Field id of the column.
        transform: What is made of its values.
        schema: The table's columns.
        what: What uses it, for messages.

    Raises:
        InvalidSchemaError: Naming it.
    """
    source = columns_by_id(schema).get(source_id)
    if source is None:
        raise InvalidSchemaError(f"The {what} is made from field {source_id}, which is no column.")
    width = getattr(transform, "num_buckets", getattr(transform, "width", 1))
    known = not isinstance(transform, UnknownTransform) and 0 < width <= _MAX_WIDTH
    if not known or not transform.can_transform(source.field_type):
        raise InvalidSchemaError(
            f"The {what} is made by {str(transform)[:60]!r} from a {source.field_type}, which cannot be.",
            hint="Known are identity, year, month, day, hour, bucket[N] and truncate[N], each for certain types.",
        )


def columns_by_id(schema: Schema) -> dict[int, NestedField]:
    """Return the columns and the fields of their structs, by id; what lies in lists and maps is none."""
    found: dict[int, NestedField] = {}
    pending = list(schema.fields)
    while pending:
        field = pending.pop()
        found[field.field_id] = field
        if isinstance(field.field_type, StructType):
            pending += field.field_type.fields
    return found


def bound_term(term: str, schema: Schema, purpose: str = "partitioning") -> tuple[NestedField, AnyTransform]:
    """Return the column that a term is about, and what the term makes of its values.

    Args:
        term: Like ``month(time_hour)``.
        schema: The table's columns.
        purpose: What the term is for, for error messages.

    Raises:
        InvalidSchemaError: If it has another form, names an unknown column, or its transform cannot take the type.
    """
    of_type(term, str, purpose)
    is_column = any(field.name == term for field in schema.fields)
    column, transform = (term, IdentityTransform()) if is_column else _parse_term(term, purpose)
    source = next((f for f in schema.fields if f.name == column), None)
    if source is None:
        raise InvalidSchemaError(
            f"The {purpose} {term!r} names the column {column!r}, which does not exist.",
            hint=f"Columns: {', '.join(f.name for f in schema.fields)}.",
        )
    if not transform.can_transform(source.field_type):
        raise InvalidSchemaError(f"The {purpose} {term!r} cannot be applied to the type {source.field_type}.")
    return source, transform


def _check_distinct(terms: Sequence[str], sources: Sequence[tuple[NestedField, AnyTransform]]) -> None:
    """Refuse terms that say the same. Of the parts a time the shortest says all: an hour has a day, a day a month."""
    kinds = [(source.field_id, "time" if isinstance(kind, TimeTransform) else str(kind)) for source, kind in sources]
    if len(set(kinds)) != len(kinds):
        raise InvalidSchemaError(
            f"The partitioning {list(terms)} uses the same term twice, or two parts of the same time.",
            hint="Name it once; of year, month, day and hour take the shortest.",
        )


class _Names:
    """Gives out names of partition fields: each unlike every column but its own, and every other field of any spec."""

    def __init__(self, schema: Schema, earlier: Sequence[PartitionSpec]) -> None:
        self._columns = {column.name.lower() for column in schema.fields}
        self._fields = {field.name.lower() for spec in earlier for field in spec.fields}

    def new(self, source: NestedField, transform: AnyTransform) -> str:
        kind, _, width = str(transform).rstrip("]").partition("[")
        bases = [source.name] if kind == "identity" else [f"{source.name}_{kind}"]
        bases += [f"{bases[0]}_{width}"] if width else []
        numbered = (f"{bases[-1]}_{number}" for number in count(2))
        for name in chain(bases, numbered):
            own = kind == "identity" and name == source.name
            if name.lower() not in self._fields and (own or name.lower() not in self._columns):
                self._fields.add(name.lower())
                return name
        raise AssertionError("there is always another number")


def _meaning(field: PartitionField) -> tuple[int, str]:
    return field.source_id, str(field.transform)


def _parse_term(term: str, purpose: str) -> tuple[str, AnyTransform]:
    matched = _TERM.fullmatch(term)
    if not matched:
        raise InvalidSchemaError(
            f"The {purpose} {term!r} cannot be read.",
            hint="Write a column, or year, month, day, hour (column), bucket(16, column) or truncate(4, column).",
        )
    if matched["plain"]:
        return matched["plain"], IdentityTransform()
    kind, width = matched["transform"], matched["width"]
    if kind in _SIMPLE and width is None:
        return matched["inner"], _SIMPLE[kind]()
    if kind in _SIZED and width is not None and 0 < int(width) <= _MAX_WIDTH:
        return matched["inner"], _SIZED[kind](int(width))
    raise InvalidSchemaError(
        f"The {purpose} {term!r} uses no known transform.",
        hint="Known are identity, year, month, day, hour, bucket(N, …) and truncate(N, …).",
    )


def describe_partitioning(spec: PartitionSpec, schema: Schema) -> tuple[str, ...]:
    """Return the terms of a partition spec as people write them; void (dropped) fields are left out."""
    return tuple(
        describe_term(field.source_id, field.transform, schema)
        for field in spec.fields
        if not isinstance(field.transform, VoidTransform)
    )


def describe_term(source_id: int, transform: AnyTransform, schema: Schema) -> str:
    """Return a transform of a column as people write it."""
    column = schema.find_column_name(source_id) or f"#{source_id}"
    match transform:
        case IdentityTransform():
            return column
        case BucketTransform(num_buckets=width):
            return f"bucket({width}, {column})"
        case TruncateTransform(width=width):
            return f"truncate({width}, {column})"
        case _:
            return f"{transform}({column})"
