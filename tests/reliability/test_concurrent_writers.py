"""Several processes write one dataset at the same time, wherever the lake is and however they reach it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.client import Lake
from tests.reliability.crash import ORDERS, new_lake
from tests.reliability.processes import command, started

WRITERS, WRITES, ROWS = 3, 5, 20


def write_five_times(place: str, first: int, step: int, revision: int) -> None:
    """Upsert batches of rows; each begins ``step`` keys behind the one before."""
    with cordillera.connect(place) if place.startswith("http") else cordillera.open(place) as lake:
        for turn in range(WRITES):
            ids = list(range(first + turn * step, first + turn * step + ROWS))
            rows = {"id": ids, "amount": [revision * 1000 + turn] * ROWS, "revision": [revision + turn * 10] * ROWS}
            lake.dataset(ORDERS).write(pa.table(rows), "upsert")


@pytest.fixture(params=["SQLite and local files", "PostgreSQL and S3", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where to find a lake: its folder, or its server's URL."""
    path = tmp_path / "lake"
    if request.param == "PostgreSQL and S3":
        places = {name: request.getfixturevalue(name) for name in ("metadata_url", "storage_root")}
        new_lake(path, **places).close()
    else:
        new_lake(path).close()
    if request.param != "server":
        yield str(path)
        return
    with command("serve", path) as server:
        yield server.url()


def write_at_once(place: str, folder: Path, arguments: list[tuple[int, int, int]]) -> None:
    with ExitStack() as stack:
        writers = [stack.enter_context(started(write_five_times, place, *some, folder=folder)) for some in arguments]
        for writer in writers:
            assert writer.wait() == 0, writer.written()[-3000:]


def opened(place: str) -> Lake:
    return cordillera.connect(place) if place.startswith("http") else cordillera.open(place)


def test_disjoint_keys_all_land(place: str, tmp_path: Path) -> None:
    write_at_once(place, tmp_path, [(writer * 1000, ROWS, writer + 1) for writer in range(WRITERS)])
    with opened(place) as lake:
        found = lake.dataset(ORDERS).scan().to_arrow().to_pylist()
        assert {(row["id"], row["amount"]) for row in found} == {
            (writer * 1000 + turn * ROWS + number, (writer + 1) * 1000 + turn)
            for writer in range(WRITERS)
            for turn in range(WRITES)
            for number in range(ROWS)
        }
        assert len(found) == WRITERS * WRITES * ROWS
        check_history(lake)
        assert {s.rows_inserted for s in lake.dataset(ORDERS).snapshots()} == {ROWS}


def test_on_the_same_keys_the_sequence_decides(place: str, tmp_path: Path) -> None:
    write_at_once(place, tmp_path, [(0, 0, writer + 1) for writer in range(WRITERS)])
    with opened(place) as lake:
        found = lake.dataset(ORDERS).scan().to_arrow().to_pylist()
        assert sorted(row["id"] for row in found) == list(range(ROWS))
        assert {(row["revision"], row["amount"]) for row in found} == {(43, 3004)}
        rows = [(s.rows_updated, s.rows_inserted, s.rows_late) for s in lake.dataset(ORDERS).snapshots()]
        assert all(sum(counts) == ROWS for counts in rows)
        check_history(lake, all_made_snapshots=False)


def check_history(lake: Lake, *, all_made_snapshots: bool = True) -> None:
    """Each write is one commit, with its audit entry; each snapshot has its event; no loser left a file behind."""
    orders = lake.dataset(ORDERS)
    committed = [entry for entry in lake.backend.audit(object_name=ORDERS) if entry.action == "dataset.commit"]
    numbers = [snapshot.sequence_number for snapshot in orders.snapshots()]
    assert numbers == list(range(len(numbers), 0, -1))
    assert orders.details().version.sequence_number == len(numbers)
    events = [event for event in lake.backend.events(dataset=ORDERS) if event.topic == "snapshot.committed"]
    assert [event.payload["sequence_number"] for event in events] == numbers
    if all_made_snapshots:
        assert len(numbers) == len(committed) == WRITERS * WRITES
    assert lake.backend.orphans(older_than_hours=0) == []
