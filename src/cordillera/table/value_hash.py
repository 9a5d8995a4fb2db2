"""64-bit hashes of column values as sketches of Apache DataSketches take them: MurmurHash3 of the values' bytes.

The bytes of a value are those of Iceberg's single-value serialization, so that every engine's sketches of a column
can be united.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyiceberg.types import BooleanType, DateType, DecimalType, DoubleType, FloatType, IntegerType, PrimitiveType

Words = npt.NDArray[np.uint64]

SEED = 9001
_BLOCK = 16
_C1, _C2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
_FINAL1, _FINAL2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_NUMBERS: dict[type[PrimitiveType], tuple[Any, str]] = {
    BooleanType: (pa.uint8(), "<u1"),
    IntegerType: (pa.int32(), "<i4"),
    DateType: (pa.int32(), "<i4"),
    FloatType: (pa.float32(), "<f4"),
    DoubleType: (pa.float64(), "<f8"),
}
_LOW = np.array([(1 << 8 * min(rest, 8)) - 1 for rest in range(_BLOCK)], np.uint64)
_HIGH = np.array([(1 << 8 * max(rest - 8, 0)) - 1 for rest in range(_BLOCK)], np.uint64)
"""What of the two words behind the last whole block belongs to a value, by how many bytes it has there."""


def value_hashes(column: pa.Array, kind: PrimitiveType) -> Words:
    """Return the hash of each value that is not NULL and has any bytes: sketches pass over the empty string.

    Args:
        column: The values, in the Arrow type of their Iceberg type.
        kind: Their Iceberg type.
    """
    data, starts, lengths = _serialized(column.drop_null(), kind)
    some = lengths > 0
    return _murmur3(data, starts[some], lengths[some]) >> np.uint64(1)


def _serialized(
    column: pa.Array, kind: PrimitiveType
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return bytes, and where in them each value begins and how long it is."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if isinstance(kind, DecimalType):
        return _decimals(column)
    if pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        data = np.frombuffer(column.buffers()[1] or b"", np.uint8)[column.offset * width :]
    elif pa.types.is_string(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
        _, ends, content = column.buffers()
        offsets = np.frombuffer(ends, np.int64)[column.offset : column.offset + len(column) + 1]
        return np.frombuffer(content or b"", np.uint8), offsets[:-1], np.diff(offsets)
    else:
        arrow, numpy = _NUMBERS.get(type(kind), (pa.int64(), "<i8"))
        data = column.cast(arrow).to_numpy(zero_copy_only=False).astype(numpy).view(np.uint8)
        width = np.dtype(numpy).itemsize
    count = len(column)
    return data, np.arange(count, dtype=np.int64) * width, np.full(count, width, np.int64)


def _decimals(
    column: pa.Array,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return unscaled values in two's complement, most significant byte first, in as few bytes as each needs."""
    stored = np.frombuffer(column.buffers()[1] or b"", np.uint8).reshape(-1, 16)
    digits = np.ascontiguousarray(stored[column.offset : column.offset + len(column), ::-1])
    sign = (digits[:, :1] >> 7) * np.uint8(255)
    redundant = (digits[:, :-1] == sign) & (digits[:, 1:] >> 7 == sign >> 7)
    spare = np.logical_and.accumulate(redundant, axis=1).sum(axis=1, dtype=np.int64)
    return digits.reshape(-1), np.arange(len(digits), dtype=np.int64) * 16 + spare, 16 - spare


def _murmur3(data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Words:
    """Return the first half of the 128-bit MurmurHash3 (x64) of each stretch of the bytes."""
    padded = np.concatenate([data, np.zeros(_BLOCK, np.uint8)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, _BLOCK)

    def words(positions: npt.NDArray[np.int64]) -> tuple[Words, Words]:
        pairs = windows[positions].view("<u8")
        return pairs[:, 0], pairs[:, 1]

    first, second = np.full(len(starts), SEED, np.uint64), np.full(len(starts), SEED, np.uint64)
    rows, block = np.flatnonzero(lengths >= _BLOCK), 0
    while len(rows):
        low, high = words(starts[rows] + _BLOCK * block)
        one = _rotated(first[rows] ^ _mixed_low(low), 27) + second[rows]
        first[rows] = one = one * np.uint64(5) + np.uint64(0x52DCE729)
        two = _rotated(second[rows] ^ _mixed_high(high), 31) + one
        second[rows] = two * np.uint64(5) + np.uint64(0x38495AB5)
        block += 1
        rows = rows[lengths[rows] >= _BLOCK * (block + 1)]
    rest = lengths % _BLOCK
    low, high = words(starts + lengths - rest)
    size = lengths.astype(np.uint64)
    first = first ^ _mixed_low(low & _LOW[rest]) ^ size
    second = second ^ _mixed_high(high & _HIGH[rest]) ^ size
    first = first + second
    second = second + first
    return _finished(first) + _finished(second)


def _mixed_low(word: Words) -> Words:
    return _rotated(word * _C1, 31) * _C2


def _mixed_high(word: Words) -> Words:
    return _rotated(word * _C2, 33) * _C1


def _rotated(word: Words, by: int) -> Words:
    return (word << np.uint64(by)) | (word >> np.uint64(64 - by))


def _finished(word: Words) -> Words:
    word = (word ^ (word >> np.uint64(33))) * _FINAL1
    word = (word ^ (word >> np.uint64(33))) * _FINAL2
    return word ^ (word >> np.uint64(33))
