"""Sorting what is small: new files join those whose key ranges they meet, and others stay as they are."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa

from cordillera.spec.maintenance import Strategy
from cordillera.spec.merge import Operation
from cordillera.table.parquet_encoding import ROW_GROUP_ROWS
from tests.table.harness import LooseTable

SCHEMA = pa.schema([("id", pa.int64()), ("number", pa.int64())])


SPAN = 2 * ROW_GROUP_ROWS
"""The ids that a file of the sorted table is about, of which it has every second."""


def rows(ids: range) -> pa.Table:
    numbers = np.random.default_rng(ids.start).integers(0, 2**61, len(ids))  # which cannot be made smaller
    return pa.table({"id": np.arange(ids.start, ids.stop, ids.step), "number": numbers}, schema=SCHEMA)


def ranges(table: LooseTable) -> dict[str, tuple[int, int]]:
    found = {}
    for live in table.io.files.live(table.metadata.current_snapshot):
        bounds = (live.file.lower_bounds[1], live.file.upper_bounds[1])
        found[live.path] = tuple(int.from_bytes(bound, "little", signed=True) for bound in bounds)
    return found


def disjoint(table: LooseTable) -> bool:
    ordered = sorted(ranges(table).values())
    return all(one[1] < other[0] for one, other in itertools.pairwise(ordered))


def automatic(table: LooseTable) -> int:
    return table.compact(strategy=Strategy.SORT, rewrite_all=False, tiered=True)


def sorted_table(folder: Path) -> LooseTable:
    """A table of four files of about the target size, each with a range of its own."""
    table = LooseTable(folder, SCHEMA, key=("id",))
    for number in range(4):
        table.write(Operation.APPEND, rows(range(number * SPAN, (number + 1) * SPAN, 2)))
    target = (
        min(live.file.file_size_in_bytes for live in table.io.files.live(table.metadata.current_snapshot)) * 9 // 10
    )
    properties = {**table.metadata.properties, "write.target-file-size-bytes": str(target)}
    table.metadata = table.metadata.with_changes(properties=properties)
    return table


def test_small_files_join_the_ranges_they_meet(tmp_path: Path) -> None:
    table = sorted_table(tmp_path)
    before = ranges(table)
    assert automatic(table) == 0
    for first in (SPAN + 1, SPAN + 60_001):
        table.write(Operation.UPSERT, rows(range(first, first + 60_000, 2)))
    assert not disjoint(table)
    assert automatic(table) == 1
    assert disjoint(table)
    assert {path for path, span in before.items() if span[0] != SPAN} <= ranges(table).keys()  # the others stay
    assert automatic(table) == 0
    assert table.rows(columns=["id"]).num_rows == 4 * ROW_GROUP_ROWS + 60_000


def test_few_rows_wait_until_there_are_more(tmp_path: Path) -> None:
    table = sorted_table(tmp_path)
    before = ranges(table)
    for first in (1, 3):
        table.write(Operation.UPSERT, rows(range(first, 4 * SPAN, 64)))
    assert automatic(table) == 1  # the small ones become one
    assert before.keys() <= ranges(table).keys()
    for first in (5, 7):
        table.write(Operation.UPSERT, rows(range(first, 4 * SPAN, 16)))
    assert automatic(table) == 1
    assert not before.keys() & ranges(table).keys()
    assert disjoint(table)
    assert automatic(table) == 0


def test_small_files_beyond_all_others_become_one(tmp_path: Path) -> None:
    table = sorted_table(tmp_path)
    before = ranges(table)
    for first in (5 * SPAN, 6 * SPAN, 7 * SPAN):
        table.write(Operation.APPEND, rows(range(first, first + 50)))
    assert automatic(table) == 1
    assert before.keys() <= ranges(table).keys()
    assert len(ranges(table)) == 5
    assert disjoint(table)
