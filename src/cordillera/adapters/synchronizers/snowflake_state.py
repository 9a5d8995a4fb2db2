"""What a Snowflake target remembers of a subscription: one row, in a small table of the subscription's own.

A table for each subscription, because a transaction locks what it updates until it ends, often the whole table: in one
that all share, deliveries would wait for each other. Every change of the row counts its revision on, and happens only
if nobody else has changed it since it was read. A change in the transaction of a delivery thereby keeps all others out
until that ends; one before a statement of DDL, which commits by itself, keeps out whoever read the row before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from cordillera.adapters.synchronizers import snowflake_table_statements as statements
from cordillera.adapters.synchronizers.columns import columns_from_json, columns_to_json, key_field_ids
from cordillera.adapters.synchronizers.deliveries import OWN_PREFIX, StoredState
from cordillera.adapters.synchronizers.snowflake_session import LOCK_TIMEOUT_S, RefusedError, Session
from cordillera.adapters.synchronizers.snowflake_table_statements import TableName
from cordillera.errors import TargetUnreachableError
from cordillera.ports.synchronizer import Cursor, TargetTable
from cordillera.spec.external_schema import literal

MISSING = 2003
"""Snowflake's error: there is no such thing, or not for the role that asks."""
_LOOK_S = 0.25


class Phase(StrEnum):
    """How far a change of a table has got that takes several statements."""

    MAKE = "make"
    """A new table is being made under a name of its own, with all of its rows."""
    SWAP = "swap"
    """It is whole, and may take the name of the table at any moment."""
    CLEAR = "clear"
    """Columns that go are being dropped, and those that get other names moved to names that nobody has."""
    SETTLE = "settle"
    """All of these are out of the way: columns are getting their names and types, and new ones are added."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a table that has begun.

    Attributes:
        phase: How far it has got, at least.
        state: What it leads to.
        mark: Of the table; a new one for one that is being made.
    """

    phase: Phase
    state: StoredState
    mark: str

    @property
    def makes(self) -> bool:
        """Whether a new table is to take the name."""
        return self.phase in (Phase.MAKE, Phase.SWAP)


@dataclass(frozen=True, slots=True)
class Held:
    """What is stored of a subscription.

    Attributes:
        revision: How often it has been changed.
        state: How far the table has followed, and the columns it was left with; None before the first delivery.
        mark: What the table's comment says; empty before.
        change: What has begun, and may have to be gone on with. If it is a new table that has taken the name, state and
            mark are that table's already.
    """

    revision: int
    state: StoredState | None = None
    mark: str = ""
    change: Change | None = None

    @property
    def awaits(self) -> bool:
        """Whether a new table is being made, and has not taken the name yet."""
        return self.change is not None and self.change.makes and self.change.mark != self.mark


@dataclass(frozen=True, slots=True)
class States:
    """The row of a subscription, seen by a connection.

    Attributes:
        session: The connection.
        table: The table with that row.
        kept: The name of the table that the subscription keeps, as errors spell it.
    """

    session: Session
    table: TableName
    kept: str

    def read(self) -> Held | None:
        """Return what is stored; None if nothing ever was."""
        try:
            rows = self.session.rows(f"SELECT * FROM {self.table.sql}")
        except RefusedError as refused:
            if refused.number == MISSING:
                return None
            raise
        row = rows[0]
        content, name, revision = json.loads(row["content"]), row["table_name"], int(row["revision"])
        begun = content["change"]
        change = begun and Change(Phase(begun["phase"]), _state(name, begun["cursor"], begun), begun["mark"])
        if change is not None and change.phase is Phase.SWAP:
            found = kind_and_mark(self.session, self._locate(name))
            if found is not None and found[1] == change.mark:  # rows and cursor have appeared together
                return Held(revision, change.state, change.mark, change)
        if row["sequence_number"] is None:
            return Held(revision, None, "", change)
        state = _state(name, (row["sequence_number"], row["schema_id"]), content)
        return Held(revision, state, content["mark"], change)

    def prepare(self) -> Held:
        """Make sure that there is a row, and return what is stored."""
        nothing = json.dumps({**_content(None, ""), "change": None})
        self.session.run(
            f'CREATE TABLE IF NOT EXISTS {self.table.sql} AS SELECT {literal(self.kept)}::VARCHAR AS "table_name", '
            'NULL::NUMBER(38,0) AS "sequence_number", NULL::NUMBER(38,0) AS "schema_id", '
            f'0::NUMBER(38,0) AS "revision", {literal(nothing)}::VARCHAR AS "content"'
        )
        return self.read() or Held(0)

    def write(self, before: Held, after: Held) -> Held | None:
        """Change what is stored, in the transaction that is open or by itself.

        Returns:
            What is stored then; None, and nothing has been changed, if others have changed it since.
        """
        state, change = after.state, after.change
        named = state if change is None else change.state
        content = {**_content(state, after.mark), "change": None}
        if change is not None:
            cursor = [change.state.cursor.sequence_number, change.state.cursor.schema_id]
            content["change"] = {"phase": change.phase, "cursor": cursor, **_content(change.state, change.mark)}
        changed = self.session.run(
            f'UPDATE {self.table.sql} SET "table_name" = ?, "sequence_number" = ?, "schema_id" = ?, "content" = ?, '
            '"revision" = "revision" + 1 WHERE "revision" = ?',
            self.kept if named is None else named.table_name,
            None if state is None else state.cursor.sequence_number,
            None if state is None else state.cursor.schema_id,
            json.dumps(content),
            before.revision,
        )
        return replace(after, revision=before.revision + 1) if changed else None

    def _locate(self, table_name: str) -> TableName:
        schema, _, name = table_name.partition(".")
        return TableName(self.table.database, schema, name)

    # --- tables that are made anew ------------------------------------------------------------------------------------

    def aside(self, table: TableName, mark: str) -> TableName:
        """Return the name under which a new table is made that is to take the name of ``table``."""
        return table.beside(f"{self.table.name}_{mark}")

    def sweep(self, table: TableName) -> None:
        """Remove what was made to take the name of ``table`` and does not have it, and what had it before."""
        for row in self.session.rows(statements.found_tables(table), table.schema, f"{self.table.name}_"):
            self.session.run(statements.drop(table.beside(row["name"])))

    def follow(self, held: Held) -> Held:
        """Wait until another worker's new table has the name, or something else has changed.

        Returns:
            What is stored then.

        Raises:
            TargetUnreachableError: If it takes as long as a lock is waited for.
        """
        if not held.awaits:
            return self.end(held) or self.prepare()
        for _ in range(int(LOCK_TIMEOUT_S / _LOOK_S)):
            time.sleep(_LOOK_S)
            now = self.read() or self.prepare()
            if now != held:
                return now
        raise TargetUnreachableError(
            f"{self.session.account}: another worker is making the table {self.kept} anew.",
            hint="The delivery is repeated.",
        )

    def end(self, held: Held) -> Held | None:
        """End the making of a new table: it has taken the name, or never will.

        Who makes it, and lives, finds another revision before the table may take the name, or finds it gone.

        Returns:
            What is stored then; None if others have changed it.
        """
        begun = held.change
        if begun is None or not begun.makes:
            return held
        stopped: Held | None = held
        if begun.phase is Phase.MAKE:
            stopped = self.write(held, replace(held, change=replace(begun, phase=Phase.SWAP)))
        if stopped is None:
            return None
        self.sweep(self._locate(begun.state.table_name))
        found = self.read()
        if found is None or found.revision != stopped.revision:
            return None
        return self.write(found, replace(found, change=None))


def state_table(database: str, schema: str, subscription_id: UUID) -> TableName:
    """Return the table of a subscription's state."""
    return TableName(database, schema, f"{OWN_PREFIX}{subscription_id.hex}")


def next_state(table: TableName, wanted: TargetTable, cursor: Cursor) -> StoredState:
    """Return what is remembered of a table that has got its columns."""
    return StoredState(str(table), cursor, wanted.columns, key_field_ids(wanted))


def _content(state: StoredState | None, mark: str) -> dict[str, Any]:
    if state is None:
        return {"columns": [], "key": [], "mark": mark}
    return {"columns": columns_to_json(state.columns), "key": state.key, "mark": mark}


def _state(table_name: str, cursor: Sequence[Any], content: dict[str, Any]) -> StoredState:
    columns, key = columns_from_json(content["columns"]), tuple(content["key"])
    return StoredState(table_name, Cursor(int(cursor[0]), int(cursor[1])), columns, key)


def kind_and_mark(session: Session, table: TableName) -> tuple[str, str | None] | None:
    """Return what has a name, such as ``BASE TABLE``, and the mark that it bears; None if nothing has the name."""
    found = session.rows(statements.found_table(table), table.schema, table.name)
    return (str(found[0]["kind"]), statements.mark_in(found[0]["comment"] or "")) if found else None
