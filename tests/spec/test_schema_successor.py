"""A schema that follows another by the rules of evolution passes; one under which stored rows would change does not."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.schema import Schema
from pyiceberg.types import IntegerType, ListType, LongType, NestedField, StringType, StructType

from cordillera.errors import CordilleraError, IncompatibleSchemaError
from cordillera.spec.schema_evolution import (
    AddColumn,
    DescribeColumn,
    DropColumn,
    MakeOptional,
    MoveColumn,
    RenameColumn,
    WidenColumn,
    evolve,
)
from cordillera.spec.schema_successor import check_successor

HOME = StructType(NestedField(5, "city", StringType()), NestedField(6, "zip", IntegerType()))
FIRST = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "n", IntegerType()),
    NestedField(3, "must", StringType(), required=True),
    NestedField(4, "home", HOME),
    identifier_field_ids=[1],
)
PATHS = st.sampled_from(["id", "n", "must", "home", "home.city", "home.zip"])
CHANGES = st.one_of(
    st.builds(AddColumn, st.sampled_from(["new", "other", "home.new"]), st.sampled_from([pa.int32(), pa.string()])),
    st.builds(RenameColumn, PATHS, st.sampled_from(["renamed", "again"])),
    st.builds(WidenColumn, st.sampled_from(["n", "home.zip"]), st.just(pa.int64())),
    st.builds(MoveColumn, PATHS, st.none()),
    st.builds(DropColumn, PATHS),
    st.builds(MakeOptional, PATHS),
    st.builds(DescribeColumn, PATHS, st.just("what it is")),
)


@given(st.lists(st.lists(CHANGES, min_size=1, max_size=3), max_size=4))
def test_whatever_evolution_makes_may_follow(steps: list[list[object]]) -> None:
    schemas, last = [FIRST], 6
    for changes in steps:
        try:
            after, highest = evolve(
                schemas[-1], changes, last_column_id=last, new_schema_id=len(schemas), fixed_ids=frozenset({1})
            )
        except CordilleraError:
            continue
        check_successor(after, schemas, last_column_id=last, fixed_ids={1}, has_rows=True)
        schemas.append(after)
        last = highest


def changed(*fields: NestedField, key: list[int] | None = None) -> Schema:
    kept = {field.field_id: field for field in FIRST.fields}
    kept |= {field.field_id: field for field in fields}
    return Schema(*kept.values(), schema_id=1, identifier_field_ids=[1] if key is None else key)


@pytest.mark.parametrize(
    "after",
    [
        changed(key=[]),
        changed(NestedField(2, "n", StringType())),
        changed(NestedField(2, "n", IntegerType(), required=True)),
        changed(NestedField(2, "n", IntegerType(), initial_default=3)),
        changed(NestedField(4, "home", StringType())),
        changed(NestedField(4, "home", ListType(7, IntegerType()))),
        changed(NestedField(4, "home", StructType(NestedField(2, "n", IntegerType())))),
        changed(NestedField(7, "new", IntegerType(), required=True)),
        changed(NestedField(6, "zip", IntegerType())),
        Schema(*FIRST.fields[1:], schema_id=1),
    ],
)
def test_what_would_change_stored_rows_may_not(after: Schema) -> None:
    with pytest.raises(IncompatibleSchemaError):
        check_successor(after, [FIRST], last_column_id=6, fixed_ids={1}, has_rows=True)


def test_an_id_is_not_given_twice() -> None:
    without = Schema(*(field for field in FIRST.fields if field.field_id != 2), schema_id=1, identifier_field_ids=[1])
    reused = Schema(*without.fields, NestedField(2, "other", StringType()), schema_id=2, identifier_field_ids=[1])
    with pytest.raises(IncompatibleSchemaError):
        check_successor(reused, [FIRST, without], last_column_id=6, fixed_ids={1}, has_rows=True)
    back = Schema(*without.fields, NestedField(2, "back", IntegerType()), schema_id=2, identifier_field_ids=[1])
    check_successor(back, [FIRST, without], last_column_id=6, fixed_ids={1}, has_rows=True)
    skipped = Schema(*without.fields, NestedField(5, "dropped", StringType()), schema_id=2, identifier_field_ids=[1])
    with pytest.raises(IncompatibleSchemaError):
        check_successor(skipped, [without], last_column_id=6, fixed_ids={1}, has_rows=True)
