"""What a Snowflake target remembers of a subscription: one row, in a small table of the subscription's own.

A table for each subscription, because a transaction locks what it updates until it ends, often the whole table: in one
that all share, deliveries would wait for each other. Every change of the row counts its revision on, and happens only
if nobody else has changed it since it was read. A change in the transaction of a delivery thereby keeps all others out
until that ends; one before a statement of DDL, which commits by itself, keeps out whoever read the row before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from cordillera.adapters.synchronizers import snowflake_table_statements as statements
from cordillera.adapters.synchronizers.columns import columns_from_json, columns_to_json, key_field_ids
from cordillera.adapters.synchronizers.deliveries import OWN_PREFIX, StoredState
from cordillera.adapters.synchronizers.snowflake_session import RefusedError, Session
from cordillera.adapters.synchronizers.snowflake_table_statements import TableName
from cordillera.ports.synchronizer import Cursor, TargetColumn, TargetTable
from cordillera.spec.external_schema import literal

EXISTS, MISSING = 2002, 2003
"""Snowflake's errors: something is called so already; there is no such thing, or not for the role that asks."""


class Phase(StrEnum):
    """How far a change of a table has got that takes several statements."""

    MAKE = "make"
    """The table is being made, empty, perhaps in the place of another."""
    CLEAR = "clear"
    """Columns that go are being dropped, and those that get other names moved to names that nobody has."""
    SETTLE = "settle"
    """All of these are out of the way: columns are getting their names and types, and new ones are added."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a table that has begun.

    Attributes:
        phase: How far it has got, at least.
        columns: Those it leads to.
        key: The field ids of the key.
        mark: Of the table; a new one for one that is being made.
    """

    phase: Phase
    columns: tuple[TargetColumn, ...]
    key: tuple[int, ...]
    mark: str


@dataclass(frozen=True, slots=True)
class Held:
    """What is stored of a subscription.

    Attributes:
        revision: How often it has been changed.
        state: How far the table has followed, and the columns it was left with; None before the first delivery.
        mark: What the table's comment says; empty before.
        change: What has begun, and may have to be gone on with.
    """

    revision: int
    state: StoredState | None = None
    mark: str = ""
    change: Change | None = None


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
        content = json.loads(row["content"])
        change = content["change"] and Change(Phase(content["change"]["phase"]), *_shape(content["change"]))
        if row["sequence_number"] is None:
            return Held(int(row["revision"]), None, "", change)
        columns, key, mark = _shape(content)
        cursor = Cursor(int(row["sequence_number"]), int(row["schema_id"]))
        return Held(int(row["revision"]), StoredState(row["table_name"], cursor, columns, key), mark, change)

    def prepare(self) -> Held:
        """Make sure that there is a row, and return what is stored."""
        nothing = json.dumps({**_content((), (), ""), "change": None})
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
        state = after.state
        content: dict[str, Any] = _content((), (), "")
        if state is not None:
            content = _content(state.columns, state.key, after.mark)
        change = after.change
        content["change"] = change and {"phase": change.phase, **_content(change.columns, change.key, change.mark)}
        changed = self.session.run(
            f'UPDATE {self.table.sql} SET "table_name" = ?, "sequence_number" = ?, "schema_id" = ?, "content" = ?, '
            '"revision" = "revision" + 1 WHERE "revision" = ?',
            self.kept,
            None if state is None else state.cursor.sequence_number,
            None if state is None else state.cursor.schema_id,
            json.dumps(content),
            before.revision,
        )
        return replace(after, revision=before.revision + 1) if changed else None


def state_table(database: str, schema: str, subscription_id: UUID) -> TableName:
    """Return the table of a subscription's state."""
    return TableName(database, schema, f"{OWN_PREFIX}{subscription_id.hex}")


def next_state(table: TableName, wanted: TargetTable, cursor: Cursor) -> StoredState:
    """Return what is remembered of a table that has got its columns."""
    return StoredState(str(table), cursor, wanted.columns, key_field_ids(wanted))


def _content(columns: tuple[TargetColumn, ...], key: tuple[int, ...], mark: str) -> dict[str, Any]:
    return {"columns": columns_to_json(columns), "key": key, "mark": mark}


def _shape(content: dict[str, Any]) -> tuple[tuple[TargetColumn, ...], tuple[int, ...], str]:
    return columns_from_json(content["columns"]), tuple(content["key"]), content["mark"]


def kind_and_mark(session: Session, table: TableName) -> tuple[str, str | None] | None:
    """Return what has a name, such as ``BASE TABLE``, and the mark that it bears; None if nothing has the name."""
    found = session.rows(statements.found_table(table), table.schema, table.name)
    return (str(found[0]["kind"]), statements.mark_in(found[0]["comment"] or "")) if found else None
