"""Scanning a snapshot: plan by statistics, read what may match, filter the rest in the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, EqualTo, In, Reference
from pyiceberg.expressions.literals import AboveMax, BelowMin
from pyiceberg.schema import Schema
from pyiceberg.types import DateType, IntegerType, LongType, NestedField, StringType

from cordillera.errors import UnknownColumnError
from cordillera.spec import sql
from cordillera.spec.arrow_types import to_arrow_type
from cordillera.spec.expression import RowFilter
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.bloom_filter import ENABLED
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


def plan(io: TableIO, scan: Scan, pruning: BooleanExpression | None = None) -> tuple[LiveFile, ...]:
    """Return the data files that a scan has to read; by an expression in place of its filter where one is given."""
    may_match = scan.pruner() if pruning is None else FilterPruner(scan.metadata, scan.schema, pruning)
    return tuple(live for live in io.files.live(scan.snapshot) if may_match(live.file))


def stream(io: TableIO, scan: Scan, planned: Sequence[LiveFile] | None = None) -> pa.RecordBatchReader:
    """Stream a scan's rows in bounded memory, from the files that ``plan`` returned where they are known already."""
    files = plan(io, scan) if planned is None else planned
    if scan.row_filter is None:
        if list(scan.columns) == [f.name for f in scan.schema.fields if f.name in scan.columns]:
            return io.reader.stream(files, ReadOptions(scan.schema.select(*scan.columns), scan.metadata_columns))
        filter_columns: tuple[str, ...] = ()
        condition = "true"
    else:
        filter_columns, condition = scan.row_filter.columns, scan.row_filter.sql
    read = scan.schema.select(*scan.columns, *filter_columns)
    values = filtered_values(scan, scan.row_filter.pruning) if scan.row_filter else ()
    options = ReadOptions(read, scan.metadata_columns, scan.pruner(), values=values)
    wanted = [*scan.columns, *scan.metadata_columns]
    result = io.engine.query(
        f"SELECT {sql.columns(wanted)} FROM scanned WHERE {condition}",
        {"scanned": io.reader.stream(files, options)},
    )
    by_name = {field.name: field for field in options.arrow_schema()}
    schema = pa.schema([by_name[name] for name in wanted])
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in result))


def filtered(
    io: TableIO, rows: pa.RecordBatchReader, columns: Sequence[str], row_filter: RowFilter | None
) -> pa.RecordBatchReader:
    """Stream some columns of the rows that satisfy a condition."""
    if row_filter is None and rows.schema.names == list(columns):
        return rows
    condition = row_filter.sql if row_filter else "true"
    schema = pa.schema([rows.schema.field(name) for name in columns])
    result = io.engine.query(f"SELECT {sql.columns(columns)} FROM scanned WHERE {condition}", {"scanned": rows})
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in result))


def stream_candidates(
    io: TableIO, scan: Scan, pruning: BooleanExpression, planned: Sequence[LiveFile]
) -> pa.RecordBatchReader:
    """Stream the rows that statistics do not rule out for an expression; the columns come in the table's order.

    Args:
        io: Access to the table's files.
        scan: What is read.
        pruning: The expression.
        planned: The files that ``plan`` returned for it.
    """
    may_match = FilterPruner(scan.metadata, scan.schema, pruning)
    values = [one for one in filtered_values(scan, pruning) if one[0].fields[0].name in scan.columns]
    options = ReadOptions(scan.schema.select(*scan.columns), may_contain=may_match, values=values)
    return io.reader.stream(planned, options)


def filtered_values(scan: Scan, expression: BooleanExpression) -> list[tuple[Schema, pa.Array]]:
    """Return the only values that an expression leaves to columns which have Bloom filters, by column."""
    if isinstance(expression, And):
        return filtered_values(scan, expression.left) + filtered_values(scan, expression.right)
    if not isinstance(expression, EqualTo | In) or not isinstance(expression.term, Reference):
        return []
    name = expression.term.name
    if scan.metadata.properties.get(f"{ENABLED}{name}", "").lower() != "true":
        return []
    column = scan.schema.select(name)
    field = column.fields[0]
    if not isinstance(field.field_type, IntegerType | LongType | DateType | StringType):
        return []
    literals = [expression.literal] if isinstance(expression, EqualTo) else list(expression.literals)
    found = [literal.to(field.field_type) for literal in literals]
    values = pa.array([one.value for one in found if not isinstance(one, AboveMax | BelowMin)], _raw(field))
    return [(column, values.cast(to_arrow_type(field.field_type)))]


def _raw(field: NestedField) -> pa.DataType:
    """Return the type in which literals of a column come: dates as days."""
    return pa.int32() if isinstance(field.field_type, DateType) else to_arrow_type(field.field_type)
