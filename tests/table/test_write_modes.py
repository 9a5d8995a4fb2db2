"""The same history in every write mode leaves the same table."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cordillera.spec import write_cost
from cordillera.spec.explanation import FileAction
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.merge_clauses import MergeClause, Then, When
from cordillera.spec.schema_evolution import AddColumn, RenameColumn
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

    @rule(rows=ROWS)
    def upsert(self, rows: list[Any]) -> None:
        self.everywhere(lambda table: table.write(Operation.UPSERT, self.batch(rows)))

    @rule(rows=ROWS)
    def partial_update(self, rows: list[Any]) -> None:
        batch = self.batch(rows, "id", "revision", self.amount)
        self.everywhere(lambda table: table.write(Operation.PARTIAL_UPDATE, batch))

    @rule(rows=ROWS)
    def delete(self, rows: list[Any]) -> None:
        self.everywhere(lambda table: table.write(Operation.DELETE, self.batch(rows, "id", "revision")))

    @rule(low=KEYS, width=st.integers(0, 8))
    def delete_where(self, low: int, width: int) -> None:
        self.everywhere(lambda table: table.delete_where(f"id BETWEEN {low} AND {low + width}"))

    @rule(rows=ROWS)
    def merge(self, rows: list[Any]) -> None:
        clauses = [
            MergeClause(When.MATCHED, Then.DELETE, "target.place = 's'"),
            MergeClause(When.MATCHED, Then.UPDATE, None, ("place",)),
            MergeClause(When.NOT_MATCHED, Then.INSERT),
            MergeClause(When.NOT_MATCHED_BY_SOURCE, Then.DELETE, f"target.{self.amount} = 0"),
        ]
        self.everywhere(lambda table: table.merge(clauses, self.batch(rows)))

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
    case = type(name, (ModesMachine,), settings_of_table).TestCase  # type: ignore[attr-defined]
    case.settings = settings(
        max_examples=12, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return case


TestModes = machine("Modes")
TestModesPartitioned = machine("ModesPartitioned", partitioning=("place",))
