"""Values of a column under the type that its schema has since, down to the fields inside nested values."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from cordillera.errors import IncompatibleSchemaError
from cordillera.spec.arrow_types import field_id_of

_WIDENINGS = {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}


def evolved(values: pa.Array, old: pa.DataType, new: pa.DataType, name: str) -> pa.Array:
    """Return values of one type as values of another.

    Fields of structs are matched by field id, by name where a producer gave none; new ones are NULL.

    Args:
        values: An array.
        old: Its type, with the field ids of nested fields.
        new: The type to return.
        name: The column, for errors.

    Raises:
        IncompatibleSchemaError: If values would not stay what they are.
    """
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        before = {_identity(f): (f.type, child) for f, child in zip(old, values.flatten(), strict=True)}
        children = [_child(before.get(_identity(f)), len(values), f) for f in new]
        return pa.StructArray.from_arrays(children, fields=list(new), mask=values.is_null())
    if pa.types.is_map(old) and pa.types.is_map(new):
        entries = values.cast(pa.list_(pa.struct([old.key_field, old.item_field])))
        keys, items = entries.flatten().flatten()
        keys = evolved(keys, old.key_type, new.key_type, name)
        items = evolved(items, old.item_type, new.item_type, name)
        return pa.MapArray.from_arrays(_offsets(entries), keys, items, type=new, mask=values.is_null())
    if pa.types.is_list(old) and pa.types.is_list(new):
        elements = evolved(values.flatten(), old.value_type, new.value_type, name)
        return pa.ListArray.from_arrays(_offsets(values), elements, type=new, mask=values.is_null())
    digits = pa.types.is_decimal(old) and pa.types.is_decimal(new) and old.scale == new.scale
    if old == new or (old, new) in _WIDENINGS or (digits and new.precision > old.precision):
        return values.cast(new)
    raise IncompatibleSchemaError(f"Column {name!r} is {old} in the target and cannot become {new}.")


def _identity(field: pa.Field) -> int | str:
    field_id = field_id_of(field)
    return field.name if field_id is None else field_id


def _child(before: tuple[pa.DataType, pa.Array] | None, length: int, field: pa.Field) -> pa.Array:
    return pa.nulls(length, field.type) if before is None else evolved(before[1], before[0], field.type, field.name)


def _offsets(lists: pa.Array) -> pa.Array:
    """Return offsets into the flattened values of a list array, where a NULL list takes no values."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
