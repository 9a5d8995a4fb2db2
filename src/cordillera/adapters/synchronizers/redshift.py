"""Keeps tables of an Amazon Redshift database equal with datasets.

Rows are written as Parquet files into a staging folder in S3 first, while nothing in the database waits. Then one
transaction loads them with COPY into staging tables, changes the table's columns, merges (delete the rows of the keys
that came, insert those that stay), and writes down how far the table has followed. It begins by locking the
subscription's own small table (see ``redshift_state``), so a second worker waits, and then finds the delivery applied.
Readers see the table as it was until the transaction ends.

How values are kept; each comes back exactly:

    ==================================  ============================================================================
    boolean; int, long                  BOOLEAN; INTEGER, BIGINT
    float, double                       REAL, DOUBLE PRECISION; NaN and infinities included
    decimal(P, S)                       DECIMAL(P,S)
    date, time                          DATE, TIME; years 1 to 9999, others are refused
    timestamp, timestamptz              TIMESTAMP, TIMESTAMPTZ; finer ones than microseconds are refused, years as above
    string                              VARCHAR(65535): longer ones are refused, and a NUL character (U+0000)
    uuid                                VARCHAR(36)
    binary, fixed                       VARBYTE(4194304): COPY takes no larger row
    struct, list, map                   SUPER; see ``text`` for the JSON, and for the values it refuses
    ==================================  ============================================================================

Names lose the capitals of their ASCII letters, as all names in Redshift do. Key columns are NOT NULL and the primary
key, which Redshift does not enforce: keys that come twice are found here. Types cannot change in place, nor can a
column become optional: such a change makes a new table, copies the rows, gives the old one's privileges and takes its
name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import pyarrow as pa

from cordillera.adapters.synchronizers import redshift_checksums as sums
from cordillera.adapters.synchronizers import redshift_state as state
from cordillera.adapters.synchronizers import redshift_statements as statements
from cordillera.adapters.synchronizers.deliveries import (
    OWN_PREFIX,
    StoredState,
    check_kept_table,
    check_table,
    delete_batches,
    ending_batches,
    is_due,
    read_columns,
    upsert_batches,
)
from cordillera.adapters.synchronizers.redshift_session import Session
from cordillera.adapters.synchronizers.redshift_staging import Attempt, Staged, attempt
from cordillera.adapters.synchronizers.redshift_statements import Layout, TableName, folded_table
from cordillera.adapters.synchronizers.redshift_tables import KeptTable, Loader
from cordillera.adapters.synchronizers.redshift_types import MOST_TEXT_BYTES, decode
from cordillera.adapters.synchronizers.text import JsonReader
from cordillera.errors import InvalidConfigurationError
from cordillera.ports.storage import Storage
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetColumn, TargetTable

_DELETES, _ENDINGS, _UPSERTS = (f"{OWN_PREFIX}{what}" for what in ("deletes", "endings", "upserts"))
_PROBE = (TargetColumn(1, "probe", pa.int64()),)


class RedshiftSynchronizer:
    """Keeps tables in one schema (or in the schema a table's name says) of an Amazon Redshift database.

    Every operation opens a connection of its own, so one object may be used by many threads.

    Args:
        connect: Opens a connection.
        storage: The staging folder.
        role: The IAM role by which the cluster reads the staging folder; ``default`` for the cluster's default role.
        schema: Where tables without a schema in their name live, and the state of subscriptions. It has to exist.
        layout: How tables are distributed and sorted.

    Raises:
        InvalidConfigurationError: If the role cannot be one.
        InvalidNameError: If the schema's name cannot be one.
    """

    def __init__(
        self, connect: Callable[[], Session], storage: Storage, role: str, *, schema: str, layout: Layout
    ) -> None:
        self._connect, self._storage, self._role = connect, storage, statements.check_role(role)
        self._schema, self._layout = statements.check_identifier(schema, "schema"), layout

    def __repr__(self) -> str:
        return f"<RedshiftSynchronizer: schema {self._schema}, staging in {self._storage.root}>"

    @property
    def capabilities(self) -> Capabilities:
        """Transactional, with every schema change; also of fields inside structs."""
        return Capabilities(True, frozenset({"add", "rename", "widen", "drop", "optional"}), history=True)

    def check(self) -> None:
        """Load a file by way of the staging folder into a staging table, which ends with the connection."""
        with self._session() as session, session.transaction():
            found = session.rows(statements.RIGHTS, [self._schema])
            if not found:
                raise self._misconfigured(f"there is no schema {self._schema!r}", f"CREATE SCHEMA {self._schema}.")
            may_create, may_stage = found[0]
            if not may_create:
                raise self._misconfigured(f"the user may not create tables in schema {self._schema!r}", "GRANT CREATE.")
            if not may_stage:
                raise self._misconfigured("the user may not create temporary tables", "GRANT TEMP ON DATABASE.")
            with attempt(self._storage, uuid4()) as made:
                rows = pa.RecordBatch.from_pydict({"probe": [1]})
                self._loader(session).load(
                    "_cordillera_probe", _PROBE, (), made.stage("probe", _PROBE, (), iter([rows]))
                )

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor stored in the target, or None before the first delivery."""
        stored = self._stored(subscription_id)
        return stored.cursor if stored else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Apply a delivery exactly once, all of it or nothing; see the port."""
        check_table(delivery.table)
        table = statements.locate(delivery.table, self._schema)
        if not is_due(self._stored(delivery.subscription_id), delivery, str(table)):
            return DeliveryResult(0, 0, already_applied=True)
        with attempt(self._storage, delivery.subscription_id) as made:
            arrived = _arrived(made, delivery)
            with self._session() as session:
                return self._applied(session, table, delivery, arrived)

    def _applied(self, session: Session, table: TableName, delivery: Delivery, arrived: _Arrived) -> DeliveryResult:
        """Bring staged rows into the table, in one transaction."""
        held = state.state_table(self._schema, delivery.subscription_id)
        state.prepare(session, held)
        with session.transaction():
            state.lock(session, held)
            stored = state.read_locked(session, held)
            if not is_due(stored, delivery, str(table)):
                return DeliveryResult(0, 0, already_applied=True)
            wanted = folded_table(delivery.table)
            loader = self._loader(session)
            _load(loader, wanted, arrived)
            kept = KeptTable(session, table, wanted, self._layout)
            with attempt(self._storage, delivery.subscription_id) as moved:
                deleted = kept.prepare(stored, replace(delivery, table=wanted), loader, moved)
            deleted += kept.delete(_DELETES) if arrived.gone else 0
            closed = kept.end(_ENDINGS) if arrived.ended else 0
            updated = kept.upsert(_UPSERTS, empty=delivery.replace) if arrived.fresh else 0
            state.write(session, held, table, wanted, delivery.to_cursor)
        upserted = arrived.fresh.rows if arrived.fresh else 0
        return DeliveryResult(upserted + closed, deleted, rows_updated=updated + closed)

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the table's rows; the connection is held until the stream ends or is closed."""
        check_table(table)
        wanted = read_columns(table, columns)
        located = statements.locate(table, self._schema)
        with self._session() as session, session.transaction():
            KeptTable(session, located, folded_table(table), self._layout).check_present(wanted)
        return self._reader(located, wanted, statements.held(table))

    def checksums(self, table: TargetTable, buckets: int) -> pa.Table | None:
        """Return sums of digests that Redshift computes; None for tables with floats, nested columns or long rows."""
        check_table(table)
        located, wanted = statements.locate(table, self._schema), folded_table(table)
        compared = wanted.compared()
        if not sums.computable(compared.columns):
            return None
        with self._session() as session, session.transaction():
            KeptTable(session, located, wanted, self._layout).check_present(wanted.columns)
            if (session.rows(sums.longest(located, compared))[0][0] or 0) > MOST_TEXT_BYTES:
                return None
            found = session.rows(sums.sums(located, compared, buckets))
        numbers, rows, totals = zip(*found, strict=True) if found else ((), (), ())
        types = {"bucket": pa.int32(), "rows": pa.int64(), "total": pa.decimal128(38, 0)}
        values = zip((numbers, rows, totals), types.values(), strict=True)
        return pa.table([pa.array(found, kind) for found, kind in values], schema=pa.schema(types))

    def read_buckets(self, table: TargetTable, buckets: int, chosen: Sequence[int]) -> pa.RecordBatchReader:
        """Stream the rows of some buckets, which Redshift picks."""
        compared = folded_table(table).compared()
        numbers = ", ".join(map(str, chosen)) or "NULL"
        condition = f"{sums.bucket(read_columns(compared, compared.key), buckets)} IN ({numbers})"
        located = statements.locate(table, self._schema)
        return self._reader(located, table.compared().columns, statements.held(table), condition)

    def count_unsound(self, table: TargetTable) -> int:
        """Return how many rows of a history have times that cannot be, as Redshift finds."""
        located, wanted = statements.locate(table, self._schema), folded_table(table)
        with self._session() as session, session.transaction():
            KeptTable(session, located, wanted, self._layout).check_present(wanted.columns)
            query = statements.count_unsound(located, _columns_of(wanted, wanted.key[:-1]))
            return int(session.rows(query)[0][0])

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Remove the subscription's state and, unless ``keep_rows``, the table it kept."""
        located = statements.locate(table, self._schema)
        held = state.state_table(self._schema, subscription_id)
        with self._session() as session, session.transaction():
            if not state.exists(session, held):
                return
            state.lock(session, held)
            stored = state.read_locked(session, held)
            if stored is not None:
                check_kept_table(stored, subscription_id, str(located))
                if not keep_rows:
                    session.run(statements.drop(located))
            session.run(statements.drop(held))

    def close(self) -> None:
        """Do nothing: no operation leaves a connection behind."""

    # --- connections ------------------------------------------------------------------------------------------------

    @contextmanager
    def _session(self) -> Iterator[Session]:
        session = self._connect()
        try:
            yield session
        finally:
            session.close()

    def _stored(self, subscription_id: UUID) -> StoredState | None:
        with self._session() as session, session.transaction():
            return state.read(session, state.state_table(self._schema, subscription_id))

    def _loader(self, session: Session) -> Loader:
        return Loader(session, self._role, self._layout)

    def _reader(self, table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> pa.RecordBatchReader:
        schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in columns])
        return pa.RecordBatchReader.from_batches(schema, self._read(table, columns, *conditions))

    def _read(self, table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> Iterator[pa.RecordBatch]:
        folded = [replace(column, name=statements.fold(column.name)) for column in columns]
        query = statements.select(table, folded, *conditions)
        with self._session() as session, session.transaction(), JsonReader() as json_reader:
            for rows in session.stream(query):
                yield decode(rows, columns, json_reader)

    def _misconfigured(self, problem: str, hint: str) -> InvalidConfigurationError:
        return InvalidConfigurationError(f"The redshift target: {problem}.", hint=hint)


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A delivery in the staging folder: keys of rows to remove, keys whose rows end, rows to insert or replace."""

    gone: Staged | None
    ended: Staged | None
    fresh: Staged | None


def _arrived(made: Attempt, delivery: Delivery) -> _Arrived:
    """Write a delivery's rows into the staging folder."""
    table, gone, ended = delivery.table, None, None
    if not delivery.replace:
        gone = made.stage("deletes", _columns_of(table, table.key), table.key, delete_batches(delivery))
    if delivery.endings is not None and not delivery.replace:
        ended = made.stage("endings", table.ending_columns(), table.key[:-1], ending_batches(delivery))
    return _Arrived(gone, ended, made.stage("upserts", table.columns, table.key, upsert_batches(delivery)))


def _load(loader: Loader, wanted: TargetTable, arrived: _Arrived) -> None:
    """Load a delivery into staging tables."""
    loader.load(_DELETES, _columns_of(wanted, wanted.key), wanted.key, arrived.gone)
    if arrived.ended is not None:
        loader.load(_ENDINGS, wanted.ending_columns(), wanted.key[:-1], arrived.ended, unique=True)
    loader.load(_UPSERTS, wanted.columns, wanted.key, arrived.fresh, unique=True)


def _columns_of(table: TargetTable, names: Sequence[str]) -> list[TargetColumn]:
    return [column for name in names for column in table.columns if column.name == name]
