"""The statements that an Amazon Redshift target is kept with, as text made from checked names. Nothing here is run.

Names are written in double quotes, with their ASCII letters in lower case as Redshift folds them. Values are bound by
whoever runs a statement (``?``); what cannot be bound, a place in S3, a role, a comment, is written as a literal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase, ascii_uppercase

import pyarrow as pa

from cordillera.adapters.synchronizers.columns import Retyping
from cordillera.adapters.synchronizers.deliveries import OWN_PREFIX, name_hint
from cordillera.adapters.synchronizers.redshift_types import has_text, loaded, selected, sql_type, staged_type
from cordillera.errors import InvalidConfigurationError, InvalidNameError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec import row_history
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO
from cordillera.spec.sql import literal, quote, where

MAX_IDENTIFIER_BYTES = 127
DISTRIBUTIONS, SORTINGS = ("key", "even", "all", "auto"), ("key", "auto", "none")

_SYSTEM_COLUMNS = frozenset({"oid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "deletexid", "insertxid"})
_FOLDED = str.maketrans(ascii_uppercase, ascii_lowercase)
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_PRIVILEGE = re.compile(r"[A-Z]+( [A-Z]+)*")
_GRANTEES = {"user": "{}", "group": "GROUP {}", "role": "ROLE {}", "public": "PUBLIC"}


@dataclass(frozen=True, slots=True)
class TableName:
    """A table's schema and name, as Redshift keeps them; staging tables have no schema."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """The name, quoted."""
        return f"{quote(self.schema)}.{quote(self.name)}" if self.schema else quote(self.name)

    def of(self, column: str) -> str:
        """Return one of its columns, quoted."""
        return f"{quote(self.name)}.{quote(column)}"


@dataclass(frozen=True, slots=True)
class Layout:
    """How tables are laid out in a cluster.

    Attributes:
        distribution: ``key`` (by the first key column that can be), ``even``, ``all`` or ``auto``.
        sorting: ``key`` (by the key columns that can be), ``auto`` or ``none``.
    """

    distribution: str = "key"
    sorting: str = "key"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("distribution", self.distribution, DISTRIBUTIONS),
            ("sorting", self.sorting, SORTINGS),
        ):
            if value not in known:
                raise InvalidConfigurationError(
                    f"A redshift target has no {name} {value[:20]!r}.", hint=f"Give one of {', '.join(known)}."
                )


@dataclass(frozen=True, slots=True)
class Grant:
    """A privilege that somebody has on a table, as Redshift lists it."""

    privilege: str
    name: str
    kind: str
    grantable: bool


# --- names ----------------------------------------------------------------------------------------------------------


def fold(name: str) -> str:
    """Return a name as Redshift keeps it: ASCII letters in lower case, others as they are."""
    return name.translate(_FOLDED)


def locate(table: TargetTable, default_schema: str) -> TableName:
    """Return where a table lives, having checked every identifier it brings.

    Raises:
        InvalidNameError: If a name is one Redshift cannot keep, or two columns would have the same.
    """
    schema, _, name = table.name.rpartition(".")
    if "." in schema:
        raise InvalidNameError(
            f"{table.name!r} does not name a table in Amazon Redshift.", hint="Write it as table or schema.table."
        )
    located = TableName(check_identifier(schema or default_schema, "schema"), check_identifier(name, "table"))
    if located.name.startswith(OWN_PREFIX):
        raise InvalidNameError(
            f"Table names that begin with {OWN_PREFIX!r} are kept for Cordillera's own.", hint="Choose another."
        )
    taken: dict[str, str] = {}
    for column in table.columns:
        folded = check_identifier(column.name, "column")
        if folded in _SYSTEM_COLUMNS:
            raise InvalidNameError(
                f"The column name {column.name!r} of table {table.name!r} is one Amazon Redshift uses itself.",
                hint="Deliver the column under another name.",
            )
        if folded in taken:
            raise InvalidNameError(
                f"The columns {taken[folded]!r} and {column.name!r} of table {table.name!r} are one in Amazon "
                "Redshift, which does not tell small letters from capitals.",
                hint="Rename one of them, or leave it out of the subscription.",
            )
        taken[folded] = column.name
    return located


def check_identifier(name: str, kind: str) -> str:
    """Return a name as Redshift keeps it, if it can: not empty, without NUL, at most 127 bytes."""
    if not name or "\x00" in name:
        raise InvalidNameError(f"{name!r} is not a {kind} name in Amazon Redshift.")
    length = len(name.encode())
    if length > MAX_IDENTIFIER_BYTES:
        raise InvalidNameError(
            f"The {kind} name {name!r} has {length} bytes; Amazon Redshift keeps {MAX_IDENTIFIER_BYTES}.",
            hint=name_hint(kind),
        )
    return fold(name)


def folded_table(table: TargetTable) -> TargetTable:
    """Return a table whose columns have the names that Redshift keeps."""
    columns = tuple(replace(column, name=fold(column.name)) for column in table.columns)
    return replace(table, columns=columns, key=tuple(fold(name) for name in table.key))


# --- tables ---------------------------------------------------------------------------------------------------------


def create(table: TableName, columns: Sequence[TargetColumn], key: Sequence[str], layout: Layout) -> str:
    """Return what creates a table. Redshift enforces NOT NULL, but takes the primary key as a hint to its planner."""
    parts = [_definition(column, required=column.name in key or not column.nullable) for column in columns]
    if key:
        parts.append(f"PRIMARY KEY ({_names(key)})")
    by_name = {column.name: column for column in columns}
    sortable = [_can_sort(by_name[name].type) for name in key]
    leading = list(key)[: sortable.index(False)] if False in sortable else list(key)
    attributes = f" {_distribution([name for name in key if _can_sort(by_name[name].type)], layout)}"
    if layout.sorting == "auto":
        attributes += " SORTKEY AUTO"
    elif layout.sorting == "key" and leading:
        attributes += f" COMPOUND SORTKEY ({_names(leading)})"
    return f"CREATE TABLE {table.sql} ({', '.join(parts)}){attributes}"


def create_staging(name: str, columns: Sequence[TargetColumn], key: Sequence[str], layout: Layout) -> str:
    """Return what creates a staging table, which ends with the session, distributed as the table is."""
    parts = [f"{quote(column.name)} {staged_type(column.type)}{_collation(column)}" for column in columns]
    by_name = {column.name: column.type for column in columns}
    same = [name for name in key if _can_sort(by_name[name]) and staged_type(by_name[name]) == sql_type(by_name[name])]
    return f"CREATE TEMP TABLE {quote(name)} ({', '.join(parts)}) {_distribution(same, layout)}"


def _distribution(names: Sequence[str], layout: Layout) -> str:
    if layout.distribution != "key":
        return f"DISTSTYLE {layout.distribution.upper()}"
    return f"DISTSTYLE KEY DISTKEY ({quote(names[0])})" if names else "DISTSTYLE EVEN"


def _can_sort(kind: pa.DataType) -> bool:
    """Tell whether a column of a type can distribute or sort a table."""
    return sql_type(kind) != "SUPER" and not sql_type(kind).startswith("VARBYTE")


def _definition(column: TargetColumn, *, required: bool) -> str:
    return f"{quote(column.name)} {sql_type(column.type)}{_collation(column)}{' NOT NULL' if required else ''}"


def _collation(column: TargetColumn) -> str:
    """Return what makes keys that differ in their case two, also in a database that does not tell them apart."""
    return " COLLATE CASE_SENSITIVE" if has_text(column.type) else ""


def drop(table: TableName) -> str:
    """Return what removes a table if it is there; what others built on it (views) stops that."""
    return f"DROP TABLE IF EXISTS {table.sql}"


def drop_column(table: TableName, name: str) -> str:
    """Return what removes a column."""
    return f"ALTER TABLE {table.sql} DROP COLUMN {quote(name)}"


def rename_column(table: TableName, old: str, new: str) -> str:
    """Return what renames a column."""
    return f"ALTER TABLE {table.sql} RENAME COLUMN {quote(old)} TO {quote(new)}"


def add_column(table: TableName, column: TargetColumn) -> str:
    """Return what adds a column, NULL in the rows that are there."""
    return f"ALTER TABLE {table.sql} ADD COLUMN {_definition(column, required=False)}"


def rename(table: TableName, new: str) -> str:
    """Return what renames a table within its schema."""
    return f"ALTER TABLE {table.sql} RENAME TO {quote(new)}"


def describe(table: TableName, column: TargetColumn) -> str:
    """Return what makes a column's documentation its comment.

    Backslashes become slashes: whether one escapes the next character of a literal is a setting of the cluster.
    """
    text = "NULL" if column.doc is None else literal(column.doc.replace("\\", "/").replace("\x00", ""))
    return f"COMMENT ON COLUMN {table.sql}.{quote(column.name)} IS {text}"


GRANTS = """SELECT privilege_type, identity_name, identity_type, admin_option FROM svv_relation_privileges
    WHERE namespace_name = ? AND relation_name = ? AND identity_name <> current_user"""
"""Lists the privileges on a table of a schema; a new table of its name has none."""


def grant(table: TableName, found: Grant) -> str:
    """Return what gives a privilege again.

    Raises:
        InvalidConfigurationError: If it is of a kind that is not known here.
    """
    if found.kind not in _GRANTEES or not _PRIVILEGE.fullmatch(found.privilege):
        raise InvalidConfigurationError(
            f"The table {table} has a privilege {found.privilege!r} of a {found.kind!r}, which cannot be given again.",
            hint="Revoke it, repeat the delivery, and grant it anew.",
        )
    to = _GRANTEES[found.kind].format(quote(found.name))
    return f"GRANT {found.privilege} ON TABLE {table.sql} TO {to}{' WITH GRANT OPTION' if found.grantable else ''}"


PRESENT = """SELECT a.attname, t.typname, a.atttypmod FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ? AND c.relname = ? AND a.attnum > 0 AND NOT a.attisdropped"""
"""Lists the columns of whatever relation of a schema has a name."""

EXISTS = """SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ? AND c.relname = ?"""
"""Counts the relations of a name in a schema."""

RIGHTS = """SELECT has_schema_privilege(nspname, 'CREATE'), has_database_privilege(current_database(), 'TEMP')
    FROM pg_namespace WHERE nspname = ?"""
"""Tells whether the user may create tables in a schema, and staging tables."""


# --- rows -----------------------------------------------------------------------------------------------------------


def check_role(role: str) -> str:
    """Return an IAM role, or roles that are assumed one by another, if that is one.

    Raises:
        InvalidConfigurationError: If it is not.
    """
    if role != "default" and not all(_ROLE.fullmatch(part) for part in role.split(",")):
        raise InvalidConfigurationError(
            f"{role[:100]!r} is not the ARN of an IAM role.",
            hint="Give arn:aws:iam::ACCOUNT:role/NAME, several with commas between them, or default for the cluster's.",
        )
    return role


def copy(staging: str, manifest: str, role: str) -> str:
    """Return what loads the Parquet files of a manifest, a whole URI in S3, into a staging table."""
    authorization = "DEFAULT" if role == "default" else literal(role)
    return f"COPY {quote(staging)} FROM {literal(manifest)} IAM_ROLE {authorization} FORMAT AS PARQUET MANIFEST"


def count(staging: str) -> str:
    """Return the query for the number of staged rows."""
    return f"SELECT COUNT(*) FROM {quote(staging)}"


def repeated_key(staging: str, key: Sequence[TargetColumn]) -> str:
    """Return the query that yields a row if a key was staged twice."""
    terms = [term for column in key for term in _identity(quote(column.name), column.type)]
    return f"SELECT 1 FROM {quote(staging)} GROUP BY {', '.join(terms)} HAVING COUNT(*) > 1 LIMIT 1"


def delete(table: TableName, staging: str, key: Sequence[TargetColumn]) -> str:
    """Return what removes the rows whose keys were staged."""
    gone = TableName("", staging)
    return f"DELETE FROM {table.sql} USING {gone.sql} WHERE {_joined(table, gone, key)}"


def end(table: TableName, staging: str, key: Sequence[TargetColumn]) -> str:
    """Return what ends the current rows of a history whose keys were staged; none ends before it began."""
    ended = TableName("", staging)
    to = f"GREATEST({table.of(VALID_FROM)}, {loaded(pa.timestamp('us', 'UTC')).format(ended.of(VALID_TO))})"
    return (
        f"UPDATE {table.sql} SET {quote(VALID_TO)} = {to}, {quote(IS_CURRENT)} = FALSE FROM {ended.sql} "
        f"WHERE {_joined(table, ended, key)} AND {table.of(IS_CURRENT)}"
    )


def _joined(table: TableName, staged: TableName, key: Sequence[TargetColumn]) -> str:
    """Return the condition for a row and a staged one to have the same key."""
    return " AND ".join(
        match
        for column in key
        for match in _matches(table.of(column.name), loaded(column.type).format(staged.of(column.name)), column.type)
    )


def _identity(value: str, kind: pa.DataType) -> list[str]:
    """Return what tells a key value from others: blanks at the end of a text do not, but its length does."""
    return [value, f"OCTET_LENGTH({value})"] if has_text(kind) else [value]


def _matches(left: str, right: str, kind: pa.DataType) -> list[str]:
    """Return the conditions for two key values to be one; NaN is one with NaN, however the engine sees that."""
    if pa.types.is_floating(kind):
        return [f"({left} = {right} OR ({left} <> {left} AND {right} <> {right}))"]
    pairs = zip(_identity(left, kind), _identity(right, kind), strict=True)
    return [f"{one} = {other}" for one, other in pairs]


def empty(table: TableName) -> str:
    """Return what removes all rows: by DELETE, because TRUNCATE would commit the transaction."""
    return f"DELETE FROM {table.sql}"


def insert(table: TableName, staging: str, columns: Sequence[TargetColumn]) -> str:
    """Return what puts staged rows into a table."""
    values = [loaded(column.type).format(quote(column.name)) for column in columns]
    names = _names([column.name for column in columns])
    return f"INSERT INTO {table.sql} ({names}) SELECT {', '.join(values)} FROM {quote(staging)}"


def deep_copy(table: TableName, source: TableName, kept: Sequence[tuple[str, str, Retyping | None]]) -> str:
    """Return what copies columns of one table into another: each its name there, its name here, and how it changes."""
    values = [
        quote(old) if change is None else f"CAST({quote(old)} AS {sql_type(change.new)})" for old, _, change in kept
    ]
    names = _names([new for _, new, _ in kept])
    return f"INSERT INTO {table.sql} ({names}) SELECT {', '.join(values)} FROM {source.sql}"


def select(table: TableName, columns: Sequence[TargetColumn], *conditions: str) -> str:
    """Return the query for some columns of the rows that satisfy conditions, whose rows ``decode`` understands."""
    values = [selected(column.type).format(quote(column.name)) for column in columns]
    return f"SELECT {', '.join(values)} FROM {table.sql}{where(*conditions)}"


def held(table: TargetTable) -> str:
    """Return the condition for the rows of a table that are asked for; empty for all."""
    return quote(IS_CURRENT) if table.current else ""


def count_unsound(table: TableName, key: Sequence[TargetColumn]) -> str:
    """Return the query for the number of rows of a history whose times cannot be."""
    terms = [term for column in key for term in _identity(quote(column.name), column.type)]
    return row_history.count_unsound(table.sql, ", ".join(terms))


def _names(names: Sequence[str]) -> str:
    return ", ".join(quote(name) for name in names)
