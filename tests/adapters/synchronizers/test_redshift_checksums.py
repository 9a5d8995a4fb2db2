"""Checksums that SQL for Redshift computes, by functions of its names in PostgreSQL, are those computed here."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from tests.adapters.synchronizers.redshift_stand_in import StandIn
from tests.adapters.synchronizers.test_checksums import expected, sums_of

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.ports.synchronizer import ChecksumTarget, TargetColumn, TargetTable
from cordillera.spec.row_checksum import RowChecksum
from cordillera.testing.synchronizer_deliveries import all_types, deliver, spelled

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


def padded(values: pa.Array, length: int) -> pa.Array:
    return pa.concat_arrays([values, pa.nulls(length - len(values), values.type)])


def test_both_sides_compute_the_same_and_find_what_differs(engine: DuckDBEngine, redshift: StandIn) -> None:
    columns = [TargetColumn(n, name.upper(), values.type) for n, (name, values) in enumerate(FLAT.items(), 2)]
    table = TargetTable("t", (TargetColumn(1, "Id", pa.int64(), False), *columns), ("Id",))
    length = max(map(len, FLAT.values()))
    rows = pa.table(
        [pa.array(range(length), pa.int64()), *(padded(values, length) for values in FLAT.values())],
        schema=table.arrow_schema(),
    )
    target = redshift.target()
    assert isinstance(target, ChecksumTarget)
    target.apply(deliver(table, (None, 1), rows))
    for buckets in (1, 4):
        assert sums_of(target.checksums(table, buckets)) == expected(engine, table, rows, buckets)
    redshift.execute("UPDATE t SET time = '00:00:01' WHERE id = 3")
    found = {bucket: total for bucket, _, total in sums_of(target.checksums(table, 4))}
    right = {bucket: total for bucket, _, total in expected(engine, table, rows, 4)}
    (wrong,) = [bucket for bucket in right if found[bucket] != right[bucket]]
    assert 3 in target.read_buckets(table, 4, [wrong]).read_all()["Id"].to_pylist()
    assert target.read_buckets(table, 4, []).read_all().num_rows == 0


def test_keys_of_every_type_fall_into_the_same_buckets(engine: DuckDBEngine, redshift: StandIn) -> None:
    values = [column.drop_null() for column in FLAT.values()]
    columns = tuple(TargetColumn(n, name, column.type, False) for n, (name, column) in enumerate(FLAT.items()))
    table = TargetTable("keys", columns, tuple(FLAT))
    length = max(map(len, values))
    repeated = [column.take(pa.array([n % len(column) for n in range(length)])) for column in values]
    rows = pa.table(repeated, schema=table.arrow_schema())
    target = redshift.target()
    target.apply(deliver(table, (None, 1), rows))
    assert sums_of(target.checksums(table, 16)) == expected(engine, table, rows, 16)
    chosen = [bucket for bucket, _, _ in expected(engine, table, rows, 16)][::2]
    checksum = RowChecksum(tuple((c.name, c.type) for c in columns), table.key, agreed=True)
    picked = engine.table(
        f"SELECT * FROM side WHERE ({checksum.bucket(16)}) IN (SELECT unnest($1))", {"side": rows}, [chosen]
    ).cast(rows.schema)
    assert spelled(target.read_buckets(table, 16, chosen).read_all()) == spelled(picked)


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
