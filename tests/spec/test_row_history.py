"""Folding a log into a history, against replaying it one change after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.ports.engine import QueryEngine
from cordillera.spec.row_changes import CHANGE_TYPE, COMMIT_SEQUENCE, COMMITTED_AT
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO, Folding, count_unsound, read_unsound, unsound
from tests.examples import examples

IMAGE = pa.schema([("k", pa.float64()), ("region", pa.string()), ("v", pa.int64())])
INSTANT = pa.timestamp("us", "UTC")
LOG = pa.schema([*IMAGE, (CHANGE_TYPE, pa.string()), (COMMIT_SEQUENCE, pa.int64()), (COMMITTED_AT, INSTANT)])
TIMES = [(VALID_FROM, INSTANT), (VALID_TO, INSTANT), (IS_CURRENT, pa.bool_())]
KEPT = pa.schema([*IMAGE, (COMMIT_SEQUENCE, pa.int64()), *TIMES])
KEYS = [(0.0, "n"), (math.nan, "n"), (1.5, ""), (1.5, "s")]
Change = dict[int, int | None]
Stored = dict[str, Any]


@pytest.fixture(scope="module")
def engine() -> Iterator[QueryEngine]:
    made = DuckDBEngine(threads=1)
    yield made
    made.close()


@dataclass(frozen=True)
class Row:
    """A row of a history, as the model has it."""

    key: int
    value: int
    commit: int
    since: int
    until: int | None = None


@dataclass(frozen=True)
class Commit:
    """A commit: which key got which value, or None for a delete; and its minute."""

    number: int
    minute: int
    changes: Change


def replayed(commits: list[Commit]) -> list[Row]:
    """The history that commits make, one change after the other."""
    ended: list[Row] = []
    current: dict[int, Row] = {}
    for commit in commits:
        for key, value in commit.changes.items():
            if key in current:
                ended.append(replace(current.pop(key), until=commit.minute))
            if value is not None:
                current[key] = Row(key, value, commit.number, commit.minute)
    return [*ended, *current.values()]


def log_of(commits: list[Commit], before: dict[int, int]) -> pa.Table:
    """The log of commits on top of rows that there were, in no order."""
    rows, held = [], dict(before)
    for commit in commits:
        for key, value in commit.changes.items():
            old = held.pop(key, None)
            if value is not None:
                held[key] = value
            kinds = {"delete": old} if value is None else {"insert": value}
            if old is not None and value is not None:
                kinds = {"update_after": value, "update_before": old}
            rows += [told(key, image, kind, commit) for kind, image in kinds.items() if image is not None]
    return pa.Table.from_pylist(rows[::-1], LOG)


def told(key: int, value: int, kind: str, commit: Commit) -> dict[str, Any]:
    k, region = KEYS[key]
    image = {"k": k if k or commit.number % 2 else -k, "region": region, "v": value}  # 0.0 and -0.0 are one key
    return {**image, CHANGE_TYPE: kind, COMMIT_SEQUENCE: commit.number, COMMITTED_AT: at(commit.minute)}


def at(minute: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


def spelled(rows: list[Row]) -> list[str]:
    return sorted(
        f"{KEYS[r.key]} {r.value} {r.commit} {at(r.since)} {r.until is not None and at(r.until)}" for r in rows
    )


def applied(engine: QueryEngine, folding: Folding, stored: list[Stored], **log: pa.Table) -> list[Stored]:
    """What a target makes of states and endings: current rows of keys that end do so, then states come."""
    ends = {key_of(one): one[VALID_TO] for one in engine.table(folding.endings(), log).to_pylist()}
    states = engine.table(folding.states(), log).to_pylist()
    kept = [
        {**row, VALID_TO: ends[key_of(row)], IS_CURRENT: False} if row[IS_CURRENT] and key_of(row) in ends else row
        for row in stored
    ]
    new = {(key_of(row), row[COMMIT_SEQUENCE]) for row in states}
    return [*(row for row in kept if (key_of(row), row[COMMIT_SEQUENCE]) not in new), *states]


def key_of(row: dict[str, Any]) -> str:
    return str((abs(row["k"]), row["region"]))


def spelled_rows(rows: list[Stored]) -> list[str]:
    assert all(row[IS_CURRENT] is (row[VALID_TO] is None) for row in rows)
    keys = ((abs(row["k"]), row["region"]) for row in rows)
    ends = (row[VALID_TO] is not None and row[VALID_TO] for row in rows)
    return sorted(
        f"{key} {row['v']} {row[COMMIT_SEQUENCE]} {row[VALID_FROM]} {end}"
        for row, key, end in zip(rows, keys, ends, strict=True)
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Commit], int]:
    """Some commits, whose times may be the same, and how many of them the first delivery brings."""
    commits: list[Commit] = []
    held: set[int] = set()
    minute = 0
    for number in range(1, draw(st.integers(1, 7)) + 1):
        minute += draw(st.integers(0, 2))
        wanted = draw(st.dictionaries(st.integers(0, len(KEYS) - 1), st.none() | st.integers(0, 9), max_size=4))
        changes = {key: value for key, value in wanted.items() if value is not None or key in held}
        held = {*held, *changes} - {key for key, value in changes.items() if value is None}
        commits.append(Commit(number, minute, changes))
    return commits, draw(st.integers(0, len(commits)))


@settings(max_examples=examples(16))
@given(histories())
def test_deliveries_of_any_length_make_what_replaying_makes(
    engine: QueryEngine, made: tuple[list[Commit], int]
) -> None:
    commits, cut = made
    folding, stored, held = Folding(IMAGE, ("k", "region")), list[Stored](), dict[int, int]()
    for part in (commits[:cut], commits[cut:]):
        stored = applied(engine, folding, stored, log=log_of(part, held))
        for commit in part:
            held = {key: v for key, v in (held | commit.changes).items() if v is not None}
    assert spelled_rows(stored) == spelled(replayed(commits))
    rows = pa.Table.from_pylist(stored, KEPT)
    assert read_unsound(engine.table(unsound(rows.schema, ("k", "region")), {"history": rows})).keys == 0


def test_restated_rows_hold_from_then_on_and_no_change_is_told_twice(engine: QueryEngine) -> None:
    first = Commit(1, 0, {0: 1, 1: 1, 2: 1})
    later = [Commit(2, 1, {0: 2}), Commit(3, 2, {2: None})]
    log = log_of([first], {})
    stored = applied(engine, Folding(IMAGE, ("k", "region")), [], log=log)
    restated = pa.Table.from_pylist([told(0, 2, "insert", later[1]), told(1, 7, "insert", later[1])], LOG)
    folding = Folding(IMAGE, ("k", "region"), restated=True)
    found = applied(engine, folding, stored, log=log_of(later, {0: 1, 1: 1, 2: 1}), restated=restated)
    expected = [Row(0, 1, 1, 0, 1), Row(0, 2, 2, 1), Row(1, 1, 1, 0, 2), Row(1, 7, 3, 2), Row(2, 1, 1, 0, 2)]
    assert spelled_rows(found) == spelled(expected)


@pytest.mark.parametrize(
    "times",
    [
        [(0, 2, False), (1, None, True)],  # they overlap
        [(0, None, True), (1, None, True)],  # two are current
        [(3, 2, False)],  # it ends before it begins
        [(0, None, False)],  # it neither holds nor has ended
        [(0, 1, True)],  # both
        [(None, None, True)],
    ],
)
def test_times_that_cannot_be_are_found(engine: QueryEngine, times: list[tuple[Any, Any, bool]]) -> None:
    def row(key: str, number: int, since: int | None, until: int | None, current: bool) -> dict[str, Any]:
        image = {"k": 1.0, "region": key, "v": 0, COMMIT_SEQUENCE: number, IS_CURRENT: current}
        return {**image, VALID_FROM: then(since), VALID_TO: then(until)}

    def then(minute: int | None) -> datetime | None:
        return None if minute is None else at(minute)

    sound = [row("sound", 1, 1, 4, False), row("sound", 2, 5, 5, False), row("sound", 3, 5, None, True)]
    wrong = [row("wrong", n, *one) for n, one in enumerate(times)]
    rows = pa.Table.from_pylist([*wrong, *sound], KEPT)
    found = read_unsound(engine.table(unsound(rows.schema, ("k", "region")), {"history": rows}))
    assert (found.keys, found.examples) == (1, ("(1.0, wrong)",))
    (counted,) = engine.table(count_unsound("history", "k, region"), {"history": rows}).to_pylist()
    assert list(counted.values()) == [1]
