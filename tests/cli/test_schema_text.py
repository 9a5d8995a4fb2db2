"""Schemas as people type them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.cli.options import parse_pairs, split_names
from cordillera.cli.schema_text import parse_column, parse_schema, parse_type, split_terms
from cordillera.errors import InvalidInputError, InvalidSchemaError

SIMPLE = st.sampled_from(
    [
        "boolean",
        "int",
        "long",
        "float",
        "double",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "string",
        "uuid",
        "binary",
    ]
)
DECIMAL = (
    st.tuples(st.integers(1, 38), st.integers(0, 38))
    .filter(lambda p: p[1] <= p[0])
    .map(lambda p: f"decimal({p[0]},{p[1]})")
)
NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
TYPES = st.recursive(
    SIMPLE | DECIMAL,
    lambda inner: st.one_of(
        inner.map(lambda t: f"list<{t}>"),
        st.tuples(SIMPLE, inner).map(lambda p: f"map<{p[0]}, {p[1]}>"),
        st.lists(st.tuples(NAMES, inner), min_size=1, max_size=3, unique_by=lambda p: p[0]).map(
            lambda fields: f"struct<{','.join(f'{name}:{kind}' for name, kind in fields)}>"
        ),
    ),
    max_leaves=6,
)


@given(st.lists(st.tuples(NAMES, TYPES), min_size=1, max_size=5))
def test_terms_are_split_where_columns_end(columns: list[tuple[str, str]]) -> None:
    schema = parse_schema(", ".join(f"{name}:{kind}" for name, kind in columns))
    assert schema.names == [name for name, _ in columns]
    assert schema.types == [parse_type(kind, "c") for _, kind in columns]


def test_types() -> None:
    assert parse_schema("id:long, total:decimal(10,2), home:struct<city:string,tags:list<string>>") == pa.schema(
        [
            ("id", pa.int64()),
            ("total", pa.decimal128(10, 2)),
            ("home", pa.struct([("city", pa.string()), ("tags", pa.list_(pa.string()))])),
        ]
    )
    assert parse_column("m : map<string,long>") == ("m", pa.map_(pa.string(), pa.int64()))
    assert parse_type("fixed[16]", "c") == pa.binary(16)


@pytest.mark.parametrize(
    "text",
    [
        "id",
        ":long",
        "id:",
        "id:integer",
        "id:list<>",
        "id:map<string>",
        "id:struct<a>",
        "id:decimal(40,2)",
        "id:list<long",
    ],
)
def test_what_is_no_schema(text: str) -> None:
    with pytest.raises(InvalidSchemaError) as caught:
        parse_schema(text)
    assert caught.value.hint


def test_split_terms() -> None:
    assert split_terms("month(day), bucket(16, id),,origin ") == ["month(day)", "bucket(16, id)", "origin"]


def test_names_with_commas() -> None:
    assert split_names(["a, b", '"c,d"']) == ["a", "b", "c,d"]
    assert split_names(None) == []


def test_pairs() -> None:
    assert parse_pairs(["a=b=c", "d="], "setting") == {"a": "b=c", "d": ""}
    for wrong in (["a"], ["=a"], ["a=1", "a=2"]):
        with pytest.raises(InvalidInputError):
            parse_pairs(wrong, "setting")
