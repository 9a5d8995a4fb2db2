"""Every operation, in any order, against a dict: the table must hold exactly what the dict holds."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule  # noqa: F401

from cordillera.errors import DuplicateKeyError
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.schema_evolution import AddColumn, DropColumn, RenameColumn, WidenColumn
from cordillera.table.changes import SnapshotChanges
from tests.examples import examples
from tests.table.harness import LooseTable

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string()),
        pa.field("ratio", pa.float64()),
        pa.field("revision", pa.int32()),
        pa.field("amount", pa.int32()),
        pa.field("note", pa.string()),
    ]
)
NAMES = st.sampled_from(["", "x", "X", "é", "e\u0301", "naïve", "\U0001f600", "x "])
RATIOS = st.sampled_from([math.nan, -0.0, 0.0, 1.5, -math.inf])
KEYS = st.tuples(NAMES, RATIOS)
ROWS = st.lists(
    st.tuples(
        KEYS,
        st.integers(1, 6),
        st.one_of(st.none(), st.integers(-5, 5)),
        st.one_of(st.none(), st.sampled_from(["", "a", "b"])),
    ),
    max_size=6,
    unique_by=lambda row: identity(row[0]),
)


def identity(key: tuple[str, float]) -> tuple[str, Any]:
    """What makes two keys the same: NaN equals NaN, -0.0 equals 0.0."""
    name, ratio = key
    return name, "nan" if math.isnan(ratio) else ratio + 0.0


class MergeMachine(RuleBasedStateMachine):
    """Applies operations to a table and to a dict of the same keys."""

    kind_of_table: Any = LooseTable
    properties: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    sequenced = True
    mode = WriteMode.MERGE_ON_READ
    format_version = 3
    partitioning: tuple[str, ...] = ()
    sort_order: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="cordillera-test-")
        self.table = self.kind_of_table(
            Path(self.folder.name),
            SCHEMA,
            key=("name", "ratio"),
            sequence="revision" if self.sequenced else None,
            mode=self.mode,
            format_version=self.format_version,
            partitioning=self.partitioning,
            properties=self.properties,
        )
        self.table.sort_by(*self.sort_order)
        self.stored: dict[Any, dict[str, Any]] = {}
        self.buried: dict[Any, int] = {}
        self.history: list[tuple[int, dict[Any, dict[str, Any]]]] = []
        self.note = "note"
        self.extra: str | None = None
        self.added = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    # --- the model -----------------------------------------------------------------------------------------------

    def late(self, key: Any, revision: int) -> bool:
        if not self.sequenced:
            return False
        if key in self.stored and self.stored[key]["revision"] > revision:
            return True
        return self.buried.get(key, -1) > revision

    def as_row(self, row: Any) -> dict[str, Any]:
        (name, ratio), revision, amount, note = row
        values = {"name": name, "ratio": ratio, "revision": revision, "amount": amount, self.note: note}
        return {**values, self.extra: None} if self.extra else values

    def batch(self, rows: list[dict[str, Any]], columns: list[str] | None = None) -> pa.Table:
        schema = self.table.arrow_schema()
        chosen = pa.schema([schema.field(n) for n in (columns or schema.names)])
        return pa.Table.from_pylist(rows, schema=chosen)

    def remember(self) -> None:
        sequence = self.table.metadata.last_sequence_number
        self.history.append((sequence, {key: dict(row) for key, row in self.stored.items()}))

    # --- operations ----------------------------------------------------------------------------------------------

    @rule(rows=ROWS)
    def upsert(self, rows: list[Any]) -> None:
        values = [self.as_row(row) for row in rows]
        self.table.write(Operation.UPSERT, self.batch(values))
        for value in values:
            key = identity((value["name"], value["ratio"]))
            if not self.late(key, value["revision"]):
                self.stored[key] = value
        self.remember()

    @rule(rows=ROWS)
    def partial_update(self, rows: list[Any]) -> None:
        values = [{k: v for k, v in self.as_row(row).items() if k != self.note} for row in rows]
        columns = ["name", "ratio", "revision", "amount"]
        self.table.write(Operation.PARTIAL_UPDATE, self.batch(values, columns))
        for value in values:
            key = identity((value["name"], value["ratio"]))
            if self.late(key, value["revision"]):
                continue
            before = self.stored.get(key, dict.fromkeys(self.table.arrow_schema().names))
            self.stored[key] = {**before, **{name: value[name] for name in columns}}
        self.remember()

    @rule(keys=st.lists(KEYS, max_size=5, unique_by=identity), revision=st.integers(1, 6))
    def delete(self, keys: list[Any], revision: int) -> None:
        rows = [{"name": name, "ratio": ratio, "revision": revision} for name, ratio in keys]
        self.table.write(Operation.DELETE, self.batch(rows, ["name", "ratio", "revision"]))
        for key in map(identity, keys):
            if not self.late(key, revision):
                self.stored.pop(key, None)
                if self.sequenced:
                    self.buried[key] = max(revision, self.buried.get(key, -1))
        self.remember()

    @rule(rows=ROWS)
    def append(self, rows: list[Any]) -> None:
        values = {identity((r[0][0], r[0][1])): self.as_row(r) for r in rows}
        try:
            self.table.write(Operation.APPEND, self.batch(list(values.values())))
            refused = False
        except DuplicateKeyError:
            refused = True
        on_time = {key: value for key, value in values.items() if not self.late(key, value["revision"])}
        assert refused == any(key in self.stored for key in (on_time if self.buried else values))
        if not refused:
            self.stored.update(on_time)
            self.remember()

    @rule(rows=ROWS)
    def replace(self, rows: list[Any]) -> None:
        self.table.write(Operation.REPLACE, self.batch([self.as_row(row) for row in rows]))
        self.stored = {identity((r[0][0], r[0][1])): self.as_row(r) for r in rows}
        self.remember()

    @rule(least=st.integers(-5, 5))
    def delete_by_condition(self, least: int) -> None:
        self.table.delete_where(f"amount >= {least}")
        self.stored = {k: r for k, r in self.stored.items() if r["amount"] is None or r["amount"] < least}
        self.remember()

    @rule(rows=ROWS, least=st.integers(-2, 2))
    def replace_by_condition(self, rows: list[Any], least: int) -> None:
        values = [self.as_row(row) for row in rows if row[2] is not None and row[2] >= least]
        try:
            self.table.write(Operation.REPLACE, self.batch(values), where=f"amount >= {least}")
            refused = False
        except DuplicateKeyError:
            refused = True
        staying = {k: r for k, r in self.stored.items() if r["amount"] is None or r["amount"] < least}
        assert refused == any(identity((v["name"], v["ratio"])) in staying for v in values)
        if not refused:
            self.stored = {**staying, **{identity((v["name"], v["ratio"])): v for v in values}}
            self.remember()

    # --- schema evolution ----------------------------------------------------------------------------------------

    @rule()
    def rename_note(self) -> None:
        new = "remark" if self.note == "note" else "note"
        self.table.evolve(RenameColumn(self.note, new))
        for row in [*self.stored.values(), *(r for _, rows in self.history for r in rows.values())]:
            row[new] = row.pop(self.note)
        self.note = new

    @precondition(lambda self: self.extra is None and self.added < 3)
    @rule()
    def add_column(self) -> None:
        self.added += 1
        self.extra = f"extra_{self.added}"
        self.table.evolve(AddColumn(self.extra, pa.float32()))
        for row in [*self.stored.values(), *(r for _, rows in self.history for r in rows.values())]:
            row[self.extra] = None

    @precondition(lambda self: self.extra is not None)
    @rule()
    def drop_column(self) -> None:
        assert self.extra is not None
        self.table.evolve(DropColumn(self.extra))
        for row in [*self.stored.values(), *(r for _, rows in self.history for r in rows.values())]:
            row.pop(self.extra)
        self.extra = None

    @rule()
    def widen_amount(self) -> None:
        self.table.evolve(WidenColumn("amount", pa.int64()))

    @rule(terms=st.sampled_from([(), ("name",), ("bucket(2, name)",), ("ratio", "truncate(3, revision)")]))
    def partition_by(self, terms: tuple[str, ...]) -> None:
        self.table.partition_by(*terms)

    # --- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def table_equals_model(self) -> None:
        assert as_model(self.table.rows()) == comparable(self.stored)

    @precondition(lambda self: self.history)
    @rule(data=st.data())
    def time_travel(self, data: st.DataObject) -> None:
        sequence, rows = data.draw(st.sampled_from(self.history))
        snapshot = self.table.metadata.snapshot_by_sequence(sequence)
        if snapshot is not None:
            assert as_model(self.table.rows(snapshot)) == comparable(rows)

    @precondition(lambda self: self.history)
    @rule(data=st.data())
    def changes_lead_to_now(self, data: st.DataObject) -> None:
        sequence, rows = data.draw(st.sampled_from(self.history))
        before = self.table.metadata.snapshot_by_sequence(sequence)
        metadata = self.table.metadata
        names = [f.name for f in metadata.schema.fields]
        changes = SnapshotChanges(self.table.io, metadata, before, metadata.current_snapshot, names)
        followed = comparable(rows if before is not None else {})
        upserts = as_model(changes.upserts().read_all())
        for row in changes.deletes().read_all().to_pylist():
            key = identity((row["name"], row["ratio"]))
            assert key not in upserts
            followed.pop(key)
        followed.update(upserts)
        assert followed == comparable(self.stored)

    @invariant()
    def no_row_id_twice(self) -> None:
        if self.format_version < 3:
            return
        ids = self.table.rows(lineage=True).column("_row_id").to_pylist()
        assert len(set(ids)) == len(ids)
        assert None not in ids


def comparable(rows: dict[Any, dict[str, Any]]) -> dict[Any, tuple[tuple[str, str], ...]]:
    """Rows as values that compare NaN with NaN and tell -0.0 from 0.0."""
    return {key: tuple(sorted((name, repr(value)) for name, value in row.items())) for key, row in rows.items()}


def as_model(rows: pa.Table) -> dict[Any, tuple[tuple[str, str], ...]]:
    found = rows.to_pylist()
    model = comparable({identity((row["name"], row["ratio"])): row for row in found})
    assert len(model) == len(found), "a key is stored twice"
    return model


def machine(name: str, **settings_of_table: Any) -> Any:
    kind = type(name, (MergeMachine,), settings_of_table)
    case = kind.TestCase
    case.settings = settings(
        max_examples=examples(12),
        stateful_step_count=14,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestMergeOnRead = machine("MergeOnRead")
TestCopyOnWrite = machine("CopyOnWrite", mode=WriteMode.COPY_ON_WRITE)
TestFormatVersion2 = machine("FormatVersion2", format_version=2)
TestWithoutSequence = machine("WithoutSequence", sequenced=False)
TestPartitioned = machine("Partitioned", partitioning=("bucket(3, name)",))
TestPartitionedByNonKey = machine("PartitionedByNonKey", partitioning=("revision",), mode=WriteMode.COPY_ON_WRITE)
