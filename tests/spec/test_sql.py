"""Text that people write, read as SQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField
from sqlglot import exp

from cordillera.errors import InvalidExpressionError, InvalidInputError, InvalidSqlError
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.query import Query, bind_text, dataset_names
from cordillera.spec.sql import parsed_one

SCHEMA = Schema(NestedField(1, "id", LongType(), required=True))
DEEP = "(" * 300 + "1" + ")" * 300


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda: parse_row_filter(DEEP, SCHEMA), InvalidExpressionError),
        (lambda: dataset_names(f"SELECT {DEEP}"), InvalidSqlError),
        (lambda: bind_text(f"SELECT {DEEP}", {}), InvalidSqlError),
    ],
)
def test_what_is_nested_too_deeply_is_refused(read: Callable[[], object], error: type[InvalidInputError]) -> None:
    with pytest.raises(error, match="nested too deeply"):
        read()


def test_a_query_that_can_be_read_but_not_written_is_refused() -> None:
    tree = exp.select("1")
    for _ in range(300):
        tree = exp.select("*").from_(tree.subquery(copy=False), copy=False)
    with pytest.raises(InvalidSqlError, match="nested too deeply"):
        _ = Query(tree, ()).sql


def test_half_a_character_is_refused() -> None:
    with pytest.raises(InvalidExpressionError, match="halves of characters"):
        parse_row_filter("id = '\udcff'", SCHEMA)
    with pytest.raises(InvalidSqlError, match="halves of characters"):
        dataset_names("SELECT '\ud800'")


def test_a_text_without_a_statement_is_refused() -> None:
    with pytest.raises(InvalidSqlError, match="empty"):
        bind_text("", {})
    assert parsed_one("SELECT 1; SELECT 2", "duckdb").sql() == "SELECT 1"


@pytest.mark.parametrize("joined", [" OR ", " AND "])
def test_a_condition_may_be_a_long_chain(joined: str) -> None:
    chain = parse_row_filter(joined.join(f"id = {number}" for number in range(1500)), SCHEMA)
    assert chain.columns == ("id",)
    assert len(str(chain.pruning)) > 1500
