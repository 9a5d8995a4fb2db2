"""kill -9 of a worker at every boundary while it points a target at a newer state of the lake: an entry of Glue (an
emulator), a table of Snowflake (a stand-in)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import cordillera
from cordillera.client import Lake
from cordillera.spec.held_file import HeldFile
from cordillera.spec.subscription import Subscription
from tests.adapters.synchronizers.snowflake_stand_in import TOKEN, Snowflake, start_stand_in
from tests.reliability.crash import ORDERS, new_lake, rows
from tests.reliability.processes import end_leases, run_and_kill
from tests.servers_glue import REGION, GlueEmulator

POINTS = [
    "cordillera.subscriptions.pointing:Pointing._held:after",  # the state is held, and nobody points at it
    "cordillera.adapters.synchronizers.glue:GlueSynchronizer.point:after",  # both states are held
    "cordillera.subscriptions.pointing:Pointing._keep:after",  # the lake does not know yet that it is done
]
STATEMENT = "cordillera.adapters.synchronizers.snowflake_session:Session.rows:after:{nth}"


@pytest.fixture
def database(glue_emulator: GlueEmulator, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return glue_emulator.new_database()


def check_readable(lake: Lake, at: str | None) -> str | None:
    """What an entry names is there, whatever the lake removes; return it."""
    lake.dataset(ORDERS).expire_snapshots(older_than=timedelta(0), keep_last=1)
    lake.remove_orphans(timedelta(0), dry_run=False, force=True)
    if at is None:
        return None
    app = lake.backend.app
    named = app.tables.load(replace(app.catalog.dataset(ORDERS).version, metadata_location=at)).current_snapshot
    assert app.storage.exists(at)
    assert named is not None
    now = app.tables.load(app.catalog.dataset(ORDERS).version)
    assert now.snapshot_by_id(named.snapshot_id) is not None
    return at


def held(lake: Lake) -> list[HeldFile]:
    app = lake.backend.app
    with app.store.read() as tx:
        return tx.pointers.held(app.catalog.dataset(ORDERS).version.id)


def follow(path: Path, points: list[str], named: Callable[[], str | None], made: Subscription) -> None:
    """Kill a worker at each point, the first time before there is an entry; another one goes on from there."""
    for turn, point in enumerate(points):
        if turn:
            with cordillera.open(path) as lake:
                lake.dataset(ORDERS).write(rows(range(turn), turn, turn), "upsert")
        run_and_kill(path, "work", point)
        with cordillera.open(path) as lake:
            check_readable(lake, named())
            end_leases(lake)
            lake.run_pending()
            assert [one.metadata_location for one in held(lake)] == [check_readable(lake, named())]
            assert lake.backend.subscription(made.id).in_step
            assert lake.backend.verify_subscription(made.id).equal


def test_whoever_is_killed_leaves_an_entry_that_can_be_read_and_the_next_worker_goes_on(
    tmp_path: Path, storage_root: str, glue_emulator: GlueEmulator, database: str
) -> None:
    path = tmp_path / "lake"
    with new_lake(path, storage_root=storage_root) as lake:
        lake.create_target("glue", "glue", database=database, region=REGION, endpoint=glue_emulator.endpoint)
        lake.dataset(ORDERS).write(rows(range(10), 1, 1), "upsert")
        lake.run_pending()
        made = lake.dataset(ORDERS).subscribe("glue")

    def named() -> str | None:
        if "orders" not in glue_emulator.tables(database):
            return None
        return str(glue_emulator.table(database, "orders")["Parameters"]["metadata_location"])

    follow(path, [POINTS[1], *POINTS], named, made)


def test_whoever_is_killed_leaves_a_table_of_snowflake_that_can_be_read_and_the_next_worker_goes_on(
    tmp_path: Path, storage_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNOWFLAKE_TOKEN", TOKEN)
    path = tmp_path / "lake"
    with start_stand_in(Snowflake(storage_root)) as snowflake:
        with new_lake(path, storage_root=storage_root) as lake:
            lake.create_target("snowflake", "snowflake_iceberg", token_env="SNOWFLAKE_TOKEN", **snowflake.settings)
            lake.dataset(ORDERS).write(rows(range(10), 1, 1), "upsert")
            lake.run_pending()
            made = lake.dataset(ORDERS).subscribe("snowflake")

        def named() -> str | None:
            found = snowflake.account.tables.get(("ANALYTICS", "LAKE", "ORDERS"))
            return found.location if found else None

        follow(path, [STATEMENT.format(nth=2), STATEMENT.format(nth=3)], named, made)
