"""Incremental reads: what is to be done to the rows of one snapshot to get those of another, row by row.

The rows are those of ``SELECT columns FROM table WHERE condition`` at either snapshot. A row that is in one of the two
only is an insert or a delete; one that is in both, under the same key (without a key: the same row id), and differs in
any of the columns is an update, with its image before and after. What was merely moved or written again is no change.
In format version 2 rows without a key cannot be told apart: equal ones are set off against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.schema import Schema

from cordillera.spec import sql
from cordillera.spec.row_changes import CHANGE_TYPE, COMMIT_SEQUENCE, ChangeType
from cordillera.spec.snapshot_summary import moves_rows
from cordillera.spec.table_metadata import IcebergSnapshot
from cordillera.table.data_writer import LAST_UPDATED, ROW_ID
from cordillera.table.difference import FileRows, SnapshotDifference, difference, without_carried_over
from cordillera.table.io import TableIO
from cordillera.table.reader import ReadOptions
from cordillera.table.row_view import ShownRows
from cordillera.table.scan import Scan

_SIDES = ("before", "after")


_TYPES = np.array(
    [ChangeType.DELETE, ChangeType.INSERT, ChangeType.UPDATE_BEFORE, ChangeType.UPDATE_AFTER], dtype=object
)
"""What a row of either side is that is there alone, then what it is beside one of the other side."""


@dataclass(frozen=True, slots=True)
class ChangeFeed:
    """The changes between two snapshots.

    Attributes:
        io: Access to the table's files.
        scan: The later snapshot, with the schema, columns and condition that both are read under.
        earlier: The snapshot to begin from; None for an empty table.
        shown: What is shown of the rows of both; None for all.
    """

    io: TableIO
    scan: Scan
    earlier: IcebergSnapshot | None
    shown: ShownRows | None = None

    def schema(self) -> pa.Schema:
        """Return the schema of the changes: the columns, the row id where there is no key, type and sequence number."""
        visible = self.scan.schema if self.shown is None else self.shown.view.schema
        declared = ReadOptions(visible, (ROW_ID,)).arrow_schema()
        return pa.schema(
            [
                *(declared.field(name) for name in self._names()),
                pa.field(CHANGE_TYPE, pa.string(), nullable=False),
                pa.field(COMMIT_SEQUENCE, pa.int64(), nullable=False),
            ]
        )

    def net(self) -> pa.RecordBatchReader:
        """Stream one change for each row that differs.

        The sequence number is that of the commit that last changed the row, where the row tells; of rows that are gone
        or back, and in format version 2, it is the later snapshot's.
        """
        return pa.RecordBatchReader.from_batches(self.schema(), self._net(self.earlier, self.scan.snapshot))

    def commit_by_commit(self, commits: Sequence[IcebergSnapshot]) -> pa.RecordBatchReader:
        """Stream the changes of every commit, one commit after the other.

        Args:
            commits: The snapshots behind the earlier one, up to the later one, each the parent of the next.
        """

        def batches() -> Iterator[pa.RecordBatch]:
            before = self.earlier
            for snapshot in commits:
                if not moves_rows(snapshot):
                    for batch in self._net(before, snapshot):
                        yield _with_sequence(batch, snapshot.sequence_number)
                before = snapshot

        return pa.RecordBatchReader.from_batches(self.schema(), batches())

    def _names(self) -> tuple[str, ...]:
        """Return the columns of the images."""
        has_ids = self.scan.metadata.format_version >= 3
        return (*self.scan.columns, *((ROW_ID,) if has_ids and not self._key else ()))

    @property
    def _key(self) -> tuple[str, ...]:
        return self.scan.metadata.semantics.key

    def _net(self, before: IcebergSnapshot | None, after: IcebergSnapshot | None) -> Iterator[pa.RecordBatch]:
        may_contain = self.scan.pruner()
        found = difference(self.io, self.scan.metadata, before, after)
        found = SnapshotDifference(found.before.that(may_contain), found.after.that(may_contain))
        rows = without_carried_over(self.io, found)
        if not rows.before and not rows.after:
            return
        known = bool(self._key) or (rows.before.have_ids and rows.after.have_ids)
        statement = self._matched() if known else self._set_off()
        sides = dict(zip(_SIDES, (self._read(rows.before), self._read(rows.after)), strict=True))
        images = _Images(self.schema(), before.sequence_number if before else 0, after.sequence_number if after else 0)
        for batch in self.io.engine.query(statement, sides):
            yield from images.of(batch)

    def _read(self, rows: FileRows) -> pa.RecordBatchReader:
        images = [*self.scan.columns, *(self.scan.row_filter.columns if self.scan.row_filter else ())]
        looked_at = self.shown.view.columns if self.shown else ()
        schema: Schema = self.scan.schema.select(*images, *self._key, *looked_at)
        stored = rows.read(self.io, schema, (ROW_ID, LAST_UPDATED), self.scan.pruner())
        if self.shown is None:
            return stored
        others = {ROW_ID: ROW_ID, LAST_UPDATED: LAST_UPDATED, **dict(zip(self._known_by, self._key, strict=True))}
        return self.shown.of(self.io, stored, tuple(dict.fromkeys(images)), others)

    @property
    def _known_by(self) -> tuple[str, ...]:
        """Return what the columns of the key are called on both sides; nobody need see them who sees the images."""
        return self._key if self.shown is None else tuple(f"{number} of the key" for number in range(len(self._key)))

    # --- statements --------------------------------------------------------------------------------------------------

    def _matched(self) -> str:
        """Return the query for rows that are known by key or id: both images, and whether there is each."""
        key = self._known_by or (ROW_ID,)
        names = self._names()
        keys = ", ".join(f"{sql.quote(name)} AS k{number}" for number, name in enumerate(key))
        columns = "".join(f", {sql.quote(name)} AS c{number}" for number, name in enumerate(names))
        sides = (
            f"(SELECT {keys}{columns}, {LAST_UPDATED} AS updated, true AS present FROM {side} WHERE {self._condition}) "
            f"{side[0]}"
            for side in _SIDES
        )
        images = [f"{side[0]}.c{number} AS {side[0]}{number}" for side in _SIDES for number in range(len(names))]
        same_key = " AND ".join(f"b.k{number} = a.k{number}" for number in range(len(key)))
        return (
            f"SELECT {', '.join(images)}, b.present AS was, a.present AS is_now, a.updated AS updated, 1 AS times "
            f"FROM {' FULL JOIN '.join(sides)} ON {same_key} "
            f"WHERE b.present IS NULL OR a.present IS NULL OR {self._differ()}"
        )

    def _differ(self) -> str:
        """Return the condition that two images differ. As text, floats differ that are equal as numbers: 0.0, -0.0."""
        schema, terms = self.schema(), []
        for number, name in enumerate(self._names()):
            left, right = f"b.c{number}", f"a.c{number}"
            terms.append(f"{left} IS DISTINCT FROM {right}")
            if _has_floats(schema.field(name).type):
                terms.append(f"{left}::VARCHAR IS DISTINCT FROM {right}::VARCHAR")
        return f"({' OR '.join(terms)})"

    def _set_off(self) -> str:
        """Return the query for rows that nothing tells apart: how many of each there are more on one side."""
        names, schema = self._names(), self.schema()
        columns = "".join(f"{sql.quote(name)} AS c{number}, " for number, name in enumerate(names))
        sides = " UNION ALL ".join(
            f"SELECT {columns}{weight} AS weight FROM {side} WHERE {self._condition}"
            for side, weight in zip(_SIDES, (-1, 1), strict=True)
        )
        alike = [f"c{number}" for number in range(len(self.scan.columns))]
        floats = [f"c{n}::VARCHAR" for n in range(len(alike)) if _has_floats(schema.field(n).type)]
        values = ", ".join(f"any_value(c{number}) AS v{number}" for number in range(len(names)))
        images = [
            f"CASE WHEN {test} THEN v{number} END AS {side[0]}{number}"
            for side, test in zip(_SIDES, ("weight < 0", "weight > 0"), strict=True)
            for number in range(len(names))
        ]
        groups = ", ".join([*alike, *floats])
        return (
            f"WITH counted AS (SELECT {values}, sum(weight) AS weight FROM ({sides}) GROUP BY {groups}) "
            f"SELECT {', '.join(images)}, CASE WHEN weight < 0 THEN true END AS was, "
            "CASE WHEN weight > 0 THEN true END AS is_now, NULL::BIGINT AS updated, abs(weight)::BIGINT AS times "
            "FROM counted WHERE weight <> 0"
        )

    @property
    def _condition(self) -> str:
        return self.scan.row_filter.sql if self.scan.row_filter else sql.EVERY_ROW


@dataclass(frozen=True, slots=True)
class _Images:
    """Makes rows of a change feed out of matched images: one or two of each match.

    Attributes:
        schema: Of the feed.
        earlier, later: Sequence numbers of the two snapshots.
    """

    schema: pa.Schema
    earlier: int
    later: int

    def of(self, matched: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yield the changes of a batch of matches, the images of an update one behind the other."""
        if not matched.num_rows:
            return
        matched = matched.take(pa.array(np.repeat(np.arange(matched.num_rows), matched.column("times").to_numpy())))
        was, is_now = (matched.column(name).is_valid().to_numpy(zero_copy_only=False) for name in ("was", "is_now"))
        match, side = np.nonzero(np.column_stack([was, is_now]))
        places = pa.array(match + side * matched.num_rows)
        width = len(self.schema) - 2
        columns = [
            pa.concat_arrays([matched.column(f"b{number}"), matched.column(f"a{number}")]).take(places)
            for number in range(width)
        ]
        types = _TYPES[side + 2 * (was & is_now)[match]]
        columns += [pa.array(types, pa.string()), self._sequences(matched.column("updated")).take(pa.array(match))]
        columns = [column.cast(field.type) for column, field in zip(columns, self.schema, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _sequences(self, updated: pa.Array) -> pa.Array:
        """Return the sequence numbers of commits: a row that is back from earlier does not tell what brought it."""
        tells = pc.and_(pc.greater(updated, self.earlier), pc.less_equal(updated, self.later))
        return pc.if_else(pc.fill_null(tells, False), updated, pa.scalar(self.later, pa.int64()))


def _with_sequence(batch: pa.RecordBatch, sequence: int) -> pa.RecordBatch:
    numbers = pa.repeat(pa.scalar(sequence, pa.int64()), batch.num_rows)
    return pa.RecordBatch.from_arrays([*batch.columns[:-1], numbers], schema=batch.schema)


def _has_floats(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_floats(kind.field(index).type) for index in range(kind.num_fields))
    return bool(pa.types.is_floating(kind))
