"""Conditional merges: any clauses in any order against a dict, what is refused, and how much is read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cordillera.errors import (
    DuplicateKeyError,
    InvalidExpressionError,
    InvalidInputError,
    MissingKeyError,
    NotAllowedError,
    NullKeyError,
    TypeMismatchError,
    UnknownColumnError,
)
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.merge_clauses import MergeClause, Then, When
from cordillera.table.reader import ReadOptions
from tests.examples import examples
from tests.table.harness import LooseTable

Row = dict[str, Any]
SCHEMA = pa.schema([("id", pa.float64()), ("revision", pa.int32()), ("amount", pa.int32()), ("note", pa.string())])
SOURCE = pa.schema([*SCHEMA, pa.field("op", pa.string())])
MATCHED, NEW, ALONE = When.MATCHED, When.NOT_MATCHED, When.NOT_MATCHED_BY_SOURCE


def over(compare: Callable[[Any, Any], bool], *values: Any) -> bool:
    """SQL's comparison: not true where a value is NULL."""
    return None not in values and compare(*values)


@dataclass(frozen=True)
class Piece:
    """A condition or a value, in SQL and in Python."""

    sql: str
    python: Callable[[Row, Row], Any] = field(compare=False)


ON_SOURCE = [
    Piece("source.op = 'D'", lambda s, t: s["op"] == "D"),
    Piece("source.amount > 1", lambda s, t: over(lambda a: a > 1, s["amount"])),
    Piece("source.note IS NULL OR source.op <> 'U'", lambda s, t: s["note"] is None or s["op"] != "U"),
]
ON_TARGET = [
    Piece("target.amount >= 0", lambda s, t: over(lambda a: a >= 0, t["amount"])),
    Piece("target.note IN ('', 'a')", lambda s, t: t["note"] in ("", "a")),
    Piece("NOT (target.id < 1)", lambda s, t: t["id"] >= 1),
]
ON_BOTH = [Piece("source.amount > target.amount", lambda s, t: over(lambda a, b: a > b, s["amount"], t["amount"]))]
VALUES_OF_SOURCE = [
    {"amount": Piece("source.amount * 2", lambda s, t: None if s["amount"] is None else s["amount"] * 2)},
    {"note": Piece("concat(source.op, source.note)", lambda s, t: s["op"] + (s["note"] or ""))},
]
VALUES_OF_TARGET = [
    {"amount": Piece("coalesce(target.amount, 0) + 1", lambda s, t: (t["amount"] or 0) + 1)},
    {"note": Piece("NULL", lambda s, t: None), "amount": Piece("target.amount", lambda s, t: t["amount"])},
]


@st.composite
def clauses(draw: st.DrawFn) -> list[tuple[MergeClause, Piece | None, dict[str, Piece]]]:
    found: list[tuple[MergeClause, Piece | None, dict[str, Piece]]] = []
    closed: set[When] = set()
    for when in draw(st.lists(st.sampled_from(list(When)), min_size=1, max_size=5)):
        if when in closed:
            continue
        conditions = {MATCHED: ON_SOURCE + ON_TARGET + ON_BOTH, NEW: ON_SOURCE, ALONE: ON_TARGET}[when]
        condition = draw(st.one_of(st.none(), st.sampled_from(conditions)))
        then = Then.INSERT if when is NEW else draw(st.sampled_from([Then.UPDATE, Then.DELETE]))
        values = {MATCHED: VALUES_OF_SOURCE + VALUES_OF_TARGET, NEW: VALUES_OF_SOURCE, ALONE: VALUES_OF_TARGET}[when]
        chosen = {} if then is Then.DELETE else draw(st.sampled_from(values if when is ALONE else [{}, *values]))
        columns: tuple[str, ...] = ()
        if then is not Then.DELETE and when is not ALONE and draw(st.booleans()):
            columns = tuple(name for name in ("amount", "note") if name not in chosen)[:1]
        clause = MergeClause(
            when, then, condition and condition.sql, columns, {name: piece.sql for name, piece in chosen.items()}
        )
        found.append((clause, condition, chosen))
        if condition is None:
            closed.add(when)
    return found


ROW = st.fixed_dictionaries(
    {
        "id": st.sampled_from([-0.0, 1.0, float("inf"), 2.5]),
        "revision": st.integers(1, 5),
        "amount": st.one_of(st.none(), st.integers(-3, 3)),
        "note": st.sampled_from([None, "", "a", "b"]),
        "op": st.sampled_from(["U", "D"]),
    }
)
SOURCES = st.lists(ROW, max_size=5, unique_by=lambda row: row["id"] + 0.0)


class ConditionalMachine(RuleBasedStateMachine):
    """Merges conditionally into a table and into a dict."""

    sequenced = True
    mode = WriteMode.MERGE_ON_READ
    partitioning: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="cordillera-test-")
        self.table = LooseTable(
            Path(self.folder.name),
            SCHEMA,
            key=("id",),
            sequence="revision" if self.sequenced else None,
            mode=self.mode,
            partitioning=self.partitioning,
        )
        self.stored: dict[float, Row] = {}
        self.buried: dict[float, int] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(rows=SOURCES)
    def upsert(self, rows: list[Row]) -> None:
        plain = [{name: row[name] for name in SCHEMA.names} for row in rows]
        self.table.write(Operation.UPSERT, pa.Table.from_pylist(plain, schema=SCHEMA))
        for row in plain:
            if not self.late(row):
                self.stored[row["id"] + 0.0] = row

    @rule(rows=SOURCES, chosen=clauses())
    def merge(self, rows: list[Row], chosen: list[Any]) -> None:
        merge = [clause for clause, *_ in chosen]
        schema = SOURCE if "source.op" in repr(merge) else SCHEMA
        self.table.merge(merge, pa.Table.from_pylist(rows, schema=schema))
        before = dict(self.stored)
        for row in rows:
            if not self.late(row):
                key = row["id"] + 0.0
                self.apply(key, row, before.get(key), MATCHED if key in before else NEW, chosen)
        for key in before.keys() - {row["id"] + 0.0 for row in rows}:
            self.apply(key, {}, before[key], ALONE, chosen)

    def late(self, row: Row) -> bool:
        key = row["id"] + 0.0
        newer = self.sequenced and key in self.stored and self.stored[key]["revision"] > row["revision"]
        return self.sequenced and (newer or self.buried.get(key, -1) > row["revision"])

    def apply(self, key: float, source: Row, target: Row | None, when: When, chosen: list[Any]) -> None:
        """Do what the first clause that applies says."""
        for clause, condition, values in chosen:
            if clause.when is not when or not (condition is None or condition.python(source, target or {})):
                continue
            if clause.then is Then.DELETE:
                del self.stored[key]
                if self.sequenced and source:
                    self.buried[key] = max(source["revision"], self.buried.get(key, -1))
                return
            row = dict(target or dict.fromkeys(SCHEMA.names))
            taken = [*clause.columns, "id", *(["revision"] if self.sequenced else [])]
            if not clause.columns and not values:
                taken = SCHEMA.names
            row.update({name: source[name] for name in taken if source})
            row.update({name: piece.python(source, target or {}) for name, piece in values.items()})
            self.stored[key] = row
            return

    @invariant()
    def table_equals_model(self) -> None:
        found = self.table.rows().to_pylist()
        assert {row["id"] + 0.0: row for row in found} == self.stored
        assert len(found) == len(self.stored)


def machine(name: str, **settings_of_table: Any) -> Any:
    case = type(name, (ConditionalMachine,), settings_of_table).TestCase
    case.settings = settings(
        max_examples=examples(15),
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestConditional = machine("Conditional")
TestConditionalWithoutSequence = machine("ConditionalWithoutSequence", sequenced=False)
TestConditionalCopyOnWrite = machine("ConditionalCopyOnWrite", mode=WriteMode.COPY_ON_WRITE, sequenced=False)
TestConditionalPartitioned = machine("ConditionalPartitioned", partitioning=("amount",))
TestConditionalRewritten = machine("ConditionalRewritten", mode=WriteMode.COPY_ON_WRITE, partitioning=("amount",))


# --- what is refused ------------------------------------------------------------------------------------------------

UPDATE_ALL, INSERT_ALL = MergeClause(MATCHED, Then.UPDATE), MergeClause(NEW, Then.INSERT)


@pytest.fixture
def table(tmp_path: Path) -> LooseTable:
    schema = pa.schema(
        [("id", pa.int64()), ("amount", pa.decimal128(5, 2)), pa.field("note", pa.string(), nullable=False)]
    )
    made = LooseTable(tmp_path, schema, key=("id",))
    made.write(Operation.UPSERT, [{"id": 1, "amount": 1, "note": "a"}, {"id": 2, "amount": 2, "note": "b"}])
    return made


def test_changed_rows_stay_where_they_are_in_files_written_anew(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.int64()), ("amount", pa.int64()), ("op", pa.string())])
    table = LooseTable(tmp_path, schema.remove(2), key=("id",), mode=WriteMode.COPY_ON_WRITE)
    table.write(Operation.APPEND, pa.table({"id": range(1_000), "amount": range(1_000)}))
    before = {row["id"]: row["_row_id"] for row in table.rows(lineage=True).to_pylist()}
    changes = [{"id": number, "amount": -1, "op": "D" if number == 3 else "U"} for number in (700, 3, 5, 2_000)]
    delete = MergeClause(MATCHED, Then.DELETE, "source.op = 'D'")
    update = MergeClause(MATCHED, Then.UPDATE, columns=("amount",))
    insert = MergeClause(NEW, Then.INSERT, columns=("id", "amount"))
    table.merge([delete, update, insert], pa.Table.from_pylist(changes, schema=schema))
    live_files = table.io.files.live(table.metadata.current_snapshot)
    files = [list(table.io.reader.read(live, ReadOptions(table.metadata.schema))) for live in live_files]
    ids = sorted(([row["id"] for batch in file for row in batch.to_pylist()] for file in files), key=len)
    assert ids == [[2_000], [number for number in range(1_000) if number != 3]]
    after = {row["id"]: row["_row_id"] for row in table.rows(lineage=True).to_pylist()}
    assert {number: after[number] for number in before if number != 3} == {n: i for n, i in before.items() if n != 3}


ONE = pa.table({"id": [1], "amount": ["1.5"], "note": ["x"]}).cast(
    pa.schema([("id", pa.int64()), ("amount", pa.decimal128(5, 2)), ("note", pa.string())])
)


@pytest.mark.parametrize(
    ("clause", "error", "says"),
    [
        (MergeClause(MATCHED, Then.INSERT), InvalidInputError, "cannot insert rows that are matched"),
        (MergeClause(NEW, Then.UPDATE), InvalidInputError, "cannot update rows that are not matched"),
        (MergeClause(MATCHED, Then.UPDATE, "amount > 1"), InvalidExpressionError, "source.column or target.column"),
        (MergeClause(NEW, Then.INSERT, "target.amount > 1"), InvalidExpressionError, "reads 'target.amount'"),
        (MergeClause(ALONE, Then.DELETE, "source.id > 1"), InvalidExpressionError, "reads 'source.id'"),
        (MergeClause(MATCHED, Then.UPDATE, "source.nothing > 1"), UnknownColumnError, "'nothing'"),
        (MergeClause(MATCHED, Then.UPDATE, "source.id IN (SELECT 1)"), InvalidExpressionError, "SELECT 1"),
        (MergeClause(MATCHED, Then.UPDATE, "sum(source.id) > 1"), InvalidExpressionError, "SUM"),
        (MergeClause(MATCHED, Then.UPDATE, "true) OR (true"), InvalidExpressionError, "not a single"),
        (MergeClause(MATCHED, Then.UPDATE, "("), InvalidExpressionError, "cannot be read"),
        (MergeClause(MATCHED, Then.UPDATE, set={"id": "source.id + 1"}), InvalidInputError, "part of the key"),
        (MergeClause(MATCHED, Then.UPDATE, set={"nothing": "1"}), UnknownColumnError, "'nothing'"),
        (MergeClause(MATCHED, Then.UPDATE, columns=("nothing",)), UnknownColumnError, "'nothing'"),
        (MergeClause(MATCHED, Then.DELETE, set={"amount": "1"}), InvalidInputError, "sets no columns"),
        (MergeClause(ALONE, Then.UPDATE), InvalidInputError, "has to set"),
        (MergeClause(ALONE, Then.UPDATE, columns=("amount",)), InvalidInputError, "take no columns"),
        (MergeClause(MATCHED, Then.UPDATE, set={"amount": "source.amount * 1000"}), TypeMismatchError, "'amount'"),
        (MergeClause(MATCHED, Then.UPDATE, set={"note": "NULL"}), NullKeyError, "'note'"),
    ],
)
def test_clauses_that_make_no_sense_are_refused(
    table: LooseTable, clause: MergeClause, error: type[Exception], says: str
) -> None:
    before = table.rows().to_pylist()
    with pytest.raises(error, match=says.replace("(", r"\(")):
        table.merge([clause], ONE)
    assert table.rows().to_pylist() == before


def test_a_clause_that_can_never_apply_is_refused(table: LooseTable) -> None:
    with pytest.raises(InvalidInputError, match="Clause 2"):
        table.merge([UPDATE_ALL, MergeClause(MATCHED, Then.DELETE, "source.id = 1")], ONE)
    with pytest.raises(InvalidInputError, match="no clauses"):
        table.writer.stage_merge(ONE.to_reader(), [], table.metadata)


def test_several_rows_for_one_target_are_refused_with_examples(table: LooseTable) -> None:
    with pytest.raises(DuplicateKeyError, match="id=1"):
        table.merge([UPDATE_ALL, INSERT_ALL], pa.concat_tables([ONE, ONE]))


def test_a_source_that_does_not_fit_is_refused(tmp_path: Path, table: LooseTable) -> None:
    with pytest.raises(UnknownColumnError, match="'amuont'"):
        table.merge([UPDATE_ALL], ONE.append_column("amuont", pa.array([1])))
    with pytest.raises(MissingKeyError, match="'id'"):
        table.merge([UPDATE_ALL], ONE.drop_columns(["id"]))
    with pytest.raises(NullKeyError, match="'id'"):
        table.merge([UPDATE_ALL], pa.table({"id": pa.array([None], pa.int64())}))
    with pytest.raises(NullKeyError, match="'note'"):
        table.merge([INSERT_ALL], pa.table({"id": [9]}))
    with pytest.raises(InvalidInputError, match="clash"):
        table.merge([UPDATE_ALL], ONE.append_column("ID", pa.array([1])))
    keyless = LooseTable(tmp_path / "keyless", pa.schema([("id", pa.int64())]))
    with pytest.raises(MissingKeyError, match="no key"):
        keyless.merge([UPDATE_ALL], pa.table({"id": [1]}))
    first = LooseTable(tmp_path / "first", pa.schema([("id", pa.int64())]), key=("id",), rule="first-row-wins")
    with pytest.raises(NotAllowedError, match="first-row-wins"):
        first.merge([UPDATE_ALL], pa.table({"id": [1]}))
    assert first.merge([INSERT_ALL], pa.table({"id": [1]})).manifest.rows_inserted == 1


# --- details --------------------------------------------------------------------------------------------------------


def test_a_merge_that_changes_nothing_makes_no_snapshot(table: LooseTable) -> None:
    prepared = table.merge([MergeClause(MATCHED, Then.UPDATE, "source.amount > 100")], ONE)
    assert prepared.snapshot is None


def test_rows_keep_their_ids(table: LooseTable) -> None:
    before = {row["id"]: row["_row_id"] for row in table.rows(lineage=True).to_pylist()}
    table.merge([MergeClause(MATCHED, Then.UPDATE, set={"note": "target.note || '!'"})], ONE)
    table.merge([MergeClause(ALONE, Then.UPDATE, set={"note": "target.note || '?'"})], ONE)
    found = table.rows(lineage=True).to_pylist()
    assert {row["id"]: row["note"] for row in found} == {1: "a!", 2: "b?"}
    assert {row["id"]: row["_row_id"] for row in found} == before


def test_only_files_that_conditions_may_match_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = LooseTable(
        tmp_path, pa.schema([("id", pa.int64()), ("day", pa.int64())]), key=("id",), partitioning=("day",)
    )
    table.write(Operation.APPEND, [{"id": i, "day": i // 10} for i in range(100)])
    read: set[str] = set()
    plain = type(table.io.reader).read

    def noted(self: Any, live: Any, *arguments: Any) -> Any:
        read.add(live.path)
        return plain(self, live, *arguments)

    monkeypatch.setattr(type(table.io.reader), "read", noted)
    result = table.merge([MergeClause(ALONE, Then.DELETE, "target.day = 3")], pa.table({"id": [31, 32]}))
    assert result.manifest.rows_deleted == 8
    assert len(read) == 1
    read.clear()
    result = table.merge([MergeClause(ALONE, Then.DELETE)], pa.table({"id": [31, 32]}))
    assert (result.manifest.rows_deleted, len(read)) == (90, 1), "files without a key of the source go unread"
    assert sorted(table.rows().column("id").to_pylist()) == [31, 32]


def test_nested_columns_can_be_used(tmp_path: Path) -> None:
    home = pa.struct([("city", pa.string()), ("zip", pa.int64())])
    table = LooseTable(tmp_path, pa.schema([("id", pa.int64()), ("home", home), ("zip", pa.int64())]), key=("id",))
    row = {"id": 1, "home": {"city": "Oslo", "zip": 5}, "zip": None}
    table.write(Operation.UPSERT, [row])
    clause = MergeClause(
        MATCHED, Then.UPDATE, "target.home.city = 'Oslo'", set={"zip": "source.home.zip + target.home.zip"}
    )
    table.merge([clause], pa.Table.from_pylist([{"id": 1, "home": {"city": "x", "zip": 6}}]))
    assert table.rows().to_pylist() == [{**row, "zip": 11}]
