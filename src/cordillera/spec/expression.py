"""Row filters: one SQL condition over a dataset's columns, for example ``origin = 'JFK' AND month = 3``.

The condition is evaluated by the query engine. The part of it that Iceberg's statistics can answer is also turned
into two Iceberg expressions. One decides what need not be read: it may keep too much, never too little. The other
decides where every row satisfies the condition: it may claim too little, never too much.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    IsNull,
    LessThan,
    LessThanOrEqual,
    NotNull,
    Or,
)
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BooleanType,
    DateType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
)
from sqlglot import exp
from sqlglot.errors import SqlglotError

from cordillera.errors import InvalidExpressionError, UnknownColumnError
from cordillera.spec.argument_types import of_type
from cordillera.spec.column_paths import Path
from cordillera.spec.sql import parsed

_DIALECT = "duckdb"
_FINER_THAN_MICROSECONDS = re.compile(r"\.\d{7}")
_COMPARISONS: dict[type[exp.Expr], Any] = {
    exp.EQ: EqualTo,
    exp.GT: GreaterThan,
    exp.GTE: GreaterThanOrEqual,
    exp.LT: LessThan,
    exp.LTE: LessThanOrEqual,
}
_MIRRORED: dict[Any, Any] = {
    EqualTo: EqualTo,
    GreaterThan: LessThan,
    GreaterThanOrEqual: LessThanOrEqual,
    LessThan: GreaterThan,
    LessThanOrEqual: GreaterThanOrEqual,
}
FORBIDDEN = (exp.Subquery, exp.Select, exp.AggFunc, exp.Window, exp.Placeholder, exp.Parameter, exp.Star)


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A checked condition.

    Attributes:
        sql: The condition in the engine's dialect, identifiers quoted.
        columns: Top-level columns it reads.
        pruning: What statistics can decide; true for every row the condition is true for.
        certain: The same from the other side: the condition is true for every row that this is true for.
    """

    sql: str
    columns: tuple[str, ...]
    pruning: BooleanExpression
    certain: BooleanExpression


def parse_row_filter(text: str, schema: Schema, told: Schema | None = None) -> RowFilter:
    """Read a condition over the columns of ``schema``.

    Args:
        text: The condition.
        schema: The columns that it may name.
        told: Those whose statistics may be asked about; all by default.

    Raises:
        InvalidExpressionError: If it is not a single condition over one row.
        UnknownColumnError: If it names a column that does not exist.
    """
    tree = _parse(text)
    forbidden = next((node for node in tree.walk() if isinstance(node, FORBIDDEN)), None)
    if forbidden is not None:
        raise InvalidExpressionError(
            f"The filter {text[:200]!r} contains {forbidden.sql(dialect=_DIALECT)[:80]!r}.",
            hint="A filter looks at one row: use columns, literals, operators and scalar functions.",
        )
    names = {field.name.lower(): field.name for field in schema.fields}
    columns = []
    for column in list(tree.find_all(exp.Column)):
        top = column.parts[0].name
        if top.lower() not in names:
            raise UnknownColumnError(
                f"The filter {text[:200]!r} names the column {top!r}, which does not exist.",
                hint=f"Columns: {', '.join(names.values())}.",
            )
        columns.append(names[top.lower()])
    sql = tree.sql(dialect=_DIALECT, identify=True, comments=False)
    pruning, certain = (_Translation(told or schema, unknown).of(tree) for unknown in (AlwaysTrue(), AlwaysFalse()))
    return RowFilter(sql, tuple(dict.fromkeys(columns)), pruning, certain)


def with_columns_called(text: str, called: Callable[[Path], Path]) -> str:
    """Return a condition with its columns, and the fields of structs that it names, called otherwise.

    Args:
        text: The condition.
        called: Returns what names are to be in the place of those of a column and, behind it, of fields inside it:
            ``home.city``, ``home['city']`` and ``struct_extract(home, 'city')`` name two. As many as it is given.

    Raises:
        InvalidExpressionError: If it is not a single condition.
    """
    tree = _parse(text)
    for column in list(tree.find_all(exp.Column)):
        parts = _spelled(column)
        names = called(tuple(part.name for part in parts))
        for part, name in zip(parts, names, strict=True):
            as_text = isinstance(part, exp.Literal)
            part.replace(exp.Literal.string(name) if as_text else exp.to_identifier(name, quoted=True))
    return tree.sql(dialect=_DIALECT, comments=False)


def _spelled(column: exp.Column) -> list[exp.Expr]:
    """Return what spells the name of a column, and those of fields inside it that are taken out of it at once."""
    parts: list[exp.Expr] = list(column.parts)
    inner: exp.Expr = column
    while (outer := inner.parent) is not None and outer.this is inner:
        match outer:
            case exp.Paren():
                pass
            case exp.Dot(expression=exp.Identifier() as name):
                parts.append(name)
            case exp.Bracket(expressions=[exp.Literal(is_string=True) as name]):
                parts.append(name)
            case exp.StructExtract(expression=exp.Literal(is_string=True) as name):
                parts.append(name)
            case _:
                break
        inner = outer
    return parts


def pruning_expression(condition: exp.Expr, schema: Schema) -> BooleanExpression:
    """Return what statistics can decide about a parsed condition (see ``RowFilter.pruning``)."""
    return _Translation(schema, AlwaysTrue()).of(condition)


def columns_used(condition: exp.Expr, schema: Schema) -> tuple[str, ...]:
    """Return the top-level columns of ``schema`` that a parsed condition uses, each once."""
    names = {field.name.lower(): field.name for field in schema.fields}
    tops = (column.parts[0].name.lower() for column in condition.find_all(exp.Column))
    return tuple(dict.fromkeys(names[top] for top in tops if top in names))


def _parse(text: str) -> exp.Expr:
    of_type(text, str, "condition on rows")
    try:
        statements = parsed(f"SELECT 1 WHERE ({text}\n)", _DIALECT)
    except SqlglotError as error:
        raise InvalidExpressionError(
            f"The filter {text[:200]!r} cannot be read: {str(error).splitlines()[0]}",
            hint="Write one SQL condition, for example: origin = 'JFK' AND month = 3.",
        ) from error
    select = statements[0] if len(statements) == 1 else None
    where = select.args.get("where") if isinstance(select, exp.Select) else None
    extra = (
        [name for name, value in select.args.items() if value and name not in ("where", "expressions")]
        if select
        else []
    )
    if where is None or extra or not isinstance(where.this, exp.Paren):
        raise InvalidExpressionError(
            f"The filter {text[:200]!r} is not a single condition.",
            hint="Write one condition, for example: amount > 0 AND region = 'north'.",
        )
    condition: exp.Expr = where.this.this
    return condition


@dataclass(frozen=True, slots=True)
class _Translation:
    """Turns parsed conditions into Iceberg expressions, ``unknown`` for what statistics cannot decide."""

    schema: Schema
    unknown: BooleanExpression

    def of(self, node: exp.Expr) -> BooleanExpression:
        match node:
            case exp.Paren():
                return self.of(node.this)
            case exp.And():
                return And(*map(self.of, node.flatten()))  # a tree as deep as it needs to be, however long the chain
            case exp.Or():
                return Or(*map(self.of, node.flatten()))
            case exp.Between():
                low = exp.GTE(this=node.this, expression=node.args["low"])
                high = exp.LTE(this=node.this, expression=node.args["high"])
                return And(self.of(low), self.of(high))
            case exp.In() if node.expressions:
                return self._in(node)
            case exp.Is() if isinstance(node.expression, exp.Null):
                name = _column(node.this, self.schema)
                return IsNull(term=name) if name else self.unknown
            case exp.Not(this=exp.Is(expression=exp.Null()) as inner):
                name = _column(inner.this, self.schema)
                return NotNull(term=name) if name else self.unknown
            case exp.Column() | exp.Not(this=exp.Column()):
                return self._truth(node)
            case _ if type(node) in _COMPARISONS:
                return self._comparison(node)
            case _:
                return self.unknown

    def _truth(self, node: exp.Expr) -> BooleanExpression:
        """Translate a boolean column that stands alone, or behind NOT."""
        wanted = isinstance(node, exp.Column)
        name = _column(node if wanted else node.this, self.schema)
        is_boolean = name is not None and isinstance(self.schema.find_type(name), BooleanType)
        return EqualTo(term=name, value=wanted) if name and is_boolean else self.unknown

    def _comparison(self, node: exp.Expr) -> BooleanExpression:
        predicate = _COMPARISONS[type(node)]
        left, right = node.args["this"], node.args["expression"]
        if not _column(left, self.schema):
            left, right, predicate = right, left, _MIRRORED[predicate]
        name = _column(left, self.schema)
        value = _literal(right, self.schema.find_type(name)) if name else None
        translated: BooleanExpression = self.unknown if name is None or value is None else predicate(name, value)
        return translated

    def _in(self, node: exp.In) -> BooleanExpression:
        name = _column(node.this, self.schema)
        if name is None:
            return self.unknown
        values = [_literal(item, self.schema.find_type(name)) for item in node.expressions]
        return self.unknown if any(value is None for value in values) else In(term=name, literals=values)


def _column(node: exp.Expr, schema: Schema) -> str | None:
    """Return the exact name of a plain top-level column whose bounds order as the engine does; floats have NaN."""
    if not isinstance(node, exp.Column) or len(node.parts) != 1:
        return None
    field = next((f for f in schema.fields if f.name.lower() == node.name.lower()), None)
    if field is None or isinstance(field.field_type, FloatType | DoubleType):
        return None
    return field.name


def _literal(node: exp.Expr, kind: IcebergType) -> Any:
    """Return a literal as a value that compares with a column of type ``kind``, or None if that is not certain."""
    if isinstance(node, exp.Paren):
        return _literal(node.this, kind)
    if isinstance(node, exp.Cast):
        node = _uncast(node, kind)
    sign = 1
    if isinstance(node, exp.Neg):
        node, sign = node.this, -1
    match kind:
        case BooleanType() if isinstance(node, exp.Boolean):
            return bool(node.this)
        case IntegerType() | LongType() if isinstance(node, exp.Literal) and node.is_int:
            value = sign * int(node.this)
            return value if abs(value) < 2**31 or (isinstance(kind, LongType) and abs(value) < 2**63) else None
        case StringType() if isinstance(node, exp.Literal) and node.is_string:
            return node.this
        case DateType() | TimestampType() | TimestamptzType() if isinstance(node, exp.Literal) and node.is_string:
            return instant(node.this, kind)
        case _:
            return None


def _uncast(node: exp.Cast, kind: IcebergType) -> exp.Expr:
    """Return the literal under a cast that changes nothing about the instant it names; else the cast itself."""
    literal = node.this
    if not isinstance(kind, DateType | TimestampType | TimestamptzType) or not isinstance(literal, exp.Literal):
        return node
    if node.is_type(exp.DataType.Type.DATE):
        return literal if len(literal.this) == len("2013-01-01") else node
    return literal if node.is_type(exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPTZ) else node


def instant(text: str, kind: IcebergType) -> int | None:
    """Return a date as days, or a timestamp as microseconds, since the epoch (UTC where no zone is given)."""
    if _FINER_THAN_MICROSECONDS.search(text):
        return None
    try:
        if isinstance(kind, DateType):
            return (date.fromisoformat(text) - date(1970, 1, 1)).days
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if isinstance(kind, TimestampType) and moment.tzinfo is not None:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
