"""kill -9 of a writer at every boundary between two steps of a write."""

from __future__ import annotations

from pathlib import Path

import pytest

import cordillera
from tests.reliability.crash import ORDERS, new_lake, rows, upsert
from tests.reliability.processes import run_and_kill

POINTS = [
    "cordillera.table.write:TableWriter.stage:after",
    "cordillera.table.file_changes:data_writer:before",
    "cordillera.table.snapshot_producer:SnapshotProducer.produce:before",
    "cordillera.table.snapshot_producer:SnapshotProducer._write_manifests:after",
    "cordillera.table.write:TableWriter.resolve:after",
    "cordillera.catalog.tables:TableService.write_successor:after",
    "cordillera.adapters.storage.disk:Unsettled.settle:after",
    "cordillera.catalog.commit_records:CommitRecords._add_snapshot:after",
    "cordillera.catalog.commit_records:CommitRecords._audit:after",
    "cordillera.adapters.db.groups:_Group.commit:before",
    "cordillera.adapters.db.groups:_Group.commit:after",
    "cordillera.catalog.commits:CommitService._publish:after",
    "cordillera.catalog.commits:CommitService.commit:after",
]
BEFORE = dict.fromkeys(range(100), 1)
AFTER = {**BEFORE, **dict.fromkeys(range(50, 150), 7)}


def amounts(lake: cordillera.Lake) -> dict[int, int]:
    found = lake.dataset(ORDERS).scan().to_arrow().to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row["amount"] for row in found}


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.split(":", 1)[1])
def test_a_killed_writer_leaves_the_old_or_the_new_state(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    with new_lake(path) as lake:
        lake.dataset(ORDERS).write(rows(range(100), 1, 1), "append")
        events = len(lake.backend.events(dataset=ORDERS))
    run_and_kill(path, "upsert", point)
    with cordillera.open(path) as lake:
        committed = lake.dataset(ORDERS).details().version.sequence_number == 2
        assert amounts(lake) == (AFTER if committed else BEFORE)
        assert (lake.dataset(ORDERS).completion("2026-01-02") is not None) == committed
        assert len(lake.backend.events(dataset=ORDERS)) == events + (2 if committed else 0)
        upsert(lake)
        assert amounts(lake) == AFTER
        assert lake.dataset(ORDERS).details().version.sequence_number == 2
        completion = lake.dataset(ORDERS).completion("2026-01-02")
        assert completion is not None
        assert completion.revision == 1
        orphans = lake.backend.orphans(older_than_hours=0)
        nothing_written_yet = point.endswith(("stage:after", "data_writer:before"))
        assert bool(orphans) == (not committed and not nothing_written_yet)
        lake.run_pending()
        (status,) = lake.dataset(ORDERS).subscriptions()
        assert lake.backend.verify_subscription(status.subscription.id).equal
