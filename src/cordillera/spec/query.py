"""Reading a SQL query over datasets: which datasets it names, and how little of each it needs.

Every mention of a dataset becomes a relation of its own, with the columns the query reads of it and the condition
that its rows have to meet to matter. The query itself is unchanged but for the relations' names, so what is pushed
down only saves work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, TypeVar

from pyiceberg.schema import Schema
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope

from cordillera.errors import InvalidSqlError
from cordillera.spec.names import DatasetRef, dataset_ref
from cordillera.spec.sql import parsed, parsed_one

_DIALECT = "duckdb"
_Tree = TypeVar("_Tree", bound=exp.Expr)
_TABLE_FUNCTIONS = (exp.Unnest, exp.GenerateSeries, exp.Values)


@dataclass(frozen=True, slots=True)
class QueryInput:
    """One mention of a dataset in a query.

    Attributes:
        relation: The name the query now uses for it.
        ref: The dataset.
        columns: Columns the query reads of it.
        condition: Condition that rows have to meet to matter, over the dataset's columns; None for all rows.
        Evaluating it is left
            to the query; it only tells what need not be read.
    """

    relation: str
    ref: DatasetRef
    columns: tuple[str, ...]
    condition: exp.Expr | None


@dataclass(frozen=True, slots=True)
class Query:
    """A query whose dataset names have been replaced by the relations of its inputs."""

    tree: exp.Query
    inputs: tuple[QueryInput, ...]

    def bind(self, parameters: Mapping[str, str]) -> Query:
        """Return the query with ``$name`` replaced by literals.

        Raises:
            InvalidSqlError: If it uses a parameter that has no value.
        """
        inputs = tuple(
            replace(one, condition=_bound(one.condition, parameters) if one.condition is not None else None)
            for one in self.inputs
        )
        return Query(_bound(self.tree, parameters), inputs)

    @property
    def sql(self) -> str:
        """The query's text in the engine's dialect.

        Raises:
            InvalidSqlError: If it is nested too deeply to be written, which takes more than reading it.
        """
        try:
            return self.tree.sql(dialect=_DIALECT, comments=False)
        except RecursionError:
            raise InvalidSqlError("The query is nested too deeply.", hint="Give a part of it a name: WITH.") from None


def dataset_names(text: str) -> tuple[DatasetRef, ...]:
    """Return the datasets a query names, in order of appearance.

    Raises:
        InvalidSqlError: If it is not a single SELECT over datasets.
    """
    tree = parse_select(text)
    return tuple(dict.fromkeys(_ref(table) for table in _dataset_tables(tree)))


def names_in(text: str) -> frozenset[str] | None:
    """Return every name in a query, in lower case: of what it selects, filters by and joins by, and of tables too.

    None where names alone do not tell which columns it reads: it takes all there are, joins by those of one name, or
    cannot be read.
    """
    try:
        tree = parsed_one(text, _DIALECT)
    except SqlglotError:
        return None
    everything = any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star))
    if everything or any(join.method == "NATURAL" for join in tree.find_all(exp.Join)):
        return None
    return frozenset(identifier.name.lower() for identifier in tree.find_all(exp.Identifier))


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
    return Query(tree, tuple(inputs))


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


def bind_text(text: str, parameters: Mapping[str, str]) -> str:
    """Return SQL text with ``$name`` replaced by literals."""
    try:
        tree = parsed_one(text, _DIALECT)
    except SqlglotError as error:
        raise _unreadable(text, error) from error
    return _bound(tree, parameters).sql(dialect=_DIALECT)


def _bound(tree: _Tree, parameters: Mapping[str, str]) -> _Tree:
    bound = tree.copy()
    for parameter in list(bound.find_all(exp.Parameter, exp.Placeholder)):
        if parameter.name not in parameters:
            known = ", ".join(f"${name}" for name in parameters) or "none"
            raise InvalidSqlError(
                f"The query uses ${parameter.name}, which has no value.", hint=f"Parameters: {known}."
            )
        parameter.replace(exp.Literal.string(parameters[parameter.name]))
    return bound


def fold_constants(
    conditions: Sequence[exp.Expr], evaluate: Callable[[Sequence[str]], Sequence[Any]]
) -> list[exp.Expr]:
    """Return conditions with expressions that read no column replaced by their value, so that statistics can use them.

    Args:
        conditions: Conditions over columns.
        evaluate: Returns the values of expressions, given as SQL; None leaves an expression as it is.
    """
    folded = [condition.copy() for condition in conditions]
    sides = [
        side
        for condition in folded
        for comparison in condition.find_all(exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In)
        for side in comparison.iter_expressions()
        if not isinstance(side, exp.Literal | exp.Null | exp.Boolean)
        and not side.find(exp.Column, exp.Query, exp.Rand, exp.Uuid)
    ]
    if sides:
        for side, value in zip(sides, evaluate([side.sql(dialect=_DIALECT) for side in sides]), strict=True):
            if value is not None:
                side.replace(_as_literal(value))
    return folded


def _as_literal(value: Any) -> exp.Expr:
    if isinstance(value, date):  # datetimes too
        return exp.Literal.string(value.isoformat())
    return exp.convert(value)


def parse_select(text: str) -> exp.Query:
    """Return the one SELECT statement, in DuckDB's dialect, that a text consists of.

    Raises:
        InvalidSqlError: If it is anything else.
    """
    try:
        statements = parsed(text, _DIALECT)
    except SqlglotError as error:
        raise _unreadable(text, error) from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise InvalidSqlError("A query has to be one SELECT statement.", hint="Write to datasets with write().")
    tree = statements[0]
    for table in tree.find_all(exp.Table):
        join_levels(table)
    for node in tree.walk():
        if node is not tree and isinstance(
            node, exp.Into | exp.Insert | exp.Update | exp.Delete | exp.Create | exp.Drop
        ):
            raise InvalidSqlError(
                f"A query only reads: {node.sql(dialect=_DIALECT)[:80]!r} is not allowed.",
                hint="Write one SELECT; rows are changed with cordillera dataset write.",
            )
    return tree


def join_levels(table: exp.Table) -> None:
    """Write the namespace of a table as one name, however many levels it has: ``"sales.europe".orders``."""
    if not isinstance(table.this, exp.Func) and len(levels := table.parts[:-1]) > 1:
        name = table.parts[-1].copy()
        table.set("db", exp.to_identifier(".".join(level.name for level in levels), quoted=True))
        table.set("catalog", None)
        table.set("this", name)


def _unreadable(text: str, error: Exception) -> InvalidSqlError:
    return InvalidSqlError(
        f"The query {' '.join(text.split())[:120]!r} cannot be read: {str(error).splitlines()[0]}",
        hint="Write one SELECT in DuckDB's dialect.",
    )


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
    return dataset_ref(table.db, table.name)


def _qualified(text: str, schema_of: Callable[[DatasetRef], Schema]) -> tuple[exp.Query, dict[DatasetRef, Schema]]:
    tree = parse_select(text)
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
        name = str(ref).rpartition(".")[2]
        nested.setdefault(ref.namespace, {})[name] = {field.name: "UNKNOWN" for field in schema.fields}
    return nested


def _columns_read(scope: Scope, alias: str, schema: Schema) -> tuple[str, ...]:
    """Return the columns a scope reads of one of its tables, in the table's order; one where it reads none."""
    named = {column.name.lower() for column in scope.columns if column.table == alias}
    for inner in scope.traverse():
        named |= {column.name.lower() for column in inner.external_columns if column.table == alias}
    names = [field.name for field in schema.fields]
    return tuple(name for name in names if name.lower() in named) or (names[0],)


def _pushed_condition(scope: Scope, alias: str) -> exp.Expr | None:
    """Return the conditions on one table alone, out of a scope's WHERE and the join that brings the table in."""
    select = scope.expression
    if not isinstance(select, exp.Select):
        return None
    joins: list[exp.Join] = select.args.get("joins") or []
    # Behind an outer join a missing row reads as NULL: only conditions that NULL cannot satisfy may be pushed down.
    outer = any(join.side for join in joins)
    kept = [
        condition
        for condition in _conjuncts(select.args.get("where"))
        if _is_alone(condition, alias) and (_rejects_null(condition) or not outer)
    ]
    for join in joins:
        if join.alias_or_name == alias and join.side in ("", "LEFT"):
            kept += [condition for condition in _conjuncts(join.args.get("on")) if _is_alone(condition, alias)]
    return exp.and_(*(_unqualified(condition) for condition in kept)) if kept else None


def _conjuncts(condition: exp.Expr | None) -> list[exp.Expr]:
    """Return the parts of a WHERE or ON that all have to hold."""
    inner = condition.this if isinstance(condition, exp.Where) else condition
    if inner is None:
        return []
    return list(inner.flatten()) if isinstance(inner, exp.And) else [inner]


def _is_alone(condition: exp.Expr, alias: str) -> bool:
    columns = list(condition.find_all(exp.Column))
    about_it = bool(columns) and all(column.table == alias for column in columns)
    return about_it and not condition.find(exp.Query, exp.AggFunc, exp.Window)


def _rejects_null(condition: exp.Expr) -> bool:
    return isinstance(condition, exp.EQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.In | exp.Between)


def _unqualified(condition: exp.Expr) -> exp.Expr:
    copied = condition.copy()
    for column in copied.find_all(exp.Column):
        column.set("table", None)
    return copied
