"""Compaction, manifest rewrites and expiry beside writers in other processes: no row is lost, none comes back."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.spec.manifest import TableOperation
from tests.reliability.crash import SCHEMA, new_lake
from tests.reliability.processes import started

CHANGING = "sales.changing"
WRITERS, TURNS, KEYS = 2, 15, 400


def changes(writer: int, turn: int) -> tuple[list[int], list[int], int]:
    """The keys that a writer upserts and deletes in a turn, and the revision it does so under."""
    revision = 1 + turn * WRITERS + writer
    first = (turn * 37 + writer * 100) % KEYS
    upserted = [(first + i) % KEYS for i in range(60)]
    deleted = [(first + 60 + i * 3) % KEYS for i in range(30)]
    return upserted, deleted, revision


def write_and_delete(place: str, writer: int) -> None:
    with cordillera.open(place) as lake:
        orders = lake.dataset(CHANGING)
        for turn in range(TURNS):
            upserted, deleted, revision = changes(writer, turn)
            rows = {"id": upserted, "amount": [revision * 10] * len(upserted), "revision": [revision] * len(upserted)}
            orders.write(pa.table(rows), "upsert")
            orders.write(pa.table({"id": deleted, "revision": [revision] * len(deleted)}), "delete")


def expected() -> dict[int, tuple[int, int]]:
    """What the sequence rule leaves, whatever the order of the commits."""
    newest: dict[int, tuple[int, bool]] = {}
    for turn in range(TURNS):
        for writer in range(WRITERS):
            upserted, deleted, revision = changes(writer, turn)
            newest |= dict.fromkeys(upserted, (revision, True)) | dict.fromkeys(deleted, (revision, False))
    return {key: (revision * 10, revision) for key, (revision, there) in newest.items() if there}


@pytest.mark.parametrize("mode", ["merge-on-read", "copy-on-write"])
def test_writers_and_maintenance_do_not_disturb_each_other(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "lake"
    with new_lake(path) as lake:
        lake.create_dataset(CHANGING, SCHEMA, key=["id"], sequence="revision", write_mode=mode)
        orders = lake.dataset(CHANGING)
        everything = {"id": list(range(KEYS)), "amount": [0] * KEYS, "revision": [0] * KEYS}
        orders.write(pa.table(everything), "append")
    with cordillera.open(path) as lake, ExitStack() as stack:
        orders = lake.dataset(CHANGING)
        writers = [
            stack.enter_context(started(write_and_delete, str(path), writer, folder=tmp_path))
            for writer in range(WRITERS)
        ]
        rounds = 0
        while any(writer.process.is_alive() for writer in writers):
            orders.compact("sort" if rounds % 2 else "bin-pack")
            if rounds % 3 == 2:
                orders.rewrite_manifests()
            if rounds % 4 == 3:
                orders.expire_snapshots(older_than=timedelta(seconds=20), keep_last=20)
            rounds += 1
            time.sleep(0.1)  # maintenance without a pause would overtake a writer on every attempt
        for writer in writers:
            assert writer.wait() == 0, writer.written()[-3000:]
        assert rounds > 2
        # A key that nothing was written to after its first row is there still, with that row.
        found = {row["id"]: (row["amount"], row["revision"]) for row in orders.scan().to_arrow().to_pylist()}
        untouched = {key: (0, 0) for key in range(KEYS) if key not in touched()}
        assert found == {**untouched, **expected()}
        assert orders.scan().to_arrow().num_rows == len(found)
        operations = [snapshot.operation for snapshot in orders.snapshots(limit=500)]
        assert TableOperation.COMPACT in operations
        orders.compact("sort")
        assert orders.details().version.files == 1
        again = {row["id"]: (row["amount"], row["revision"]) for row in orders.scan().to_arrow().to_pylist()}
        assert again == found
        lake.run_pending()
        lake.remove_orphans(timedelta(0), dry_run=False, force=True)
        assert orders.scan().to_arrow().num_rows == len(found)


def touched() -> set[int]:
    return {
        key for turn in range(TURNS) for writer in range(WRITERS) for keys in changes(writer, turn)[:2] for key in keys
    }
