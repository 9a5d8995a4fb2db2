"""ODCS types and Arrow types: which type a contract's column is stored as, and whether a stored type keeps the promise.

``physicalType`` decides where it is a type name that is known here, then ``logicalType`` with its options. A contract
that only says ``integer`` gets 64 bits and ``number`` gets a double, which hold every value of the narrower choices.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa
from pyiceberg.types import IcebergType

from cordillera.errors import InvalidContractError, InvalidSchemaError
from cordillera.spec.arrow_types import FieldIds, from_arrow_type
from cordillera.spec.contract.model import Column, Contract, key_of
from cordillera.spec.contract.words import words

LOGICAL_TYPES = frozenset(
    {"string", "date", "timestamp", "time", "number", "integer", "object", "array", "boolean"},
)
INTEGER_FORMATS = ("i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u64", "u128")
NUMBER_FORMATS = ("f32", "f64")
INTEGER_RANGES = {
    "i8": (-(2**7), 2**7 - 1),
    "i16": (-(2**15), 2**15 - 1),
    "u8": (0, 2**8 - 1),
    "u16": (0, 2**16 - 1),
    "u32": (0, 2**32 - 1),
    "u64": (0, 2**64 - 1),
}
"""Integer formats narrower than the type they are stored as; the range is checked row by row."""

TIMESTAMP, TIMESTAMPTZ = pa.timestamp("us"), pa.timestamp("us", "UTC")

_FORMATS = {
    **dict.fromkeys(("i8", "i16", "i32", "u8", "u16"), pa.int32()),
    **dict.fromkeys(("i64", "u32"), pa.int64()),
    "u64": pa.decimal128(20, 0),
    "f32": pa.float32(),
    "f64": pa.float64(),
}
_TEXT = words(
    "string varchar char character text nvarchar nchar varchar2 nvarchar2 bpchar clob longtext mediumtext tinytext"
    " ntext"
)
_PHYSICAL: dict[str, pa.DataType] = {
    **dict.fromkeys((*_TEXT, "character varying"), pa.string()),
    **dict.fromkeys(("int", "integer", "int4", "int32", "smallint", "int2", "int16", "tinyint"), pa.int32()),
    **dict.fromkeys(("bigint", "long", "int8", "int64"), pa.int64()),
    **dict.fromkeys(("real", "float4", "float32"), pa.float32()),
    # "float" has 32 bits in some engines and 64 in others; 64 lose nothing.
    **dict.fromkeys(("float", "double", "double precision", "float8", "float64"), pa.float64()),
    **dict.fromkeys(("boolean", "bool"), pa.bool_()),
    "date": pa.date32(),
    **dict.fromkeys(("time", "time without time zone"), pa.time64("us")),
    **dict.fromkeys(
        ("timestamp", "datetime", "timestamp without time zone", "timestamp_ntz", "timestampntz"), TIMESTAMP
    ),
    **dict.fromkeys(
        ("timestamptz", "timestamp with time zone", "timestamp_tz", "timestamp_ltz"),
        TIMESTAMPTZ,
    ),
    **dict.fromkeys(("binary", "varbinary", "bytes", "bytea", "blob"), pa.binary()),
    "uuid": pa.uuid(),
}
_MAX_FIXED = 2**20
_DECIMALS = frozenset({"decimal", "numeric", "number", "dec"})
_PHYSICAL_FORM = re.compile(
    r"(?P<name>[a-z][a-z0-9_ ]*?) *"
    r"(\( *(?P<p>[0-9]{1,9}) *(, *(?P<s>[0-9]{1,9}) *)?\))?"
    r"(?P<rest> with(out)? time zone)?"
)
_KINDS: list[tuple[str, Callable[[pa.DataType], bool]]] = [
    ("boolean", pa.types.is_boolean),
    ("integer", pa.types.is_integer),
    ("number", lambda t: pa.types.is_floating(t) or pa.types.is_decimal(t)),
    ("date", pa.types.is_date),
    ("time", pa.types.is_time),
    ("timestamp", pa.types.is_timestamp),
    ("string", lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t)),
    ("uuid", lambda t: isinstance(t, pa.UuidType)),
    ("object", lambda t: pa.types.is_struct(t) or pa.types.is_map(t)),
    ("array", lambda t: pa.types.is_nested(t) and hasattr(t, "value_field")),
]


def kind_of_type(arrow_type: pa.DataType) -> str:
    """Return the kind of value an Arrow type holds: a logical type's name, ``uuid`` or ``binary``."""
    if pa.types.is_dictionary(arrow_type):
        return kind_of_type(arrow_type.value_type)
    return next((kind for kind, matches in _KINDS if matches(arrow_type)), "binary")


def declared_type(column: Column) -> pa.DataType | None:
    """Return the one Arrow type a contract's column declares, or None where it leaves a choice (or is nested)."""
    physical = _physical_type(column.physical_type or "")
    by_format = _FORMATS.get(column.options.format or "") if column.logical_type in ("integer", "number") else None
    if by_format is not None and (physical is None or _same_numbers(by_format, physical)):
        return by_format
    if column.logical_type == "timestamp" and physical in (None, TIMESTAMP):
        return TIMESTAMPTZ if column.options.timezone else TIMESTAMP
    if physical is not None:
        return physical
    simple = {"string": pa.string(), "boolean": pa.bool_(), "date": pa.date32(), "time": pa.time64("us")}
    return simple.get(column.logical_type or "")


def _same_numbers(one: pa.DataType, other: pa.DataType) -> bool:
    return any(same(one) and same(other) for same in (pa.types.is_integer, pa.types.is_floating))


def _physical_type(text: str) -> pa.DataType | None:
    form = _PHYSICAL_FORM.fullmatch(" ".join(text.lower().split()))
    if form is None:
        return None
    name = form["name"] + (form["rest"] or "")
    if name in _DECIMALS and form["p"] is not None:
        precision, scale = int(form["p"]), int(form["s"] or 0)
        return pa.decimal128(precision, scale) if 1 <= precision <= 38 and scale <= precision else None
    if name == "fixed" and form["p"] is not None:
        return pa.binary(int(form["p"])) if 1 <= int(form["p"]) <= _MAX_FIXED else None
    return _PHYSICAL.get(name)


def kind_of(column: Column) -> str | None:
    """Return the kind of value the column is stored as, or None where the contract gives it no type."""
    declared = declared_type(column)
    return column.logical_type if declared is None else kind_of_type(declared)


def storage_type(column: Column) -> pa.DataType:
    """Return the Arrow type a dataset created from the contract gives this column.

    Raises:
        InvalidContractError: If the contract does not say enough to choose one.
    """
    declared = declared_type(column)
    if declared is not None:
        return declared
    name = " ".join((column.physical_type or "").lower().split()).partition("(")[0].strip()
    if name in _DECIMALS:
        raise _no_type(column, f"is {column.physical_type!r}", "Give precision and scale, for example decimal(18,2).")
    if column.options.format in ("i128", "u128"):
        raise _no_type(column, f"has the format {column.options.format}", "Use physicalType: decimal(38,0).")
    match column.logical_type:
        case "integer":
            return pa.int64()
        case "number":
            return pa.float64()
        case "object" if column.fields:
            return pa.struct([_field(field, field.required) for field in column.fields])
        case "array" if column.items:
            return pa.list_(pa.field("element", storage_type(column.items), nullable=not column.items.required))
        case "object":
            raise _no_type(column, "is an object without properties", "List its properties.")
        case "array":
            raise _no_type(column, "is an array without items", "Describe its items.")
        case _:
            raise _no_type(column, "has neither a logicalType nor a known physicalType", "Add a logicalType.")


def _no_type(column: Column, what: str, hint: str) -> InvalidContractError:
    return InvalidContractError(f"The column {column.name!r} of the contract {what}, so it has no type.", hint=hint)


def _field(column: Column, required: bool) -> pa.Field:
    metadata = {b"doc": column.description.encode()} if column.description else None
    return pa.field(column.name, storage_type(column), nullable=not required, metadata=metadata)


def to_arrow_schema(contract: Contract) -> pa.Schema:
    """Return the Arrow schema of a dataset created from the contract; key columns are required, descriptions are kept.

    Raises:
        InvalidContractError: If the contract has no columns, or a column without a type that can be stored.
    """
    if not contract.columns:
        raise InvalidContractError(
            f"The contract {contract.id!r} lists no columns for {contract.object_name!r}.",
            hint="Add properties to the schema object.",
        )
    key = key_of(contract)
    return pa.schema([_field(column, column.required or column.name in key) for column in contract.columns])


def keeps_promise(column: Column, actual: pa.DataType) -> bool:
    """Tell whether a stored type is what the contract declares for the column, nested fields not looked into."""
    declared = declared_type(column)
    if declared is not None:
        return _iceberg(declared) == _iceberg(actual)
    kind = kind_of_type(actual)
    match column.logical_type:
        case None:
            return True
        case "number":
            return kind in ("number", "integer")
        case "integer":
            return kind == "integer" or (pa.types.is_decimal(actual) and actual.scale == 0)
        case logical:
            return kind == logical


def _iceberg(arrow_type: pa.DataType) -> IcebergType | None:
    try:
        return from_arrow_type(arrow_type, FieldIds(), "")
    except InvalidSchemaError:
        return None


def parse_value(value: str, column: Column) -> Any:
    """Read an ISO 8601 date, timestamp, time or a UUID for a column of such a type.

    A timestamp without an offset is in the column's ``defaultTimezone`` (UTC without one) if the column has a time
    zone.

    Raises:
        ValueError: If the text is not a value of the column's type.
    """
    match kind_of(column):
        case "date":
            return date.fromisoformat(value)
        case "time":
            return _without_offset(time.fromisoformat(value))
        case "uuid":
            return UUID(value)
        case _:
            return _timestamp(value, column)


def _without_offset(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError("times of day have no offset here")
    return value


def _timestamp(value: str, column: Column) -> datetime:
    read = datetime.fromisoformat(value)
    if declared_type(column) == TIMESTAMP:
        if read.tzinfo is not None:
            raise ValueError("the column has no time zone, so the value may not have an offset")
        return read
    return read if read.tzinfo else read.replace(tzinfo=ZoneInfo(column.options.default_timezone or "UTC"))
