"""A target in memory: the synchronizer port on Arrow tables, for tests and for reading how a synchronizer behaves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from cordillera.errors import (
    DuplicateKeyError,
    IncompatibleSchemaError,
    MissingKeyError,
    NullKeyError,
    TargetDriftError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import (
    Capabilities,
    Cursor,
    Delivery,
    DeliveryResult,
    RowReader,
    TargetTable,
)
from cordillera.spec.arrow_evolution import evolved
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO


@dataclass(frozen=True, slots=True)
class _Kept:
    """What one subscription keeps."""

    table: TargetTable
    cursor: Cursor
    rows: pa.Table


class MemorySynchronizer:
    """Keeps tables in this process's memory; they end with the object."""

    def __init__(self) -> None:
        self._kept: dict[UUID, _Kept] = {}
        self._abandoned: dict[str, pa.Table] = {}
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        """Transactional, with every schema change, also of fields inside structs; it keeps histories."""
        return Capabilities(True, frozenset({"add", "rename", "widen", "drop", "optional"}), history=True)

    def check(self) -> None:
        """Do nothing: memory is always reachable."""

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor of a subscription, or None before the first delivery."""
        kept = self._kept.get(subscription_id)
        return kept.cursor if kept else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Apply a delivery exactly once, all of it or nothing; see the port."""
        with self._lock:
            kept = self._kept.get(delivery.subscription_id)
            goes_back = kept and delivery.goes_back and kept.cursor == delivery.from_cursor
            if kept and _covers(kept.cursor, delivery.to_cursor) and not (delivery.repair or goes_back):
                return DeliveryResult(0, 0, already_applied=True)
            self._check_drift(kept, delivery)
            table = delivery.table
            ended = _endings(delivery)
            upserts = _read(delivery.upserts, table.arrow_schema(), table)
            _refuse_duplicates(upserts, table)
            closed = 0
            if kept is None or delivery.replace:
                removed, updated = kept.rows.num_rows if kept else 0, 0
                rows = upserts
            else:
                stored = _evolved(kept, table)
                deletes = _read(delivery.deletes, pa.schema([table.arrow_schema().field(n) for n in table.key]), table)
                remaining = _without(stored, deletes, table.key)
                removed = stored.num_rows - remaining.num_rows
                remaining, closed = _ended(remaining, ended, table.key[:-1]) if ended else (remaining, 0)
                others = _without(remaining, upserts.select(table.key), table.key)
                updated = remaining.num_rows - others.num_rows
                rows = pa.concat_tables([others, upserts])
            self._kept[delivery.subscription_id] = _Kept(table, delivery.to_cursor, rows)
            return DeliveryResult(upserts.num_rows + closed, removed, rows_updated=updated + closed)

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the rows of the table of that name."""
        found = [kept.rows for kept in self._kept.values() if kept.table.name == table.name]
        found += [self._abandoned[table.name]] if table.name in self._abandoned else []
        if not found:
            raise TargetDriftError(f"The table {table.name!r} is not in the target.")
        wanted = table.arrow_schema().names if columns is None else list(columns)
        missing = [name for name in wanted if name not in found[0].column_names]
        if missing:
            raise TargetDriftError(f"The table {table.name!r} has no column {missing[0]!r}.")
        schema = pa.schema([table.arrow_schema().field(name) for name in wanted])
        rows = found[0].filter(found[0].column(IS_CURRENT)) if table.current else found[0]
        return rows.select(wanted).cast(schema).to_reader()

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Forget a subscription and, unless ``keep_rows``, its table."""
        with self._lock:
            kept = self._kept.get(subscription_id)
            if kept is None:
                return
            if kept.table.name != table.name:
                raise TargetDriftError(f"Subscription {subscription_id} keeps {kept.table.name!r}, not {table.name!r}.")
            del self._kept[subscription_id]
            if keep_rows:
                self._abandoned[table.name] = kept.rows

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def _check_drift(self, kept: _Kept | None, delivery: Delivery) -> None:
        name = delivery.table.name
        held = kept.cursor if kept else None
        if held != delivery.from_cursor:
            raise TargetDriftError(
                f"Table {name!r} stands at {held}, but the delivery begins at {delivery.from_cursor}."
            )
        if kept and kept.table.name != name:
            raise TargetDriftError(f"Subscription {delivery.subscription_id} keeps {kept.table.name!r}, not {name!r}.")
        others = {k.table.name for i, k in self._kept.items() if i != delivery.subscription_id}
        if name in others or name in self._abandoned:
            raise TargetDriftError(f"There is a table {name!r} that this subscription did not create.")


def _covers(held: Cursor, wanted: Cursor) -> bool:
    return held.sequence_number >= wanted.sequence_number and held.schema_id >= wanted.schema_id


def _read(rows: RowReader, schema: pa.Schema, table: TargetTable) -> pa.Table:
    with rows() as reader:
        found = reader.read_all()
    if not found.schema.equals(schema, check_metadata=False) and found.schema.names != schema.names:
        raise TypeMismatchError(f"Rows for table {table.name!r} have the columns {found.schema.names}.")
    for field, expected in zip(found.schema, schema, strict=True):
        if field.type != expected.type:
            raise TypeMismatchError(f"Column {field.name!r} is {expected.type}, but the rows have {field.type}.")
        required = field.name in table.key or not expected.nullable
        if required and found.column(field.name).null_count:
            kind = NullKeyError if field.name in table.key else TypeMismatchError
            raise kind(f"Rows for table {table.name!r} carry NULL in the required column {field.name!r}.")
    if not schema.names and found.num_rows:
        raise MissingKeyError(f"Rows of table {table.name!r} cannot be removed by key: it has none.")
    return found.cast(schema)


# --- keys -----------------------------------------------------------------------------------------------------------


def _comparable(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """Return the key columns in types whose equality is that of keys: NaN equals NaN, and -0.0 equals 0.0."""
    columns = {}
    for position, name in enumerate(key):
        column = rows.column(name)
        if pa.types.is_floating(column.type):
            column = pc.add(column.cast(pa.float64()), 0.0).cast(pa.string())
        elif isinstance(column.type, pa.UuidType):
            column = column.cast(pa.binary(16)).cast(pa.binary())
        elif pa.types.is_decimal(column.type):
            column = column.cast(pa.string())
        elif pa.types.is_fixed_size_binary(column.type):
            column = column.cast(pa.binary())
        columns[str(position)] = column
    return pa.table(columns)


def _without(rows: pa.Table, gone: pa.Table, key: Sequence[str]) -> pa.Table:
    """Return the rows whose keys are not among ``gone``."""
    if not key or not gone.num_rows or not rows.num_rows:
        return rows
    numbered = _comparable(rows, key).append_column("row", pa.array(range(rows.num_rows), pa.int64()))
    names = [str(position) for position in range(len(key))]
    kept = numbered.join(_comparable(gone, key), names, join_type="left anti")
    return rows.take(kept.column("row"))


def _endings(delivery: Delivery) -> pa.Table | None:
    if delivery.endings is None:
        return None
    table = delivery.table
    keyed = TargetTable(table.name, table.ending_columns(), table.key[:-1])
    found = _read(delivery.endings, keyed.arrow_schema(), keyed)
    _refuse_duplicates(found, keyed)
    return found


def _ended(rows: pa.Table, ended: pa.Table, key: Sequence[str]) -> tuple[pa.Table, int]:
    """Return the rows of a history with those that are current ended whose keys are given, and how many those are."""
    if not rows.num_rows or not ended.num_rows:
        return rows, 0
    numbered = _comparable(rows, key).append_column("row", pa.array(range(rows.num_rows), pa.int64()))
    ends = _comparable(ended, key).append_column("to", ended.column(VALID_TO))
    joined = numbered.join(ends, [str(n) for n in range(len(key))], join_type="left outer").sort_by("row")
    closes = pc.and_(pc.is_valid(joined.column("to")), rows.column(IS_CURRENT))
    since, to = rows.column(VALID_FROM), joined.column("to")
    until = pc.if_else(closes, pc.if_else(pc.greater(since, to), since, to), rows.column(VALID_TO))
    current = pc.and_(rows.column(IS_CURRENT), pc.invert(closes))
    names = rows.schema.names
    for name, column in ((VALID_TO, until), (IS_CURRENT, current)):
        rows = rows.set_column(names.index(name), rows.schema.field(name), column)
    return rows, pc.sum(closes).as_py()


def _refuse_duplicates(rows: pa.Table, table: TargetTable) -> None:
    if table.key:
        keys = _comparable(rows, table.key)
        if keys.group_by(keys.column_names).aggregate([]).num_rows < rows.num_rows:
            raise DuplicateKeyError(f"Keys come more than once in the delivered rows of {table.name!r}.")


# --- schema changes -------------------------------------------------------------------------------------------------


def _evolved(kept: _Kept, table: TargetTable) -> pa.Table:
    """Return the kept rows under the delivered columns, matched by field id."""
    before = {column.field_id: column for column in kept.table.columns}
    if _key_ids(kept.table) != _key_ids(table):
        raise IncompatibleSchemaError(f"Table {table.name!r} was delivered with another key.")
    columns = []
    for column in table.columns:
        old = before.get(column.field_id)
        if not column.nullable and (old is None or old.nullable):
            raise IncompatibleSchemaError(f"Stored rows have no value for the required column {column.name!r}.")
        if old is None:
            columns.append(pa.chunked_array([pa.nulls(kept.rows.num_rows, column.type)]))
        else:
            chunks = [evolved(chunk, old.type, column.type, column.name) for chunk in kept.rows.column(old.name).chunks]
            columns.append(pa.chunked_array(chunks, column.type))
    return pa.table(columns, schema=table.arrow_schema())


def _key_ids(table: TargetTable) -> list[int]:
    ids = {column.name: column.field_id for column in table.columns}
    return sorted(ids[name] for name in table.key)
