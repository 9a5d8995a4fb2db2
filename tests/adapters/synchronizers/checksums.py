"""What tests of checksums that targets compute share: rows of every type, and what is computed of them here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.ports.synchronizer import ChecksumTarget, Synchronizer, TargetColumn, TargetTable
from cordillera.spec.row_checksum import RowChecksum
from cordillera.testing.synchronizer_deliveries import deliver, spelled


class Target(Synchronizer, ChecksumTarget, Protocol):
    """A target that computes checksums."""


def sums_of(found: pa.Table | None) -> list[tuple[int, int, int]]:
    """Return bucket, rows and total of each bucket."""
    assert found is not None
    return sorted((row["bucket"], row["rows"], int(row["total"])) for row in found.to_pylist())


def expected(engine: DuckDBEngine, table: TargetTable, rows: pa.Table, buckets: int) -> list[tuple[int, int, int]]:
    """Return what the lake's engine computes of rows."""
    return sums_of(engine.table(_checksum(table).sums("side", buckets), {"side": rows}))


def put_every_type(target: Target, name: str, key: str, values: Mapping[str, pa.Array]) -> tuple[TargetTable, pa.Table]:
    """Deliver a table with a number as its key and a column of each of some values; shorter ones end in NULLs."""
    columns = [TargetColumn(n, each, column.type) for n, (each, column) in enumerate(values.items(), 2)]
    table = TargetTable(name, (TargetColumn(1, key, pa.int64(), False), *columns), (key,))
    length = max(map(len, values.values()))
    padded = (pa.concat_arrays([one, pa.nulls(length - len(one), one.type)]) for one in values.values())
    rows = pa.table([pa.array(range(length), pa.int64()), *padded], schema=table.arrow_schema())
    target.apply(deliver(table, (None, 1), rows))
    return table, rows


def put_every_key(target: Target, values: Mapping[str, pa.Array]) -> tuple[TargetTable, pa.Table]:
    """Deliver a table all columns of which are its key, each of some values again and again."""
    given = {name: column.drop_null() for name, column in values.items()}
    columns = tuple(TargetColumn(n, name, column.type, False) for n, (name, column) in enumerate(given.items()))
    table = TargetTable("keys", columns, tuple(given))
    length = max(map(len, given.values()))
    repeated = [column.take(pa.array([n % len(column) for n in range(length)])) for column in given.values()]
    rows = pa.table(repeated, schema=table.arrow_schema())
    target.apply(deliver(table, (None, 1), rows))
    return table, rows


def assert_same(engine: DuckDBEngine, target: Target, table: TargetTable, rows: pa.Table, *buckets: int) -> None:
    """Compare the sums that both sides compute."""
    for count in buckets:
        assert sums_of(target.checksums(table, count)) == expected(engine, table, rows, count)


def assert_same_buckets(engine: DuckDBEngine, target: Target, table: TargetTable, rows: pa.Table) -> None:
    """Compare the sums of 16 buckets, and the rows of every second one."""
    assert_same(engine, target, table, rows, 16)
    chosen = [bucket for bucket, _, _ in expected(engine, table, rows, 16)][::2]
    query = f"SELECT * FROM side WHERE ({_checksum(table).bucket(16)}) IN (SELECT unnest($1))"
    picked = engine.table(query, {"side": rows}, [chosen]).cast(rows.schema)
    assert spelled(target.read_buckets(table, 16, chosen).read_all()) == spelled(picked)


def assert_found(engine: DuckDBEngine, target: Target, table: TargetTable, rows: pa.Table, key: int) -> None:
    """Make sure that one of four buckets differs, and that it holds the row of a key."""
    found = {bucket: total for bucket, _, total in sums_of(target.checksums(table, 4))}
    right = {bucket: total for bucket, _, total in expected(engine, table, rows, 4)}
    (wrong,) = [bucket for bucket in right if found[bucket] != right[bucket]]
    assert key in target.read_buckets(table, 4, [wrong]).read_all()[table.key[0]].to_pylist()
    assert target.read_buckets(table, 4, []).read_all().num_rows == 0


def _checksum(table: TargetTable) -> RowChecksum:
    return RowChecksum(tuple((column.name, column.type) for column in table.columns), table.key, agreed=True)
