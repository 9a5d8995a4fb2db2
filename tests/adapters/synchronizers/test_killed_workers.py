from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pytest
from tests.adapters.synchronizers import clickhouse_stand_in
from tests.adapters.synchronizers import killed_worker as worker
from tests.adapters.synchronizers.redshift_stand_in import StandIn
from tests.servers_mariadb import MariaDB
from tests.servers_snowflake import Snowflake

from cordillera.ports.synchronizer import Cursor
from cordillera.testing.synchronizer_deliveries import OURS, rows_of, spelled


@pytest.fixture(params=["postgres", "duckdb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A kind of target and where an empty one is."""
    if request.param == "postgres":
        return request.param, request.getfixturevalue("postgres_dsn")
    return request.param, str(tmp_path / "target.duckdb")


def kill_in(stage: str, place: tuple[str, str], reached: Path, delay_s: float = 0.0) -> None:
    command = [sys.executable, "-m", worker.__name__, *place, stage, str(reached)]
    root = Path(worker.__file__).parents[3]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not reached.exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(delay_s)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("stage", ["first delivery", "deletes", "upserts", "replacement"])
def test_killed_delivery_changes_nothing_and_can_be_repeated(
    place: tuple[str, str], stage: str, tmp_path: Path
) -> None:
    target = worker.target(*place)
    if stage == "first delivery":
        kill_in(stage, place, tmp_path / "reached")
        assert target.read_cursor(OURS) is None
        assert target.apply(worker.first()).rows_upserted == worker.FIRST_ROWS
        assert rows_of(target, worker.BEFORE) == spelled(worker.expected(worker.BEFORE, 0))
        return
    target.apply(worker.first())
    kill_in(stage, place, tmp_path / "reached")
    assert target.read_cursor(OURS) == Cursor(1, 0)
    assert rows_of(target, worker.BEFORE) == spelled(worker.expected(worker.BEFORE, 0))
    assert not target.apply(worker.second(stage)).already_applied
    assert rows_of(target, worker.AFTER) == spelled(worker.expected(worker.AFTER, worker.FIRST_ROWS // 2))


def test_a_worker_killed_between_the_rows_that_end_and_those_that_follow_leaves_the_history_as_it_was(
    place: tuple[str, str], tmp_path: Path
) -> None:
    assert_killed_history_goes_on(place, "history", worker.BATCHES, tmp_path)


BETWEEN = {  # what follows the statement that ends rows
    "redshift": 'DELETE FROM "s',
    "mariadb": "DELETE t",
    "clickhouse": "EXCHANGE",
}


@pytest.mark.parametrize("kind", BETWEEN)
def test_a_worker_killed_between_statements_that_end_rows_and_that_put_them_in_leaves_the_history_as_it_was(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = (kind, request.getfixturevalue(kind).location())
    assert_killed_history_goes_on(place, f"history before {BETWEEN[kind]}", worker.FEW, tmp_path)


def assert_killed_history_goes_on(place: tuple[str, str], stage: str, batches: int, tmp_path: Path) -> None:
    target, rows = worker.target(*place), batches * worker.ROWS
    target.apply(worker.history(1, count=batches))

    def counted() -> list[int]:
        found = target.read_rows(worker.HISTORY, ["id", "_is_current"]).read_all()
        return [found.num_rows, pc.sum(found["_is_current"]).as_py(), len(found["id"].unique())]

    kill_in(stage, place, tmp_path / "reached")
    assert target.read_cursor(OURS) == Cursor(1, 0)
    assert counted() == [rows] * 3
    result = target.apply(worker.history(2, count=batches))
    assert (result.rows_upserted, result.rows_updated) == (2 * rows, rows)
    assert counted() == [2 * rows, rows, rows]
    assert target.apply(worker.history(2, count=batches)).already_applied


LAST_STEP = ("new key", "DROP TABLE")
STEPS = [  # what is delivered, and the statement before which the worker dies
    ("first", "CREATE TEMPORARY STAGE"),
    ("first", "CREATE TABLE IF"),
    ("first", "UPDATE"),
    ("first", "CREATE TABLE"),
    ("first", "INSERT"),
    ("first", "ALTER TABLE"),
    ("merge", "ALTER TABLE"),
    ("merge", "BEGIN"),
    ("merge", "DELETE"),
    ("merge", "INSERT"),
    ("merge", "COMMIT"),
    ("new key", "CREATE TABLE"),
    ("new key", "CREATE OR REPLACE"),
    ("new key", "INSERT"),
    ("new key", "ALTER TABLE"),
]


@pytest.mark.parametrize(
    ("what", "statement"), [LAST_STEP, *(pytest.param(*step, marks=pytest.mark.long) for step in STEPS)]
)
def test_worker_killed_at_a_step_of_snowflake_has_delivered_all_or_nothing(
    what: str, statement: str, snowflake: Snowflake, tmp_path: Path
) -> None:
    """On an emulator, in a process of its own, which goes on when the worker has died."""
    target, place = snowflake.target(), ("snowflake", json.dumps([snowflake.port, snowflake.schema]))
    if what != "first":
        target.apply(worker.few(worker.BEFORE))
    kill_in(f"{what} before {statement}", place, tmp_path / "reached")
    if what == "first":
        assert target.read_cursor(OURS) is None
    elif (what, statement) == LAST_STEP:  # the new table has the name, and with it the cursor counts
        assert target.read_cursor(OURS) == Cursor(2, 1)
    else:
        assert target.read_cursor(OURS) == Cursor(1, 0)
        found = snowflake.execute('SELECT "id" FROM "many" ORDER BY 1')
        assert found == [(n,) for n in range(worker.FEW * worker.ROWS)]
    snowflake.execute("SELECT SYSTEM$ABORT_TRANSACTION(0)")  # as Snowflake does with one that nobody goes on with
    table = worker.STEPS_OF[what]
    delivery = worker.few(table)
    assert target.apply(delivery).already_applied == ((what, statement) == LAST_STEP)
    assert target.read_cursor(OURS) == delivery.to_cursor
    start = worker.ROWS if what == "merge" else 0
    assert rows_of(target, table) == spelled(worker.expected(table, start, worker.FEW))
    assert len(snowflake.tables()) == 2, "the table and its state"


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1])
def test_worker_killed_around_the_commit_has_delivered_all_or_nothing(
    place: tuple[str, str], delay_s: float, tmp_path: Path
) -> None:
    target = worker.target(*place)
    target.apply(worker.first())
    kill_in("commit", place, tmp_path / "reached", delay_s)
    cursor = target.read_cursor(OURS)
    assert cursor in (Cursor(1, 0), Cursor(2, 1))
    if cursor == Cursor(1, 0):
        assert rows_of(target, worker.BEFORE) == spelled(worker.expected(worker.BEFORE, 0))
    target.apply(worker.second("commit"))
    assert target.read_cursor(OURS) == Cursor(2, 1)
    assert rows_of(target, worker.AFTER) == spelled(worker.expected(worker.AFTER, worker.FIRST_ROWS // 2))


def test_worker_killed_while_it_delivers_to_redshift_has_delivered_all_or_nothing(
    redshift: StandIn, tmp_path: Path
) -> None:
    target = redshift.target()
    target.apply(worker.first())
    kill_in("commit", ("redshift", redshift.location()), tmp_path / "reached", 0.1)
    cursor = target.read_cursor(OURS)
    if cursor == Cursor(1, 0):
        assert rows_of(target, worker.BEFORE) == spelled(worker.expected(worker.BEFORE, 0))
    target.apply(worker.second("commit"))
    assert target.read_cursor(OURS) == Cursor(2, 1)
    assert rows_of(target, worker.AFTER) == spelled(worker.expected(worker.AFTER, worker.FIRST_ROWS // 2))


def test_worker_killed_while_it_delivers_to_clickhouse_has_delivered_all_or_nothing(
    clickhouse: clickhouse_stand_in.StandIn, tmp_path: Path
) -> None:
    target = clickhouse.target()
    target.apply(worker.first())
    kill_in("commit", ("clickhouse", clickhouse.location()), tmp_path / "reached", 0.05)
    cursor = target.read_cursor(OURS)
    if cursor == Cursor(1, 0):
        assert rows_of(target, worker.BEFORE) == spelled(worker.expected(worker.BEFORE, 0))
    target.apply(worker.second("commit"))
    assert target.read_cursor(OURS) == Cursor(2, 1)
    assert rows_of(target, worker.AFTER) == spelled(worker.expected(worker.AFTER, worker.FIRST_ROWS // 2))


def test_worker_killed_while_it_delivers_to_mariadb_has_delivered_all_rows_or_none(
    mariadb: MariaDB, tmp_path: Path
) -> None:
    target = mariadb.target()
    target.apply(worker.first())
    kill_in("commit", ("mariadb", mariadb.location()), tmp_path / "reached", 0.05)
    cursor = target.read_cursor(OURS)
    assert cursor in (Cursor(1, 0), Cursor(2, 1))
    if cursor == Cursor(1, 0):  # columns may have changed already; the ids of rows are in either
        assert rows_of(target, worker.BEFORE, ["id"]) == spelled([{"id": n} for n in range(worker.FIRST_ROWS)])
    target.apply(worker.second("commit"))
    assert target.read_cursor(OURS) == Cursor(2, 1)
    assert rows_of(target, worker.AFTER) == spelled(worker.expected(worker.AFTER, worker.FIRST_ROWS // 2))
