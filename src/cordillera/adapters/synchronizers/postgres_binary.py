"""Rows as PostgreSQL's COPY takes them in its binary format, whole columns at a time.

A row is the number of its fields, then each field's length (-1 for NULL) and bytes, all numbers with the highest byte
first. What every row has at the same distance (numbers, dates, lengths of texts) is laid out as columns of one NumPy
record; Arrow then joins these records with the texts between them, row by row.
"""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.adapters.synchronizers.text import refuse_nul, to_json, to_microseconds
from cordillera.errors import TypeMismatchError

SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
"""What the rows follow: the format's mark, no flags, no more header."""
TRAILER = struct.pack(">h", -1)
"""What follows the rows."""

_Values: TypeAlias = npt.NDArray[Any]
_EPOCH_DAYS = 10_957  # PostgreSQL counts from 2000
_EPOCH_MICROSECONDS = _EPOCH_DAYS * 86_400_000_000
_DAYS = (-2_440_588, 2_145_042_905)  # since 1970: from November of 4714 BC to June of 5874898
_MICROSECONDS = (_DAYS[0] * 86_400_000_000, 2**63 - 2)  # the server does not tell the last one exactly
_JSONB_VERSION = b"\x01"
_PLAIN = {
    pa.bool_(): "u1",
    pa.int32(): "i4",
    pa.int64(): "i8",
    pa.float32(): "f4",
    pa.float64(): "f8",
    pa.time64("us"): "i8",
}


def to_binary(batch: pa.RecordBatch) -> bytes | memoryview:
    """Return the rows of a batch, which has some.

    Raises:
        TypeMismatchError: Naming a column with a value that PostgreSQL cannot store.
    """
    pieces: list[pa.Array] = []
    record: list[tuple[str, Any]] = [(">i2", batch.num_columns)]
    for column, name in zip(batch.columns, batch.schema.names, strict=True):
        values = _encoded(column, name)
        if isinstance(values, np.ndarray) and not column.null_count:
            record += [(">i4", values.itemsize), (values.dtype.str, values)]
            continue
        texts = _where_valid(values, column) if isinstance(values, np.ndarray) else values
        lengths = pc.fill_null(pc.binary_length(texts), -1).to_numpy()
        pieces += [_records([*record, (">i4", lengths)], batch.num_rows), pc.fill_null(texts, b"")]
        record = []
    if record:
        pieces.append(_records(record, batch.num_rows))
    joined = pc.binary_join_element_wise(*pieces, b"")
    return memoryview(joined.buffers()[2])[: joined.total_values_length]


def _records(fields: list[tuple[str, Any]], rows: int) -> pa.Array:
    """Return the bytes of a record a row."""
    records = np.empty(rows, np.dtype([(f"{place}", kind) for place, (kind, _) in enumerate(fields)]))
    for place, (_, values) in enumerate(fields):
        records[f"{place}"] = values
    return _binaries(records)


def _binaries(values: _Values) -> pa.Array:
    """Return values of the same width as binary values."""
    ends = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.itemsize)
    return pa.BinaryArray.from_buffers(pa.binary(), len(values), [None, pa.py_buffer(ends), pa.py_buffer(values)])


def _where_valid(values: _Values, column: pa.Array) -> pa.Array:
    """Return values of the same width as binary values, NULL where the column is."""
    return pc.if_else(column.is_valid(), _binaries(np.ascontiguousarray(values)), pa.scalar(None, pa.binary()))


# --- columns --------------------------------------------------------------------------------------------------------


def _encoded(column: pa.Array, name: str) -> _Values | pa.Array:
    """Return a column as bytes of the same width (whatever they are where it is NULL), else as binary values."""
    kind = column.type
    if is_nested(kind):
        return pc.binary_join_element_wise(_JSONB_VERSION, to_json(column, name).cast(pa.binary()), b"")
    if pa.types.is_string(kind):
        refuse_nul(column, name)
        return column.cast(pa.binary())
    if pa.types.is_decimal(kind):
        return _numerics(column, name)
    if isinstance(kind, pa.UuidType):
        return _stored(column.storage, "V16")
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.binary())
    if pa.types.is_date(kind):
        return _shifted(column, name, "i4", _EPOCH_DAYS, _DAYS)
    if pa.types.is_timestamp(kind):
        return _shifted(to_microseconds(column, name), name, "i8", _EPOCH_MICROSECONDS, _MICROSECONDS)
    plain = _PLAIN[kind]
    return _stored(column.cast(pa.uint8()) if pa.types.is_boolean(kind) else column, plain).astype(f">{plain}")


def _stored(column: pa.Array, kind: str) -> _Values:
    """Return the bytes that Arrow keeps of a column."""
    dtype = np.dtype(kind)
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * dtype.itemsize)


def _shifted(column: pa.Array, name: str, kind: str, epoch: int, bounds: tuple[int, int]) -> _Values:
    """Return counts since 1970 as counts since 2000.

    Raises:
        TypeMismatchError: If one lies outside of the bounds.
    """
    counts = _stored(column, kind)
    outside = (counts < bounds[0]) | (counts > bounds[1])
    if outside.any() and (outside & column.is_valid().to_numpy(zero_copy_only=False)).any():
        raise TypeMismatchError(f"Column {name!r} has a date that PostgreSQL cannot store.")
    shifted: _Values = counts - np.asarray(epoch, counts.dtype)  # it wraps around where it is NULL, at most
    return shifted.astype(f">{kind}")


# --- decimals -------------------------------------------------------------------------------------------------------

_GROUP = 10_000  # numeric is kept in groups of four decimal digits
_TWO_GROUPS = _GROUP**2
_LIMB_BITS = 32
_LIMB = np.uint64(2**_LIMB_BITS - 1)


def _numerics(column: pa.Array, name: str) -> _Values:
    """Return decimals as ``numeric``: counts of groups, weight of the first, sign, digits behind the point, the groups.

    Every value of a column gets as many groups as its type needs; the server takes zeros away at both ends.

    Raises:
        TypeMismatchError: If a value has more digits than its type allows for.
    """
    precision, scale = column.type.precision, column.type.scale
    before, behind = -(-(precision - scale) // 4), -(-scale // 4)
    negative, magnitude = _limbs(column)
    magnitude = _multiplied(magnitude, 10 ** (4 * behind - scale))
    groups = before + behind
    numeric = np.empty(len(column), np.dtype([("head", ">i2", 4), ("groups", ">i2", groups)]))
    numeric["head"][:, 0], numeric["head"][:, 1], numeric["head"][:, 3] = groups, before - 1, scale
    numeric["head"][:, 2] = np.where(negative, 0x4000, 0)
    for place in range(groups - 1, -1, -2):
        two = _divide(magnitude, _TWO_GROUPS)
        numeric["groups"][:, place] = two % _GROUP
        if place:
            numeric["groups"][:, place - 1] = two // _GROUP
        elif (two >= _GROUP).any():
            magnitude[0] |= two // _GROUP
    rest = np.bitwise_or.reduce(magnitude)
    if rest.any() and (rest.astype(bool) & column.is_valid().to_numpy(zero_copy_only=False)).any():
        raise TypeMismatchError(f"Column {name!r} has a decimal with more digits than {column.type} has.")
    return numeric.view(f"V{numeric.itemsize}")


def _limbs(column: pa.Array) -> tuple[npt.NDArray[np.bool_], list[npt.NDArray[np.uint64]]]:
    """Return which 128-bit integers are negative, and their magnitudes in pieces of 32 bits, the lowest first."""
    stored = _stored(column, "V16").view("<u4").reshape(-1, 4)
    negative = (stored[:, 3] >> np.uint32(31)).astype(bool)
    limbs: list[npt.NDArray[np.uint64]] = []
    carry = negative.astype(np.uint64)  # a negative number's magnitude is its complement and one
    flip = np.where(negative, _LIMB, np.uint64(0))
    for place in range(4):
        carry = (stored[:, place].astype(np.uint64) ^ flip) + carry
        limbs.append(carry & _LIMB)
        carry = carry >> np.uint64(_LIMB_BITS)
    return negative, limbs


def _multiplied(limbs: list[npt.NDArray[np.uint64]], factor: int) -> list[npt.NDArray[np.uint64]]:
    """Return magnitudes times a factor below 2 to the 32nd, without limbs that are zero in all of them."""
    found: list[npt.NDArray[np.uint64]] = []
    carry = np.zeros_like(limbs[0])
    for limb in limbs:
        carry = limb * np.uint64(factor) + carry
        found.append(carry & _LIMB)
        carry = carry >> np.uint64(_LIMB_BITS)
    found.append(carry)
    while len(found) > 1 and not found[-1].any():
        found.pop()
    return found


def _divide(limbs: list[npt.NDArray[np.uint64]], divisor: int) -> npt.NDArray[np.uint64]:
    """Divide magnitudes in place by a number below 2 to the 32nd, and return what remains."""
    by, rest = np.uint64(divisor), np.zeros_like(limbs[0])
    for place in reversed(range(len(limbs))):
        whole = (rest << np.uint64(_LIMB_BITS)) | limbs[place]
        limbs[place] = whole // by
        rest = whole - limbs[place] * by
    return rest
