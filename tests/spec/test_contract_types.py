"""Types of contracts and of datasets: creating one from the other, and comparing them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.errors import InvalidContractError
from cordillera.spec.arrow_types import from_arrow_schema
from cordillera.spec.contract import (
    ProblemKind,
    Severity,
    key_of,
    parse_contract,
    schema_problems,
    to_arrow_schema,
    to_document,
)
from tests.spec.contract_support import contract, integer, text


def column_type(logical: str | None = None, physical: str | None = None, **options: Any) -> pa.DataType:
    column: dict[str, Any] = {"name": "a"}
    if logical:
        column["logicalType"] = logical
    if physical:
        column["physicalType"] = physical
    if options:
        column["logicalTypeOptions"] = options
    return to_arrow_schema(contract(column)).field("a").type


@pytest.mark.parametrize(
    ("logical", "physical", "options", "expected"),
    [
        ("string", None, {}, pa.string()),
        ("integer", None, {}, pa.int64()),
        ("integer", None, {"format": "i32"}, pa.int32()),
        ("integer", None, {"format": "u8"}, pa.int32()),
        ("integer", None, {"format": "u32"}, pa.int64()),
        ("integer", None, {"format": "u64"}, pa.decimal128(20, 0)),
        ("integer", "int", {"format": "i64"}, pa.int64()),
        ("number", None, {}, pa.float64()),
        ("number", None, {"format": "f32"}, pa.float32()),
        ("number", "float", {}, pa.float64()),
        ("number", "real", {}, pa.float32()),
        ("number", "DECIMAL(10, 2)", {}, pa.decimal128(10, 2)),
        ("number", "numeric(5)", {}, pa.decimal128(5, 0)),
        ("number", "int", {}, pa.int32()),
        ("boolean", None, {}, pa.bool_()),
        ("date", None, {}, pa.date32()),
        ("date", "varchar(10)", {}, pa.string()),
        ("time", None, {}, pa.time64("us")),
        ("timestamp", None, {}, pa.timestamp("us")),
        ("timestamp", None, {"timezone": True}, pa.timestamp("us", "UTC")),
        ("timestamp", "timestamp", {"timezone": True}, pa.timestamp("us", "UTC")),
        ("timestamp", "timestamptz", {}, pa.timestamp("us", "UTC")),
        ("timestamp", "timestamp(6) with time zone", {}, pa.timestamp("us", "UTC")),
        ("timestamp", "DATETIME", {}, pa.timestamp("us")),
        ("string", "character varying(20)", {}, pa.string()),
        ("string", "uuid", {}, pa.uuid()),
        ("string", "binary", {}, pa.binary()),
        ("string", "fixed(16)", {}, pa.binary(16)),
        ("string", "jsonb", {}, pa.string()),
        (None, "bigint", {}, pa.int64()),
        (None, "double precision", {}, pa.float64()),
    ],
)
def test_types_of_a_dataset_created_from_a_contract(
    logical: str | None, physical: str | None, options: dict[str, Any], expected: pa.DataType
) -> None:
    assert column_type(logical, physical, **options) == expected


def test_nested_types() -> None:
    read = contract(
        {"name": "l", "logicalType": "array", "items": {"logicalType": "integer", "required": True}},
        {"name": "o", "logicalType": "object", "properties": [{**text("x"), "required": True}, integer("y")]},
    )
    assert to_arrow_schema(read) == pa.schema(
        [
            pa.field("l", pa.list_(pa.field("element", pa.int64(), nullable=False))),
            pa.field("o", pa.struct([pa.field("x", pa.string(), nullable=False), pa.field("y", pa.int64())])),
        ]
    )


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ({"name": "a"}, "neither a logicalType"),
        ({"name": "a", "physicalType": "geography"}, "neither a logicalType"),
        ({"name": "a", "logicalType": "number", "physicalType": "numeric"}, "has no type"),
        ({"name": "a", "logicalType": "number", "physicalType": "decimal(60,2)"}, "has no type"),
        ({"name": "a", "logicalType": "integer", "logicalTypeOptions": {"format": "i128"}}, "format i128"),
        ({"name": "a", "logicalType": "object"}, "without properties"),
        ({"name": "a", "logicalType": "array"}, "without items"),
    ],
)
def test_a_contract_that_says_too_little_creates_no_dataset(column: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidContractError, match=reason) as refused:
        to_arrow_schema(contract(column))
    assert "'a'" in refused.value.message
    assert refused.value.hint
    with pytest.raises(InvalidContractError, match="no columns"):
        to_arrow_schema(contract())


def test_required_key_and_descriptions_reach_the_dataset() -> None:
    read = contract({**integer("k"), "primaryKey": True, "description": "The key."}, text("a"))
    schema = to_arrow_schema(read)
    assert [field.nullable for field in schema] == [False, True]
    stored = from_arrow_schema(schema, key_of(read))
    assert stored.find_field("k").doc == "The key."
    assert stored.identifier_field_ids == [1]


# --- comparing ------------------------------------------------------------------------------------------------------


def problems(*columns: dict[str, Any], schema: pa.Schema, key: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    found = schema_problems(contract(*columns), schema, key)
    assert all(problem.message for problem in found)
    return [(problem.kind, problem.column, problem.severity) for problem in found]


def test_a_dataset_made_from_a_contract_keeps_it() -> None:
    read = contract({**integer("k"), "primaryKey": True}, {**text("a"), "required": True})
    assert schema_problems(read, to_arrow_schema(read), ["k"]) == []


def test_missing_and_undeclared_columns() -> None:
    found = problems(text("a"), text("b"), schema=pa.schema([("a", pa.string()), ("B", pa.string())]))
    assert found == [
        (ProblemKind.MISSING_COLUMN, "b", Severity.ERROR),
        (ProblemKind.UNDECLARED_COLUMN, "B", Severity.WARNING),
    ]
    (first, _) = schema_problems(contract(text("b")), pa.schema([("B", pa.string())]), [])
    assert "names are case-sensitive" in first.message


@pytest.mark.parametrize(
    ("column", "stored", "fits"),
    [
        (integer("a"), pa.int32(), True),
        (integer("a"), pa.int64(), True),
        (integer("a"), pa.decimal128(20, 0), True),
        (integer("a"), pa.decimal128(20, 2), False),
        (integer("a"), pa.float64(), False),
        (integer("a", format="i32"), pa.int32(), True),
        (integer("a", format="i32"), pa.int16(), True),
        (integer("a", format="i32"), pa.int64(), False),
        ({"name": "a", "logicalType": "number"}, pa.float32(), True),
        ({"name": "a", "logicalType": "number"}, pa.decimal128(10, 2), True),
        ({"name": "a", "logicalType": "number"}, pa.string(), False),
        ({"name": "a", "logicalType": "number", "physicalType": "decimal(10,2)"}, pa.decimal128(10, 3), False),
        (text("a"), pa.large_string(), True),
        (text("a"), pa.dictionary(pa.int32(), pa.string()), True),
        (text("a"), pa.int64(), False),
        ({"name": "a", "logicalType": "date"}, pa.timestamp("us"), False),
        ({"name": "a", "logicalType": "timestamp"}, pa.timestamp("ns"), True),
        ({"name": "a", "logicalType": "timestamp"}, pa.timestamp("us", "UTC"), False),
        ({"name": "a", "logicalType": "timestamp", "physicalType": "timestamptz"}, pa.timestamp("ms", "UTC"), True),
        ({"name": "a", "logicalType": "timestamp", "physicalType": "timestamptz"}, pa.timestamp("us"), False),
        ({"name": "a", "logicalType": "object"}, pa.map_(pa.string(), pa.int32()), True),
        ({"name": "a", "logicalType": "object"}, pa.struct([("x", pa.int32())]), True),
        ({"name": "a", "logicalType": "array"}, pa.list_(pa.int32()), True),
        ({"name": "a", "logicalType": "array"}, pa.string(), False),
        ({"name": "a"}, pa.float16(), True),
    ],
)
def test_types_that_keep_the_promise(column: dict[str, Any], stored: pa.DataType, fits: bool) -> None:
    expected = [] if fits else [(ProblemKind.TYPE, "a", Severity.ERROR)]
    assert problems(column, schema=pa.schema([("a", stored)])) == expected


def test_columns_inside_columns_are_compared() -> None:
    column = {"name": "o", "logicalType": "object", "properties": [text("x"), {**integer("y"), "required": True}]}
    stored = pa.struct([("x", pa.int32()), ("y", pa.int32()), ("z", pa.int32())])
    assert problems(column, schema=pa.schema([("o", stored)])) == [
        (ProblemKind.TYPE, "o.x", Severity.ERROR),
        (ProblemKind.NULLABLE, "o.y", Severity.WARNING),
        (ProblemKind.UNDECLARED_COLUMN, "o.z", Severity.WARNING),
    ]
    items = {"name": "l", "logicalType": "array", "items": text("x")}
    found = problems(items, schema=pa.schema([("l", pa.list_(pa.int32()))]))
    assert found == [(ProblemKind.TYPE, "l.element", Severity.ERROR)]


def test_keys_are_compared_in_order() -> None:
    columns = [{**integer(name), "primaryKey": True} for name in "ab"]
    schema = pa.schema([pa.field("a", pa.int64(), False), pa.field("b", pa.int64(), False)])
    assert problems(*columns, schema=schema, key=("a", "b")) == []
    assert problems(*columns, schema=schema, key=("b", "a")) == [(ProblemKind.KEY, None, Severity.ERROR)]
    assert problems(*columns, schema=schema) == [(ProblemKind.KEY, None, Severity.ERROR)]


# --- generating -----------------------------------------------------------------------------------------------------

_NAMES = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="."), min_size=1, max_size=8)
_PRIMITIVES = st.sampled_from(
    [
        *(pa.string(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.date32(), pa.time64("us")),
        *(pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.decimal128(38, 9), pa.uuid(), pa.binary(), pa.binary(7)),
    ]
)


def _nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    structs = st.dictionaries(st.sampled_from("xyz"), st.tuples(inner, st.booleans()), min_size=1).map(
        lambda fields: pa.struct([pa.field(name, type_, null) for name, (type_, null) in fields.items()])
    )
    lists = st.tuples(inner, st.booleans()).map(lambda item: pa.list_(pa.field("element", item[0], item[1])))
    return structs | lists


_SCHEMAS = st.dictionaries(
    _NAMES.map(str.lower), st.tuples(st.recursive(_PRIMITIVES, _nested, max_leaves=4), st.booleans()), min_size=1
).map(lambda columns: pa.schema([pa.field(name, type_, null) for name, (type_, null) in columns.items()]))


@settings(deadline=None)
@given(_SCHEMAS, st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1))
def test_a_generated_document_describes_the_dataset_it_was_made_from(schema: pa.Schema, words: str) -> None:
    names = [name for name in schema.names if name == name.lower() and not name.startswith("_")]
    schema = pa.schema([schema.field(name) for name in names] or [pa.field("a", pa.int32())])
    key = [schema.field(0).name] if not pa.types.is_nested(schema.field(0).type) else []
    source = to_document(schema, key, contract_id="1e3", name=words, owner=words, description=words)
    read = parse_contract(source)
    assert (read.id, read.name, read.owner, read.description, read.object_name) == ("1e3", *[words] * 4)
    assert schema_problems(read, schema, key) == []
    made = to_arrow_schema(read)
    assert [(field.name, field.type) for field in made] == [(field.name, field.type) for field in schema]
    assert key_of(read) == tuple(key)
    yaml.safe_load(source)


def test_a_generated_document_is_readable() -> None:
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False, metadata={b"doc": b"The key."}),
            pa.field("price", pa.decimal128(10, 2)),
        ]
    )
    source = to_document(schema, ["id"], contract_id="c-1", name="orders", owner="sales")
    assert yaml.safe_load(source) == {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "c-1",
        "name": "orders",
        "version": "0.1.0",
        "status": "draft",
        "team": {"name": "sales"},
        "schema": [
            {
                "name": "orders",
                "logicalType": "object",
                "physicalType": "table",
                "properties": [
                    {
                        "name": "id",
                        "description": "The key.",
                        "primaryKey": True,
                        "primaryKeyPosition": 1,
                        "required": True,
                        "logicalType": "integer",
                        "physicalType": "bigint",
                        "logicalTypeOptions": {"format": "i64"},
                    },
                    {"name": "price", "logicalType": "number", "physicalType": "decimal(10,2)"},
                ],
            }
        ],
    }
