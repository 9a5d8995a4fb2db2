"""What a dataset should hold after any history, in plain dicts."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from cordillera.errors import CordilleraError, DuplicateKeyError, NotAllowedError

Row = dict[int, Any]
ID, REVISION, AMOUNT, PLACE = range(4)


@dataclass(frozen=True)
class Column:
    """A column; ``number`` never changes, and rows without a value for it have its default."""

    number: int
    name: str
    kind: pa.DataType
    default: Any = None

    def of(self, row: Row) -> Any:
        return row.get(self.number, self.default)

    def made_up(self, amount: int | None) -> Any:
        """A value for a row that is known by its amount."""
        return None if amount is None else str(amount) if self.kind == pa.string() else amount


@dataclass
class State:
    """Rows by key, and the revisions of deletes by key."""

    rows: dict[int, Row] = field(default_factory=dict)
    buried: dict[int, int] = field(default_factory=dict)


class Model:
    """One dataset: columns, partitioning, and a state for every branch.

    Every operation returns the error that it is to end with, or changes the state.
    """

    def __init__(self, *, sequenced: bool) -> None:
        self.sequenced = sequenced
        self.columns = [Column(ID, "id", pa.int64()), Column(REVISION, "revision", pa.int64())]
        self.columns += [Column(AMOUNT, "amount", pa.int32()), Column(PLACE, "place", pa.string())]
        self.numbers = 4
        self.terms: tuple[str, ...] = ()
        self.branches = {"main": State()}

    # --- columns and layout --------------------------------------------------------------------------------------

    def column(self, number: int) -> Column | None:
        return next((column for column in self.columns if column.number == number), None)

    def name(self, number: int) -> str:
        column = self.column(number)
        assert column is not None
        return column.name

    def change(self, number: int, **changes: Any) -> None:
        self.columns = [replace(one, **changes) if one.number == number else one for one in self.columns]

    def add(self, name: str, kind: pa.DataType, default: Any) -> None:
        self.columns = [*self.columns, Column(self.numbers, name, kind, default)]
        self.numbers += 1

    def written_terms(self) -> list[str]:
        """The partitioning as it is written now: columns may have been renamed."""
        return [term.replace("place", self.name(PLACE)) for term in self.terms]

    def partition(self, row: Row) -> tuple[Any, ...]:
        values = {"place": row.get(PLACE), "truncate(10, id)": row[ID] // 10}
        return tuple(values[term] for term in self.terms)

    # --- rows ------------------------------------------------------------------------------------------------------

    def full(self, rows: Iterable[tuple[Any, ...]]) -> list[Row]:
        """Rows with a value in every column."""
        found = []
        for number, revision, amount, place in rows:
            known = {ID: number, REVISION: revision, AMOUNT: amount, PLACE: place}
            found.append({one.number: known.get(one.number, one.made_up(amount)) for one in self.columns})
        return found

    def batch(self, rows: list[Row], numbers: Iterable[int] | None = None) -> pa.Table:
        chosen = [one for one in self.columns if numbers is None or one.number in numbers]
        schema = pa.schema([(one.name, one.kind) for one in chosen])
        return pa.table([[row.get(one.number) for row in rows] for one in chosen], schema=schema)

    def seen(self, rows: dict[int, Row], columns: list[Column] | None = None) -> dict[int, tuple[Any, ...]]:
        """Rows as readers see them, by key."""
        chosen = self.columns if columns is None else columns
        return {key: tuple(one.of(row) for one in chosen) for key, row in rows.items()}

    def copy_of(self, branch: str) -> State:
        return deepcopy(self.branches[branch])

    # --- writes ----------------------------------------------------------------------------------------------------

    def late(self, state: State, row: Row) -> bool:
        if not self.sequenced:
            return False
        stored = state.rows.get(row[ID])
        return (stored is not None and stored[REVISION] > row[REVISION]) or (
            state.buried.get(row[ID], -1) > row[REVISION]
        )

    def append(self, state: State, rows: list[Row]) -> type[CordilleraError] | None:
        on_time = [row for row in rows if not self.late(state, row)]
        if any(row[ID] in state.rows for row in (on_time if state.buried else rows)):
            return DuplicateKeyError
        state.rows |= {row[ID]: row for row in on_time}
        return None

    def upsert(self, state: State, rows: list[Row]) -> None:
        state.rows |= {row[ID]: row for row in rows if not self.late(state, row)}

    def partial_update(self, state: State, rows: list[Row]) -> None:
        state.rows |= {row[ID]: {**state.rows.get(row[ID], {}), **row} for row in rows if not self.late(state, row)}

    def delete(self, state: State, rows: list[Row]) -> None:
        for row in rows:
            if not self.late(state, row):
                state.rows.pop(row[ID], None)
                if self.sequenced:
                    state.buried[row[ID]] = max(row[REVISION], state.buried.get(row[ID], -1))

    def delete_where(self, state: State, low: int, high: int) -> None:
        state.rows = {key: row for key, row in state.rows.items() if not low <= key <= high}

    def replace(self, state: State, rows: list[Row], low: int = -1, high: int = 10**9) -> type[CordilleraError] | None:
        staying = {key: row for key, row in state.rows.items() if not low <= key <= high}
        state.rows = staying | {row[ID]: row for row in rows}
        return None

    def replace_partitions(self, state: State, rows: list[Row]) -> type[CordilleraError] | None:
        if not self.terms:
            return NotAllowedError
        wanted = {self.partition(row) for row in rows}
        staying = {key: row for key, row in state.rows.items() if self.partition(row) not in wanted}
        if any(row[ID] in staying for row in rows):
            return DuplicateKeyError
        state.rows = staying | {row[ID]: row for row in rows}
        return None

    def merge(self, state: State, rows: list[Row]) -> None:
        """When matched and the stored place is s: delete; when matched: take the place; else insert."""
        for row in rows:
            stored = state.rows.get(row[ID])
            if stored is None:
                state.rows[row[ID]] = row
            elif stored.get(PLACE) == "s":
                del state.rows[row[ID]]
            else:
                state.rows[row[ID]] = {**stored, PLACE: row[PLACE]}
