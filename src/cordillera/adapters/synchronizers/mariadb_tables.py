"""One delivery to a MariaDB target: rows in a transaction, columns by one statement, whole contents by a new name.

Nothing is touched before all rows have arrived in tables of the delivery's own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

import pyarrow as pa

from cordillera.adapters.synchronizers import mariadb_state as state
from cordillera.adapters.synchronizers import mariadb_statements as statements
from cordillera.adapters.synchronizers.columns import Evolution, evolved_rows, is_nested, key_field_ids
from cordillera.adapters.synchronizers.deliveries import (
    OWN_PREFIX,
    REPAIR_HINT,
    StoredState,
    delete_batches,
    ending_batches,
    evolution_to,
    restores,
    upsert_batches,
)
from cordillera.adapters.synchronizers.mariadb_session import Session
from cordillera.adapters.synchronizers.mariadb_state import Held, States
from cordillera.adapters.synchronizers.mariadb_statements import TableName
from cordillera.adapters.synchronizers.mariadb_types import COLLATION, column_types, decode, insertions, is_text
from cordillera.adapters.synchronizers.text import JsonReader
from cordillera.errors import CordilleraError, CorruptDataError, TargetDriftError
from cordillera.ports.synchronizer import Cursor, Delivery, DeliveryResult, TargetColumn, TargetTable

TABLE_KIND = "BASE TABLE"
_KEYS, _ENDINGS, _ROWS = (f"{OWN_PREFIX}{what}" for what in ("deletes", "endings", "upserts"))


def check_present(session: Session, table: TableName, columns: Sequence[TargetColumn], key: Sequence[str]) -> None:
    """Make sure that a table has the columns and the key it was left with, and takes rows.

    Columns that a reader added do no harm, unless they have to be given a value.

    Raises:
        TargetDriftError: Naming what is missing or is otherwise.
    """
    present = {row[0]: row for row in _present(session, table)}
    check_columns(session, table, column_types(columns, key))
    keyed = {name for name, row in present.items() if row[3] == "PRI"}
    if keyed != set(key):
        raise TargetDriftError(
            f"The primary key of the table {table} is ({', '.join(sorted(keyed))}), not ({', '.join(key)}).",
            hint=REPAIR_HINT,
        )
    ours = {column.name for column in columns}
    for name, row in present.items():
        if name not in ours and row[4] == "1":
            raise TargetDriftError(
                f"Column {name!r}, which somebody has added to the table {table}, takes no NULL and has no default.",
                hint=REPAIR_HINT,
            )


def check_columns(session: Session, table: TableName, wanted: dict[str, str]) -> None:
    """Make sure that a table has columns of the given names and types; see ``check_present``."""
    present = {name: (kind, collation) for name, kind, collation, _, _ in _present(session, table)}
    for name, kind in wanted.items():
        found = present.get(name)
        if found != (kind, COLLATION if is_text(kind) else None):
            is_there = "missing" if found is None else f"{' '.join(filter(None, found))}, not {kind}"
            raise TargetDriftError(f"Column {name!r} of the table {table} is {is_there}.", hint=REPAIR_HINT)


def _present(session: Session, table: TableName) -> list[tuple[str, ...]]:
    found = session.rows(statements.PRESENT, [table.database, table.name])
    if not found:
        raise TargetDriftError(f"The table {table} is not in the target.", hint=REPAIR_HINT)
    return found


@dataclass(frozen=True, slots=True)
class _Staged:
    """Tables with what comes: keys of rows to remove, keys whose rows end in a history, rows; None without any."""

    keys: TableName | None
    endings: TableName | None
    rows: TableName | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to deliver, by whoever holds the subscription's lock.

    Attributes:
        session: The connection.
        states: The table of states.
        table: The table that the subscription keeps.
        delivery: What comes.
    """

    session: Session
    states: States
    table: TableName
    delivery: Delivery

    @property
    def _wanted(self) -> TargetTable:
        return self.delivery.table

    def apply(self, held: Held | None) -> DeliveryResult:
        """Bring the table to its next state.

        Args:
            held: What the target remembers; None before the first delivery.
        """
        evolution = self._evolution(held)
        if held is None or evolution is None or self.delivery.replace:
            return self._renewed(held, evolution)
        if any(is_nested(change.new) for change in evolution.retyped):
            return self._rebuilt(held, evolution)
        return self._changed(held, evolution)

    def _evolution(self, held: Held | None) -> Evolution | None:
        """Return how the columns of the present table become those that come; None if it is made anew."""
        kind = state.kind_of(self.session, self.table)
        if kind is not None and (held is None or kind != TABLE_KIND):
            raise TargetDriftError(
                f"There is a {kind.lower()} {self.table} in the target that this subscription did not create; it was "
                "left untouched.",
                hint="Choose another table name for the subscription, or move that table away.",
            )
        if held is None:
            return None
        names = {column.field_id: column.name for column in held.state.columns}
        try:
            key = [names[field_id] for field_id in held.state.key]
            check_present(self.session, self.table, held.state.columns, key)
            return evolution_to(held.state, self.delivery)
        except TargetDriftError:
            if not restores(held.state, self.delivery):
                raise
            return None  # whatever somebody has made of it, it is made anew

    def _next_state(self, cursor: Cursor) -> StoredState:
        return StoredState(str(self.table), cursor, self._wanted.columns, key_field_ids(self._wanted))

    # --- rows that change -------------------------------------------------------------------------------------------

    def _changed(self, held: Held, evolution: Evolution) -> DeliveryResult:
        """Change columns, if they change, and then rows together with the cursor."""
        staged = self._staged()
        subscription_id, mark = self.delivery.subscription_id, held.mark
        if evolution != Evolution((), (), (), (), (), ()):
            mark = uuid4().hex
            self.states.announce(subscription_id, mark, self.table, self._next_state(held.state.cursor), held)
            self.session.run(statements.alter(self.table, evolution, self._wanted, mark))
        with self.session.transaction():
            self.states.lock(subscription_id, mark, held.state.cursor)
            result = self._merge(self.table, staged)
            self.states.settle(subscription_id, mark, self._next_state(self.delivery.to_cursor))
        return result

    def _staged(self) -> _Staged:
        """Load what comes into tables that end with the connection."""
        key, endings = self._wanted.key, None
        keys = [column for name in key for column in self._wanted.columns if column.name == name]
        gone = self._stage(_KEYS, keys, key, delete_batches(self.delivery))
        if self.delivery.endings is not None:
            ended = ending_batches(self.delivery)
            endings = self._stage(_ENDINGS, self._wanted.ending_columns(), key[:-1], ended)
        return _Staged(gone, endings, self._stage(_ROWS, self._wanted.columns, key, upsert_batches(self.delivery)))

    def _stage(
        self, name: str, columns: Sequence[TargetColumn], key: Sequence[str], batches: Iterator[pa.RecordBatch]
    ) -> TableName | None:
        first = next(batches, None)
        if first is None:
            return None
        staging = self.table.beside(name)
        self.session.run(statements.create_staging(staging, columns, key, self._wanted))
        rest = _chained(first, batches)
        del first  # not held while its successors are sent
        self._load(staging, columns, rest)
        return staging

    def _merge(self, table: TableName, staged: _Staged) -> DeliveryResult:
        """Remove the rows whose keys come, end those of a history that end, and put in those that come.

        A row that changes is removed and put in. ``ON DUPLICATE KEY UPDATE`` would take a unique index that somebody
        has added for the key, and write over another row.
        """
        key = self._wanted.key
        run, rows = self.session.run, staged.rows
        deleted = run(statements.delete(table, staged.keys, key)) if staged.keys else 0
        closed = run(statements.end(table, staged.endings, key[:-1])) if staged.endings else 0
        updated = run(statements.delete(table, rows, key)) if rows and key else 0
        upserted = run(statements.insert(table, rows, self._wanted.columns)) if rows else 0
        return DeliveryResult(upserted + closed, deleted, rows_updated=updated + closed)

    # --- another table in its place ---------------------------------------------------------------------------------

    def _renewed(self, held: Held | None, evolution: Evolution | None) -> DeliveryResult:
        """Put a table with all that comes in the place of the present one, if there is one."""
        present = state.kind_of(self.session, self.table) is not None
        with self._fresh(held, evolution, present=present) as fresh:
            upserted = self._load(fresh, self._wanted.columns, upsert_batches(self.delivery))
            deleted = int(self.session.rows(statements.count(self.table))[0][0]) if present else 0
        return DeliveryResult(upserted, deleted, rows_updated=0)

    def _rebuilt(self, held: Held, evolution: Evolution) -> DeliveryResult:
        """Copy all rows by way of this process, which can change the fields inside nested values, and merge."""
        staged = self._staged()
        with self._fresh(held, evolution, present=True) as fresh:
            self._load(fresh, self._wanted.columns, self._converted(held.state.columns))
            with self.session.transaction():
                result = self._merge(fresh, staged)
        return result

    @contextmanager
    def _fresh(self, held: Held | None, evolution: Evolution | None, *, present: bool) -> Iterator[TableName]:
        """Make a table with the columns that are wanted, and let it take the name when the block has filled it."""
        subscription_id, mark = self.delivery.subscription_id, uuid4().hex
        for left in state.own_tables(self.session, self.table.database, subscription_id):
            self.session.run(statements.drop(left))
        fresh = self.table.beside(f"{state.own_name(subscription_id)}{mark[:8]}")
        try:
            if evolution is None:
                self.session.run(statements.create(fresh, self._wanted, mark))
            else:  # with the indexes and columns that readers have added
                self.session.run(statements.create_like(fresh, self.table))
                self.session.run(statements.alter(fresh, evolution, self._wanted, mark))
            yield fresh
            next_state = self._next_state(self.delivery.to_cursor)
            self.states.announce(subscription_id, mark, self.table, next_state, held)
            old = fresh.beside(f"{fresh.name}_old")
            self.session.run(statements.rename(*([(self.table, old)] if present else []), (fresh, self.table)))
        except BaseException:
            with suppress(CordilleraError):
                self.session.run(statements.drop(fresh))
            raise
        with self.session.transaction():
            self.states.settle(subscription_id, mark, next_state)
        if present:
            with suppress(CordilleraError):  # the next delivery removes it
                self.session.run(statements.drop(old))

    def _converted(self, stored: Sequence[TargetColumn]) -> Iterator[pa.RecordBatch]:
        """Stream the rows of the present table under the columns they are to have."""
        reading = self.session.another()
        try:
            with JsonReader() as json_reader:
                for rows in reading.stream(statements.select(self.table, stored)):
                    yield evolved_rows(decode(rows, stored, json_reader), stored, self._wanted)
        finally:
            reading.close()

    def _load(self, table: TableName, columns: Sequence[TargetColumn], batches: Iterator[pa.RecordBatch]) -> int:
        """Put rows into a table of the delivery's own and return how many there were."""
        into, sent, loaded = statements.insertion(table, columns), 0, 0
        for batch in batches:
            sent += batch.num_rows
            for statement in insertions(batch, into, self.session.most_bytes):
                loaded += self.session.run(statement)
            del batch  # not held while the next one is made
        if loaded != sent:
            raise CorruptDataError(
                f"MariaDB took {loaded:,} of the {sent:,} rows for the table {self.table}; it was left as it was.",
                hint="Repeat the delivery.",
            )
        return sent


def _chained(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
    yield first
    yield from rest
