"""Histories of rows, in any order of changes, against a list of what happened."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cordillera.errors import DuplicateKeyError, InvalidSchemaError, NotAllowedError, UnknownColumnError
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.merge_clauses import MergeClause, Then, When
from tests.examples import examples
from tests.table.harness import LooseTable

Row = dict[str, Any]
SCHEMA = pa.schema(
    [
        pa.field("name", pa.string()),
        pa.field("ratio", pa.float64()),
        pa.field("changed", pa.int64()),
        pa.field("city", pa.string()),
        pa.field("mood", pa.float64()),
    ]
)


@dataclass
class Version:
    """A row of an entity, as the model has it."""

    start: int
    row: Row
    end: int | None = None

    @property
    def confirmed(self) -> int:
        """When an untracked column changed last."""
        return int(self.row["changed"])


@dataclass
class Entity:
    """What the model knows of an entity: its rows by their beginning, and the deletes that it heard of."""

    versions: dict[int, Version] = field(default_factory=dict)
    deletes: set[int] = field(default_factory=set)

    def change(self, changes: list[Row], tracked: list[str]) -> None:
        """Go through everything that is known, moment by moment, with the changes among it."""
        events = {v.start: ({**v.row, "changed": v.start}, v.start) for v in self.versions.values()}
        confirmations = {v.confirmed: (v.row, None) for v in self.versions.values() if v.confirmed > v.start}
        given = {row["changed"]: row for row in changes}
        moments = sorted({*events, *confirmations, *given, *self.deletes})
        made: dict[int, Version] = {}
        current: Version | None = None
        latest: Row | None = None
        for moment in moments:
            row, start = events.get(moment) or confirmations.get(moment) or (None, None)
            row = given.get(moment, row)
            if row is not None:
                values = {n: v for n, v in row.items() if n != "changed"}
                same = {n for n in values if latest is not None and same_value(values[n], latest[n])}
                if start is not None or current is None or not same.issuperset(tracked):
                    if current is not None:
                        current.end = moment
                    current = made[moment] = Version(moment, row)
                    latest = values
                elif len(same) < len(values) or (moment in confirmations and moment not in given):
                    current.row, latest = row, values
            if moment in self.deletes and current is not None:
                current.end, current, latest = moment, None, None
        self.versions = made


def same_value(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))


ENTITIES = st.tuples(st.sampled_from(["a", "", "é"]), st.sampled_from([0.0, float("nan")]))
MOODS = st.sampled_from([None, 0.5, float("nan")])
CHANGES = st.lists(
    st.tuples(ENTITIES, st.integers(1, 12), st.sampled_from([None, "Oslo", "Rome"]), MOODS),
    max_size=6,
    unique_by=lambda change: (repr(change[0]), change[1]),
)


class HistoryMachine(RuleBasedStateMachine):
    """Writes changes and deletes, late ones among them."""

    kind = "scd2"
    tracked: tuple[str, ...] = ()
    mode = WriteMode.MERGE_ON_READ
    partitioning: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="cordillera-test-")
        self.table = LooseTable(
            Path(self.folder.name),
            SCHEMA,
            key=("name", "ratio"),
            sequence="changed",
            mode=self.mode,
            partitioning=self.partitioning,
            rule=self.kind,
            tracked=self.tracked,
        )
        self.entities: dict[str, Entity] = {}
        self.surrogates: dict[Any, int] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(changes=CHANGES)
    def upsert(self, changes: list[Any]) -> None:
        rows = [
            {"name": name, "ratio": ratio, "changed": at, "city": city, "mood": mood}
            for (name, ratio), at, city, mood in changes
        ]
        self.table.write(Operation.UPSERT, pa.Table.from_pylist(rows, schema=SCHEMA))
        tracked = list(self.tracked) or ["city", "mood"]
        for identity, found in itertools.groupby(sorted(rows, key=entity_of), entity_of):
            self.entities.setdefault(identity, Entity()).change(list(found), tracked)

    @rule(entity=ENTITIES, moments=st.lists(st.integers(1, 12), min_size=1, max_size=2, unique=True))
    def delete(self, entity: Any, moments: list[int]) -> None:
        rows = [{"name": entity[0], "ratio": entity[1], "changed": at} for at in moments]
        self.table.write(Operation.DELETE, pa.Table.from_pylist(rows, schema=SCHEMA.remove(4).remove(3)))
        known = self.entities.setdefault(entity_of(rows[0]), Entity())
        known.deletes.update(moments)
        known.change([], list(self.tracked) or ["city", "mood"])

    @invariant()
    def table_equals_model(self) -> None:
        rows = self.table.rows().to_pylist()
        found = {(entity_of(row), row["valid_from"]): row for row in rows}
        expected = {(who, v.start): v for who, entity in self.entities.items() for v in entity.versions.values()}
        assert found.keys() == expected.keys()
        assert len(rows) == len(found)
        for key, version in expected.items():
            row = found[key]
            assert (row["valid_to"], row["is_current"]) == (version.end, version.end is None), (key, row)
            assert all(same_value(row[n], version.row[n]) for n in ("city", "mood", "changed")), (key, row, version)
        if self.kind == "scd7":
            surrogates = {key: row["surrogate_key"] for key, row in found.items()}
            assert len(set(surrogates.values())) == len(surrogates)
            assert all(surrogates[key] == before for key, before in self.surrogates.items())
            self.surrogates = surrogates


def entity_of(row: Row) -> str:
    return repr((row["name"], row["ratio"] + 0.0))


def machine(name: str, **settings_of_table: Any) -> Any:
    case = type(name, (HistoryMachine,), settings_of_table).TestCase
    case.settings = settings(
        max_examples=examples(15),
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestHistory = machine("History")
TestHistoryOfTracked = machine("HistoryOfTracked", tracked=("city",), mode=WriteMode.COPY_ON_WRITE)
TestHistoryWithSurrogates = machine("HistoryWithSurrogates", kind="scd7")
TestHistoryPartitioned = machine("HistoryPartitioned", partitioning=("is_current",), kind="scd7", tracked=("mood",))


# --- details --------------------------------------------------------------------------------------------------------

PEOPLE = pa.schema([("id", pa.int64()), ("changed", pa.timestamp("us", "UTC")), ("city", pa.string())])


def people(tmp_path: Path, **options: Any) -> LooseTable:
    return LooseTable(tmp_path, PEOPLE, key=("id",), sequence="changed", **{"rule": "scd2", **options})


def batch(*rows: tuple[int, int, str | None]) -> pa.Table:
    ids, times, cities = zip(*rows, strict=True)
    moments = pa.array([t * 1_000_000 for t in times], pa.int64()).cast(PEOPLE.field("changed").type)
    return pa.table({"id": pa.array(ids, pa.int64()), "changed": moments, "city": pa.array(cities, pa.string())})


def spans(table: LooseTable) -> list[tuple[Any, ...]]:
    rows = table.rows().sort_by([("id", "ascending"), ("valid_from", "ascending")]).to_pylist()
    seconds = [[v and round(v.timestamp()) for v in (row["valid_from"], row["valid_to"])] for row in rows]
    return [(row["id"], row["city"], *when) for row, when in zip(rows, seconds, strict=True)]


def test_the_order_of_arrival_makes_no_difference(tmp_path: Path) -> None:
    changes = [batch((1, 1, "Oslo")), batch((1, 5, "Rome")), batch((1, 8, "Kyiv")), batch((1, 12, "Lima"))]
    orders = [[(step * place + first) % 5 for place in range(5)] for step in range(1, 5) for first in range(5)]
    for number, order in enumerate(orders):  # in these, every two changes stand at every two places once
        table = people(tmp_path / str(number))
        for step in order:
            if step < 4:
                table.write(Operation.UPSERT, changes[step])
            else:
                table.write(Operation.DELETE, batch((1, 10, None)).select(["id", "changed"]))
        assert spans(table) == [(1, "Oslo", 1, 5), (1, "Rome", 5, 8), (1, "Kyiv", 8, 10), (1, "Lima", 12, None)], order


def test_what_makes_no_difference_writes_nothing(tmp_path: Path) -> None:
    table = people(tmp_path)
    table.write(Operation.UPSERT, batch((1, 1, "Oslo"), (2, 1, None)))
    assert table.write(Operation.UPSERT, batch((1, 2, "Oslo"), (2, 9, None))).snapshot is None
    assert table.write(Operation.UPSERT, batch((1, 1, "Oslo"))).snapshot is None
    assert spans(table) == [(1, "Oslo", 1, None), (2, None, 1, None)]


def test_a_row_that_is_closed_keeps_its_row_id(tmp_path: Path) -> None:
    table = people(tmp_path)
    table.write(Operation.UPSERT, batch((1, 1, "Oslo")))
    before = table.rows(lineage=True).column("_row_id").to_pylist()
    result = table.write(Operation.UPSERT, batch((1, 2, "Rome")))
    assert (result.manifest.rows_inserted, result.manifest.rows_updated) == (1, 1)
    found = {row["city"]: row["_row_id"] for row in table.rows(lineage=True).to_pylist()}
    assert [found["Oslo"]] == before


def test_rows_that_ended_before_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = people(tmp_path, partitioning=("is_current",))
    for moment in range(1, 8):
        table.write(Operation.UPSERT, batch(*((i, moment, f"city {moment}") for i in range(5))))
    read: set[str] = set()
    plain = type(table.io.reader).read

    def noted(self: Any, live: Any, *arguments: Any) -> Any:
        read.add(live.path)
        return plain(self, live, *arguments)

    monkeypatch.setattr(type(table.io.reader), "read", noted)
    table.write(Operation.UPSERT, batch((3, 100, "new")))
    assert len(read) == 1


def test_what_would_break_a_history_is_refused(tmp_path: Path) -> None:
    table = people(tmp_path)
    table.write(Operation.UPSERT, batch((1, 1, "Oslo")))
    for operation in (Operation.APPEND, Operation.REPLACE, Operation.PARTIAL_UPDATE):
        with pytest.raises(NotAllowedError, match="keeps the history"):
            table.write(operation, batch((2, 2, "Rome")))
    with pytest.raises(NotAllowedError, match="keeps the history"):
        table.merge([MergeClause(When.MATCHED, Then.DELETE)], batch((1, 2, "x")))
    with pytest.raises(UnknownColumnError, match="keeps by itself"):
        table.write(Operation.UPSERT, batch((1, 2, "x")).append_column("is_current", pa.array([True])))
    with pytest.raises(DuplicateKeyError, match="id=1"):
        table.write(Operation.UPSERT, batch((1, 2, "x"), (1, 2, "y")))
    with pytest.raises(InvalidSchemaError, match="needs a key, and a sequence"):
        LooseTable(tmp_path, PEOPLE, key=("id",), rule="scd2")
    with pytest.raises(InvalidSchemaError, match="by itself"):
        LooseTable(
            tmp_path, PEOPLE.append(pa.field("Valid_To", pa.int64())), key=("id",), sequence="changed", rule="scd7"
        )
    with pytest.raises(InvalidSchemaError, match="cannot be tracked"):
        people(tmp_path, tracked=("changed",))


def test_rows_can_be_erased(tmp_path: Path) -> None:
    table = people(tmp_path)
    table.write(Operation.UPSERT, batch((1, 1, "Oslo"), (1, 2, "Rome"), (2, 1, "Kyiv")))
    table.delete_where("id = 1")
    assert spans(table) == [(2, "Kyiv", 1, None)]


def test_nested_columns_are_tracked(tmp_path: Path) -> None:
    home = pa.struct([("city", pa.string()), ("rooms", pa.list_(pa.float64()))])
    schema = pa.schema([("id", pa.int64()), ("at", pa.date32()), ("home", home)])
    table = LooseTable(tmp_path, schema, key=("id",), sequence="at", rule="scd7")

    def write(day: int, value: Any) -> None:
        table.write(Operation.UPSERT, pa.Table.from_pylist([{"id": 1, "at": day, "home": value}], schema=schema))

    for day, value in enumerate([{"city": "a", "rooms": [1.0, None]}, {"city": "a", "rooms": [1.0, None]}, None, None,
                                 {"city": None, "rooms": []}]):  # fmt: skip
        write(day, value)
    rows = table.rows().sort_by("surrogate_key").to_pylist()
    assert [row["valid_from"].day for row in rows] == [1, 3, 5]
    assert [row["surrogate_key"] for row in rows] == [1, 2, 3]


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    others = ["kind", "part", "source", "known", "stored", "began", "events", "order", "s", "w"]
    schema = pa.schema([("id", pa.int64()), ("at", pa.int64()), *((name, pa.string()) for name in others)])
    table = LooseTable(tmp_path, schema, key=("id",), sequence="at", rule="scd2", tracked=("kind", "part"))
    for at, value in ((1, "a"), (5, "b"), (3, "c")):
        table.write(
            Operation.UPSERT, pa.Table.from_pylist([{"id": 1, "at": at, **dict.fromkeys(others, value)}], schema)
        )
    table.write(Operation.DELETE, pa.table({"id": [1], "at": [9]}))
    rows = table.rows().sort_by("valid_from").to_pylist()
    assert [(r["valid_from"], r["valid_to"], *(r[n] for n in others)) for r in rows] == [
        (1, 3, *["a"] * 10),
        (3, 5, *["c"] * 10),
        (5, 9, *["b"] * 10),
    ]
