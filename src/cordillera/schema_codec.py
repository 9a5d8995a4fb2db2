"""Columns on the wire: schemas, schema changes and rows as JSON.

Column types are Iceberg's, written as Iceberg writes them in JSON (``"long"``, ``"decimal(10, 2)"``,
``{"type": "list", …}``): Arrow's types have no text form that can be read back. Values that JSON has no form for are
strings: dates, times and decimals as people write them, UUIDs in their usual form, binary in base64; a map is a list
of pairs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import time
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pyarrow as pa
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from pyiceberg.exceptions import ValidationError as IcebergValidationError
from pyiceberg.types import IcebergType

from cordillera.errors import InvalidInputError, InvalidSchemaError, TypeMismatchError, UnknownColumnError
from cordillera.spec.arrow_types import FieldIds, from_arrow_type, to_arrow_type
from cordillera.spec.names import COLUMN_SET
from cordillera.spec.narrowed import narrowed_by
from cordillera.spec.schema_evolution import SchemaChange

TypeJson = str | dict[str, Any]
"""An Iceberg type: its name, or an object for a struct, list or map."""

_TYPES = (
    "boolean, int, long, float, double, decimal(10, 2), date, time, timestamp, timestamptz, string, uuid, binary, "
    "fixed[16], or an Iceberg struct, list or map object"
)


# --- schemas --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """A column of a dataset.

    Attributes:
        name: Its name.
        type: Its Iceberg type, for example ``long``, ``decimal(10, 2)`` or ``{"type": "list", …}``.
        required: Whether it is never NULL.
        doc: What it means.
    """

    name: str
    type: TypeJson
    required: bool = False
    doc: str | None = None


def schema_to_columns(schema: pa.Schema) -> list[ColumnSpec]:
    """Return the columns of an Arrow schema.

    Raises:
        InvalidSchemaError: If Iceberg has no type for one.
    """
    return [
        ColumnSpec(
            name=field.name,
            type=type_to_json(field.type, field.name),
            required=not field.nullable,
            doc=((field.metadata or {}).get(b"doc") or b"").decode() or None,
        )
        for field in schema
    ]


def columns_to_schema(columns: Sequence[ColumnSpec]) -> pa.Schema:
    """Return the Arrow schema with these columns.

    Raises:
        InvalidSchemaError: If a type does not exist.
    """
    return pa.schema(
        [
            pa.field(
                column.name,
                type_from_json(column.type, column.name),
                nullable=not column.required,
                metadata={b"doc": column.doc.encode()} if column.doc else None,
            )
            for column in columns
        ]
    )


def type_to_json(arrow_type: pa.DataType, path: str) -> TypeJson:
    """Return the Iceberg type that stores an Arrow type; ``path`` is for the error message."""
    iceberg: TypeJson = from_arrow_type(arrow_type, FieldIds(), path).model_dump(mode="json", by_alias=True)
    return iceberg


def type_from_json(raw: TypeJson, path: str) -> pa.DataType:
    """Return the Arrow type that carries an Iceberg type.

    Raises:
        InvalidSchemaError: Naming ``path`` if there is no such type.
    """
    try:
        return to_arrow_type(IcebergType.model_validate(raw))
    except (ValidationError, IcebergValidationError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise InvalidSchemaError(
            f"Column {path[:60]!r} has the type {str(raw)[:80]!r}, which does not exist.", hint=f"Types: {_TYPES}."
        ) from error


def change_to_plain(change: SchemaChange) -> dict[str, Any]:
    """Return a schema change as JSON has it: its kind under ``change`` (``add_column`` …), and its fields."""
    plain: dict[str, Any] = {"change": re.sub(r"(?<!^)(?=[A-Z])", "_", type(change).__name__).lower()}
    for field in fields(change):
        value = getattr(change, field.name)
        plain[field.name] = type_to_json(value, change.path) if field.name == "type" else _plain_value(value)
    return plain


# --- values ---------------------------------------------------------------------------------------------------------


def values_from_json(values: Sequence[Any], arrow_type: pa.DataType, name: str) -> pa.Array:
    """Return decoded JSON values as a column of a type.

    Raises:
        TypeMismatchError: Naming the column, if a value does not fit.
    """
    try:
        return _typed(values, arrow_type)
    except (pa.ArrowException, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise TypeMismatchError(
            f"A value of column {name!r} is no {arrow_type}: {error}.",
            hint="In JSON, dates, times, decimals and UUIDs are strings, and binary is base64.",
        ) from error


def _typed(values: Sequence[Any], arrow_type: pa.DataType) -> pa.Array:
    if isinstance(arrow_type, pa.UuidType):
        return pa.array([v if v is None else UUID(v).bytes for v in values], pa.binary(16)).cast(arrow_type)
    if pa.types.is_binary(arrow_type) or pa.types.is_fixed_size_binary(arrow_type):
        return pa.array([v if v is None else base64.b64decode(v, validate=True) for v in values], arrow_type)
    if pa.types.is_time(arrow_type):
        return pa.array([v if v is None else time.fromisoformat(v) for v in values], arrow_type)
    if pa.types.is_temporal(arrow_type):
        return pa.array(values, pa.string()).cast(arrow_type)
    if pa.types.is_decimal(arrow_type):
        return pa.array([v if v is None else str(v) for v in values], pa.string()).cast(arrow_type)
    if pa.types.is_map(arrow_type):
        values = [v if v is None else [tuple(pair) for pair in v] for v in values]
    _refuse_fractions(values, arrow_type)
    return pa.array(values, arrow_type)


def _refuse_fractions(values: Sequence[Any], arrow_type: pa.DataType) -> None:
    """Raise ``ValueError`` for a fraction in the place of an integer: Arrow would cut it off without a word."""
    if pa.types.is_integer(arrow_type):
        fraction = next((v for v in values if isinstance(v, float) and not v.is_integer()), None)
        if fraction is not None:
            raise ValueError(f"{fraction} is not a whole number")
    elif pa.types.is_struct(arrow_type):
        for field in arrow_type:
            _refuse_fractions([v.get(field.name) for v in values if v is not None], field.type)
    elif pa.types.is_map(arrow_type):
        _refuse_fractions([key for v in values if v is not None for key, _ in v], arrow_type.key_type)
        _refuse_fractions([item for v in values if v is not None for _, item in v], arrow_type.item_type)
    elif pa.types.is_list(arrow_type):
        _refuse_fractions([item for v in values if v is not None for item in v], arrow_type.value_type)


def rows_from_json(data: bytes, schema: pa.Schema, *, others: bool = False) -> pa.Table:
    """Return the rows of a JSON list of objects; a name that a row leaves out is NULL.

    Args:
        data: The document.
        schema: The dataset's columns; ``_columns`` is known too.
        others: Whether there may be others, whose types are then inferred.

    Raises:
        InvalidInputError: If it is not a list of objects.
        UnknownColumnError: If an object has a name that is no column.
        TypeMismatchError: If a value does not fit its column.
    """
    try:
        rows = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"The rows are not valid JSON: {error}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidInputError('Rows in JSON are a list of objects, for example [{"id": 1}].')
    given = dict.fromkeys(name for row in rows for name in row)
    schema = schema.append(pa.field(COLUMN_SET, pa.list_(pa.string()))) if COLUMN_SET in given else schema
    unknown = [name for name in given if name not in schema.names]
    if unknown and not others:
        raise UnknownColumnError(
            f"The rows have names that are no columns: {', '.join(map(repr, unknown[:10]))}.",
            hint=f"Columns: {', '.join(schema.names)}.",
        )
    names = list(given) or schema.names
    columns = [_column_from_json([row.get(name) for row in rows], schema, name) for name in names]
    return pa.table(columns, names=names)


def _column_from_json(values: Sequence[Any], schema: pa.Schema, name: str) -> pa.Array:
    if name in schema.names:
        return values_from_json(values, schema.field(name).type, name)
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        raise TypeMismatchError(
            f"The values of {name!r} are not of one type: {error}.", hint="Send values of one type, or Arrow."
        ) from error


def rows_to_json(table: pa.Table, *, truncated: bool) -> bytes:
    """Return rows as a JSON document: ``{"rows": [{…}, …], "truncated": …}``, with ``"narrowed"`` if they are not all
    there is (``cordillera.spec.narrowed``).

    Raises:
        InvalidInputError: If two columns have one name, so that an object could hold only one of them.
    """
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise InvalidInputError(
            f"The result has several columns called {', '.join(repeated)}.", hint="Give them aliases."
        )
    narrowed = [asdict(one) for one in narrowed_by(table.schema)]
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":  # Python's datetime would lose digits
            table = table.set_column(index, field.name, table.column(index).cast(pa.string()))
    document = {"rows": table.to_pylist(), "truncated": truncated, **({"narrowed": narrowed} if narrowed else {})}
    return orjson.dumps(document, default=_plain_value)


def _plain_value(value: object) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return str(value)
    return to_jsonable_python(value, fallback=str)
