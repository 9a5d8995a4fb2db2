"""Taking rows in whatever form people have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from cordillera.errors import TypeMismatchError, UnknownColumnError
from cordillera.spec.names import COLUMN_SET


def as_reader(rows: Any, schema: Callable[[], pa.Schema], *, others: bool = False) -> pa.RecordBatchReader:
    """Return rows as a stream of record batches.

    Args:
        rows: Anything with ``__arrow_c_stream__`` or ``__arrow_c_array__``, or a list of dicts.
        schema: Returns the dataset's schema, which a list of dicts takes its types from.
        others: Whether dicts may have keys that are no columns, whose types are then inferred.

    Raises:
        TypeMismatchError: If the rows have another form, or dicts hold values of other types.
        UnknownColumnError: If a dict has a key that is no column.
    """
    if isinstance(rows, pa.RecordBatchReader):
        return rows
    if hasattr(rows, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(rows)
    if isinstance(rows, pa.RecordBatch) or hasattr(rows, "__arrow_c_array__"):
        batch = pa.record_batch(rows)
        return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return _from_dicts(rows, schema(), others=others).to_reader()
    raise TypeMismatchError(
        f"Rows cannot be taken from a {type(rows).__name__}.",
        hint="Give a Polars, pandas or Arrow frame, anything with __arrow_c_stream__, or a list of dicts.",
    )


def _from_dicts(rows: list[dict[str, Any]], schema: pa.Schema, *, others: bool) -> pa.Table:
    given = dict.fromkeys(name for row in rows for name in row)
    schema = schema.append(pa.field(COLUMN_SET, pa.list_(pa.string()))) if COLUMN_SET in given else schema
    unknown = [name for name in given if name not in schema.names]
    if unknown and not others:
        raise UnknownColumnError(
            f"The rows have keys that are no columns: {', '.join(map(repr, unknown))}.",
            hint=f"Columns: {', '.join(schema.names)}.",
        )
    names = list(given) or schema.names
    try:
        known = pa.schema([schema.field(name).with_nullable(True) for name in names if name in schema.names])
        table = pa.Table.from_pylist(rows, schema=known)
        for name in unknown:
            table = table.append_column(name, pa.array([row.get(name) for row in rows]))
        return table
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise TypeMismatchError(
            f"A value does not fit its column: {error}.", hint="Correct the value, or evolve the dataset's schema."
        ) from error
