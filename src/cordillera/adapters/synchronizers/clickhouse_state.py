"""What a ClickHouse target remembers of subscriptions: how far each table has followed, by the table's UUID.

What is stored for a table holds from the moment at which that table has the name the subscription keeps. So it can be
written before the table takes the name, and the two appear at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pyarrow as pa

from cordillera.adapters.synchronizers import clickhouse_statements as statements
from cordillera.adapters.synchronizers.clickhouse_session import Session
from cordillera.adapters.synchronizers.clickhouse_statements import TableName
from cordillera.adapters.synchronizers.columns import columns_from_json, columns_to_json
from cordillera.adapters.synchronizers.deliveries import CURSOR_TABLE, OWN_PREFIX, StoredState
from cordillera.ports.synchronizer import Cursor

_SCHEMA = pa.schema(
    [
        ("subscription_id", pa.binary(16)),
        ("table_uuid", pa.binary(16)),
        ("database", pa.string()),
        ("name", pa.string()),
        ("sequence_number", pa.int64()),
        ("schema_id", pa.int32()),
        ("content", pa.string()),
    ]
)
_GONE = "_gone"
_CREATE = """CREATE TABLE IF NOT EXISTS {} (subscription_id UUID, table_uuid UUID, database String, name String,
    sequence_number Int64, schema_id Int32, content String)
    ENGINE = MergeTree ORDER BY subscription_id"""


@dataclass(frozen=True, slots=True)
class Held:
    """What is stored of a subscription.

    Attributes:
        state: How far it has followed.
        table_uuid: The table that this is stored of.
        known: All tables that something is stored of: the kept one, others that had its name or were to have it.
    """

    state: StoredState
    table_uuid: UUID
    known: tuple[UUID, ...]


def state_table(database: str) -> TableName:
    """Return the table of states."""
    return TableName(database, CURSOR_TABLE)


def uuid_of(session: Session, table: TableName) -> UUID | None:
    """Return the UUID of the table that has a name, None if there is none."""
    found = session.rows(statements.UUID_OF, {"database": table.database, "name": table.name})
    return found[0][0] if found else None


def read(session: Session, table: TableName, subscription_id: UUID) -> Held | None:
    """Return what is stored of a subscription; None where nothing is that ever held.

    If the table that has the name is none that anything is stored of, it is what is stored of the latest that somebody
    else has removed. Because tables take each other's names meanwhile, that has to be found twice.
    """
    if uuid_of(session, table) is None:
        return None
    query = f"""SELECT table_uuid, database, name, sequence_number, schema_id, content FROM {table.sql}
        WHERE subscription_id = {{id:UUID}} ORDER BY sequence_number DESC, schema_id DESC"""
    before = None
    while rows := session.rows(query, {"id": str(subscription_id)}):
        live = uuid_of(session, TableName(rows[0][1], rows[0][2]))
        found = [row for row in rows if row[0] == live]
        if not found and rows == before:
            made = {uuid_of(session, one) for one in own_tables(session, rows[0][1], subscription_id)}
            found = [row for row in rows if row[0] not in made]
            if not found:
                return None
        if found:
            return _held(found[0], tuple(row[0] for row in rows))
        before = rows
    return None


def own_tables(session: Session, database: str, subscription_id: UUID) -> list[TableName]:
    """Return the tables that attempts to deliver have made for themselves."""
    parameters = {"database": database, "prefix": own_name(subscription_id)}
    return [TableName(database, row[0]) for row in session.rows(statements.BEGINNING_WITH, parameters)]


def own_name(subscription_id: UUID) -> str:
    """Return what the names of such tables begin with."""
    return f"{OWN_PREFIX}{subscription_id.hex}_"


def bury(session: Session, states: TableName, subscription_id: UUID, table: TableName) -> None:
    """Remove a table that an attempt has made, and what is stored of it, since it never took the name.

    It is renamed first: from then on nobody can let it take the name, and what is stored of it can go. If that were to
    stay, or to go before, it would be wrong about a table that is gone, or missing of one that took the name.
    """
    grave = table if table.name.endswith(_GONE) else table.beside(f"{table.name}{_GONE}")
    if grave != table:
        session.run(statements.rename(table, grave))
    buried = uuid_of(session, grave)
    if buried is not None:
        forget(session, states, subscription_id, [buried])
    session.run(statements.drop(grave, at_once=True))


def _held(row: Sequence[object], known: tuple[UUID, ...]) -> Held:
    table_uuid, database, name, sequence_number, schema_id, content = row
    assert isinstance(table_uuid, UUID)
    assert isinstance(sequence_number, int)
    assert isinstance(schema_id, int)
    told = json.loads(str(content))
    cursor, kept = Cursor(sequence_number, schema_id), TableName(str(database), str(name))
    return Held(
        StoredState(str(kept), cursor, columns_from_json(told["columns"]), tuple(told["key"])), table_uuid, known
    )


def prepare(session: Session, table: TableName) -> None:
    """Make sure that the table of states is there."""
    session.run(_CREATE.format(table.sql))


def write(
    session: Session,
    table: TableName,
    subscription_id: UUID,
    kept: TableName,
    table_uuid: UUID,
    next_state: StoredState,
) -> None:
    """Store what is to hold once a table has the name that the subscription keeps."""
    content = json.dumps({"columns": columns_to_json(next_state.columns), "key": next_state.key})
    row = {
        "subscription_id": subscription_id.bytes,
        "table_uuid": table_uuid.bytes,
        "database": kept.database,
        "name": kept.name,
        "sequence_number": next_state.cursor.sequence_number,
        "schema_id": next_state.cursor.schema_id,
        "content": content,
    }
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist([row], schema=_SCHEMA))
    session.insert(statements.insertion(table, _SCHEMA.names), [sink.getvalue().to_pybytes()])


def forget(session: Session, table: TableName, subscription_id: UUID, gone: Sequence[UUID]) -> None:
    """Remove what is stored of tables that are gone."""
    if gone:
        session.run(
            f"DELETE FROM {table.sql} WHERE subscription_id = toUUID('{subscription_id}') "
            f"AND table_uuid IN ({statements.uuids(gone)})"
        )
