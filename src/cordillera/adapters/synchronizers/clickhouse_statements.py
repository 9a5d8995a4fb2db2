"""The statements that a ClickHouse target is kept with, as text made from checked names. Nothing here is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pyarrow as pa

from cordillera.adapters.synchronizers.clickhouse_types import column_type
from cordillera.adapters.synchronizers.deliveries import OWN_PREFIX
from cordillera.errors import InvalidNameError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec import row_history
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO
from cordillera.spec.sql import where

MOST_TABLE_BYTES = 120
"""ClickHouse makes file names of tables' names, in which most characters of other alphabets take three for a byte."""

_FOLLOWING = "leadInFrame(toNullable({value})) OVER ({window} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)"
_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_SYSTEM_COLUMNS = frozenset({"_row_exists", "_block_number", "_block_offset"})


@dataclass(frozen=True, slots=True)
class TableName:
    """A table's database and name."""

    database: str
    name: str

    def __str__(self) -> str:
        return f"{self.database}.{self.name}"

    @property
    def sql(self) -> str:
        """The name, quoted."""
        return f"{quote(self.database)}.{quote(self.name)}"

    def beside(self, name: str) -> TableName:
        """Return another table of the same database."""
        return TableName(self.database, name)


# --- names ----------------------------------------------------------------------------------------------------------


def quote(name: str) -> str:
    """Return a name quoted; a backslash escapes in names, too."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def literal(text: str) -> str:
    """Return text as a string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def names(columns: Sequence[str]) -> str:
    """Return names as a list."""
    return ", ".join(quote(name) for name in columns)


def locate(table: TargetTable, default_database: str) -> TableName:
    """Return where a table lives, having checked every name it brings.

    Raises:
        InvalidNameError: If a name is one ClickHouse cannot keep.
    """
    database, _, name = table.name.rpartition(".")
    if "." in database:
        raise InvalidNameError(
            f"{table.name!r} does not name a table in ClickHouse.", hint="Write it as table or database.table."
        )
    located = TableName(check_name(database or default_database, "database"), check_name(name, "table"))
    if located.name.startswith(OWN_PREFIX):
        raise InvalidNameError(
            f"Table names that begin with {OWN_PREFIX!r} are kept for Cordillera's own.", hint="Choose another."
        )
    for column in table.columns:
        _check_column(column.name, table)
    return located


def check_name(name: str, kind: str) -> str:
    """Return the name of a database or a table, if ClickHouse can keep it."""
    if not name or "\x00" in name:
        raise InvalidNameError(f"{name!r} is not a {kind} name in ClickHouse.")
    length = sum(1 if byte in _WORD else 3 for byte in name.encode())
    if length > MOST_TABLE_BYTES:
        raise InvalidNameError(
            f"The {kind} name {name!r} is too long for ClickHouse, which makes a file name of it.",
            hint=f"Use at most {MOST_TABLE_BYTES} letters of A to Z, digits and _; others count as three for a byte.",
        )
    return name


def _check_column(name: str, table: TargetTable) -> None:
    if not name or "\x00" in name or "." in name:
        raise InvalidNameError(
            f"The column name {name!r} of table {table.name!r} is one ClickHouse cannot keep, which takes what is "
            "behind a point for a part of the column before it.",
            hint="Deliver the column under another name.",
        )
    if name in _SYSTEM_COLUMNS:
        raise InvalidNameError(
            f"The column name {name!r} of table {table.name!r} is one ClickHouse uses itself.",
            hint="Deliver the column under another name.",
        )


# --- tables ---------------------------------------------------------------------------------------------------------


def create(table: TableName, columns: Sequence[TargetColumn], key: Sequence[str]) -> str:
    """Return what creates a table, sorted by its key."""
    parts = ", ".join(_definition(column, key) for column in columns)
    return f"CREATE TABLE {table.sql} ({parts}) ENGINE = MergeTree ORDER BY ({names(key)})"


def create_like(table: TableName, other: TableName) -> str:
    """Return what creates an empty table that has all that another has: columns, indexes, settings."""
    return f"CREATE TABLE {table.sql} AS {other.sql}"


def _definition(column: TargetColumn, key: Sequence[str]) -> str:
    comment = f" COMMENT {literal(column.doc)}" if column.doc else ""
    return f"{quote(column.name)} {column_type(column, key)}{comment}"


def take_over(table: TableName, source: TableName) -> str:
    """Return what adds all rows of a table that is alike, by links to its files."""
    return f"ALTER TABLE {table.sql} ATTACH PARTITION tuple() FROM {source.sql}"


def exchange(table: TableName, other: TableName) -> str:
    """Return what lets two tables take each other's name at once."""
    return f"EXCHANGE TABLES {table.sql} AND {other.sql}"


def rename(table: TableName, new: TableName) -> str:
    """Return what gives a table a name that nobody has."""
    return f"RENAME TABLE {table.sql} TO {new.sql}"


def drop(table: TableName, *, at_once: bool) -> str:
    """Return what removes a table if it is there.

    Args:
        table: The table.
        at_once: Wait until nobody reads it, and let its files go now; else they go some minutes later.
    """
    return f"DROP TABLE IF EXISTS {table.sql}{' SYNC' if at_once else ''} SETTINGS max_table_size_to_drop = 0"


def drop_column(table: TableName, name: str) -> str:
    """Return what removes a column."""
    return f"ALTER TABLE {table.sql} DROP COLUMN {quote(name)}"


def rename_column(table: TableName, old: str, new: str) -> str:
    """Return what renames a column."""
    return f"ALTER TABLE {table.sql} RENAME COLUMN {quote(old)} TO {quote(new)}"


def retype_column(table: TableName, column: TargetColumn) -> str:
    """Return what gives a column that is no key column the type it should have."""
    return f"ALTER TABLE {table.sql} MODIFY COLUMN {quote(column.name)} {column_type(column, ())}"


def add_column(table: TableName, column: TargetColumn) -> str:
    """Return what adds a column, NULL in the rows that are there."""
    return f"ALTER TABLE {table.sql} ADD COLUMN {_definition(column, ())}"


def describe(table: TableName, column: TargetColumn) -> str:
    """Return what makes a column's documentation its comment."""
    return f"ALTER TABLE {table.sql} COMMENT COLUMN {quote(column.name)} {literal(column.doc or '')}"


def merge_parts(table: TableName) -> str:
    """Return what merges a few parts of a table, as ClickHouse chooses."""
    return f"OPTIMIZE TABLE {table.sql}"


PRESENT = "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {name:String}"
"""Lists the columns of whatever has a name."""

UUID_OF = "SELECT uuid FROM system.tables WHERE database = {database:String} AND name = {name:String}"
"""Tells which table has a name."""

BEGINNING_WITH = """SELECT name FROM system.tables
    WHERE database = {database:String} AND startsWith(name, {prefix:String})"""
"""Lists the tables of a database whose names begin alike."""

PARTS = "SELECT count() FROM system.parts WHERE database = {database:String} AND table = {name:String} AND active"
"""Counts the parts of a table."""

ENGINE = "SELECT engine FROM system.databases WHERE name = {database:String}"
"""Tells of which kind a database is."""


# --- rows -----------------------------------------------------------------------------------------------------------


def insertion(table: TableName, columns: Sequence[str]) -> str:
    """Return a table and its columns as an INSERT names them."""
    return f"{table.sql} ({names(columns)})"


def count(table: TableName) -> str:
    """Return the query for the number of rows."""
    return f"SELECT count() FROM {table.sql}"


def repeated_key(table: TableName, key: Sequence[TargetColumn]) -> str:
    """Return the query that yields a row if a key came twice."""
    return f"SELECT 1 FROM {table.sql} GROUP BY {_identity(key)} HAVING count() > 1 LIMIT 1"


def count_matching(table: TableName, keys: TableName, key: Sequence[TargetColumn]) -> str:
    """Return the query for the number of rows whose keys are in another table."""
    return f"SELECT count() FROM {table.sql} WHERE {_among(key, keys)}"


def delete(table: TableName, staged: Sequence[TableName], key: Sequence[TargetColumn]) -> str:
    """Return what removes the rows whose keys are in other tables."""
    return f"DELETE FROM {table.sql} WHERE {' OR '.join(_among(key, keys) for keys in staged)}"


def end(ended: TableName, table: TableName, endings: TableName, key: Sequence[TargetColumn]) -> str:
    """Return what puts rows of a history into another table, as they are when they have ended; none before it began.

    Args:
        ended: Where they go, a table that is alike; of rows that it has, the key does not come again.
        table: The history, whose current rows end.
        endings: The keys of those rows, and when they end.
        key: The history's key: the dataset's, and the commit.
    """
    since, to, entity = quote(VALID_FROM), quote(VALID_TO), key[:-1]
    current = f"SELECT * FROM {table.sql} WHERE {quote(IS_CURRENT)} AND {_among(entity, endings)}"
    matches = " AND ".join(f"{_key_value(column, 'h.')} = {_key_value(column, 'e.')}" for column in entity)
    changed = f"greatest(h.{since}, e.{to}) AS {to}, false AS {quote(IS_CURRENT)}"
    return (
        f"INSERT INTO {ended.sql} SELECT h.* REPLACE ({changed}) "
        f"FROM ({current} AND NOT {_among(key, ended)}) AS h INNER JOIN {endings.sql} AS e ON {matches}"
    )


def _among(key: Sequence[TargetColumn], keys: TableName) -> str:
    return f"({_identity(key)}) IN (SELECT {_identity(key)} FROM {keys.sql})"


def _identity(key: Sequence[TargetColumn]) -> str:
    return ", ".join(_key_value(column) for column in key)


def _key_value(column: TargetColumn, of: str = "") -> str:
    """Return what tells a key value from others: of floats the bits, since NaN is one key, and so are both zeros."""
    value = f"{of}{quote(column.name)}"
    if not pa.types.is_floating(column.type):
        return value
    return f"reinterpretAsUInt64(if(isNaN({value}), CAST('nan', 'Float64'), toFloat64({value}) + 0.0))"


def copy(table: TableName, source: TableName, kept: Sequence[tuple[str, str]]) -> str:
    """Return what copies columns of one table into another, each its name there and its name here.

    An INSERT gives values the types of the columns they go to.
    """
    values = names([old for old, _ in kept])
    return f"INSERT INTO {insertion(table, [new for _, new in kept])} SELECT {values} FROM {source.sql}"


def select(table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> str:
    """Return the query for some columns of the rows that satisfy conditions."""
    return f"SELECT {names([column.name for column in columns])} FROM {table.sql}{where(*conditions)}"


def held(table: TargetTable) -> str:
    """Return the condition for the rows of a table that are asked for; empty for all."""
    return quote(IS_CURRENT) if table.current else ""


def count_unsound(table: TableName, key: Sequence[TargetColumn]) -> str:
    """Return the query for the number of rows of a history whose times cannot be."""
    return row_history.count_unsound(table.sql, _identity(key), quote, _FOLLOWING)


def uuids(values: Sequence[UUID]) -> str:
    """Return UUIDs as a list of literals."""
    return ", ".join(f"toUUID('{value}')" for value in values)
