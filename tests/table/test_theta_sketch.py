"""Sketches are those of Apache DataSketches over Iceberg's bytes of a value, whichever engine made them."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import mmh3
import numpy as np
import pyarrow as pa
import pytest
from datasketches import compact_theta_sketch, update_theta_sketch
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.conversions import to_bytes
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    LongType,
    PrimitiveType,
    StringType,
    TimestampType,
    TimeType,
    UUIDType,
)

from cordillera.spec.arrow_types import to_arrow_type
from cordillera.table.theta_sketch import ThetaSketch
from cordillera.table.value_hash import SEED, value_hashes

EPOCH = date(1970, 1, 1)
VALUES: list[tuple[PrimitiveType, list[Any]]] = [
    (BooleanType(), [True, False]),
    (IntegerType(), [0, 1, -5, 2**31 - 1, -(2**31)]),
    (LongType(), [0, 1, -5, 2**63 - 1, -(2**63)]),
    (FloatType(), [0.0, 1.5, -2.25]),
    (DoubleType(), [0.0, -0.0, 1.5, 1e300]),
    (DateType(), [EPOCH, date(2026, 11, 21), date(1900, 1, 1)]),
    (TimeType(), [time(0), time(23, 59, 59, 999_999)]),
    (TimestampType(), [datetime(1970, 1, 1), datetime(2026, 11, 21, 16, 5, 0, 7)]),
    (StringType(), ["x", "é" * 8, "日本語 🏔", *("a" * length for length in range(1, 70))]),
    (BinaryType(), [b"\x00", b"\xff" * 33]),
    (FixedType(5), [b"12345", b"\x00" * 5]),
    (UUIDType(), [bytes(range(16)), b"\xff" * 16]),
    (
        DecimalType(38, 2),
        [Decimal(text) for text in ("0.00", "1.27", "1.28", "-1.28", "-1.29", "2.55", "2.56", f"-{'9' * 36}.99")],
    ),
]


def hashed(content: bytes) -> int:
    return int(mmh3.hash64(content, SEED, signed=False)[0]) >> 1


def sketch_of(values: pa.Array, kind: PrimitiveType) -> ThetaSketch:
    return ThetaSketch().with_hashes(value_hashes(values, kind))


def theirs(numbers: range) -> update_theta_sketch:
    sketch = update_theta_sketch()
    for number in numbers:
        sketch.update(number)
    return sketch


@pytest.mark.parametrize(("kind", "values"), VALUES, ids=[str(kind) for kind, _ in VALUES])
def test_hashes_are_of_the_bytes_of_single_values(kind: PrimitiveType, values: list[Any]) -> None:
    expected = [hashed(to_bytes(kind, value)) for value in values]
    arrow = to_arrow_type(kind)
    plain = arrow.storage_type if isinstance(arrow, pa.BaseExtensionType) else arrow
    padded = pa.array([None, *values, None, values[0]], plain)
    column = pa.ExtensionArray.from_storage(arrow, padded) if isinstance(arrow, pa.BaseExtensionType) else padded
    assert value_hashes(column, kind).tolist() == [*expected, expected[0]]
    assert value_hashes(column[2:-1], kind).tolist() == expected[1:]


def test_nothing_is_known_of_null_and_the_empty_string() -> None:
    assert sketch_of(pa.array([None, "", b""], pa.binary()).cast(pa.string()), StringType()).estimate == 0
    assert sketch_of(pa.nulls(3, pa.int64()), LongType()).estimate == 0


@pytest.mark.parametrize("count", [0, 1, 2, 4096])
def test_small_sketches_are_those_of_the_library_byte_by_byte(count: int) -> None:
    sketch = sketch_of(pa.array(range(count), pa.int64()), LongType())
    assert sketch.estimate == count
    assert sketch.to_bytes() == theirs(range(count)).compact().serialize()


@pytest.mark.parametrize("count", [4097, 50_000])
def test_large_sketches_are_read_by_the_library_and_the_librarys_by_us(count: int) -> None:
    sketch = sketch_of(pa.array(range(count), pa.int64()), LongType())
    read = compact_theta_sketch.deserialize(sketch.to_bytes())
    assert round(read.get_estimate()) == sketch.estimate == pytest.approx(count, rel=0.05)
    found = ThetaSketch.from_bytes(theirs(range(count)).compact().serialize())
    assert found is not None
    assert found.estimate == round(theirs(range(count)).get_estimate())
    assert set(sketch.hashes.tolist()) <= set(found.hashes.tolist())
    half = theirs(range(count // 2)).compact().serialize()
    united = sketch_of(pa.array(range(count // 2, count), pa.int64()), LongType()).union(read_back(half))
    assert united.estimate == sketch.estimate


def read_back(stored: bytes) -> ThetaSketch:
    found = ThetaSketch.from_bytes(stored)
    assert found is not None
    return found


@given(st.lists(st.integers(0, 20_000), max_size=40), st.integers(1, 3000))
def test_it_does_not_matter_how_values_come(starts: list[int], length: int) -> None:
    parts = [np.arange(start, start + length) for start in starts]
    whole = np.concatenate([np.empty(0, np.int64), *parts])
    expected = sketch_of(pa.array(whole), LongType())
    united = ThetaSketch()
    for index, part in enumerate(parts):
        one = sketch_of(pa.array(part), LongType())
        united = united.union(read_back(one.to_bytes())) if index % 2 else one.union(united)
    assert (united.theta, united.hashes.tolist()) == (expected.theta, expected.hashes.tolist())
    assert read_back(united.to_bytes()).to_bytes() == united.to_bytes()


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:4], lambda b: b[:-3], lambda b: b"\x03\x04" + b[2:]])
def test_what_is_no_sketch_is_none(damage: Any) -> None:
    assert ThetaSketch.from_bytes(damage(theirs(range(5000)).compact().serialize())) is None
