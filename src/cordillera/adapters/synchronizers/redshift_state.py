"""What an Amazon Redshift target remembers of a subscription, in a small table of the subscription's own.

A table for each subscription, because Redshift locks whole tables and finds conflicts between whole tables: in one that
all share, deliveries would wait for each other, and fail one another. To lock it is to be the only one who delivers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from cordillera.adapters.synchronizers.columns import columns_from_json, columns_to_json, key_field_ids
from cordillera.adapters.synchronizers.deliveries import OWN_PREFIX, StoredState
from cordillera.adapters.synchronizers.redshift_session import Session
from cordillera.adapters.synchronizers.redshift_statements import EXISTS, TableName
from cordillera.errors import DuplicateKeyError, TargetDriftError
from cordillera.ports.synchronizer import Cursor, TargetTable

LOCK_TIMEOUT_MS = 30_000
_PART = 16_000  # characters, of up to four bytes


def state_table(schema: str, subscription_id: UUID) -> TableName:
    """Return the table of a subscription's state."""
    return TableName(schema, f"{OWN_PREFIX}{subscription_id.hex}")


def prepare(session: Session, table: TableName) -> None:
    """Make sure that a state table is there, in a transaction of its own."""
    with session.transaction():
        if exists(session, table):
            return
    try:
        with session.transaction():
            session.run(
                f"CREATE TABLE {table.sql} (table_name VARCHAR(300) NOT NULL, sequence_number BIGINT NOT NULL, "
                "schema_id INTEGER NOT NULL, part INTEGER NOT NULL, content VARCHAR(65535) NOT NULL) DISTSTYLE ALL"
            )
    except (TargetDriftError, DuplicateKeyError):
        with session.transaction():
            if not exists(session, table):  # else another worker made it at this moment
                raise


def lock(session: Session, table: TableName) -> None:
    """Wait until nobody else delivers, as the first thing of a transaction: what is read from then on is the latest."""
    with _impatient(session):
        session.run(f"LOCK TABLE {table.sql}")


def read(session: Session, table: TableName) -> StoredState | None:
    """Return what is stored; None where nothing is. Waits for whoever delivers, but not for long."""
    if not exists(session, table):
        return None
    with _impatient(session):
        return read_locked(session, table)


def read_locked(session: Session, table: TableName) -> StoredState | None:
    """Return what is stored in a table that is there, and that nobody else has locked."""
    rows = session.rows(f"SELECT table_name, sequence_number, schema_id, content FROM {table.sql} ORDER BY part")
    if not rows:
        return None
    name, sequence_number, schema_id, _ = rows[0]
    content = json.loads("".join(row[3] for row in rows))
    cursor = Cursor(sequence_number, schema_id)
    return StoredState(name, cursor, columns_from_json(content["columns"]), tuple(content["key"]))


def write(session: Session, state: TableName, name: TableName, kept: TargetTable, cursor: Cursor) -> None:
    """Store how far a table has followed, and the columns it was left with."""
    content = json.dumps({"columns": columns_to_json(kept.columns), "key": key_field_ids(kept)})
    session.run(f"DELETE FROM {state.sql}")
    for part, start in enumerate(range(0, len(content), _PART)):
        session.run(
            f"INSERT INTO {state.sql} VALUES (?, ?, ?, ?, ?)",
            [str(name), cursor.sequence_number, cursor.schema_id, part, content[start : start + _PART]],
        )


@contextmanager
def _impatient(session: Session) -> Iterator[None]:
    """Let a statement of the block fail that waits long for a lock."""
    session.run(f"SET statement_timeout TO {LOCK_TIMEOUT_MS}")
    yield
    session.run("RESET statement_timeout")


def exists(session: Session, table: TableName) -> bool:
    """Tell whether there is a relation of that name."""
    return bool(session.rows(EXISTS, [table.schema, table.name])[0][0])
