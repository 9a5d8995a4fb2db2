"""Proving two sets of rows equal by keyed checksum, and finding the rows that make them differ.

One sum over all rows tells whether the sides are equal. If they are not, sums by bucket of keys narrow it down, and
only the rows of buckets that differ are compared one by one. A target that computes sums itself sends only those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cordillera.ports.engine import QueryEngine, Relation
from cordillera.ports.synchronizer import ChecksumTarget, Synchronizer, TargetTable
from cordillera.spec import sql
from cordillera.spec.row_checksum import RowChecksum, buckets_for

MOST_DIFFERENCES = 100_000
"""How many differing rows are told apart; where there are more, the rest is not looked at."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side's rows and the sum of their digests."""

    rows: int
    total: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of comparing two sides.

    Attributes:
        key: The names of the key columns.
        differences: A row for each key that differs: its values ``k0``, ``k1`` …, its ``spelling``, its ``kind``
            (``missing`` from the target, ``unexpected`` there, ``different``), and the ``columns`` that differ.
    """

    lake: Side
    target: Side
    key: tuple[str, ...]
    differences: pa.Table

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same rows."""
        return self.lake == self.target

    @property
    def complete(self) -> bool:
        """Whether every row that differs is among the differences."""
        return bool(self.differences.num_rows < MOST_DIFFERENCES)

    def of_kind(self, kind: str) -> pa.Table:
        """Return the differences of one kind."""
        return self.differences.filter(pc.equal(self.differences["kind"], kind))

    def columns(self) -> tuple[str, ...]:
        """Return the names of columns that differ in rows that both sides have."""
        names = pc.list_flatten(self.of_kind("different")["columns"]).unique()
        return tuple(sorted(names.to_pylist()))

    def keys(self, *kinds: str) -> pa.Table:
        """Return the keys of the differences of some kinds."""
        chosen = self.differences.filter(pc.is_in(self.differences["kind"], pa.array(kinds, pa.string())))
        return chosen.select(range(len(self.key))).rename_columns(list(self.key))


class Comparer:
    """Compares a table of a target with the rows it should have.

    Args:
        engine: Computes the lake's sums, and the target's where that cannot.
        table: What is compared: the table, or its current rows.
        lake_rows: Opens the rows of the lake.
        synchronizer: Reads the target.
    """

    def __init__(
        self,
        engine: QueryEngine,
        table: TargetTable,
        lake_rows: Callable[[], pa.RecordBatchReader],
        synchronizer: Synchronizer,
    ) -> None:
        self._engine, self._lake_rows, self._synchronizer = engine, lake_rows, synchronizer
        self._kept, self._table = table, table.compared()

    def compare(self) -> Comparison:
        """Compare: by one sum a side if they are equal, else down to the rows."""
        found = self._target_sums(1)
        checksum = RowChecksum(
            tuple((c.name, c.type) for c in self._table.columns), self._table.key, agreed=found is not None
        )
        target = _side(found if found is not None else self._sums(checksum, self._target_rows(), 1))
        lake = _side(self._sums(checksum, self._lake(), 1))
        if lake == target:
            return Comparison(lake, target, self._table.key, self._no_differences())
        found = self._differences(checksum, max(lake.rows, target.rows))
        return Comparison(lake, target, self._table.key, found)

    # --- sums ----------------------------------------------------------------------------------------------------

    def _target_sums(self, buckets: int) -> pa.Table | None:
        if not isinstance(self._synchronizer, ChecksumTarget):
            return None
        return self._synchronizer.checksums(self._kept, buckets)

    def _sums(self, checksum: RowChecksum, rows: Relation, buckets: int) -> pa.Table:
        return self._engine.table(checksum.sums("side", buckets), {"side": rows})

    def _lake(self) -> pa.RecordBatchReader:
        return _in_types_of(self._lake_rows(), self._table)

    def _target_rows(self) -> pa.RecordBatchReader:
        return _in_types_of(self._synchronizer.read_rows(self._kept), self._table)

    # --- rows ----------------------------------------------------------------------------------------------------

    def _differences(self, checksum: RowChecksum, rows: int) -> pa.Table:
        """Return the rows that differ, having looked only into the buckets that do."""
        count = buckets_for(rows)
        found = self._target_sums(count)
        there = found if found is not None else self._sums(checksum, self._target_rows(), count)
        here = self._sums(checksum, self._lake(), count)
        chosen = self._engine.table(
            "SELECT coalesce(here.bucket, there.bucket) AS bucket FROM here FULL JOIN there USING (bucket) "
            "WHERE here.rows IS DISTINCT FROM there.rows OR here.total IS DISTINCT FROM there.total",
            {"here": here, "there": there},
        )
        if isinstance(self._synchronizer, ChecksumTarget) and checksum.agreed:
            numbers = chosen["bucket"].to_pylist()
            target = _in_types_of(self._synchronizer.read_buckets(self._kept, count, numbers), self._table)
        else:
            target = self._target_rows()
        relations = {"lake": self._lake(), "target": target, "chosen": chosen}
        return self._engine.table(self._query(checksum, count), relations)

    def _query(self, checksum: RowChecksum, buckets: int) -> str:
        """Return the query that joins both sides' rows of the chosen buckets by key, and tells how they differ.

        A key that the target holds twice differs, be it in no column.
        """
        key = self._table.key
        others = [column.name for column in self._table.columns if column.name not in key]
        picked = [f"{sql.quote(name)} AS k{n}" for n, name in enumerate(key)]
        picked += [f"hash({sql.quote(name)}) AS h{n}" for n, name in enumerate(others)]
        side = f"SELECT {', '.join(picked)} FROM {{}} WHERE ({checksum.bucket(buckets)}) IN (FROM chosen)"
        keys, hashes = [f"k{n}" for n in range(len(key))], [f"h{n}" for n in range(len(others))]
        grouped = ", ".join([*keys, "count(*) AS n", *(f"any_value({name}) AS {name}" for name in hashes)])
        differing = [f"CASE WHEN l.h{n} <> t.h{n} THEN {sql.literal(name)} END" for n, name in enumerate(others)]
        whole = ", ".join(f"coalesce(l.{name}, t.{name}) AS {name}" for name in keys)
        return (
            f"WITH l AS (SELECT *, 1 AS n FROM ({side.format('lake')})), "
            f"t AS (SELECT {grouped} FROM ({side.format('target')}) GROUP BY ALL), "
            f"d AS (SELECT {whole}, l.n AS here, t.n AS there, list_filter([{', '.join(differing)}]::VARCHAR[], "
            f"lambda name: name IS NOT NULL) AS columns FROM l FULL JOIN t ON {sql.equal(keys, 'l', 't')}) "
            f"SELECT {', '.join(keys)}, row({', '.join(keys)})::VARCHAR AS spelling, CASE WHEN there IS NULL "
            "THEN 'missing' WHEN here IS NULL THEN 'unexpected' ELSE 'different' END AS kind, columns FROM d "
            f"WHERE here IS DISTINCT FROM there OR len(columns) > 0 ORDER BY kind, spelling LIMIT {MOST_DIFFERENCES}"
        )

    def _no_differences(self) -> pa.Table:
        fields = [
            pa.field(f"k{n}", self._table.arrow_schema().field(name).type) for n, name in enumerate(self._table.key)
        ]
        fields += [pa.field("spelling", pa.string()), pa.field("kind", pa.string())]
        return pa.schema([*fields, pa.field("columns", pa.list_(pa.string()))]).empty_table()


def _side(sums: pa.Table) -> Side:
    """Return the only bucket of a side; a side without rows has none."""
    row = next(iter(sums.to_pylist()), {"rows": 0, "total": 0})
    return Side(row["rows"], int(row["total"]))


def _in_types_of(rows: pa.RecordBatchReader, table: TargetTable) -> pa.RecordBatchReader:
    names = [column.name for column in table.columns]
    schema = pa.schema([pa.field(column.name, column.type) for column in table.columns])
    return pa.RecordBatchReader.from_batches(schema, (batch.select(names).cast(schema) for batch in rows))
