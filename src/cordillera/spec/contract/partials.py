"""Rules on one value over many rows, taken apart into counts, sums and extremes that follow a change of the rows.

``SELECT avg(price) FROM {object} WHERE sold`` is a sum and a count, and both of a table follow from what they were
before a change and what they are of the rows that came and went: the table need not be read again. All of it is done
in whole numbers, as decimals and dates are kept too, so that it is exact: however a table came to its rows, the same
value comes out as if all of them were read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.tokenizer_core import Token, TokenType

from cordillera.spec.contract.fragments import AGGREGATES, ROWS, checked_tokens, join_tokens
from cordillera.spec.contract.literals import RefusedSql
from cordillera.spec.contract.model import AggregateRule, Contract, Scope
from cordillera.spec.contract.types import declared_type, kind_of

CHANGE = "the change"
"""What checking most rules grows with."""

_BEYOND = 10**38
"""The engine has no sums as large as this."""


class Kind(StrEnum):
    """How a partial follows a change."""

    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Partial:
    """An aggregate that follows from its value before a change and its values of the rows that came and went.

    Attributes:
        argument: SQL over one row; ``*`` for a count of rows.
        condition: SQL over one row: which rows it is about; empty for all.
    """

    kind: Kind
    argument: str
    condition: str = ""

    @property
    def sql(self) -> str:
        """The aggregate, over ``ROWS``."""
        chosen = f" FILTER (WHERE {self.condition})" if self.condition else ""
        return f"{self.kind}({self.argument}){chosen}"


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A value, taken apart.

    Attributes:
        parts: SQL that computes it, with partials in the places of aggregates.
    """

    parts: tuple[str | Partial, ...]

    @property
    def partials(self) -> frozenset[Partial]:
        """What it is computed from."""
        return frozenset(part for part in self.parts if isinstance(part, Partial))

    def sql(self, names: Mapping[Partial, str]) -> str:
        """Return SQL that computes it from columns that hold its partials."""
        return " ".join(names[part] if isinstance(part, Partial) else part for part in self.parts)


class NotDecomposableError(ValueError):
    """The value can be told from all rows only; the text says why, as the end of "because …"."""


def fold(kind: Kind, kept: int | None, come: int | None, gone: int | None) -> int | None:
    """Return a partial of the rows after a change.

    Args:
        kind: What it is.
        kept: Its value of the rows before; None for the sum or extreme of no values.
        come, gone: Its values of the rows that came, and of those that went; rows that both have, do not matter.

    Raises:
        NotDecomposableError: If only all rows tell.
    """
    if kind in (Kind.COUNT, Kind.SUM):
        after = (kept or 0) + (come or 0) - (gone or 0)
        if abs(after) >= _BEYOND:
            raise NotDecomposableError("the sum has more than 38 digits")
        return after
    best = min if kind is Kind.MIN else max
    if come is not None and (kept is None or best(come, kept) == come):
        return come
    if gone is not None and gone == kept:
        raise NotDecomposableError(f"the row with the {'least' if kind is Kind.MIN else 'greatest'} value went")
    return kept


def decompose(
    rule: AggregateRule, types: Mapping[str, pa.DataType | None], unique_key: Sequence[str] = ()
) -> Decomposition:
    """Take a rule's value apart.

    Args:
        rule: The rule.
        types: The columns' types; None where it is not known.
        unique_key: Columns that no two rows agree in, as far as the table sees to it.

    Raises:
        NotDecomposableError: If the value can be told from all rows only.
    """
    if unique_key and set(unique_key) <= set(rule.distinct):
        return Decomposition(("0",))
    found = _decomposition(rule.value_sql)
    if isinstance(found, str):
        raise NotDecomposableError(found)
    by_name = {name.lower(): kind for name, kind in types.items()}
    for partial in found.partials:
        if partial.kind is not Kind.COUNT:
            _check_exact(partial, by_name)
    return found


# --- taking SQL apart --------------------------------------------------------------------------------------------

_Tokens: TypeAlias = Sequence[Token]
_KNOWN = frozenset({"count_if", "min", "max", "sum", "avg"})


@lru_cache(maxsize=2_000)  # contracts are few, and the same at every commit
def _decomposition(value_sql: str) -> Decomposition | str:
    """Return an aggregate, or a scalar query over all rows, taken apart; or why it cannot be."""
    try:
        tokens = checked_tokens(value_sql)
        expression, condition = _without_query(tokens)
        return Decomposition(tuple(_taken_apart(expression, condition)))
    except NotDecomposableError as error:
        return str(error)
    except RefusedSql:
        return "it is written in a way that is not taken apart"


def _without_query(tokens: _Tokens) -> tuple[_Tokens, str]:
    """Return the value of ``(SELECT value FROM rows WHERE condition)``, and the condition; of others, themselves."""
    if len(tokens) < 2 or tokens[1].token_type != TokenType.SELECT:
        return tokens, ""
    inner = tokens[2:-1]
    depth = 0
    for index, token in enumerate(inner):
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        compared = index > 0 and inner[index - 1].token_type == TokenType.DISTINCT  # IS DISTINCT FROM
        if depth == 0 and token.token_type == TokenType.FROM and not compared:
            return _without_alias(inner[:index]), _condition(inner[index + 1 :])
    raise NotDecomposableError("it reads no rows")


def _condition(tokens: _Tokens) -> str:
    if not tokens or tokens[0].text != ROWS or tokens[0].token_type == TokenType.L_PAREN:
        raise NotDecomposableError("it groups or chooses rows in a query of its own")
    if len(tokens) == 1:
        return ""
    if tokens[1].token_type != TokenType.WHERE:
        raise NotDecomposableError("it gives the rows another name")
    return join_tokens(tokens[2:])


def _without_alias(tokens: _Tokens) -> _Tokens:
    """Return what is selected without the name it is given."""
    if not isinstance(_parsed(join_tokens(tokens))[0], exp.Alias):
        return tokens
    return tokens[:-2] if tokens[-2].token_type == TokenType.ALIAS else tokens[:-1]


def _taken_apart(tokens: _Tokens, condition: str) -> Iterator[str | Partial]:
    """Yield the parts of an expression, its aggregates replaced by what they are computed from.

    Args:
        tokens: The expression.
        condition: Which rows it is about; empty for all.
    """
    start = index = 0
    while index < len(tokens):
        if not _is_call(tokens, index):
            index += 1
            continue
        if start < index:
            yield join_tokens(tokens[start:index])
        close = _closing(tokens, index + 1)
        end, chosen = close + 1, condition
        if tokens[end : end + 1] and tokens[end].text.upper() == "FILTER":
            end = _closing(tokens, end + 1) + 1
            chosen = _both(condition, join_tokens(tokens[close + 4 : end - 1]))
        yield from _aggregate(tokens[index].text.lower(), tokens[index + 2 : close], chosen)
        start = index = end
    if start < index:
        yield join_tokens(tokens[start:])


def _aggregate(name: str, arguments: _Tokens, condition: str) -> Sequence[str | Partial]:
    """Return what an aggregate is computed from."""
    if any(token.token_type == TokenType.DISTINCT for token in arguments):
        raise NotDecomposableError("only all rows tell whether a value is there once or more often")
    text = join_tokens(arguments)
    if name == "count":
        return [Partial(Kind.COUNT, text or "*", condition)]
    if name not in _KNOWN or len(_parsed(text)) != 1:
        raise NotDecomposableError(f"{name} follows from all rows, not from sums and counts")
    if name == "count_if":  # of nothing it is NULL
        held, told = Partial(Kind.COUNT, "*", _both(condition, text)), Partial(Kind.COUNT, text, condition)
        return ["(CASE WHEN", told, "> 0 THEN CAST(", held, "AS HUGEINT) END)"]
    if name in ("min", "max"):
        return [Partial(Kind(name), text, condition)]
    total, values = (Partial(kind, text, condition) for kind in (Kind.SUM, Kind.COUNT))
    divided = ["CAST(", total, "AS DOUBLE) /", values] if name == "avg" else [total]
    return ["(CASE WHEN", values, "> 0 THEN", *divided, "END)"]


def _parsed(text: str) -> list[exp.Expr]:
    parsed: list[exp.Expr] = sqlglot.parse_one(f"SELECT {text}", dialect=DuckDB).expressions
    return parsed


def _is_call(tokens: _Tokens, index: int) -> bool:
    called = index + 1 < len(tokens) and tokens[index + 1].token_type == TokenType.L_PAREN
    plain = tokens[index].token_type not in (TokenType.STRING, TokenType.IDENTIFIER)
    return called and plain and tokens[index].text.lower() in AGGREGATES


def _closing(tokens: _Tokens, opening: int) -> int:
    """Return where the parenthesis that opens at a token is closed."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += (tokens[index].token_type == TokenType.L_PAREN) - (tokens[index].token_type == TokenType.R_PAREN)
        if depth == 0:
            return index
    raise NotDecomposableError("its parentheses do not match")


def _both(one: str, other: str) -> str:
    return f"({one}) AND ({other})" if one else other


# --- what is exact -----------------------------------------------------------------------------------------------

_EXACT: tuple[type[exp.Expr], ...] = (
    *(exp.Column, exp.Identifier, exp.Literal, exp.Paren, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Abs, exp.Coalesce),
)
"""Of whole numbers and decimals these make whole numbers and decimals."""


def _check_exact(partial: Partial, types: Mapping[str, pa.DataType | None]) -> None:
    """Make sure that a sum is not rounded, or that extremes are kept as whole numbers."""
    tree, said = _parsed(partial.argument)[0], f"{partial.kind}({partial.argument[:60]})"
    for node in tree.walk():
        text = isinstance(node, exp.Literal) and (node.is_string or "e" in node.name.lower())
        inside = isinstance(node, exp.Column) and node.table.lower() not in ("", ROWS)
        if text or inside or not isinstance(node, _EXACT):
            raise NotDecomposableError(f"{said} is not surely a whole number or a decimal")
    ordered = partial.kind is not Kind.SUM and isinstance(tree, exp.Column)
    for column in tree.find_all(exp.Column):
        kind = types.get(column.name.lower())
        if kind is None:
            raise NotDecomposableError(f"whether {column.name} is whole numbers or decimals is not stated")
        if not (_is_exact(kind) or (ordered and _is_moment(kind))):
            raise NotDecomposableError(f"{said} of values of type {kind} is rounded, or no number")


def _is_exact(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date32(kind) or (pa.types.is_timestamp(kind) and kind.unit == "us"))


def costs(contract: Contract, types: Mapping[str, pa.DataType | None], unique_key: Sequence[str]) -> dict[str, str]:
    """Return by rule what checking it grows with: the change that is committed, or the table, and why.

    Args:
        contract: The contract.
        types: The columns' types; None where it is not known.
        unique_key: Columns that no two rows agree in, as far as the table sees to it.
    """
    found = {rule.name: CHANGE for rule in contract.row_rules}
    for rule in contract.aggregate_rules:
        found[rule.name] = CHANGE
        try:
            if rule.scope is Scope.TABLE:
                decompose(rule, types, unique_key)
        except NotDecomposableError as error:
            found[rule.name] = f"the table: {error}"
    return found


def stated_types(contract: Contract) -> dict[str, pa.DataType | None]:
    """Return the columns' types as far as a contract states them."""
    return {
        column.name: declared_type(column) or (pa.int64() if kind_of(column) == "integer" else None)
        for column in contract.columns
    }
