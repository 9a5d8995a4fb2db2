"""One attempt to bring a table of a ClickHouse target to its next state, in tables of its own beside it.

Nothing that an attempt does before its last statement is seen by readers: the table that is to follow is made under
another name, of links to the files of the present one where its rows stay, and then the two exchange names at once.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa

from cordillera.adapters.synchronizers import clickhouse_state as state
from cordillera.adapters.synchronizers import clickhouse_statements as statements
from cordillera.adapters.synchronizers.clickhouse_session import Session
from cordillera.adapters.synchronizers.clickhouse_state import Held
from cordillera.adapters.synchronizers.clickhouse_statements import TableName
from cordillera.adapters.synchronizers.clickhouse_types import column_type, decode, encode, sent_schema
from cordillera.adapters.synchronizers.columns import Evolution, evolved_rows, is_nested, key_field_ids
from cordillera.adapters.synchronizers.deliveries import (
    REPAIR_HINT,
    StoredState,
    delete_batches,
    ending_batches,
    evolution_to,
    restores,
    upsert_batches,
)
from cordillera.adapters.synchronizers.text import JsonReader
from cordillera.errors import (
    CordilleraError,
    CorruptDataError,
    DuplicateKeyError,
    TargetDriftError,
    TargetUnreachableError,
)
from cordillera.ports.synchronizer import Delivery, DeliveryResult, TargetColumn, TargetTable

MOST_PARTS = 50
"""How many parts a table may come to have before a delivery merges some of them."""
MOST_STATES = 20
"""How many states of tables that are gone are kept before they are removed: a removal costs more than a few rows."""


def key_names(stored: StoredState) -> list[str]:
    """Return the names of the key columns of a table, as they are in the target."""
    names = {column.field_id: column.name for column in stored.columns}
    return [names[field_id] for field_id in stored.key]


def check_present(session: Session, table: TableName, stored: StoredState) -> None:
    """Make sure that a table has the columns it was left with; others that a reader added do no harm.

    Raises:
        TargetDriftError: Naming what is missing or has another type.
    """
    key = key_names(stored)
    check_columns(session, table, {column.name: column_type(column, key) for column in stored.columns})


def check_columns(session: Session, table: TableName, wanted: Mapping[str, str]) -> None:
    """Make sure that a table has columns of the given names and types; see ``check_present``."""
    found = session.rows(statements.PRESENT, {"database": table.database, "name": table.name})
    if not found:
        raise TargetDriftError(f"The table {table} is not in the target.", hint=REPAIR_HINT)
    present = {row[0]: row[1] for row in found}
    for name, kind in wanted.items():
        if present.get(name) != kind:
            is_there = f"{present[name]}, not {kind}" if name in present else "missing"
            raise TargetDriftError(f"Column {name!r} of the table {table} is {is_there}.", hint=REPAIR_HINT)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to deliver.

    Attributes:
        session: The connection.
        states: The table of states.
        table: The table that the subscription keeps.
        delivery: What comes.
        fresh: The table that is to have the name of ``table``.
    """

    session: Session
    states: TableName
    table: TableName
    delivery: Delivery
    fresh: TableName

    @property
    def _wanted(self) -> TargetTable:
        return self.delivery.table

    @property
    def _key(self) -> list[TargetColumn]:
        return [column for name in self._wanted.key for column in self._wanted.columns if column.name == name]

    def apply(self, held: Held | None) -> DeliveryResult:
        """Make the next table and let it take the name.

        Args:
            held: What the target remembers; None before the first delivery.

        Raises:
            TargetUnreachableError: If another worker has delivered meanwhile, or is about to.
        """
        live = state.uuid_of(self.session, self.table)
        evolution = self._evolution(held, live)
        try:
            result = self._fill(held, evolution, live)
            self._publish(held, live)
        except TargetDriftError as error:
            if state.uuid_of(self.session, self.table) == live and state.uuid_of(self.session, self.fresh):
                raise
            # What went wrong is that another worker has removed or renamed what this one works on.
            raise TargetUnreachableError(
                f"Another worker delivers to the table {self.table} at this moment.", hint="Try again later."
            ) from error
        return result

    # --- the next table ---------------------------------------------------------------------------------------------

    def _evolution(self, held: Held | None, live: UUID | None) -> Evolution | None:
        """Return how the columns of the present table become those that come; None if the next is made anew."""
        if held is None:
            if live is not None:
                raise TargetDriftError(
                    f"There is a table {self.table} in the target that this subscription did not create; it was left "
                    "untouched.",
                    hint="Choose another table name for the subscription, or move that table away.",
                )
            return None
        try:
            check_present(self.session, self.table, held.state)
            if live != held.table_uuid:
                raise TargetDriftError(
                    f"The table {self.table} is another than the one that this subscription made.", hint=REPAIR_HINT
                )
            return evolution_to(held.state, self.delivery)
        except TargetDriftError:
            if not restores(held.state, self.delivery):
                raise
            return None  # whatever somebody has made of it, it is made anew

    def _fill(self, held: Held | None, evolution: Evolution | None, live: UUID | None) -> DeliveryResult:
        """Make the next table, with its rows."""
        deleted = self._count(statements.count(self.table)) if self.delivery.replace and held and live else 0
        if held is None or evolution is None:
            self.session.run(statements.create(self.fresh, self._wanted.columns, self._wanted.key))
        else:
            self._make(held.state, evolution)
        if held is None or self.delivery.replace:
            return DeliveryResult(self._load_unique(self.fresh), deleted, rows_updated=0)
        return self._merge()

    def _make(self, stored: StoredState, evolution: Evolution) -> None:
        """Make the next table of the present one, with its rows if they stay."""
        if _needs_copy(evolution, key_names(stored)):
            self.session.run(statements.create(self.fresh, self._wanted.columns, self._wanted.key))
            if not self.delivery.replace:
                self._copy(stored.columns, evolution)
            return
        self.session.run(statements.create_like(self.fresh, self.table))
        if not self.delivery.replace:
            self.session.run(statements.take_over(self.fresh, self.table))
        for name in evolution.dropped:
            self.session.run(statements.drop_column(self.fresh, name))
        for old, new in evolution.renaming_steps():
            self.session.run(statements.rename_column(self.fresh, old, new))
        changed = {change.name for change in evolution.retyped} | set(evolution.made_optional)
        for column in self._wanted.columns:
            if column.name in changed and column.name not in self._wanted.key:
                self.session.run(statements.retype_column(self.fresh, column))
        for column in evolution.added:
            self.session.run(statements.add_column(self.fresh, column))
        for column in evolution.described:
            self.session.run(statements.describe(self.fresh, column))

    def _copy(self, stored: Sequence[TargetColumn], evolution: Evolution) -> None:
        """Copy all rows: within ClickHouse, or through here if fields inside nested values change."""
        if any(is_nested(change.new) for change in evolution.retyped):
            self._load(self.fresh, self._wanted.columns, self._converted(stored))
            return
        before = {column.field_id: column.name for column in stored}
        kept = [(before[c.field_id], c.name) for c in self._wanted.columns if c.field_id in before]
        self.session.run(statements.copy(self.fresh, self.table, kept))

    def _converted(self, stored: Sequence[TargetColumn]) -> Iterator[pa.RecordBatch]:
        """Stream the rows of the present table under the columns they are to have."""
        with JsonReader() as json_reader:
            for rows in self.session.stream(statements.select(self.table, stored)):
                yield evolved_rows(decode(rows, stored, json_reader), stored, self._wanted)

    # --- rows -------------------------------------------------------------------------------------------------------

    def _merge(self) -> DeliveryResult:
        """Remove the rows whose keys come, and take over those that come, which wait in a table that is alike.

        Rows of a history that end are among them, as they are from then on.
        """
        rows, keys, endings = (self.fresh.beside(f"{self.fresh.name}_{what}") for what in ("rows", "keys", "endings"))
        self.session.run(statements.create_like(rows, self.fresh))
        upserted = self._load_unique(rows)
        gone = self._stage(keys, self._key, self._wanted.key, delete_batches(self.delivery))
        if self._ends(endings):
            self.session.run(statements.end(rows, self.fresh, endings, self._key))
            upserted = self._count(statements.count(rows))
        updated = self._count(statements.count_matching(self.fresh, rows, self._key)) if upserted and self._key else 0
        deleted = self._count(statements.count_matching(self.fresh, keys, self._key)) if gone else 0
        staged = [table for table, found in ((rows, updated), (keys, deleted)) if found]
        if staged:
            self.session.run(statements.delete(self.fresh, staged, self._key))
        if upserted:
            self.session.run(statements.take_over(self.fresh, rows))
        for done in (rows, keys, endings):
            self.session.run(statements.drop(done, at_once=True))
        parameters = {"database": self.fresh.database, "name": self.fresh.name}
        if self.session.rows(statements.PARTS, parameters)[0][0] > MOST_PARTS:
            self.session.run(statements.merge_parts(self.fresh))
        return DeliveryResult(upserted, deleted, rows_updated=updated)

    def _ends(self, endings: TableName) -> int:
        """Load the keys whose rows end in a history, and when, and return how many there are."""
        if self.delivery.endings is None:
            return 0
        columns, key = self._wanted.ending_columns(), self._wanted.key[:-1]
        found = self._stage(endings, columns, key, ending_batches(self.delivery))
        if found:
            self._refuse_repeated(endings, self._key[:-1])
        return found

    def _stage(
        self,
        table: TableName,
        columns: Sequence[TargetColumn],
        key: Sequence[str],
        batches: Iterator[pa.RecordBatch],
    ) -> int:
        """Load rows into a table of their own, made if there are any, and return how many there are."""
        first = next(batches, None)
        if first is None:
            return 0
        self.session.run(statements.create(table, columns, key))
        return self._load(table, columns, _chained(first, batches))

    def _load_unique(self, table: TableName) -> int:
        """Load the rows that come, whose keys may come but once, and return how many there are."""
        loaded = self._load(table, self._wanted.columns, upsert_batches(self.delivery))
        if loaded and self._key:
            self._refuse_repeated(table, self._key)
        return loaded

    def _refuse_repeated(self, table: TableName, key: Sequence[TargetColumn]) -> None:
        if self.session.rows(statements.repeated_key(table, key)):
            raise DuplicateKeyError(
                f"A key came twice in a delivery to the table {self.table}.", hint="Every key may come once."
            )

    def _load(self, table: TableName, columns: Sequence[TargetColumn], batches: Iterator[pa.RecordBatch]) -> int:
        """Send rows to an empty table and return how many there were."""
        first = next(batches, None)
        if first is None:
            return 0
        sent = _Sent(sent_schema(columns))
        names = [column.name for column in columns]
        with closing(_chained(first, batches)) as rest:
            del first  # not held while its successors are sent
            encoded = (encode(batch, sent.schema, self.session.years) for batch in rest)
            self.session.insert(statements.insertion(table, names), sent.stream(encoded))
        found = self._count(statements.count(table))
        if found != sent.rows:
            raise CorruptDataError(
                f"ClickHouse took {found:,} of the {sent.rows:,} rows for the table {self.table}; it was left as it "
                "was.",
                hint="Repeat the delivery.",
            )
        return sent.rows

    def _count(self, query: str) -> int:
        return int(self.session.rows(query)[0][0])

    # --- taking the name --------------------------------------------------------------------------------------------

    def _publish(self, held: Held | None, live: UUID | None) -> None:
        """Let the next table take the name, if it is still the present one that has it.

        Whoever publishes first removes what other attempts have made. So of two that have begun from one table, none
        can take the name after the other: what it made is gone by then, or it finds that the table is another.
        """
        mine, subscription_id = state.uuid_of(self.session, self.fresh), self.delivery.subscription_id
        if mine is None:
            raise TargetDriftError(f"The table {self.fresh} is gone.")
        kept = StoredState(str(self.table), self.delivery.to_cursor, self._wanted.columns, key_field_ids(self._wanted))
        state.write(self.session, self.states, subscription_id, self.table, mine, kept)
        for other in state.own_tables(self.session, self.table.database, subscription_id):
            if not other.name.startswith(self.fresh.name):
                state.bury(self.session, self.states, subscription_id, other)
        if state.uuid_of(self.session, self.table) != live:
            raise TargetDriftError(f"The table {self.table} is another than when the delivery began.")
        if live is None:
            self.session.run(statements.rename(self.fresh, self.table))
        else:
            self.session.run(statements.exchange(self.fresh, self.table))
        if held is not None and len(held.known) >= MOST_STATES:
            # None of these tables has the name now, nor can have it: attempts that are known were removed above.
            state.forget(self.session, self.states, subscription_id, held.known)


@contextmanager
def attempt(session: Session, states: TableName, table: TableName, delivery: Delivery) -> Iterator[Attempt]:
    """Give an attempt names of its own, and remove what has them when the block ends.

    That is what it has made, or the table that had the name before it. If removing fails, a later attempt does it.
    """
    fresh = table.beside(f"{state.own_name(delivery.subscription_id)}{uuid4().hex}")
    try:
        yield Attempt(session, states, table, delivery, fresh)
    except Exception:
        with suppress(CordilleraError):
            for made in state.own_tables(session, table.database, delivery.subscription_id):
                if made.name.startswith(fresh.name):
                    state.bury(session, states, delivery.subscription_id, made)
        raise
    with suppress(CordilleraError):
        session.run(statements.drop(fresh, at_once=False))  # somebody may read it still


class _Sent(io.RawIOBase):
    """Rows on their way as a stream of Arrow, counted; what Arrow writes is taken from here piece by piece."""

    def __init__(self, schema: pa.Schema) -> None:
        super().__init__()
        self.schema, self.rows = schema, 0
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def stream(self, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
        """Yield the bytes of a stream, a batch at a time."""
        with pa.ipc.new_stream(self, self.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                self.rows += batch.num_rows
                yield self._taken()
        yield self._taken()

    def _taken(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _chained(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
    yield first
    yield from rest


def _needs_copy(evolution: Evolution, key: Sequence[str]) -> bool:
    """Tell whether a change cannot be made in place: key columns keep name and type, and nested values are text."""
    old_names = {new: old for old, new in evolution.renamed}
    return any(
        is_nested(change.new) or old_names.get(change.name, change.name) in key for change in evolution.retyped
    ) or any(old in key for old, _ in evolution.renamed)
