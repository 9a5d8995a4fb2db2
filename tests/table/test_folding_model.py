"""Column sets, aggregating columns and first row wins, in any order of operations, against a dict."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cordillera.errors import DuplicateKeyError
from cordillera.spec.merge import Operation, WriteMode
from tests.examples import examples
from tests.table.harness import LooseTable

SCHEMA = pa.schema(
    [
        pa.field("id", pa.float64()),
        pa.field("revision", pa.int32()),
        pa.field("plain", pa.string()),
        pa.field("total", pa.int64()),
        pa.field("best", pa.string()),
        pa.field("origin", pa.string()),
        pa.field("known", pa.string()),
    ]
)
AGGREGATES = {"total": "sum", "best": "max", "origin": "first", "known": "last_non_null"}
VALUES = ["plain", "total", "best", "origin", "known"]
TEXT = st.sampled_from([None, "", "a", "b", "é"])
ROW = st.fixed_dictionaries(
    {
        "id": st.sampled_from([0.0, 1.0, float("inf")]),
        "revision": st.integers(1, 8),
        "plain": TEXT,
        "total": st.one_of(st.none(), st.integers(-5, 5)),
        "best": TEXT,
        "origin": TEXT,
        "known": TEXT,
    }
)
SPARSE = st.tuples(ROW, st.one_of(st.none(), st.lists(st.sampled_from(VALUES), unique=True)))
ROWS = st.lists(SPARSE, max_size=7, unique_by=lambda pair: (pair[0]["id"], pair[0]["revision"]))


class FoldingMachine(RuleBasedStateMachine):
    """Applies operations to a table and, row by row, to a dict."""

    aggregates: dict[str, str] = {}  # noqa: RUF012 - a setting, never changed
    merge_rule = "latest-row-wins"
    sequenced = True
    mode = WriteMode.MERGE_ON_READ

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="cordillera-test-")
        self.table = LooseTable(
            Path(self.folder.name),
            SCHEMA,
            key=("id",),
            sequence="revision" if self.sequenced else None,
            mode=self.mode,
            rule=self.merge_rule,
            aggregates=self.aggregates,
        )
        self.stored: dict[float, dict[str, Any]] = {}
        self.buried: dict[float, int] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    # --- the model -----------------------------------------------------------------------------------------------

    @property
    def columns(self) -> list[str]:
        return VALUES if self.sequenced else ["revision", *VALUES]

    def late(self, row: dict[str, Any]) -> bool:
        return self.sequenced and row["id"] in self.stored and self.stored[row["id"]]["revision"] > row["revision"]

    def buried_later(self, row: dict[str, Any]) -> bool:
        return self.sequenced and self.buried.get(row["id"], -1) > row["revision"]

    def apply_all(self, pairs: list[Any]) -> None:
        for key in {row["id"] for row, _ in pairs}:
            of_key = [(row, names) for row, names in pairs if row["id"] == key and not self.buried_later(row)]
            self.apply(key, sorted(of_key, key=lambda pair: pair[0]["revision"]))

    def apply(self, key: float, pairs: list[Any]) -> None:
        """Apply the rows of a key, in the order of their sequence."""
        if self.merge_rule == "first-row-wins":
            pairs = [] if key in self.stored else pairs[:1]
        late = [(row, names) for row, names in pairs if self.late(row) and self.aggregates]
        on_time = [(row, names) for row, names in pairs if not self.late(row)]
        if not late + on_time:
            return
        base = self.stored.get(key)
        events = [*late, *([(base, None)] if base else []), *on_time]
        row = {"id": key, **dict.fromkeys(self.columns)}
        for name in self.columns:
            given = [r[name] for r, names in events if names is None or name in names]
            on_time_only = [r[name] for r, names in events[len(late) :] if names is None or name in names]
            row[name] = combined(self.aggregates.get(name), given, on_time_only)
        if self.sequenced:
            row["revision"] = events[-1][0]["revision"]
        self.stored[key] = row

    def batch(self, pairs: list[Any], *, sparse: bool, columns: list[str] | None = None) -> pa.Table:
        rows = [{**row, "_columns": names} for row, names in pairs]
        schema = SCHEMA.append(pa.field("_columns", pa.list_(pa.string()))) if sparse else SCHEMA
        chosen = schema.names if columns is None else columns
        return pa.Table.from_pylist(rows, schema=pa.schema([schema.field(n).with_nullable(True) for n in chosen]))

    def one_a_key(self, pairs: list[Any]) -> list[Any]:
        return list({row["id"]: (row, names) for row, names in pairs}.values())

    # --- operations ----------------------------------------------------------------------------------------------

    @rule(pairs=ROWS)
    def upsert(self, pairs: list[Any]) -> None:
        whole = [(row, None) for row, _ in (pairs if self.sequenced else self.one_a_key(pairs))]
        self.table.write(Operation.UPSERT, self.batch(whole, sparse=False))
        self.apply_all(whole)

    @precondition(lambda self: self.merge_rule != "first-row-wins")
    @rule(pairs=ROWS)
    def sparse_update(self, pairs: list[Any]) -> None:
        pairs = pairs if self.sequenced else self.one_a_key(pairs)
        self.table.write(Operation.PARTIAL_UPDATE, self.batch(pairs, sparse=True))
        self.apply_all(pairs)

    @rule(pairs=ROWS)
    def partial_update(self, pairs: list[Any]) -> None:
        given = ["id", "revision", "total", "plain"]
        same = [(row, given) for row, _ in self.one_a_key(pairs)]
        self.table.write(Operation.PARTIAL_UPDATE, self.batch(same, sparse=False, columns=given))
        self.apply_all(same)

    @rule(key=st.sampled_from([0.0, 1.0]), revision=st.integers(1, 8))
    def delete(self, key: float, revision: int) -> None:
        rows = pa.Table.from_pylist([{"id": key, "revision": revision}], schema=SCHEMA)
        self.table.write(Operation.DELETE, rows.select(["id", "revision"]))
        if self.sequenced and (
            self.buried.get(key, -1) > revision or (key in self.stored and self.stored[key]["revision"] > revision)
        ):
            return
        self.stored.pop(key, None)
        self.buried[key] = max(revision, self.buried.get(key, -1))

    @rule(pairs=ROWS)
    def append(self, pairs: list[Any]) -> None:
        whole = [(row, None) for row, _ in (pairs if self.sequenced else self.one_a_key(pairs))]
        # Behind deletes, an append looks at its rows one by one: those that a delete covers are late, and not refused.
        rows = sorted((row for row, _ in whole), key=lambda row: -row["revision"])
        if self.merge_rule == "first-row-wins":
            rows = list({row["id"]: row for row in rows if not self.buried_later(row)}.values())
        counted = [row for row in rows if not (self.buried and self.sequenced and self.ignored(row))]
        clash = any(row["id"] in self.stored for row in counted)
        try:
            self.table.write(Operation.APPEND, self.batch(whole, sparse=False))
        except DuplicateKeyError:
            assert clash
            return
        assert not clash
        self.apply_all(whole)

    def ignored(self, row: dict[str, Any]) -> bool:
        return self.buried_later(row) or (self.late(row) and not self.aggregates)

    @rule(pairs=ROWS)
    def replace(self, pairs: list[Any]) -> None:
        whole = [(row, None) for row, _ in (pairs if self.sequenced else self.one_a_key(pairs))]
        self.table.write(Operation.REPLACE, self.batch(whole, sparse=False))
        buried, self.buried, self.stored = self.buried, {}, {}
        self.apply_all(whole)
        self.buried = buried

    # --- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def table_equals_model(self) -> None:
        found = {row["id"]: row for row in self.table.rows().to_pylist()}
        assert found == self.stored
        assert len(found) == self.table.rows().num_rows


def combined(how: str | None, given: list[Any], on_time: list[Any]) -> Any:
    """The value of a column that these rows set, in the order in which they count."""
    known = [value for value in given if value is not None]
    match how:
        case "first":
            return on_time[0] if on_time else None
        case "last_non_null":
            return known[-1] if known else None
        case "sum":
            return sum(known) if known else None
        case "max":
            return max(known) if known else None
        case _:
            return given[-1] if given else None


def machine(name: str, **settings_of_table: Any) -> Any:
    case = type(name, (FoldingMachine,), settings_of_table).TestCase
    case.settings = settings(
        max_examples=examples(12),
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestColumnSets = machine("ColumnSets")
TestColumnSetsWithoutSequence = machine("ColumnSetsWithoutSequence", sequenced=False)
TestAggregates = machine("Aggregates", aggregates=AGGREGATES)
TestAggregatesCopyOnWrite = machine("AggregatesCopyOnWrite", aggregates=AGGREGATES, mode=WriteMode.COPY_ON_WRITE)
TestAggregatesWithoutSequence = machine("AggregatesWithoutSequence", aggregates=AGGREGATES, sequenced=False)
TestFirstRowWins = machine("FirstRowWins", merge_rule="first-row-wins")
TestFirstRowWinsWithoutSequence = machine(
    "FirstRowWinsWithoutSequence", merge_rule="first-row-wins", sequenced=False, mode=WriteMode.COPY_ON_WRITE
)
