"""Schema evolution: which changes a dataset version's schema may undergo, and what results.

Follows the Iceberg specification, "Schema Evolution": columns are known by field id, so renames, reorders and drops
never touch a data file; a type may only be widened; a column may become optional but never required. On top of that,
columns that the key, the sequence, the sort order or the partitioning stands on cannot be dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StructType,
)

from cordillera.errors import IncompatibleSchemaError, InvalidInputError, InvalidSchemaError, UnknownColumnError
from cordillera.spec.arrow_types import FieldIds, from_arrow_type
from cordillera.spec.names import check_column_name


@dataclass(frozen=True, slots=True)
class AddColumn:
    """Add a column; old rows read ``default``, or NULL without one. ``path`` may lead into structs: ``home.city``."""

    path: str
    type: pa.DataType
    doc: str | None = None
    default: Any = None


@dataclass(frozen=True, slots=True)
class RenameColumn:
    """Give a column another name."""

    path: str
    new_name: str


@dataclass(frozen=True, slots=True)
class WidenColumn:
    """Give a column a type that holds every value of its present one."""

    path: str
    type: pa.DataType


@dataclass(frozen=True, slots=True)
class MoveColumn:
    """Move a column behind its sibling ``after``, or to the front where ``after`` is None."""

    path: str
    after: str | None = None


@dataclass(frozen=True, slots=True)
class DropColumn:
    """Remove a column; data files keep it, and earlier snapshots still show it."""

    path: str


@dataclass(frozen=True, slots=True)
class MakeOptional:
    """Let a column hold NULL."""

    path: str


@dataclass(frozen=True, slots=True)
class DescribeColumn:
    """Set a column's documentation."""

    path: str
    doc: str


SchemaChange = AddColumn | RenameColumn | WidenColumn | MoveColumn | DropColumn | MakeOptional | DescribeColumn
_Fields = tuple[NestedField, ...]


def evolve(
    schema: Schema,
    changes: Sequence[SchemaChange],
    *,
    last_column_id: int,
    new_schema_id: int,
    fixed_ids: frozenset[int] = frozenset(),
) -> tuple[Schema, int]:
    """Apply ``changes`` in order and return the new schema with the highest field id ever used.

    Args:
        schema: The schema to begin from.
        changes: What to change.
        last_column_id: The highest field id the table has ever assigned; dropped ids are never used again.
        new_schema_id: The id of the schema to return.
        fixed_ids: Field ids of columns that may not be dropped or made optional: key, sequence, sources of
            partitions and the sort order.

    Raises:
        IncompatibleSchemaError: If a change would break stored rows or their readers.
        UnknownColumnError: If a change names a column that is not there.
        InvalidSchemaError: If a new name is illegal or taken.
    """
    ids = FieldIds(last_column_id)
    fields: _Fields = schema.fields
    for change in changes:
        if not isinstance(change, SchemaChange):
            raise InvalidInputError(
                f"{change!r:.60} is no change of a schema.",
                hint="Give AddColumn, RenameColumn or another of cordillera.spec.schema_evolution.",
            )
        *parents, name = change.path.split(".")
        fields = _rewrite(fields, parents, name, partial(_apply, change=change, ids=ids, fixed_ids=fixed_ids))
    _check_unique(fields)
    if not fields:
        raise IncompatibleSchemaError(
            "The last column of a dataset cannot be dropped.", hint="Add another first, or delete the dataset."
        )
    return Schema(*fields, schema_id=new_schema_id, identifier_field_ids=schema.identifier_field_ids), ids.last


def _rewrite(fields: _Fields, parents: list[str], name: str, change: Callable[[_Fields, str], _Fields]) -> _Fields:
    """Apply ``change`` to the list of fields that ``parents`` leads to, rebuilding the structs on the way."""
    if not parents:
        return change(fields, name)
    index = _index(fields, parents[0])
    outer = fields[index]
    if not isinstance(outer.field_type, StructType):
        raise UnknownColumnError(
            f"Column {outer.name!r} is {outer.field_type}, not a struct; it has no field {name!r}."
        )
    inner = _rewrite(outer.field_type.fields, parents[1:], name, change)
    return (*fields[:index], _copy(outer, field_type=StructType(*inner)), *fields[index + 1 :])


def _apply(fields: _Fields, name: str, *, change: SchemaChange, ids: FieldIds, fixed_ids: frozenset[int]) -> _Fields:
    if isinstance(change, AddColumn):
        return (*fields, _added(name, change, ids))
    index = _index(fields, name)
    field, others = fields[index], (*fields[:index], *fields[index + 1 :])
    if isinstance(change, MoveColumn):
        place = 0 if change.after is None else _index(others, change.after) + 1
        return (*others[:place], field, *others[place:])
    if isinstance(change, DropColumn):
        _refuse_fixed(field, fixed_ids, "dropped")
        return others
    return (*fields[:index], _changed(field, change, fixed_ids), *fields[index + 1 :])


def _changed(
    field: NestedField,
    change: RenameColumn | WidenColumn | MakeOptional | DescribeColumn,
    fixed_ids: frozenset[int],
) -> NestedField:
    match change:
        case RenameColumn():
            return _copy(field, name=check_column_name(change.new_name))
        case WidenColumn():
            return _copy(field, field_type=_widened(field, change.type))
        case MakeOptional():
            _refuse_fixed(field, fixed_ids, "made optional")
            return _copy(field, required=False)
        case DescribeColumn():
            return _copy(field, doc=change.doc)


def _added(name: str, change: AddColumn, ids: FieldIds) -> NestedField:
    check_column_name(name)
    field_id = ids.next()
    field_type = from_arrow_type(change.type, ids, change.path)
    return NestedField(
        field_id,
        name,
        field_type,
        required=False,
        doc=change.doc,
        initial_default=change.default,
        write_default=change.default,
    )


def _widened(field: NestedField, wanted: pa.DataType) -> IcebergType:
    new_type = from_arrow_type(wanted, FieldIds(), field.name)
    if new_type != field.field_type and not is_widening(field.field_type, new_type):
        raise IncompatibleSchemaError(
            f"Column {field.name!r} is {field.field_type} and cannot become {new_type}: stored values might not fit.",
            hint="Allowed are int → long, float → double and a decimal with more digits. For any other type, add a new "
            "column or a new dataset version.",
        )
    return new_type


def is_widening(old: IcebergType, new: IcebergType) -> bool:
    """Tell whether every value of ``old`` is also a value of ``new`` by Iceberg's promotion rules."""
    if isinstance(old, DecimalType) and isinstance(new, DecimalType):
        return old.scale == new.scale and new.precision > old.precision
    return (isinstance(old, IntegerType) and isinstance(new, LongType)) or (
        isinstance(old, FloatType) and isinstance(new, DoubleType)
    )


def _refuse_fixed(field: NestedField, fixed_ids: frozenset[int], what: str) -> None:
    if field.field_id in fixed_ids:
        raise IncompatibleSchemaError(
            f"Column {field.name!r} cannot be {what}: the key, the sequence, the sort order or the partitioning "
            "stands on it.",
            hint="Sort by something else, or create a new dataset version with another key or partitioning.",
        )


def _index(fields: _Fields, name: str) -> int:
    for index, field in enumerate(fields):
        if field.name == name:
            return index
    raise UnknownColumnError(
        f"There is no column {name!r}.", hint=f"Columns: {', '.join(field.name for field in fields)}."
    )


def _check_unique(fields: _Fields) -> None:
    seen: set[str] = set()
    for field in fields:
        if field.name.lower() in seen:
            raise InvalidSchemaError(
                f"The column name {field.name!r} is taken (names that differ only in case count as the same).",
                hint="Choose another name.",
            )
        seen.add(field.name.lower())
        if isinstance(field.field_type, StructType):
            _check_unique(field.field_type.fields)


def _copy(field: NestedField, **changes: Any) -> NestedField:
    values = {
        "field_id": field.field_id,
        "name": field.name,
        "field_type": field.field_type,
        "required": field.required,
        "doc": field.doc,
        "initial_default": field.initial_default,
        "write_default": field.write_default,
        **changes,
    }
    return NestedField(**values)
