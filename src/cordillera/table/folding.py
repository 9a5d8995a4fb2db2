"""Merging rows column by column: sparse partial updates, and columns that aggregate what is written to them.

The rows of a key are applied to the stored row one after the other, in the order of their sequence. So a batch may
bring a key any number of times, each row setting columns of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cordillera.errors import MissingKeyError
from cordillera.ports.engine import QueryEngine
from cordillera.spec import sql
from cordillera.spec.arrow_types import cast_column
from cordillera.spec.merge import Aggregate, MergeSemantics
from cordillera.spec.names import COLUMN_SET
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.key_order import in_key_order
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import Merge, MergeResult, positions_by_file
from cordillera.table.projection import with_default
from cordillera.table.source_rows import SOURCE, row_ids
from cordillera.table.tombstones import Tombstones

_PHASE = "_cdl_phase"
_LATE, _BASE, _ON_TIME = 0, 1, 2
"""The order in which the rows of a key are applied: late ones first, which whatever is newer then covers."""
_IS_STORED = "_cdl_is_stored"


def folds(semantics: MergeSemantics, given: Sequence[str]) -> bool:
    """Tell whether rows with these columns are combined column by column."""
    return bool(semantics.aggregates) or COLUMN_SET in given


def order_matters(semantics: MergeSemantics, given: Sequence[str]) -> bool:
    """Tell whether the order of two rows of a key makes a difference."""
    deciding = {*semantics.natural_key, semantics.sequence}
    functions = [semantics.aggregates.get(name) for name in given if name not in deciding]
    return not all(how is not None and how.is_commutative for how in functions)


def folded_rows(semantics: MergeSemantics, schema: pa.Schema) -> str:
    """Return the query that folds the rows of ``source`` into one a key, where nothing is stored."""
    order = sql.columns([semantics.sequence], "source") if semantics.sequence else "1"
    folded = [
        f"{_folded('source', name, semantics.aggregates.get(name), order)} AS {sql.quote(name)}"
        for name in schema.names
    ]
    return f"SELECT {', '.join(folded)} FROM source GROUP BY {sql.columns(semantics.key, 'source')}"


def _folded(relation: str, name: str, how: Aggregate | None, order: str, among: str = "true") -> str:
    """Return the expression for one column of the folded row; ``among`` tells the rows that set the column."""
    column = sql.columns([name], relation)
    match how:
        case None:
            return f"last({column} ORDER BY {order}) FILTER (WHERE {among})"
        case Aggregate.LAST_NON_NULL:
            return f"last({column} ORDER BY {order}) FILTER (WHERE {among} AND {column} IS NOT NULL)"
        case Aggregate.FIRST:
            return f"first({column} ORDER BY {order}) FILTER (WHERE {among})"
        case _:
            return f"{how.value}({column}) FILTER (WHERE {among})"


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch, its keys, and where they are stored; ``_source`` is the number of a key."""

    keys: pa.Table
    rows: pa.Table
    candidates: list[LiveFile]
    matches: pa.Table
    stored: pa.Table


class FoldedMerge:
    """Merges batches of any number of rows a key.

    Args:
        merge: Finds and reads stored rows.
        metadata: The table.
        engine: Joins and folds.
        tombstones: The table's tombstones.
        dataset: The dataset's name, for error messages.
    """

    def __init__(
        self, merge: Merge, metadata: TableMetadata, engine: QueryEngine, tombstones: Tombstones, dataset: str
    ) -> None:
        self._merge, self._engine, self._tombstones, self._dataset = merge, engine, tombstones, dataset
        self._metadata, self._schema = metadata, metadata.schema
        self._semantics: MergeSemantics = metadata.semantics

    def merge(self, batch: pa.Table) -> MergeResult:
        """Work out what the rows do; columns they do not give keep their stored values, or take their defaults."""
        found = self._matched(batch)
        rows, dropped = self._accepted(found)
        touched = pc.unique(rows.column(SOURCE).combine_chunks())
        matches = found.matches.filter(pc.is_in(found.matches.column(SOURCE), value_set=touched))
        keys = found.keys.filter(pc.is_in(found.keys.column(SOURCE), value_set=touched))
        folded = self._fold(keys, rows, found.stored)
        updated = pc.count_distinct(matches.column(SOURCE)).as_py()
        schema = self._merge.no_rows().schema
        complete = pa.table(
            [*folded.drop_columns([SOURCE]).columns, row_ids(folded.column(SOURCE), matches)], schema=schema
        )
        return MergeResult(
            rows=in_key_order(complete, self._metadata, self._engine),
            removed=positions_by_file(matches, found.candidates),
            inserted=keys.num_rows - updated,
            updated=updated,
            deleted=0,
            late=dropped,
        )

    def _matched(self, batch: pa.Table) -> _Batch:
        key, names = self._semantics.key, batch.column_names
        distinct = self._engine.table(
            f"SELECT {sql.columns(key)}, row_number() OVER () - 1 AS {SOURCE} "
            f"FROM (SELECT {sql.columns(key)} FROM batch GROUP BY {sql.columns(key)})",
            {"batch": batch},
        )
        number = pa.field(SOURCE, pa.int64())
        keys = distinct.cast(pa.schema([*(batch.schema.field(name) for name in key), number]))
        rows = self._engine.table(
            f"SELECT {sql.columns(names, 'b')}, k.{SOURCE} FROM batch b JOIN keys k ON {sql.equal(key, 'b', 'k')}",
            {"batch": batch, "keys": keys},
        ).cast(batch.schema.append(number))
        candidates = self._merge.candidates(keys)
        matches = self._merge.match(keys, candidates)
        stored = self._merge.stored(matches, candidates, [field.name for field in self._schema.fields])
        return _Batch(keys, rows, candidates, matches, stored)

    def _accepted(self, found: _Batch) -> tuple[pa.Table, int]:
        """Return the rows that count, with their phase, and how many do not."""
        rows, sequence = found.rows, self._semantics.sequence
        if sequence is None:
            return rows.append_column(_PHASE, pa.repeat(_ON_TIME, rows.num_rows)), 0
        places = pc.index_in(rows.column(SOURCE), value_set=found.stored.column(SOURCE).combine_chunks())
        late = pc.fill_null(pc.less(rows.column(sequence), found.stored.column(sequence).take(places)), False)
        identified = rows.select([*self._semantics.key, sequence])
        buried = self._tombstones.late_sources(identified.append_column(SOURCE, pa.array(np.arange(rows.num_rows))))
        keep = np.ones(rows.num_rows, dtype=bool)
        keep[buried.to_numpy(zero_copy_only=False)] = False
        if not self._semantics.aggregates:  # a late row counts for nothing but aggregates
            keep &= ~late.to_numpy()
        phases = pc.if_else(late, pa.scalar(_LATE), pa.scalar(_ON_TIME))
        accepted = rows.append_column(_PHASE, phases).filter(pa.array(keep))
        return accepted, rows.num_rows - accepted.num_rows

    def _fold(self, keys: pa.Table, rows: pa.Table, stored: pa.Table) -> pa.Table:
        """Return one complete row a key, in the table's columns, with ``_source`` in front."""
        base = self._base(keys, stored)
        given = [name for name in rows.column_names if name not in (SOURCE, _PHASE, COLUMN_SET)]
        sparse = COLUMN_SET in rows.column_names
        behind = [SOURCE, _PHASE, *([COLUMN_SET] if sparse else [])]
        first = base.append_column(_PHASE, pa.repeat(_BASE, base.num_rows))
        if sparse:
            first = first.append_column(COLUMN_SET, pa.nulls(base.num_rows, pa.list_(pa.string())))
        later = rows.append_column(_IS_STORED, pa.repeat(False, rows.num_rows))
        columns = [*given, *behind, _IS_STORED]
        nullable = pa.schema([field.with_nullable(True) for field in later.select(columns).schema])
        events = pa.concat_tables([first.select(columns).cast(nullable), later.select(columns).cast(nullable)])
        folded = self._engine.table(
            f"SELECT {SOURCE}, {', '.join(self._expression(name, sparse) for name in given)} "
            f"FROM events GROUP BY {SOURCE}",
            {"events": events},
        )
        return self._completed(folded, base, given)

    def _expression(self, name: str, sparse: bool) -> str:
        how, sequence = self._semantics.aggregates.get(name), self._semantics.sequence
        identifying = (*self._semantics.key, sequence)
        among = "true"
        if sparse and name not in identifying:
            among = f"(events.{COLUMN_SET} IS NULL OR list_contains(events.{COLUMN_SET}, {sql.literal(name)}))"
        if how is Aggregate.FIRST:  # neither the defaults of a new key nor a late row came first
            among += f" AND (events.{_PHASE} = {_ON_TIME} OR events.{_IS_STORED})"
        order = f"events.{_PHASE}" + (f", {sql.columns([sequence], 'events')}" if sequence else "")
        return f"{_folded('events', name, how, order, among)} AS {sql.quote(name)}"

    def _base(self, keys: pa.Table, stored: pa.Table) -> pa.Table:
        """Return what rows are applied to, one row a key: the stored row, or the columns' defaults."""
        places = pc.index_in(keys.column(SOURCE), value_set=stored.column(SOURCE).combine_chunks())
        new, columns = places.is_null(), {}
        for field in self._schema.fields:
            values = stored.column(field.name).take(places)
            if field.write_default is not None and field.name not in self._semantics.aggregates:
                values = with_default(values, new, field.write_default)
            columns[field.name] = values
        return pa.table({**columns, SOURCE: keys.column(SOURCE), _IS_STORED: pc.invert(new)})

    def _completed(self, folded: pa.Table, base: pa.Table, given: Sequence[str]) -> pa.Table:
        """Add the columns that no row gives, and bring all to their types."""
        unchanged = base.take(pc.index_in(folded.column(SOURCE), value_set=base.column(SOURCE).combine_chunks()))
        columns = {SOURCE: folded.column(SOURCE).cast(pa.int64())}
        for field, wanted in zip(self._schema.fields, self._merge.no_rows().schema, strict=False):
            values = (folded if field.name in given else unchanged).column(field.name)
            columns[field.name] = cast_column(values, wanted.type, field.name)
            if field.required and columns[field.name].null_count:
                raise MissingKeyError(
                    f"{columns[field.name].null_count} rows for {self._dataset} would leave the required column "
                    f"{field.name!r} without a value.",
                    hint="Upsert complete rows first, or leave the new keys out.",
                )
        return pa.table(columns)
