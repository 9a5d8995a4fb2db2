"""Checksums that a target computes itself are those that are computed here, whatever the values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.adapters.synchronizers.checksums import assert_same, assert_same_buckets, expected, sums_of
from tests.adapters.synchronizers.test_synchronizer_text import LEAVES

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.synchronizers.postgres import PostgresSynchronizer
from cordillera.ports.synchronizer import ChecksumTarget, TargetColumn, TargetTable
from cordillera.spec.row_checksum import buckets_for
from cordillera.testing.synchronizer_deliveries import all_types, array_of, deliver

FURTHER: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.uuid(), st.uuids().map(lambda value: value.bytes)),
    (pa.decimal128(4, 4), st.decimals("-0.9999", "0.9999", places=4)),
    (pa.decimal128(38, 0), st.integers(-(10**38) + 1, 10**38 - 1)),
    (pa.timestamp("ns"), st.integers(-(2**63) // 1000 + 1, 2**63 // 1000 - 1).map(lambda micros: micros * 1000)),
]
TYPES = [*LEAVES, *FURTHER]
COLUMNS = tuple(TargetColumn(n, f"c {n}", kind) for n, (kind, _) in enumerate(TYPES, 2))
TABLE = TargetTable("everything", (TargetColumn(1, "id", pa.int64(), False), *COLUMNS), ("id",))


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine("256MB", 1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def target(postgres_server: str) -> Iterator[PostgresSynchronizer]:
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA checksums")
        yield PostgresSynchronizer(postgres_server, schema="checksums")
        admin.execute("DROP SCHEMA checksums CASCADE")


def put(target: PostgresSynchronizer, table: TargetTable, rows: Any) -> None:
    """Deliver a table anew."""
    subscription_id = uuid5(NAMESPACE_OID, table.name)
    target.drop(subscription_id, table, keep_rows=False)
    target.apply(deliver(table, (None, 1), rows, subscription_id=subscription_id))


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Rows with a column of every type that is not nested."""
    rows = draw(st.lists(st.tuples(*(st.none() | values for _, values in TYPES)), min_size=4, max_size=20))
    ids = pa.array(range(len(rows)), pa.int64())
    columns = [array_of(kind, [row[n] for row in rows]) for n, (kind, _) in enumerate(TYPES)]
    return pa.table([ids, *columns], schema=TABLE.arrow_schema())


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=tables())
def test_both_sides_compute_the_same(engine: DuckDBEngine, target: PostgresSynchronizer, rows: pa.Table) -> None:
    put(target, TABLE, rows)
    assert_same(engine, target, TABLE, rows, 1, 4)


@pytest.mark.parametrize("place", range(len(TYPES)), ids=[str(kind) for kind, _ in TYPES])
def test_keys_of_every_type_fall_into_the_same_buckets(
    engine: DuckDBEngine, target: PostgresSynchronizer, place: int
) -> None:
    kind, name = TYPES[place][0], f"key {place}"
    samples = [column for column in all_types().values() if column.type == kind]
    if not samples:
        return
    keys = samples[0].drop_null()
    if pa.types.is_floating(kind):
        keys = keys.filter(pa.compute.not_equal(keys.cast(pa.string()), "-0"))  # the key 0.0 is among them
    table = TargetTable(name, (TargetColumn(1, name, kind, False),), (name,))
    rows = pa.table([keys], schema=table.arrow_schema())
    put(target, table, rows)
    assert_same_buckets(engine, target, table, rows)


def test_tables_wider_than_functions_take_arguments(engine: DuckDBEngine, target: PostgresSynchronizer) -> None:
    columns = tuple(TargetColumn(n, f"c{n}", pa.int32(), n > 1) for n in range(1, 400))
    table = TargetTable("wide", columns, ("c1",))
    values = [pa.array([n, 1000 + n, 2000 if n == 1 else None], pa.int32()) for n in range(1, 400)]
    rows = pa.table(values, schema=table.arrow_schema())
    put(target, table, rows)
    assert sums_of(target.checksums(table, 1)) == expected(engine, table, rows, 1)


def test_what_only_others_write_is_a_difference_and_no_error(
    engine: DuckDBEngine, target: PostgresSynchronizer, postgres_server: str
) -> None:
    columns = (
        TargetColumn(1, "id", pa.int64(), False),
        TargetColumn(2, "day", pa.date32()),
        TargetColumn(3, "at", pa.timestamp("us", "UTC")),
        TargetColumn(4, "n", pa.decimal128(5, 2)),
        TargetColumn(5, "ns", pa.timestamp("ns")),
    )
    table = TargetTable("odd", columns, ("id",))
    rows = pa.table([[1], *([None] for _ in columns[1:])], schema=table.arrow_schema())
    put(target, table, rows)
    with psycopg.connect(postgres_server, autocommit=True) as somebody:
        somebody.execute(
            "UPDATE checksums.odd SET day = 'infinity', at = '-infinity', n = 'NaN', ns = '9999-12-31 00:00:00'"
        )
    assert sums_of(target.checksums(table, 1)) != expected(engine, table, rows, 1)


def test_nested_columns_and_other_encodings_are_left_to_whoever_asks(
    target: PostgresSynchronizer, postgres_server: str
) -> None:
    columns = (TargetColumn(1, "id", pa.int64(), False), TargetColumn(2, "l", pa.list_(pa.int64())))
    nested = TargetTable("nested", columns, ("id",))
    put(target, nested, [{"id": 1, "l": [1]}])
    assert isinstance(target, ChecksumTarget)
    assert target.checksums(nested, 1) is None
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        latin = PostgresSynchronizer(postgres_server.replace("dbname=postgres", "dbname=latin"))
        flat = replace(nested, columns=nested.columns[:1])
        put(latin, flat, [{"id": 1}])
        assert latin.checksums(flat, 1) is None
        admin.execute("DROP DATABASE latin WITH (FORCE)")


@pytest.mark.parametrize(
    ("rows", "buckets"), [(0, 1), (7, 1), (8, 1), (16, 2), (100, 8), (10**6, 65536), (10**9, 65536)]
)
def test_buckets_hold_few_rows(rows: int, buckets: int) -> None:
    assert buckets_for(rows) == buckets
