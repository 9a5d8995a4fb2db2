"""Sort orders as people write them, and as table metadata has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortOrder
from pyiceberg.types import DoubleType, ListType, LongType, NestedField, StringType, TimestampType

from cordillera.errors import InvalidSchemaError
from cordillera.spec.sort_order import parse_sort_order, terms_of
from cordillera.spec.table_metadata import UNSORTED

SCHEMA = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "amount", DoubleType()),
    NestedField(3, "at", TimestampType()),
    NestedField(4, "the place", StringType()),
    NestedField(5, "marks", ListType(6, LongType())),
)
TERMS = st.lists(
    st.tuples(
        st.sampled_from(["id", "amount", "day(at)", "bucket(4, id)", "the place", "truncate(2, id)"]),
        st.sampled_from(["", " asc", " DESC"]),
        st.sampled_from(["", " nulls first", " Nulls  Last"]),
    ).map("".join),
    max_size=4,
    unique_by=lambda term: term.replace("the place", "place").lower().split(" ")[0],
)


@given(TERMS)
def test_an_order_is_what_other_engines_read(terms: list[str]) -> None:
    order = parse_sort_order(terms, SCHEMA)
    read = SortOrder.model_validate(order)
    assert [field.source_id for field in read.fields] == [term.source_id for term in terms_of(order)]
    for term, text in zip(terms_of(order), terms, strict=True):
        plain = text.replace("the place", "place").lower()
        assert term.descending == ("desc" in plain)
        assert term.nulls_first == ("first" in plain or ("last" not in plain and "desc" not in plain))
    assert [str(field.transform) for field in read.fields] == [str(term.transform) for term in terms_of(order)]


@given(st.lists(TERMS, max_size=6))
def test_ids_follow_one_another_and_an_order_keeps_its_own(history: list[list[str]]) -> None:
    orders = [UNSORTED]
    for terms in history:
        order = parse_sort_order(terms, SCHEMA, orders)
        if order not in orders:
            assert order["order-id"] == len(orders)
            orders.append(order)
        assert (order["order-id"] == 0) == (not terms)
    assert len({repr(order["fields"]) for order in orders}) == len(orders)


@pytest.mark.parametrize(
    "term", ["none", "month(id)", "marks", "id down", "id nulls", "", "bucket(0, id)", "id nulls first desc"]
)
def test_a_term_that_cannot_be_is_refused(term: str) -> None:
    with pytest.raises(InvalidSchemaError, match="sort order"):
        parse_sort_order([term], SCHEMA)


def test_one_column_is_not_sorted_by_twice() -> None:
    with pytest.raises(InvalidSchemaError, match="twice"):
        parse_sort_order(["id", "id desc"], SCHEMA)


def test_an_order_of_several_columns_at_once_is_not_known() -> None:
    assert terms_of({"order-id": 1, "fields": [{"source-ids": [1, 2], "transform": "zorder"}]}) == ()
