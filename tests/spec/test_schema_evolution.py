from __future__ import annotations

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema

from cordillera.errors import IncompatibleSchemaError, InvalidSchemaError, UnknownColumnError
from cordillera.spec.arrow_types import from_arrow_schema, to_arrow_schema
from cordillera.spec.schema_evolution import (
    AddColumn,
    DescribeColumn,
    DropColumn,
    MakeOptional,
    MoveColumn,
    RenameColumn,
    SchemaChange,
    WidenColumn,
    evolve,
)

START = from_arrow_schema(
    pa.schema(
        [
            pa.field("id", pa.int32()),
            pa.field("price", pa.decimal128(10, 2)),
            pa.field("home", pa.struct([pa.field("city", pa.string()), pa.field("zip", pa.int32())])),
            pa.field("must", pa.string(), nullable=False),
        ]
    ),
    key=("id",),
)


def evolved(*changes: SchemaChange) -> Schema:
    schema, _ = evolve(START, changes, last_column_id=START.highest_field_id, new_schema_id=1, fixed_ids=frozenset({1}))
    return schema


def names(schema: Schema) -> list[str]:
    return [field.name for field in schema.fields]


def test_new_columns_get_ids_never_used_before() -> None:
    schema, last = evolve(
        START, [DropColumn("must"), AddColumn("must", pa.string())], last_column_id=40, new_schema_id=1
    )
    assert schema.find_field("must").field_id == 41
    assert last == 41


def test_renames_keep_ids_even_when_names_are_swapped() -> None:
    schema = evolved(RenameColumn("price", "tmp"), RenameColumn("must", "price"), RenameColumn("tmp", "must"))
    assert schema.find_field("must").field_id == START.find_field("price").field_id
    assert schema.find_field("price").field_id == START.find_field("must").field_id


def test_structs_evolve_inside() -> None:
    schema = evolved(AddColumn("home.street", pa.string()), RenameColumn("home.zip", "code"), DropColumn("home.city"))
    home = to_arrow_schema(schema).field("home").type
    assert [home.field(i).name for i in range(home.num_fields)] == ["code", "street"]


def test_columns_move() -> None:
    assert names(evolved(MoveColumn("must"), MoveColumn("id", after="home"))) == ["must", "price", "home", "id"]


def test_types_widen() -> None:
    schema = evolved(WidenColumn("id", pa.int64()), WidenColumn("price", pa.decimal128(20, 2)))
    assert to_arrow_schema(schema).field("id").type == pa.int64()
    assert to_arrow_schema(schema).field("price").type == pa.decimal128(20, 2)


def test_documentation_and_nullability_change() -> None:
    schema = evolved(DescribeColumn("price", "In euros."), MakeOptional("must"))
    assert schema.find_field("price").doc == "In euros."
    assert not schema.find_field("must").required


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (WidenColumn("id", pa.int16()), None, ""),
        (WidenColumn("id", pa.string()), IncompatibleSchemaError, "cannot become"),
        (WidenColumn("price", pa.decimal128(8, 2)), IncompatibleSchemaError, "cannot become"),
        (WidenColumn("price", pa.decimal128(12, 4)), IncompatibleSchemaError, "cannot become"),
        (DropColumn("id"), IncompatibleSchemaError, "key"),
        (MakeOptional("id"), IncompatibleSchemaError, "key"),
        (DropColumn("none"), UnknownColumnError, "'none'"),
        (RenameColumn("id", "PRICE"), InvalidSchemaError, "taken"),
        (AddColumn("must", pa.string()), InvalidSchemaError, "taken"),
        (AddColumn("x", pa.uint64()), None, ""),
        (AddColumn("x", pa.null()), InvalidSchemaError, "cannot store"),
        (AddColumn("id.x", pa.string()), UnknownColumnError, "not a struct"),
        (MoveColumn("id", after="none"), UnknownColumnError, "'none'"),
    ],
)
def test_changes_that_would_break_rows_or_readers_are_refused(
    change: SchemaChange, error: type[Exception] | None, says: str
) -> None:
    if error is None:
        evolved(change)
        return
    with pytest.raises(error, match=says):
        evolved(change)


def test_the_last_column_stays() -> None:
    schema = from_arrow_schema(pa.schema([pa.field("only", pa.string())]))
    with pytest.raises(IncompatibleSchemaError, match="last column"):
        evolve(schema, [DropColumn("only")], last_column_id=1, new_schema_id=1)
