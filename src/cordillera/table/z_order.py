"""Z-ordering: one number a row, made of the interleaved bits of several columns, so that near rows lie near."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cordillera.errors import InvalidInputError

_BITS = 64


def z_values(columns: Sequence[pa.ChunkedArray]) -> npt.NDArray[np.uint64]:
    """Return the place of every row on the curve.

    Columns take part by the rank of their values, not by the values: each then splits the rows as finely as the
    others, whatever its type, its range and how its values are spread. NULL ranks last.

    Raises:
        InvalidInputError: If values of a column's type have no order.
    """
    bits = _BITS // len(columns)
    ranks = [_scaled_ranks(column, bits) for column in columns]
    places = np.zeros(len(columns[0]), dtype=np.uint64)
    one = np.uint64(1)
    for bit in range(bits):
        for index, rank in enumerate(ranks):
            # Of bits of the same weight the first column's is the higher one.
            place = np.uint64(bit * len(ranks) + len(ranks) - 1 - index)
            places |= ((rank >> np.uint64(bit)) & one) << place
    return places


def _scaled_ranks(column: pa.ChunkedArray, bits: int) -> npt.NDArray[np.uint64]:
    """Return each value's rank, spread over so many bits."""
    ranks = _dense_ranks(column)
    distinct = int(ranks.max(initial=0)) + 1
    used = min(bits, 31)  # so that the product below stays within 64 bits
    return ((ranks << np.uint64(used)) // np.uint64(distinct)) << np.uint64(bits - used)


def _dense_ranks(column: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    try:
        ranks = pc.rank(_sortable(column), [("", "ascending", "at_end")], tiebreaker="dense")
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise InvalidInputError(
            f"Rows cannot be z-ordered by a column of the type {column.type}.", hint="Choose other columns."
        ) from error
    return np.asarray(ranks, dtype=np.uint64) - np.uint64(1)


def _sortable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column in a type that Arrow ranks, in the same order."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column = column.cast(kind.storage_type)
        kind = column.type
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8())
    if pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.binary())
    return column
