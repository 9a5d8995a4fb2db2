"""Wishes are about columns, whatever those are called by now."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StructType

from cordillera.spec.wish_names import filtered_by, wished_under
from cordillera.testing.metadata_samples import dataset, dataset_version, subscription

ORDERS = dataset()
MADE = subscription(ORDERS, dataset_version(ORDERS.id))
NAMES = st.lists(st.sampled_from("abcdef"), min_size=3, max_size=3, unique=True)


def schema(number: int, names: list[str], first: int = 1) -> Schema:
    fields = (NestedField(first + i, name, LongType(), required=False) for i, name in enumerate(names))
    return Schema(*fields, schema_id=number)


def nested(number: int, names: list[str]) -> Schema:
    """A schema with a struct, of which the last two names are the fields."""
    home, *inside = (NestedField(i, name, LongType(), required=False) for i, name in enumerate(names))
    return Schema(NestedField(0, home.name, StructType(*inside), required=False), schema_id=number)


@given(st.lists(NAMES, min_size=2, max_size=5), st.sampled_from(['{}."{}" > 3', "{}['{}'] > 3"]), st.data())
def test_a_condition_on_a_field_of_a_struct_follows_it_however_it_changes_names(
    history: list[list[str]], form: str, data: st.DataObject
) -> None:
    ever = [nested(number, names) for number, names in enumerate(history)]
    wish = replace(MADE, columns=(), row_filter=form.format(*history[0]), cursor_schema_id=0)
    for number, names in enumerate(history):
        found = wished_under(wish, ever[number], ever)
        assert found.row_filter.replace(f'"{names[0]}"', names[0], 1) == form.format(*names)
        assert filtered_by(found, ever[number]) == {1}
        if data.draw(st.booleans(), label="delivered"):
            wish = replace(found, cursor_schema_id=number)


@given(st.lists(NAMES, min_size=2, max_size=5), st.sets(st.integers(0, 2), min_size=1), st.data())
def test_a_wish_follows_its_columns_however_they_change_names(
    history: list[list[str]], wanted: set[int], data: st.DataObject
) -> None:
    ever = [schema(number, names) for number, names in enumerate(history)]
    wish = replace(MADE, columns=tuple(history[0][i] for i in sorted(wanted)), cursor_schema_id=0)
    wish = replace(wish, row_filter=f"{wish.columns[0].upper()} > 3")
    for number, names in enumerate(history):
        found = wished_under(wish, ever[number], ever)
        assert found.columns == tuple(names[i] for i in sorted(wanted))
        assert found.row_filter.replace('"', "").lower() == f"{found.columns[0]} > 3"
        if data.draw(st.booleans(), label="delivered"):
            wish = replace(found, cursor_schema_id=number)


def test_a_name_that_was_never_delivered_is_what_is_called_so_or_the_only_one_that_was() -> None:
    ever = [schema(0, ["a", "b"]), schema(1, ["c", "b"]), schema(2, ["c", "a"])]
    wish = replace(MADE, columns=("a",), row_filter="")
    assert wished_under(wish, ever[1], ever[:2]).columns == ("c",)
    assert wished_under(wish, ever[2], ever).columns == ("a",)
    made_since = replace(wish, cursor_schema_id=0)
    assert wished_under(made_since, ever[2], ever).columns == ("c",)
    assert wished_under(made_since, ever[2], ever, made_since=True).columns == ("a",)


def test_what_is_gone_stays_named_and_what_takes_its_name_is_meant() -> None:
    ever = [schema(0, ["a", "b"]), schema(1, ["b"], first=2), schema(2, ["b", "A"], first=2)]
    wish = replace(MADE, columns=("a", "b"), row_filter="a > 1", cursor_schema_id=0)
    assert wished_under(wish, ever[1], ever) == wish
    assert wished_under(wish, ever[2], ever).columns == ("A", "b")
    assert wished_under(wish, ever[2], ever).row_filter == "a > 1"
