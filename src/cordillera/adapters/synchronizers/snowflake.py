"""Keeps native tables of Snowflake equal with datasets.

Rows are sent as Parquet files to a stage and loaded into staging tables by COPY; both are the session's own. Then one
transaction removes the rows of the keys that came, puts in those that stay, and moves the cursor. DDL commits by itself
in Snowflake: so where columns change, they do before that transaction, and readers see the new columns a moment before
the rows. What a worker had begun that died is gone on with by the next delivery (docs/adr/0024, ``snowflake_tables``).
Where columns cannot follow, a table with the new rows takes the name of the old one (docs/adr/0025).

How values are kept; each comes back exactly:

    ==================================  ============================================================================
    boolean; int, long                  BOOLEAN; NUMBER(38,0)
    float, double                       FLOAT; NaN and infinities included
    decimal(P, S)                       NUMBER(P,S)
    date, time                          DATE, TIME(6); years 1 to 9999, others are refused
    timestamp, timestamptz              TIMESTAMP_NTZ(6), TIMESTAMP_TZ(6) in UTC; finer ones than microseconds are
                                        refused, years as above
    string                              VARCHAR: longer ones than 16 MB are refused, and a NUL character (U+0000)
    uuid                                VARCHAR(36)
    binary, fixed                       BINARY: longer ones than 8 MB are refused
    struct, list, map                   VARIANT; see ``text`` for the JSON, and for the values it refuses
    ==================================  ============================================================================

Snowflake enforces no keys: those that come twice are found here, and key columns are NOT NULL. The order of columns is
left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import pyarrow as pa

from cordillera.adapters.synchronizers import snowflake_checksums as sums
from cordillera.adapters.synchronizers import snowflake_table_statements as statements
from cordillera.adapters.synchronizers.deliveries import check_kept_table, check_table, is_due, read_columns
from cordillera.adapters.synchronizers.snowflake_session import (
    Account,
    Credentials,
    RefusedError,
    Session,
    meaning_of,
    open_session,
)
from cordillera.adapters.synchronizers.snowflake_staging import stage
from cordillera.adapters.synchronizers.snowflake_state import States, kind_and_mark, state_table
from cordillera.adapters.synchronizers.snowflake_table_statements import TableName
from cordillera.adapters.synchronizers.snowflake_tables import TABLE_KIND, Attempt, arrive, check_present
from cordillera.adapters.synchronizers.snowflake_types import MOST_TEXT_BYTES, decode
from cordillera.adapters.synchronizers.text import JsonReader
from cordillera.errors import InvalidConfigurationError, TargetDriftError, TargetUnreachableError
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetColumn, TargetTable

_ATTEMPTS = 8
"""How often what is remembered is looked at again while other workers change it."""
_PROBE = (TargetColumn(1, "probe", pa.int64()),)


class SnowflakeSynchronizer:
    """Keeps tables in one schema (or in the schema a table's name says) of a database of Snowflake.

    Every operation opens a connection of its own, so one object may be used by many threads.

    Args:
        account: Where Snowflake is, and who asks.
        credentials: What that one shows.
        database: The database, as Snowflake keeps its name.
        schema: Where tables without a schema in their name live, and the state of subscriptions. It has to exist.
    """

    def __init__(self, account: Account, credentials: Credentials, database: str, schema: str) -> None:
        self._account, self._credentials = account, credentials
        self._database, self._schema = database, schema

    def __repr__(self) -> str:
        return f"<SnowflakeSynchronizer: {self._database}.{self._schema}>"

    @property
    def capabilities(self) -> Capabilities:
        """Transactional, with every schema change; also of fields inside structs."""
        return Capabilities(True, frozenset({"add", "rename", "widen", "drop", "optional"}), history=True)

    def check(self) -> None:
        """Load a row by way of a stage into a staging table, both of which end with the connection."""
        with self._session() as session:
            probe = TableName(self._database, self._schema, "probe")
            if not session.rows(statements.found_schema(probe), self._schema):
                raise InvalidConfigurationError(
                    f"There is no schema {self._database}.{self._schema} in Snowflake, or not for the role.",
                    hint="Create it, and grant the role USAGE, CREATE TABLE and CREATE STAGE on it.",
                )
            rows = pa.RecordBatch.from_pydict({"probe": [1]})
            stage(session, "probe", _PROBE, (), iter([rows]))

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor stored in the target, or None before the first delivery."""
        with self._session() as session:
            held = self._states(session, subscription_id, "").read()
        return held.state.cursor if held and held.state else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Apply a delivery exactly once; see the port. New columns are seen a moment before the rows."""
        check_table(delivery.table)
        table = self._locate(delivery.table)
        with self._session() as session:
            states = self._states(session, delivery.subscription_id, str(table))
            held = states.read()
            if held is not None:
                held = states.end(held) or states.prepare()
            if not is_due(held.state if held else None, delivery, str(table)):
                return DeliveryResult(0, 0, already_applied=True)
            attempt = Attempt(session, states, table, delivery, arrive(session, delivery))
            held = held or states.prepare()
            for _ in range(_ATTEMPTS):
                if not is_due(held.state, delivery, str(table)):
                    return DeliveryResult(0, 0, already_applied=True)
                if held.change is not None and held.change.makes:  # somebody else, since we began
                    held = states.follow(held)
                    continue
                before = held.revision
                try:
                    result = attempt.apply(held)
                except (TargetDriftError, RefusedError):
                    held = states.prepare()
                    if held.revision == before:
                        raise
                    continue  # it may be another worker who is about to change the table
                if result is not None:
                    return result
                held = states.prepare()
        raise TargetUnreachableError(
            f"{self._account}: others deliver for the subscription {delivery.subscription_id} again and again.",
            hint="The delivery is repeated.",
        )

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the table's rows; the connection is held until the stream ends or is closed."""
        check_table(table)
        located, wanted = self._locate(table), read_columns(table, columns)
        with self._session() as session:
            check_present(session, located, wanted)
        return self._reader(located, wanted, statements.held(table))

    def checksums(self, table: TargetTable, buckets: int) -> pa.Table | None:
        """Return sums of digests that Snowflake computes; None for tables with floats, nested columns or long rows."""
        check_table(table)
        located, compared = self._locate(table), table.compared()
        if not sums.computable(compared.columns):
            return None
        with self._session() as session:
            check_present(session, located, table.columns)
            if (session.rows(sums.longest(located, compared))[0]["longest"] or 0) > MOST_TEXT_BYTES:
                return None
            found = session.rows(sums.sums(located, compared, buckets))
        return pa.table(
            {
                "bucket": pa.array([int(row["bucket"]) // sums.BUCKET_UNIT for row in found], pa.int32()),
                "rows": pa.array([int(row["rows"]) for row in found], pa.int64()),
                "total": pa.array([int(row["total"]) // sums.DIGEST_UNIT for row in found], pa.decimal128(38, 0)),
            }
        )

    def read_buckets(self, table: TargetTable, buckets: int, chosen: Sequence[int]) -> pa.RecordBatchReader:
        """Stream the rows of some buckets, which Snowflake picks."""
        compared = table.compared()
        numbers = ", ".join(str(number * sums.BUCKET_UNIT) for number in chosen) or "NULL"
        condition = f"{sums.bucket(read_columns(compared, compared.key), buckets)} IN ({numbers})"
        return self._reader(self._locate(table), compared.columns, statements.held(table), condition)

    def count_unsound(self, table: TargetTable) -> int:
        """Return how many rows of a history have times that cannot be, as Snowflake finds."""
        located = self._locate(table)
        with self._session() as session:
            check_present(session, located, table.columns)
            (found,) = session.rows(statements.count_unsound(located, table.key[:-1]))
        return int(next(iter(found.values())))

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Remove the subscription's state and, unless ``keep_rows``, the table it kept."""
        located = self._locate(table)
        with self._session() as session:
            states = self._states(session, subscription_id, str(located))
            held = states.read()
            if held is None:
                return
            held = states.end(held) or states.prepare()
            if held.state is not None:
                check_kept_table(held.state, subscription_id, str(located))
                found = kind_and_mark(session, located)
                if found is not None and found[0] == TABLE_KIND and not keep_rows:
                    session.run(statements.drop(located))
            states.sweep(located)
            session.run(statements.drop(states.table))

    def close(self) -> None:
        """Do nothing: no operation leaves a connection behind."""

    # --- connections --------------------------------------------------------------------------------------------------

    @contextmanager
    def _session(self) -> Iterator[Session]:
        session = open_session(self._account, self._credentials, (self._database, self._schema))
        try:
            yield session
        except RefusedError as refused:
            raise meaning_of(refused, str(self._account)) from None
        finally:
            session.close()

    def _locate(self, table: TargetTable) -> TableName:
        return statements.locate(table, self._database, self._schema)

    def _states(self, session: Session, subscription_id: UUID, kept: str) -> States:
        return States(session, state_table(self._database, self._schema, subscription_id), kept)

    def _reader(self, table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> pa.RecordBatchReader:
        schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in columns])
        return pa.RecordBatchReader.from_batches(schema, self._read(table, columns, *conditions))

    def _read(self, table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> Iterator[pa.RecordBatch]:
        query = statements.select(table, columns, *conditions)
        with self._session() as session, JsonReader() as json_reader:
            for rows in session.stream(query):
                yield decode(rows, columns, json_reader)
