"""One table of a PostgreSQL target: creating, evolving, loading and merging it, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from cordillera.adapters.synchronizers.columns import Evolution, Retyping, field_pairs, is_nested
from cordillera.adapters.synchronizers.deliveries import CURSOR_TABLE, REPAIR_HINT, name_hint
from cordillera.adapters.synchronizers.postgres_binary import SIGNATURE, TRAILER, to_binary
from cordillera.adapters.synchronizers.postgres_rows import select_expression, sql_type
from cordillera.errors import InvalidNameError, TargetDriftError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec import row_history
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO

MAX_IDENTIFIER_BYTES = 63
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class TableName:
    """A table's schema and name."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> sql.Identifier:
        """The name, quoted."""
        return sql.Identifier(self.schema, self.name)


def locate(table: TargetTable, default_schema: str) -> TableName:
    """Return where a table lives, having checked every identifier it brings.

    Raises:
        InvalidNameError: If a name is one PostgreSQL cannot keep as it is.
    """
    schema, _, name = table.name.rpartition(".")
    if "." in schema:
        raise InvalidNameError(
            f"{table.name!r} does not name a table in PostgreSQL.", hint="Write it as table or schema.table."
        )
    located = TableName(check_identifier(schema or default_schema, "schema"), check_identifier(name, "table"))
    if name == CURSOR_TABLE:
        raise InvalidNameError(f"The table name {name!r} is kept for Cordillera's cursors.", hint="Choose another.")
    for column in table.columns:
        check_identifier(column.name, "column")
        if column.name in _SYSTEM_COLUMNS:
            raise InvalidNameError(
                f"The column name {column.name!r} of table {table.name!r} is one PostgreSQL uses itself.",
                hint=name_hint("column"),
            )
    return located


def check_identifier(name: str, kind: str) -> str:
    """Return ``name`` if PostgreSQL can keep it as it is: not empty, without NUL, at most 63 bytes."""
    if not name or "\x00" in name:
        raise InvalidNameError(f"{name!r} is not a {kind} name in PostgreSQL.")
    length = len(name.encode())
    if length > MAX_IDENTIFIER_BYTES:
        raise InvalidNameError(
            f"The {kind} name {name!r} has {length} bytes; PostgreSQL keeps {MAX_IDENTIFIER_BYTES} and would cut it.",
            hint=name_hint(kind),
        )
    return name


# --- as it is -------------------------------------------------------------------------------------------------------


def present_columns(connection: Connection, table: TableName) -> dict[str, str] | None:
    """Return the SQL types by column name of whatever relation has that name; None where there is none."""
    found = connection.execute(
        """SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = %s AND c.relname = %s""",
        [table.schema, table.name],
    ).fetchone()
    if found is None:
        return None
    rows = connection.execute(
        """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
           WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped""",
        found,
    )
    return dict(rows.fetchall())


def check_present(
    connection: Connection, table: TableName, columns: Sequence[TargetColumn], *, keyed: bool = False
) -> None:
    """Make sure that the table still has the given columns, and a primary key; more that a reader added does no harm.

    Raises:
        TargetDriftError: Naming what is missing or has another type.
    """
    present = present_columns(connection, table)
    if present is None:
        raise TargetDriftError(f"The table {table} is not in the target.", hint=REPAIR_HINT)
    for column in columns:
        found = present.get(column.name)
        if found != sql_type(column.type):
            state = "missing" if found is None else f"{found}, not {sql_type(column.type)}"
            raise TargetDriftError(f"Column {column.name!r} of the table {table} is {state}.", hint=REPAIR_HINT)
    if keyed and not _primary_key(connection, table):
        raise TargetDriftError(f"The table {table} has no primary key any more.", hint=REPAIR_HINT)


def check_takes_rows(connection: Connection, table: TableName, columns: Sequence[TargetColumn]) -> None:
    """Make sure that rows of the given columns can be written: that a column which a reader added does not keep them.

    Raises:
        TargetDriftError: Naming that column.
    """
    for name in _demanding(connection, table, columns):
        raise TargetDriftError(
            f"Column {name!r}, which somebody has added to the table {table}, takes no NULL and has no default.",
            hint=REPAIR_HINT,
        )


def _demanding(connection: Connection, table: TableName, columns: Sequence[TargetColumn]) -> list[str]:
    """Return the columns that are none of ours and that rows without a value for them cannot be written to."""
    found = connection.execute(
        """SELECT attname FROM pg_attribute
           WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attnotnull AND NOT atthasdef
                 AND attidentity = '' AND attname <> ALL(%s) ORDER BY attnum""",
        [table.sql.as_string(connection), [column.name for column in columns]],
    )
    return [name for (name,) in found.fetchall()]


# --- as it should be ------------------------------------------------------------------------------------------------


def create(connection: Connection, table: TableName, columns: Sequence[TargetColumn], key: Sequence[str]) -> None:
    """Create a table, without its primary key: that is faster to build after loading.

    Raises:
        TargetDriftError: If something has that name already.
    """
    if present_columns(connection, table) is not None:
        raise TargetDriftError(
            f"There is a table {table} in the target that this subscription did not create; it was left untouched.",
            hint="Choose another table name for the subscription, or move that table away.",
        )
    definitions = [_definition(c, required=c.name in key or not c.nullable) for c in columns]
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table.sql, sql.SQL(", ").join(definitions)))
    _describe(connection, table, [column for column in columns if column.doc])


def add_primary_key(connection: Connection, table: TableName, key: Sequence[str]) -> None:
    """Make the key columns the primary key."""
    if key:
        connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(table.sql, _names(key)))


def restore(connection: Connection, table: TableName, wanted: TargetTable, outdated: Sequence[str]) -> None:
    """Give an emptied table the columns and the key it should have, whatever somebody has made of it.

    It is not made anew where it is there: grants, views and what readers have added stay.

    Args:
        connection: Where the transaction is open.
        table: The table.
        wanted: How it should look.
        outdated: Columns that were delivered once and are to go.
    """
    columns, key, present = wanted.columns, wanted.key, present_columns(connection, table)
    if present is None:
        create(connection, table, columns, key)
        add_primary_key(connection, table, key)
        return

    def alter(action: str, *parts: sql.Composable) -> None:
        connection.execute(sql.SQL("ALTER TABLE {} ").format(table.sql) + sql.SQL(action).format(*parts))

    for name in outdated:
        alter("DROP COLUMN IF EXISTS {}", sql.Identifier(name))
    for name in _demanding(connection, table, columns):
        alter("ALTER COLUMN {} DROP NOT NULL", sql.Identifier(name))
    for name in _primary_key(connection, table):
        alter("DROP CONSTRAINT {}", sql.Identifier(name))
    for column in columns:
        named, required = sql.Identifier(column.name), column.name in key or not column.nullable
        if column.name not in present:
            alter("ADD COLUMN {}", _definition(column, required=required))
            continue
        if present[column.name] != sql_type(column.type):
            alter("ALTER COLUMN {} DROP DEFAULT", named)
            alter("ALTER COLUMN {} TYPE {} USING NULL", named, sql.SQL(sql_type(column.type)))
        alter("ALTER COLUMN {} SET NOT NULL" if required else "ALTER COLUMN {} DROP NOT NULL", named)
    add_primary_key(connection, table, key)
    _describe(connection, table, [column for column in columns if column.doc])


def _primary_key(connection: Connection, table: TableName) -> list[str]:
    """Return the name of the table's primary key, if it has one."""
    found = connection.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'p'",
        [table.sql.as_string(connection)],
    )
    return [name for (name,) in found.fetchall()]


def drop(connection: Connection, table: TableName) -> None:
    """Remove a table if it is there; what others built on it (views) stops that."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table.sql))


def evolve(connection: Connection, table: TableName, evolution: Evolution) -> None:
    """Change a table's columns; see ``Evolution`` for the order."""

    def alter(action: str, *parts: sql.Composable) -> None:
        connection.execute(sql.SQL("ALTER TABLE {} ").format(table.sql) + sql.SQL(action).format(*parts))

    for name in evolution.dropped:
        alter("DROP COLUMN {}", sql.Identifier(name))
    for old, new in evolution.renaming_steps():
        alter("RENAME COLUMN {} TO {}", sql.Identifier(old), sql.Identifier(new))
    for retyping in evolution.retyped:
        if is_nested(retyping.new):
            connection.execute(_reshaping(table, retyping))
        elif sql_type(retyping.old) != sql_type(retyping.new):
            alter("ALTER COLUMN {} TYPE {}", sql.Identifier(retyping.name), sql.SQL(sql_type(retyping.new)))
    for name in evolution.made_optional:
        alter("ALTER COLUMN {} DROP NOT NULL", sql.Identifier(name))
    for column in evolution.added:
        alter("ADD COLUMN {}", _definition(column, required=False))
    _describe(connection, table, evolution.described)


def _definition(column: TargetColumn, *, required: bool) -> sql.Composed:
    parts = "{} " + sql_type(column.type) + (" NOT NULL" if required else "")
    return sql.SQL(parts).format(sql.Identifier(column.name))


def _describe(connection: Connection, table: TableName, columns: Sequence[TargetColumn]) -> None:
    for column in columns:
        statement = sql.SQL("COMMENT ON COLUMN {}.{} IS {}")
        connection.execute(statement.format(table.sql, sql.Identifier(column.name), sql.Literal(column.doc)))


def _reshaping(table: TableName, retyping: Retyping) -> sql.Composed:
    """Return the UPDATE that gives stored JSON the fields of a changed nested type."""
    column = sql.Identifier(retyping.name)
    statement = sql.SQL("UPDATE {} SET {} = {} WHERE {} IS NOT NULL")
    return statement.format(table.sql, column, _reshaped(column, retyping.old, retyping.new, 0), column)


def _reshaped(value: sql.Composable, old: pa.DataType, new: pa.DataType, depth: int) -> sql.Composable:
    """Return the SQL that turns the JSON of one type into that of another. Widened values have the same JSON."""
    if not is_nested(new):
        return value
    alias = sql.Identifier(f"level_{depth}")
    if pa.types.is_struct(new):
        return _reshaped_fields(value, _paths(field_pairs(old, new)), alias, depth)
    item = sql.SQL("{}.value").format(alias)
    if pa.types.is_map(new):
        pairs = field_pairs(old, new)
        paths = [("key", *_types(pairs[0]), "key"), ("value", *_types(pairs[1]), "value")]
        inner: sql.Composable = _reshaped_fields(item, paths, sql.Identifier(f"entry_{depth}"), depth)
    else:
        inner = _reshaped(item, old.value_type, new.value_type, depth + 1)
    return sql.SQL(
        "CASE WHEN jsonb_typeof({value}) = 'array' THEN (SELECT coalesce(jsonb_agg({inner} ORDER BY {a}.place), '[]')"
        " FROM jsonb_array_elements({value}) WITH ORDINALITY AS {a}(value, place)) ELSE {value} END"
    ).format(value=value, inner=inner, a=alias)


_Path = tuple[str, pa.DataType | None, pa.DataType, str]  # a field's former name and type, its type, its name


def _types(pair: tuple[pa.Field | None, pa.Field]) -> tuple[pa.DataType | None, pa.DataType]:
    before, now = pair
    return (before.type if before is not None else None), now.type


def _paths(pairs: Sequence[tuple[pa.Field | None, pa.Field]]) -> list[_Path]:
    return [(before.name if before is not None else "", *_types((before, now)), now.name) for before, now in pairs]


def _reshaped_fields(value: sql.Composable, paths: Sequence[_Path], alias: sql.Identifier, depth: int) -> sql.Composed:
    rows = []
    for old_name, old, new, name in paths:
        item: sql.Composable = sql.SQL("'null'::jsonb")
        if old is not None:
            item = _reshaped(sql.SQL("({} -> {})").format(value, sql.Literal(old_name)), old, new, depth + 1)
        rows.append(sql.SQL("({}::text, {})").format(sql.Literal(name), item))
    return sql.SQL(
        "CASE WHEN jsonb_typeof({value}) = 'object' THEN"
        " (SELECT jsonb_object_agg({a}.name, {a}.item) FROM (VALUES {rows}) AS {a}(name, item)) ELSE {value} END"
    ).format(value=value, a=alias, rows=sql.SQL(", ").join(rows))


# --- rows -----------------------------------------------------------------------------------------------------------


def load(
    connection: Connection, table: TableName, columns: Sequence[TargetColumn], batches: Iterator[pa.RecordBatch]
) -> int:
    """Copy rows straight into a table and return how many there were."""
    return _copy(connection, table.sql, columns, batches)


def stage(
    connection: Connection, name: str, columns: Sequence[TargetColumn], batches: Iterator[pa.RecordBatch]
) -> sql.Identifier | None:
    """Copy rows into a temporary table that ends with the transaction; None, and no table, if there are no rows."""
    first = next(batches, None)
    if first is None:
        return None
    definitions = sql.SQL(", ").join([_definition(column, required=False) for column in columns])
    create_it = sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP")
    connection.execute(create_it.format(sql.Identifier(name), definitions))
    staging = sql.Identifier("pg_temp", name)
    _copy(connection, staging, columns, chain([first], batches))
    return staging


def empty(connection: Connection, table: TableName) -> int:
    """Remove all rows and return how many there were.

    By DELETE, because TRUNCATE shuts readers out until the transaction ends, and shows those with an older snapshot an
    empty table afterwards.
    """
    return connection.execute(sql.SQL("DELETE FROM {}").format(table.sql)).rowcount


def delete(connection: Connection, table: TableName, key: Sequence[str], staging: sql.Identifier) -> int:
    """Remove the rows whose keys were staged and return how many there were."""
    matches = [sql.SQL("stored.{0} = gone.{0}").format(sql.Identifier(name)) for name in key]
    statement = sql.SQL("DELETE FROM {} AS stored USING {} AS gone WHERE {}")
    return connection.execute(statement.format(table.sql, staging, sql.SQL(" AND ").join(matches))).rowcount


def end(connection: Connection, table: TableName, key: Sequence[str], staging: sql.Identifier) -> int:
    """End the current rows of a history whose keys were staged, and return how many there were.

    No row ends before it began, whatever clocks said.
    """
    matches = [sql.SQL("stored.{0} = ended.{0}").format(sql.Identifier(name)) for name in key]
    statement = sql.SQL(
        "UPDATE {table} AS stored SET {to} = greatest(stored.{since}, ended.{to}), {current} = false "
        "FROM {staging} AS ended WHERE {matches} AND stored.{current}"
    ).format(
        table=table.sql,
        to=sql.Identifier(VALID_TO),
        since=sql.Identifier(VALID_FROM),
        current=sql.Identifier(IS_CURRENT),
        staging=staging,
        matches=sql.SQL(" AND ").join(matches),
    )
    return connection.execute(statement).rowcount


def count_unsound(connection: Connection, table: TableName, key: Sequence[str]) -> int:
    """Return how many rows of a history have times that cannot be."""
    statement = row_history.count_unsound(table.sql.as_string(connection), _names(key).as_string(connection))
    found = connection.execute(statement.encode()).fetchone()
    assert found is not None, "an aggregate has a row"
    return int(found[0])


def held(table: TargetTable) -> sql.Composable:
    """Return the condition for the rows of a table that are asked for."""
    return sql.Identifier(IS_CURRENT) if table.current else sql.SQL("true")


def upsert(
    connection: Connection,
    table: TableName,
    columns: Sequence[TargetColumn],
    key: Sequence[str],
    staging: sql.Identifier,
) -> tuple[int, int]:
    """Insert staged rows, or put them in the place of the rows of their keys.

    Returns:
        How many there were, and how many of them were put in the place of another.

    Key columns are assigned too: equal keys may still differ, as 0.0 and -0.0 do. Without a key every row is new.
    """
    names = [column.name for column in columns]
    statement = sql.SQL("INSERT INTO {t} ({n}) SELECT {n} FROM {s}").format(t=table.sql, n=_names(names), s=staging)
    if key:
        assignments = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in names]
        conflict = sql.SQL(" ON CONFLICT ({}) DO UPDATE SET {}")
        statement += conflict.format(_names(key), sql.SQL(", ").join(assignments))
    # A row that took another's place is known by the lock that its transaction holds on it: new rows have none.
    counted = sql.SQL(
        "WITH put AS ({} RETURNING xmax <> 0 AS updated) SELECT count(*), count(*) FILTER (WHERE updated) FROM put"
    )
    found = connection.execute(counted.format(statement)).fetchone()
    assert found is not None, "an aggregate has a row"
    return found


def _copy(
    connection: Connection,
    into: sql.Identifier,
    columns: Sequence[TargetColumn],
    batches: Iterator[pa.RecordBatch],
) -> int:
    """Copy rows into a table; while a batch is sent, and the server stores it, the next one is read and encoded."""
    names = _names([column.name for column in columns])
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(into, names)
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy, ThreadPoolExecutor(1, thread_name_prefix="cordillera-copy") as sender:
            sending = sender.submit(copy.write, SIGNATURE)
            for encoded in chain[bytes | memoryview](map(to_binary, batches), [TRAILER]):
                sending.result()
                sending = sender.submit(copy.write, encoded)
            sending.result()
        return cursor.rowcount


def copy_out(table: TableName, columns: Sequence[TargetColumn], condition: sql.Composable) -> sql.Composed:
    """Return the COPY statement for the rows that satisfy a condition, whose output ``read_batches`` understands."""
    values = [sql.SQL(select_expression(c.type)).format(sql.Identifier(c.name)) for c in columns]
    statement = sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT (FORMAT csv)")
    return statement.format(sql.SQL(", ").join(values), table.sql, condition)


def _names(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join([sql.Identifier(name) for name in names])
