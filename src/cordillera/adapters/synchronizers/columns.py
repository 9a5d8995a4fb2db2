"""A target's columns as the cursor table remembers them, and what has to change when a delivery brings other ones.

Columns, and fields inside structs, are matched by field id, so a rename is never mistaken for a drop and an add.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cordillera.errors import CorruptDataError, IncompatibleSchemaError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec.arrow_evolution import evolved
from cordillera.spec.arrow_types import FIELD_ID_KEY, field_id_of

_PRIMITIVES = {
    str(kind): kind
    for kind in (
        pa.bool_(),
        pa.int32(),
        pa.int64(),
        pa.float32(),
        pa.float64(),
        pa.date32(),
        pa.time64("us"),
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
        pa.timestamp("ns"),
        pa.timestamp("ns", "UTC"),
        pa.string(),
        pa.uuid(),
        pa.binary(),
    )
}
_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")
_FIXED = re.compile(r"fixed_size_binary\[(\d+)\]")
_WIDENINGS = {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}


def is_supported(kind: pa.DataType) -> bool:
    """Tell whether targets can keep columns of a type: the Arrow types that carry Iceberg's."""
    if is_nested(kind):
        return all(is_supported(field.type) for field in nested_fields(kind))
    return str(kind) in _PRIMITIVES or pa.types.is_decimal128(kind) or pa.types.is_fixed_size_binary(kind)


def is_nested(kind: pa.DataType) -> bool:
    """Tell whether a type is a struct, a list or a map."""
    return bool(pa.types.is_struct(kind) or pa.types.is_list(kind) or pa.types.is_map(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Tell whether a type is one of binary values, of one length or of many; a UUID is none."""
    return bool(pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind))


def nested_fields(kind: pa.DataType) -> list[pa.Field]:
    """Return the fields of a struct, the element of a list, or the key and value of a map."""
    if pa.types.is_struct(kind):
        return [kind.field(index) for index in range(kind.num_fields)]
    if pa.types.is_map(kind):
        return [kind.key_field, kind.item_field]
    return [kind.value_field]


# --- to and from JSON -----------------------------------------------------------------------------------------------


def columns_to_json(columns: Sequence[TargetColumn]) -> list[dict[str, Any]]:
    """Return columns as a JSON value that ``columns_from_json`` reads back."""
    return [
        {
            "field_id": column.field_id,
            "name": column.name,
            "type": type_to_json(column.type),
            "nullable": column.nullable,
            "doc": column.doc,
        }
        for column in columns
    ]


def columns_from_json(stored: Sequence[dict[str, Any]]) -> tuple[TargetColumn, ...]:
    """Return the columns of a JSON value that ``columns_to_json`` made."""
    return tuple(
        TargetColumn(c["field_id"], c["name"], type_from_json(c["type"]), c["nullable"], c["doc"]) for c in stored
    )


def type_to_json(kind: pa.DataType) -> Any:
    """Return a type as a JSON value: a name, or an object that shows the field ids and names inside a nested type."""
    if not is_nested(kind):
        return str(kind)
    fields = [
        {"field_id": field_id_of(field), "name": field.name, "type": type_to_json(field.type)}
        for field in nested_fields(kind)
    ]
    if pa.types.is_struct(kind):
        return {"struct": fields}
    return {"map": fields} if pa.types.is_map(kind) else {"list": fields}


def type_from_json(stored: Any) -> pa.DataType:
    """Return the type of a JSON value that ``type_to_json`` made.

    Raises:
        CorruptDataError: If the value describes no type.
    """
    if isinstance(stored, dict):
        (form, fields) = next(iter(stored.items()))
        children = [
            pa.field(
                field["name"],
                type_from_json(field["type"]),
                metadata={} if field["field_id"] is None else {FIELD_ID_KEY: str(field["field_id"]).encode()},
            )
            for field in fields
        ]
        if form == "struct":
            return pa.struct(children)
        return pa.map_(children[0].with_nullable(False), children[1]) if form == "map" else pa.list_(children[0])
    if decimal := _DECIMAL.fullmatch(stored):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    if fixed := _FIXED.fullmatch(stored):
        return pa.binary(int(fixed[1]))
    if stored not in _PRIMITIVES:
        raise CorruptDataError(f"The cursor table of a target describes a column of the unknown type {stored!r}.")
    return _PRIMITIVES[stored]


# --- evolution ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Retyping:
    """A column whose type changes; ``name`` is the one it has after the delivery."""

    name: str
    old: pa.DataType
    new: pa.DataType


@dataclass(frozen=True, slots=True)
class Evolution:
    """What turns a stored table into the delivered one; the parts are applied in the order of the attributes.

    ``renamed`` holds (present name, new name); its pairs may swap names, so a target first moves every one of them to a
    name that nobody has. Adding comes last, when the names that drops and renames set free are free.
    """

    dropped: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    retyped: tuple[Retyping, ...]
    made_optional: tuple[str, ...]
    added: tuple[TargetColumn, ...]
    described: tuple[TargetColumn, ...]

    def renaming_steps(self) -> list[tuple[str, str]]:
        """Return the renames in an order in which no step meets a taken name."""
        away = [(old, f"_cordillera_renaming_{n}") for n, (old, _) in enumerate(self.renamed)]
        return away + [(f"_cordillera_renaming_{n}", new) for n, (_, new) in enumerate(self.renamed)]


def plan_evolution(stored: Sequence[TargetColumn], stored_key: Sequence[int], table: TargetTable) -> Evolution:
    """Compare the columns a target has with those a delivery brings.

    The order of columns is ignored: no reader should depend on it, and engines cannot change it in place.

    Raises:
        IncompatibleSchemaError: If the rows already there could not be kept under the new columns.
    """
    before = {column.field_id: column for column in stored}
    now = {column.field_id: column for column in table.columns}
    if sorted(key_field_ids(table)) != sorted(stored_key):
        raise IncompatibleSchemaError(
            f"Table {table.name!r} was delivered with another key, so its rows cannot be kept.",
            hint="Deliver the whole content anew.",
        )
    pairs = [(before[field_id], column) for field_id, column in now.items() if field_id in before]
    added = tuple(column for field_id, column in now.items() if field_id not in before)
    _refuse_required(table, [c for c in added if not c.nullable])
    _refuse_required(table, [new for old, new in pairs if old.nullable and not new.nullable])
    for old, new in pairs:
        check_convertible(table, new.name, old.type, new.type)
    return Evolution(
        dropped=tuple(column.name for field_id, column in before.items() if field_id not in now),
        renamed=tuple((old.name, new.name) for old, new in pairs if old.name != new.name),
        retyped=tuple(Retyping(new.name, old.type, new.type) for old, new in pairs if not same(old.type, new.type)),
        made_optional=tuple(new.name for old, new in pairs if new.nullable and not old.nullable),
        added=added,
        described=tuple(new for old, new in pairs if old.doc != new.doc) + tuple(c for c in added if c.doc),
    )


def same(old: pa.DataType, new: pa.DataType) -> bool:
    """Tell whether two types are the same, down to the names and field ids of nested fields."""
    return bool(type_to_json(old) == type_to_json(new))


def key_field_ids(table: TargetTable) -> tuple[int, ...]:
    """Return the field ids of a table's key columns, in key order."""
    ids = {column.name: column.field_id for column in table.columns}
    return tuple(ids[name] for name in table.key)


def field_pairs(old: pa.DataType, new: pa.DataType) -> list[tuple[pa.Field | None, pa.Field]]:
    """Pair each field of a nested type with the one it had been, or None for a field that is new.

    Struct fields are matched by field id (by name where a producer gave none); elements, keys and values by place.
    """
    if not pa.types.is_struct(new):
        return list(zip(nested_fields(old), nested_fields(new), strict=True))
    before = {_identity(field): field for field in nested_fields(old)}
    return [(before.get(_identity(field)), field) for field in nested_fields(new)]


def _identity(field: pa.Field) -> int | str:
    field_id = field_id_of(field)
    return field.name if field_id is None else field_id


def check_convertible(table: TargetTable, path: str, old: pa.DataType, new: pa.DataType) -> None:
    """Make sure that values of a type stay what they are in another.

    Raises:
        IncompatibleSchemaError: Naming the table and the ``path`` of the column.
    """
    if is_nested(old) and is_nested(new) and old.id == new.id:
        for before, now in field_pairs(old, new):
            if before is not None:
                check_convertible(table, f"{path}.{now.name}", before.type, now.type)
    elif old != new and (old, new) not in _WIDENINGS and not _more_digits(old, new):
        raise IncompatibleSchemaError(
            f"Column {path!r} of table {table.name!r} is {old} in the target and cannot become {new}.",
            hint="Deliver the whole content anew.",
        )


def _more_digits(old: pa.DataType, new: pa.DataType) -> bool:
    both = pa.types.is_decimal(old) and pa.types.is_decimal(new)
    return bool(both and old.scale == new.scale and new.precision > old.precision)


def _refuse_required(table: TargetTable, columns: Sequence[TargetColumn]) -> None:
    if columns:
        names = ", ".join(repr(column.name) for column in columns)
        raise IncompatibleSchemaError(
            f"Rows already in table {table.name!r} have no value for the required column(s) {names}.",
            hint="Deliver the whole content anew.",
        )


def evolved_rows(batch: pa.RecordBatch, stored: Sequence[TargetColumn], wanted: TargetTable) -> pa.RecordBatch:
    """Return rows as they are stored under the columns they are to have; those that are new are NULL.

    Args:
        batch: The rows.
        stored: Its columns, one for one.
        wanted: The table whose columns are to be returned; they are matched by field id.

    Raises:
        IncompatibleSchemaError: If values would not stay what they are.
    """
    places = {column.field_id: place for place, column in enumerate(stored)}

    def values(column: TargetColumn) -> pa.Array:
        place = places.get(column.field_id)
        if place is None:
            return pa.nulls(batch.num_rows, column.type)
        return evolved(batch.column(place), stored[place].type, column.type, column.name)

    return pa.RecordBatch.from_arrays([values(column) for column in wanted.columns], schema=wanted.arrow_schema())
