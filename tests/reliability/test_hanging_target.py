"""A target that hangs: a real worker goes on with everything else, and gives it no more than it may have at once."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pyarrow as pa

import cordillera
from cordillera.client import Lake
from tests.reliability.processes import command, eventually, settled

STUCK = ("orders", "orders_2", "orders_3")


def of_target(lake: Lake, name: str) -> list[bool]:
    """Whether each subscription of a target is in step."""
    return [status.in_step for status in lake.backend.subscriptions(target=name)]


def running(lake: Lake) -> list[str]:
    """The targets of what runs."""
    return [task.target for task in lake.backend.tasks(state="running")]


def test_a_target_that_hangs_delays_no_other(tmp_path: Path, postgres_database: str) -> None:
    with cordillera.create(tmp_path / "lake") as lake, psycopg.connect(postgres_database) as blocker:
        lake.create_namespace("a")
        orders = lake.create_dataset("a.orders", {"id": pa.int64(), "n": pa.int64()}, key=["id"])
        lake.create_target("stuck", "postgres", dsn=postgres_database, deliveries_at_once="2")
        lake.create_target("fine", "duckdb", path=str(tmp_path / "copy.duckdb"))
        orders.write(pa.table({"id": range(100), "n": [0] * 100}), "append")
        made = [orders.subscribe("stuck", table=table) for table in STUCK]
        lake.run_pending()
        for table in STUCK:
            blocker.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        orders.write(pa.table({"id": range(50, 150), "n": [1] * 100}), "upsert")
        with command("worker", tmp_path / "lake"):
            eventually(lambda: running(lake) == ["stuck"] * 2, lake.backend.tasks)
            made.append(orders.subscribe("fine"))
            eventually(lambda: of_target(lake, "fine") == [True], lake.backend.tasks)
            assert of_target(lake, "stuck") == [False] * 3
            eventually(lambda: running(lake) == ["stuck"] * 2, lake.backend.tasks)  # it is in step before its task ends
            blocker.rollback()
            eventually(lambda: settled(lake), lake.backend.tasks)
        assert of_target(lake, "stuck") == [True] * 3
        assert all(lake.backend.verify_subscription(one.id).equal for one in made)
