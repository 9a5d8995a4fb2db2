"""Keys of whole numbers, dates or times: sorted and searched as numbers, where others are hashed.

Sorting a million of them takes NumPy some milliseconds, and stored rows mostly lie in the order of their keys, so that
looking for each key costs a few steps in memory that was just looked at. A key of several columns is one number, in
which each column is a digit, where the values of a batch lie so close together that 64 bits hold it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]
_MOST_NUMBERS = 2**63 - 1
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


@dataclass(frozen=True, slots=True, eq=False)
class KeyNumbers:
    """The keys of a batch as numbers, and what makes the same numbers of stored keys.

    Attributes:
        key: The key columns.
        numbers: One for each row; their order and equality are those of the keys.
        ranges: The least and the greatest value of each key column, where there are several.
    """

    key: tuple[str, ...]
    numbers: Integers
    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, rows: pa.Table, key: Sequence[str]) -> KeyNumbers | None:
        """Return the keys of rows as numbers; None if they are no such types, lie too far apart, or NULL is there."""
        columns = [numbers for name in key if (numbers := integers(rows.column(name))) is not None]
        if len(columns) < len(key) or not rows.num_rows:
            return None
        if len(columns) == 1:
            return cls(tuple(key), columns[0])
        ranges = tuple((int(column.min()), int(column.max())) for column in columns)
        if math.prod(high - low + 1 for low, high in ranges) > _MOST_NUMBERS:
            return None
        return cls(tuple(key), _digits(columns, ranges), ranges)

    def of_stored(self, columns: Sequence[Integers]) -> Integers:
        """Return the numbers of stored keys. A key that is not within the ranges may have that of another one."""
        return _digits(columns, self.ranges) if self.ranges else columns[0]

    def within(self, columns: Sequence[Integers]) -> npt.NDArray[np.bool_]:
        """Tell which of stored keys are within the ranges."""
        inside = np.ones(len(columns[0]), dtype=bool)
        for column, (low, high) in zip(columns, self.ranges, strict=False):
            inside &= (low <= column) & (column <= high)
        return inside


def _digits(columns: Sequence[Integers], ranges: Sequence[tuple[int, int]]) -> Integers:
    """Return one number for each row, whose digits are how far its columns are above the least value."""
    first, *others = columns
    numbers, (least, _) = first.copy(), ranges[0]
    for column, (low, high) in zip(others, ranges[1:], strict=True):
        size = high - low + 1
        numbers *= size
        numbers += column
        least = least * size + low
    numbers -= (least + 2**63) % 2**64 - 2**63  # what has more than 64 bits meanwhile keeps the last ones: those count
    return numbers


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

    Attributes:
        key: The key columns.
    """

    def __init__(self, sought: KeyNumbers) -> None:
        self.key = sought.key
        self._keys, self._sorting = sought, Lock()
        self._sorted: tuple[Integers, Integers] | None = None

    def find(self, stored: Sequence[pa.Array]) -> tuple[Integers, Integers]:
        """Return the numbers of the stored rows whose keys are sought, and where each key is in ``sought``.

        Args:
            stored: The key columns of stored rows.
        """
        rows = None
        if any(column.null_count for column in stored):
            rows = np.flatnonzero(reduce(pc.and_, (column.is_valid() for column in stored)))
            stored = [column.take(pa.array(rows)) for column in stored]
        columns = [numbers for column in stored if (numbers := integers(column)) is not None]
        assert len(columns) == len(self.key), "a key column is stored in its type"
        at, places = self._find(self._keys.of_stored(columns))
        inside = self._keys.within([column[at] for column in columns])
        if not inside.all():
            at, places = at[inside], places[inside]
        return at if rows is None else rows[at], self._in_order()[0][places]

    def _in_order(self) -> tuple[Integers, Integers]:
        """Return where what is sought is, in the order of its numbers, and these: sorted by whoever looks first."""
        with self._sorting:
            if self._sorted is None:
                places = np.argsort(self._keys.numbers)
                self._sorted = places, self._keys.numbers[places]
            return self._sorted

    def _find(self, numbers: Integers) -> tuple[Integers, Integers]:
        """Return the places of the numbers that are sought, and where each is among those that are, in order."""
        if not len(numbers):
            return numbers, numbers
        _, sought = self._in_order()
        begin, end = np.searchsorted(sought, numbers.min(), "left"), np.searchsorted(sought, numbers.max(), "right")
        if end - begin > len(numbers):  # most of what is sought is elsewhere
            at = self._sieve.among(numbers)
            return at, np.searchsorted(sought, numbers[at])
        at, places = _each_in(numbers, sought[begin:end])
        return at, places + begin

    @cached_property
    def _sieve(self) -> IntegerSieve:
        return IntegerSieve(self._in_order()[1])


def _each_in(numbers: Integers, sought: Integers) -> tuple[Integers, Integers]:
    """Return the places of the numbers that are sought, and for each its place in ``sought``, which ascends."""
    order = None
    if (numbers[1:] < numbers[:-1]).any():
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
    first, behind = np.searchsorted(numbers, sought, "left"), np.searchsorted(numbers, sought, "right")
    counts = behind - first  # what another engine has written may repeat a key
    hits = np.flatnonzero(counts)
    at = np.repeat(first[hits], counts[hits]) + _ordinals(counts[hits])
    return at if order is None else order[at], np.repeat(hits, counts[hits])


def _ordinals(counts: Integers) -> Integers:
    """Return 0, 1, … for each count, one after the other."""
    ends = np.cumsum(counts)
    ordinals: Integers = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    return ordinals
