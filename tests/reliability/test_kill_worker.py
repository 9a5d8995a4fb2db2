"""kill -9 of a worker at every boundary between two steps of background work."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

import cordillera
from tests.reliability.crash import ORDERS, TOTALS, new_lake, repair, rows
from tests.reliability.processes import end_leases, run_and_kill, settled

OPERATIONS = "cordillera.operations.service:OperationsService"
DELIVERY = "cordillera.subscriptions.delivery:DeliveryService"
DUCKDB = "cordillera.adapters.synchronizers.duckdb:DuckDBSynchronizer"
RUNS = "cordillera.workflows.execution:RunService"
POINTS = [
    f"{OPERATIONS}.dispatch_events:before",
    "cordillera.adapters.db.tasks:SqlTaskRows.enqueue_all:after",
    f"{OPERATIONS}.dispatch_events:after",
    f"{OPERATIONS}._perform:before",
    f"{DELIVERY}.deliver:before",
    f"{DUCKDB}.apply:before",
    f"{DUCKDB}.apply:after",
    f"{DELIVERY}._advance:after",
    f"{DELIVERY}.deliver:after",
    f"{RUNS}._begin:after",
    f"{RUNS}._compute:before",
    "cordillera.catalog.commit_records:CommitRecords._audit:after",
    "cordillera.catalog.commits:CommitService.commit:after",
    f"{RUNS}._compute:after",
    f"{RUNS}._finish:after",
    f"{RUNS}.execute:after",
    f"{OPERATIONS}._perform:after",
    f"{OPERATIONS}._perform:after:2",
    f"{OPERATIONS}._perform:before:2",  # leased as the one before it ended, and not begun
]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.split(":", 1)[1])
def test_a_killed_worker_leaves_nothing_undone_and_nothing_done_twice(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    with new_lake(path) as lake:
        lake.dataset(ORDERS).write(rows(range(100), 1, 1), "append", completes="2026-01-01")
        lake.run_pending()
        orders = lake.dataset(ORDERS)
        orders.write(rows(range(50, 150), 7, 2), "upsert")
        orders.write(rows(range(10), 0, 3), "delete", completes="2026-01-02")
    run_and_kill(path, "work", point)
    with cordillera.open(path) as lake:
        end_leases(lake)
        lake.run_pending()
        assert settled(lake)
        (status,) = lake.dataset(ORDERS).subscriptions()
        assert status.in_step
        assert lake.backend.verify_subscription(status.subscription.id).equal
        totals = lake.dataset(TOTALS).scan().to_arrow().to_pylist()
        assert {str(row["day"]): row["total"] for row in totals} == {"2026-01-01": 100, "2026-01-02": 40 + 700}
        assert lake.dataset(TOTALS).details().version.sequence_number == 2
        runs = lake.backend.runs(job=TOTALS)
        assert sorted((run.partition, run.state) for run in runs) == [
            ("2026-01-01", "succeeded"),
            ("2026-01-02", "succeeded"),
        ]
        assert [c.revision for c in lake.dataset(TOTALS).completions()] == [1, 1]
    with duckdb.connect(str(path / "copy.duckdb"), read_only=True) as copy:
        assert copy.execute("SELECT count(*), sum(amount) FROM orders").fetchone() == (140, 40 + 700)


@pytest.mark.parametrize(
    "point",
    [
        f"{DELIVERY}._step:after:1",
        f"{DELIVERY}._step:after:2",
        f"{DUCKDB}.apply:after",
        f"{DELIVERY}._advance:before",
    ],
    ids=lambda point: point.split(":", 1)[1],
)
def test_a_worker_killed_in_a_first_delivery_leaves_a_life_without_gaps(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    with new_lake(path) as lake:
        lake.dataset(ORDERS).write(rows(range(100), 1, 1), "append")
    run_and_kill(path, "work", point)
    with cordillera.open(path) as lake:
        end_leases(lake)
        lake.run_pending()
        assert settled(lake)
        (status,) = lake.dataset(ORDERS).subscriptions()
        assert status.in_step
        steps = [step.state for step in reversed(lake.backend.subscription_history(status.subscription.id))]
        complete = ["requested", "approved", "provisioning", "first_sync", "live"]
        # What was applied before the worker died is found done: there is no second first delivery.
        assert steps in (complete, complete[:3] + complete[4:])
        assert lake.backend.verify_subscription(status.subscription.id).equal


@pytest.mark.parametrize(
    "point",
    [f"{DELIVERY}.withdraw:before", f"{DUCKDB}.drop:after", f"{DELIVERY}.withdraw:after"],
    ids=lambda point: point.split(":", 1)[1],
)
def test_a_worker_killed_while_a_copy_is_removed_leaves_it_removed(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    with new_lake(path) as lake:
        lake.dataset(ORDERS).write(rows(range(100), 1, 1), "append")
        lake.run_pending()
        (status,) = lake.dataset(ORDERS).subscriptions()
        lake.backend.revoke_subscription(status.subscription.id, keep_rows=False)
    run_and_kill(path, "work", point)
    with cordillera.open(path) as lake:
        end_leases(lake)
        lake.run_pending()
        assert settled(lake)
        last = lake.backend.subscription_history(status.subscription.id, limit=1)[0]
        assert (last.state, last.reason) == ("revoked", "the table orders in copy was removed")
    with duckdb.connect(str(path / "copy.duckdb"), read_only=True) as copy:
        assert copy.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'orders'").fetchone() == (0,)


@pytest.mark.parametrize(
    "point",
    [
        f"{DUCKDB}.apply:before",
        f"{DUCKDB}.apply:after",
        "cordillera.subscriptions.verification:VerificationService._note:before",
    ],
    ids=lambda point: point.split(":", 1)[1],
)
def test_a_repair_that_is_killed_can_be_done_again(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    with new_lake(path) as lake:
        lake.dataset(ORDERS).write(rows(range(100), 1, 1), "append")
        lake.run_pending()
    with duckdb.connect(str(path / "copy.duckdb")) as copy:
        copy.execute("UPDATE orders SET amount = 9 WHERE id < 3; DELETE FROM orders WHERE id = 5")
        copy.execute("INSERT INTO orders VALUES (500, 1, 1)")
    run_and_kill(path, "repair", point)
    with cordillera.open(path) as lake:
        repair(lake)
        (status,) = lake.dataset(ORDERS).subscriptions()
        assert (status.in_step, status.subscription.equality) == (True, "equal")
    with duckdb.connect(str(path / "copy.duckdb"), read_only=True) as copy:
        assert copy.execute("SELECT count(*), sum(amount), max(id) FROM orders").fetchone() == (100, 100, 99)
