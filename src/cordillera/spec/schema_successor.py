"""What a schema that somebody else made may be, to follow another: the rules of schema evolution, seen from its result.

``cordillera.spec.schema_evolution`` makes schemas step by step; other engines send the outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from pyiceberg.schema import Schema, index_by_id
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, PrimitiveType, StructType

from cordillera.errors import IncompatibleSchemaError, InvalidSchemaError
from cordillera.spec.arrow_types import from_arrow_schema, to_arrow_schema
from cordillera.spec.names import check_column_name
from cordillera.spec.schema_evolution import is_widening

_FIELD_IDS = range(1, 2**31 - 201)
"""What is above is reserved (specification, "Reserved Field IDs"): ``_row_id`` and the like."""


def check_columns_of(schema: Schema) -> None:
    """Refuse a schema with columns that a dataset cannot have.

    Raises:
        InvalidNameError, InvalidSchemaError: Naming the column.
    """
    if not schema.fields:
        raise InvalidSchemaError("A dataset needs at least one column.", hint="Add one.")
    _check_names(schema.fields)
    used = Counter(_ids(schema.as_struct()))
    if impossible := [number for number in used if number not in _FIELD_IDS]:
        raise InvalidSchemaError(
            f"The field id {impossible[0]} cannot stand for a column.", hint=f"Use 1 to {_FIELD_IDS[-1]}."
        )
    repeated = [number for number, times in used.items() if times > 1]
    if repeated:
        raise IncompatibleSchemaError(
            f"The field id {repeated[0]} stands for several columns.", hint="Number them anew."
        )
    from_arrow_schema(to_arrow_schema(schema))


def check_successor(
    after: Schema,
    earlier: Sequence[Schema],
    *,
    last_column_id: int,
    fixed_ids: Collection[int],
    has_rows: bool,
) -> None:
    """Refuse a schema under which stored rows could not be read as what they are.

    Args:
        after: The new schema.
        earlier: Those there were, the current one last.
        last_column_id: The highest field id ever assigned.
        fixed_ids: Field ids of columns that have to stay: key, sequence, partition and sort sources.
        has_rows: Whether there may be rows, which have no value in a new column.

    Raises:
        IncompatibleSchemaError: Naming the column.
        InvalidNameError, InvalidSchemaError: As for a new dataset.
    """
    check_columns_of(after)
    before = earlier[-1]
    if set(after.identifier_field_ids) != set(before.identifier_field_ids):
        raise IncompatibleSchemaError(
            "The identifier fields are the dataset's key, which cannot change.", hint="Create a new dataset version."
        )
    known: dict[int, NestedField] = {}
    parents: dict[int, int | None] = {}
    for schema in earlier:
        known |= index_by_id(schema)
        parents |= _parents(schema)
    placed, current = _parents(after), index_by_id(before)
    for field_id, field in index_by_id(after).items():
        if field_id not in known:
            _check_new(field, last_column_id, is_column=field_id in placed, has_rows=has_rows)
            continue
        _check_kept(known[field_id], field, is_back=field_id not in current, has_rows=has_rows)
        if placed.get(field_id) != parents.get(field_id):
            raise _incompatible(field, "would be of another struct")
    for field_id in fixed_ids:
        kept = next((field for field in after.fields if field.field_id == field_id), None)
        if kept is None or (known[field_id].required and not kept.required):
            raise IncompatibleSchemaError(
                f"Column {known[field_id].name!r} cannot be dropped or made optional: the key, the sequence, the "
                "sort order or the partitioning stands on it.",
                hint="Sort by something else, or create a new dataset version with another key or partitioning.",
            )


def _check_new(field: NestedField, last_column_id: int, *, is_column: bool, has_rows: bool) -> None:
    if field.field_id <= last_column_id:
        raise _incompatible(field, f"has the field id {field.field_id}, which another column had")
    if field.required and has_rows and is_column and field.initial_default is None:
        raise _incompatible(field, "is new and required, but stored rows have no value for it")


def _check_kept(old: NestedField, new: NestedField, *, is_back: bool, has_rows: bool) -> None:
    if new.required and has_rows and (is_back or not old.required):
        raise _incompatible(new, "cannot become required: stored rows may have no value")
    if old.initial_default != new.initial_default:
        raise _incompatible(new, "has another initial default, which would change stored rows")
    if isinstance(new.field_type, PrimitiveType):
        if old.field_type != new.field_type and not is_widening(old.field_type, new.field_type):
            raise _incompatible(new, f"is {old.field_type} and cannot become {new.field_type}")
    elif type(old.field_type) is not type(new.field_type):
        raise _incompatible(new, f"is {old.field_type} and cannot become {new.field_type}")


def _incompatible(field: NestedField, what: str) -> IncompatibleSchemaError:
    return IncompatibleSchemaError(
        f"Column {field.name!r} {what}.", hint="Evolve the schema as Iceberg allows, or create a new dataset version."
    )


def _parents(schema: Schema) -> Mapping[int, int | None]:
    """Return field id → the struct that it is in (None at the top); elements of lists and maps are no columns."""
    structs: dict[int, int | None] = {field.field_id: None for field in schema.fields}
    for field_id, field in index_by_id(schema).items():
        if isinstance(field.field_type, StructType):
            structs |= {inner.field_id: field_id for inner in field.field_type.fields}
    return structs


def _ids(kind: IcebergType) -> Iterator[int]:
    """Yield the field ids in a type, as often as they occur."""
    match kind:
        case StructType(fields=fields):
            for field in fields:
                yield field.field_id
                yield from _ids(field.field_type)
        case ListType(element_id=number, element_type=inner):
            yield number
            yield from _ids(inner)
        case MapType(key_id=key_id, key_type=key, value_id=value_id, value_type=value):
            yield from (key_id, value_id, *_ids(key), *_ids(value))
        case _:
            pass


def _check_names(fields: Sequence[NestedField]) -> None:
    seen: set[str] = set()
    for field in fields:
        check_column_name(field.name)
        if field.name.lower() in seen:
            raise InvalidSchemaError(
                f"The column name {field.name!r} appears twice (names that differ only in case count as the same).",
                hint="Rename one of the two.",
            )
        seen.add(field.name.lower())
        for kind in _inner(field):
            _check_names(kind.fields)


def _inner(field: NestedField) -> list[StructType]:
    kinds = [field.field_type]
    found: list[StructType] = []
    while kinds:
        kind = kinds.pop()
        if isinstance(kind, StructType):
            found.append(kind)
        elif isinstance(kind, ListType):
            kinds.append(kind.element_type)
        elif isinstance(kind, MapType):
            kinds += [kind.key_type, kind.value_type]
    return found
