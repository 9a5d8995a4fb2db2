"""Keeps tables of a MariaDB server (10.11 or newer) equal with datasets.

Rows are sent to temporary tables first, by INSERT statements of many rows each. Then one transaction removes the rows
of the keys that came, puts in those that stay, and moves the cursor. DDL commits by itself in MariaDB: so where columns
change, one ALTER TABLE changes them all before that transaction, and readers see the new columns a moment before the
rows. A first delivery, and one that replaces everything, fills a table of its own that takes the name when it is whole.
A lock by name keeps a second worker waiting, and the state is stored so that the death of a worker between any two
statements leaves the table where its cursor says it is (docs/adr/0021, ``mariadb_state``).

How values are kept; each comes back exactly, but for the sign of -0.0, which MariaDB drops:

    ==================================  ============================================================================
    boolean; int, long                  BOOLEAN, which is TINYINT(1); INT, BIGINT
    float, double                       FLOAT, DOUBLE; NaN and infinities are refused
    decimal(P, S)                       DECIMAL(P,S)
    date, time                          DATE, TIME(6); years 1 to 9999, others are refused
    timestamp, timestamptz              DATETIME(6), in UTC; finer ones than microseconds are refused, years as above
    string                              LONGTEXT, compared byte by byte; in a key VARCHAR(768) or less
    uuid                                UUID
    binary; fixed(L)                    LONGBLOB, in a key VARBINARY(3072) or less; BINARY(L) up to 255 bytes
    struct, list, map                   LONGTEXT: JSON; see ``text``, and for the values it refuses
    ==================================  ============================================================================

Key columns are the primary key. The order of columns is left as it is. A column's documentation becomes its comment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import md5
from uuid import UUID

import pyarrow as pa

from cordillera.adapters.synchronizers import mariadb_checksums as sums
from cordillera.adapters.synchronizers import mariadb_state as state
from cordillera.adapters.synchronizers import mariadb_statements as statements
from cordillera.adapters.synchronizers.deliveries import OWN_PREFIX, check_kept_table, check_table, is_due, read_columns
from cordillera.adapters.synchronizers.mariadb_session import LOCK_TIMEOUT_S, Place, Session, open_session
from cordillera.adapters.synchronizers.mariadb_state import States
from cordillera.adapters.synchronizers.mariadb_statements import TableName
from cordillera.adapters.synchronizers.mariadb_tables import TABLE_KIND, Attempt, check_columns, check_present
from cordillera.adapters.synchronizers.mariadb_types import column_types, decode
from cordillera.adapters.synchronizers.text import JsonReader
from cordillera.errors import InvalidConfigurationError, TargetUnreachableError
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetColumn, TargetTable

_PROBE = f"{OWN_PREFIX}probe"


class MariaDBSynchronizer:
    """Keeps tables in one database (or in the database a table's name says) of a MariaDB server.

    Every operation opens a connection of its own, so one object may be used by many threads.

    Args:
        place: The server. Its database has to exist; the state of subscriptions is kept there.
        password: Returns the user's password.

    Raises:
        InvalidNameError: If the database's name cannot be one.
    """

    def __init__(self, place: Place, password: Callable[[], str]) -> None:
        statements.check_name(place.database, "database")
        self._place, self._password = place, password

    def __repr__(self) -> str:
        return f"<MariaDBSynchronizer: {self._place}>"

    @property
    def capabilities(self) -> Capabilities:
        """Transactional, with every schema change; also of fields inside structs."""
        return Capabilities(True, frozenset({"add", "rename", "widen", "drop", "optional"}), history=True)

    def check(self) -> None:
        """Connect and make sure that tables could be made, changing nothing."""
        probe = TargetTable(_PROBE, (TargetColumn(1, "probe", pa.int64()),), ())
        with self._session() as session:
            if session.read_only:
                raise InvalidConfigurationError(
                    f"{self._place}: the server takes no changes.", hint="Name the primary server."
                )
            session.run(statements.create_staging(self._default(_PROBE), probe.columns, (), probe))

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor stored in the target, or None before the first delivery."""
        with self._session() as session:
            held = self._states(session).read(subscription_id)
        return held.state.cursor if held else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Apply a delivery exactly once; see the port. New columns are seen a moment before the rows."""
        check_table(delivery.table)
        table = statements.locate(delivery.table, self._place.database)
        with self._session() as session:
            states = self._states(session)
            self._take_lock(session, delivery.subscription_id)
            states.prepare()
            held = states.read(delivery.subscription_id)
            if not is_due(held.state if held else None, delivery, str(table)):
                return DeliveryResult(0, 0, already_applied=True)
            return Attempt(session, states, table, delivery).apply(held)

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the table's rows; the connection is held until the stream ends or is closed."""
        check_table(table)
        wanted = read_columns(table, columns)
        located = statements.locate(table, self._place.database)
        types = column_types(table.columns, table.key)
        with self._session() as session:
            if columns is None:  # a table that is to be as it should in all
                check_present(session, located, table.columns, table.key)
            else:
                check_columns(session, located, {column.name: types[column.name] for column in wanted})
        return self._reader(located, wanted, statements.held(table))

    def checksums(self, table: TargetTable, buckets: int) -> pa.Table | None:
        """Return sums of digests that the server computes; None for tables with nested columns, or too long rows."""
        check_table(table)
        located, compared = statements.locate(table, self._place.database), table.compared()
        if not sums.computable(compared.columns):
            return None
        with self._session() as session:
            check_present(session, located, table.columns, table.key)
            found = session.rows(sums.sums(located, compared, buckets))
        numbers, rows, totals, digested = zip(*found, strict=True) if found else ((), (), (), ())
        if rows != digested:
            return None  # a row's text would be larger than what the server sends
        types = {"bucket": pa.int32(), "rows": pa.int64(), "total": pa.decimal128(38, 0)}
        values = zip((numbers, rows, totals), types.values(), strict=True)
        return pa.table([pa.array(each, pa.string()).cast(kind) for each, kind in values], schema=pa.schema(types))

    def read_buckets(self, table: TargetTable, buckets: int, chosen: Sequence[int]) -> pa.RecordBatchReader:
        """Stream the rows of some buckets, which the server picks."""
        compared, numbers = table.compared(), ", ".join(map(str, chosen)) or "NULL"
        condition = f"{sums.bucket(read_columns(compared, compared.key), buckets)} IN ({numbers})"
        located = statements.locate(table, self._place.database)
        return self._reader(located, compared.columns, statements.held(table), condition)

    def count_unsound(self, table: TargetTable) -> int:
        """Return how many rows of a history have times that cannot be, as the server finds."""
        located = statements.locate(table, self._place.database)
        with self._session() as session:
            check_present(session, located, table.columns, table.key)
            return int(session.rows(statements.count_unsound(located, table.key[:-1]))[0][0])

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Remove the subscription's state, what deliveries left and, unless ``keep_rows``, the table it kept."""
        located = statements.locate(table, self._place.database)
        with self._session() as session:
            states = self._states(session)
            self._take_lock(session, subscription_id)
            held = states.read(subscription_id)
            if held is None:
                return
            check_kept_table(held.state, subscription_id, str(located))
            for left in state.own_tables(session, located.database, subscription_id):
                session.run(statements.drop(left))
            if not keep_rows and state.kind_of(session, located) == TABLE_KIND:
                session.run(statements.drop(located))
            states.forget(subscription_id)

    def close(self) -> None:
        """Do nothing: no operation leaves a connection behind."""

    # --- connections ------------------------------------------------------------------------------------------------

    @contextmanager
    def _session(self) -> Iterator[Session]:
        session = open_session(self._place, self._password())
        try:
            yield session
        finally:
            session.close()

    def _default(self, name: str) -> TableName:
        return TableName(self._place.database, name)

    def _states(self, session: Session) -> States:
        return States(session, self._place.database)

    def _take_lock(self, session: Session, subscription_id: UUID) -> None:
        """Be the only one who delivers for a subscription until the connection ends."""
        of = md5(f"{self._place.database} {subscription_id}".encode(), usedforsecurity=False).hexdigest()
        ((got,),) = session.rows("SELECT GET_LOCK(%s, %s)", [f"{OWN_PREFIX}{of}", LOCK_TIMEOUT_S])
        if got != "1":
            raise TargetUnreachableError(
                f"{self._place}: another worker delivers for the subscription {subscription_id}, and has the lock.",
                hint="Try again later.",
            )

    def _reader(self, table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> pa.RecordBatchReader:
        schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in columns])
        return pa.RecordBatchReader.from_batches(schema, self._read(table, columns, *conditions))

    def _read(self, table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> Iterator[pa.RecordBatch]:
        query = statements.select(table, columns, *conditions)
        with self._session() as session, JsonReader() as json_reader:
            for rows in session.stream(query):
                yield decode(rows, columns, json_reader)
