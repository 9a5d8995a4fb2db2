"""Which rows of a data file are read: those at some positions, or all but those at some positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class RowSelection:
    """A choice of rows by position.

    Attributes:
        positions: Ascending.
        kept: Whether these rows are read, or all others.
    """

    positions: npt.NDArray[np.int64]
    kept: bool = False

    def mask(self, first: int, rows: int) -> pa.Array | None:
        """Return a mask of those of ``rows`` rows from position ``first`` on that are read; None for all of them."""
        begin, end = np.searchsorted(self.positions, (first, first + rows))
        if begin == end and not self.kept:
            return None
        mask = np.full(rows, not self.kept)
        mask[self.positions[begin:end] - first] = self.kept
        return pa.array(mask)

    def reads_any(self, first: int, rows: int) -> bool:
        """Tell whether any of ``rows`` rows from position ``first`` on is read."""
        begin, end = np.searchsorted(self.positions, (first, first + rows))
        return bool(end > begin if self.kept else end - begin < rows)
