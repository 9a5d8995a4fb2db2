"""Keeps tables of a PostgreSQL database (14 or newer) equal with datasets.

Every delivery is one transaction: schema changes, rows, and the row of ``_cordillera_cursors`` that says how far the
table has followed. An advisory lock on the subscription makes a second worker wait, and then find the delivery applied.
Rows stream through COPY, in its binary format, into a temporary table and are merged from there; a first delivery is
copied into the table itself. The next batch is read and encoded while the server stores one. Readers see the table as
it was until the transaction ends. They wait only where columns change, from the ALTER TABLE to the end of the
transaction, and that is after all rows have arrived; widening a column rewrites the table.

How values are kept; each comes back exactly:

    ==================================  ============================================================================
    boolean; int, long                  boolean; integer, bigint
    float, double                       real, double precision; NaN, infinities and -0.0 included
    decimal(P, S)                       numeric(P,S)
    date, time                          date, time; PostgreSQL's begin in November of 4714 BC
    timestamp, timestamptz              timestamp, timestamptz, to the microsecond; finer ones are refused
    string                              text; a NUL character (U+0000) is refused
    uuid; binary, fixed                 uuid; bytea
    struct, list, map                   jsonb; see ``text`` for the JSON, and for the values it refuses
    ==================================  ============================================================================

Key columns are the primary key. The order of columns is left as it is. A column's documentation becomes its comment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pyarrow as pa
from psycopg import IsolationLevel, conninfo, sql
from psycopg.types.json import Jsonb

from cordillera.adapters.synchronizers import postgres_checksums
from cordillera.adapters.synchronizers import postgres_tables as tables
from cordillera.adapters.synchronizers.columns import (
    columns_from_json,
    columns_to_json,
    key_field_ids,
)
from cordillera.adapters.synchronizers.deliveries import (
    CURSOR_TABLE,
    StoredState,
    check_kept_table,
    check_table,
    delete_batches,
    ending_batches,
    evolution_to,
    is_due,
    read_columns,
    restores,
    upsert_batches,
)
from cordillera.adapters.synchronizers.postgres_connection import ALIVE, connect
from cordillera.adapters.synchronizers.postgres_errors import connection_error, translated
from cordillera.adapters.synchronizers.postgres_rows import read_batches
from cordillera.adapters.synchronizers.postgres_tables import Connection, TableName
from cordillera.errors import InvalidConfigurationError, TargetDriftError
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetColumn, TargetTable

MINIMUM_SERVER_VERSION = 140000
LOCK_TIMEOUT_MS = 30_000
_SETTINGS = f"""
    SELECT set_config('search_path', 'pg_catalog, pg_temp', true), set_config('TimeZone', 'UTC', true),
           set_config('DateStyle', 'ISO', true), set_config('extra_float_digits', '3', true),
           set_config('lock_timeout', '{LOCK_TIMEOUT_MS}', true)"""


class PostgresSynchronizer:
    """Keeps tables in one schema (or in the schema a table's name says) of a PostgreSQL database.

    Every operation opens a connection of its own, so one object may be used by many threads.

    Args:
        dsn: libpq connection string or URI.
        schema: Where tables without a schema in their name live, and the table of cursors. It has to exist.
        password: The password, or what returns it when a connection is opened; None if the connection needs none.

    Raises:
        InvalidConfigurationError: If the connection string cannot be read.
        InvalidNameError: If the schema's name cannot be one.
    """

    def __init__(self, dsn: str, *, schema: str = "public", password: str | Callable[[], str] | None = None) -> None:
        try:
            parameters = conninfo.conninfo_to_dict(dsn)
        except psycopg.Error:
            # Without the cause: libpq quotes the string, which may hold a password.
            raise InvalidConfigurationError(
                "The connection string of the PostgreSQL target cannot be read.",
                hint="Write it as postgresql://user@host:5432/database or host=… dbname=… user=….",
            ) from None
        self._password = password
        self._schema = tables.check_identifier(schema, "schema")
        self._cursors = TableName(schema, CURSOR_TABLE)
        place = "/".join(str(parameters[part]) for part in ("host", "dbname") if parameters.get(part))
        self._target = f"PostgreSQL target {place or 'at the default address'}"
        defaults: dict[str, str | int] = {**ALIVE, "application_name": "cordillera"}
        for name, value in defaults.items():
            parameters.setdefault(name, value)
        parameters["client_encoding"] = "UTF8"
        self._dsn = conninfo.make_conninfo("", **parameters)

    def __repr__(self) -> str:
        return f"<PostgresSynchronizer: {self._target}, schema {self._schema}>"

    @property
    def capabilities(self) -> Capabilities:
        """Transactional, with every schema change; also of fields inside structs."""
        return Capabilities(True, frozenset({"add", "rename", "widen", "drop", "optional"}), history=True)

    def check(self) -> None:
        """Connect and make sure that tables could be created, changing nothing."""
        with self._transaction() as connection:
            found = connection.execute(
                """SELECT has_schema_privilege(oid, 'CREATE'), pg_is_in_recovery(),
                          has_database_privilege(current_database(), 'TEMPORARY')
                   FROM pg_namespace WHERE nspname = %s""",
                [self._schema],
            ).fetchone()
        if found is None:
            problem, hint = f"there is no schema {self._schema!r}", f'Create it: CREATE SCHEMA "{self._schema}".'
        else:
            may_create, is_standby, may_stage = found
            if is_standby:
                problem, hint = "the server is a read-only standby", "Name the primary server."
            elif not may_create:
                problem, hint = f"the user may not create tables in schema {self._schema!r}", "GRANT USAGE, CREATE."
            elif not may_stage:
                problem, hint = "the user may not create temporary tables", "GRANT TEMPORARY ON DATABASE."
            else:
                return
        raise InvalidConfigurationError(f"{self._target}: {problem}.", hint=hint)

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor stored in the target, or None before the first delivery."""
        with self._transaction() as connection:
            stored = self._stored(connection, subscription_id)
            return stored.cursor if stored else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Apply a delivery exactly once, all of it or nothing; see the port."""
        check_table(delivery.table)
        table = tables.locate(delivery.table, self._schema)
        with self._connection() as connection:
            self._prepare(connection)
            with _transaction_of(connection):
                stored = self._lock(connection, delivery.subscription_id)
                if not is_due(stored, delivery, str(table)):
                    return DeliveryResult(0, 0, already_applied=True)
                if stored is None:
                    result = _first(connection, table, delivery)
                else:
                    result = _next(connection, table, stored, delivery)
                self._store(connection, table, delivery)
        return result

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the table's rows; the connection is held until the stream ends or is closed."""
        check_table(table)
        wanted = read_columns(table, columns)
        located = tables.locate(table, self._schema)
        with self._transaction() as connection:
            tables.check_present(connection, located, wanted)
            if columns is None:  # a table that is to be as it should in all
                tables.check_takes_rows(connection, located, wanted)
        return self._reader(located, wanted, tables.held(table))

    def checksums(self, table: TargetTable, buckets: int) -> pa.Table | None:
        """Return sums of digests that the server computes; None for tables with nested columns."""
        check_table(table)
        located, compared = tables.locate(table, self._schema), table.compared()
        with self._transaction() as connection:
            tables.check_present(connection, located, table.columns, keyed=bool(table.key))
            tables.check_takes_rows(connection, located, table.columns)
            if not postgres_checksums.computable(connection, compared.columns):
                return None
            return postgres_checksums.sums(connection, located, compared, buckets)

    def read_buckets(self, table: TargetTable, buckets: int, chosen: Sequence[int]) -> pa.RecordBatchReader:
        """Stream the rows of some buckets, which the server picks."""
        located, compared = tables.locate(table, self._schema), table.compared()
        bucket = postgres_checksums.bucket(read_columns(compared, compared.key), buckets)
        condition = sql.SQL("{} AND {} = ANY({})").format(tables.held(table), bucket, sql.Literal(list(chosen)))
        return self._reader(located, compared.columns, condition)

    def count_unsound(self, table: TargetTable) -> int:
        """Return how many rows of a history have times that cannot be, as the server finds."""
        located = tables.locate(table, self._schema)
        with self._transaction() as connection:
            tables.check_present(connection, located, table.columns)
            return tables.count_unsound(connection, located, table.key[:-1])

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Remove the subscription's cursor and, unless ``keep_rows``, the table it kept."""
        located = tables.locate(table, self._schema)
        with self._transaction() as connection:
            stored = self._lock(connection, subscription_id)
            if stored is None:
                return
            check_kept_table(stored, subscription_id, str(located))
            forget = sql.SQL("DELETE FROM {} WHERE subscription_id = %s").format(self._cursors.sql)
            connection.execute(forget, [subscription_id])
            if not keep_rows:
                tables.drop(connection, located)

    def close(self) -> None:
        """Do nothing: no operation leaves a connection behind."""

    # --- connections ------------------------------------------------------------------------------------------------

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        password = self._password() if callable(self._password) else self._password
        dsn = self._dsn if password is None else conninfo.make_conninfo(self._dsn, password=password)
        try:
            connection = connect(dsn)
        except psycopg.Error as error:
            raise connection_error(error, self._target) from None
        with translated(self._target):
            try:
                if connection.info.server_version < MINIMUM_SERVER_VERSION:
                    raise InvalidConfigurationError(f"{self._target} is older than PostgreSQL 14.")
                # Under stricter levels, what is read after waiting for a lock would be from before the wait.
                connection.isolation_level = IsolationLevel.READ_COMMITTED
                yield connection
            finally:
                connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._connection() as connection, _transaction_of(connection):
            yield connection

    def _reader(
        self, table: TableName, columns: Sequence[TargetColumn], condition: sql.Composable
    ) -> pa.RecordBatchReader:
        schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in columns])
        return pa.RecordBatchReader.from_batches(schema, self._read(table, columns, condition))

    def _read(
        self, table: TableName, columns: Sequence[TargetColumn], condition: sql.Composable
    ) -> Iterator[pa.RecordBatch]:
        with (
            self._transaction() as connection,
            connection.cursor() as cursor,
            cursor.copy(tables.copy_out(table, columns, condition)) as copied,
        ):
            yield from read_batches((memoryview(message) for message in copied), columns)

    # --- the table of cursors ---------------------------------------------------------------------------------------

    def _prepare(self, connection: Connection) -> None:
        """Create the table of cursors, in a transaction of its own so that nobody waits for a long first delivery."""
        with _transaction_of(connection):
            if tables.present_columns(connection, self._cursors) is not None:
                return
            _take_lock(connection, str(self._cursors))
            statement = sql.SQL(
                """CREATE TABLE IF NOT EXISTS {} (
                       subscription_id uuid PRIMARY KEY,
                       table_name text NOT NULL UNIQUE,
                       sequence_number bigint NOT NULL,
                       schema_id integer NOT NULL,
                       columns jsonb NOT NULL,
                       key_field_ids integer[] NOT NULL,
                       applied_at timestamptz NOT NULL)"""
            )
            connection.execute(statement.format(self._cursors.sql))

    def _lock(self, connection: Connection, subscription_id: UUID) -> StoredState | None:
        """Wait until nobody else works for the subscription, and return what is stored then."""
        _take_lock(connection, f"{self._cursors} {subscription_id}")
        return self._stored(connection, subscription_id)

    def _stored(self, connection: Connection, subscription_id: UUID) -> StoredState | None:
        if tables.present_columns(connection, self._cursors) is None:
            return None
        statement = sql.SQL(
            """SELECT table_name, sequence_number, schema_id, columns, key_field_ids
               FROM {} WHERE subscription_id = %s"""
        )
        found = connection.execute(statement.format(self._cursors.sql), [subscription_id]).fetchone()
        if found is None:
            return None
        name, sequence_number, schema_id, columns, key = found
        return StoredState(name, Cursor(sequence_number, schema_id), columns_from_json(columns), tuple(key))

    def _store(self, connection: Connection, table: TableName, delivery: Delivery) -> None:
        statement = sql.SQL(
            """INSERT INTO {} AS c VALUES (%s, %s, %s, %s, %s, %s, now()) ON CONFLICT (subscription_id) DO UPDATE
               SET (sequence_number, schema_id, columns, key_field_ids, applied_at) = (EXCLUDED.sequence_number,
                   EXCLUDED.schema_id, EXCLUDED.columns, EXCLUDED.key_field_ids, EXCLUDED.applied_at)"""
        )
        values = [
            delivery.subscription_id,
            str(table),
            delivery.to_cursor.sequence_number,
            delivery.to_cursor.schema_id,
            Jsonb(columns_to_json(delivery.table.columns)),
            list(key_field_ids(delivery.table)),
        ]
        connection.execute(statement.format(self._cursors.sql), values)


@contextmanager
def _transaction_of(connection: Connection) -> Iterator[None]:
    """Run the block in a transaction whose settings nothing in the server or the role can change."""
    with connection.transaction():
        connection.execute(_SETTINGS)
        yield


def _take_lock(connection: Connection, name: str) -> None:
    """Hold a lock by name until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"cordillera {name}"])


def _first(connection: Connection, table: TableName, delivery: Delivery) -> DeliveryResult:
    columns, key = delivery.table.columns, delivery.table.key
    tables.create(connection, table, columns, key)
    upserted = tables.load(connection, table, columns, upsert_batches(delivery))
    tables.add_primary_key(connection, table, key)
    return DeliveryResult(upserted, 0, rows_updated=0)


def _next(connection: Connection, table: TableName, stored: StoredState, delivery: Delivery) -> DeliveryResult:
    """Bring a table that exists to the next cursor.

    All rows are staged before anything is touched, so that readers of the table do not wait for the dataset's.
    """
    columns, key = delivery.table.columns, delivery.table.key
    try:
        tables.check_present(connection, table, stored.columns, keyed=bool(stored.key))
        tables.check_takes_rows(connection, table, stored.columns)
    except TargetDriftError:
        if not restores(stored, delivery):
            raise
        return _restore(connection, table, stored, delivery)
    evolution = evolution_to(stored, delivery)
    key_columns = [column for name in key for column in columns if column.name == name]
    deletes = iter(()) if delivery.replace else delete_batches(delivery)
    gone = tables.stage(connection, "_cordillera_deletes", key_columns, deletes)
    ended = _staged_endings(connection, delivery)
    fresh = tables.stage(connection, "_cordillera_upserts", columns, upsert_batches(delivery))
    deleted = tables.empty(connection, table) if delivery.replace else 0
    if evolution is None:
        tables.drop(connection, table)
        tables.create(connection, table, columns, key)
        tables.add_primary_key(connection, table, key)
    else:
        tables.evolve(connection, table, evolution)
    if gone is not None:
        deleted = tables.delete(connection, table, key, gone)
    closed = 0 if ended is None else tables.end(connection, table, key[:-1], ended)
    upserted, updated = tables.upsert(connection, table, columns, key, fresh) if fresh is not None else (0, 0)
    return DeliveryResult(upserted + closed, deleted, rows_updated=updated + closed)


def _staged_endings(connection: Connection, delivery: Delivery) -> sql.Identifier | None:
    if delivery.endings is None:
        return None
    columns, name = delivery.table.ending_columns(), "_cordillera_endings"
    staging = tables.stage(connection, name, columns, ending_batches(delivery))
    if staging is not None:
        tables.add_primary_key(connection, TableName("pg_temp", name), delivery.table.key[:-1])
    return staging


def _restore(connection: Connection, table: TableName, stored: StoredState, delivery: Delivery) -> DeliveryResult:
    """Put everything anew into a table that somebody else has changed, and give that its columns again."""
    columns, key = delivery.table.columns, delivery.table.key
    fresh = tables.stage(connection, "_cordillera_upserts", columns, upsert_batches(delivery))
    deleted = tables.empty(connection, table) if tables.present_columns(connection, table) is not None else 0
    names = {column.name for column in columns}
    tables.restore(connection, table, delivery.table, [one.name for one in stored.columns if one.name not in names])
    upserted, updated = tables.upsert(connection, table, columns, key, fresh) if fresh is not None else (0, 0)
    return DeliveryResult(upserted, deleted, rows_updated=updated)
