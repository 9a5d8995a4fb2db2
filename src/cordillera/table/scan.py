"""Scanning a snapshot: plan by statistics, read what may match, filter the rest in the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.schema import Schema

from cordillera.errors import UnknownColumnError
from cordillera.spec import sql
from cordillera.spec.expression import RowFilter
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.pruning import FilterPruner
from cordillera.table.reader import ReadOptions


@dataclass(frozen=True, slots=True)
class Scan:
    """A read of one snapshot.

    Attributes:
        metadata: The table.
        snapshot: The snapshot to read, or None for an empty table.
        schema: The schema to read under.
        columns: Columns wanted, in order.
        row_filter: Which rows, or None for all.
        metadata_columns: Lineage columns wanted behind the others.
    """

    metadata: TableMetadata
    snapshot: IcebergSnapshot | None
    schema: Schema
    columns: tuple[str, ...]
    row_filter: RowFilter | None = None
    metadata_columns: tuple[str, ...] = ()

    def pruner(self) -> FilterPruner:
        """Return the rule that tells which files may hold wanted rows."""
        expression = self.row_filter.pruning if self.row_filter else AlwaysTrue()
        return FilterPruner(self.metadata, self.schema, expression)


def check_selection(columns: Sequence[str] | None, schema: Schema, dataset: str) -> tuple[str, ...]:
    """Return the columns to read; None selects all.

    Raises:
        UnknownColumnError: Naming columns that do not exist.
    """
    names = [field.name for field in schema.fields]
    if columns is None:
        return tuple(names)
    unknown = [name for name in columns if name not in names]
    if unknown or not columns:
        raise UnknownColumnError(
            f"{dataset} has no column {', '.join(map(repr, unknown))}."
            if unknown
            else f"No column of {dataset} is selected.",
            hint=f"Columns: {', '.join(names)}.",
        )
    return tuple(columns)


def plan(io: TableIO, scan: Scan) -> tuple[LiveFile, ...]:
    """Return the data files that a scan has to read."""
    may_match = scan.pruner()
    return tuple(live for live in io.files.live(scan.snapshot) if may_match(live.file))


def stream(io: TableIO, scan: Scan) -> pa.RecordBatchReader:
    """Stream a scan's rows in bounded memory."""
    files = plan(io, scan)
    if scan.row_filter is None:
        if list(scan.columns) == [f.name for f in scan.schema.fields if f.name in scan.columns]:
            return io.reader.stream(files, ReadOptions(scan.schema.select(*scan.columns), scan.metadata_columns))
        filter_columns: tuple[str, ...] = ()
        condition = "true"
    else:
        filter_columns, condition = scan.row_filter.columns, scan.row_filter.sql
    read = scan.schema.select(*scan.columns, *filter_columns)
    options = ReadOptions(read, scan.metadata_columns, scan.pruner())
    wanted = [*scan.columns, *scan.metadata_columns]
    result = io.engine.query(
        f"SELECT {sql.columns(wanted)} FROM scanned WHERE {condition}",
        {"scanned": io.reader.stream(files, options)},
    )
    by_name = {field.name: field for field in options.arrow_schema()}
    schema = pa.schema([by_name[name] for name in wanted])
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in result))


def stream_candidates(io: TableIO, scan: Scan, pruning: BooleanExpression) -> pa.RecordBatchReader:
    """Stream the rows that statistics do not rule out for an expression; the columns come in the table's order."""
    may_match = FilterPruner(scan.metadata, scan.schema, pruning)
    files = [live for live in io.files.live(scan.snapshot) if may_match(live.file)]
    return io.reader.stream(files, ReadOptions(scan.schema.select(*scan.columns), may_contain=may_match))
