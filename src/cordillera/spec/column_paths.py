"""What names of columns, and of fields inside them, mean in the schemas that a table has had. Pure rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pyiceberg.schema import Schema
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, StructType

Path = tuple[str, ...]
"""The name of a column and, behind it, those of fields of structs inside it."""


def paths(schema: Schema) -> Iterator[tuple[Path, int]]:
    """Yield the path and the field id of every column of a schema, and of every field of structs that has one."""
    return _paths(schema.fields, (), _fields_of_struct)


def ids_by_path(schemas: Sequence[Schema]) -> dict[Path, set[int]]:
    """Return which columns and fields have had a path, in lower case, in some of the schemas."""
    found: dict[Path, set[int]] = {}
    for path, field_id in (one for schema in schemas for one in paths(schema)):
        found.setdefault(lowered(path), set()).add(field_id)
    return found


def lowered(path: Path) -> Path:
    """Return a path as those that differ from it in case alone have it, too."""
    return tuple(name.lower() for name in path)


def known_part(path: Path, *known: Mapping[Path, set[int]]) -> Path:
    """Return as much of a path, from its beginning and in lower case, as some of the mappings know; it may be empty.

    What comes behind it names no field of a struct, but a key of a map, for instance.
    """
    lower = lowered(path)
    beginnings = (lower[:count] for count in range(len(lower), 0, -1))
    return next((one for one in beginnings if any(one in ids for ids in known)), ())


def renamed_inside(field_id: int, schemas: Sequence[Schema]) -> bool:
    """Tell whether, somewhere inside a column or field, a name has meant several fields or a field had several names.

    Args:
        field_id: Of the column or field.
        schemas: Every schema that the table has had.
    """
    seen: set[tuple[Path, int]] = set()
    for schema in schemas:
        every = [(lowered(path), one) for path, one in _paths(schema.fields, (), _fields_inside)]
        root = next((path for path, one in every if one == field_id), None)
        if root is not None:
            depth = len(root)
            seen.update((path[depth:], one) for path, one in every if path[:depth] == root)
    return not len({path for path, _ in seen}) == len({one for _, one in seen}) == len(seen)


def _paths(
    fields: Iterable[NestedField], outer: Path, into: Callable[[IcebergType], Iterable[NestedField]]
) -> Iterator[tuple[Path, int]]:
    for field in fields:
        path = (*outer, field.name)
        yield path, field.field_id
        yield from _paths(into(field.field_type), path, into)


def _fields_of_struct(kind: IcebergType) -> Iterable[NestedField]:
    return kind.fields if isinstance(kind, StructType) else ()


def _fields_inside(kind: IcebergType) -> Iterable[NestedField]:
    match kind:
        case ListType():
            return (kind.element_field,)
        case MapType():
            return (kind.key_field, kind.value_field)
        case _:
            return _fields_of_struct(kind)
