"""SQL written by contract authors: which fragments may run as rules, and which are refused.

A fragment runs inside the engine with the publisher's or the server's rights, so what it may use is listed, not what
it may not: DuckDB gains functions that read files, the environment or the network with every release, and a list of
forbidden ones would be out of date on the day it is written. Two independent checks look at a fragment. Its tokens:
every name before a parenthesis has to be in ``FUNCTIONS`` (or ``AGGREGATES``). Its syntax tree: every node has to be
of a listed kind, every column one of the contract's, every table the rows being checked. What runs is the author's
own text, put together from the checked tokens without comments, so that operators mean what DuckDB says they mean.

The listed functions give the same answer for the same row every time: no clock, no randomness, so that a retried
write is judged as the first one was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.tokenizer_core import Token, TokenType

from cordillera.spec.contract.literals import RefusedSql, text_literal
from cordillera.spec.contract.words import words
from cordillera.spec.sql import quote

MAX_LENGTH = 10_000
ROWS = "contract_rows"
"""The name under which aggregate rules read the rows being checked."""

FUNCTIONS = frozenset(
    words(
        """
        abs array_contains array_length ascii bit_length cardinality cast ceil ceiling coalesce concat concat_ws
        contains date_add date_diff date_part date_trunc datediff datepart datetrunc day dayofmonth dayofweek
        dayofyear ends_with epoch epoch_ms even exp extract floor greatest hour if ifnull instr isfinite isinf isnan
        isodow isoyear last_day least left len length levenshtein list_contains ln log log10 log2 lower ltrim
        make_date make_time make_timestamp md5 minute mod month nullif ord position pow power prefix quarter
        regexp_extract regexp_full_match regexp_matches regexp_replace replace reverse right round rtrim second
        sha256 sign split_part sqrt starts_with strftime strip_accents strlen strpos strptime struct_extract substr
        substring suffix timezone trim trunc try_cast try_strptime unicode upper week weekday weekofyear year
        """
    )
)
AGGREGATES = frozenset(
    words(
        """
        approx_count_distinct avg bool_and bool_or corr count count_if covar_pop covar_samp kurtosis max median min
        quantile_cont quantile_disc skewness stddev stddev_pop stddev_samp sum var_pop var_samp variance
        """
    )
)
_BEFORE_PARENTHESIS = frozenset(
    words("and or not in is like ilike between escape case when then else select from where having by on as filter")
)
_TYPES_WITH_ARGUMENTS = frozenset(words("decimal numeric varchar char"))
_CAST_TYPES = frozenset(
    words(
        "TINYINT SMALLINT INT BIGINT INT128 UTINYINT USMALLINT UINT UBIGINT FLOAT DOUBLE DECIMAL VARCHAR CHAR TEXT "
        "BOOLEAN DATE TIME TIMESTAMP TIMESTAMPTZ TIMESTAMPNTZ UUID INTERVAL"
    )
)
_VALUE_NODES: tuple[type[exp.Expr], ...] = tuple(
    getattr(exp, name)
    for name in words(
        """
        Func Column Identifier Dot Literal Boolean Null Paren Tuple Var And Or Not EQ NEQ GT GTE LT LTE Is In Between
        NullSafeEQ NullSafeNEQ Like ILike Escape SimilarTo Case If Add Sub Mul Div IntDiv Mod Neg DPipe Interval
        AtTimeZone BitwiseAnd BitwiseOr Bracket Slice DataType DataTypeParam Star
        """
    )
)
_QUERY_NODES: tuple[type[exp.Expr], ...] = tuple(
    getattr(exp, name)
    for name in words("Select From Table TableAlias Alias Subquery Where Group Having Distinct Filter")
)
_PLACEHOLDER = re.compile(r"\$?\{\s*(?P<what>object|table|property|column)\s*\}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fragment:
    """SQL text that may run, and the contract's columns it reads."""

    sql: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query(Fragment):
    """A scalar query over ``ROWS``. ``counted_condition`` is set for a plain ``SELECT count(*) … WHERE condition``."""

    counted_condition: str | None = None


def fill_placeholders(text: str, column: str | None) -> str:
    """Put ``ROWS`` and the column in the place of ``{object}`` and ``{property}`` (or ``${table}`` and ``${column}``).

    Args:
        text: The fragment as written.
        column: The column as SQL, quoted; None in a rule that stands on no column.

    Raises:
        RefusedSql: If the column is asked for in a rule that stands on no column.
    """

    def fill(match: re.Match[str]) -> str:
        if match["what"].lower() in ("object", "table"):
            return quote(ROWS)
        if column is None:
            raise RefusedSql(f"{match[0]} can only be used in the quality rules of a property.")
        return column

    return _PLACEHOLDER.sub(fill, text)


def row_predicate(text: str, columns: Collection[str]) -> Fragment:
    """Let in a boolean expression over one row.

    Args:
        text: The expression, placeholders filled in.
        columns: Names of the columns it may read.

    Raises:
        RefusedSql: With the reason, if it is not a single expression, or uses anything but the columns and
            ``FUNCTIONS``.
    """
    tokens = checked_tokens(text)
    _check_functions(tokens, FUNCTIONS)
    select = _parse(f"SELECT {join_tokens(tokens)}")
    parts = [name for name, part in select.args.items() if part and name not in ("expressions", "kind")]
    if parts or len(select.expressions) != 1 or isinstance(select.expressions[0], exp.Alias | exp.Star):
        raise RefusedSql("it is not a single expression.")
    expression = select.expressions[0]
    used = _check_tree(expression, _VALUE_NODES, columns, aliases=frozenset())
    return Fragment(join_tokens(tokens), used)


def scalar_query(text: str, object_names: Collection[str], columns: Collection[str]) -> Query:
    """Let in a query that computes one value from the rows being checked.

    Args:
        text: The query, placeholders filled in.
        object_names: Other names by which the query may call the rows.
        columns: Names of the columns it may read.

    Raises:
        RefusedSql: With the reason, if it is not a single SELECT of one aggregate, reads anything but the rows, or uses
            anything but ``FUNCTIONS`` and ``AGGREGATES``.
    """
    tokens = _name_rows(checked_tokens(text), object_names, columns)
    _check_functions(tokens, FUNCTIONS | AGGREGATES)
    select = _parse(join_tokens(tokens))
    aliases = {alias.alias_or_name.lower() for alias in select.find_all(exp.Alias, exp.Subquery, exp.Table)}
    aliases |= {alias.name.lower() for alias in select.find_all(exp.TableAlias)}
    used = _check_tree(select, (*_VALUE_NODES, *_QUERY_NODES), columns, aliases)
    _check_tables(select)
    _check_one_value(select)
    return Query(f"({join_tokens(tokens)})", used, _counted_condition(select, tokens))


def checked_tokens(text: str) -> list[Token]:
    """Return the tokens of a fragment, refusing those that could not be written back exactly as they stand."""
    if len(text) > MAX_LENGTH:
        raise RefusedSql(f"it has {len(text)} characters; the limit is {MAX_LENGTH}.")
    if "\x00" in text:
        raise RefusedSql("it contains a NUL character.")
    try:
        tokens = list(sqlglot.tokenize(text, dialect=DuckDB))
    except Exception as error:  # a parser fed arbitrary text; whatever it stumbles over, the fragment is refused
        raise RefusedSql("it is not valid SQL.") from error
    for token in tokens:
        written = text[token.start : token.end + 1]
        quotes = {TokenType.STRING: "'", TokenType.IDENTIFIER: '"'}.get(token.token_type)
        same = token.text.upper() == " ".join(written.upper().split())  # "group  by" is one token, GROUP BY
        if not (written.startswith(quotes) if quotes else same) or token.token_type == TokenType.SEMICOLON:
            raise RefusedSql(f"{written[:30]!r} may not be used.")
    if not tokens:
        raise RefusedSql("it is empty.")
    return tokens


def join_tokens(tokens: Sequence[Token]) -> str:
    """Write the tokens back, apart where space or a comment stood between them."""
    text, end = "", -1
    for token in tokens:
        text += _written(token) if token.start == end + 1 else f" {_written(token)}"
        end = token.end
    return text.strip()


def _written(token: Token) -> str:
    if token.token_type == TokenType.STRING:
        return text_literal(token.text)
    return quote(token.text) if token.token_type == TokenType.IDENTIFIER else token.text


def _check_functions(tokens: list[Token], allowed: frozenset[str]) -> None:
    """Refuse unlisted names before a parenthesis, and words that call a function without one (CURRENT_DATE)."""
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        name = token.text.lower()
        if token.token_type in DuckDB.Parser.NO_PAREN_FUNCTIONS:
            raise RefusedSql(f"the function {name!r} may not be used in a contract.")
        if following is None or following.token_type != TokenType.L_PAREN:
            continue
        is_word = token.token_type == TokenType.IDENTIFIER or (name[:1].isalpha() or name[:1] == "_")
        keyword = token.token_type != TokenType.IDENTIFIER and name in (_BEFORE_PARENTHESIS | _TYPES_WITH_ARGUMENTS)
        if token.token_type == TokenType.STRING or (is_word and not keyword and name not in allowed):
            raise RefusedSql(f"the function {name!r} may not be used in a contract.")


def _parse(sql: str) -> exp.Select:
    try:
        statements = sqlglot.parse(sql, dialect=DuckDB)
    except RecursionError as error:
        raise RefusedSql("it is nested too deeply.") from error
    except Exception as error:  # a parser fed arbitrary text; whatever it stumbles over, the fragment is refused
        raise RefusedSql("it is not valid SQL.") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Select):
        raise RefusedSql("it is not a single SELECT.")
    return statements[0]


def _check_tree(
    root: exp.Expr, allowed: tuple[type, ...], columns: Collection[str], aliases: Collection[str]
) -> tuple[str, ...]:
    """Check every node and return the columns that are read, in the contract's order and spelling."""
    spelling = {name.lower(): name for name in columns}
    used: set[str | None] = set()
    for node in root.walk():
        if not isinstance(node, allowed):
            raise RefusedSql(f"{_excerpt(node)!r} ({type(node).__name__}) may not be used in a contract.")
        if isinstance(node, exp.DataType) and node.this.name not in _CAST_TYPES:
            raise RefusedSql(f"the type {_excerpt(node)!r} may not be used in a contract.")
        if isinstance(node, exp.Column):
            used.add(_column_of(node, spelling, aliases))
    return tuple(name for name in columns if name in used)


def _excerpt(node: exp.Expr) -> str:
    try:
        return str(node.sql(dialect=DuckDB))[:60]
    except RecursionError:
        return "…"


def _column_of(node: exp.Column, spelling: dict[str, str], aliases: Collection[str]) -> str | None:
    """Return the column a reference reads; None for a name the query itself gave. ``a.b`` is a column, or its field."""
    parts = [part.name.lower() for part in node.parts]
    qualified = len(parts) > 1 and parts[0] in (*aliases, ROWS)
    name = parts[1] if qualified else parts[0]
    if name in spelling:
        return spelling[name]
    if name in aliases or isinstance(node.this, exp.Star):
        return None
    known = ", ".join(spelling.values())
    raise RefusedSql(f"there is no column {node.parts[-1 if qualified else 0].name!r}; the columns are {known[:300]}.")


def _name_rows(tokens: list[Token], object_names: Collection[str], columns: Collection[str]) -> list[Token]:
    """Let the query call the rows by the object's own name: ``FROM orders``, ``orders.amount``."""
    names = {name.lower() for name in object_names}
    column_names = {name.lower() for name in columns}
    renamed: list[Token] = []
    for index, token in enumerate(tokens):
        name = token.text.lower()
        is_name = token.token_type != TokenType.STRING and name in names
        after_from = index > 0 and tokens[index - 1].token_type == TokenType.FROM
        before_dot = index + 1 < len(tokens) and tokens[index + 1].token_type == TokenType.DOT
        if is_name and (
            (after_from and not before_dot) or (before_dot and not after_from and name not in column_names)
        ):
            renamed.append(Token(TokenType.IDENTIFIER, ROWS, start=token.start, end=token.end))
        else:
            renamed.append(token)
    return renamed


def _check_tables(select: exp.Select) -> None:
    for table in select.find_all(exp.Table):
        plain = isinstance(table.this, exp.Identifier) and not table.db and not table.catalog
        if not plain or table.name.lower() != ROWS:
            raise RefusedSql(f"it reads {_excerpt(table)!r}; a rule may only read the rows it checks, as {{object}}.")
    if next(select.find_all(exp.Table), None) is None:
        raise RefusedSql("it does not read from {object}.")


def _check_one_value(select: exp.Select) -> None:
    """Make sure that the query returns exactly one row of one column, however many rows there are."""
    if len(select.expressions) != 1:
        raise RefusedSql("it has to return one value.")
    if any(not isinstance(query.parent, exp.From) for query in select.find_all(exp.Subquery)):
        raise RefusedSql("a subquery can only stand in FROM.")
    regrouped = [part for part in ("group", "having", "distinct") if select.args.get(part)]
    if select.expressions[0].find(exp.AggFunc) is None or regrouped:
        raise RefusedSql(
            "it has to return one aggregated value, such as count(*), without GROUP BY, HAVING or DISTINCT."
        )


def _counted_condition(select: exp.Select, tokens: list[Token]) -> str | None:
    """Return the condition of ``SELECT count(*) FROM {object} WHERE condition``, which can be checked row by row."""
    value, where, source = select.expressions[0], select.args.get("where"), select.find(exp.From)
    if isinstance(value, exp.Alias):
        value = value.this
    counts_rows = isinstance(value, exp.Count) and isinstance(value.this, exp.Star)
    if where is None or source is None or not counts_rows or not isinstance(source.this, exp.Table):
        return None
    if where.find(exp.AggFunc):
        return None
    if any(len(column.parts) > 1 for column in where.find_all(exp.Column)):
        return None  # the qualifier would not be known outside this query
    first = next(index for index, token in enumerate(tokens) if token.token_type == TokenType.WHERE)
    return join_tokens(tokens[first + 1 :])
