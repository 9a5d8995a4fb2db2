"""Eight processes do everything at once to one dataset: it ends up as if they had taken turns in commit order."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import cordillera
from cordillera.client import Dataset
from cordillera.errors import DuplicateKeyError, NotAllowedError
from cordillera.metrics import CONFLICTS
from cordillera.spec.catalog import Snapshot
from cordillera.spec.manifest import TableOperation
from tests.reliability.crash import new_lake
from tests.reliability.processes import eventually, started

SHARED = "sales.shared"
SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("amount", pa.int64()), pa.field("note", pa.string())])
WRITERS, KEYS = 8, 400
COMPACTOR, PUBLISHER = 0, 1  # the latter makes four commits a turn
MOST_LOST = 8
Rows = dict[int, tuple[int | None, str | None]]


@dataclass(frozen=True)
class Change:
    """Something to do to the dataset, and to a dict in its place."""

    kind: str
    ids: list[int] = field(default_factory=list)
    amount: int = 0
    note: str = ""

    def write(self, dataset: Dataset, **options: Any) -> Any:
        """Do it to the dataset."""
        if self.kind == "delete_where":
            return dataset.delete_where(f"id BETWEEN {self.ids[0]} AND {self.ids[-1]}", **options)
        columns: dict[str, list[Any]] = {"id": self.ids}
        if self.kind != "delete":
            columns["amount"] = [self.amount] * len(self.ids)
        if self.kind in ("append", "upsert"):
            columns["note"] = [self.note] * len(self.ids)
        schema = pa.schema([SCHEMA.field(name) for name in columns])
        return dataset.write(pa.table(columns, schema=schema), self.kind, **options)

    def replay(self, rows: Rows) -> list[int]:
        """Do it to a dict; return how many rows were inserted, updated and deleted."""
        touched = range(self.ids[0], self.ids[-1] + 1) if self.kind == "delete_where" else self.ids
        there = [key for key in touched if key in rows]
        if self.kind.startswith("delete"):
            for key in there:
                del rows[key]
            return [0, 0, len(there)]
        assert self.kind != "append" or not there
        for key in self.ids:
            note = rows.get(key, (None, None))[1] if self.kind == "partial_update" else self.note
            rows[key] = (self.amount, note)
        return [len(self.ids) - len(there), len(there), 0]


def changes(writer: int) -> Iterator[Change]:
    """Yield what a writer does, turn by turn."""
    chance = random.Random(writer)  # a history that can be had again
    kinds = ["append", "upsert", "upsert", "partial_update", "delete", "delete_where"]
    for turn in range(10**9):
        kind = chance.choice(kinds)
        ids = sorted(chance.sample(range(KEYS), 12))
        if kind == "append":
            ids = [KEYS + (turn * WRITERS + writer) * 5 + number for number in range(5)] if turn % 2 else ids[:2]
        if kind == "delete_where":
            ids = list(range(ids[0], ids[0] + 6))
        yield Change(kind, ids, turn * WRITERS + writer, f"{writer}:{turn}")


def write_until(place: str, writer: int, log: Path) -> None:
    """Change the dataset until a moment, and log each change with its snapshot."""
    do = {COMPACTOR: _compact, PUBLISHER: _publish}.get(writer, _write)
    until = log.parent / "until"
    with cordillera.open(place) as lake, log.open("w") as out:
        dataset = lake.dataset(SHARED)
        for turn, change in enumerate(changes(writer)):
            begun, lost = time.monotonic(), _lost()
            with suppress(DuplicateKeyError):
                for done, result in do(dataset, change, f"audit-{writer}-{turn}"):
                    counts = [result.rows_inserted, result.rows_updated, result.rows_deleted]
                    entry = {"change": vars(done), "sequence": result.sequence_number, "counts": counts}
                    out.write(json.dumps(entry | {"made": result.snapshot_committed}) + "\n")
            out.write(json.dumps({"lost": _lost() - lost, "seconds": time.monotonic() - begun}) + "\n")
            if turn == 0:  # whatever is imported late is there
                print("ready", flush=True)  # noqa: T201 - for those who wait for it
                deadline = float(eventually(lambda: until.exists() and until.read_text()))
            if time.time() > deadline:
                break


def _lost() -> float:
    return float(next(iter(next(iter(CONFLICTS.collect())).samples)).value)


def _write(dataset: Dataset, change: Change, _: str) -> list[Any]:
    return [(change, change.write(dataset))]


def _compact(dataset: Dataset, change: Change, _: str) -> list[Any]:
    dataset.compact("sort" if change.amount % 3 else "bin-pack")
    return []


def _publish(dataset: Dataset, change: Change, branch: str) -> list[Any]:
    """Make the change on a branch, and publish it, or take it over; or it is not to be."""
    base = dataset.create_branch(branch).sequence_number
    try:
        made = change.write(dataset, branch=branch)
        if not made.snapshot_committed:
            return []
        with suppress(NotAllowedError):
            dataset.publish(branch)
            return [(change, made)]
        if change.kind.startswith("delete"):  # what is taken over is which rows it deleted, not how it chose them
            before = dataset.scan(["id"], as_of=base).to_arrow()["id"].to_pylist()
            after = dataset.scan(["id"], as_of=branch).to_arrow()["id"].to_pylist()
            change = Change("delete", sorted(set(before) - set(after)))
        with suppress(NotAllowedError):
            return [(change, dataset.cherry_pick(made.sequence_number))]
        return []
    finally:
        dataset.drop_ref(branch)


@pytest.fixture(params=["merge-on-read", "auto"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The folder of a lake with the dataset."""
    with new_lake(tmp_path / "lake") as lake:
        lake.create_dataset(SHARED, SCHEMA, key=["id"], write_mode=request.param)
        Change("append", list(range(KEYS))).write(lake.dataset(SHARED))
    return str(tmp_path / "lake")


def test_writers_at_once_are_as_writers_in_turn(place: str, tmp_path: Path) -> None:
    check_history(place, tmp_path, seconds=8)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_writers_at_once_for_a_minute(place: str, tmp_path: Path) -> None:
    check_history(place, tmp_path, seconds=60)


def check_history(place: str, folder: Path, seconds: float) -> None:
    logs = [folder / f"writer-{writer}.jsonl" for writer in range(WRITERS)]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(started(write_until, place, writer, logs[writer], folder=folder))
            for writer in range(WRITERS)
        ]
        for writer in writers:
            writer.wait_for("ready")
        (folder / "now").write_text(str(time.time() + seconds))
        (folder / "now").rename(folder / "until")
        time.sleep(seconds)
        for writer in writers:
            assert writer.wait() == 0, writer.written()[-3000:]
    found = [[json.loads(line) for line in log.read_text().splitlines()] for log in logs]
    for number, entries in enumerate(found):
        turns = [entry for entry in entries if "lost" in entry][1:]
        assert turns, f"writer {number} never got its turn"
        # Who has lost three races gets a turn; only commits that were under way already can come before it.
        assert max(turn["lost"] for turn in turns) <= MOST_LOST * (4 if number == PUBLISHER else 1), turns
    replay(place, {entry["sequence"]: entry for entries in found for entry in entries if entry.get("made")})


def replay(place: str, made: dict[int, dict[str, Any]]) -> None:
    """Check what every commit said it did, and what came of them all."""
    rows: Rows = dict.fromkeys(range(KEYS), (0, ""))
    with cordillera.open(place) as lake:
        dataset = lake.dataset(SHARED)
        history = list(history_of(dataset))[::-1]
        for snapshot in history[1:]:
            if snapshot.operation is not TableOperation.COMPACT:
                entry = made.pop(snapshot.sequence_number)
                assert Change(**entry["change"]).replay(rows) == entry["counts"], entry
        assert made == {}
        table = dataset.scan().to_arrow()
        stored = {row["id"]: (row["amount"], row["note"]) for row in table.to_pylist()}
        assert table.num_rows == len(stored)
        assert stored == rows
        assert TableOperation.COMPACT in {snapshot.operation for snapshot in history}
        assert lake.backend.orphans(older_than_hours=0) == []


def history_of(dataset: Dataset) -> Iterator[Snapshot]:
    """Yield the snapshots that readers have seen, newest first."""
    before = None
    while page := dataset.snapshots(before, limit=1000):
        yield from page
        before = page[-1].sequence_number
