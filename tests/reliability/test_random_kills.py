"""kill -9 at random moments of merges and compactions: each left the old or the new state, and files that can go."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

import cordillera
from cordillera.adapters.db.engine import open_database
from cordillera.adapters.db.schema import commit_receipts
from cordillera.client import Dataset
from cordillera.spec.manifest import TableOperation
from cordillera.table.reachable import referenced_files
from tests.conftest import app_of
from tests.interop.engines import IN_PROCESS
from tests.reliability.crash import new_lake
from tests.reliability.processes import Running, started
from tests.reliability.test_mixed_writers import KEYS, SCHEMA, SHARED, Change, Rows

COMPACT = "compact"


def work() -> Iterator[Change]:
    """Yield what is done to the dataset, in this order, over all lives of the worker."""
    chance = random.Random(7)
    kinds = ["upsert", "partial_update", COMPACT, "upsert", "delete", COMPACT, "delete_where"]
    for number in range(10**9):
        kind = kinds[number % len(kinds)]
        ids = sorted(chance.sample(range(KEYS), 40))
        if kind == "delete_where":
            ids = list(range(ids[0], ids[0] + 12))
        yield Change(kind, ids, number, f"note {number}")


def do(dataset: Dataset, number: int, change: Change) -> None:
    """Do a change under its number; a second time it has no effect."""
    if change.kind == COMPACT:
        dataset.compact("sort" if number % 2 else "bin-pack", target_file_size=1_000)
    else:
        change.write(dataset, idempotency_key=str(number))


def work_from(place: str, first: int) -> None:
    """Go on with the work, and say what is begun and what is done, until killed."""
    with cordillera.open(place) as lake:
        dataset = lake.dataset(SHARED)
        for number, change in enumerate(work()):
            if number >= first:
                print("begun", number, flush=True)  # noqa: T201 - for the one who kills
                do(dataset, number, change)
                print("done", number, flush=True)  # noqa: T201


def live_and_die(worker: Running, chance: random.Random, first: int) -> tuple[int, bool]:
    """Kill the worker some time after it has begun an operation; return which it began last, and if it was done."""
    worker.wait_for(f"begun {first + chance.randrange(3)}\n")
    time.sleep(chance.uniform(0, 0.12))
    worker.process.kill()
    worker.wait()
    said = [line.split() for line in worker.written().splitlines() if line.startswith(("begun", "done"))]
    assert worker.process.exitcode == -signal.SIGKILL, worker.written()[-3000:]
    return int(said[-1][1]), said[-1][0] == "done"


def receipts(place: Path) -> dict[int, int | None]:
    """The numbers of the changes that the catalog has recorded, each with the snapshot it made, if it made one."""
    database = open_database(f"sqlite:///{place / 'lake.db'}")
    with database.reader.connect() as connection:
        found = connection.execute(sa.select(commit_receipts.c.key, commit_receipts.c.sequence_number)).all()
    database.close()
    return {int(key): sequence_number for key, sequence_number in found}


def stored(dataset: Dataset, as_of: int | None = None) -> Rows:
    found = dataset.scan(as_of=as_of).to_arrow()
    rows = {row["id"]: (row["amount"], row["note"]) for row in found.to_pylist()}
    assert found.num_rows == len(rows)
    return rows


def states(upto: int) -> Iterator[tuple[int, Rows]]:
    """Yield the rows there are to be after each change, from the first that is not a compaction."""
    rows: Rows = dict.fromkeys(range(KEYS), (0, ""))
    yield -1, dict(rows)
    for number, change in enumerate(islice(work(), upto)):
        if change.kind != COMPACT:
            change.replay(rows)
            yield number, dict(rows)


def kill_and_look(place: Path, interruptions: int) -> int:
    """Let the worker live and die until so many operations were interrupted; return how many were begun."""
    chance, changes = random.Random(interruptions), list(islice(work(), 10 * interruptions))
    rows, replayed, first, interrupted = dict.fromkeys(range(KEYS), (0, "")), 0, 0, 0
    while interrupted < interruptions:
        with started(work_from, str(place), first, folder=place.parent) as worker:
            last, done = live_and_die(worker, chance, first)
        interrupted += not done
        known = receipts(place)
        writes = {number for number, change in enumerate(changes[:last]) if change.kind != COMPACT}
        assert writes <= set(known) <= writes | {last}
        assert not done or changes[last].kind == COMPACT or last in known
        happened = last + (last in known)
        for change in changes[replayed:happened]:
            if change.kind != COMPACT:
                change.replay(rows)
        replayed = max(replayed, happened)
        with cordillera.open(place) as lake:
            assert stored(lake.dataset(SHARED)) == rows, (last, changes[last])
        first = last + done  # what was interrupted is done again, whether it was too late to stop it or not
    with cordillera.open(place) as lake:
        if not done:
            do(lake.dataset(SHARED), last, changes[last])
    return last + 1


def check_history(place: Path, begun: int) -> None:
    """Every snapshot reads as it did, and removing orphans leaves the files that the metadata names, and no other."""
    known = receipts(place)
    with cordillera.open(place) as lake:
        dataset = lake.dataset(SHARED)
        history = dict(states(begun))
        assert set(known) == set(history) - {-1}
        assert stored(dataset, as_of=1) == history[-1]
        for number, sequence_number in known.items():
            if sequence_number is not None:
                assert stored(dataset, as_of=sequence_number) == history[number]
        lake.remove_orphans(timedelta(0), dry_run=False, force=True)
        assert lake.remove_orphans(timedelta(0)).files == 0
        version, newest = dataset.details().version, history[max(history)]
        tables = app_of(lake).tables
        metadata = tables.load(version)
        named = {
            Path(urlsplit(uri).path) for uri in (version.metadata_location, *referenced_files(tables.io, metadata))
        }
        there = {path for path in Path(urlsplit(metadata.location).path).rglob("*") if path.is_file()}
        assert there == named
        assert stored(dataset) == newest
        for read in IN_PROCESS.values():
            rows = read(version.metadata_location).to_pylist()
            assert len(rows) == len(newest)
            assert {row["id"]: (row["amount"], row["note"]) for row in rows} == newest
        operations = [snapshot.operation for snapshot in dataset.snapshots(limit=1000)]
        assert operations.count(TableOperation.COMPACT) > begun // 7


@pytest.fixture(params=["merge-on-read", "copy-on-write"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a lake with the dataset."""
    with new_lake(tmp_path / "lake") as lake:
        lake.create_dataset(SHARED, SCHEMA, key=["id"], write_mode=request.param)
        Change("append", list(range(KEYS))).write(lake.dataset(SHARED))
    return tmp_path / "lake"


def test_ten_interrupted_operations_leave_the_old_or_the_new_state(place: Path) -> None:
    check_history(place, kill_and_look(place, 10))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hundred_interrupted_operations_leave_the_old_or_the_new_state(place: Path) -> None:
    check_history(place, kill_and_look(place, 200))
