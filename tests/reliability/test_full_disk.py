"""A disk that is full: the write is refused, what was there stays, and once there is room again it goes on."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import cordillera
from cordillera.client import Lake
from cordillera.errors import MetadataStoreBusyError, StorageFullError
from cordillera.spec.schema_evolution import AddColumn
from tests.reliability.small_disk import fill, on_a_small_disk

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])
NAME = "a.b"


def rows(first: int, count: int = 4000) -> pa.Table:
    """Rows that do not compress."""
    return pa.table({"id": range(first, first + count), "text": [os.urandom(60).hex() for _ in range(count)]})


WRITES: dict[str, Callable[[Lake], object]] = {
    "append": lambda lake: lake.dataset(NAME).write(rows(10_000), "append"),
    "upsert": lambda lake: lake.dataset(NAME).write(rows(50), "upsert"),
    "delete": lambda lake: lake.dataset(NAME).write(pa.table({"id": range(50)}), "delete"),
    "replace": lambda lake: lake.dataset(NAME).write(rows(0), "replace"),
    "delete where": lambda lake: lake.dataset(NAME).delete_where("id < 50"),
    "another dataset": lambda lake: lake.create_dataset("a.c", SCHEMA),
    "another column": lambda lake: lake.dataset(NAME).evolve(AddColumn("n", pa.int64())),
}


PARTS = {"append": 70_000, "upsert": 70_000, "replace": 70_000, "delete": 5_000, "delete where": 5_000}
"""Room for a part of what a write has to store."""


def make_lake(folder: Path, **places: str) -> Lake:
    lake = cordillera.create(folder, **places)
    lake.create_namespace("a")
    lake.create_dataset(NAME, SCHEMA, key=["id"]).write(rows(0, 100), "append")
    return lake


def check_untouched(lake: Lake, before: pa.Table) -> None:
    assert lake.dataset(NAME).scan().to_arrow().equals(before)
    assert lake.dataset(NAME).details().version.sequence_number == 1
    assert [dataset.name for dataset in lake.namespace("a").datasets()] == [NAME]
    assert lake.backend.orphans(older_than_hours=0) == []


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def refuse(lake: Any, write: Callable[[Any], object], place: Path) -> None:
    with pytest.raises(StorageFullError) as caught:
        write(lake)
    assert str(place) in caught.value.message
    assert "space" in caught.value.hint
    assert (caught.value.status, caught.value.exit_code) == (507, 1)


def without_room_for_data(disk: Path, folder: Path) -> None:
    with make_lake(folder / "lake", storage_root=str(disk / "data")) as lake:
        before, stored = lake.dataset(NAME).scan().to_arrow(), files(disk / "data")
        for name, room in [*((name, 0) for name in WRITES), *PARTS.items()]:
            ballast = fill(disk, room=room)
            refuse(lake, WRITES[name], disk / "data")
            check_untouched(lake, before)
            assert files(disk / "data") == stored, name
            ballast.unlink()
        write_everything(lake)


def without_room_for_metadata(disk: Path, folder: Path) -> None:
    with make_lake(folder / "lake", metadata_url=f"sqlite:///{disk / 'lake.db'}") as lake:
        before, stored = lake.dataset(NAME).scan().to_arrow(), files(folder / "lake" / "data")
        ballast = fill(disk, room=20_000)

        def use_up_the_rest(lake: Lake) -> None:  # SQLite has set room aside for some commits more
            for number in range(500):
                lake.create_namespace(f"filler_{number}", description="x" * 5000)

        refuse(lake, use_up_the_rest, disk / "lake.db")
        for write in WRITES.values():
            refuse(lake, write, disk / "lake.db")
            check_untouched(lake, before)
            assert files(folder / "lake" / "data") == stored
        ballast.unlink()
        write_everything(lake)


def write_everything(lake: Lake) -> None:
    for write in WRITES.values():
        write(lake)
    assert lake.dataset(NAME).details().version.sequence_number == 6
    assert lake.backend.orphans(older_than_hours=0) == []


def opened_without_room(disk: Path, folder: Path) -> None:
    places = {"metadata_url": f"sqlite:///{disk / 'lake.db'}", "storage_root": str(disk / "data")}
    with make_lake(folder / "lake", **places) as lake:
        before = lake.dataset(NAME).scan().to_arrow()
    ballast = fill(disk, room=0)
    with pytest.raises(MetadataStoreBusyError) as caught:  # SQLite needs room for its index even to read
        cordillera.open(folder / "lake")
    assert str(disk / "lake.db") in caught.value.message
    assert "disk is full" in caught.value.hint
    ballast.write_bytes(bytes(ballast.stat().st_size - 50_000))
    with cordillera.open(folder / "lake") as lake:
        check_untouched(lake, before)
        refuse(lake, WRITES["append"], disk)
        check_untouched(lake, before)
    ballast.unlink()
    with cordillera.open(folder / "lake") as lake:
        WRITES["append"](lake)


@pytest.mark.parametrize("body", [without_room_for_data, without_room_for_metadata, opened_without_room])
def test_a_full_disk(tmp_path: Path, body: Callable[..., None]) -> None:
    on_a_small_disk(body, tmp_path)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let this process write no file larger than so many bytes: a full disk that every machine can have."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["append", "upsert", "replace"])
def test_a_file_that_may_not_grow(tmp_path: Path, name: str) -> None:
    with make_lake(tmp_path / "lake") as lake:
        before, stored = lake.dataset(NAME).scan().to_arrow(), files(tmp_path / "lake" / "data")
        with largest_file(100_000):
            refuse(lake, WRITES[name], tmp_path / "lake" / "data")
        check_untouched(lake, before)
        assert files(tmp_path / "lake" / "data") == stored
        WRITES[name](lake)
        assert lake.backend.orphans(older_than_hours=0) == []
