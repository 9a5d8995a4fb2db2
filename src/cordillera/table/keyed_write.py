"""Writes that find stored rows by key: which of the merges a dataset's semantics ask for, and what it needs staged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cordillera.errors import DuplicateKeyError
from cordillera.ports.engine import QueryEngine
from cordillera.row_spool import held
from cordillera.spec.counting import counted
from cordillera.spec.merge import MergeRule, MergeSemantics, Operation
from cordillera.spec.row_examples import row_examples
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.change_batch import batch_schema, one_row_per_key, refuse_ambiguous
from cordillera.table.folding import FoldedMerge, folds, order_matters
from cordillera.table.history import HistoryMerge
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import Merge, MergeResult
from cordillera.table.source_rows import SOURCE
from cordillera.table.tombstones import Tombstones

KEYED = (Operation.UPSERT, Operation.PARTIAL_UPDATE, Operation.DELETE)
"""Operations that find stored rows by key; the others add whole rows, in which columns left out have their defaults."""


def computes_rows(operation: Operation, given: Sequence[str], semantics: MergeSemantics) -> bool:
    """Tell whether the rows that get stored are not the rows that are written, but are computed from them."""
    return semantics.history is not None or (operation is not Operation.DELETE and folds(semantics, given))


def stored_columns(operation: Operation, given: Sequence[str], metadata: TableMetadata) -> list[str]:
    """Return the columns of the rows that a write's inspector gets to see."""
    whole = operation not in KEYED or computes_rows(operation, given, metadata.semantics)
    return [field.name for field in metadata.schema.fields] if whole else list(given)


def staged_batch(
    io: TableIO,
    operation: Operation,
    batches: Iterator[pa.RecordBatch],
    metadata: TableMetadata,
    given: Sequence[str],
    dataset: str,
) -> pa.Table:
    """Return the rows of a keyed write as they are needed to resolve it.

    Raises:
        DuplicateKeyError: If a key repeats, its rows differ, and nothing tells which is the later one.
    """
    semantics = metadata.semantics
    batch = held(batches, batch_schema(metadata.schema, given, semantics))
    if operation is Operation.DELETE and semantics.history is None:
        return one_row_per_key(batch, replace(semantics, rule=MergeRule.LATEST_ROW_WINS), io.engine, dataset)
    if not computes_rows(operation, given, semantics) and semantics.rule is not MergeRule.FIRST_ROW_WINS:
        return one_row_per_key(batch, semantics, io.engine, dataset)
    keeps_all = semantics.history is not None and operation is not Operation.DELETE
    if keeps_all or order_matters(semantics, given):
        refuse_ambiguous(batch, semantics, io.engine, dataset)
    return batch


def merged(
    io: TableIO,
    operation: Operation,
    batch: pa.Table,
    metadata: TableMetadata,
    live_files: Sequence[LiveFile],
    dataset: str,
) -> MergeResult:
    """Work out what a staged batch does to a table.

    Raises:
        DuplicateKeyError: If an append brings a key that is stored.
    """
    semantics = metadata.semantics
    if semantics.history is not None:
        return HistoryMerge(io, metadata, live_files).merge(operation, batch)
    tombstones = Tombstones(io.storage, io.engine, metadata, io.clock.new_id)
    merge = Merge(metadata, live_files, io, tombstones)
    # Columns that an append leaves out take their defaults, as those of a partial update do for a new key.
    known = Operation.PARTIAL_UPDATE if operation is Operation.APPEND else operation
    if computes_rows(operation, batch.column_names, semantics):
        result = FoldedMerge(merge, metadata, io.engine, tombstones, dataset).merge(batch)
    elif semantics.rule is MergeRule.FIRST_ROW_WINS and operation is not Operation.DELETE:
        first = _first_rows(batch, semantics, tombstones, io.engine, dataset)
        result = merge.merge(known, first, keep_stored=operation is not Operation.APPEND)
        result = replace(result, late=result.late + batch.num_rows - first.num_rows)
    else:
        result = merge.merge(known, batch)
    if operation is Operation.APPEND and result.updated:
        raise keys_stored(dataset, None, result.updated)
    return result


def _first_rows(
    batch: pa.Table, semantics: MergeSemantics, tombstones: Tombstones, engine: QueryEngine, dataset: str
) -> pa.Table:
    """Return the first row of each key, of those that no delete covers."""
    if semantics.sequence:
        identified = batch.select([*semantics.key, semantics.sequence])
        numbers = pa.array(np.arange(batch.num_rows, dtype=np.int64))
        covered = tombstones.late_sources(identified.append_column(SOURCE, numbers))
        batch = batch.filter(pc.invert(pc.is_in(numbers, value_set=covered)))
    return one_row_per_key(batch, semantics, engine, dataset)


def keys_stored(dataset: str, repeated: pa.Table | None, count: int | None) -> DuplicateKeyError:
    """Return the error for rows that bring keys which are stored and stay."""
    examples = [] if repeated is None else row_examples(repeated)
    keys = counted(count, "key") if count else "keys"
    return DuplicateKeyError(
        f"The rows bring {keys} that {dataset} already holds{': ' if examples else ''}{'; '.join(examples)}.",
        hint="Use upsert to put rows in the place of stored ones.",
        details={"examples": examples},
    )
