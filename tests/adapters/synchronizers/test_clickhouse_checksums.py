"""Checksums that ClickHouse computes are those computed here; the engine is real, the server around it stands in."""

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
from tests.adapters.synchronizers.clickhouse_stand_in import StandIn

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.errors import TargetDriftError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import all_types, deliver

NANOSECONDS = [0, -1, 1, -1001, 999, 1709251199999999999, -946684799000000001, None]
FLAT = {name: values for name, values in all_types().items() if not is_nested(values.type)} | {
    "fine": pa.array(NANOSECONDS, pa.timestamp("ns")),
    "fraction": pa.array(["-0.9999", "0.0001", "0.0000", None]).cast(pa.decimal128(4, 4)),
    "whole": pa.array(["-99999999999999999999999999999999999999", "7", None]).cast(pa.decimal128(38, 0)),
    "odd times": pa.array([1, 86_399_999_999, None], pa.time64("us")),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine("256MB", 1)
    yield engine
    engine.close()


def test_both_sides_compute_the_same_and_find_what_differs(engine: DuckDBEngine, clickhouse: StandIn) -> None:
    target = clickhouse.target()
    table, rows = put_every_type(target, "t", "id", FLAT)
    assert_same(engine, target, table, rows, 1, 4)
    clickhouse.execute("ALTER TABLE t UPDATE string = 'changed by hand' WHERE id = 3 SETTINGS mutations_sync = 2")
    assert_found(engine, target, table, rows, 3)


def test_keys_of_every_type_fall_into_the_same_buckets(engine: DuckDBEngine, clickhouse: StandIn) -> None:
    target = clickhouse.target()
    assert_same_buckets(engine, target, *put_every_key(target, FLAT))


def test_nested_columns_are_left_to_whoever_asks_and_a_missing_table_is_drift(clickhouse: StandIn) -> None:
    target, key = clickhouse.target(), TargetColumn(1, "id", pa.int64(), False)
    nested = TargetTable("nested", (key, TargetColumn(2, "l", pa.list_(pa.int64()))), ("id",))
    target.apply(deliver(nested, (None, 1), [{"id": 1, "l": [1]}]))
    assert target.checksums(nested, 1) is None
    with pytest.raises(TargetDriftError, match="not in the target"):
        target.checksums(TargetTable("nowhere", (key,), ("id",)), 1)
