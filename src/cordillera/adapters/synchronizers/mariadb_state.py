"""What a MariaDB target remembers of subscriptions: how far each table has followed, by the mark in its comment.

DDL commits by itself, so a change of columns and the cursor cannot be one transaction. But one statement can change the
columns and the comment, or give another table the name, and what is stored under a mark holds from the moment at which
the table has that mark. So it is written before, and the two take effect at once. Rows alone need none of that: they
and the cursor are one transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID

from cordillera.adapters.synchronizers import mariadb_statements as statements
from cordillera.adapters.synchronizers.columns import columns_from_json, columns_to_json
from cordillera.adapters.synchronizers.deliveries import CURSOR_TABLE, OWN_PREFIX, StoredState
from cordillera.adapters.synchronizers.mariadb_session import Session
from cordillera.adapters.synchronizers.mariadb_statements import MARK, TableName
from cordillera.errors import TargetUnreachableError
from cordillera.ports.synchronizer import Cursor

_CREATE = """CREATE TABLE IF NOT EXISTS {} (
    subscription_id CHAR(36) NOT NULL, mark CHAR(32) NOT NULL, settled BOOLEAN NOT NULL,
    database_name VARCHAR(64) NOT NULL, table_name VARCHAR(64) NOT NULL,
    sequence_number BIGINT NOT NULL, schema_id INT NOT NULL, content LONGTEXT NOT NULL, applied_at DATETIME(6) NOT NULL,
    PRIMARY KEY (subscription_id, mark))
    ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"""


@dataclass(frozen=True, slots=True)
class Held:
    """What is stored of a subscription: how far it has followed, and the mark that this is stored under."""

    state: StoredState
    mark: str


@dataclass(frozen=True, slots=True)
class States:
    """The table of states, seen by a connection."""

    session: Session
    database: str

    @property
    def _table(self) -> TableName:
        return TableName(self.database, CURSOR_TABLE)

    @property
    def _sql(self) -> str:
        return self._table.sql.replace("%", "%%")

    def prepare(self) -> None:
        """Make sure that the table of states is there."""
        if kind_of(self.session, self._table) is None:
            self.session.run(_CREATE.format(self._table.sql))

    def read(self, subscription_id: UUID) -> Held | None:
        """Return what is stored of a subscription; None where nothing is that ever held.

        If the table that has the name bears no mark that anything is stored under, it is what held last.
        """
        if kind_of(self.session, self._table) is None:
            return None
        rows = self.session.rows(
            f"""SELECT mark, settled, database_name, table_name, sequence_number, schema_id, content
                FROM {self._sql} WHERE subscription_id = %s""",
            [str(subscription_id)],
        )
        settled = [row for row in rows if row[1] == "1"]
        if len(rows) > len(settled):  # somebody has begun to change it
            live = mark_of(self.session, TableName(rows[0][2], rows[0][3]))
            settled = [row for row in rows if row[0] == live] or settled
        if not settled:
            return None
        mark, _, database, name, sequence_number, schema_id, content = settled[0]
        told, cursor = json.loads(content), Cursor(int(sequence_number), int(schema_id))
        columns = columns_from_json(told["columns"])
        return Held(StoredState(str(TableName(database, name)), cursor, columns, tuple(told["key"])), mark)

    def announce(
        self, subscription_id: UUID, mark: str, table: TableName, state: StoredState, held: Held | None
    ) -> None:
        """Write down what is to hold once the table has a mark; what others began that came to nothing goes."""
        kept = held.mark if held else ""
        with self.session.transaction():
            self._forget(subscription_id, kept)
            self.session.run(
                f"INSERT INTO {self._sql} VALUES (%s, %s, FALSE, %s, %s, %s, %s, %s, UTC_TIMESTAMP(6))",
                [
                    str(subscription_id), mark, table.database, table.name, state.cursor.sequence_number,
                    state.cursor.schema_id, _content(state),
                ],
            )  # fmt: skip

    def lock(self, subscription_id: UUID, mark: str, cursor: Cursor) -> None:
        """Keep others from moving a cursor until the transaction ends, having seen that it is where it was.

        Raises:
            TargetUnreachableError: If it is not: another worker, whose lock was lost, has delivered.
        """
        found = self.session.rows(
            f"""SELECT sequence_number, schema_id FROM {self._sql} WHERE subscription_id = %s AND mark = %s
                FOR UPDATE""",
            [str(subscription_id), mark],
        )
        if [(int(sequence), int(schema)) for sequence, schema in found] != [(cursor.sequence_number, cursor.schema_id)]:
            raise TargetUnreachableError(
                f"{self.session.target}: another worker delivers for the subscription {subscription_id}.",
                hint="Try again later.",
            )

    def settle(self, subscription_id: UUID, mark: str, state: StoredState) -> None:
        """Store what holds under the mark that the table has, in the transaction that is open."""
        self.session.run(
            f"""UPDATE {self._sql} SET settled = TRUE, sequence_number = %s, schema_id = %s, content = %s,
                applied_at = UTC_TIMESTAMP(6) WHERE subscription_id = %s AND mark = %s""",
            [state.cursor.sequence_number, state.cursor.schema_id, _content(state), str(subscription_id), mark],
        )
        self._forget(subscription_id, mark)

    def forget(self, subscription_id: UUID) -> None:
        """Remove all that is stored of a subscription."""
        self._forget(subscription_id, "")

    def _forget(self, subscription_id: UUID, kept: str) -> None:
        self.session.run(
            f"DELETE FROM {self._sql} WHERE subscription_id = %s AND mark <> %s", [str(subscription_id), kept]
        )


def _content(state: StoredState) -> str:
    return json.dumps({"columns": columns_to_json(state.columns), "key": state.key})


def kind_of(session: Session, table: TableName) -> str | None:
    """Return what has a name, such as ``BASE TABLE``; None if nothing has it."""
    found = session.rows(statements.KIND, [table.database, table.name])
    return str(found[0][0]) if found else None


def mark_of(session: Session, table: TableName) -> str:
    """Return the mark of the table that has a name, empty if it has none."""
    found = session.rows(statements.KIND, [table.database, table.name])
    comment = str(found[0][1]) if found else ""
    return comment.removeprefix(MARK) if comment.startswith(MARK) else ""


def own_name(subscription_id: UUID) -> str:
    """Return what the names of tables begin with that deliveries make for themselves."""
    return f"{OWN_PREFIX}{subscription_id.hex}_"


def own_tables(session: Session, database: str, subscription_id: UUID) -> list[TableName]:
    """Return the tables that deliveries have made for themselves, and left behind if none is under way."""
    prefix = own_name(subscription_id)
    return [
        TableName(database, name) for (name,) in session.rows(statements.BEGINNING_WITH, [database, prefix, prefix])
    ]
