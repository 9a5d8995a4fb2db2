"""Other engines read what maintenance leaves: compacted files, carried deletes, new manifests, expired history."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.spec.maintenance import CompactionOptions, Strategy
from cordillera.spec.merge import Operation, WriteMode
from cordillera.table.compaction import Compactor
from cordillera.table.snapshot_producer import FileChanges, SnapshotProducer
from tests.interop.engines import EVERY_READER, READERS
from tests.interop.test_table_formats import CASES, SCHEMA, publish, rows, same_rows
from tests.table.harness import LooseTable


def delete(table: LooseTable, *ids: int) -> None:
    table.write(Operation.DELETE, pa.table({"id": pa.array(ids, pa.int64())}))


def compact_while_rows_are_deleted(table: LooseTable) -> None:
    """Compact; between the rewriting of the files and the commit, somebody deletes rows."""
    compactor = Compactor(table.io, "test.table", CompactionOptions(strategy=Strategy.SORT))
    staged = compactor.stage(compactor.plan(table.metadata), table.metadata)
    delete(table, 10, 40, 41)
    resolved = table.finish_compaction(compactor, staged)
    carried = table.metadata.format_version >= 3 and table.metadata.semantics.write_mode is WriteMode.MERGE_ON_READ
    assert bool(resolved.kept) or not carried
    assert any(live.vector for live in table.io.files.live(table.metadata.current_snapshot)) == carried


def rewrite_manifests(table: LooseTable) -> None:
    io = table.io
    producer = SnapshotProducer(io.storage, io.files, table.metadata, io.clock.new_id, io.now_ms())
    table.commit(producer.produce(FileChanges(), {"operation": "replace"}, rewrite_manifests=True))


@pytest.mark.parametrize(("format_version", "mode"), CASES)
@EVERY_READER
def test_engine_reads_after_maintenance(tmp_path: Path, engine: str, format_version: int, mode: WriteMode) -> None:
    table = LooseTable(
        tmp_path, SCHEMA, key=("id",), partitioning=("month(day)",), mode=mode, format_version=format_version
    )
    for first in range(0, 60, 20):
        table.write(Operation.APPEND, rows(range(first, first + 20), "first"))
    table.write(Operation.UPSERT, rows(range(15, 25), "second"))
    delete(table, 3, 44)
    history = []
    steps = [
        table.compact,
        lambda: delete(table, 5),
        lambda: compact_while_rows_are_deleted(table),
        lambda: table.compact(strategy=Strategy.Z_ORDER, columns=("amount", "note", "born")),
        lambda: table.write(Operation.UPSERT, rows(range(50, 70), "third")),
        lambda: rewrite_manifests(table),
        lambda: delete(table, 60),
        lambda: table.compact(strategy=Strategy.SORT, columns=("price", "flag")),
    ]
    for number, step in enumerate(steps):
        before = table.rows(lineage=True).sort_by("id")
        step()
        after = table.rows(lineage=True).sort_by("id")
        if table.metadata.current_snapshot and table.metadata.current_snapshot.summary["operation"] == "replace":
            kept = before.filter(pa.compute.is_in(before["id"], value_set=after["id"].combine_chunks()))
            assert kept.equals(after)
        location = publish(table, number)
        same_rows(table.rows(), READERS[engine](location))
        history.append((table.metadata.current_snapshot_id, table.rows()))
    for snapshot_id, then in history:
        same_rows(then, READERS[engine](location, snapshot_id))
    table.expire(keep_last=2)
    location = publish(table, 99)
    same_rows(table.rows(), READERS[engine](location))
    for snapshot_id, then in history[-2:]:
        same_rows(then, READERS[engine](location, snapshot_id))
