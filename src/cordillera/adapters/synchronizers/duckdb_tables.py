"""One table of a DuckDB file: creating, evolving, loading and merging it, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import duckdb
import pyarrow as pa

from cordillera.adapters.arrow_streams import read_by_duckdb
from cordillera.adapters.synchronizers.columns import Evolution, field_pairs, is_nested
from cordillera.adapters.synchronizers.deliveries import CURSOR_TABLE, REPAIR_HINT
from cordillera.errors import DuplicateKeyError, InvalidNameError, TargetDriftError, TypeMismatchError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec import row_history
from cordillera.spec.counting import counted
from cordillera.spec.key_order import AscendingKeys
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO

Connection = duckdb.DuckDBPyConnection
_DELIVERED = "_cordillera_delivered"
_SQL_TYPES = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.timestamp("us"): "TIMESTAMP",
    pa.timestamp("ns"): "TIMESTAMP_NS",
    pa.string(): "VARCHAR",
    pa.uuid(): "UUID",
    pa.binary(): "BLOB",
}


@dataclass(frozen=True, slots=True)
class TableName:
    """A table's schema and name, and the file's name as a catalog, without which a schema of that name is ambiguous."""

    schema: str
    name: str
    catalog: str = ""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """The whole name, quoted."""
        return f"{self.schema_sql}.{quoted(self.name)}"

    @property
    def schema_sql(self) -> str:
        """The schema's whole name, quoted."""
        return f"{quoted(self.catalog)}.{quoted(self.schema)}"

    def opened(self, connection: Connection) -> TableName:
        """Return the name in the file that a connection has open."""
        (catalog,) = connection.execute("SELECT current_database()").fetchall()[0]
        return replace(self, catalog=catalog)


def locate(table: TargetTable) -> TableName:
    """Return where a table lives, having checked every identifier it brings.

    Raises:
        InvalidNameError: If a name is one DuckDB cannot keep.
    """
    schema, _, name = table.name.rpartition(".")
    if "." in schema:
        raise InvalidNameError(f"{table.name!r} does not name a table.", hint="Write it as table or schema.table.")
    for identifier in (name, schema or "main", *(column.name for column in table.columns)):
        if not identifier or "\x00" in identifier:
            raise InvalidNameError(f"{identifier!r} cannot be a name in DuckDB.")
    if name.lower() == CURSOR_TABLE:
        raise InvalidNameError(f"The table name {name!r} is kept for Cordillera's cursors.", hint="Choose another.")
    return TableName(schema or "main", name)


def quoted(identifier: str) -> str:
    """Return an identifier for use in SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _names(names: Sequence[str]) -> str:
    return ", ".join(quoted(name) for name in names)


def sql_type(kind: pa.DataType) -> str:
    """Return the DuckDB type that keeps values of an Arrow type."""
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{quoted(field.name)} {sql_type(field.type)}' for field in kind)})"
    if pa.types.is_map(kind):
        return f"MAP({sql_type(kind.key_type)}, {sql_type(kind.item_type)})"
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_fixed_size_binary(kind):
        return "BLOB"
    if pa.types.is_timestamp(kind) and kind.tz:
        return "TIMESTAMP WITH TIME ZONE"
    return _SQL_TYPES[kind]


# --- as it is -------------------------------------------------------------------------------------------------------


def present_columns(connection: Connection, table: TableName) -> dict[str, str] | None:
    """Return the SQL types by column name of the table or view of that name; None where there is none."""
    described = _described(connection, table)
    return None if described is None else {name: kind for name, kind, *_ in described}


def _described(connection: Connection, table: TableName) -> list[tuple[str, ...]] | None:
    """Return what DuckDB says of each column: its name, type, whether it takes NULL, its key, and its default.

    DESCRIBE looks at one table. The first look at ``duckdb_columns()`` binds all of DuckDB's own views, which took a
    tenth of a small delivery.
    """
    try:
        return connection.execute(f"DESCRIBE {table.sql}").fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):  # none, or a view of what is no more: it takes no rows
        return None


def check_present(connection: Connection, table: TableName, columns: Sequence[TargetColumn]) -> None:
    """Make sure that the table still has the given columns; others that a reader added do no harm.

    Raises:
        TargetDriftError: Naming what is missing or has another type.
    """
    present = present_columns(connection, table)
    if present is None:
        raise TargetDriftError(f"The table {table} is not in the target.", hint=REPAIR_HINT)
    for column, wanted in zip(columns, _spelled_types(connection, columns), strict=True):
        found = present.get(column.name)
        if found != wanted:
            state = "missing" if found is None else f"{found}, not {wanted}"
            raise TargetDriftError(f"Column {column.name!r} of the table {table} is {state}.", hint=REPAIR_HINT)


def check_takes_rows(connection: Connection, table: TableName, columns: Sequence[TargetColumn]) -> None:
    """Make sure that rows of the given columns can be written: that a column which a reader added does not keep them.

    Raises:
        TargetDriftError: Naming that column.
    """
    ours = [column.name for column in columns]
    for name in _demanding(connection, table):
        if name not in ours:
            raise TargetDriftError(
                f"Column {name!r}, which somebody has added to the table {table}, takes no NULL and has no default.",
                hint=REPAIR_HINT,
            )


def _demanding(connection: Connection, table: TableName) -> list[str]:
    """Return the columns that rows without a value for them cannot be written to."""
    described = _described(connection, table) or []
    return [name for name, _, takes_null, _, default, *_ in described if takes_null == "NO" and default is None]


def _spelled_types(connection: Connection, columns: Sequence[TargetColumn]) -> Sequence[str]:
    """Return the columns' SQL types as DuckDB itself spells them."""
    if not columns:
        return []
    casts = ", ".join(f"typeof(CAST(NULL AS {sql_type(column.type)}))" for column in columns)
    found: tuple[str, ...] = connection.execute(f"SELECT {casts}").fetchall()[0]
    return found


# --- as it should be ------------------------------------------------------------------------------------------------


def create(connection: Connection, table: TableName, columns: Sequence[TargetColumn], key: Sequence[str]) -> None:
    """Create a table, and its schema where that is new.

    Raises:
        TargetDriftError: If something has that name already.
    """
    if present_columns(connection, table) is not None:
        raise TargetDriftError(
            f"There is a table {table} in the target that this subscription did not create; it was left untouched.",
            hint="Choose another table name for the subscription, or move that table away.",
        )
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.schema_sql}")
    definitions = [_definition(c) + (" NOT NULL" if c.name in key or not c.nullable else "") for c in columns]
    connection.execute(f"CREATE TABLE {table.sql} ({', '.join(definitions)})")
    _describe(connection, table, [column for column in columns if column.doc])


def drop(connection: Connection, table: TableName) -> None:
    """Remove a table if it is there."""
    connection.execute(f"DROP TABLE IF EXISTS {table.sql}")


def evolve(connection: Connection, table: TableName, evolution: Evolution) -> None:
    """Change a table's columns; see ``Evolution`` for the order."""

    def alter(action: str) -> None:
        connection.execute(f"ALTER TABLE {table.sql} {action}")

    for name in evolution.dropped:
        alter(f"DROP COLUMN {quoted(name)}")
    for old, new in evolution.renaming_steps():
        alter(f"RENAME COLUMN {quoted(old)} TO {quoted(new)}")
    for change in evolution.retyped:
        name = quoted(change.name)
        value = _converted(name, change.old, change.new, 0)
        alter(f"ALTER COLUMN {name} SET DATA TYPE {sql_type(change.new)} USING {value}")
    for name in evolution.made_optional:
        alter(f"ALTER COLUMN {quoted(name)} DROP NOT NULL")
    for column in evolution.added:
        alter(f"ADD COLUMN {_definition(column)}")
    _describe(connection, table, evolution.described)


def _definition(column: TargetColumn) -> str:
    return f"{quoted(column.name)} {sql_type(column.type)}"


def _describe(connection: Connection, table: TableName, columns: Sequence[TargetColumn]) -> None:
    for column in columns:
        doc = "NULL" if column.doc is None else _literal(column.doc)
        connection.execute(f"COMMENT ON COLUMN {table.sql}.{quoted(column.name)} IS {doc}")


def _converted(value: str, old: pa.DataType, new: pa.DataType, depth: int) -> str:
    """Return the SQL that turns a value of one type into another, matching the fields of structs by field id."""
    if not is_nested(new):
        return f"CAST({value} AS {sql_type(new)})"
    item = f"level_{depth}"
    if pa.types.is_struct(new):
        fields = [
            (f"struct_extract({value}, {_literal(b.name)})" if b else None, b, now) for b, now in field_pairs(old, new)
        ]
        packed = _packed([(now.name, v, b and b.type, now.type) for v, b, now in fields], depth)
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE {packed} END"
    if pa.types.is_list(new):
        return f"list_transform({value}, lambda {item}: {_converted(item, old.value_type, new.value_type, depth + 1)})"
    entry = _packed(
        [
            ("key", f"struct_extract({item}, 'key')", old.key_type, new.key_type),
            ("value", f"struct_extract({item}, 'value')", old.item_type, new.item_type),
        ],
        depth,
    )
    return f"map_from_entries(list_transform(map_entries({value}), lambda {item}: {entry}))"


def _packed(fields: Sequence[tuple[str, str | None, pa.DataType | None, pa.DataType]], depth: int) -> str:
    """Return the SQL of a struct from its fields' names, former values and types (None for a new field), and types."""
    parts = []
    for name, value, old, new in fields:
        item = f"CAST(NULL AS {sql_type(new)})" if value is None else _converted(value, old, new, depth + 1)
        parts.append(f"{quoted(name)} := {item}")
    return f"struct_pack({', '.join(parts)})"


# --- rows -----------------------------------------------------------------------------------------------------------


def load(
    connection: Connection,
    into: str,
    columns: Sequence[TargetColumn],
    key: Sequence[str],
    batches: Iterator[pa.RecordBatch],
) -> int:
    """Insert rows into a table (its name quoted) and return how many there were.

    Raises:
        DuplicateKeyError: If a key comes twice in the table then.
    """
    names = _names([column.name for column in columns])
    schema = pa.schema([(column.name, _storable_type(column.type)) for column in columns])
    keys, failures = AscendingKeys(key), list[BaseException]()
    stream = read_by_duckdb(schema, map(_storable, keys.watch(batches)), failures)
    # As a capsule: of a reader, DuckDB would have Arrow read ahead, without bound.
    connection.register(_DELIVERED, stream.__arrow_c_stream__())
    try:
        loaded = _number(connection, f"INSERT INTO {into} ({names}) SELECT {names} FROM {_DELIVERED}")
    except (duckdb.Error, pa.ArrowException):
        if failures:
            raise failures[0] from None  # DuckDB tells of it as of an error of its own
        raise
    finally:
        connection.unregister(_DELIVERED)
    if key and not keys.ascend:
        _refuse_duplicates(connection, into, key)
    return loaded


def _refuse_duplicates(connection: Connection, table: str, key: Sequence[str]) -> None:
    repeated = f"SELECT 1 FROM {table} GROUP BY {_names(key)} HAVING count(*) > 1"
    found = _number(connection, f"SELECT count(*) FROM ({repeated})")
    if found:
        raise DuplicateKeyError(
            f"{counted(found, 'key comes', 'keys come')} more than once in the delivered rows of {table}."
        )


def _storable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch that DuckDB stores without changing a value.

    DuckDB would cut nanoseconds off instants without a word: they are brought to microseconds, or refused.
    """
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = _storable_type(column.type)
        try:
            columns.append(column if kind == column.type else column.cast(kind))
        except pa.ArrowInvalid:
            raise TypeMismatchError(
                f"Column {name!r} has timestamps with a zone finer than a microsecond, which DuckDB cannot store.",
                hint="Round the column to microseconds.",
            ) from None
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _storable_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_storable_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_storable_type(kind.key_type), _storable_type(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_storable_type(kind.value_type)))
    return pa.timestamp("us", kind.tz) if kind == pa.timestamp("ns", "UTC") else kind


def stage(
    connection: Connection,
    name: str,
    columns: Sequence[TargetColumn],
    key: Sequence[str],
    batches: Iterator[pa.RecordBatch],
) -> str | None:
    """Put rows into a temporary table and return its name; None, and no table, if there are no rows."""
    first = next(batches, None)
    if first is None:
        return None
    connection.execute(f"CREATE TEMPORARY TABLE {quoted(name)} ({', '.join(_definition(c) for c in columns)})")
    staging = f"temp.main.{quoted(name)}"
    load(connection, staging, columns, key, chain([first], batches))
    return staging


def count(connection: Connection, table: TableName) -> int:
    """Return how many rows a table has."""
    return _number(connection, f"SELECT count(*) FROM {table.sql}")


def empty(connection: Connection, table: TableName) -> int:
    """Remove all rows and return how many there were."""
    return _number(connection, f"DELETE FROM {table.sql}")


def delete(connection: Connection, table: TableName, key: Sequence[str], staging: str) -> int:
    """Remove the rows whose keys were staged and return how many there were."""
    matches = " AND ".join(f"stored.{quoted(name)} = gone.{quoted(name)}" for name in key)
    return _number(connection, f"DELETE FROM {table.sql} AS stored USING {staging} AS gone WHERE {matches}")


def end(connection: Connection, table: TableName, key: Sequence[str], staging: str) -> int:
    """End the current rows of a history whose keys were staged, and return how many there were.

    No row ends before it began, whatever clocks said.
    """
    matches = " AND ".join(f"stored.{quoted(name)} = ended.{quoted(name)}" for name in key)
    to, current = quoted(VALID_TO), quoted(IS_CURRENT)
    return _number(
        connection,
        f"UPDATE {table.sql} AS stored SET {to} = greatest(stored.{quoted(VALID_FROM)}, ended.{to}), {current} = false "
        f"FROM {staging} AS ended WHERE {matches} AND stored.{current}",
    )


def count_unsound(connection: Connection, table: TableName, key: Sequence[str]) -> int:
    """Return how many rows of a history have times that cannot be."""
    return _number(connection, row_history.count_unsound(table.sql, _names(key)))


def held(table: TargetTable) -> str:
    """Return the condition for the rows of a table that are asked for."""
    return quoted(IS_CURRENT) if table.current else "true"


def upsert(
    connection: Connection, table: TableName, columns: Sequence[TargetColumn], key: Sequence[str], staging: str
) -> tuple[int, int]:
    """Insert staged rows in the place of the rows of their keys; return how many there were, and how many in place."""
    updated = delete(connection, table, key, staging) if key else 0
    names = _names([column.name for column in columns])
    return _number(connection, f"INSERT INTO {table.sql} ({names}) SELECT {names} FROM {staging}"), updated


def _number(connection: Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchall()[0][0])
