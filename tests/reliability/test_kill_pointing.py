"""kill -9 of a worker at every boundary while it points an entry of Glue (an emulator) at a newer state of the lake."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import cordillera
from cordillera.client import Lake
from cordillera.spec.held_file import HeldFile
from tests.reliability.crash import ORDERS, new_lake, rows
from tests.reliability.processes import end_leases, run_and_kill
from tests.servers_glue import REGION, GlueEmulator

POINTS = [
    "cordillera.subscriptions.pointing:Pointing._held:after",  # the state is held, and nobody points at it
    "cordillera.adapters.synchronizers.glue:GlueSynchronizer.point:after",  # both states are held
    "cordillera.subscriptions.pointing:Pointing._keep:after",  # the lake does not know yet that it is done
]


@pytest.fixture
def database(glue_emulator: GlueEmulator, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return glue_emulator.new_database()


def check_readable(lake: Lake, emulator: GlueEmulator, database: str) -> str | None:
    """What an entry names is there, whatever the lake removes; return it."""
    lake.dataset(ORDERS).expire_snapshots(older_than=timedelta(0), keep_last=1)
    lake.remove_orphans(timedelta(0), dry_run=False, force=True)
    if "orders" not in emulator.tables(database):
        return None
    at: str = emulator.table(database, "orders")["Parameters"]["metadata_location"]
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


def test_whoever_is_killed_leaves_an_entry_that_can_be_read_and_the_next_worker_goes_on(
    tmp_path: Path, storage_root: str, glue_emulator: GlueEmulator, database: str
) -> None:
    path = tmp_path / "lake"
    with new_lake(path, storage_root=storage_root) as lake:
        lake.create_target("glue", "glue", database=database, region=REGION, endpoint=glue_emulator.endpoint)
        lake.dataset(ORDERS).write(rows(range(10), 1, 1), "upsert")
        lake.run_pending()
        made = lake.dataset(ORDERS).subscribe("glue")
    for turn, point in enumerate([POINTS[1], *POINTS]):  # in the first turn there is no entry yet
        if turn:
            with cordillera.open(path) as lake:
                lake.dataset(ORDERS).write(rows(range(turn), turn, turn), "upsert")
        run_and_kill(path, "work", point)
        with cordillera.open(path) as lake:
            check_readable(lake, glue_emulator, database)
            end_leases(lake)
            lake.run_pending()
            assert [one.metadata_location for one in held(lake)] == [check_readable(lake, glue_emulator, database)]
            assert lake.backend.subscription(made.id).in_step
            assert lake.backend.verify_subscription(made.id).equal
