"""Reading a SQL query over datasets: which datasets it names, and how little of each it needs.

Every mention of a dataset becomes a relation of its own, with the columns the query reads of it and the condition
that its rows have to meet to matter. The query itself is unchanged but for the relations' names, so what is pushed
down only saves work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlglot
from pyiceberg.schema import Schema
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope

from cordillera.errors import InvalidSqlError
from cordillera.spec.names import DatasetRef, parse_dataset_ref

_DIALECT = "duckdb"
_TABLE_FUNCTIONS = (exp.Unnest, exp.GenerateSeries, exp.Values)


@dataclass(frozen=True, slots=True)
class QueryInput:
    """One mention of a dataset in a query.

    Attributes:
        relation: The name the query now uses for it.
        ref: The dataset.
        columns: Columns the query reads of it.
        condition: SQL condition that rows have to meet to matter, over the dataset's columns; empty for all rows.
    """

    relation: str
    ref: DatasetRef
    columns: tuple[str, ...]
    condition: str


@dataclass(frozen=True, slots=True)
class Query:
    """A query whose dataset names have been replaced by the relations of its inputs."""

    sql: str
    inputs: tuple[QueryInput, ...]


def dataset_names(text: str) -> tuple[DatasetRef, ...]:
    """Return the datasets a query names, in order of appearance.

    Raises:
        InvalidSqlError: If it is not a single SELECT over datasets.
    """
    tree = _parse(text)
    return tuple(dict.fromkeys(_ref(table) for table in _dataset_tables(tree)))


def parse_query(text: str, schema_of: Callable[[DatasetRef], Schema]) -> Query:
    """Read a query.

    Args:
        text: A single SELECT; tables are written ``namespace.dataset``.
        schema_of: Returns the schema of a dataset, or raises for one that does not exist.

    Raises:
        InvalidSqlError: If the query is not one SELECT, or names unknown columns.
    """
    tree, schemas = _qualified(text, schema_of)
    inputs: list[QueryInput] = []
    for scope in traverse_scope(tree):
        for alias, source in list(scope.sources.items()):
            if not isinstance(source, exp.Table) or not source.args.get("db"):
                continue
            ref = _ref(source)
            relation = f"input_{len(inputs)}"
            columns = _columns_read(scope, alias, schemas[ref])
            inputs.append(QueryInput(relation, ref, columns, _pushed_condition(scope, alias)))
            source.replace(exp.alias_(exp.to_table(relation), alias, table=True))
    return Query(tree.sql(dialect=_DIALECT, comments=False), tuple(inputs))


def column_lineage(
    text: str, schema_of: Callable[[DatasetRef], Schema]
) -> dict[str, dict[DatasetRef, tuple[str, ...]]]:
    """Return, for each column of a query's result, the dataset columns it is made of."""
    tree, schemas = _qualified(text, schema_of)
    nested = _as_sqlglot_schema(schemas)
    found: dict[str, dict[DatasetRef, tuple[str, ...]]] = {}
    for output in tree.named_selects:
        sources: dict[DatasetRef, list[str]] = {}
        for node in lineage(output, tree.copy(), schema=nested, dialect=_DIALECT).walk():
            if isinstance(node.source, exp.Table) and not node.downstream and node.source.args.get("db"):
                sources.setdefault(_ref(node.source), []).append(node.name.split(".")[-1].strip('"'))
        found[output] = {ref: tuple(sorted(set(columns))) for ref, columns in sources.items()}
    return found


def bind_partition(text: str, partition: str) -> str:
    """Return SQL text with ``$partition`` replaced by a literal."""
    try:
        tree = sqlglot.parse_one(text, read=_DIALECT)
    except SqlglotError as error:
        raise _unreadable(text, error) from error
    literal = exp.Literal.string(partition)
    for parameter in list(tree.find_all(exp.Parameter, exp.Placeholder)):
        if parameter.name != "partition":
            raise InvalidSqlError(f"The query uses ${parameter.name}; only $partition has a value.")
        parameter.replace(literal.copy())
    return tree.sql(dialect=_DIALECT)


def fold_constants(condition: str, evaluate: Callable[[str], Any]) -> str:
    """Return a condition with expressions that read no column replaced by their value, so that statistics can use it.

    Args:
        condition: SQL condition over columns.
        evaluate: Returns the value of an expression; None leaves the expression as it is.
    """
    tree = sqlglot.parse_one(condition, read=_DIALECT)
    for comparison in list(tree.find_all(exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In)):
        for side in list(comparison.iter_expressions()):
            literal = isinstance(side, exp.Literal | exp.Null | exp.Boolean)
            if literal or side.find(exp.Column, exp.Query, exp.Rand, exp.Uuid):
                continue
            value = evaluate(side.sql(dialect=_DIALECT))
            if value is not None:
                side.replace(_as_literal(value))
    return tree.sql(dialect=_DIALECT)


def _as_literal(value: Any) -> exp.Expr:
    if isinstance(value, date):  # datetimes too
        return exp.Literal.string(value.isoformat())
    return exp.convert(value)


def _parse(text: str) -> exp.Query:
    try:
        statements = [s for s in sqlglot.parse(text, read=_DIALECT) if s is not None]
    except SqlglotError as error:
        raise _unreadable(text, error) from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise InvalidSqlError("A query has to be one SELECT statement.", hint="Write to datasets with write().")
    tree = statements[0]
    for node in tree.walk():
        if node is not tree and isinstance(
            node, exp.Into | exp.Insert | exp.Update | exp.Delete | exp.Create | exp.Drop
        ):
            raise InvalidSqlError(f"A query only reads: {node.sql(dialect=_DIALECT)[:80]!r} is not allowed.")
    return tree


def _unreadable(text: str, error: Exception) -> InvalidSqlError:
    return InvalidSqlError(f"The query {' '.join(text.split())[:120]!r} cannot be read: {str(error).splitlines()[0]}")


def _dataset_tables(tree: exp.Query) -> Iterator[exp.Table]:
    """Yield the tables that have to be datasets.

    A name without a namespace is a common table expression's; a function in the place of a table reads nothing of
    the lake, and only those that make rows out of their arguments are let through.
    """
    with_names = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Func):
            if not isinstance(table.this, _TABLE_FUNCTIONS):
                raise InvalidSqlError(f"The function {table.this.sql(dialect=_DIALECT)[:60]!r} cannot be read from.")
            continue
        if table.args.get("db"):
            yield table
        elif table.name not in with_names:
            raise InvalidSqlError(
                f"The query reads {table.name!r}, which names no dataset.",
                hint="Write datasets as namespace.dataset, for example sales.orders.",
            )


def _ref(table: exp.Table) -> DatasetRef:
    if table.args.get("catalog"):
        raise InvalidSqlError(f"{table.sql(dialect=_DIALECT)!r} names no dataset.", hint="Write namespace.dataset.")
    return parse_dataset_ref(f"{table.db}.{table.name}")


def _qualified(text: str, schema_of: Callable[[DatasetRef], Schema]) -> tuple[exp.Query, dict[DatasetRef, Schema]]:
    tree = _parse(text)
    schemas = {ref: schema_of(ref) for ref in dict.fromkeys(_ref(table) for table in _dataset_tables(tree))}
    try:
        qualified = qualify(
            tree, dialect=_DIALECT, schema=_as_sqlglot_schema(schemas), validate_qualify_columns=True,
            quote_identifiers=True,
        )  # fmt: skip
    except SqlglotError as error:
        raise InvalidSqlError(f"The query cannot be resolved: {str(error).splitlines()[0]}") from error
    assert isinstance(qualified, exp.Query)
    return qualified, schemas


def _as_sqlglot_schema(schemas: Mapping[DatasetRef, Schema]) -> dict[str, object]:
    nested: dict[str, Any] = {}
    for ref, schema in schemas.items():
        name = str(ref).split(".")[1]
        nested.setdefault(ref.namespace, {})[name] = {field.name: "UNKNOWN" for field in schema.fields}
    return nested


def _columns_read(scope: Scope, alias: str, schema: Schema) -> tuple[str, ...]:
    """Return the columns a scope reads of one of its tables, in the table's order; one where it reads none."""
    named = {column.name.lower() for column in scope.columns if column.table == alias}
    for inner in scope.traverse():
        named |= {column.name.lower() for column in inner.external_columns if column.table == alias}
    names = [field.name for field in schema.fields]
    return tuple(name for name in names if name.lower() in named) or (names[0],)


def _pushed_condition(scope: Scope, alias: str) -> str:
    """Return the conditions of a scope's WHERE that are about one table alone."""
    select = scope.expression
    where = select.args.get("where") if isinstance(select, exp.Select) else None
    if where is None:
        return ""
    outer = any(join.side for join in select.args.get("joins") or [])
    kept = []
    for condition in where.this.flatten() if isinstance(where.this, exp.And) else [where.this]:
        columns = list(condition.find_all(exp.Column))
        alone = bool(columns) and all(column.table == alias for column in columns)
        # Behind an outer join a missing row reads as NULL: only conditions that NULL cannot satisfy may be pushed down.
        rejects_null = isinstance(condition, exp.EQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.In | exp.Between)
        if alone and not condition.find(exp.Query, exp.AggFunc, exp.Window) and (rejects_null or not outer):
            kept.append(_unqualified(condition))
    return " AND ".join(f"({condition.sql(dialect=_DIALECT)})" for condition in kept)


def _unqualified(condition: exp.Expr) -> exp.Expr:
    copied = condition.copy()
    for column in copied.find_all(exp.Column):
        column.set("table", None)
    return copied
