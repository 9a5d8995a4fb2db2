"""What every synchronizer does before engines differ: decide whether a delivery is due, and check its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import pyarrow as pa

from cordillera.adapters.synchronizers.columns import Evolution, is_supported, plan_evolution
from cordillera.errors import (
    IncompatibleSchemaError,
    InvalidSchemaError,
    MissingKeyError,
    NullKeyError,
    TargetDriftError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, Delivery, RowReader, TargetColumn, TargetTable

OWN_PREFIX = "_cordillera_"
"""What the names of tables begin with that deliveries make for themselves."""
CURSOR_TABLE = f"{OWN_PREFIX}cursors"
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""How much Arrow data is sent at once: little enough to encode, enough that targets do not drown in small pieces."""
REPAIR_HINT = "Have it put right with: cordillera subscription repair; what was delivered before comes anew."
"""What to do about a table that somebody else has changed."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """What a target remembers of a subscription: its table, how far it followed, and the columns it left there."""

    table_name: str
    cursor: Cursor
    columns: tuple[TargetColumn, ...]
    key: tuple[int, ...]


def is_due(stored: StoredState | None, delivery: Delivery, table_name: str) -> bool:
    """Tell whether a delivery has to be applied; False when the target already holds it or a later one.

    Args:
        stored: What the target remembers, read under the lock that the delivery is applied under.
        delivery: The delivery.
        table_name: The name of its table, as the target spells it in full.

    Raises:
        TargetDriftError: If the delivery does not begin where the target stands.
    """
    if stored is not None:
        check_kept_table(stored, delivery.subscription_id, table_name)
    held = stored.cursor if stored else None
    wanted = delivery.to_cursor
    covered = held and held.sequence_number >= wanted.sequence_number and held.schema_id >= wanted.schema_id
    goes_back = delivery.goes_back and held == delivery.from_cursor
    if covered and not (delivery.repair or goes_back):
        return False
    if held != delivery.from_cursor:
        stored_at, expected = _spell(held), _spell(delivery.from_cursor)
        raise TargetDriftError(
            f"Table {table_name!r} stands at {stored_at}, but the delivery begins at {expected}.",
            hint="Plan the delivery from the cursor the target holds, or drop the table and deliver it whole.",
            details={"stored": stored_at, "expected": expected},
        )
    return True


def check_kept_table(stored: StoredState, subscription_id: UUID, table_name: str) -> None:
    """Make sure that a subscription keeps the table it is asked about.

    Raises:
        TargetDriftError: If it keeps another.
    """
    if stored.table_name != table_name:
        raise TargetDriftError(
            f"Subscription {subscription_id} keeps the table {stored.table_name!r}, not {table_name!r}.",
            hint="Drop the subscription's table from the target before delivering to another.",
        )


def evolution_to(stored: StoredState, delivery: Delivery) -> Evolution | None:
    """Return how the stored columns become the delivered ones; None if only a new table can, and its rows go anyway.

    Raises:
        IncompatibleSchemaError: If only a new table can, but the rows are to stay.
    """
    try:
        return plan_evolution(stored.columns, stored.key, delivery.table)
    except IncompatibleSchemaError:
        if delivery.replace:
            return None
        raise


def restores(stored: StoredState, delivery: Delivery) -> bool:
    """Tell whether a delivery may put right whatever somebody else has made of a table: all of its rows come anew."""
    return delivery.replace and delivery.repair and stored.cursor == delivery.to_cursor


def _spell(cursor: Cursor | None) -> str:
    return f"sequence number {cursor.sequence_number}, schema {cursor.schema_id}" if cursor else "no cursor"


def check_table(table: TargetTable) -> None:
    """Make sure that a table description is one a target can keep.

    Raises:
        InvalidSchemaError: If it has no columns, or one of a type that Iceberg does not have.
        MissingKeyError: If a key column is not among the columns.
    """
    if not table.columns:
        raise InvalidSchemaError(f"Table {table.name!r} has no columns.")
    for column in table.columns:
        if not is_supported(column.type):
            raise InvalidSchemaError(
                f"Column {column.name!r} of table {table.name!r} has the type {column.type}, which no target can keep."
            )
    missing = set(table.key) - {column.name for column in table.columns}
    if missing:
        raise MissingKeyError(f"Table {table.name!r} has no column {sorted(missing)[0]!r}, which its key names.")


def upsert_batches(delivery: Delivery, batch_bytes: int = MAX_BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """Stream the rows to insert or replace, checked and in batches of about so many bytes."""
    table = delivery.table
    required = {*table.key, *(column.name for column in table.columns if not column.nullable)}
    return _batches(delivery.upserts, table.arrow_schema(), required, table, batch_bytes)


def delete_batches(delivery: Delivery, batch_bytes: int = MAX_BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """Stream the keys of rows to remove, checked and in batches likewise.

    Raises:
        MissingKeyError: While streaming, if there are keys although the table has no key columns.
    """
    table = delivery.table
    schema = pa.schema([table.arrow_schema().field(name) for name in table.key])
    for batch in _batches(delivery.deletes, schema, set(table.key), table, batch_bytes):
        if not table.key:
            raise MissingKeyError(f"Rows of table {table.name!r} cannot be removed by key: it has none.")
        yield batch


def ending_batches(delivery: Delivery, batch_bytes: int = MAX_BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """Stream the keys of a history's rows that end, and when, checked and in batches likewise; none of other tables."""
    if delivery.endings is None:
        return iter(())
    table = delivery.table
    ended = TargetTable(table.name, table.ending_columns(), table.key[:-1])
    schema = ended.arrow_schema()
    return _batches(delivery.endings, schema, set(schema.names), ended, batch_bytes)


def _batches(
    rows: RowReader, schema: pa.Schema, required: set[str], table: TargetTable, batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    with rows() as reader:
        _check_schema(reader.schema, schema, table)
        pending: list[pa.RecordBatch] = []
        size = 0
        for piece in (piece for batch in reader for piece in _cut(_without_nulls(batch, required, table), batch_bytes)):
            if pending and size + piece.nbytes > batch_bytes:
                gathered, pending, size = pa.concat_batches(pending), [], 0
                yield gathered
                del gathered  # not held while the next one is gathered
            pending.append(piece)
            size += piece.nbytes
        if pending:
            yield pa.concat_batches(pending)


def _check_schema(given: pa.Schema, wanted: pa.Schema, table: TargetTable) -> None:
    if given.names != wanted.names:
        raise TypeMismatchError(
            f"Rows for table {table.name!r} have the columns {given.names}, not {wanted.names}.",
        )
    for field, expected in zip(given, wanted, strict=True):
        if field.type != expected.type:
            raise TypeMismatchError(
                f"Column {field.name!r} of table {table.name!r} is {expected.type}, but the rows have {field.type}."
            )


def _without_nulls(batch: pa.RecordBatch, required: set[str], table: TargetTable) -> pa.RecordBatch:
    for name in batch.schema.names:
        if name in required and batch.column(name).null_count:
            kind = NullKeyError if name in table.key else TypeMismatchError
            raise kind(f"Rows for table {table.name!r} carry NULL in the required column {name!r}.")
    return batch


def _cut(batch: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Cut a batch so that encoding a piece takes bounded memory however wide its rows are."""
    if not batch.num_rows:
        return
    rows = max(1, batch.num_rows * most_bytes // max(batch.nbytes, most_bytes))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def read_columns(table: TargetTable, columns: Sequence[str] | None) -> list[TargetColumn]:
    """Return the columns of ``table`` that a reader asked for, in the order asked; all of them for None.

    Raises:
        TargetDriftError: If one of them is not there.
    """
    by_name = {column.name: column for column in table.columns}
    wanted = list(by_name) if columns is None else list(columns)
    for name in wanted:
        if name not in by_name:
            raise TargetDriftError(
                f"Table {table.name!r} has no column {name!r}.", hint=f"Columns: {', '.join(by_name)}."
            )
    return [by_name[name] for name in wanted]


def name_hint(kind: str) -> str:
    """Return what to do about the name of a column, table or schema that a target cannot keep."""
    if kind == "column":
        return "Rename the column, or leave it out: cordillera subscription change ID --columns NAMES."
    return "Subscribe again, with another name: cordillera subscription create DATASET TARGET --table NAME."
