"""kill -9 of a transaction at every boundary between two of its steps: both datasets have the old or the new state."""

from __future__ import annotations

from pathlib import Path

import pytest

import cordillera
from tests.reliability.crash import JOURNAL, ORDERS, SCHEMA, new_lake, rows, transfer
from tests.reliability.processes import run_and_kill

POINTS = {
    "cordillera.table.write:TableWriter.stage:after:1": False,
    "cordillera.table.write:TableWriter.stage:after:2": False,
    "cordillera.table.write:TableWriter.resolve:after:1": False,
    "cordillera.catalog.tables:TableService.write_successor:after:1": False,
    "cordillera.catalog.tables:TableService.write_successor:after:2": False,
    "cordillera.catalog.commits:_swap:after:1": False,
    "cordillera.catalog.commits:_swap:after:2": False,
    "cordillera.catalog.commit_records:CommitRecords.write:after:1": False,
    "cordillera.catalog.commit_records:CommitRecords.write:after:2": False,
    "cordillera.catalog.commits:CommitService._publish:after:1": True,
}
BEFORE = {ORDERS: dict.fromkeys(range(100), 1), JOURNAL: {}}
AFTER = {ORDERS: {**BEFORE[ORDERS], **dict.fromkeys(range(50, 150), 7)}, JOURNAL: dict.fromkeys(range(50, 150), 7)}


def amounts(lake: cordillera.Lake) -> dict[str, dict[int, int]]:
    found = {name: lake.dataset(name).scan().to_arrow().to_pylist() for name in (ORDERS, JOURNAL)}
    return {name: {row["id"]: row["amount"] for row in rows} for name, rows in found.items()}


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.split(":", 1)[1])
def test_a_killed_transaction_leaves_the_old_or_the_new_state_of_both(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    with new_lake(path) as lake:
        lake.create_dataset(JOURNAL, SCHEMA)
        lake.dataset(ORDERS).write(rows(range(100), 1, 1), "append")
    run_and_kill(path, "transfer", point)
    with cordillera.open(path) as lake:
        committed = POINTS[point]
        assert amounts(lake) == (AFTER if committed else BEFORE)
        assert (lake.dataset(ORDERS).completion("2026-01-02") is not None) == committed
        for name in BEFORE:
            marked = [e for e in lake.backend.events(dataset=name) if "transaction" in e.payload]
            assert bool(marked) == committed
        transfer(lake)
        assert amounts(lake) == AFTER
        numbers = [lake.dataset(name).details().version.sequence_number for name in BEFORE]
        assert numbers == [2, 1]
        first_staged = point.endswith("stage:after:1")  # of the upsert, which writes no file yet
        assert bool(lake.backend.orphans(older_than_hours=0)) == (not committed and not first_staged)
