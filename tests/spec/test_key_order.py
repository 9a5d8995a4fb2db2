"""Whether keys ascend, against comparing each with the one before."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.spec.key_order import AscendingKeys

BATCHES = st.lists(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", "a", "b"])), max_size=4), max_size=4)


def watched(key: list[str], batches: list[pa.RecordBatch]) -> AscendingKeys:
    keys = AscendingKeys(key)
    assert list(keys.watch(batches)) == batches
    return keys


@given(BATCHES, st.sampled_from([1, 2]))
def test_keys_ascend_if_each_is_greater_than_the_one_before_whatever_the_batches(
    batches: list[list[tuple[int, str]]], columns: int
) -> None:
    rows = [
        pa.record_batch(
            [pa.array([n for n, _ in batch], pa.int64()), pa.array([t for _, t in batch], pa.string())], ["n", "t"]
        )
        for batch in batches
    ]
    keys = [row[:columns] for batch in batches for row in batch]
    assert watched(["n", "t"][:columns], rows).ascend == all(one < other for one, other in pairwise(keys))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None, 3]),
        pa.array([float("nan"), 1.0]),
        pa.array([-0.0, 0.0]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([b"\0" * 16, b"\1" * 16], pa.uuid()),
    ],
    ids=["NULL", "NaN", "zeros", "structs", "no order in Arrow"],
)
def test_what_has_no_plain_order_does_not_ascend(column: pa.Array) -> None:
    assert not watched(["k"], [pa.record_batch([column], ["k"])]).ascend
