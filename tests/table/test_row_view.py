"""What several grants show together, compared with a plain model of the rules, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.schema import Schema
from pyiceberg.types import DateType, IntegerType, ListType, LongType, MapType, NestedField, StringType, StructType

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.errors import AccessDeniedError, InvalidExpressionError
from cordillera.spec.access import Grant, Privilege, SecurableKind
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.masks import Mask, by_leniency, fits
from cordillera.spec.row_access import EffectiveTags, GrantedRows, RowAccess, RowView
from cordillera.table.io import TableIO
from cordillera.table.row_view import ShownRows
from tests.access.test_decisions import NOW

SCHEMA = Schema(
    NestedField(1, "n", LongType(), required=False),
    NestedField(2, "text", StringType(), required=True),
    NestedField(3, "day", DateType(), required=False),
    NestedField(4, "small", IntegerType(), required=False),
)
ARROW = pa.schema([("n", pa.int64()), ("text", pa.string()), ("day", pa.date32()), ("small", pa.int32())])
FILTERS: dict[str, Any] = {
    "": lambda row: True,
    "n > 1": lambda row: row["n"] is not None and row["n"] > 1,
    "n <= 1 OR text = 'abcdef'": lambda row: (row["n"] is not None and row["n"] <= 1) or row["text"] == "abcdef",
    "day IS NULL": lambda row: row["day"] is None,
    '"SMALL" = 3': lambda row: row["small"] == 3,
}
rows = st.fixed_dictionaries(
    {
        "n": st.sampled_from([None, 0, 1, 2, -(2**62)]),
        "text": st.sampled_from(["", "abcd", "abcdef", "naïve café"]),
        "day": st.sampled_from([None, date(2024, 2, 29), date(1969, 12, 31)]),
        "small": st.sampled_from([None, 3, 4]),
    }
)
grants = st.tuples(
    st.sampled_from(list(FILTERS)), st.dictionaries(st.sampled_from(ARROW.names), st.sampled_from(list(Mask)))
)


@pytest.fixture(scope="module")
def io() -> Iterator[TableIO]:
    engine = DuckDBEngine(threads=1)
    yield cast(TableIO, SimpleNamespace(engine=engine))
    engine.close()


def granted(row_filter: str, masks: dict[str, Any], tags: EffectiveTags | None = None, **more: Any) -> GrantedRows:
    grant = Grant(
        uuid4(), "role:x", Privilege.READ, SecurableKind.DATASET, uuid4(), "a.b", "", False, "user:o", NOW, None, "",
        row_filter, {name: str(mask) for name, mask in masks.items()}, **more,
    )  # fmt: skip
    return GrantedRows.by(grant, tags or EffectiveTags())


def view_of(*views: GrantedRows, schemas: tuple[Schema, ...] = (SCHEMA,), schema: Schema = SCHEMA) -> RowView:
    return RowAccess("a.b", "user:o", views).of(schemas, schema)


def read(io: TableIO, view: RowView, stored: list[dict[str, Any]], key: str = "key") -> list[dict[str, Any]]:
    names = [field.name for field in view.schema.fields]
    reader = pa.Table.from_pylist(stored, ARROW).to_reader()
    return ShownRows(view, key, "a.b").of(io, reader, names).read_all().to_pylist()


def model_of(mask: Mask, column: str, value: Any) -> Any:
    """Return what is seen of a value; hashes are compared apart."""
    kind = SCHEMA.find_field(column).field_type
    if not fits(mask, kind) or mask in (Mask.NULL, Mask.HIDDEN):
        return None
    if mask is Mask.CONSTANT:
        return {"n": 0, "text": "****", "day": date(1970, 1, 1), "small": 0}[column]
    if value is None or mask is Mask.CLEAR:
        return value
    if mask is Mask.LAST4:
        return "****" + (value[-4:] if len(value) > 4 else "")
    if mask is Mask.HASH:
        return "hashed"
    return value.replace(day=1) if mask is Mask.MONTH else value.replace(day=1, month=1)


@given(st.lists(rows, max_size=6), st.lists(grants, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_row_is_shown_by_the_most_lenient_of_the_grants_that_show_it(
    io: TableIO, stored: list[dict[str, Any]], given_grants: list[tuple[str, dict[str, Mask]]]
) -> None:
    mask = lambda grant, column: grant[1].get(column, Mask.CLEAR)  # noqa: E731
    columns = [name for name in ARROW.names if any(mask(one, name) is not Mask.HIDDEN for one in given_grants)]
    if not columns:
        with pytest.raises(AccessDeniedError, match="Every column is hidden"):
            view_of(*(granted(*one) for one in given_grants))
        return
    expected = []
    for row in stored:
        showing = [one for one in given_grants if FILTERS[one[0]](row)]
        if showing:
            seen = {name: by_leniency(mask(one, name) for one in showing)[0] for name in columns}
            expected.append({name: model_of(seen[name], name, row[name]) for name in columns})
    found = read(io, view_of(*(granted(*one) for one in given_grants)), stored)
    clear = {row[name] for row in stored for name in ("n", "text")}
    hashed = [
        {
            name: "hashed" if wanted.get(name) == "hashed" and value not in clear else value
            for name, value in row.items()
        }
        for row, wanted in zip(found, expected, strict=True)
    ]
    assert hashed == expected


def test_equal_values_have_equal_hashes_under_one_key_only(io: TableIO) -> None:
    view = view_of(granted("", {"n": Mask.HASH, "text": Mask.HASH}))
    stored = [
        {"n": 1, "text": "abcd", "day": None, "small": None},
        {"n": 1, "text": "abcdef", "day": None, "small": None},
    ]
    first, second = read(io, view, stored)
    assert first["n"] == second["n"] >= 0
    assert first["text"] != second["text"]
    assert len(first["text"]) == 64
    assert read(io, view, stored) == [first, second]
    assert read(io, view, stored, "another")[0]["n"] != first["n"]


def test_names_follow_renames_and_fail_closed() -> None:
    before = SCHEMA
    renamed = Schema(NestedField(1, "number", LongType(), required=False), *SCHEMA.fields[1:])
    both = {"schemas": (before, renamed), "schema": renamed}
    view = view_of(granted("n > 1", {"n": Mask.NULL}), **both)
    assert (view.condition, view.clear) == ('(("number" > 1) IS TRUE)', {"text", "day", "small"})
    dropped = Schema(*SCHEMA.fields[1:])
    with pytest.raises(AccessDeniedError, match="filters rows by the column 'n', which is not there"):
        view_of(granted("n > 1", {}), schemas=(before, dropped), schema=dropped)
    still = view_of(
        granted("n > 1", {}), granted("small = 3", {"n": Mask.NULL}), schemas=(before, dropped), schema=dropped
    )
    assert still.condition == '(("small" = 3) IS TRUE)'
    with pytest.raises(AccessDeniedError, match="never had"):
        view_of(granted("", {"email": Mask.NULL}))
    anew = Schema(NestedField(9, "n", LongType(), required=False), *renamed.fields)
    with pytest.raises(AccessDeniedError, match="several columns have been called"):
        view_of(granted("n > 1", {}), schemas=(before, renamed, anew), schema=anew)
    masked = view_of(granted("", {"n": Mask.NULL}), schemas=(before, renamed, anew), schema=anew)
    assert masked.clear == {"text", "day", "small"}


@pytest.mark.parametrize("field", ["home.city", "HOME['CITY']", "(struct_extract(home, 'city'))"])
def test_filters_on_fields_of_structs_follow_renames_and_fail_closed(field: str) -> None:
    def schema(home: str, *inside: tuple[int, str]) -> Schema:
        fields = (NestedField(number, name, StringType(), required=False) for number, name in inside)
        return Schema(*SCHEMA.fields, NestedField(5, home, StructType(*fields), required=False))

    before, renamed = schema("home", (6, "city"), (7, "zip")), schema("place", (6, "town"), (7, "zip"))
    one = granted(f"{field} = 'Lima'", {})
    view = view_of(one, schemas=(before, renamed), schema=renamed)
    assert "town" in view.condition
    assert view.columns == ("place",)
    dropped = schema("home", (7, "zip"))
    with pytest.raises(AccessDeniedError, match=r"by the column '(?i:home\.city)', which is not there"):
        view_of(one, schemas=(before, dropped), schema=dropped)
    swapped = schema("home", (6, "x"), (7, "city"))
    with pytest.raises(AccessDeniedError, match="several columns have been called"):
        view_of(one, schemas=(before, swapped), schema=swapped)


def test_a_filter_on_a_whole_struct_shows_nothing_once_names_inside_it_change() -> None:
    def schema(*inside: tuple[int, str]) -> Schema:
        element = StructType(*(NestedField(number, name, StringType(), required=False) for number, name in inside))
        lines, keys = ListType(6, element), MapType(7, StringType(), 8, StringType())
        return Schema(NestedField(5, "lines", lines, required=False), NestedField(9, "keys", keys, required=False))

    before, wider, renamed = schema((1, "a")), schema((1, "a"), (2, "b")), schema((1, "c"), (2, "b"))
    one = granted("lines[1].a = 'x' AND keys['KEY'] = 'y'", {})
    view = view_of(one, schemas=(before, wider), schema=wider)
    assert view.condition == """(("lines"[1]."a" = 'x' AND "keys"['KEY'] = 'y') IS TRUE)"""
    with pytest.raises(AccessDeniedError, match="filters rows by the inside of 'lines', where names have changed"):
        view_of(one, schemas=(before, wider, renamed), schema=renamed)


def test_masks_by_tags_count_unless_the_grant_names_the_column() -> None:
    tags = EffectiveTags(
        {"level": "low"}, {"text": {"kind": "pii"}, "day": {"kind": "pii", "level": "high"}}, {"text": (Mask.HASH,)}
    )
    assert view_of(granted("", {}, tags)).clear == {"n", "day", "small"}
    assert granted("", {"text": Mask.CLEAR}, tags).everything
    assert not granted("", {}, tags).everything
    by_tags = granted("", {"text": Mask.CLEAR}, tags, tag_masks={"kind = 'pii'": "null", "level = 'low'": "constant"})
    assert view_of(by_tags).clear == {"text"}
    lifted = granted("", {}, tags, tag_masks={"kind = 'pii'": "clear"})
    assert lifted.everything


def test_a_filter_that_fails_tells_nothing_of_the_row(io: TableIO) -> None:
    stored = [{"n": 1, "text": "secret", "day": None, "small": None}]
    with pytest.raises(AccessDeniedError, match="fails on some of its rows") as failed:
        read(io, view_of(granted("CAST(text AS INTEGER) > 1", {})), stored)
    assert "secret" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_filter_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(InvalidExpressionError, match="nested too deeply"):
        parse_row_filter(f"{'(' * 300}n = 1{')' * 300}", SCHEMA)
