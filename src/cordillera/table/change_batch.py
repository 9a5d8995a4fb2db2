"""The rows of one write: brought to the table's types, checked, and reduced to one row a key.

Where rows are combined with stored ones column by column (``table.folding``) or kept for good (``table.history``), all
of a key's rows are needed and none is left out here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.schema import Schema

from cordillera.errors import DuplicateKeyError, NullKeyError, UnknownColumnError
from cordillera.ports.engine import QueryEngine
from cordillera.row_spool import held
from cordillera.spec import sql
from cordillera.spec.arrow_types import cast_column, to_arrow_schema
from cordillera.spec.counting import counted
from cordillera.spec.merge import MergeRule, MergeSemantics
from cordillera.spec.names import COLUMN_SET
from cordillera.spec.row_examples import row_examples
from cordillera.table.integer_keys import KeyNumbers, repeats

_EXAMPLES = 5


def batch_schema(schema: Schema, given: Sequence[str], semantics: MergeSemantics) -> pa.Schema:
    """Return the schema of conformed rows: the given columns in the table's order, the column sets behind them.

    A row of a sparse update may leave out a required column, so none but key and sequence is required there.
    """
    identifying, sparse = {*semantics.natural_key, semantics.sequence}, COLUMN_SET in given
    wanted = [field for field in to_arrow_schema(schema) if field.name in given]
    fields = [pa.field(f.name, f.type, f.nullable or (sparse and f.name not in identifying)) for f in wanted]
    return pa.schema([*fields, pa.field(COLUMN_SET, pa.list_(pa.string()))] if sparse else fields)


def conform(
    batches: Iterable[pa.RecordBatch],
    schema: Schema,
    given: Sequence[str],
    semantics: MergeSemantics,
    dataset: str,
) -> Iterator[pa.RecordBatch]:
    """Bring batches to the declared types, columns in the table's order.

    Args:
        batches: The rows as given.
        schema: The table's schema.
        given: Columns to keep, all of them in the batches; ``_columns`` may be among them.
        semantics: Names the columns that must not be NULL besides the required ones.
        dataset: For error messages.

    Raises:
        TypeMismatchError: If a value does not fit its column's type.
        NullKeyError: If a key, sequence or required column holds NULL.
        UnknownColumnError: If a row's column set names a column that is not given.
    """
    conformed = batch_schema(schema, given, semantics)
    identifying = {*semantics.natural_key, semantics.sequence}
    row = 0
    for batch in batches:
        arrays = []
        for field in conformed:
            column = cast_column(batch.column(field.name), field.type, field.name)
            if column.null_count and (not field.nullable or field.name in identifying):
                _refuse_null(column, field.name, row, dataset, key=field.name in identifying)
            arrays.append(column)
        if COLUMN_SET in given:
            _check_column_sets(arrays[-1], conformed.names[:-1], dataset)
        yield pa.RecordBatch.from_arrays(arrays, schema=conformed)
        row += batch.num_rows


def conform_columns(reader: pa.RecordBatchReader, schema: Schema, semantics: MergeSemantics, dataset: str) -> pa.Table:
    """Return rows whose columns the table need not all have: those that it has in their declared types.

    Raises:
        TypeMismatchError: If a value does not fit its column's type.
        NullKeyError: If a key or the sequence holds NULL.
    """
    rows, declared = held(reader, reader.schema), to_arrow_schema(schema)
    for index, name in enumerate(rows.column_names):
        if name not in declared.names:
            continue
        kind = declared.field(name).type
        column = cast_column(rows.column(name), kind, name)
        if column.null_count and name in (*semantics.key, semantics.sequence):
            _refuse_null(column, name, 0, dataset, key=True)
        rows = rows.set_column(index, pa.field(name, kind), column)
    return rows


def _check_column_sets(sets: pa.ListArray, given: Sequence[str], dataset: str) -> None:
    named = pc.unique(pc.list_flatten(sets))
    strangers = named.filter(pc.invert(pc.is_in(named, value_set=pa.array(given, pa.string()))))
    if len(strangers):
        raise UnknownColumnError(
            f"Rows for {dataset} say in {COLUMN_SET} that they set {', '.join(map(repr, strangers.to_pylist()))}, "
            "which is not among the columns given.",
            hint=f"Columns given: {', '.join(given)}.",
        )


def _refuse_null(column: pa.Array, name: str, first_row: int, dataset: str, *, key: bool) -> None:
    rows = [first_row + int(i) for i in pc.indices_nonzero(column.is_null())[:_EXAMPLES].to_pylist()]
    what = "part of the key or the sequence" if key else "declared as required"
    how_many = counted(column.null_count, "row")
    raise NullKeyError(
        f"{how_many} for {dataset} {'has' if column.null_count == 1 else 'have'} NULL in {name!r}, which is {what}.",
        hint=f"Give every row a value, or leave the rows out (rows {', '.join(map(str, rows))}, counted from 0).",
        details={"column": name, "rows": column.null_count, "first_rows": rows},
    )


def one_row_per_key(rows: pa.Table, semantics: MergeSemantics, engine: QueryEngine, dataset: str) -> pa.Table:
    """Return the rows with one row a key: of the greatest sequence, or the least where the first row wins.

    Raises:
        DuplicateKeyError: If a key repeats and no sequence decides, naming examples.
    """
    if rows.num_rows < 2 or not semantics.key:
        return rows
    if not duplicate_keys(rows, semantics.key, engine).num_rows:
        return rows
    refuse_ambiguous(rows, semantics, engine, dataset)
    return engine.table(deciding_row(semantics, rows.schema), {"source": rows}).cast(rows.schema)


def deciding_row(semantics: MergeSemantics, schema: pa.Schema) -> str:
    """Return the query for the row of each key in ``source`` that decides, of rows with a sequence."""
    keys, sequence = sql.sort_terms(semantics.key, schema), sql.quote(semantics.sequence or "")
    order = "ASC" if semantics.rule is MergeRule.FIRST_ROW_WINS else "DESC"
    return f"SELECT * FROM source QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {sequence} {order}) = 1"


def duplicate_keys(rows: pa.Table | pa.RecordBatchReader, columns: Sequence[str], engine: QueryEngine) -> pa.Table:
    """Return up to five keys that repeat, with how often they do (``rows``)."""
    keys = KeyNumbers.of(rows, columns) if isinstance(rows, pa.Table) else None
    if keys is not None and not repeats(keys.numbers):
        rows = rows.slice(0, 0)
    if isinstance(rows, pa.Table) and all(groups_plainly(rows.schema.field(name).type) for name in columns):
        # A query costs milliseconds before it sees a row, which is what writing a small batch costs altogether.
        counts = rows.select(columns).group_by(columns, use_threads=False).aggregate([([], "count_all")])
        return counts.filter(pc.greater(counts.column("count_all"), 1))[:_EXAMPLES].rename_columns([*columns, "rows"])
    names = sql.columns(columns)
    return engine.table(
        f"SELECT {names}, count(*) AS rows FROM source GROUP BY {names} HAVING count(*) > 1 LIMIT {_EXAMPLES}",
        {"source": rows},
    )


def groups_plainly(kind: pa.DataType) -> bool:
    """Tell if Arrow groups a type as ``spec.merge`` does: not floats, whose NaN and -0.0 it tells apart."""
    return not (pa.types.is_floating(kind) or pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType))


def refuse_ambiguous(
    rows: pa.Table | pa.RecordBatchReader, semantics: MergeSemantics, engine: QueryEngine, dataset: str
) -> None:
    """Refuse rows whose keys repeat without a sequence that tells which is the later one."""
    deciding = [*semantics.natural_key, *([semantics.sequence] if semantics.sequence else [])]
    ties = duplicate_keys(rows, deciding, engine)
    if ties.num_rows:
        refuse_duplicates(ties, semantics, dataset)


def refuse_duplicates(ties: pa.Table, semantics: MergeSemantics, dataset: str) -> None:
    """Raise the error for repeated keys, with examples."""
    examples = row_examples(ties.drop_columns(["rows"]))
    if semantics.sequence:
        reason = f"the same key with the same {semantics.sequence}, so nothing tells which is the later one"
        hint = f"Give the later row a greater {semantics.sequence}, or leave one of them out."
    else:
        reason = "the same key, and the dataset has no sequence column to decide between them"
        hint = "Leave one of them out, or create the dataset with a sequence column."
    raise DuplicateKeyError(
        f"Rows for {dataset} repeat {reason}: {'; '.join(examples)}.",
        hint=hint,
        details={"examples": examples},
    )
