"""Rows of a write in the order of their table: one partition behind the other, each sorted by the sort order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform

from cordillera.ports.engine import QueryEngine
from cordillera.spec import sql
from cordillera.spec.partition_values import partition_columns, transformed
from cordillera.spec.sort_order import SortTerm, terms_of
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.change_batch import groups_plainly

_COMPUTED = "_cordillera_order_"
_GATHERED = 32 * 1024 * 1024
"""Rows of so many bytes are gathered before they are sorted; more are streamed to the query engine."""


@dataclass(frozen=True, slots=True)
class _By:
    """A column that rows are sorted by: one of theirs, or one computed from them."""

    name: str
    descending: bool = False
    nulls_first: bool = True


class RowOrder:
    """Sorts rows: few of them in memory, many by the query engine, which spills what its memory does not hold.

    Partitions come one behind the other, so that few files are open at a time and each holds one run of its partition.

    Args:
        engine: Sorts.
        metadata: The table, whose sort order is one that ``sorts`` is true for.
    """

    def __init__(self, engine: QueryEngine, metadata: TableMetadata) -> None:
        self._engine, self._schema, self._spec = engine, metadata.schema, metadata.partition_spec
        self._terms = terms_of(metadata.sort_order)
        self._by = tuple(_sorted_by(self._terms, len(self._spec.fields), metadata.schema))
        self.order_id: int = metadata.sort_order["order-id"]

    def sort(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of batches sorted; all of them are read before the first is there."""
        remaining, gathered, size = iter(batches), list[pa.RecordBatch](), 0
        for batch in remaining:
            gathered.append(self._with_computed(batch))
            size += batch.nbytes
            if size > _GATHERED:
                break
        else:
            yield from self._sort_few(gathered)
            return
        more = (self._with_computed(batch) for batch in remaining)
        yield from self._sort_by_query(pa.RecordBatchReader.from_batches(gathered[0].schema, chain(gathered, more)))

    def _sort_few(self, gathered: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if not gathered:
            return
        rows = pa.Table.from_batches(gathered)
        if not all(groups_plainly(rows.schema.field(by.name).type) for by in self._by):
            yield from self._sort_by_query(rows)
            return
        keys, ordering = list[pa.ChunkedArray](), list[tuple[str, str]]()
        for by in self._by:
            column = rows.column(by.name)
            if column.null_count:
                ordering.append((str(len(keys)), "descending" if by.nulls_first else "ascending"))
                keys.append(column.is_null().cast(pa.int8()))
            ordering.append((str(len(keys)), "descending" if by.descending else "ascending"))
            keys.append(column)
        found = pc.sort_indices(pa.table(keys, names=[str(index) for index in range(len(keys))]), sort_keys=ordering)
        yield from rows.select(self._own_columns(rows.schema)).take(found).to_batches()

    def _sort_by_query(self, rows: pa.Table | pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        names, terms = self._own_columns(rows.schema), []
        for by in self._by:
            direction, nulls = "DESC" if by.descending else "ASC", "FIRST" if by.nulls_first else "LAST"
            terms.append(f"{sql.sort_terms([by.name], rows.schema)} {direction} NULLS {nulls}")
        wanted = pa.schema([rows.schema.field(name) for name in names])
        statement = f"SELECT {sql.columns(names)} FROM source ORDER BY {', '.join(terms)}"
        for batch in self._engine.query(statement, {"source": rows}):
            yield batch.cast(wanted)

    def _own_columns(self, schema: pa.Schema) -> list[str]:
        return [name for name in schema.names if not name.startswith(_COMPUTED)]

    def _with_computed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows with what they are sorted by behind them, where that is no column of theirs."""
        computed = partition_columns(self._spec, self._schema, batch)
        computed += [
            transformed(term.source_id, term.transform, self._schema, batch)
            for term in self._terms
            if not _is_column(term, self._schema)
        ]
        fields = [pa.field(f"{_COMPUTED}{index}", column.type) for index, column in enumerate(computed)]
        return pa.RecordBatch.from_arrays([*batch.columns, *computed], schema=pa.schema([*batch.schema, *fields]))


def row_order(engine: QueryEngine, metadata: TableMetadata) -> RowOrder | None:
    """Return what sorts rows for new files of a table; None if they are written as they come."""
    return RowOrder(engine, metadata) if sorts(metadata) else None


def sorts(metadata: TableMetadata) -> bool:
    """Tell whether new files of a table are sorted. An order that this version does not know is no order."""
    terms = terms_of(metadata.sort_order)
    kinds = [(term, metadata.schema.find_type(term.source_id)) for term in terms]
    return bool(terms) and all(term.transform.can_transform(kind) for term, kind in kinds)


def _sorted_by(terms: Sequence[SortTerm], partition_fields: int, schema: Schema) -> Iterator[_By]:
    """Yield the columns that rows are sorted by: the partition's, then those of the sort order."""
    computed = (f"{_COMPUTED}{index}" for index in range(partition_fields, partition_fields + len(terms)))
    yield from (_By(f"{_COMPUTED}{index}") for index in range(partition_fields))
    for term in terms:
        name = (schema.find_column_name(term.source_id) or "") if _is_column(term, schema) else next(computed)
        yield _By(name, term.descending, term.nulls_first)


def _is_column(term: SortTerm, schema: Schema) -> bool:
    """Tell whether rows are sorted by a column as it is."""
    return isinstance(term.transform, IdentityTransform) and any(
        field.field_id == term.source_id for field in schema.fields
    )
