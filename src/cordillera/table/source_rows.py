"""Rows of a batch by their numbers, ``_source``, which count from 0: so nothing has to be hashed to find one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cordillera.row_spool import MOST_IN_MEMORY, held
from cordillera.table.data_writer import ROW_ID
from cordillera.table.threads import filtered

SOURCE = "_source"
_NO_ROW_ID = np.iinfo(np.int64).max


def without(rows: pa.Table, sources: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Return the rows whose ``_source`` is not among ``sources``."""
    return _filtered(rows, ~listed(rows, sources)) if len(sources) else rows


def only(rows: pa.Table, sources: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Return the rows whose ``_source`` is among ``sources``."""
    wanted = listed(rows, sources)
    return rows if wanted.all() else _filtered(rows, wanted)


def _filtered(rows: pa.Table, wanted: npt.NDArray[np.bool_]) -> pa.Table:
    """Return some of the rows: of many in memory no second time."""
    if rows.nbytes <= MOST_IN_MEMORY:
        return filtered(rows, pa.array(wanted))
    batches = rows.to_batches()
    ends = np.cumsum([batch.num_rows for batch in batches])
    parts = np.split(wanted, ends[:-1])
    return held((batch.filter(pa.array(part)) for batch, part in zip(batches, parts, strict=True)), rows.schema)


def listed(rows: pa.Table, sources: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Tell which rows have a ``_source`` among ``sources``."""
    numbers, wanted = rows.column(SOURCE).to_numpy(), np.asarray(sources)
    marked = np.zeros(max(numbers.max(initial=-1), wanted.max(initial=-1)) + 1, dtype=bool)
    marked[wanted] = True
    result: npt.NDArray[np.bool_] = marked[numbers]
    return result


def rows_of(rows: pa.Table, sources: pa.ChunkedArray) -> pa.Array:
    """Return where in ``rows`` each of ``sources`` is."""
    numbers, wanted = rows.column(SOURCE).to_numpy(), sources.to_numpy()
    places = np.zeros(max(numbers.max(initial=-1), wanted.max(initial=-1)) + 1, dtype=np.int64)
    places[numbers] = np.arange(len(numbers))
    return pa.array(places[wanted])


def row_ids(sources: pa.ChunkedArray, matches: pa.Table) -> pa.Array:
    """Return, for each source row, the least row id of the stored rows it succeeds; NULL for a new row."""
    numbers, matched = sources.to_numpy(), matches.column(SOURCE).to_numpy()
    least = np.full(max(numbers.max(initial=-1), matched.max(initial=-1)) + 1, _NO_ROW_ID)
    np.minimum.at(least, matched, pc.fill_null(matches.column(ROW_ID), _NO_ROW_ID).to_numpy())
    taken = least[numbers]
    return pa.array(taken, mask=taken == _NO_ROW_ID)
