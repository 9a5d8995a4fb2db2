"""Checksums that ClickHouse computes are those computed here; the engine is real, the server around it stands in."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from tests.adapters.synchronizers.clickhouse_stand_in import StandIn
from tests.adapters.synchronizers.test_checksums import expected, sums_of
from tests.adapters.synchronizers.test_redshift_checksums import padded

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.errors import TargetDriftError
from cordillera.ports.synchronizer import ChecksumTarget, TargetColumn, TargetTable
from cordillera.spec.row_checksum import RowChecksum
from cordillera.testing.synchronizer_deliveries import all_types, deliver, spelled

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
    columns = [TargetColumn(n, name, values.type) for n, (name, values) in enumerate(FLAT.items(), 2)]
    table = TargetTable("t", (TargetColumn(1, "id", pa.int64(), False), *columns), ("id",))
    length = max(map(len, FLAT.values()))
    rows = pa.table(
        [pa.array(range(length), pa.int64()), *(padded(values, length) for values in FLAT.values())],
        schema=table.arrow_schema(),
    )
    target = clickhouse.target()
    assert isinstance(target, ChecksumTarget)
    target.apply(deliver(table, (None, 1), rows))
    for buckets in (1, 4):
        assert sums_of(target.checksums(table, buckets)) == expected(engine, table, rows, buckets)
    clickhouse.execute("ALTER TABLE t UPDATE string = 'changed by hand' WHERE id = 3 SETTINGS mutations_sync = 2")
    found = {bucket: total for bucket, _, total in sums_of(target.checksums(table, 4))}
    right = {bucket: total for bucket, _, total in expected(engine, table, rows, 4)}
    (wrong,) = [bucket for bucket in right if found[bucket] != right[bucket]]
    assert 3 in target.read_buckets(table, 4, [wrong]).read_all()["id"].to_pylist()
    assert target.read_buckets(table, 4, []).read_all().num_rows == 0


def test_keys_of_every_type_fall_into_the_same_buckets(engine: DuckDBEngine, clickhouse: StandIn) -> None:
    values = [column.drop_null() for column in FLAT.values()]
    columns = tuple(TargetColumn(n, name, column.type, False) for n, (name, column) in enumerate(FLAT.items()))
    table = TargetTable("keys", columns, tuple(FLAT))
    length = max(map(len, values))
    repeated = [column.take(pa.array([n % len(column) for n in range(length)])) for column in values]
    rows = pa.table(repeated, schema=table.arrow_schema())
    target = clickhouse.target()
    target.apply(deliver(table, (None, 1), rows))
    assert sums_of(target.checksums(table, 16)) == expected(engine, table, rows, 16)
    chosen = [bucket for bucket, _, _ in expected(engine, table, rows, 16)][::2]
    checksum = RowChecksum(tuple((c.name, c.type) for c in columns), table.key, agreed=True)
    picked = engine.table(
        f"SELECT * FROM side WHERE ({checksum.bucket(16)}) IN (SELECT unnest($1))", {"side": rows}, [chosen]
    ).cast(rows.schema)
    assert spelled(target.read_buckets(table, 16, chosen).read_all()) == spelled(picked)


def test_nested_columns_are_left_to_whoever_asks_and_a_missing_table_is_drift(clickhouse: StandIn) -> None:
    target, key = clickhouse.target(), TargetColumn(1, "id", pa.int64(), False)
    nested = TargetTable("nested", (key, TargetColumn(2, "l", pa.list_(pa.int64()))), ("id",))
    target.apply(deliver(nested, (None, 1), [{"id": 1, "l": [1]}]))
    assert target.checksums(nested, 1) is None
    with pytest.raises(TargetDriftError, match="not in the target"):
        target.checksums(TargetTable("nowhere", (key,), ("id",)), 1)
