"""kill -9 of compaction and expiry at every boundary: the old or the new state, and files left behind at most."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import cordillera
from tests.reliability.crash import ORDERS, compact_all, expire_all, new_lake, rows
from tests.reliability.processes import run_and_kill

COMPACTION = [
    "cordillera.table.compaction:Compactor.plan:after",
    "cordillera.table.data_writer:DataWriter._close:after",
    "cordillera.table.compaction:Compactor.stage:after",
    "cordillera.table.compaction:Compactor.stage:after:2",
    "cordillera.table.compaction:Compactor.resolve:before",
    "cordillera.table.compaction:Compactor.resolve:after",
    "cordillera.catalog.tables:TableService.write_successor:after",
    "cordillera.catalog.commit_records:CommitRecords._add_snapshot:after",
    "cordillera.catalog.commits:CommitService._publish:after",
    "cordillera.catalog.commits:CommitService.commit:after",
    "cordillera.catalog.commits:CommitService.commit:after:2",
    "cordillera.maintenance.service:MaintenanceService._record:before",
]
EXPIRY = [
    "cordillera.maintenance.service:MaintenanceService.expiry_plan:after",
    "cordillera.catalog.tables:TableService.write_successor:after",
    "cordillera.catalog.commits:CommitService._publish:after",
    "cordillera.catalog.commits:CommitService.commit:after",
    "cordillera.maintenance.service:MaintenanceService._remove:before",
    "cordillera.adapters.storage.local:LocalStorage.delete:after:1",
    "cordillera.adapters.storage.local:LocalStorage.delete:after:9",
    "cordillera.adapters.storage.local:LocalStorage.delete:after:20",
    "cordillera.maintenance.service:MaintenanceService._record:before",
]


def contents(lake: cordillera.Lake, as_of: int | None = None) -> dict[int, tuple[int, int]]:
    found = lake.dataset(ORDERS).scan(as_of=as_of).to_arrow().to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: (row["amount"], row["revision"]) for row in found}


def fill(path: Path) -> tuple[dict[int, tuple[int, int]], int]:
    """Make a lake whose orders lie in many files with many deletes; return them and their newest snapshot."""
    with new_lake(path) as lake:
        orders = lake.dataset(ORDERS)
        orders.configure_maintenance(enabled=False)
        for turn in range(6):
            orders.write(rows(range(turn * 20, turn * 20 + 40), turn, turn + 1), "upsert")
        orders.delete_where("id % 7 = 0")
        lake.run_pending()
        return contents(lake), orders.details().version.sequence_number


def check(lake: cordillera.Lake, expected: dict[int, tuple[int, int]]) -> None:
    """The rows are all there, the lake is sound, targets are equal, and what was left behind can be removed."""
    assert contents(lake) == expected
    lake.remove_orphans(timedelta(0), dry_run=False, force=True)
    assert lake.remove_orphans(timedelta(0)).files == 0
    assert contents(lake) == expected
    lake.dataset(ORDERS).write(rows(range(500, 510), 9, 9), "upsert")
    lake.run_pending()
    assert contents(lake) == {**expected, **dict.fromkeys(range(500, 510), (9, 9))}
    (status,) = lake.dataset(ORDERS).subscriptions()
    assert lake.backend.verify_subscription(status.subscription.id).equal


@pytest.mark.parametrize("point", COMPACTION, ids=lambda point: point.split(":", 1)[1])
def test_a_killed_compaction_leaves_the_old_or_the_new_files(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    expected, newest = fill(path)
    run_and_kill(path, "compact", point)
    with cordillera.open(path) as lake:
        assert contents(lake) == expected
        assert contents(lake, as_of=newest) == expected
        compact_all(lake)
        assert lake.dataset(ORDERS).details().version.files <= 3
        check(lake, expected)


@pytest.mark.parametrize("point", EXPIRY, ids=lambda point: point.split(":", 1)[1])
def test_a_killed_expiry_leaves_orphans_at_most(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    expected, newest = fill(path)
    with cordillera.open(path) as lake:
        compact_all(lake)
    run_and_kill(path, "expire", point)
    with cordillera.open(path) as lake:
        metadata = lake.backend.app.tables.load(lake.dataset(ORDERS).details().version)
        for snapshot in metadata.snapshots:  # what is still a snapshot can be read
            assert contents(lake, as_of=snapshot.sequence_number)
        if any(snapshot.sequence_number == newest for snapshot in metadata.snapshots):
            assert contents(lake, as_of=newest) == expected
        expire_all(lake)
        check(lake, expected)
