"""What is looked at to tell what changed: as little as the commits between two snapshots allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cordillera.spec.merge import Operation
from cordillera.table.changes import SnapshotChanges
from cordillera.table.explanation import NotingReader, Searched
from tests.table.harness import LooseTable

SCHEMA = pa.schema([("id", pa.int64()), ("note", pa.string())])


def rows(*ids: int, note: str = "") -> list[dict[str, object]]:
    return [{"id": one, "note": note} for one in ids]


@pytest.fixture
def table(tmp_path: Path) -> LooseTable:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.write(Operation.APPEND, rows(*range(100)))
    return table


def changed(table: LooseTable, sequence: int = 1, **narrowed: Any) -> tuple[list[Any], list[Any], int]:
    """Return the ids that came and went behind a snapshot, and how many reads of files that took."""
    searched, metadata = Searched(), table.metadata
    table.io.reader = NotingReader(table.io.storage, table.io.files, searched)
    before = metadata.snapshot_by_sequence(sequence)
    found = SnapshotChanges(table.io, metadata, before, metadata.current_snapshot, ["id", "note"], **narrowed)
    came, went = (one.read_all().column("id").to_pylist() for one in (found.upserts(), found.deletes()))
    return came, went, searched.files


def test_upserts_are_told_from_the_files_that_they_added(table: LooseTable) -> None:
    table.write(Operation.UPSERT, rows(3, 7, 200, note="new"))
    table.write(Operation.PARTIAL_UPDATE, pa.table({"id": [4], "note": ["partly"]}))
    assert changed(table) == ([4, 3, 7, 200], [], 2)
    table.compact()
    assert changed(table)[:2] == ([4, 3, 7, 200], [])


@pytest.mark.parametrize(
    ("act", "gone"),
    [
        (lambda table: table.write(Operation.DELETE, pa.table({"id": [5, 3]})), [3, 5]),
        (lambda table: table.delete_where("id >= 98"), [98, 99]),
        (lambda table: table.write(Operation.REPLACE, rows(*range(4, 100))), [0, 1, 2, 3]),
    ],
)
def test_what_an_upsert_is_among_does_not_hide_the_keys_that_went(
    table: LooseTable, act: Callable[[LooseTable], object], gone: list[int]
) -> None:
    table.write(Operation.UPSERT, rows(3, 99, note="new"))
    act(table)
    assert sorted(changed(table)[1]) == gone


def test_rows_that_an_upsert_takes_out_of_a_condition_go(table: LooseTable) -> None:
    table.write(Operation.UPSERT, rows(3, 7, note="new"))
    filtered = {"condition": "note = ''", "condition_columns": ["note"]}
    assert changed(table, **filtered)[:2] == ([], [3, 7])


def test_what_another_engine_says_of_its_commit_is_not_believed(table: LooseTable) -> None:
    table.write(Operation.DELETE, pa.table({"id": [5]}))
    first, last = table.metadata.snapshots
    claimed = replace(last, summary={"operation": "overwrite", "cordillera.operation": "upsert"})
    table.metadata = table.metadata.with_changes(snapshots=(first, claimed))
    assert changed(table)[:2] == ([], [5])
