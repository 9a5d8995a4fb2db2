"""Which snapshots go, and which files with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from cordillera.spec.commit import SetSnapshotRef, apply
from cordillera.spec.merge import Operation
from cordillera.table.expiry import plan_expiry
from cordillera.table.reachable import place_of, referenced_files
from tests.table.harness import LooseTable

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("note", pa.string())])
HOUR = 3_600_000


def table_of(folder: Path, snapshots: int = 6) -> LooseTable:
    """A table whose snapshots are an hour apart; number n has the ids 0 to n - 1 less one that was deleted."""
    table = LooseTable(folder, SCHEMA, key=("id",))
    for number in range(snapshots):
        table.write(Operation.UPSERT, [{"id": number, "note": str(number)}])
    return table


def aged(table: LooseTable, now_ms: int) -> None:
    """Let the snapshots be an hour apart, the newest made now."""
    count = len(table.metadata.snapshots)
    snapshots = tuple(
        replace(one, timestamp_ms=now_ms - HOUR * (count - 1 - number))
        for number, one in enumerate(table.metadata.snapshots)
    )
    table.metadata = table.metadata.with_changes(snapshots=snapshots)


def planned(table: LooseTable, now_ms: int, hours: float, keep_last: int = 1) -> list[int]:
    plan = plan_expiry(table.metadata, now_ms, int(hours * HOUR), keep_last)
    return [snapshot.sequence_number for snapshot in plan.snapshots]


def refer(table: LooseTable, name: str, sequence: int, kind: str, **options: Any) -> None:
    snapshot = table.metadata.snapshot_by_sequence(sequence)
    assert snapshot is not None
    table.metadata = apply(
        [SetSnapshotRef(name, snapshot.snapshot_id, kind, options)], table.metadata, table.io.now_ms()
    )


def test_age_and_number_decide(tmp_path: Path) -> None:
    table, now = table_of(tmp_path), 10**12
    aged(table, now)
    assert planned(table, now, 2.5) == [1, 2, 3]
    assert planned(table, now, 0) == [1, 2, 3, 4, 5]
    assert planned(table, now, 0, keep_last=4) == [1, 2]
    assert planned(table, now, 100) == []


def test_branches_and_tags_keep_what_they_lead_to(tmp_path: Path) -> None:
    table, now = table_of(tmp_path), 10**12
    aged(table, now)
    refer(table, "audited", 2, "tag")
    refer(table, "work", 4, "branch", **{"min-snapshots-to-keep": 2})
    assert planned(table, now, 0) == [1, 5]
    refer(table, "old", 1, "tag", **{"max-ref-age-ms": HOUR})
    plan = plan_expiry(table.metadata, now, 0, 1)
    assert plan.refs == ("old",)
    assert [snapshot.sequence_number for snapshot in plan.snapshots] == [1, 5]
    refer(table, "patient", 3, "branch", **{"max-snapshot-age-ms": 100 * HOUR})
    assert planned(table, now, 0) == [5]


def test_what_nothing_leads_to_stays_until_it_is_old(tmp_path: Path) -> None:
    table, now = table_of(tmp_path), 10**12
    aged(table, now)
    refer(table, "main", 4, "branch")  # as after a rollback: 5 and 6 are loose
    assert planned(table, now, 1.5) == [1, 2, 3]
    assert planned(table, now, 0.5) == [1, 2, 3, 5]


def test_files_that_only_expired_snapshots_need_are_found(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    refer(table, "audited", 3, "tag")
    kept = table.rows(table.metadata.snapshot_by_sequence(3)).to_pylist()
    table.compact()
    now = table.rows().to_pylist()
    before = {file.uri for file in table.io.storage.list(table.metadata.location)}
    sequences, files = table.expire()
    assert sequences == [1, 2, 4, 5, 6]
    assert len(files) == len(set(files))
    left = {file.uri for file in table.io.storage.list(table.metadata.location)}
    assert before - left == set(files)
    assert left == referenced_files(table.io, table.metadata)
    assert table.rows().to_pylist() == now
    assert table.rows(table.metadata.snapshot_by_sequence(3)).to_pylist() == kept


def test_files_whose_uris_hadoop_wrote_are_known_by_them(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    location = table.metadata.location
    table.metadata = replace(table.metadata, location=location.replace("file:///", "file:/"))
    table.write(Operation.UPSERT, [{"id": 1, "note": "new"}, {"id": 100, "note": "new"}])
    table.metadata = replace(table.metadata, location=location)
    table.delete_where("id = 100")
    table.forget()
    now = table.rows().to_pylist()
    before = {file.uri for file in table.io.storage.list(location)}
    _, gone = table.expire()
    assert table.rows().to_pylist() == now
    left = {file.uri for file in table.io.storage.list(location)}
    assert before - left == set(gone)
    assert left == {place_of(uri) for uri in referenced_files(table.io, table.metadata)}


def test_what_another_engine_calls_statistics_stays_while_it_is_needed(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    first, newest = table.metadata.snapshots[0], table.metadata.current_snapshot
    assert newest is not None
    taken = [*(live.path for live in table.io.files.live(newest)), table.io.files.manifests(newest)[0].manifest_path]
    own = f"{table.metadata.location}/metadata/own.stats"
    table.io.storage.write(own, b"")
    listed = [{"snapshot-id": first.snapshot_id, "statistics-path": path} for path in (*taken, own)]
    table.metadata = table.metadata.with_changes(extra={"statistics": listed})
    assert referenced_files(table.io, table.metadata) == {
        one.uri for one in table.io.storage.list(table.metadata.location)
    }
    now = table.rows().to_pylist()
    _, gone = table.expire()
    assert own in gone
    assert table.rows().to_pylist() == now


def test_snapshots_that_come_from_each_other_end(tmp_path: Path) -> None:
    table = table_of(tmp_path, 3)
    first, second, third = table.metadata.snapshots
    circle = (first, replace(second, parent_snapshot_id=third.snapshot_id), third)
    table.metadata = table.metadata.with_changes(snapshots=circle)
    assert planned(table, table.io.now_ms() + HOUR, 0) == [1, 2]


def test_one_object_has_one_place_however_it_is_written() -> None:
    assert place_of("s3a://lake/a/b%20c.parquet") == place_of("s3://lake/a/b%20c.parquet")
    assert place_of("file:///lake/a") == place_of("/lake/a") == place_of("file:/lake/a")
    assert place_of("s3://lake/a#1?x") != place_of("s3://lake/a")
    assert place_of("s3://lake/a") != place_of("s3://other/a")
