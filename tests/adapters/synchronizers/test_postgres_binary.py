"""Rows in COPY's binary format, read back by PostgreSQL itself."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from cordillera.adapters.synchronizers.postgres_binary import SIGNATURE, TRAILER, to_binary
from cordillera.adapters.synchronizers.postgres_rows import sql_type
from cordillera.errors import TypeMismatchError


@pytest.fixture(scope="module")
def server(postgres_server: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_server, autocommit=True, prepare_threshold=None) as connection:
        yield connection


@st.composite
def decimals(draw: st.DrawFn) -> pa.Array:
    """Draw a column of decimals, as a slice of another and with NULL between, of any precision and scale."""
    precision = draw(st.integers(1, 38))
    scale = draw(st.integers(0, precision))
    largest = 10**precision - 1
    ends = st.sampled_from([0, 1, -1, largest, -largest])
    numbers = draw(st.lists(st.none() | ends | st.integers(-largest, largest), min_size=2, max_size=8))
    values = [None if n is None else Decimal(f"{n}e-{scale}") for n in numbers]
    return pa.array(values, pa.decimal128(precision, scale))[1:]


@settings(max_examples=40, deadline=None)
@given(column=decimals())
def test_decimals_of_any_width_arrive(server: psycopg.Connection[Any], column: pa.Array) -> None:
    assert arrived(server, column) == column.to_pylist()


@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.none() | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))))
def test_texts_between_numbers_arrive(server: psycopg.Connection[Any], values: list[str | None]) -> None:
    column = pa.array([None, *values, "end"], pa.string())[1:]
    assert arrived(server, column) == column.to_pylist()


def test_decimal_with_more_digits_than_its_type_has_is_refused() -> None:
    stored = pa.array([Decimal(10**20)], pa.decimal128(38, 0)).buffers()
    column = pa.Array.from_buffers(pa.decimal128(5, 2), 1, stored)
    with pytest.raises(TypeMismatchError, match=r"'price'.*digits"):
        to_binary(pa.record_batch([column], names=["price"]))


def arrived(server: psycopg.Connection[Any], column: pa.Array) -> list[Any]:
    """Return what PostgreSQL makes of a column between two others, in order."""
    numbers = pa.array(range(len(column)), pa.int64())
    flags = pa.array([None if n % 3 else n % 2 == 0 for n in range(len(column))], pa.bool_())
    kind = sql.SQL(sql_type(column.type))
    server.execute("DROP TABLE IF EXISTS arrived")
    server.execute(sql.SQL("CREATE TEMPORARY TABLE arrived (n bigint, value {}, flag boolean)").format(kind))
    with server.cursor().copy("COPY arrived FROM STDIN (FORMAT binary)") as copy:
        copy.write(SIGNATURE)
        copy.write(to_binary(pa.record_batch([numbers, column, flags], names=["n", "value", "flag"])))
        copy.write(TRAILER)
    found = server.execute("SELECT n, value, flag FROM arrived ORDER BY n").fetchall()
    assert [(n, flag) for n, _, flag in found] == list(zip(numbers.to_pylist(), flags.to_pylist(), strict=True))
    return [value for _, value, _ in found]
