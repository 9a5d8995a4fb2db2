"""Rows in the order of their keys, so that the statistics of what is written tell where a key is not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cordillera.ports.engine import QueryEngine
from cordillera.row_spool import MOST_IN_MEMORY, held
from cordillera.spec import sql
from cordillera.spec.arrow_types import cast_batch
from cordillera.spec.key_order import AscendingKeys
from cordillera.spec.partition_values import partition_columns, source_columns
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.integer_keys import Integers, KeyNumbers
from cordillera.table.threads import taken


def in_key_order(rows: pa.Table, metadata: TableMetadata, engine: QueryEngine) -> pa.Table:
    """Return the rows of a table sorted by key; unsorted where Arrow cannot sort a key's type.

    Rows that are moved anyway may come partition by partition, each sorted by key.
    """
    key = metadata.semantics.key
    keys = AscendingKeys(key)
    for _ in keys.watch(rows.select(key).to_batches()):
        pass
    if keys.ascend:
        return rows
    if rows.nbytes > MOST_IN_MEMORY:
        ordered = engine.query(f"SELECT * FROM rows ORDER BY {sql.sort_terms(key, rows.schema)}", {"rows": rows})
        return held((cast_batch(batch, rows.schema) for batch in ordered), rows.schema)
    numbered = KeyNumbers.of(rows, key)
    if numbered is not None:
        return taken(rows, pa.array(_by_partition(rows, metadata, np.argsort(numbered.numbers))))
    try:
        return rows.sort_by([(name, "ascending") for name in key])
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return rows


def _by_partition(rows: pa.Table, metadata: TableMetadata, order: Integers) -> Integers:
    """Return the rows in an order, those of each partition together: so whoever splits them moves none again."""
    spec, schema = metadata.partition_spec, metadata.schema
    if not spec.fields:
        return order
    sources = rows.select(source_columns(spec, schema)).combine_chunks().to_batches()[0]
    for column in partition_columns(spec, schema, sources):
        numbers = column.dictionary_encode(null_encoding="encode").indices.to_numpy()
        order = order[np.argsort(numbers[order], kind="stable")]
    return order
