"""The same history in every write mode leaves the same table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cordillera.spec import write_cost
from cordillera.spec.explanation import FileAction, WriteExplanation
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.merge_clauses import MergeClause, Then, When
from cordillera.spec.schema_evolution import AddColumn, RenameColumn
from cordillera.table.prepared_write import PreparedWrite, StagedWrite
from tests.examples import examples
from tests.table.harness import LooseTable

SCHEMA = pa.schema([("id", pa.int64()), ("revision", pa.int64()), ("amount", pa.int64()), ("place", pa.string())])
KEYS = st.integers(0, 30)
ROWS = st.lists(
    st.tuples(KEYS, st.integers(1, 5), st.none() | st.integers(0, 9), st.sampled_from(["n", "s"])),
    min_size=1,
    max_size=15,
    unique_by=lambda row: row[0],
)


def test_an_explanation_leaves_no_file_behind(tmp_path: Path) -> None:
    for mode in WriteMode:
        table = LooseTable(tmp_path / mode, SCHEMA, key=("id",), mode=mode)
        table.write(Operation.UPSERT, pa.table([[1, 2, 3], [1, 1, 1], [1, 2, 3], ["n", "s", "n"]], schema=SCHEMA))
        before = sorted(tmp_path.rglob("*"))
        change = pa.table([[2, 4], [2, 2], [7, 7], ["s", "s"]], schema=SCHEMA)
        staged = table.writer.stage(Operation.UPSERT, change.to_reader(), table.metadata)
        told = table.writer.explain(staged, table.metadata)
        rewritten = mode is WriteMode.COPY_ON_WRITE
        assert [file.action for file in told.files] == [FileAction.REWRITE if rewritten else FileAction.MARK]
        assert (told.bytes_rewritten > 0, told.vectors_written) == (rewritten, 1 - rewritten)
        assert sorted(tmp_path.rglob("*")) == before
        written = table.write(Operation.UPSERT, change).snapshot
        assert written is not None
        assert int(written.summary["added-data-files"]) == told.files_written


@pytest.mark.parametrize("mode", list(WriteMode))
@pytest.mark.parametrize("partitioning", [(), ("place",)])
def test_sizes_are_told_about_right(tmp_path: Path, mode: WriteMode, partitioning: tuple[str, ...]) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), mode=mode, partitioning=partitioning)

    def rows(first: int, count: int) -> pa.Table:
        ids = range(first, first + count)
        places = ["ns"[i % 2] for i in ids]
        return pa.table([ids, [1] * count, [i * 7919 % 100_003 for i in ids], places], schema=SCHEMA)

    table.write(Operation.APPEND, rows(0, 60_000))
    for operation, batch in (
        (Operation.UPSERT, rows(50_000, 20_000)),
        (Operation.PARTIAL_UPDATE, rows(10_000, 30_000).select(["id", "amount"])),
        (Operation.DELETE, rows(20_000, 20_000).select(["id"])),
        (Operation.UPSERT, rows(100_000, 30_000)),
    ):
        staged = table.writer.stage(operation, batch.to_reader(), table.metadata)
        before = set(tmp_path.rglob("*"))
        told = table.writer.explain(staged, table.metadata)
        assert set(tmp_path.rglob("*")) == before
        as_told(told, table.commit(table.writer.resolve(staged, table.metadata)))
        written = sum(path.stat().st_size for path in set(tmp_path.rglob("*.parquet")) - before)
        assert told.bytes_written == pytest.approx(written, rel=0.5)


def test_rows_are_told_to_become_several_files(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), properties={"write.target-file-size-bytes": "100000"})
    amounts = np.random.default_rng(1).integers(0, 100_000, 400_000)
    batch = pa.table([range(400_000), [1] * 400_000, amounts, ["n"] * 400_000], schema=SCHEMA)
    table.write(Operation.UPSERT, batch.slice(0, 200_000))
    staged = table.writer.stage(Operation.UPSERT, batch.to_reader(), table.metadata)
    told = table.writer.explain(staged, table.metadata)
    as_told(told, table.commit(table.writer.resolve(staged, table.metadata)))
    assert told.files_written == 4


def as_told(told: WriteExplanation, written: PreparedWrite) -> PreparedWrite:
    """Check that a write has done what was told of it."""
    summary = written.snapshot.summary if written.snapshot else {}
    done = [int(summary.get(name, 0)) for name in ("added-data-files", "added-dvs", "deleted-data-files")]
    gone = [file for file in told.files if file.action is not FileAction.MARK]
    assert done == [told.files_written, told.vectors_written, len(gone)]
    manifest = written.manifest
    assert (told.rows_inserted, told.rows_updated, told.rows_deleted, told.rows_late) == (
        manifest.rows_inserted, manifest.rows_updated, manifest.rows_deleted, manifest.rows_late,
    )  # fmt: skip
    return written


class ModesMachine(RuleBasedStateMachine):
    """Does everything to a table of each mode. Without fixed costs per file, auto decides either way."""

    partitioning: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(patch.object(write_cost, "CREATING", 0))
        self.stack.enter_context(patch.object(write_cost, "MARKED", 0))
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="cordillera-test-")))
        self.tables = {
            mode: LooseTable(
                folder / mode, SCHEMA, key=("id",), sequence="revision", mode=mode, partitioning=self.partitioning
            )
            for mode in WriteMode
        }
        self.amount, self.evolved = "amount", 0
        for first in (0, 10):
            self.upsert([(first + i, 0, i, "n" if i < 15 else "s") for i in range(20)])

    def teardown(self) -> None:
        self.stack.close()

    def everywhere(self, work: Any) -> None:
        found = {mode: work(table) for mode, table in self.tables.items()}
        counts = {
            (m.rows_inserted, m.rows_updated, m.rows_deleted, m.rows_late) for m in (p.manifest for p in found.values())
        }
        assert len(counts) == 1
        if (snapshot := found[WriteMode.AUTO].snapshot) is not None:
            marks = int(snapshot.summary.get("added-dvs", 0)) > 0
            rewrites = int(snapshot.summary.get("deleted-data-files", 0)) > 0
            event(f"auto marks: {marks}, rewrites: {rewrites}")

    def batch(self, rows: list[Any], *names: str) -> pa.Table:
        table = pa.table(list(map(list, zip(*rows, strict=True))), schema=SCHEMA)
        table = table.rename_columns(["id", "revision", self.amount, "place"])
        wanted = self.tables[WriteMode.AUTO].arrow_schema()
        for name in wanted.names[4:]:
            table = table.append_column(name, pa.nulls(table.num_rows, wanted.field(name).type))
        return table.select(names or wanted.names)

    def write(self, stage: Callable[[LooseTable], StagedWrite]) -> None:
        """Write to every table, what was told of it beforehand."""

        def work(table: LooseTable) -> PreparedWrite:
            staged = stage(table)
            told = table.writer.explain(staged, table.metadata)
            return as_told(told, table.commit(table.writer.resolve(staged, table.metadata)))

        self.everywhere(work)

    def write_rows(self, operation: Operation, batch: pa.Table) -> None:
        self.write(lambda table: table.writer.stage(operation, batch.to_reader(), table.metadata))

    @rule(rows=ROWS)
    def upsert(self, rows: list[Any]) -> None:
        self.write_rows(Operation.UPSERT, self.batch(rows))

    @rule(rows=ROWS)
    def partial_update(self, rows: list[Any]) -> None:
        self.write_rows(Operation.PARTIAL_UPDATE, self.batch(rows, "id", "revision", self.amount))

    @rule(rows=ROWS)
    def delete(self, rows: list[Any]) -> None:
        self.write_rows(Operation.DELETE, self.batch(rows, "id", "revision"))

    @rule(low=KEYS, width=st.integers(0, 8))
    def delete_where(self, low: int, width: int) -> None:
        where = f"id BETWEEN {low} AND {low + width}"
        self.write(lambda table: StagedWrite(Operation.DELETE, where=parse_row_filter(where, table.metadata.schema)))

    @rule(rows=ROWS)
    def merge(self, rows: list[Any]) -> None:
        clauses = [
            MergeClause(When.MATCHED, Then.DELETE, "target.place = 's'"),
            MergeClause(When.MATCHED, Then.UPDATE, None, ("place",)),
            MergeClause(When.NOT_MATCHED, Then.INSERT),
            MergeClause(When.NOT_MATCHED_BY_SOURCE, Then.DELETE, f"target.{self.amount} = 0"),
        ]
        batch = self.batch(rows)
        self.write(lambda table: table.writer.stage_merge(batch.to_reader(), clauses, table.metadata))

    @rule()
    def compact(self) -> None:
        for table in self.tables.values():
            table.compact()

    @rule()
    def evolve(self) -> None:
        self.evolved += 1
        if self.evolved <= 2:
            renamed = f"amount_{self.evolved}"
            for table in self.tables.values():
                table.evolve(RenameColumn(self.amount, renamed), AddColumn(f"extra_{self.evolved}", pa.int32()))
            self.amount = renamed

    @rule(terms=st.sampled_from([(), ("place",), ("bucket(2, id)",), ("truncate(10, id)", "place")]))
    def partition_by(self, terms: tuple[str, ...]) -> None:
        for table in self.tables.values():
            table.partition_by(*terms)

    @invariant()
    def all_tables_are_equal(self) -> None:
        contents = [table.rows().sort_by("id").to_pylist() for table in self.tables.values()]
        assert all(content == contents[0] for content in contents)


def machine(name: str, **settings_of_table: Any) -> Any:
    case = type(name, (ModesMachine,), settings_of_table).TestCase
    case.settings = settings(
        max_examples=examples(9), stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return case


TestModes = machine("Modes")
TestModesPartitioned = machine("ModesPartitioned", partitioning=("place",))
