"""The engine benchmark's check of rows: it knows the right ones, and those of another history."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from benchmarks.engine.contenders import CordilleraMergeOnRead, check
from benchmarks.engine.data import generate


def test_the_rows_are_checked_against_all_changes_in_their_order(tmp_path: Path) -> None:
    work = generate(tmp_path / "data", 10_000)
    uniform, skewed = pq.read_table(work.changes("uniform")), pq.read_table(work.changes("skewed"))
    keys, gone = pc.bit_wise_and(uniform["id"], 1), pc.equal(uniform["op"], "delete")
    shares = [pc.sum(part).as_py() / uniform.num_rows for part in (keys, gone)]
    assert all(0.04 < share < 0.07 for share in shares), "inserts, whose keys are odd, and deletes: a twentieth each"
    (tmp_path / "table").mkdir()
    table = CordilleraMergeOnRead(work, tmp_path / "table")
    with table.stack:
        table.load()
        for changes in (uniform, skewed, uniform.slice(0, 10)):
            table.merge(changes)
        assert check(table, work, [uniform, skewed, uniform.slice(0, 10)])
        assert not check(table, work, [uniform, skewed.slice(1)])
        table.compact()
        assert check(table, work, [uniform, skewed, uniform.slice(0, 10)])
