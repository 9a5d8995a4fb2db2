"""Rows in the order of their keys, so that the statistics of what is written tell where a key is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from cordillera.ports.engine import QueryEngine
from cordillera.row_spool import MOST_IN_MEMORY, held
from cordillera.spec import sql
from cordillera.spec.arrow_types import cast_batch
from cordillera.spec.key_order import AscendingKeys
from cordillera.table.integer_keys import key_integers
from cordillera.table.threads import taken


def in_key_order(rows: pa.Table, key: Sequence[str], engine: QueryEngine) -> pa.Table:
    """Return the rows sorted by key; unsorted where Arrow cannot sort a key's type."""
    keys = AscendingKeys(key)
    for _ in keys.watch(rows.select(key).to_batches()):
        pass
    if keys.ascend:
        return rows
    if rows.nbytes > MOST_IN_MEMORY:
        ordered = engine.query(f"SELECT * FROM rows ORDER BY {sql.sort_terms(key, rows.schema)}", {"rows": rows})
        return held((cast_batch(batch, rows.schema) for batch in ordered), rows.schema)
    numbers = key_integers(rows, key)
    if numbers is not None:
        return taken(rows, pa.array(np.argsort(numbers)))
    try:
        return rows.sort_by([(name, "ascending") for name in key])
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return rows
