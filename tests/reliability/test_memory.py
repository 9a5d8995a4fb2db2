"""A table, and a batch, of twice the memory that the process takes which writes, merges, rewrites and reads them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import cordillera
from cordillera.client import Dataset, Lake

MEMORY = 1_200_000_000
WIDTH = 400
ROWS = 2 * MEMORY // (WIDTH + 20)
SCHEMA = pa.schema([("id", pa.int64()), ("round", pa.int32()), ("noise", pa.string())])
CHANGED = ROWS // 20
_BATCH_ROWS = 20_000


def batches(ids: range | np.ndarray, number: int) -> Iterator[pa.RecordBatch]:
    """Yield rows of these keys, with text that nothing compresses."""
    chance = np.random.default_rng(number)
    for first in range(0, len(ids), _BATCH_ROWS):
        part = np.asarray(ids[first : first + _BATCH_ROWS])
        ends = pa.py_buffer(np.arange(0, (len(part) + 1) * WIDTH, WIDTH, dtype=np.int32))
        letters = pa.py_buffer(chance.integers(33, 127, len(part) * WIDTH, dtype=np.uint8))
        noise = pa.Array.from_buffers(pa.string(), len(part), [None, ends, letters])
        rounds = pa.array(np.full(len(part), number, np.int32))
        yield pa.RecordBatch.from_arrays([pa.array(part), rounds, noise], schema=SCHEMA)


def rows(ids: range | np.ndarray, number: int) -> pa.RecordBatchReader:
    """Return the rows as a stream."""
    return pa.RecordBatchReader.from_batches(SCHEMA, batches(ids, number))


def some(number: int) -> np.ndarray:
    """Return keys of a twentieth of the rows, in no order."""
    return np.random.default_rng(number).choice(ROWS, CHANGED, replace=False)


def memory_of(work: Callable[[], object]) -> int:
    """Return how many bytes the process took for itself at most while it worked; mapped files are not among them."""
    most, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            lines = Path("/proc/self/status").read_text().splitlines()
            most.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        work()
    finally:
        done.set()
        looking.join()
    return max(most)


def merge(dataset: Dataset, mode: str, number: int) -> None:
    """Upsert a twentieth of the rows."""
    dataset.set_write_mode(mode)
    dataset.write(rows(some(number), number), "upsert")


def read(lake: Lake) -> None:
    """Sort all rows, as they come."""
    assert sum(batch.num_rows for batch in lake.sql("SELECT * FROM big.rows ORDER BY noise")) == ROWS


def taken(place: str) -> dict[str, int]:
    """Do everything, each with all the rows; return how much memory it took."""
    os.environ["CORDILLERA_MEMORY_LIMIT"] = "256MB"  # of a process that is for this alone
    with cordillera.create(place) as lake:
        lake.create_namespace("big", owner="tests")
        dataset = lake.create_dataset("big.rows", SCHEMA, key=["id"])
        found = {
            name: memory_of(work)
            for name, work in {
                "append": lambda: dataset.write(rows(range(ROWS), 1)),
                "merge on read": partial(merge, dataset, "merge-on-read", 2),
                "copy on write": partial(merge, dataset, "copy-on-write", 3),
                "merge on read again": partial(merge, dataset, "merge-on-read", 4),
                "compact": partial(dataset.compact, "sort"),
                "read": partial(read, lake),
                "upsert of all rows": lambda: dataset.write(rows(range(ROWS), 5), "upsert"),
            }.items()
        }
        counts = lake.sql("SELECT round, count(*) AS n, sum(id)::BIGINT AS ids FROM big.rows GROUP BY 1").read_all()
        assert counts.to_pylist() == [{"round": 5, "n": ROWS, "ids": ROWS * (ROWS - 1) // 2}]
    return found


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_table_of_twice_the_memory_is_written_merged_compacted_and_read(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        found = process.submit(taken, str(tmp_path / "lake")).result()
    assert {name: most for name, most in found.items() if most > MEMORY} == {}, found
