"""Conditional merges: clauses that say, row by row, what a source does to a dataset.

A row of the source and the stored row of its key are *matched*; a source row without one is *not matched*; a stored row
without a source row is *not matched by source*. Of the clauses for a row's case, the first whose condition is true
decides; a row for which none is does nothing. Conditions and values are SQL over ``source.column`` and
``target.column``. The key, and the sequence where there is one, always come from the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.schema import Schema
from sqlglot import exp
from sqlglot.errors import SqlglotError

from cordillera.errors import InvalidExpressionError, InvalidInputError, NotAllowedError, UnknownColumnError
from cordillera.spec import sql
from cordillera.spec.expression import FORBIDDEN, pruning_expression
from cordillera.spec.merge import MergeRule, MergeSemantics

_DIALECT = "duckdb"
SOURCE_TABLE, TARGET_TABLE = "source", "target"


class When(StrEnum):
    """The case a clause is for."""

    MATCHED = "matched"
    NOT_MATCHED = "not_matched"
    NOT_MATCHED_BY_SOURCE = "not_matched_by_source"


class Then(StrEnum):
    """What a clause does."""

    UPDATE = "update"
    DELETE = "delete"
    INSERT = "insert"


@dataclass(frozen=True, slots=True)
class MergeClause:
    """One clause: ``WHEN … [AND condition] THEN …``.

    Attributes:
        when: The case it is for.
        then: What it does.
        condition: SQL that has to be true; None for every row of the case.
        columns: Columns to take from the source as they are.
        set: Column → SQL for its value. Without ``set`` and ``columns``, every column that the source has is taken;
            the others keep what is stored or, in an insert, take their defaults.
    """

    when: When
    then: Then
    condition: str | None = None
    columns: tuple[str, ...] = ()
    set: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckedClause:
    """A clause that was found to make sense for a dataset and a source.

    Attributes:
        when, then: As in ``MergeClause``.
        condition: SQL in the engine's dialect, over the relations ``source`` and ``target``.
        values: Column → SQL of its new value, or name of the source's column.
        source_columns, target_columns: Columns of the source and of the stored row that the condition reads.
        value_columns: Columns of the stored row that the values read.
        pruning: What statistics can decide about the condition on the stored row.
    """

    when: When
    then: Then
    condition: str
    values: Mapping[str, str]
    source_columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    value_columns: tuple[str, ...]
    pruning: BooleanExpression


_ALLOWED = {
    When.MATCHED: (Then.UPDATE, Then.DELETE),
    When.NOT_MATCHED: (Then.INSERT,),
    When.NOT_MATCHED_BY_SOURCE: (Then.UPDATE, Then.DELETE),
}
_READABLE = {
    When.MATCHED: (SOURCE_TABLE, TARGET_TABLE),
    When.NOT_MATCHED: (SOURCE_TABLE,),
    When.NOT_MATCHED_BY_SOURCE: (TARGET_TABLE,),
}


def check_clauses(
    clauses: Sequence[MergeClause], schema: Schema, source: Sequence[str], semantics: MergeSemantics, dataset: str
) -> tuple[CheckedClause, ...]:
    """Check the clauses of a merge against a dataset and the columns of a source.

    Raises:
        InvalidInputError: If a clause can never apply, or does what its case does not allow.
        InvalidExpressionError: If a condition or a value is not an expression over one row.
        NotAllowedError: If the dataset's merge rule forbids it.
        UnknownColumnError: If a column does not exist, or one of the source is neither the dataset's nor used.
    """
    if not clauses:
        raise InvalidInputError(
            f"The merge into {dataset} has no clauses, so it would do nothing.",
            hint="Add at least one, for example: when matched, update.",
        )
    checker = _Checker(schema, source, semantics, dataset)
    checked = []
    closed: set[When] = set()
    for number, clause in enumerate(clauses, 1):
        if clause.when in closed:
            raise InvalidInputError(
                f"Clause {number} of the merge into {dataset} can never apply: an earlier one takes every row that is "
                f"{clause.when.replace('_', ' ')}.",
                hint="Give the earlier clause a condition, or put it last.",
            )
        checked.append(checker.check(clause))
        if clause.condition is None:
            closed.add(clause.when)
    checker.refuse_unused()
    return tuple(checked)


class _Checker:
    """Checks clauses one by one, and remembers which of the source's columns they use."""

    def __init__(self, schema: Schema, source: Sequence[str], semantics: MergeSemantics, dataset: str) -> None:
        self._schema, self._semantics, self._dataset = schema, semantics, dataset
        self._columns = {
            SOURCE_TABLE: {name.lower(): name for name in source},
            TARGET_TABLE: {f.name.lower(): f.name for f in schema.fields},
        }
        self._source = list(source)
        self._fixed = [*semantics.key, *([semantics.sequence] if semantics.sequence else [])]
        self._used: set[str] = set()

    def check(self, clause: MergeClause) -> CheckedClause:
        if clause.then not in _ALLOWED[clause.when]:
            raise InvalidInputError(
                f"A merge cannot {clause.then} rows that are {clause.when.replace('_', ' ')}.",
                hint=f"It can: {', '.join(_ALLOWED[clause.when])}.",
            )
        if clause.then is Then.UPDATE and self._semantics.rule is MergeRule.FIRST_ROW_WINS:
            raise NotAllowedError(
                f"{self._dataset} keeps the first row of a key for good ({self._semantics.rule}), so a merge cannot "
                "update it.",
                hint="Insert rows that are not matched, or delete rows.",
            )
        condition = self._parse(clause.condition, clause.when) if clause.condition is not None else exp.true()
        values, read = self._values(clause)
        return CheckedClause(
            when=clause.when,
            then=clause.then,
            condition=_sql(condition),
            values=values,
            source_columns=self._read(condition, SOURCE_TABLE),
            target_columns=self._read(condition, TARGET_TABLE),
            value_columns=read,
            pruning=self._pruning(condition) if clause.when is When.NOT_MATCHED_BY_SOURCE else AlwaysTrue(),
        )

    def refuse_unused(self) -> None:
        """Refuse columns of the source that nothing uses: a misspelled one would get lost without a word."""
        declared = self._columns[TARGET_TABLE].values()
        unused = [name for name in self._source if name not in declared and name not in self._used]
        if unused:
            raise UnknownColumnError(
                f"The source has columns that {self._dataset} does not, and no clause uses: "
                f"{', '.join(map(repr, unused))}.",
                hint=f"Leave them out, or use them as source.{unused[0]}. Columns: {', '.join(declared)}.",
            )

    def _values(self, clause: MergeClause) -> tuple[dict[str, str], tuple[str, ...]]:
        if clause.then is Then.DELETE:
            self._refuse_values(bool(clause.set or clause.columns), "A merge that deletes rows sets no columns.")
            return {}, ()
        if clause.when is When.NOT_MATCHED_BY_SOURCE:
            self._refuse_values(bool(clause.columns), "Rows that are not matched by source take no columns from it.")
            self._refuse_values(not clause.set, "An update of rows that are not matched by source has to set columns.")
        taken = [*clause.columns, *self._identity(clause)]
        if not clause.set and not clause.columns:
            taken += [name for name in self._source if name in self._columns[TARGET_TABLE].values()]
        values = {name: sql.columns([name], SOURCE_TABLE) for name in taken}
        self._check_assigned([*clause.columns], taken=True)
        self._check_assigned(list(clause.set), taken=False)
        read: dict[str, None] = {}
        for name, text in clause.set.items():
            tree = self._parse(text, clause.when)
            values[name] = _sql(tree)
            read.update(dict.fromkeys(self._read(tree, TARGET_TABLE)))
        return values, tuple(read)

    def _read(self, tree: exp.Expr, table: str) -> tuple[str, ...]:
        """Return the columns of a relation that an expression reads, each once."""
        names = (c.parts[1].name.lower() for c in tree.find_all(exp.Column) if c.parts[0].name.lower() == table)
        return tuple(dict.fromkeys(self._columns[table][name] for name in names))

    def _identity(self, clause: MergeClause) -> list[str]:
        return [] if clause.when is When.NOT_MATCHED_BY_SOURCE else self._fixed

    def _refuse_values(self, refused: bool, message: str) -> None:
        if refused:
            raise InvalidInputError(message, hint="See the reference of merge clauses: docs/reference/operations.md.")

    def _check_assigned(self, names: Sequence[str], *, taken: bool) -> None:
        declared = self._columns[TARGET_TABLE].values()
        for name in names:
            if name not in declared or (taken and name not in self._source):
                where = "the source" if name in declared else self._dataset
                raise UnknownColumnError(
                    f"A clause of the merge names the column {name!r}, which {where} does not have.",
                    hint=f"Columns: {', '.join(self._source if name in declared else declared)}.",
                )
            if name in self._fixed and not taken:
                raise InvalidInputError(
                    f"A clause of the merge sets {name!r}, which is part of the key or the sequence of "
                    f"{self._dataset} and comes from the source.",
                    hint="Leave it out; to change keys, delete rows and insert others.",
                )

    def _parse(self, text: str, when: When) -> exp.Expr:
        tree = _parse_one(text)
        forbidden = next((node for node in tree.walk() if isinstance(node, FORBIDDEN)), None)
        if forbidden is not None:
            raise InvalidExpressionError(
                f"The merge expression {text[:200]!r} contains {forbidden.sql(dialect=_DIALECT)[:80]!r}.",
                hint="An expression looks at one row: use columns, literals, operators and scalar functions.",
            )
        for column in tree.find_all(exp.Column):
            self._check_column(column, text, when)
        return tree

    def _check_column(self, column: exp.Column, text: str, when: When) -> None:
        table = column.parts[0].name.lower()
        if len(column.parts) < 2 or table not in _READABLE[when]:
            allowed = " or ".join(f"{name}.column" for name in _READABLE[when])
            raise InvalidExpressionError(
                f"The merge expression {text[:200]!r} reads {column.sql(dialect=_DIALECT)!r}, where a row is "
                f"{when.replace('_', ' ')}.",
                hint=f"Write columns as {allowed}.",
            )
        name = column.parts[1].name.lower()
        if name not in self._columns[table]:
            raise UnknownColumnError(
                f"The merge expression {text[:200]!r} names the column {column.parts[1].name!r}, which the {table} "
                "does not have.",
                hint=f"Columns: {', '.join(self._columns[table].values())}.",
            )
        if table == SOURCE_TABLE:
            self._used.add(self._columns[table][name])

    def _pruning(self, condition: exp.Expr) -> BooleanExpression:
        """Return what statistics decide about a condition on the stored row alone."""
        plain = condition.copy().transform(
            lambda node: exp.column(node.parts[1].copy()) if _is_plain_column(node) else node
        )
        return pruning_expression(plain, self._schema)


def _is_plain_column(node: exp.Expr) -> bool:
    return isinstance(node, exp.Column) and len(node.parts) == 2


def _parse_one(text: str) -> exp.Expr:
    """Read one expression.

    Raises:
        InvalidExpressionError: If the text is anything else.
    """
    hint = "Write one SQL expression, for example: source.amount + target.amount."
    try:
        statements = sql.parsed(f"SELECT ({text}\n)", _DIALECT)
    except SqlglotError as error:
        reason = str(error).splitlines()[0]
        raise InvalidExpressionError(
            f"The merge expression {text[:200]!r} cannot be read: {reason}", hint=hint
        ) from error
    select = statements[0] if len(statements) == 1 else None
    only = isinstance(select, exp.Select) and not any(v for n, v in select.args.items() if n != "expressions")
    found = select.expressions if isinstance(select, exp.Select) and only else []
    if len(found) != 1 or not isinstance(found[0], exp.Paren):
        raise InvalidExpressionError(f"The merge expression {text[:200]!r} is not a single expression.", hint=hint)
    tree: exp.Expr = found[0].this
    return tree


def _sql(tree: exp.Expr) -> str:
    return str(tree.sql(dialect=_DIALECT, identify=True, comments=False))
