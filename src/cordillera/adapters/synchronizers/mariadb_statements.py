"""The statements that a MariaDB target is kept with, as text made from checked names. Nothing here is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cordillera.adapters.synchronizers.columns import Evolution
from cordillera.adapters.synchronizers.deliveries import OWN_PREFIX, name_hint
from cordillera.adapters.synchronizers.mariadb_types import COLLATION, column_types, selected
from cordillera.errors import InvalidNameError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec import row_history
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO
from cordillera.spec.sql import where

MARK = "Kept equal with a dataset by Cordillera: "
"""What the comment of a table that is kept says; behind it, a mark tells which state it has (see ``mariadb_state``)."""
_MOST_CHARACTERS, _MOST_COMMENT = 64, 1024
_HIGHEST = "\uffff"
_OPTIONS = f"ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {COLLATION}"


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
    """Return a name quoted."""
    return "`" + name.replace("`", "``") + "`"


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
        InvalidNameError: If a name is one MariaDB cannot keep, or two columns would have the same.
    """
    database, _, name = table.name.rpartition(".")
    if "." in database:
        raise InvalidNameError(
            f"{table.name!r} does not name a table in MariaDB.", hint="Write it as table or database.table."
        )
    located = TableName(check_name(database or default_database, "database"), check_name(name, "table"))
    if located.name.startswith(OWN_PREFIX):
        raise InvalidNameError(
            f"Table names that begin with {OWN_PREFIX!r} are kept for Cordillera's own.", hint="Choose another."
        )
    taken: dict[str, str] = {}
    for column in table.columns:
        folded = check_name(column.name, "column").lower()
        if folded in taken:
            raise InvalidNameError(
                f"The columns {taken[folded]!r} and {column.name!r} of table {table.name!r} are one in MariaDB, which "
                "does not tell small letters from capitals there.",
                hint="Rename one of them, or leave it out of the subscription.",
            )
        taken[folded] = column.name
    return located


def check_name(name: str, kind: str) -> str:
    """Return a name if MariaDB can keep it as it is."""
    if not name or "\x00" in name or name.endswith(" ") or max(name) > _HIGHEST:
        raise InvalidNameError(
            f"{name!r} is not a {kind} name in MariaDB.",
            hint="A name does not end with a blank, and has no characters beyond U+FFFF, such as emoji.",
        )
    if len(name) > _MOST_CHARACTERS:
        raise InvalidNameError(
            f"The {kind} name {name!r} has {len(name)} characters; MariaDB keeps {_MOST_CHARACTERS}.",
            hint=name_hint(kind),
        )
    return name


# --- tables ---------------------------------------------------------------------------------------------------------


def create(table: TableName, wanted: TargetTable, mark: str) -> str:
    """Return what creates a table with a mark."""
    return f"CREATE TABLE {table.sql} ({_parts(wanted.columns, wanted.key)}) {_OPTIONS} {_comment(MARK + mark)}"


def create_staging(table: TableName, columns: Sequence[TargetColumn], key: Sequence[str], wanted: TargetTable) -> str:
    """Return what creates a table that ends with the connection, for some columns of one that is wanted."""
    types = column_types(wanted.columns, wanted.key)
    parts = [f"{quote(column.name)} {types[column.name]}" for column in columns]
    parts += [f"PRIMARY KEY ({names(key)})"] if key else []
    return f"CREATE TEMPORARY TABLE {table.sql} ({', '.join(parts)}) {_OPTIONS}"


def create_like(table: TableName, other: TableName) -> str:
    """Return what creates an empty table that has what another has: columns, indexes, checks."""
    return f"CREATE TABLE {table.sql} LIKE {other.sql}"


def alter(table: TableName, evolution: Evolution, wanted: TargetTable, mark: str) -> str:
    """Return the one statement that changes a table's columns, and gives it a mark.

    It happens as a whole, even if the server dies. It names columns as they were before, so names can be swapped.
    """
    types = column_types(wanted.columns, wanted.key)
    before = {new: old for old, new in evolution.renamed}
    changed = {*before, *evolution.made_optional, *(change.name for change in evolution.retyped)}
    changed |= {column.name for column in evolution.described}
    added = {column.name for column in evolution.added}
    parts = [f"DROP COLUMN {quote(name)}" for name in evolution.dropped]
    for column in wanted.columns:
        definition = _definition(column, types, wanted.key)
        if column.name in added:
            parts.append(f"ADD COLUMN {definition}")
        elif column.name in changed:
            parts.append(f"CHANGE COLUMN {quote(before.get(column.name, column.name))} {definition}")
    return f"ALTER TABLE {table.sql} {', '.join([*parts, _comment(MARK + mark)])}"


def _parts(columns: Sequence[TargetColumn], key: Sequence[str]) -> str:
    types = column_types(columns, key)
    parts = [_definition(column, types, key) for column in columns]
    return ", ".join([*parts, f"PRIMARY KEY ({names(key)})"] if key else parts)


def _definition(column: TargetColumn, types: Mapping[str, str], key: Sequence[str]) -> str:
    required = column.name in key or not column.nullable
    comment = f" {_comment(column.doc)}" if column.doc else ""
    return f"{quote(column.name)} {types[column.name]} {'NOT NULL' if required else 'NULL'}{comment}"


def _comment(text: str) -> str:
    """Return a comment, whose characters are those of names."""
    kept = "".join(each if each <= _HIGHEST else "\ufffd" for each in text[:_MOST_COMMENT])
    return f"COMMENT {literal(kept)}"


def rename(*pairs: tuple[TableName, TableName]) -> str:
    """Return what renames tables, all at once."""
    return "RENAME TABLE " + ", ".join(f"{old.sql} TO {new.sql}" for old, new in pairs)


def drop(table: TableName) -> str:
    """Return what removes a table if it is there."""
    return f"DROP TABLE IF EXISTS {table.sql}"


PRESENT = """SELECT column_name, column_type, collation_name, column_key,
        is_nullable = 'NO' AND column_default IS NULL AND generation_expression IS NULL AND extra <> 'auto_increment'
    FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"""
"""Lists the columns of whatever has a name, and whether one has to be given a value."""

KIND = "SELECT table_type, table_comment FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
"""Tells what has a name."""

BEGINNING_WITH = """SELECT table_name FROM information_schema.tables
    WHERE table_schema = %s AND LEFT(table_name, CHAR_LENGTH(%s)) = %s"""
"""Lists the tables of a database whose names begin alike."""

DATABASE = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = %s"
"""Counts the databases of a name."""


# --- rows -----------------------------------------------------------------------------------------------------------


def insertion(table: TableName, columns: Sequence[TargetColumn]) -> str:
    """Return a table and its columns as an INSERT names them."""
    return f"{table.sql} ({names([column.name for column in columns])})"


def count(table: TableName) -> str:
    """Return the query for the number of rows."""
    return f"SELECT COUNT(*) FROM {table.sql}"


def delete(table: TableName, staged: TableName, key: Sequence[str]) -> str:
    """Return what removes the rows whose keys were staged. Those are looked up one by one, however large the table."""
    return f"DELETE t FROM {_looked_up(table, staged, key)}"


def end(table: TableName, staged: TableName, key: Sequence[str]) -> str:
    """Return what ends the current rows of a history whose keys were staged; none ends before it began."""
    to, since = quote(VALID_TO), quote(VALID_FROM)
    return (
        f"UPDATE {_looked_up(table, staged, key)} SET t.{to} = GREATEST(t.{since}, s.{to}), "
        f"t.{quote(IS_CURRENT)} = FALSE WHERE t.{quote(IS_CURRENT)}"
    )


def _looked_up(table: TableName, staged: TableName, key: Sequence[str]) -> str:
    matches = " AND ".join(f"t.{quote(name)} = s.{quote(name)}" for name in key)
    return f"{staged.sql} AS s STRAIGHT_JOIN {table.sql} AS t ON {matches}"


def insert(table: TableName, staged: TableName, columns: Sequence[TargetColumn]) -> str:
    """Return what puts staged rows into a table."""
    listed = names([column.name for column in columns])
    return f"INSERT INTO {table.sql} ({listed}) SELECT {listed} FROM {staged.sql}"


def select(table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> str:
    """Return the query for some columns of the rows that satisfy conditions, whose rows ``decode`` understands."""
    values = ", ".join(selected(quote(column.name), column.type) for column in columns)
    return f"SELECT {values} FROM {table.sql}{where(*conditions)}"


def held(table: TargetTable) -> str:
    """Return the condition for the rows of a table that are asked for; empty for all."""
    return quote(IS_CURRENT) if table.current else ""


def count_unsound(table: TableName, key: Sequence[str]) -> str:
    """Return the query for the number of rows of a history whose times cannot be."""
    return row_history.count_unsound(table.sql, names(key), quote)
