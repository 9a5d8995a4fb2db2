"""Compiling what a contract says about a column's type into row rules: required, limits, patterns, formats.

A predicate is false for a row that breaks the rule. A missing value (NULL) breaks nothing but ``required``. NaN is no
number, so it breaks every limit, whichever side the limit is on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cordillera.spec.contract.document import Node
from cordillera.spec.contract.literals import literal
from cordillera.spec.contract.model import (
    AggregateRule,
    Bound,
    Column,
    Comparison,
    Extent,
    RowRule,
    Scope,
    Severity,
    Unenforced,
)
from cordillera.spec.contract.types import INTEGER_RANGES, declared_type, kind_of
from cordillera.spec.counting import counted
from cordillera.spec.sql import quote

STRING_FORMATS = {
    "email": r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    "uuid": r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
    "uri": r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$",
    "hostname": r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
    "ipv4": r"^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])$",
    "byte": r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}
"""Patterns that text of an ODCS string format matches."""

FORMATS_WITHOUT_RULE = frozenset({"password", "binary"})
"""String formats that say how to treat a value, not which values are valid."""

_TOLERANCE = "1e-9"


@dataclass(frozen=True, slots=True)
class Target:
    """What rules are stated on: a column, or a field inside one.

    Attributes:
        label: Its dotted name.
        expression: SQL that reads its value.
        top: The top-level column it is, or is in.
        parent: SQL that reads the object it is in; empty for a column.
    """

    column: Column
    label: str
    expression: str
    top: str
    parent: str = ""

    @classmethod
    def of_column(cls, column: Column) -> Target:
        """Return the target that is a whole column."""
        return cls(column, column.name, quote(column.name), column.name)

    def field(self, inner: Column) -> Target:
        """Return the target that is a field inside this one."""
        expression = f"struct_extract({self.expression}, {literal(inner.name)})"
        return Target(inner, f"{self.label}.{inner.name}", expression, self.top, self.expression)


@dataclass(slots=True)
class RuleBook:
    """Collects the rules of a contract and keeps their names apart."""

    row_rules: list[RowRule] = field(default_factory=list)
    aggregate_rules: list[AggregateRule] = field(default_factory=list)
    unenforced: list[Unenforced] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    def add(self, rule: RowRule | AggregateRule) -> None:
        """Add a rule; if its name is taken, a number is put behind it."""
        name, number = rule.name, 2
        while name in self._names:
            name, number = f"{rule.name} ({number})", number + 1
        self._names.add(name)
        if isinstance(rule, RowRule):
            self.row_rules.append(replace(rule, name=name))
        else:
            self.aggregate_rules.append(replace(rule, name=name))

    def leave_out(self, path: str, reason: str) -> None:
        """Note that something in the document is not checked."""
        self.unenforced.append(Unenforced(path, reason))

    def leave_out_unknown(self, node: Node, known: Collection[str]) -> None:
        """Note the keys of a mapping that the standard does not know."""
        for key in node.unknown_keys(known):
            self.leave_out(node.entries()[key].path, "it is not a key of the standard here; it is kept")


def add_type_rules(book: RuleBook, target: Target, path: str) -> None:
    """Add the rules that follow from a column's own description, and from the fields inside it.

    Args:
        book: Where to add them.
        target: The column or field.
        path: Its place in the document.
    """
    for name, predicate, description in _type_predicates(target):
        rule_name = f"{target.label}.{name}"
        extent = _extent(target, name)
        book.add(RowRule(rule_name, target.label, predicate, Severity.ERROR, description, (target.top,), extent))
    if target.column.unique:
        _add_uniqueness(book, target)
    format_name = target.column.options.format
    if (
        target.column.logical_type == "string"
        and format_name
        and format_name not in FORMATS_WITHOUT_RULE | STRING_FORMATS.keys()
    ):
        book.leave_out(f"{path}.logicalTypeOptions.format", f"the format {format_name!r} is not checked")
    if not _limits_apply(target.column) and has_limits(target.column):
        stored = f"stored as {target.column.physical_type}, not as {target.column.logical_type}"
        book.leave_out(f"{path}.logicalTypeOptions", f"the column is {stored}")
    for index, inner in enumerate(target.column.fields):
        add_type_rules(book, target.field(inner), f"{path}.properties[{index}]")


def _add_uniqueness(book: RuleBook, target: Target) -> None:
    value = target.expression
    book.add(
        AggregateRule(
            name=f"{target.label}.unique",
            column=target.label,
            value_sql=f"count({value}) - count(DISTINCT {value})",
            comparisons=(Comparison("mustBe", (0,)),),
            unit="rows",
            severity=Severity.ERROR,
            description=f"Values of {target.label} are unique.",
            scope=Scope.TABLE,
            columns=(target.top,),
            distinct=() if target.parent else (target.top,),
        )
    )


def has_limits(column: Column) -> bool:
    """Tell whether ``logicalTypeOptions`` limit the column's values."""
    options = column.options
    limits = (
        *(
            options.minimum,
            options.maximum,
            options.exclusive_minimum,
            options.exclusive_maximum,
            options.multiple_of,
        ),
        *(options.min_length, options.max_length, options.pattern, options.min_items, options.max_items),
    )
    return any(limit is not None for limit in limits) or options.unique_items


def _limits_apply(column: Column) -> bool:
    numbers = ("integer", "number")
    kind = kind_of(column)
    return kind == column.logical_type or (kind in numbers and column.logical_type in numbers)


def _type_predicates(target: Target) -> Iterator[tuple[str, str, str]]:
    """Yield name, predicate and description of every row rule a column's description states."""
    if target.column.required:
        present = f"{target.expression} IS NOT NULL"
        predicate = f"{target.parent} IS NULL OR {present}" if target.parent else present
        yield "required", predicate, f"{target.label} is always given."
    if not _limits_apply(target.column):
        return
    match target.column.logical_type:
        case "string":
            yield from _text_predicates(target)
        case "integer" | "number":
            yield from _bounds(target)
            yield from _number_predicates(target)
        case "date" | "timestamp" | "time":
            yield from _bounds(target)
        case "array":
            yield from _array_predicates(target)


def _extent(target: Target, name: str) -> Extent | None:
    """Return what a rule of a top-level column comes to, if it is as simple as that."""
    options = target.column.options
    if target.parent:
        return None
    if name == "required":
        return Extent(required=True)
    if name == "minimum" and type(options.minimum) is int:
        return Extent(low=options.minimum)
    if name == "maximum" and type(options.maximum) is int:
        return Extent(high=options.maximum)
    return None


def _text_predicates(target: Target) -> Iterator[tuple[str, str, str]]:
    options, value, label = target.column.options, target.expression, target.label
    if options.min_length is not None:
        description = f"{label} has at least {counted(options.min_length, 'character')}."
        yield "minLength", f"length({value}) >= {options.min_length}", description
    if options.max_length is not None:
        description = f"{label} has at most {counted(options.max_length, 'character')}."
        yield "maxLength", f"length({value}) <= {options.max_length}", description
    if options.pattern is not None:
        yield "pattern", matches(value, options.pattern), f"{label} matches {options.pattern}"
    if options.format in STRING_FORMATS:
        predicate = matches(value, STRING_FORMATS[options.format])
        yield "format", predicate, f"{label} has the form of the format {options.format}."


def matches(value: str, pattern: str) -> str:
    """Return the predicate that ``pattern`` is found in the value, as ECMA-262 and JSON Schema read patterns."""
    return f"regexp_matches({value}, {literal(pattern)})"


def pattern_problem(pattern: str) -> str | None:
    """Return why the engine cannot use a pattern, or None; Arrow and DuckDB share one regular expression library."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        return f"{str(error).removeprefix('Invalid regular expression: ')}."
    except UnicodeEncodeError:
        return "it is not valid Unicode."
    return "it contains a NUL character." if "\x00" in pattern else None


def _bounds(target: Target) -> Iterator[tuple[str, str, str]]:
    options, value = target.column.options, target.expression
    # In DuckDB, as in PostgreSQL, NaN is greater than every number, so that only lower limits would let it pass.
    is_number = f" AND NOT isnan(CAST({value} AS DOUBLE))" if may_be_nan(target.column) else ""
    limits: list[tuple[str, Bound | None, str, str]] = [
        ("minimum", options.minimum, ">=", "at least"),
        ("exclusiveMinimum", options.exclusive_minimum, ">", "greater than"),
        ("maximum", options.maximum, "<=", "at most"),
        ("exclusiveMaximum", options.exclusive_maximum, "<", "less than"),
    ]
    for name, bound, operator, words in limits:
        if bound is not None:
            guard = is_number if operator in (">=", ">") else ""
            predicate = f"{value} {operator} {typed_literal(bound, target.column)}{guard}"
            yield name, predicate, f"{target.label} is {words} {bound}."


def may_be_nan(column: Column) -> bool:
    """Tell whether the column may be stored as floating-point numbers."""
    declared = declared_type(column)
    return column.logical_type == "number" and (declared is None or pa.types.is_floating(declared))


def typed_literal(value: Any, column: Column) -> str:
    """Return a literal that compares exactly with values of the column."""
    declared = declared_type(column)
    if isinstance(value, float) and declared is not None and pa.types.is_decimal(declared):
        return literal(Decimal(repr(value)))
    if isinstance(value, float) and declared == pa.float32():
        return f"CAST({literal(value)} AS FLOAT)"
    return literal(value)


def _number_predicates(target: Target) -> Iterator[tuple[str, str, str]]:
    options, value, label = target.column.options, target.expression, target.label
    if options.format in INTEGER_RANGES:
        low, high = INTEGER_RANGES[options.format]
        predicate = f"{value} BETWEEN {low} AND {high}"
        yield "format", predicate, f"{label} fits {options.format}: {low} to {high}."
    if options.multiple_of is not None:
        yield "multipleOf", _is_multiple(target), f"{label} is a multiple of {options.multiple_of}."


def _is_multiple(target: Target) -> str:
    """Whole numbers and decimals have exact remainders; of floating-point numbers, the quotient is nearly whole."""
    declared, step = declared_type(target.column), target.column.options.multiple_of
    exact = declared is not None and (
        pa.types.is_decimal(declared) or (pa.types.is_integer(declared) and float(step or 0).is_integer())
    )
    if exact or (target.column.logical_type == "integer" and float(step or 0).is_integer()):
        return f"{target.expression} % {literal(Decimal(repr(step)))} = 0"
    quotient = f"CAST({target.expression} AS DOUBLE) / {literal(step)}"
    return f"abs({quotient} - round({quotient})) < {_TOLERANCE}"


def _array_predicates(target: Target) -> Iterator[tuple[str, str, str]]:
    options, value, label = target.column.options, target.expression, target.label
    if options.min_items is not None:
        yield (
            "minItems",
            f"len({value}) >= {options.min_items}",
            f"{label} has at least {options.min_items} items.",
        )
    if options.max_items is not None:
        yield (
            "maxItems",
            f"len({value}) <= {options.max_items}",
            f"{label} has at most {options.max_items} items.",
        )
    if options.unique_items:
        yield "uniqueItems", f"list_unique({value}) = list_count({value})", f"The items of {label} differ."
