"""Keys of one column of whole numbers, dates or times: sorted and searched as numbers, where others are hashed.

Sorting a million of them takes NumPy some milliseconds, and stored rows mostly lie in the order of their keys, so that
looking for each key costs a few steps in memory that was just looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]
_SLOTS_A_NUMBER = 16
"""Of a sieve: of the numbers that are not sought at most one in so many is looked up in vain."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: neighbouring numbers get slots far apart (Fibonacci hashing)."""


def integers(values: pa.Array | pa.ChunkedArray) -> Integers | None:
    """Return values as the numbers they are stored as; None if they are no such type, or if NULL is among them."""
    if values.null_count or not is_integer(values.type):
        return None
    if not pa.types.is_integer(values.type):
        values = values.cast(pa.int32() if values.type.bit_width == 32 else pa.int64())
    numbers: Integers = values.to_numpy().astype(np.int64, copy=False)
    return numbers


def is_integer(kind: pa.DataType) -> bool:
    """Tell whether values of a type are stored as whole numbers whose order and equality are those of the values."""
    return bool(pa.types.is_signed_integer(kind) or pa.types.is_date32(kind) or pa.types.is_timestamp(kind))


def key_integers(rows: pa.Table, key: Sequence[str]) -> Integers | None:
    """Return the keys of rows as numbers, if they are such: of one column, without NULL."""
    return integers(rows.column(key[0])) if len(key) == 1 else None


def repeats(numbers: Integers) -> bool:
    """Tell whether a number comes twice."""
    ordered = np.sort(numbers)
    return bool((ordered[1:] == ordered[:-1]).any())


class IntegerSieve:
    """Tells which of many stored numbers are among those that are sought.

    Most are not, and fail by a table of hashes that fits into a core's cache; what is left is looked up.

    Args:
        sought: What is looked for, ascending; none comes twice.
    """

    def __init__(self, sought: Integers) -> None:
        bits = max(len(sought) * _SLOTS_A_NUMBER, 2).bit_length()
        self._sought, self._shift = sought, np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, dtype=bool)
        self._table[self._slots(sought)] = True

    def among(self, numbers: Integers) -> Integers:
        """Return the places of the numbers that are sought."""
        places = np.flatnonzero(self._table[self._slots(numbers)])
        left = numbers[places]
        at = np.minimum(np.searchsorted(self._sought, left), len(self._sought) - 1)
        found: Integers = places[self._sought[at] == left]
        return found

    def _slots(self, numbers: Integers) -> npt.NDArray[np.uint64]:
        """Return hashes: the upper bits of a product, which all bits of a number take part in."""
        slots: npt.NDArray[np.uint64] = numbers.view(np.uint64) * _MULTIPLIER
        slots >>= self._shift
        return slots


class IntegerSearch:
    """Finds which of many stored keys are sought.

    Args:
        sought: The keys that are looked for. None comes twice.
    """

    def __init__(self, sought: Integers) -> None:
        self._places = np.argsort(sought)
        self._sought = sought[self._places]

    def find(self, stored: pa.Array) -> tuple[Integers, Integers]:
        """Return the numbers of the stored rows whose keys are sought, and where each key is in ``sought``."""
        rows = np.flatnonzero(stored.is_valid()) if stored.null_count else None
        numbers = integers(stored if rows is None else pc.drop_null(stored))
        assert numbers is not None, f"{stored.type} is not stored as integers"
        if not len(numbers):
            return numbers, numbers
        if (numbers[1:] < numbers[:-1]).any():
            order = np.argsort(numbers, kind="stable")
            rows, numbers = order if rows is None else rows[order], numbers[order]
        begin = np.searchsorted(self._sought, numbers[0], "left")
        end = np.searchsorted(self._sought, numbers[-1], "right")
        part = self._sought[begin:end]
        first, behind = np.searchsorted(numbers, part, "left"), np.searchsorted(numbers, part, "right")
        counts = behind - first  # what another engine has written may repeat a key
        hits = np.flatnonzero(counts)
        at = np.repeat(first[hits], counts[hits]) + _ordinals(counts[hits])
        return at if rows is None else rows[at], np.repeat(self._places[begin:end][hits], counts[hits])


def _ordinals(counts: Integers) -> Integers:
    """Return 0, 1, … for each count, one after the other."""
    ends = np.cumsum(counts)
    ordinals: Integers = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    return ordinals
