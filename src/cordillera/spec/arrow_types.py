"""Iceberg types and Arrow types, in both directions (Iceberg specification, "Appendix A: Parquet").

Arrow is the form in which rows travel everywhere in Cordillera; Iceberg types are how they are described. Columns keep
their Iceberg field id in the Arrow field's metadata under ``PARQUET:field_id``, which Parquet writers store as the
field id, so that a reader finds a column however it was renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    PrimitiveType,
    StringType,
    StructType,
    TimestampNanoType,
    TimestampType,
    TimestamptzNanoType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from cordillera.errors import InvalidSchemaError, TypeMismatchError
from cordillera.spec.names import check_column_name

FIELD_ID_KEY = b"PARQUET:field_id"
MAX_NESTING = 30
"""How deep types can be nested: Arrow and Parquet libraries read about a hundred levels, of which maps use three."""

_TO_ARROW: dict[type[IcebergType], pa.DataType] = {
    BooleanType: pa.bool_(),
    IntegerType: pa.int32(),
    LongType: pa.int64(),
    FloatType: pa.float32(),
    DoubleType: pa.float64(),
    DateType: pa.date32(),
    TimeType: pa.time64("us"),
    TimestampType: pa.timestamp("us"),
    TimestamptzType: pa.timestamp("us", "UTC"),
    TimestampNanoType: pa.timestamp("ns"),
    TimestamptzNanoType: pa.timestamp("ns", "UTC"),
    StringType: pa.string(),
    UUIDType: pa.uuid(),
    BinaryType: pa.binary(),
}

_FROM_ARROW: list[tuple[Callable[[pa.DataType], bool], IcebergType]] = [
    (pa.types.is_boolean, BooleanType()),
    (lambda t: pa.types.is_integer(t) and t not in (pa.uint32(), pa.uint64(), pa.int64()), IntegerType()),
    (pa.types.is_integer, LongType()),
    (lambda t: t in (pa.float16(), pa.float32()), FloatType()),
    (pa.types.is_float64, DoubleType()),
    (pa.types.is_date, DateType()),
    (pa.types.is_time, TimeType()),
    # Nanoseconds become microseconds: few engines read timestamp_ns; a value that would lose digits is refused on
    # write.
    (lambda t: pa.types.is_timestamp(t) and t.tz is not None, TimestamptzType()),
    (pa.types.is_timestamp, TimestampType()),
    (
        lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t),
        StringType(),
    ),
    (
        lambda t: pa.types.is_binary(t) or pa.types.is_large_binary(t) or pa.types.is_binary_view(t),
        BinaryType(),
    ),
]


def to_arrow_type(iceberg_type: IcebergType) -> pa.DataType:
    """Return the Arrow type that carries values of an Iceberg type."""
    plain = _TO_ARROW.get(type(iceberg_type))
    if plain is not None:
        return plain
    if isinstance(iceberg_type, DecimalType):
        return pa.decimal128(iceberg_type.precision, iceberg_type.scale)
    if isinstance(iceberg_type, FixedType):
        return pa.binary(len(iceberg_type))
    if isinstance(iceberg_type, StructType):
        return pa.struct([to_arrow_field(field) for field in iceberg_type.fields])
    if isinstance(iceberg_type, ListType):
        return pa.list_(to_arrow_field(iceberg_type.element_field))
    if isinstance(iceberg_type, MapType):
        return pa.map_(to_arrow_field(iceberg_type.key_field), to_arrow_field(iceberg_type.value_field))
    raise InvalidSchemaError(f"Iceberg type {iceberg_type} cannot be carried in Arrow.")


def to_arrow_field(field: NestedField) -> pa.Field:
    """Return the Arrow field of an Iceberg field, with its field id."""
    return pa.field(
        field.name,
        to_arrow_type(field.field_type),
        nullable=not field.required,
        metadata={FIELD_ID_KEY: str(field.field_id).encode()},
    )


def to_arrow_schema(schema: Schema) -> pa.Schema:
    """Return the Arrow schema of an Iceberg schema; every field, nested ones too, carries its field id."""
    return pa.schema([to_arrow_field(field) for field in schema.fields])


def field_id_of(field: pa.Field) -> int | None:
    """Return the Iceberg field id of an Arrow field, or None where it has none."""
    raw = (field.metadata or {}).get(FIELD_ID_KEY)
    return int(raw) if raw is not None else None


class FieldIds:
    """Hands out consecutive field ids, beginning after ``last``."""

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def next(self) -> int:
        """Return the next unused field id."""
        self.last += 1
        return self.last


def from_arrow_type(arrow_type: pa.DataType, ids: FieldIds, path: str) -> IcebergType:
    """Return the Iceberg type for an Arrow type, assigning field ids to nested fields.

    Raises:
        InvalidSchemaError: Naming ``path`` when Iceberg has no such type, or it is nested too deep.
    """
    if path.count(".") > MAX_NESTING:
        raise InvalidSchemaError(
            f"The type of column {path.split('.')[0]!r} is nested more than {MAX_NESTING} deep, which libraries for "
            "Parquet cannot read.",
            hint="Make it flatter, or keep it as JSON in a string.",
        )
    if pa.types.is_dictionary(arrow_type):
        return from_arrow_type(arrow_type.value_type, ids, path)
    if isinstance(arrow_type, pa.UuidType):
        return UUIDType()
    if pa.types.is_fixed_size_binary(arrow_type):
        return FixedType(arrow_type.byte_width)
    if pa.types.is_decimal(arrow_type):
        return _decimal(arrow_type, path)
    if pa.types.is_struct(arrow_type):
        return StructType(*_nested_fields(arrow_type, ids, path))
    if pa.types.is_map(arrow_type):
        return _map(arrow_type, ids, path)
    if pa.types.is_nested(arrow_type) and hasattr(arrow_type, "value_field"):
        return _list(arrow_type, ids, path)
    for matches, iceberg_type in _FROM_ARROW:
        if matches(arrow_type):
            return iceberg_type
    raise InvalidSchemaError(
        f"Column {path!r} has the Arrow type {arrow_type}, which Iceberg cannot store.",
        hint="Cast it to a number, string, boolean, date, time, timestamp, decimal, binary, list, struct or map.",
    )


def _decimal(arrow_type: pa.DataType, path: str) -> IcebergType:
    if arrow_type.precision > 38 or arrow_type.scale < 0:
        raise InvalidSchemaError(
            f"Column {path!r} is {arrow_type}; Iceberg decimals have at most 38 digits and no negative scale.",
            hint="Cast it to decimal128.",
        )
    return DecimalType(arrow_type.precision, arrow_type.scale)


def _nested_fields(arrow_type: pa.DataType, ids: FieldIds, path: str) -> list[NestedField]:
    fields = [arrow_type.field(index) for index in range(arrow_type.num_fields)]
    numbered = [(field, ids.next()) for field in fields]
    return [
        NestedField(
            number,
            check_column_name(field.name),
            from_arrow_type(field.type, ids, f"{path}.{field.name}"),
            required=not field.nullable,
        )
        for field, number in numbered
    ]


def _list(arrow_type: Any, ids: FieldIds, path: str) -> IcebergType:
    element_id = ids.next()
    return ListType(
        element_id=element_id,
        element_type=from_arrow_type(arrow_type.value_type, ids, f"{path}.element"),
        element_required=not arrow_type.value_field.nullable,
    )


def _map(arrow_type: Any, ids: FieldIds, path: str) -> IcebergType:
    key_id, value_id = ids.next(), ids.next()
    return MapType(
        key_id=key_id,
        key_type=from_arrow_type(arrow_type.key_type, ids, f"{path}.key"),
        value_id=value_id,
        value_type=from_arrow_type(arrow_type.item_type, ids, f"{path}.value"),
        value_required=not arrow_type.item_field.nullable,
    )


def from_arrow_schema(arrow_schema: pa.Schema, key: tuple[str, ...] = ()) -> Schema:
    """Return a fresh Iceberg schema (id 0) for an Arrow schema, with field ids assigned from 1, top level first.

    Key columns become required, and the schema's identifier fields unless one is a float: Iceberg allows no floating
    point identifier, so such a key is known to Cordillera alone.

    Raises:
        InvalidSchemaError: If a type cannot be stored, a name repeats, or a key column is missing or of a type that
            cannot be a key.
    """
    seen: set[str] = set()
    for field in arrow_schema:
        check_column_name(field.name)
        if field.name.lower() in seen:
            raise InvalidSchemaError(
                f"The column name {field.name!r} appears twice (names that differ only in case count as the same).",
                hint="Rename one of the two.",
            )
        seen.add(field.name.lower())
    if not seen:
        raise InvalidSchemaError("A dataset needs at least one column.", hint="Add one.")
    ids = FieldIds()
    numbered = [(field, ids.next()) for field in arrow_schema]
    fields = [
        NestedField(
            number,
            field.name,
            from_arrow_type(field.type, ids, field.name),
            required=not field.nullable or field.name in key,
            doc=((field.metadata or {}).get(b"doc") or b"").decode() or None,
        )
        for field, number in numbered
    ]
    return Schema(*fields, schema_id=0, identifier_field_ids=identifier_field_ids(fields, key_field_ids(fields, key)))


def identifier_field_ids(fields: Sequence[NestedField], key_ids: Sequence[int]) -> list[int]:
    """Return the key as Iceberg identifier fields: all of it, or nothing where Iceberg forbids a part (floats)."""
    types = {field.field_id: field.field_type for field in fields}
    return [] if any(isinstance(types[i], FloatType | DoubleType) for i in key_ids) else list(key_ids)


def key_field_ids(fields: Sequence[NestedField], key: Sequence[str]) -> list[int]:
    """Return the field ids of the key columns, in key order."""
    by_name = {field.name: field for field in fields}
    chosen = []
    for name in key:
        field = by_name.get(name)
        if field is None:
            raise InvalidSchemaError(
                f"The key column {name!r} is not among the columns.", hint=f"Columns: {', '.join(by_name)}."
            )
        if isinstance(field.field_type, StructType | ListType | MapType):
            raise InvalidSchemaError(
                f"The column {name!r} is {field.field_type}; a key column has a primitive type.",
                hint="Choose columns of numbers, strings, dates or times.",
            )
        chosen.append(field.field_id)
    if len(set(chosen)) != len(chosen):
        raise InvalidSchemaError(f"The key {key} names a column twice.", hint="Name it once.")
    return chosen


def primitive(field: NestedField) -> PrimitiveType:
    """Return the type of a field that is known to be primitive: key columns, partition values."""
    assert isinstance(field.field_type, PrimitiveType), f"{field.name} is {field.field_type}"
    return field.field_type


def cast_column(column: pa.ChunkedArray | pa.Array, wanted: pa.DataType, name: str) -> Any:
    """Cast a column to its declared type without losing anything.

    Raises:
        TypeMismatchError: Naming the column and both types, when a value does not fit.
    """
    given = column.type
    if given == wanted:
        return column
    try:
        if pa.types.is_dictionary(given) and pa.types.is_string_view(given.value_type):
            # Enums and categories of Polars: Arrow decodes dictionaries of plain strings only.
            column = column.cast(pa.dictionary(given.index_type, pa.string()))
        return column.cast(wanted, safe=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise TypeMismatchError(
            f"Column {name!r} is declared {wanted}, but the rows have {given}: {str(error)[:200]}",
            hint="Cast the column before writing, or evolve the dataset's schema.",
        ) from error


def empty_table(schema: pa.Schema) -> pa.Table:
    """Return a table without rows; Arrow's own way knows no extension types inside nested ones."""
    return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast the columns of a batch, which has them in the schema's order, without losing anything.

    Raises:
        TypeMismatchError: As ``cast_column``.
    """
    columns = [cast_column(batch.column(i), field.type, field.name) for i, field in enumerate(schema)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
