"""Checksums that Snowflake computes are those computed here; on fakesnow, an emulator."""

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
from tests.servers_snowflake import Snowflake

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.errors import TargetDriftError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import all_types, deliver

pytestmark = pytest.mark.long

VALUES = {
    name: column
    for name, column in all_types().items()
    if not is_nested(column.type) and not pa.types.is_floating(column.type)
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine("256MB", 1)
    yield engine
    engine.close()


def test_both_sides_compute_the_same_and_find_what_differs(engine: DuckDBEngine, snowflake: Snowflake) -> None:
    target = snowflake.target()
    table, rows = put_every_type(target, "t", "id", VALUES)
    assert_same(engine, target, table, rows, 1, 4)
    snowflake.execute("""UPDATE "t" SET "string" = 'changed by hand' WHERE "id" = 3""")
    assert_found(engine, target, table, rows, 3)


def test_keys_of_every_type_fall_into_the_same_buckets(engine: DuckDBEngine, snowflake: Snowflake) -> None:
    assert_same_buckets(engine, snowflake.target(), *put_every_key(snowflake.target(), VALUES))


def test_what_has_no_checksum_is_left_to_whoever_asks_and_a_missing_table_is_drift(snowflake: Snowflake) -> None:
    target, key = snowflake.target(), TargetColumn(1, "id", pa.int64(), False)
    for kind in (pa.float64(), pa.float32(), pa.list_(pa.int64())):
        assert target.checksums(TargetTable("t", (key, TargetColumn(2, "c", kind)), ("id",)), 1) is None
    long = TargetTable("long", (key, TargetColumn(2, "b", pa.binary()), TargetColumn(3, "c", pa.binary())), ("id",))
    target.apply(deliver(long, (None, 1), [{"id": 1, "b": b"x" * 8_000_000, "c": b"y" * 8_000_000}]))
    assert target.checksums(long, 1) is None
    with pytest.raises(TargetDriftError, match="not in the target"):
        target.checksums(TargetTable("nowhere", (key,), ("id",)), 1)
