"""Reading rows under another schema than they were written with (specification, "Column Projection").

Columns, and fields of structs, also of those in lists and maps, are found by field id. What a file lacks reads as the
field's initial default or NULL; what is narrower is widened.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.schema import Schema
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, StructType

from cordillera.errors import CorruptDataError
from cordillera.spec.arrow_types import field_id_of, to_arrow_type


def file_columns(file_schema: pa.Schema, wanted: Schema) -> dict[int, str]:
    """Return the file's top-level column names by the field ids wanted; a file without field ids is matched by name."""
    by_id = {field_id_of(field): field.name for field in file_schema}
    if set(by_id) == {None}:
        return {f.field_id: f.name for f in wanted.fields if f.name in file_schema.names}
    return {f.field_id: by_id[f.field_id] for f in wanted.fields if f.field_id in by_id}


def project(batch: pa.RecordBatch, columns: dict[int, str], wanted: Schema) -> list[Any]:
    """Return the columns of a file's batch under the wanted schema, in its order and types; dictionaries stay such.

    Raises:
        CorruptDataError: If a column's stored type cannot be read as the wanted one.
    """
    return [project_column(batch, columns, field) for field in wanted.fields]


def project_column(batch: pa.RecordBatch, columns: dict[int, str], wanted: NestedField) -> pa.Array:
    """Return one column, as ``project`` does."""
    name = columns.get(wanted.field_id)
    return _absent(wanted, batch.num_rows) if name is None else _column(batch.column(name), wanted)


def with_default(values: pa.ChunkedArray, lacking: pa.ChunkedArray, default: Any) -> pa.ChunkedArray:
    """Return a column with its default in the rows that lack a value.

    Args:
        values: The column.
        lacking: Which rows do.
        default: As the schema has it.
    """
    constant = pa.scalar(default).cast(values.type)
    if isinstance(values.type, pa.BaseExtensionType):  # a uuid, between which Arrow does not choose
        return pc.if_else(lacking, constant.value, values.cast(values.type.storage_type)).cast(values.type)
    return pc.if_else(lacking, constant, values)


def _column(values: pa.Array, field: NestedField) -> pa.Array:
    try:
        return _as_type(values, field.field_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise CorruptDataError(
            f"Column {field.name!r} is stored as {values.type} and cannot be read as {field.field_type}: {error}"
        ) from error


def _absent(field: NestedField, rows: int) -> pa.Array:
    arrow_type = to_arrow_type(field.field_type)
    if field.initial_default is None:
        return pa.nulls(rows, arrow_type)
    return pa.repeat(pa.scalar(field.initial_default).cast(arrow_type), rows)


def _as_type(values: pa.Array, wanted: IcebergType) -> pa.Array:
    if isinstance(wanted, StructType):
        return _struct(values, wanted)
    if isinstance(wanted, ListType | MapType) and _has_struct(wanted):
        return _container(values, wanted)
    arrow_type, stored = to_arrow_type(wanted), values.type
    given = stored.value_type if pa.types.is_dictionary(stored) else stored
    return values if given == arrow_type else values.cast(arrow_type)


def _has_struct(kind: IcebergType) -> bool:
    match kind:
        case StructType():
            return True
        case ListType(element_type=element):
            return _has_struct(element)
        case MapType(key_type=key, value_type=value):
            return _has_struct(key) or _has_struct(value)
        case _:
            return False


def _container(values: pa.ListArray | pa.MapArray, wanted: ListType | MapType) -> pa.Array:
    """Return lists or maps with the structs inside as they are wanted."""
    whole = pa.concat_arrays([values]) if values.offset else values  # Arrow takes no mask with offsets of a slice
    mask = whole.is_null() if whole.null_count else None
    arrow_type = to_arrow_type(wanted)
    if isinstance(wanted, ListType):
        return pa.ListArray.from_arrays(
            whole.offsets, _as_type(whole.values, wanted.element_type), type=arrow_type, mask=mask
        )
    keys, items = _as_type(whole.keys, wanted.key_type), _as_type(whole.items, wanted.value_type)
    return pa.MapArray.from_arrays(whole.offsets, keys, items, type=arrow_type, mask=mask)


def _struct(values: pa.StructArray, wanted: StructType) -> pa.Array:
    stored = {field_id_of(field): index for index, field in enumerate(values.type)}
    children = [
        _as_type(pc.struct_field(values, [stored[field.field_id]]), field.field_type)
        if field.field_id in stored
        else _absent(field, len(values))
        for field in wanted.fields
    ]
    mask = values.is_null() if values.null_count else None
    return pa.StructArray.from_arrays(children, fields=list(to_arrow_type(wanted)), mask=mask)
