"""Checksums that MariaDB computes are those computed here."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.adapters.synchronizers.checksums import (
    assert_found,
    assert_same,
    assert_same_buckets,
    put_every_key,
    put_every_type,
)
from tests.servers_mariadb import MariaDB

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.errors import TargetDriftError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import all_types, deliver

FLOATS = [
    "-1.1754943508222875e-38",
    "1.1754942106924411e-38",
    "-1e-45",
    "3.4028234663852886e38",
    "-1.5",
    "7e-46",
    "0.1",
]


def finite(values: pa.Array) -> pa.Array:
    """Return values without those that MariaDB refuses."""
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))


FLAT = {name: finite(values) for name, values in all_types().items() if not is_nested(values.type)} | {
    "floats": pa.array(FLOATS).cast(pa.float32()),
    "doubles": pa.array([*FLOATS, "-2.2250738585072014e-308", "2.225073858507201e-308"]).cast(pa.float64()),
    "fraction": pa.array(["-0.9999", "0.0001", "0.0000", None]).cast(pa.decimal128(4, 4)),
    "whole": pa.array(["-99999999999999999999999999999999999999", "7", None]).cast(pa.decimal128(38, 0)),
    "odd times": pa.array([1, 86_399_999_999, None], pa.time64("us")),
}
NO_ZEROS = {  # the key 0.0 is among them
    name: values.filter(pc.not_equal(values.cast(pa.string()), "-0")) if pa.types.is_floating(values.type) else values
    for name, values in FLAT.items()
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine("256MB", 1)
    yield engine
    engine.close()


def test_both_sides_compute_the_same_and_find_what_differs(engine: DuckDBEngine, mariadb: MariaDB) -> None:
    target = mariadb.target()
    table, rows = put_every_type(target, "t", "id", FLAT)
    assert_same(engine, target, table, rows, 1, 4)
    mariadb.execute("UPDATE t SET string = 'changed by hand' WHERE id = 3")
    assert_found(engine, target, table, rows, 3)


def test_keys_of_every_type_fall_into_the_same_buckets(engine: DuckDBEngine, mariadb: MariaDB) -> None:
    target = mariadb.target()
    for names in (list(NO_ZEROS)[:8], list(NO_ZEROS)[8:]):  # a key has at most 32 columns, and 3,072 bytes
        assert_same_buckets(engine, target, *put_every_key(target, {name: NO_ZEROS[name] for name in names}))
        mariadb.execute("DROP TABLE `keys`")
        mariadb.execute("DELETE FROM _cordillera_cursors")


def test_what_has_no_checksum_is_left_to_whoever_asks_and_a_missing_table_is_drift(mariadb: MariaDB) -> None:
    target, key = mariadb.target(), TargetColumn(1, "id", pa.int64(), False)
    nested = TargetTable("nested", (key, TargetColumn(2, "l", pa.list_(pa.int64()))), ("id",))
    target.apply(deliver(nested, (None, 1), [{"id": 1, "l": [1]}]))
    assert target.checksums(nested, 1) is None
    mariadb.execute("ALTER TABLE nested MODIFY l LONGBLOB")
    mariadb.execute("INSERT INTO nested VALUES (2, REPEAT('x', 9000000))")  # twice as many digits are sent by no server
    assert target.checksums(TargetTable("nested", (key, TargetColumn(2, "l", pa.binary())), ("id",)), 1) is None
    with pytest.raises(TargetDriftError, match="not in the target"):
        target.checksums(TargetTable("nowhere", (key,), ("id",)), 1)
