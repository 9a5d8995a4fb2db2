"""The files of a snapshot are told from its parent's where that is enough: they are what all manifests say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.errors import CorruptDataError
from cordillera.ports.clock import SystemClock
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.content_file import Content, ContentFile, ManifestEntry, ManifestFile, Status
from cordillera.table.difference import differing_files
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile, SnapshotFiles
from cordillera.testing.storage_memory import MemoryStorage

PATHS = [f"memory://lake/t/data/{name}.parquet" for name in "abcdefgh"]
ENGINE = DuckDBEngine(threads=1)
TABLE = TableMetadata(3, "t", "memory://lake/t", 0, 0, 0, (Schema(),), 0, (PartitionSpec(),), 0, 999)


@dataclass(frozen=True)
class Listed:
    """A manifest and its entries."""

    file: ManifestFile
    entries: tuple[ManifestEntry, ...]


@dataclass(frozen=True)
class History:
    """Snapshots, the manifests of each, and the order in which they are looked at."""

    snapshots: list[IcebergSnapshot]
    lists: list[list[Listed]]
    looked_at: list[int]


def data_file(path: str) -> ContentFile:
    return ContentFile(Content.DATA, path, "PARQUET", 0, (), 10, 100)


def vector(path: str) -> ContentFile:
    puffin = ContentFile(Content.POSITION_DELETES, "memory://lake/t/data/v.puffin", "PUFFIN", 0, (), 1, 10)
    return replace(puffin, referenced_data_file=path, content_offset=4, content_size_in_bytes=6)


def position_deletes(path: str) -> ContentFile:
    file = ContentFile(Content.POSITION_DELETES, f"{path}-deletes.parquet", "PARQUET", 0, (), 1, 10)
    return replace(file, referenced_data_file=path)


def _manifest(number: int) -> ManifestFile:
    return ManifestFile(f"memory://lake/t/metadata/{number}.avro", 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1)


entry_values = st.tuples(st.sampled_from(Status), st.integers(1, 6), st.sampled_from(PATHS))
contents = st.sampled_from([data_file] * 6 + [vector, position_deletes])


@st.composite
def manifests(draw: st.DrawFn, number: int) -> Listed:
    content, sequence = draw(contents), draw(st.integers(1, 6))
    entries = [ManifestEntry(s, 1, q, q, content(p)) for s, q, p in draw(st.lists(entry_values, max_size=3))]
    row_ids = draw(st.sampled_from([None, 5])) if content is data_file else None
    file = replace(_manifest(number), content=int(content is not data_file), sequence_number=sequence)
    return Listed(replace(file, first_row_id=row_ids), tuple(entries))


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Snapshots mostly add manifests to what an earlier one has; some leave manifests out, too."""
    numbers = iter(range(1_000))
    snapshots: list[IcebergSnapshot] = []
    lists: list[list[Listed]] = []
    for number in range(draw(st.integers(2, 6))):
        parent = draw(st.none() | st.integers(0, number - 1)) if number else None
        found = list(lists[parent]) if parent is not None else []
        if found and draw(st.integers(0, 3)) == 0:
            del found[draw(st.integers(0, len(found) - 1))]
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.sampled_from([0, len(found), len(found) // 2]))
            found.insert(place, draw(manifests(next(numbers))))
        summary = {"operation": draw(st.sampled_from(["append", "append", "replace"]))}
        parent_id = None if parent is None else parent + 1
        path = f"memory://lake/t/metadata/snap-{number}.avro"
        snapshots.append(IcebergSnapshot(number + 1, parent_id, number + 1, 0, path, summary, 0))
        lists.append(found)
    looked_at = draw(st.lists(st.integers(0, len(snapshots) - 1), max_size=8))
    return History(snapshots, lists, looked_at)


def reading(history: History) -> TableIO:
    """Return access to tables that has the manifests of a history in memory, and has looked at no snapshot."""
    io = TableIO(MemoryStorage(), ENGINE, SystemClock())
    for snapshot, listed in zip(history.snapshots, history.lists, strict=True):
        entries = {one.file.manifest_path: one.entries for one in listed}
        io.files.remember(snapshot.manifest_list, [one.file for one in listed], entries)
    return io


def seen(live: LiveFile) -> Any:
    return live.data, live.vector, [one.entry for one in live.deletes], live.resolve is not None


def live_or_refused(io: TableIO, snapshot: IcebergSnapshot) -> Any:
    try:
        return [seen(live) for live in io.files.live(snapshot)]
    except CorruptDataError as error:
        return str(error)


@settings(deadline=None, max_examples=50)
@given(histories())
def test_live_files_are_those_that_all_manifests_tell(history: History) -> None:
    io = reading(history)
    for number in [*history.looked_at, *range(len(history.snapshots))]:
        snapshot = history.snapshots[number]
        assert live_or_refused(io, snapshot) == live_or_refused(reading(history), snapshot)


def distinct(listed: list[Listed]) -> bool:
    """Tell whether no file is live twice."""
    places = [
        (entry.file.file_path, entry.file.referenced_data_file)
        for one in listed
        for entry in one.entries
        if entry.status is not Status.DELETED
    ]
    return len(set(places)) == len(places)


def differing(io: TableIO, history: History, before: int, after: int) -> list[list[Any]]:
    metadata = replace(TABLE, snapshots=tuple(history.snapshots))
    found = differing_files(io, metadata, history.snapshots[before], history.snapshots[after])
    return [[seen(live) for live in side] for side in (found.before, found.after)]


@settings(deadline=None, max_examples=50)
@given(histories(), st.data())
def test_files_by_which_snapshots_differ_are_the_same_whichever_way_they_are_read(
    history: History, data: st.DataObject
) -> None:
    io = reading(history)
    usable = [
        number
        for number, listed in enumerate(history.lists)
        if distinct(listed) and isinstance(live_or_refused(io, history.snapshots[number]), list)
    ]
    assume(len(usable) == len(history.lists))  # what lies between is looked at, too
    before, after = (data.draw(st.sampled_from(usable)) for _ in range(2))
    found = differing(io, history, before, after)
    with patch.object(SnapshotFiles, "_appended", return_value=None):
        assert found == differing(reading(history), history, before, after)


def test_an_append_looks_at_its_own_manifest_only() -> None:
    many = [
        Listed(_manifest(n), (ManifestEntry(Status.ADDED, 1, 1, 1, data_file(f"{PATHS[0]}{n}")),)) for n in range(9)
    ]
    first = IcebergSnapshot(1, None, 1, 0, "memory://lake/t/metadata/snap-1.avro", {}, 0)
    second = replace(first, snapshot_id=2, parent_snapshot_id=1, manifest_list="memory://lake/t/metadata/snap-2.avro")
    io = reading(History([first, second], [many[:8], [many[8], *many[:8]]], []))
    before = io.files.live(first)
    with patch.object(io.files, "entries", side_effect=io.files.entries) as entries:
        after = io.files.live(second)
    assert entries.call_count == 1
    assert after[1:] == before
