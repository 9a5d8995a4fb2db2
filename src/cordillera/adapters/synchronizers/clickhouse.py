"""Keeps tables of a ClickHouse server equal with datasets.

ClickHouse has no transactions over several statements. So a delivery makes the table as it is to be under another name,
of links to the files of the present table where its rows stay, and then lets the two exchange names at once
(docs/adr/0017). Whoever reads the table, with a plain SELECT, sees it as it was before a delivery or as it is after it.
How far a table has followed is stored of its UUID, which makes that take effect in the same moment.

How values are kept; each comes back exactly:

    ==================================  ============================================================================
    boolean; int, long                  Bool; Int32, Int64
    float, double                       Float32, Float64; NaN, infinities and -0.0 included
    decimal(P, S)                       Decimal(P, S)
    date, time                          Date32, Time64(6)
    timestamp, timestamptz              DateTime64(6, 'UTC'); with nanoseconds DateTime64(9, 'UTC')
    string, binary; fixed(L)            String; FixedString(L)
    uuid                                UUID
    struct, list, map                   String: JSON (see ``text``), because arrays and maps cannot be NULL there
    ==================================  ============================================================================

Dates and timestamps have the years 1 to 9999, on earlier releases 1900 to 2299; others are refused. Columns that may
be NULL are Nullable; key columns are not, and sort the table. ClickHouse enforces no key: keys that come twice are
found here. Columns are added, renamed, widened and dropped in place, but for key columns, and for fields inside nested
ones: such a change copies the rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import pyarrow as pa

from cordillera.adapters.synchronizers import clickhouse_checksums as sums
from cordillera.adapters.synchronizers import clickhouse_state as state
from cordillera.adapters.synchronizers import clickhouse_statements as statements
from cordillera.adapters.synchronizers.clickhouse_session import Place, Session, open_session
from cordillera.adapters.synchronizers.clickhouse_statements import TableName
from cordillera.adapters.synchronizers.clickhouse_tables import attempt, check_columns
from cordillera.adapters.synchronizers.clickhouse_types import column_type, decode
from cordillera.adapters.synchronizers.deliveries import check_kept_table, check_table, is_due, read_columns
from cordillera.adapters.synchronizers.text import JsonReader
from cordillera.errors import InvalidConfigurationError
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetColumn, TargetTable

_ENGINES = ("Atomic", "Shared")
"""The kinds of databases in which tables have UUIDs and exchange names at once; the second is ClickHouse Cloud's."""
_turns: dict[tuple[Place, UUID], threading.Lock] = {}
_turns_guard = threading.Lock()


class ClickHouseSynchronizer:
    """Keeps tables in one database (or in the database a table's name says) of a ClickHouse server.

    One client serves all threads, from the first operation on until it is closed.

    Args:
        place: The server. Its database has to exist; the state of subscriptions is kept there.
        password: Returns the user's password.

    Raises:
        InvalidNameError: If the database's name cannot be one.
    """

    def __init__(self, place: Place, password: Callable[[], str]) -> None:
        statements.check_name(place.database, "database")
        self._place, self._password = place, password
        self._opened: Session | None = None
        self._opening = threading.Lock()
        self._states = state.state_table(place.database)

    def __repr__(self) -> str:
        return f"<ClickHouseSynchronizer: {self._place}>"

    @property
    def capabilities(self) -> Capabilities:
        """Each delivery appears at once, with every schema change; also of fields inside structs."""
        return Capabilities(True, frozenset({"add", "rename", "widen", "drop", "optional"}), history=True)

    def check(self) -> None:
        """Connect, and make sure that the database is there and its tables can exchange names."""
        found = self._session().rows(statements.ENGINE, {"database": self._place.database})
        if not found:
            raise InvalidConfigurationError(
                f"{self._place}: there is no such database, or none this user may see.",
                hint=f"CREATE DATABASE {statements.quote(self._place.database)}, and grant what the how-to lists.",
            )
        if found[0][0] not in _ENGINES:
            raise InvalidConfigurationError(
                f"{self._place}: the engine of the database is {found[0][0]}, in which tables cannot exchange names.",
                hint=f"Use a database with the engine {' or '.join(_ENGINES)}.",
            )

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor stored in the target, or None before the first delivery."""
        held = state.read(self._session(), self._states, subscription_id)
        return held.state.cursor if held else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Apply a delivery exactly once, all of it or nothing; see the port."""
        check_table(delivery.table)
        table = statements.locate(delivery.table, self._place.database)
        with self._turn(delivery.subscription_id):
            session = self._session()
            state.prepare(session, self._states)
            held = state.read(session, self._states, delivery.subscription_id)
            if not is_due(held.state if held else None, delivery, str(table)):
                return DeliveryResult(0, 0, already_applied=True)
            with attempt(session, self._states, table, delivery) as made:
                return made.apply(held)

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the table's rows; a connection is held until the stream ends or is closed."""
        check_table(table)
        wanted = read_columns(table, columns)
        located = statements.locate(table, self._place.database)
        check_columns(self._session(), located, {c.name: column_type(c, table.key) for c in wanted})
        return self._reader(located, wanted, statements.held(table))

    def checksums(self, table: TargetTable, buckets: int) -> pa.Table | None:
        """Return sums of digests that ClickHouse computes; None for tables with nested columns."""
        check_table(table)
        located, compared = statements.locate(table, self._place.database), table.compared()
        if not sums.computable(compared.columns):
            return None
        session = self._session()
        check_columns(session, located, {c.name: column_type(c, table.key) for c in table.columns})
        found = session.rows(sums.sums(located, compared, buckets))
        numbers, rows, totals = zip(*found, strict=True) if found else ((), (), ())
        return pa.table(
            {
                "bucket": pa.array(numbers, pa.int32()),
                "rows": pa.array(rows, pa.int64()),
                "total": pa.array(totals, pa.string()).cast(pa.decimal128(38, 0)),
            }
        )

    def read_buckets(self, table: TargetTable, buckets: int, chosen: Sequence[int]) -> pa.RecordBatchReader:
        """Stream the rows of some buckets, which ClickHouse picks."""
        compared, numbers = table.compared(), ", ".join(map(str, chosen)) or "NULL"
        condition = f"{sums.bucket(read_columns(compared, compared.key), buckets)} IN ({numbers})"
        located = statements.locate(table, self._place.database)
        return self._reader(located, compared.columns, statements.held(table), condition)

    def count_unsound(self, table: TargetTable) -> int:
        """Return how many rows of a history have times that cannot be, as ClickHouse finds."""
        session, located = self._session(), statements.locate(table, self._place.database)
        check_columns(session, located, {c.name: column_type(c, table.key) for c in table.columns})
        query = statements.count_unsound(located, read_columns(table, table.key[:-1]))
        return int(session.rows(query)[0][0])

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Remove the subscription's state, what its attempts left and, unless ``keep_rows``, the table it kept."""
        located = statements.locate(table, self._place.database)
        with self._turn(subscription_id):
            session = self._session()
            held = state.read(session, self._states, subscription_id)
            if held is None:
                return
            check_kept_table(held.state, subscription_id, str(located))
            for left in state.own_tables(session, located.database, subscription_id):
                state.bury(session, self._states, subscription_id, left)
            if not keep_rows and state.uuid_of(session, located) == held.table_uuid:
                session.run(statements.drop(located, at_once=False))
            state.forget(session, self._states, subscription_id, held.known)

    def close(self) -> None:
        """Release connections; an operation after this opens others."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
            self._opened = None

    # --- connections ------------------------------------------------------------------------------------------------

    def _session(self) -> Session:
        with self._opening:
            if self._opened is None:
                self._opened = open_session(self._place, self._password())
            return self._opened

    @contextmanager
    def _turn(self, subscription_id: UUID) -> Iterator[None]:
        """Let threads of this process deliver one after another; those of others find out when they publish."""
        with _turns_guard:
            turn = _turns.setdefault((self._place, subscription_id), threading.Lock())
        with turn:
            yield

    def _reader(self, table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> pa.RecordBatchReader:
        schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in columns])
        return pa.RecordBatchReader.from_batches(schema, self._read(table, columns, *conditions))

    def _read(self, table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> Iterator[pa.RecordBatch]:
        with JsonReader() as json_reader:
            for batch in self._session().stream(statements.select(table, columns, *conditions)):
                yield decode(batch, columns, json_reader)
