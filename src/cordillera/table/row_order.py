"""Rows of a write in the order of their table: one partition behind the other, each sorted by the sort order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform

from cordillera.ports.engine import QueryEngine
from cordillera.spec import sql
from cordillera.spec.sort_order import SortTerm, terms_of
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.data_writer import partition_columns, transformed

_COMPUTED = "_cordillera_order_"


class RowOrder:
    """Sorts rows by the query engine, which spills what its memory does not hold.

    Partitions come one behind the other, so that few files are open at a time and each holds one run of its partition.

    Args:
        engine: Sorts.
        metadata: The table, whose sort order is one that ``sorts`` is true for.
    """

    def __init__(self, engine: QueryEngine, metadata: TableMetadata) -> None:
        self._engine, self._schema, self._spec = engine, metadata.schema, metadata.partition_spec
        self._terms = terms_of(metadata.sort_order)
        self.order_id: int = metadata.sort_order["order-id"]

    def sort(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of batches sorted; all of them are read before the first is there."""
        remaining = iter(batches)
        first = next(remaining, None)
        if first is None:
            return
        schema = first.schema
        head = self._with_computed(first)
        rows = pa.RecordBatchReader.from_batches(
            head.schema, chain([head], (self._with_computed(batch) for batch in remaining))
        )
        statement = f"SELECT {sql.columns(schema.names)} FROM source ORDER BY {', '.join(self._order_by(schema))}"
        for batch in self._engine.query(statement, {"source": rows}):
            yield batch.cast(schema)

    def _with_computed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows with what they are sorted by behind them, where that is no column of theirs."""
        computed = partition_columns(self._spec, self._schema, batch)
        computed += [
            transformed(term.source_id, term.transform, self._schema, batch)
            for term in self._terms
            if not _is_column(term, self._schema)
        ]
        names = [*batch.schema.names, *(f"{_COMPUTED}{index}" for index in range(len(computed)))]
        return pa.RecordBatch.from_arrays([*batch.columns, *computed], names=names)

    def _order_by(self, schema: pa.Schema) -> list[str]:
        computed = (sql.quote(f"{_COMPUTED}{index}") for index in range(len(self._spec.fields) + len(self._terms)))
        by = [next(computed) for _ in self._spec.fields]
        for term in self._terms:
            name = self._schema.find_column_name(term.source_id) or ""
            what = sql.sort_terms([name], schema) if _is_column(term, self._schema) else next(computed)
            direction, nulls = "DESC" if term.descending else "ASC", "FIRST" if term.nulls_first else "LAST"
            by.append(f"{what} {direction} NULLS {nulls}")
        return by


def row_order(engine: QueryEngine, metadata: TableMetadata) -> RowOrder | None:
    """Return what sorts rows for new files of a table; None if they are written as they come."""
    return RowOrder(engine, metadata) if sorts(metadata) else None


def sorts(metadata: TableMetadata) -> bool:
    """Tell whether new files of a table are sorted. An order that this version does not know is no order."""
    terms = terms_of(metadata.sort_order)
    kinds = [(term, metadata.schema.find_type(term.source_id)) for term in terms]
    return bool(terms) and all(term.transform.can_transform(kind) for term, kind in kinds)


def _is_column(term: SortTerm, schema: Schema) -> bool:
    """Tell whether rows are sorted by a column as it is."""
    return isinstance(term.transform, IdentityTransform) and any(
        field.field_id == term.source_id for field in schema.fields
    )
