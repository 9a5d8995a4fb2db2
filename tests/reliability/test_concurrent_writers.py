"""Several processes write one dataset at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cordillera
from tests.reliability.crash import ORDERS, new_lake

WRITER = """
import sys, cordillera, pyarrow as pa
path, first, step, revision = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with cordillera.open(path) as lake:
    orders = lake.dataset("sales.orders")
    for turn in range(5):
        ids = list(range(first + turn * step, first + turn * step + 20))
        rows = {"id": ids, "amount": [revision * 1000 + turn] * 20, "revision": [revision + turn * 10] * 20}
        orders.write(pa.table(rows), "upsert")
"""


def run_writers(path: Path, arguments: list[tuple[int, int, int]]) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), *map(str, args)], stderr=subprocess.PIPE)
        for args in arguments
    ]
    for process in running:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors.decode()[-3000:]


def test_disjoint_keys_all_land(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    new_lake(path).close()
    run_writers(path, [(writer * 1000, 20, writer + 1) for writer in range(3)])
    with cordillera.open(path) as lake:
        found = lake.dataset(ORDERS).scan().to_arrow()
        assert found.num_rows == 3 * 5 * 20
        assert len(set(found.column("id").to_pylist())) == 3 * 5 * 20
        assert lake.dataset(ORDERS).details().version.sequence_number == 15
        assert [s.sequence_number for s in lake.dataset(ORDERS).snapshots()] == list(range(15, 0, -1))


def test_on_the_same_keys_the_sequence_decides(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    new_lake(path).close()
    run_writers(path, [(0, 0, writer + 1) for writer in range(3)])
    with cordillera.open(path) as lake:
        found = lake.dataset(ORDERS).scan().to_arrow().to_pylist()
        assert sorted(row["id"] for row in found) == list(range(20))
        assert {(row["revision"], row["amount"]) for row in found} == {(43, 3004)}
        rows = [(s.rows_updated, s.rows_inserted, s.rows_late) for s in lake.dataset(ORDERS).snapshots()]
        assert all(updated + inserted + late == 20 for updated, inserted, late in rows)
