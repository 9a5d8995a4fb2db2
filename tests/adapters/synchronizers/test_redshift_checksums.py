"""Checksums that SQL for Redshift computes, by functions of its names in PostgreSQL, are those computed here."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from tests.adapters.synchronizers.checksums import (
    assert_found,
    assert_same,
    assert_same_buckets,
    put_every_key,
    put_every_type,
)
from tests.adapters.synchronizers.redshift_stand_in import StandIn

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import all_types, deliver

FLAT = {
    name: values
    for name, values in all_types().items()
    if not is_nested(values.type) and not pa.types.is_floating(values.type)
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine("256MB", 1)
    yield engine
    engine.close()


def test_both_sides_compute_the_same_and_find_what_differs(engine: DuckDBEngine, redshift: StandIn) -> None:
    target = redshift.target()
    table, rows = put_every_type(target, "t", "Id", {name.upper(): values for name, values in FLAT.items()})
    assert_same(engine, target, table, rows, 1, 4)
    redshift.execute("UPDATE t SET time = '00:00:01' WHERE id = 3")
    assert_found(engine, target, table, rows, 3)


def test_keys_of_every_type_fall_into_the_same_buckets(engine: DuckDBEngine, redshift: StandIn) -> None:
    target = redshift.target()
    assert_same_buckets(engine, target, *put_every_key(target, FLAT))


def test_tables_whose_texts_redshift_cannot_make_are_left_to_whoever_asks(redshift: StandIn) -> None:
    target, key = redshift.target(), TargetColumn(1, "id", pa.int64(), False)
    for name, kind, value in (
        ("floats", pa.float64(), 1.5),
        ("nested", pa.list_(pa.int64()), [1]),
        ("long", pa.string(), "x" * 65_500),
        ("bytes", pa.binary(), bytes(32_768)),
    ):
        table = TargetTable(name, (key, TargetColumn(2, "v", kind)), ("id",))
        target.apply(deliver(table, (None, 1), [{"id": 1, "v": value}]))
        assert target.checksums(table, 1) is None
        target.drop(deliver(table, (None, 1)).subscription_id, table, keep_rows=False)
