"""The statements that native tables of Snowflake are kept with, as text made from checked names. Nothing here is run.

Names of tables and columns are in double quotes, and so as they are given, capitals and small letters told apart; the
database and the schema are found as somebody finds them who quotes nothing. Values are bound by whoever runs a
statement (``?``); comments, which cannot be, are literals.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cordillera.adapters.synchronizers.deliveries import OWN_PREFIX, name_hint
from cordillera.adapters.synchronizers.snowflake_statements import fold
from cordillera.adapters.synchronizers.snowflake_types import loaded, selected, sql_type, staged_type
from cordillera.errors import InvalidNameError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec import row_history
from cordillera.spec.external_schema import literal
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO
from cordillera.spec.sql import columns as listed
from cordillera.spec.sql import quote, where

_MOST_CHARACTERS = 255
_MARK = re.compile(r"\bcordillera\.mark=([0-9a-f]{32})$")


@dataclass(frozen=True, slots=True)
class TableName:
    """A table's database, schema and name, as Snowflake keeps them."""

    database: str
    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """The whole name, quoted."""
        return ".".join(quote(part) for part in (self.database, self.schema, self.name))

    def beside(self, name: str) -> TableName:
        """Return another table of the same schema."""
        return TableName(self.database, self.schema, name)

    def catalog(self, relation: str) -> str:
        """Return a relation of the database's information schema."""
        return f"{quote(self.database)}.INFORMATION_SCHEMA.{relation}"


# --- names ----------------------------------------------------------------------------------------------------------


def locate(table: TargetTable, database: str, schema: str) -> TableName:
    """Return where a table lives, having checked every name it brings.

    Args:
        table: The table.
        database: The target's.
        schema: Where a table is whose name says none.

    Raises:
        InvalidNameError: If a name is one Snowflake cannot keep, or kept for Cordillera's own tables.
    """
    given, _, name = table.name.rpartition(".")
    if "." in given:
        raise InvalidNameError(
            f"{table.name!r} does not name a table in a database of Snowflake.",
            hint="Write it as table or schema.table.",
        )
    located = TableName(database, fold(given, "schema") if given else schema, _checked(name, "table"))
    if located.name.startswith(OWN_PREFIX):
        raise InvalidNameError(
            f"Table names that begin with {OWN_PREFIX!r} are kept for Cordillera's own.", hint="Choose another."
        )
    for column in table.columns:
        _checked(column.name, "column")
    return located


def _checked(name: str, kind: str) -> str:
    if not name or "\x00" in name:
        raise InvalidNameError(f"{name!r} is not a {kind} name in Snowflake.")
    if len(name) > _MOST_CHARACTERS:
        raise InvalidNameError(
            f"The {kind} name {name[:60]!r}… has {len(name)} characters; Snowflake keeps {_MOST_CHARACTERS}.",
            hint=name_hint(kind),
        )
    return name


def marked(mark: str) -> str:
    """Return the comment of a table that is made for a delivery."""
    return f"Kept equal with a dataset by Cordillera. cordillera.mark={mark}"


def mark_in(comment: str) -> str | None:
    """Return the mark in a table's comment; None for a comment that is somebody else's."""
    found = _MARK.search(comment)
    return found[1] if found else None


# --- tables ---------------------------------------------------------------------------------------------------------


def create_like(table: TableName, present: TableName) -> str:
    """Return what creates an empty table with the columns of one that is there, and its privileges."""
    return f"CREATE TABLE {table.sql} LIKE {present.sql} COPY GRANTS"


def create(table: TableName, wanted: TargetTable, mark: str, *, instead: bool) -> str:
    """Return what creates an empty table; ``instead`` of one that is there, whose privileges it then gets."""
    parts = ", ".join(
        f"{_definition(column)}{' NOT NULL' if column.name in wanted.key or not column.nullable else ''}"
        f"{_comment(column)}"
        for column in wanted.columns
    )
    head, grants = ("CREATE OR REPLACE TABLE", " COPY GRANTS") if instead else ("CREATE TABLE", "")
    return f"{head} {table.sql} ({parts}){grants} COMMENT = {literal(marked(mark))}"


def swap(table: TableName, other: TableName) -> str:
    """Return what lets two tables take each other's name at once, each with its rows and privileges."""
    return f"ALTER TABLE {table.sql} SWAP WITH {other.sql}"


def rename(table: TableName, to: TableName) -> str:
    """Return what gives a table a name that nothing has."""
    return f"ALTER TABLE {table.sql} RENAME TO {to.sql}"


def drop(table: TableName) -> str:
    """Return what removes a table if it is there."""
    return f"DROP TABLE IF EXISTS {table.sql}"


def drop_column(table: TableName, name: str) -> str:
    """Return what removes a column."""
    return f"ALTER TABLE {table.sql} DROP COLUMN {quote(name)}"


def rename_column(table: TableName, old: str, new: str) -> str:
    """Return what renames a column."""
    return f"ALTER TABLE {table.sql} RENAME COLUMN {quote(old)} TO {quote(new)}"


def add_column(table: TableName, column: TargetColumn) -> str:
    """Return what adds a column, NULL in the rows that are there."""
    return f"ALTER TABLE {table.sql} ADD COLUMN {_definition(column)}{_comment(column)}"


def widen_column(table: TableName, column: TargetColumn) -> str:
    """Return what gives a column its type, which has more digits than the one it has."""
    return f"ALTER TABLE {table.sql} ALTER COLUMN {quote(column.name)} SET DATA TYPE {sql_type(column.type)}"


def make_optional(table: TableName, name: str) -> str:
    """Return what lets a column be NULL."""
    return f"ALTER TABLE {table.sql} ALTER COLUMN {quote(name)} DROP NOT NULL"


def describe_column(table: TableName, column: TargetColumn) -> str:
    """Return what makes a column's documentation its comment."""
    return f"ALTER TABLE {table.sql} ALTER COLUMN {quote(column.name)} COMMENT {literal(column.doc or '')}"


def _definition(column: TargetColumn) -> str:
    return f"{quote(column.name)} {sql_type(column.type)}"


def _comment(column: TargetColumn) -> str:
    return f" COMMENT {literal(column.doc)}" if column.doc else ""


def found_table(table: TableName) -> str:
    """Return the query, of a schema and a name, for what has that name."""
    return (
        f'SELECT table_type AS "kind", comment AS "comment" FROM {table.catalog("TABLES")} '
        "WHERE table_schema = ? AND table_name = ?"
    )


def found_tables(table: TableName) -> str:
    """Return the query, of a schema and what a name begins with, for the tables whose names do."""
    return (
        f'SELECT table_name AS "name" FROM {table.catalog("TABLES")} '
        "WHERE table_schema = ? AND STARTSWITH(table_name, ?)"
    )


def found_columns(table: TableName) -> str:
    """Return the query, of a schema and a name, for the columns of whatever has that name."""
    return (
        'SELECT column_name AS "name", data_type AS "type", numeric_precision AS "precision", numeric_scale AS "scale" '
        f"FROM {table.catalog('COLUMNS')} WHERE table_schema = ? AND table_name = ?"
    )


def found_schema(table: TableName) -> str:
    """Return the query, of a name, for the schema of that name."""
    return f'SELECT schema_name AS "name" FROM {table.catalog("SCHEMATA")} WHERE schema_name = ?'


# --- staging --------------------------------------------------------------------------------------------------------


def create_staging(name: str, columns: Sequence[TargetColumn]) -> str:
    """Return what creates a staging table, which ends with the session."""
    parts = ", ".join(f"{quote(column.name)} {staged_type(column.type)}" for column in columns)
    return f"CREATE TEMPORARY TABLE {quote(name)} ({parts})"


def create_stage(name: str) -> str:
    """Return what creates a stage for files, which ends with the session."""
    return f"CREATE TEMPORARY STAGE {quote(name)}"


def put(stage: str, file_name: str) -> str:
    """Return what sends a file, whose content the connector is given."""
    return f"PUT file://{file_name} @{quote(stage)} AUTO_COMPRESS = FALSE"


def copy(staging: str, columns: Sequence[TargetColumn], stage: str) -> str:
    """Return what loads the Parquet files of a stage into a staging table."""
    values = ", ".join(f"$1:c{place}::{staged_type(column.type)}" for place, column in enumerate(columns))
    form = "(TYPE = PARQUET NULL_IF = ())"  # else the text \\N would be NULL
    return f"COPY INTO {quote(staging)} FROM (SELECT {values} FROM @{quote(stage)}) FILE_FORMAT = {form}"


def repeated_key(staging: str, key: Sequence[TargetColumn]) -> str:
    """Return the query that yields a row if a key was staged twice."""
    terms = ", ".join(loaded(column.type).format(quote(column.name)) for column in key)
    return f"SELECT 1 FROM {quote(staging)} GROUP BY {terms} HAVING COUNT(*) > 1 LIMIT 1"


# --- rows -----------------------------------------------------------------------------------------------------------


def delete(table: TableName, staging: str, key: Sequence[TargetColumn]) -> str:
    """Return what removes the rows whose keys were staged."""
    return f"DELETE FROM {table.sql} AS t USING {quote(staging)} AS s WHERE {_joined(key)}"


def end(table: TableName, staging: str, ended: Sequence[TargetColumn]) -> str:
    """Return what ends the current rows of a history whose keys were staged; none ends before it began.

    Args:
        table: The history.
        staging: Where keys and times were staged.
        ended: The columns of the key, and that of the times.
    """
    to, since = quote(VALID_TO), quote(VALID_FROM)
    return (
        f"UPDATE {table.sql} AS t SET {to} = GREATEST(t.{since}, {loaded(ended[-1].type).format(f's.{to}')}), "
        f"{quote(IS_CURRENT)} = FALSE FROM {quote(staging)} AS s WHERE {_joined(ended[:-1])} AND t.{quote(IS_CURRENT)}"
    )


def _joined(key: Sequence[TargetColumn]) -> str:
    """Return the condition for a row and a staged one to have the same key; NaN is one with NaN in Snowflake."""
    return " AND ".join(
        f"t.{quote(column.name)} = {loaded(column.type).format(f's.{quote(column.name)}')}" for column in key
    )


def empty(table: TableName) -> str:
    """Return what removes all rows: by DELETE, because TRUNCATE would commit the transaction."""
    return f"DELETE FROM {table.sql}"


def count(table: TableName) -> str:
    """Return the query for the number of rows."""
    return f'SELECT COUNT(*) AS "rows" FROM {table.sql}'


def insert(table: TableName, staging: str, columns: Sequence[TargetColumn]) -> str:
    """Return what puts staged rows into a table."""
    values = ", ".join(loaded(column.type).format(quote(column.name)) for column in columns)
    return (
        f"INSERT INTO {table.sql} ({listed(column.name for column in columns)}) SELECT {values} FROM {quote(staging)}"
    )


def select(table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> str:
    """Return the query for some columns of the rows that satisfy conditions, whose rows ``decode`` understands."""
    values = ", ".join(
        f"{selected(column.type).format(quote(column.name))} AS {quote(f'c{place}')}"
        for place, column in enumerate(columns)
    )
    return f"SELECT {values} FROM {table.sql}{where(*conditions)}"


def held(table: TargetTable) -> str:
    """Return the condition for the rows of a table that are asked for; empty for all."""
    return quote(IS_CURRENT) if table.current else ""


def count_unsound(table: TableName, key: Sequence[str]) -> str:
    """Return the query for the number of rows of a history whose times cannot be."""
    return row_history.count_unsound(table.sql, listed(key))
