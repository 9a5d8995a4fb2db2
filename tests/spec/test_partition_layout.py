from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.partitioning import PartitionSpec

from cordillera.spec.arrow_types import from_arrow_schema, to_arrow_schema
from cordillera.spec.delivery_reason import DeliveryReason
from cordillera.spec.partition_layout import NO_VALUE, PartitionLayout, plan_swap
from cordillera.spec.partition_values import split_by_partition
from cordillera.spec.partitioning import parse_partitioning

SCHEMA = from_arrow_schema(
    pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("origin", pa.string()), ("ratio", pa.float64())])
)
SPEC = parse_partitioning(["origin", "bucket(3, id)"], SCHEMA)
DAY = 86_400_000_000


@dataclass(frozen=True)
class File:
    """A file with the rows (id, origin) in it."""

    spec_id: int
    partition: tuple[Any, ...]
    rows: frozenset[tuple[int, str]]


Rows = frozenset[tuple[int, str]]
ROWS = st.frozensets(st.tuples(st.integers(0, 20), st.sampled_from("ab")), max_size=12)


def batch(rows: Rows) -> pa.RecordBatch:
    ids, origins = ([row[n] for row in sorted(rows)] for n in range(2))
    columns = {"id": ids, "at": [0] * len(rows), "origin": origins, "ratio": [0.0] * len(rows)}
    return pa.RecordBatch.from_pydict(columns, schema=to_arrow_schema(SCHEMA))


def stored(rows: Rows) -> set[File]:
    """Return rows as files of the dataset's partitions."""
    found = split_by_partition(SPEC, SCHEMA, batch(rows))
    return {File(SPEC.spec_id, values, _pairs(of)) for values, of in found}


def laid_out(layout: PartitionLayout, rows: Rows) -> dict[str, Rows]:
    return {folder: _pairs(of) for folder, of in layout.split(batch(rows))}


def _pairs(rows: pa.RecordBatch) -> Rows:
    return frozenset(zip(rows["id"].to_pylist(), rows["origin"].to_pylist(), strict=True))


@given(ROWS, ROWS, st.sampled_from([{1}, {3}, {1, 3}]))
def test_a_target_whose_touched_partitions_come_anew_is_as_if_everything_had_come(
    earlier: Rows, later: Rows, shown: set[int]
) -> None:
    layout = PartitionLayout.of(SPEC, SCHEMA, shown)
    assert layout is not None
    before, after = stored(earlier), stored(later)
    swap = plan_swap(layout, before ^ after, after)
    target, everything = laid_out(layout, earlier), laid_out(layout, later)
    if isinstance(swap, DeliveryReason):
        assert swap is DeliveryReason.EVERY_PARTITION
        assert all(target.get(folder) != everything[folder] for folder in everything)
        return
    rows = frozenset(row for file in after if layout.folder_of(file) in swap for row in file.rows)
    anew = laid_out(layout, rows)
    assert anew.keys() <= swap
    assert {**{f: r for f, r in target.items() if f not in swap}, **anew} == everything
    assert all(target.get(folder) != everything.get(folder) for folder in swap)


def test_everything_comes_where_files_are_of_an_earlier_partitioning() -> None:
    layout = PartitionLayout.of(SPEC, SCHEMA, {3})
    assert layout is not None
    a, b, old = File(0, ("a", 1), frozenset()), File(0, ("b", 1), frozenset()), File(7, (1,), frozenset())
    assert plan_swap(layout, [a], [a, b]) == {"origin=a"}
    assert plan_swap(layout, [a, old], [a, b]) is DeliveryReason.EARLIER_PARTITIONING
    assert plan_swap(layout, [a], [a, b, old]) is DeliveryReason.EARLIER_PARTITIONING


def test_every_reason_is_told_in_words() -> None:
    assert len({reason.in_words for reason in DeliveryReason}) == len(DeliveryReason)


def test_nothing_of_a_partitioning_shows_that_is_not_delivered() -> None:
    spec = parse_partitioning(["origin", "day(at)"], SCHEMA)
    by_day = PartitionLayout.of(spec, SCHEMA, {1, 2})
    assert by_day is not None
    assert [one.name for one in by_day.fields] == ["at_day"]
    assert by_day.folder_of(File(spec.spec_id, ("Lima", 15_706), frozenset())) == "at_day=2013-01-01"
    assert PartitionLayout.of(spec, SCHEMA, {1}) is None
    assert PartitionLayout.of(PartitionSpec(), SCHEMA, {1, 2, 3}) is None


@pytest.mark.parametrize(
    ("term", "value", "folder"),
    [
        ("origin", "a/b=ü %", "origin=a%2Fb%3D%C3%BC%20%25"),
        ("origin", None, f"origin={NO_VALUE}"),
        ("origin", "", "origin="),
        ("ratio", -0.0, "ratio=0.0"),
        ("ratio", float("nan"), "ratio=nan"),
        ("month(at)", 516, "at_month=2013-01"),
        ("hour(at)", 376_944, "at_hour=2013-01-01-00"),
    ],
)
def test_folders_are_called_as_hive_calls_them(term: str, value: Any, folder: str) -> None:
    spec = parse_partitioning([term], SCHEMA)
    layout = PartitionLayout.of(spec, SCHEMA, {1, 2, 3, 4})
    assert layout is not None
    assert layout.folder_of(File(spec.spec_id, (value,), frozenset())) == folder
