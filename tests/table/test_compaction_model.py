"""Compactions, expiry and manifest rewrites between any operations: no row, no row id and no change may show it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from cordillera.spec.maintenance import CompactionOptions, Strategy
from cordillera.spec.merge import WriteMode
from cordillera.spec.partition_values import transformed
from cordillera.spec.sort_order import terms_of
from cordillera.table.changes import SnapshotChanges
from cordillera.table.compaction import Compactor
from cordillera.table.live_files import LiveFile
from cordillera.table.reader import ReadOptions
from cordillera.table.row_order import row_order
from cordillera.table.snapshot_producer import FileChanges, SnapshotProducer
from tests.examples import examples
from tests.table.harness import LooseTable
from tests.table.test_merge_model import MergeMachine, identity

OPTIONS = st.sampled_from(
    [
        {"strategy": Strategy.BIN_PACK},
        {"strategy": Strategy.BIN_PACK, "where": "amount > 0"},
        {"strategy": Strategy.BIN_PACK, "delete_ratio": 0.3, "tiered": True},
        {"strategy": Strategy.BIN_PACK, "rewrite_all": True, "target_file_size": 1},
        {"strategy": Strategy.SORT},
        {"strategy": Strategy.SORT, "columns": ("revision", "ratio")},
        {"strategy": Strategy.SORT, "rewrite_all": False, "tiered": True},
        {"strategy": Strategy.Z_ORDER, "columns": ("ratio", "name")},
        {"strategy": Strategy.Z_ORDER, "columns": ("name", "revision", "amount"), "rewrite_all": False},
    ]
)


def is_sorted(table: LooseTable, live: LiveFile) -> bool:
    """Tell whether the live rows of a file are in the order that it says."""
    metadata = table.metadata.with_changes(
        default_sort_order_id=live.file.sort_order_id, default_spec_id=live.file.spec_id
    )
    order = row_order(table.io.engine, metadata)
    if order is None:
        return True

    def values(batches: Iterable[pa.RecordBatch]) -> list[str]:
        terms = [(term.source_id, term.transform) for term in terms_of(metadata.sort_order)]
        columns = [[transformed(*term, metadata.schema, batch).to_pylist() for term in terms] for batch in batches]
        rows = (row for batch in columns for row in zip(*batch, strict=True))
        return [repr([one + 0.0 if isinstance(one, float) else one for one in row]) for row in rows]

    stored = list(table.io.reader.stream([live], ReadOptions(metadata.schema)))
    return values(stored) == values(order.sort(stored))


class CompactingMachine(MergeMachine):
    """The merge machine with maintenance between its steps, and in the middle of them."""

    def __init__(self) -> None:
        super().__init__()
        self.running: Any = None

    def lineage(self) -> dict[Any, tuple[int, int]]:
        rows = self.table.rows(lineage=True).to_pylist()
        return {identity((r["name"], r["ratio"])): (r["_row_id"], r["_last_updated_sequence_number"]) for r in rows}

    @rule(options=OPTIONS)
    def compact(self, options: dict[str, Any]) -> None:
        before, metadata = self.lineage(), self.table.metadata
        live_files = self.table.io.files.live(metadata.current_snapshot)
        moved = any(live.file.spec_id != metadata.default_spec_id for live in live_files)
        self.table.compact(**options)
        assert self.lineage() == before
        assert not self.changed_since(metadata)
        if options == {"strategy": Strategy.SORT}:
            assert not any(live.vector for live in self.table.io.files.live(self.table.metadata.current_snapshot))
            if moved:  # rows of an earlier partitioning have come to partitions beside files that were there
                self.table.compact()
            assert self.table.compact() == 0
        self.remember()

    @invariant()
    def files_are_sorted_as_they_say(self) -> None:
        for live in self.table.io.files.live(self.table.metadata.current_snapshot):
            assert is_sorted(self.table, live)

    def changed_since(self, metadata: Any) -> int:
        now = self.table.metadata
        names = [field.name for field in now.schema.fields]
        changes = SnapshotChanges(self.table.io, now, metadata.current_snapshot, now.current_snapshot, names)
        return changes.upserts().read_all().num_rows + changes.deletes().read_all().num_rows

    @precondition(lambda self: self.running is None)
    @rule(options=OPTIONS)
    def begin_compaction(self, options: dict[str, Any]) -> None:
        compactor = Compactor(self.table.io, "test.table", CompactionOptions(**options))
        metadata = self.table.metadata
        staged = compactor.stage(compactor.plan(metadata), metadata)
        self.running = (compactor, staged) if staged else None

    @precondition(lambda self: self.running is not None)
    @rule()
    def end_compaction(self) -> None:
        compactor, staged = self.running
        before, metadata = self.lineage(), self.table.metadata
        self.table.finish_compaction(compactor, staged)
        assert self.lineage() == before
        assert not self.changed_since(metadata)
        self.running = None
        self.remember()

    @precondition(lambda self: self.running is None and self.stored)
    @rule(options=OPTIONS, data=st.data())
    def compact_during_a_write(self, options: dict[str, Any], data: st.DataObject) -> None:
        """Rows of the files that are being rewritten are deleted or changed before the compaction commits."""
        self.begin_compaction(options)
        stored = [(row["name"], row["ratio"]) for row in self.stored.values()]
        keys = data.draw(st.lists(st.sampled_from(stored), min_size=1, max_size=2, unique_by=identity))
        if data.draw(st.booleans()):
            self.delete(keys, 6)
        else:
            self.upsert([(key, 6, 5, "changed meanwhile") for key in keys])
        if self.running is not None:
            self.end_compaction()
            self.table_equals_model()

    @rule()
    def rewrite_manifests(self) -> None:
        metadata, io = self.table.metadata, self.table.io
        before = self.lineage()
        producer = SnapshotProducer(io.storage, io.files, metadata, io.clock.new_id, io.now_ms())
        produced = producer.produce(FileChanges(), {"operation": "replace"}, rewrite_manifests=True)
        self.table.commit(produced)
        assert self.lineage() == before
        self.remember()

    @precondition(lambda self: self.running is None)
    @rule(keep_last=st.integers(1, 4))
    def expire(self, keep_last: int) -> None:
        sequences, _ = self.table.expire(keep_last=keep_last)
        assert len(self.table.metadata.snapshots) <= keep_last
        self.history = [(sequence, rows) for sequence, rows in self.history if sequence not in sequences]


def machine(
    name: str, kind: type[CompactingMachine] = CompactingMachine, usual: int = 8, **settings_of_table: Any
) -> Any:
    case = type(name, (kind,), settings_of_table).TestCase
    case.settings = settings(
        max_examples=examples(usual),
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestMergeOnRead = machine("MergeOnRead")
TestWithoutSequence = machine("WithoutSequence", sequenced=False)
TestCopyOnWrite = machine("CopyOnWrite", mode=WriteMode.COPY_ON_WRITE)
TestFormatVersion2 = machine("FormatVersion2", sequenced=False, format_version=2)
TestPartitioned = machine("Partitioned", sequenced=False, partitioning=("bucket(3, name)",))
TestSorted = machine("Sorted", usual=3, mode=WriteMode.AUTO, sort_order=("amount desc", "truncate(1, name)"))
