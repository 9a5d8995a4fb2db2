"""Proving two sets of rows equal by keyed checksum.

Each row is hashed together with its key, in one engine and in the same types, whatever side it comes from. The sum
of the hashes does not depend on the order of rows, and differs for a row that is missing, unexpected, doubled or
changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from cordillera.ports.engine import QueryEngine
from cordillera.ports.synchronizer import TargetTable
from cordillera.spec import sql

_EXAMPLES = 5


def compare(
    engine: QueryEngine,
    lake_rows: Callable[[], pa.RecordBatchReader],
    target_rows: Callable[[], pa.RecordBatchReader],
    table: TargetTable,
) -> dict[str, Any]:
    """Compare the rows of the lake with those of a target; returns the fields of a ``Verification``.

    Equal sides are read once. Only when the checksums differ are they read again, to find the rows that do.
    """
    rows_lake, checksum_lake = _checksum(engine, lake_rows(), table)
    rows_target, checksum_target = _checksum(engine, target_rows(), table)
    equal = rows_lake == rows_target and checksum_lake == checksum_target
    found: dict[str, Any] = {
        "equal": equal,
        "rows_lake": rows_lake,
        "rows_target": rows_target,
        "checksum_lake": checksum_lake,
        "checksum_target": checksum_target,
    }
    return found if equal else {**found, **_differences(engine, lake_rows(), target_rows(), table)}


def _checksum(engine: QueryEngine, rows: pa.RecordBatchReader, table: TargetTable) -> tuple[int, str]:
    result = engine.table(
        f"SELECT count(*) AS n, coalesce(sum({_row_hash(table)}::HUGEINT), 0)::VARCHAR AS total FROM side",
        {"side": _in_types_of(rows, table)},
    ).to_pylist()[0]
    total = int(result["total"]) % 2**64
    return result["n"], f"{total:016x}"


def _row_hash(table: TargetTable) -> str:
    return f"hash(row({sql.columns(column.name for column in table.columns)}))"


def _in_types_of(rows: pa.RecordBatchReader, table: TargetTable) -> pa.RecordBatchReader:
    names = [column.name for column in table.columns]
    schema = pa.schema([pa.field(column.name, column.type) for column in table.columns])
    return pa.RecordBatchReader.from_batches(schema, (batch.select(names).cast(schema) for batch in rows))


def _differences(
    engine: QueryEngine, lake: pa.RecordBatchReader, target: pa.RecordBatchReader, table: TargetTable
) -> dict[str, tuple[str, ...]]:
    keys = sql.columns(table.key)
    key_text = f"row({keys})::VARCHAR"
    hashed = f"SELECT {keys}, {key_text} AS key_text, {_row_hash(table)} AS row_hash FROM"
    result = engine.table(
        f"WITH l AS ({hashed} lake), t AS ({hashed} target), d AS ("
        f"SELECT coalesce(l.key_text, t.key_text) AS key_text, CASE WHEN t.row_hash IS NULL THEN 'missing' "
        f"WHEN l.row_hash IS NULL THEN 'unexpected' ELSE 'different' END AS kind "
        f"FROM l FULL OUTER JOIN t ON {sql.equal(table.key, 'l', 't')} WHERE l.row_hash IS DISTINCT FROM t.row_hash) "
        f"SELECT kind, key_text FROM d QUALIFY row_number() OVER (PARTITION BY kind ORDER BY key_text) <= {_EXAMPLES}",
        {"lake": _in_types_of(lake, table), "target": _in_types_of(target, table)},
    ).to_pylist()
    return {
        kind: tuple(sorted(row["key_text"] for row in result if row["kind"] == kind))
        for kind in ("missing", "unexpected", "different")
    }
