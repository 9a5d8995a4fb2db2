"""Keeps tables of a DuckDB database file equal with datasets.

Every delivery is one transaction: schema changes, rows, and the row of ``_cordillera_cursors`` that says how far the
table has followed. The file is opened for each operation and closed after it, because DuckDB locks it for one process;
while another process holds it, an operation waits a little and then fails with ``TargetUnreachableError``. Within this
process deliveries into one file take turns.

Values keep their native types, nested ones too (STRUCT, LIST, MAP), and come back exactly, but for the sign of zero:
DuckDB's compression takes 0.0 and -0.0 for one value and may store either. Timestamps without a zone
keep nanoseconds; instants keep microseconds, finer ones are refused. Fixed-size binary is BLOB. A column's
documentation becomes its comment.

Tables have no PRIMARY KEY and no other index: it has to fit in memory while rows are loaded (five million 32-character
keys did not fit in 300 MB, where the same load without it spilled and went through), a key column with it cannot be
widened, and DuckDB never takes deleted rows out of a table that has one. Small deliveries were slower with it, too.
Instead a key that a delivery repeats is looked for and refused, and a merge removes the stored row of every key it
inserts.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import duckdb
import pyarrow as pa

from cordillera.adapters.synchronizers import duckdb_tables as tables
from cordillera.adapters.synchronizers.columns import (
    Evolution,
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
from cordillera.adapters.synchronizers.duckdb_tables import Connection, TableName
from cordillera.errors import (
    CordilleraError,
    CorruptDataError,
    InvalidConfigurationError,
    NotAllowedError,
    StorageFullError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetColumn, TargetTable

LOCK_WAIT_S = 5.0
MEMORY_LIMIT = "1GB"  # of one open file; what does not fit spills beside it
ROWS_PER_BATCH = 16_384
BATCH_BYTES = 1024 * 1024  # of rows, each of DuckDB's threads has one in hand
_SETTINGS = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "arrow_lossless_conversion": "true",
    "preserve_insertion_order": "false",
    "memory_limit": MEMORY_LIMIT,
}
_CURSORS = TableName("main", CURSOR_TABLE)
_turns: dict[Path, threading.Lock] = {}
_turns_guard = threading.Lock()


class DuckDBSynchronizer:
    """Keeps tables in one DuckDB file, which is created with the first delivery.

    Args:
        path: The file; its directory has to exist.

    Raises:
        InvalidConfigurationError: If ``path`` is not a path in the file system.
    """

    def __init__(self, path: str | Path) -> None:
        if not str(path) or ":" in str(path).partition("/")[0]:
            raise InvalidConfigurationError(
                f"{str(path)!r} is not the path of a DuckDB file.", hint="Name a local file, such as /data/lake.duckdb."
            )
        self._path = Path(path).expanduser().resolve()
        self._target = f"DuckDB file {str(self._path)!r}"

    def __repr__(self) -> str:
        return f"<DuckDBSynchronizer: {self._path}>"

    @property
    def capabilities(self) -> Capabilities:
        """Transactional, with every schema change; of nested fields too. The file is open in one process at a time."""
        changes = frozenset({"add", "rename", "widen", "drop", "optional"})
        return Capabilities(True, changes, deliveries_at_once=1, history=True)

    def check(self) -> None:
        """Make sure that the file can be opened for writing, or created where there is none."""
        if self._path.exists():
            with self._connection():
                return
        directory = self._path.parent
        if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
            raise InvalidConfigurationError(
                f"{self._target} cannot be created: {str(directory)!r} is not a directory this process may write.",
                hint="Create the directory, or name another.",
            )

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor stored in the file, or None before the first delivery."""
        if not self._path.exists():
            return None
        with self._connection() as connection:
            stored = _stored(connection, subscription_id)
            return stored.cursor if stored else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Apply a delivery exactly once, all of it or nothing; see the port."""
        check_table(delivery.table)
        located = tables.locate(delivery.table)
        with self._transaction() as connection:
            table = located.opened(connection)
            stored = _stored(connection, delivery.subscription_id)
            if not is_due(stored, delivery, str(table)):
                return DeliveryResult(0, 0, already_applied=True)
            if stored is None:
                tables.create(connection, table, delivery.table.columns, delivery.table.key)
                rows = upsert_batches(delivery, BATCH_BYTES)
                loaded = tables.load(connection, table.sql, delivery.table.columns, delivery.table.key, rows)
                result = DeliveryResult(loaded, 0, rows_updated=0)
            else:
                result = _next(connection, table, stored, delivery)
            _store(connection, table, delivery)
        return result

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the table's rows; the file stays open, and locked, until the stream ends or is closed."""
        check_table(table)
        wanted = read_columns(table, columns)
        located = tables.locate(table)
        if not self._path.exists():
            raise TargetDriftError(f"{self._target} is not there.", hint="Deliver the table whole.")
        with self._connection() as connection:
            opened = located.opened(connection)
            tables.check_present(connection, opened, wanted)
            if columns is None:  # a table that is to be as it should in all
                tables.check_takes_rows(connection, opened, wanted)
        schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in wanted])
        return pa.RecordBatchReader.from_batches(schema, self._read(located, wanted, schema, tables.held(table)))

    def count_unsound(self, table: TargetTable) -> int:
        """Return how many rows of a history have times that cannot be."""
        with self._connection() as connection:
            located = tables.locate(table).opened(connection)
            tables.check_present(connection, located, table.columns)
            return tables.count_unsound(connection, located, table.key[:-1])

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Remove the subscription's cursor and, unless ``keep_rows``, the table it kept."""
        located = tables.locate(table)
        if not self._path.exists():
            return
        with self._transaction() as connection:
            stored = _stored(connection, subscription_id)
            if stored is None:
                return
            check_kept_table(stored, subscription_id, str(located))
            cursors = _CURSORS.opened(connection)
            connection.execute(f"DELETE FROM {cursors.sql} WHERE subscription_id = ?", [subscription_id])
            if not keep_rows:
                tables.drop(connection, located.opened(connection))

    def close(self) -> None:
        """Do nothing: no operation leaves the file open."""

    # --- connections ------------------------------------------------------------------------------------------------

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        connection = self._open()
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        except duckdb.Error as error:
            raise self._meaning_of(error) from error
        finally:
            connection.close()

    def _open(self) -> Connection:
        """Open the file, waiting up to ``LOCK_WAIT_S`` while another process holds it."""
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                return duckdb.connect(str(self._path), config=dict(_SETTINGS))
            except (duckdb.IOException, duckdb.ConnectionException) as error:
                held = "Could not set lock" in str(error) or "different configuration" in str(error)
                if not held:
                    raise self._unusable(error) from None
                if time.monotonic() > deadline:
                    raise TargetUnreachableError(
                        f"{self._target} is held open by another program.", hint="Close it there, or try again later."
                    ) from None
            except duckdb.Error as error:
                raise self._unusable(error) from None
            time.sleep(0.1)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with _turns_guard:
            turn = _turns.setdefault(self._path, threading.Lock())
        with turn, self._connection() as connection:
            connection.begin()
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def _read(
        self, table: TableName, columns: Sequence[TargetColumn], schema: pa.Schema, condition: str
    ) -> Iterator[pa.RecordBatch]:
        names = ", ".join(tables.quoted(column.name) for column in columns)
        with self._connection() as connection:
            source = table.opened(connection).sql
            found = connection.execute(f"SELECT {names} FROM {source} WHERE {condition}").to_arrow_reader(
                ROWS_PER_BATCH
            )
            for batch in found:
                arrays = [a if a.type == f.type else a.cast(f.type) for a, f in zip(batch.columns, schema, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    # --- errors -----------------------------------------------------------------------------------------------------

    def _unusable(self, error: duckdb.Error) -> CordilleraError:
        return InvalidConfigurationError(
            f"{self._target} cannot be opened: {_first_line(error)}",
            hint="Name a file that DuckDB wrote, in a directory this process may write.",
        )

    def _meaning_of(self, error: duckdb.Error) -> CordilleraError:
        words = f"{self._target}: {_first_line(error)}"
        if "No space left" in words or "disk full" in words.lower():
            return StorageFullError(words, hint="Make room on the target's disk.")
        for kinds, meaning in _MEANINGS:
            if isinstance(error, kinds):
                return meaning(words)
        return NotAllowedError(words)


_MEANINGS: list[tuple[tuple[type[duckdb.Error], ...], type[CordilleraError]]] = [
    ((duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException), CorruptDataError),
    ((duckdb.IOException, duckdb.OutOfMemoryException, duckdb.TransactionException), TargetUnreachableError),
    ((duckdb.CatalogException, duckdb.BinderException), TargetDriftError),
    ((duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException), TypeMismatchError),
]


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]


# --- one delivery ---------------------------------------------------------------------------------------------------


def _next(connection: Connection, table: TableName, stored: StoredState, delivery: Delivery) -> DeliveryResult:
    """Bring a table that exists to the next cursor."""
    try:
        tables.check_present(connection, table, stored.columns)
        tables.check_takes_rows(connection, table, stored.columns)
        evolution = evolution_to(stored, delivery)
    except TargetDriftError:
        if not restores(stored, delivery):
            raise
        evolution = None  # whatever somebody has made of it, it is made anew
    if delivery.replace:
        return _anew(connection, table, evolution, delivery)
    assert evolution is not None, "rows stay only where columns can change in place"
    columns, key = delivery.table.columns, delivery.table.key
    key_columns = [column for name in key for column in columns if column.name == name]
    gone = tables.stage(connection, "_cordillera_deletes", key_columns, (), delete_batches(delivery, BATCH_BYTES))
    ended = _staged_endings(connection, delivery)
    fresh = tables.stage(connection, "_cordillera_upserts", columns, key, upsert_batches(delivery, BATCH_BYTES))
    tables.evolve(connection, table, evolution)  # before rows: DuckDB refuses to alter a table with rows deleted
    deleted = tables.delete(connection, table, key, gone) if gone is not None else 0
    closed = tables.end(connection, table, key[:-1], ended) if ended is not None else 0
    upserted, updated = tables.upsert(connection, table, columns, key, fresh) if fresh is not None else (0, 0)
    return DeliveryResult(upserted + closed, deleted, rows_updated=updated + closed)


def _staged_endings(connection: Connection, delivery: Delivery) -> str | None:
    if delivery.endings is None:
        return None
    columns, key = delivery.table.ending_columns(), delivery.table.key[:-1]
    return tables.stage(connection, "_cordillera_endings", columns, key, ending_batches(delivery, BATCH_BYTES))


def _anew(connection: Connection, table: TableName, evolution: Evolution | None, delivery: Delivery) -> DeliveryResult:
    """Put all rows in the place of those that a table holds; a new table too, where its columns cannot change."""
    columns, key = delivery.table.columns, delivery.table.key
    if evolution is None:
        deleted = tables.count(connection, table) if tables.present_columns(connection, table) else 0
        tables.drop(connection, table)
        tables.create(connection, table, columns, key)
    else:
        tables.evolve(connection, table, evolution)
        deleted = tables.empty(connection, table)
    loaded = tables.load(connection, table.sql, columns, key, upsert_batches(delivery, BATCH_BYTES))
    return DeliveryResult(loaded, deleted, rows_updated=0)


# --- the table of cursors -------------------------------------------------------------------------------------------


def _stored(connection: Connection, subscription_id: UUID) -> StoredState | None:
    cursors = _CURSORS.opened(connection)
    if tables.present_columns(connection, cursors) is None:
        return None
    found = connection.execute(
        f"""SELECT table_name, sequence_number, schema_id, columns, key_field_ids
            FROM {cursors.sql} WHERE subscription_id = ?""",
        [subscription_id],
    ).fetchone()
    if found is None:
        return None
    name, sequence_number, schema_id, columns, key = found
    return StoredState(name, Cursor(sequence_number, schema_id), columns_from_json(json.loads(columns)), tuple(key))


def _store(connection: Connection, table: TableName, delivery: Delivery) -> None:
    cursors = _CURSORS.opened(connection)
    connection.execute(
        f"""CREATE TABLE IF NOT EXISTS {cursors.sql} (
                subscription_id UUID NOT NULL,
                table_name VARCHAR NOT NULL,
                sequence_number BIGINT NOT NULL,
                schema_id INTEGER NOT NULL,
                columns VARCHAR NOT NULL,
                key_field_ids INTEGER[] NOT NULL,
                applied_at TIMESTAMP WITH TIME ZONE NOT NULL)"""
    )
    connection.execute(f"DELETE FROM {cursors.sql} WHERE subscription_id = ?", [delivery.subscription_id])
    connection.execute(
        f"INSERT INTO {cursors.sql} VALUES (?, ?, ?, ?, ?, ?, now())",
        [
            delivery.subscription_id,
            str(table),
            delivery.to_cursor.sequence_number,
            delivery.to_cursor.schema_id,
            json.dumps(columns_to_json(delivery.table.columns)),
            list(key_field_ids(delivery.table)),
        ],
    )
