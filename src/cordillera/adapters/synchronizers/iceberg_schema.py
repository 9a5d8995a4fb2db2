"""How a subscription's table looks in Iceberg: its schema, what the table remembers of deliveries, and its evolution.

A catalog gives out field ids of its own, so the columns that were delivered are remembered with the dataset's ids; a
column is found in the table by the name it was given there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, StructType

from cordillera.adapters.synchronizers.columns import (
    check_convertible,
    columns_from_json,
    columns_to_json,
    field_pairs,
    is_nested,
    key_field_ids,
)
from cordillera.adapters.synchronizers.deliveries import StoredState
from cordillera.errors import IncompatibleSchemaError, InvalidNameError, TargetDriftError, TypeMismatchError
from cordillera.ports.synchronizer import Cursor, Delivery, TargetColumn, TargetTable
from cordillera.spec.arrow_types import FieldIds, from_arrow_schema, from_arrow_type
from cordillera.spec.names import MAX_NAME_LENGTH

STATE = "replication.state"
"""The table property that says whose table it is and how far it has followed."""
_ROW_ID, _STORED_ROW_ID = "_row_id", "source_row_id"
_ANEW = "Drop the table there; the next delivery brings everything anew."
_NANOSECONDS = 3
"""The first format version that has them."""
_LETTER = re.compile(r"[a-z]")


def table_name(name: str) -> str:
    """Return what a table is called in a catalog; what not every catalog takes is written in hexadecimal.

    Raises:
        InvalidNameError: If that is longer than catalogs take.
    """
    spelled = "".join(c if c.isascii() and (c.islower() or c.isdigit() or c == "_") else _coded(c) for c in name)
    spelled = spelled if _LETTER.match(spelled) else f"t{spelled}"
    if len(spelled) > MAX_NAME_LENGTH:
        raise InvalidNameError(f"The table name {name[:40]!r} is too long for a catalog.", hint="Choose a shorter one.")
    return spelled


def _coded(character: str) -> str:
    return "".join(f"x{byte:02x}" for byte in character.encode())


def as_stored(table: TargetTable) -> TargetTable:
    """Return a table with the names that its columns have in Iceberg, where ``_row_id`` is a table's own.

    Key columns are required: no row is delivered without.
    """
    columns = [
        replace(c, name=stored_name(c.name), nullable=c.nullable and c.name not in table.key) for c in table.columns
    ]
    return replace(table, columns=tuple(columns), key=tuple(map(stored_name, table.key)))


def stored_name(name: str) -> str:
    """Return what a column is called in Iceberg."""
    return _STORED_ROW_ID if name == _ROW_ID else name


# --- what the table remembers ---------------------------------------------------------------------------------------


def state_to_text(delivery: Delivery, table: TargetTable) -> str:
    """Return the property that says what a delivery has brought a table to."""
    state = {
        "subscription": str(delivery.subscription_id),
        "sequence_number": delivery.to_cursor.sequence_number,
        "schema_id": delivery.to_cursor.schema_id,
        "columns": columns_to_json(table.columns),
        "key": key_field_ids(table),
    }
    return orjson.dumps(state).decode()


def state_of(properties: Mapping[str, str], subscription_id: UUID, name: str) -> StoredState | None:
    """Return what a table remembers of a subscription; None if it is not the one that keeps it."""
    if STATE not in properties:
        return None
    try:
        state = orjson.loads(properties[STATE])
        if state["subscription"] != str(subscription_id):
            return None
        cursor = Cursor(state["sequence_number"], state["schema_id"])
        return StoredState(name, cursor, columns_from_json(state["columns"]), tuple(state["key"]))
    except (ValueError, KeyError, TypeError) as error:
        raise TargetDriftError(
            f"The property {STATE!r} of the table {name} is not what Cordillera wrote.",
            hint=_ANEW,
        ) from error


# --- schemas --------------------------------------------------------------------------------------------------------


def check_storable(table: TargetTable, format_version: int) -> None:
    """Refuse columns that tables of a format version cannot have.

    Raises:
        TypeMismatchError: Naming the column.
    """
    for column in table.columns:
        if format_version < _NANOSECONDS and "[ns" in str(column.type):
            raise TypeMismatchError(
                f"Column {column.name!r} has nanoseconds, which Iceberg's format version {format_version} has not.",
                hint="Leave the column out of the subscription, or use a target with format_version=3.",
            )


def new_schema(table: TargetTable) -> Schema:
    """Return the Iceberg schema of a table that is not there yet."""
    fields = [pa.field(c.name, c.type, c.nullable, {"doc": c.doc} if c.doc else None) for c in table.columns]
    return from_arrow_schema(pa.schema(fields), table.key)


def evolved_schema(schema: Schema, last_column_id: int, new_id: int, stored: StoredState, table: TargetTable) -> Schema:
    """Return the schema that follows a table's, for what a delivery brings.

    A column whose values cannot be kept becomes another one of the same name, and one that comes later is never
    required: Iceberg allows for no other. Columns that somebody else has added stay.

    Args:
        schema: The table's schema.
        last_column_id: The highest field id it has ever used.
        new_id: The id of the new schema.
        stored: The columns as they were delivered before.
        table: The table as it is to be.

    Raises:
        TargetDriftError: If somebody has removed a column.
    """
    ids, known = FieldIds(last_column_id), {column.field_id: column for column in stored.columns}
    present = {field.name: field for field in schema.fields}
    ours = {column.name for column in stored.columns}
    if missing := ours - present.keys():
        raise TargetDriftError(f"The table {table.name} has lost the column {sorted(missing)[0]!r}.", hint=_ANEW)
    foreign = [field for field in schema.fields if field.name not in ours]
    if taken := {field.name for field in foreign} & {column.name for column in table.columns}:
        raise TargetDriftError(
            f"Somebody else has given the table {table.name} a column {sorted(taken)[0]!r}.", hint="Rename it there."
        )
    fields = [_column(table, column, known.get(column.field_id), present, ids) for column in table.columns]
    return Schema(*fields, *foreign, schema_id=new_id, identifier_field_ids=schema.identifier_field_ids)


def _column(
    table: TargetTable,
    column: TargetColumn,
    before: TargetColumn | None,
    present: Mapping[str, NestedField],
    ids: FieldIds,
) -> NestedField:
    if before is None or not _convertible(table, before, column):
        return NestedField(ids.next(), column.name, from_arrow_type(column.type, ids, column.name), False, column.doc)
    old = present[before.name]
    required = old.required and not column.nullable
    kind = _evolved(old.field_type, before.type, column.type, ids)
    return NestedField(old.field_id, column.name, kind, required, column.doc)


def _convertible(table: TargetTable, old: TargetColumn, new: TargetColumn) -> bool:
    try:
        check_convertible(table, new.name, old.type, new.type)
    except IncompatibleSchemaError:
        return False
    return True


def _evolved(stored: IcebergType, old: pa.DataType, new: pa.DataType, ids: FieldIds) -> IcebergType:
    """Return the type that a stored one becomes; fields inside keep their ids, whatever they are called by now."""
    if not is_nested(new):
        return from_arrow_type(new, ids, "")
    inner: Sequence[Any] = field_pairs(old, new)
    if isinstance(stored, ListType):
        [(before, now)] = inner
        element = _evolved(stored.element_type, before.type, now.type, ids)
        return ListType(stored.element_id, element, element_required=stored.element_required)
    if isinstance(stored, MapType):
        kinds = [
            _evolved(kind, before.type, now.type, ids)
            for kind, (before, now) in zip((stored.key_type, stored.value_type), inner, strict=True)
        ]
        return MapType(
            key_id=stored.key_id, key_type=kinds[0], value_id=stored.value_id, value_type=kinds[1],
            value_required=stored.value_required,
        )  # fmt: skip
    if not isinstance(stored, StructType):
        raise TargetDriftError(f"A column is {stored} in the table, where a struct was delivered.")
    present = {field.name: field for field in stored.fields}
    return StructType(*(_inner_field(before, now, present, ids) for before, now in inner))


def _inner_field(
    before: pa.Field | None, now: pa.Field, present: Mapping[str, NestedField], ids: FieldIds
) -> NestedField:
    if before is None:
        return NestedField(ids.next(), now.name, from_arrow_type(now.type, ids, now.name), False)
    if before.name not in present:
        raise TargetDriftError(f"A struct in the table has lost the field {before.name!r}.")
    old = present[before.name]
    kind = _evolved(old.field_type, before.type, now.type, ids)
    return NestedField(old.field_id, now.name, kind, old.required and not now.nullable, old.doc)
