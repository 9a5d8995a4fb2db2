"""Several worker processes on one lake on PostgreSQL: one is killed, stands still or is told to end while it works."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psycopg
import pytest

import cordillera
from cordillera.client import Lake
from tests.reliability.crash import ORDERS, TOTALS, new_lake, rows
from tests.reliability.processes import command, end_leases, eventually, settled

POSTGRES = "cordillera.adapters.synchronizers.postgres:PostgresSynchronizer"
COMMITS = "cordillera.catalog.commits:CommitService"
RUNS = "cordillera.workflows.execution:RunService"
IN_THE_TRANSACTION = "cordillera.catalog.commit_records:CommitRecords._audit:after"
LEASE_SECONDS = 4
POINTS = [
    f"{POSTGRES}.apply:before",
    f"{POSTGRES}.apply:after",
    f"{COMMITS}.commit:before",
    f"{COMMITS}.commit:after",
    IN_THE_TRANSACTION,
]


@pytest.fixture
def lake_path(tmp_path: Path, metadata_url: str, postgres_database: str) -> Path:
    """A lake with work waiting: two commits to deliver, a run to make."""
    path = tmp_path / "lake"
    with new_lake(path, metadata_url=metadata_url, target=postgres_database) as lake:
        orders = lake.dataset(ORDERS)
        orders.write(rows(range(100), 1, 1), "append", completes="2026-01-01")
        lake.run_pending()
        orders.write(rows(range(50, 150), 7, 2), "upsert")
        orders.write(rows(range(10), 0, 3), "delete", completes="2026-01-02")
    return path


def check(lake: Lake, dsn: str) -> None:
    """Everything has happened, once."""
    (status,) = lake.dataset(ORDERS).subscriptions()
    assert status.in_step, status
    assert lake.backend.verify_subscription(status.subscription.id).equal
    totals = lake.dataset(TOTALS)
    found = {str(row["day"]): row["total"] for row in totals.scan().to_arrow().to_pylist()}
    assert found == {"2026-01-01": 100, "2026-01-02": 40 + 700}
    assert totals.details().version.sequence_number == 2
    assert [c.revision for c in totals.completions()] == [1, 1]
    assert [run.state for run in lake.backend.runs(job=TOTALS)] == ["succeeded"] * 2
    assert [event.topic for event in lake.backend.events(dataset=TOTALS)].count("run.finished") == 2
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*), sum(amount) FROM orders").fetchone() == (140, 740)


@pytest.mark.parametrize("point", POINTS[1::2] + POINTS[-1:], ids=lambda point: point.split(":", 1)[1])
def test_another_worker_takes_over_from_one_that_was_killed(
    lake_path: Path, postgres_database: str, point: str
) -> None:
    with command("worker", lake_path, point=point) as doomed:
        assert doomed.wait() == -signal.SIGKILL, doomed.written()
    with cordillera.open(lake_path) as lake, command("worker", lake_path):
        end_leases(lake)
        eventually(lambda: settled(lake), lake.backend.tasks)
        check(lake, postgres_database)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.split(":", 1)[1])
def test_a_worker_that_stood_still_past_its_lease_changes_nothing_more(
    lake_path: Path, postgres_database: str, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if point == IN_THE_TRANSACTION:
        monkeypatch.setenv("CORDILLERA_LEASE_SECONDS", str(LEASE_SECONDS))
    with (
        command("worker", lake_path, point=point, fatal_signal=signal.SIGSTOP) as stalled,
        cordillera.open(lake_path) as lake,
    ):
        eventually(stalled.stands_still, stalled.written)
        with command("worker", lake_path):
            if point == IN_THE_TRANSACTION:  # its task stays locked past the lease: nobody can take it over
                time.sleep(LEASE_SECONDS + 1)
                stalled.send(signal.SIGCONT)
                eventually(lambda: settled(lake), lake.backend.tasks)
            else:
                end_leases(lake)
                eventually(lambda: settled(lake), lake.backend.tasks)
                check(lake, postgres_database)
                stalled.send(signal.SIGCONT)
                stalled.wait_for("lease lost")
        stalled.send(signal.SIGTERM)
        assert stalled.wait() == 0, stalled.written()
        check(lake, postgres_database)


@pytest.mark.parametrize("name", ["worker", "serve"])
def test_told_to_end_it_finishes_the_task_in_hand(lake_path: Path, postgres_database: str, name: str) -> None:
    with psycopg.connect(postgres_database) as blocker, cordillera.open(lake_path) as lake:
        blocker.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with command(name, lake_path) as worker:
            eventually(lambda: [task for task in lake.backend.tasks(state="running") if task.kind == "deliver"])
            worker.send(signal.SIGTERM)
            worker.wait_for("tasks in hand")
            assert worker.process.is_alive()
            blocker.rollback()
            assert worker.wait() == 0, worker.written()
        assert lake.backend.tasks(state="running") == []
        (status,) = lake.dataset(ORDERS).subscriptions()
        assert status.in_step
        lake.run_pending()
        check(lake, postgres_database)


def test_many_workers_do_everything_once(lake_path: Path, postgres_database: str) -> None:
    with (
        command("worker", lake_path, "--count", "2"),
        command("worker", lake_path, "--count", "2"),
        cordillera.open(lake_path) as lake,
    ):
        orders = lake.dataset(ORDERS)
        for number in range(10):
            orders.write(rows(range(100, 110), number, 10 + number), "upsert")
        eventually(lambda: settled(lake), lake.backend.tasks)
        for revision in range(2, 5):
            orders.complete("2026-01-03")
            eventually(lambda: settled(lake), lake.backend.tasks)
            assert lake.dataset(TOTALS).completions()[0].revision == revision - 1
        (status,) = orders.subscriptions()
        assert status.in_step
        assert lake.backend.verify_subscription(status.subscription.id).equal
        assert sorted(task.last_error for task in lake.backend.tasks()) == []
