"""kill -9 of the server: before and behind a commit, between commit and event, and in the work it does besides."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

import cordillera
from cordillera.client import Lake
from cordillera.errors import ServerUnreachableError
from tests.cli.harness import run_program
from tests.reliability.crash import ORDERS, TOTALS, new_lake, rows, upsert
from tests.reliability.processes import command, end_leases, eventually, settled

COMMITS = "cordillera.catalog.commits:CommitService"
OPERATIONS = "cordillera.operations.service:OperationsService"
BEFORE_THE_COMMIT = "cordillera.catalog.commit_records:CommitRecords._audit:after"
POINTS = [  # the server's own worker is the one of test_kill_worker
    BEFORE_THE_COMMIT,
    f"{COMMITS}.commit:after",
    f"{OPERATIONS}.dispatch_events:before",
    f"{OPERATIONS}.dispatch_events:after",
    "cordillera.adapters.synchronizers.duckdb:DuckDBSynchronizer.apply:after",
    f"{COMMITS}.commit:after:2",  # the first is the client's, the second the run's
]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.split(":", 1)[1])
def test_a_killed_server_goes_on_where_it_was(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    with new_lake(path) as lake:
        lake.dataset(ORDERS).write(rows(range(100), 1, 1), "append", completes="2026-01-01")
        lake.run_pending()
    with command("serve", path, point=point) as server, server.connect() as lake:
        with suppress(ServerUnreachableError):  # the server dies somewhere around its answer
            upsert(lake)
        assert server.wait() == -9
    with cordillera.open(path) as lake:
        end_leases(lake)
        committed = lake.dataset(ORDERS).details().version.sequence_number == 2
        assert committed == (point != BEFORE_THE_COMMIT)
    with command("serve", path) as server, server.connect() as lake:
        upsert(lake)
        eventually(lambda: settled(lake), lambda: (lake.backend.tasks(), server.written()[-3000:]))
        check(lake)
        orphans = lake.backend.orphans(older_than_hours=0)
        assert bool(orphans) == (not committed)
        assert {orphan.dataset for orphan in orphans} <= {f"{ORDERS}_v1"}
    if orphans:
        doctor = run_program("doctor", "--orphans", "--older-than", "0", "--lake", path, "--output", "json")
        assert doctor.code == 8
        assert sorted(found["uri"] for found in doctor.json()) == sorted(orphan.uri for orphan in orphans)
    with duckdb.connect(str(path / "copy.duckdb"), read_only=True) as copy:
        assert copy.execute("SELECT count(*), sum(amount) FROM orders").fetchone() == (150, 50 + 700)


def check(lake: Lake) -> None:
    """Everything that was asked for has happened, once."""
    orders, totals = lake.dataset(ORDERS), lake.dataset(TOTALS)
    (status,) = orders.subscriptions()
    assert status.in_step
    assert lake.backend.verify_subscription(status.subscription.id).equal
    assert orders.details().version.sequence_number == 2
    assert [(c.partition, c.revision) for c in orders.completions()] == [("2026-01-02", 1), ("2026-01-01", 1)]
    found = {str(row["day"]): row["total"] for row in totals.scan().to_arrow().to_pylist()}
    assert found == {"2026-01-01": 100, "2026-01-02": 750}
    assert totals.details().version.sequence_number == 2
    runs = lake.backend.runs(job=TOTALS)
    assert [(run.partition, run.state) for run in runs] == [("2026-01-02", "succeeded"), ("2026-01-01", "succeeded")]
