"""Incremental reads: changes applied to the earlier state give the later one, and images are what was stored."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from cordillera.errors import NotAllowedError, SnapshotNotFoundError
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.refs import commits_between
from cordillera.spec.schema_evolution import AddColumn, RenameColumn, WidenColumn
from cordillera.spec.table_metadata import IcebergSnapshot
from cordillera.table.change_feed import ChangeFeed
from cordillera.table.scan import Scan, check_selection
from tests.table.harness import LooseTable
from tests.table.test_compaction_model import CompactingMachine
from tests.table.test_compaction_model import machine as compaction_machine
from tests.table.test_merge_model import comparable, identity

SCHEMA = pa.schema([("id", pa.int64()), ("amount", pa.float64()), ("note", pa.string())])
FEED_COLUMNS = ("_change_type", "_commit_sequence_number")
MODES = [
    pytest.param({"mode": WriteMode.MERGE_ON_READ}, id="merge-on-read"),
    pytest.param({"mode": WriteMode.COPY_ON_WRITE}, id="copy-on-write"),
    pytest.param({"format_version": 2}, id="v2"),
]


def feed(
    table: LooseTable,
    before: IcebergSnapshot | None,
    after: IcebergSnapshot | None = None,
    *,
    columns: list[str] | None = None,
    where: str | None = None,
    net: bool = True,
) -> list[dict[str, Any]]:
    metadata = table.metadata
    after = after or metadata.current_snapshot
    row_filter = parse_row_filter(where, metadata.schema) if where else None
    names = check_selection(columns, metadata.schema, "test.table")
    changes = ChangeFeed(table.io, Scan(metadata, after, metadata.schema, names, row_filter), before)
    reader = changes.net() if net else changes.commit_by_commit(commits_between(metadata, before, after, "test.table"))
    return reader.read_all().to_pylist()


def told(changes: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """The changes in the order of their keys, images of an update as they came."""
    rows = [(c["_change_type"], *(c[name] for name in names or ("id", "note"))) for c in changes]
    for one, other in itertools.pairwise(rows):
        assert (one[0] == "update_before") == (other[0] == "update_after"), "images of an update come in pairs"
    return sorted(rows, key=lambda row: (row[1], row[0] == "update_after"))


def rows(*ids: int, note: str = "", amount: float = 1.0) -> list[dict[str, Any]]:
    return [{"id": i, "amount": amount, "note": note} for i in ids]


# --- against the model ---------------------------------------------------------------------------------------------


class FeedMachine(CompactingMachine):
    """Reads the changes between any two states of the merge machine's table."""

    @precondition(lambda self: len(self.history) > 0)
    @rule(data=st.data(), net=st.booleans(), least=st.one_of(st.none(), st.integers(-3, 3)))
    def changes_between_two_states(self, data: st.DataObject, net: bool, least: int | None) -> None:
        begin, end = sorted(data.draw(st.lists(st.integers(-1, len(self.history) - 1), min_size=2, max_size=2)))
        (first, before), (last, after) = (self.history[n] if n >= 0 else (0, {}) for n in (begin, end))
        earlier, later = map(self.table.metadata.snapshot_by_sequence, (first, last))
        if later is None or (first and earlier is None):
            return
        if least is not None:
            before, after = (
                {k: r for k, r in state.items() if r["amount"] is not None and r["amount"] >= least}
                for state in (before, after)
            )
        try:
            changes = feed(
                self.table, earlier, later, where=f"amount >= {least}" if least is not None else None, net=net
            )
        except SnapshotNotFoundError:
            assert not net
            return
        assert all(first < change["_commit_sequence_number"] <= last for change in changes)
        self.applies(changes, comparable(before), comparable(after), net=net)

    def applies(self, changes: list[dict[str, Any]], state: Any, after: Any, *, net: bool) -> None:
        touched = Counter[Any]()
        for change in changes:
            key = identity((change["name"], change["ratio"]))
            kind = change["_change_type"]
            image = comparable({key: {name: value for name, value in change.items() if name not in FEED_COLUMNS}})[key]
            if kind in ("update_before", "delete"):
                assert state.pop(key) == image
            else:
                assert key not in state
                state[key] = image
            touched[key] += kind != "update_before"
        assert state == after
        assert not net or all(count == 1 for count in touched.values())


def machine(name: str, **settings_of_table: Any) -> Any:
    return compaction_machine(name, FeedMachine, **settings_of_table)


TestMergeOnRead = machine("MergeOnRead")
TestCopyOnWrite = machine("CopyOnWrite", mode=WriteMode.COPY_ON_WRITE, sequenced=False)
TestFormatVersion2 = machine("FormatVersion2", sequenced=False, format_version=2)
TestPartitioned = machine("Partitioned", partitioning=("bucket(3, name)",), sequenced=False)


# --- case by case --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODES)
def test_inserts_updates_and_deletes_come_with_their_images(tmp_path: Path, kind: dict[str, Any]) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), **kind)
    table.write(Operation.UPSERT, rows(1, 2, 3, 4, note="old"))
    before = table.metadata.current_snapshot
    table.write(Operation.UPSERT, rows(2, 5, note="new"))
    table.write(Operation.DELETE, pa.table({"id": [3]}))
    table.write(Operation.UPSERT, rows(4, note="old"))  # as it was
    assert told(feed(table, before)) == [
        ("update_before", 2, "old"),
        ("update_after", 2, "new"),
        ("delete", 3, "old"),
        ("insert", 5, "new"),
    ]
    assert told(feed(table, None)) == [
        ("insert", 1, "old"),
        ("insert", 2, "new"),
        ("insert", 4, "old"),
        ("insert", 5, "new"),
    ]
    assert feed(table, table.metadata.current_snapshot) == []
    backwards = feed(table, table.metadata.current_snapshot, before)
    assert [row[:2] for row in told(backwards)] == [
        ("update_before", 2), ("update_after", 2), ("insert", 3), ("delete", 5),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", MODES)
def test_every_commit_tells_its_own_changes(tmp_path: Path, kind: dict[str, Any]) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), **kind)
    table.write(Operation.UPSERT, rows(1, 2, note="one"))
    table.write(Operation.UPSERT, rows(2, 3, note="two"))
    table.write(Operation.DELETE, pa.table({"id": [3]}))
    table.compact(rewrite_all=True)
    table.write(Operation.UPSERT, rows(3, note="five"))
    changes = [
        (c["_commit_sequence_number"], c["_change_type"], c["id"], c["note"]) for c in feed(table, None, net=False)
    ]
    assert sorted(changes, key=lambda c: (c[0], c[2])) == [
        (1, "insert", 1, "one"),
        (1, "insert", 2, "one"),
        (2, "update_before", 2, "one"),
        (2, "update_after", 2, "two"),
        (2, "insert", 3, "two"),
        (3, "delete", 3, "two"),
        (5, "insert", 3, "five"),
    ]
    assert [c[0] for c in changes] == sorted(c[0] for c in changes)
    net = {c["id"]: c["_commit_sequence_number"] for c in feed(table, None)}
    assert net == ({1: 1, 2: 2, 3: 5} if table.metadata.format_version == 3 else {1: 5, 2: 5, 3: 5})


@pytest.mark.parametrize("kind", MODES)
def test_a_condition_makes_rows_come_and_go(tmp_path: Path, kind: dict[str, Any]) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), **kind)
    table.write(Operation.UPSERT, rows(1, 2, 3, amount=10.0))
    before = table.metadata.current_snapshot
    table.write(Operation.UPSERT, [*rows(1, amount=1.0), *rows(2, amount=20.0), *rows(4, amount=2.0)])
    changes = feed(table, before, columns=["id", "amount"], where="amount > 5")
    assert told(changes, "id", "amount") == [
        ("delete", 1, 10.0),
        ("update_before", 2, 10.0),
        ("update_after", 2, 20.0),
    ]
    assert feed(table, before, columns=["note"], where="id = 2") == []  # the note is the same


@pytest.mark.parametrize("kind", MODES)
def test_what_no_comparison_of_numbers_tells_is_told(tmp_path: Path, kind: dict[str, Any]) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), **kind)
    table.write(Operation.UPSERT, [*rows(1, amount=0.0), *rows(2, 3, amount=math.nan), {"id": 4}])
    before = table.metadata.current_snapshot
    table.write(Operation.UPSERT, [*rows(1, amount=-0.0), *rows(2, amount=math.nan), *rows(3), {"id": 4}])
    changes = [(c["_change_type"], c["id"], repr(c["amount"])) for c in feed(table, before)]
    assert sorted(changes, key=lambda c: c[1]) == [
        ("update_before", 1, "0.0"),
        ("update_after", 1, "-0.0"),
        ("update_before", 3, "nan"),
        ("update_after", 3, "1.0"),
    ]


@pytest.mark.parametrize("kind", MODES)
def test_both_images_have_the_later_schema(tmp_path: Path, kind: dict[str, Any]) -> None:
    table = LooseTable(tmp_path, pa.schema([("id", pa.int64()), ("n", pa.int32())]), key=("id",), **kind)
    table.write(Operation.UPSERT, [{"id": 1, "n": 1}, {"id": 2, "n": 2}])
    before = table.metadata.current_snapshot
    table.evolve(RenameColumn("n", "amount"), WidenColumn("amount", pa.int64()), AddColumn("n", pa.string()))
    assert feed(table, before) == []
    table.write(Operation.UPSERT, [{"id": 2, "amount": 2**40, "n": "x"}])
    assert told(feed(table, before), "id", "amount", "n") == [
        ("update_before", 2, 2, None),
        ("update_after", 2, 2**40, "x"),
    ]


@pytest.mark.parametrize("mode", list(WriteMode))
def test_rows_without_a_key_are_known_by_their_ids(tmp_path: Path, mode: WriteMode) -> None:
    table = LooseTable(tmp_path, SCHEMA, mode=mode)
    table.write(Operation.APPEND, rows(1, 1, 2, note="same"))
    before = table.metadata.current_snapshot
    table.delete_where("id = 2")
    table.write(Operation.APPEND, rows(1, note="same"))
    table.compact(rewrite_all=True)
    assert told(feed(table, before)) == [("insert", 1, "same"), ("delete", 2, "same")]
    assert next(c["_row_id"] for c in feed(table, before) if c["_change_type"] == "delete") == 2


def test_without_key_and_ids_equal_rows_are_set_off(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, format_version=2)
    table.write(Operation.APPEND, rows(1, 1, 2, 3, note="same"))
    before = table.metadata.current_snapshot
    table.delete_where("id = 2")
    table.write(Operation.REPLACE, [*rows(1, 1, 1, 1, note="same"), {"id": 3, "amount": -0.0}])
    expected = [("insert", 1, "same")] * 2 + [("insert", 3, None), ("delete", 2, "same"), ("delete", 3, "same")]
    assert Counter(told(feed(table, before))) == Counter(expected)


def test_partitions_that_are_replaced_with_the_same_rows_did_not_change(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), partitioning=("note",))
    table.write(Operation.APPEND, [*rows(1, 2, note="a"), *rows(3, note="b")])
    before = table.metadata.current_snapshot
    table.write(Operation.REPLACE_PARTITIONS, [*rows(1, note="a"), *rows(2, note="a", amount=7.0)])
    assert told(feed(table, before), "id", "amount") == [("update_before", 2, 1.0), ("update_after", 2, 7.0)]


def test_only_row_groups_with_changes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    count = 400_000
    ids = pa.array(range(count), pa.int64())
    data = pa.table([ids, ids.cast(pa.float64()), pa.repeat("n", count)], names=SCHEMA.names)
    table.write(Operation.APPEND, data)
    before = table.metadata.current_snapshot
    table.write(Operation.UPSERT, rows(7))
    read: list[int] = []
    original = pa.parquet.ParquetFile.iter_batches

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        for batch in original(self, *args, **options):
            read.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pa.parquet.ParquetFile, "iter_batches", counted)
    assert [c["_change_type"] for c in feed(table, before)] == ["update_before", "update_after"]
    assert sum(read) < 130_000


def test_commits_are_told_only_along_one_line(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    for note in ("one", "two", "three"):
        table.write(Operation.UPSERT, rows(1, note=note))
    first, second, third = table.metadata.snapshots
    with pytest.raises(NotAllowedError, match="from snapshot 3 to snapshot 1"):
        feed(table, third, first, net=False)
    assert told(feed(table, third, first)) == [("update_before", 1, "three"), ("update_after", 1, "one")]
    table.expire(keep_last=2)
    with pytest.raises(SnapshotNotFoundError, match="before snapshot 2 have expired"):
        feed(table, None, third, net=False)
    assert len(feed(table, second, third, net=False)) == 2
