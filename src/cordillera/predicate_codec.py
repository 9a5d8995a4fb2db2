"""Conditions as the Iceberg REST specification has them in JSON ("Predicate"), in its present and its earlier form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import orjson
from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    IsNaN,
    IsNull,
    LessThan,
    LessThanOrEqual,
    NotNull,
    Or,
    StartsWith,
)
from pyiceberg.schema import Schema
from pyiceberg.transforms import parse_transform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestampNanoType,
    TimestampType,
    TimestamptzNanoType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from cordillera.errors import InvalidExpressionError, UnknownColumnError
from cordillera.spec.expression import instant
from cordillera.spec.scan_filter import FilterPart, PlainPredicate, ScanFilter, joined

_DEEPEST = 100
_MOST = 50_000
"""So many conditions and values are in a filter at most."""
_NEGATED = {
    "and": "or",
    "is-null": "not-null",
    "is-nan": "not-nan",
    "lt": "gt-eq",
    "gt": "lt-eq",
    "eq": "not-eq",
    "in": "not-in",
    "starts-with": "not-starts-with",
}
_NEGATED |= {other: one for one, other in _NEGATED.items()}
_MIRRORED = {"lt": "gt", "lt-eq": "gt-eq", "gt": "lt", "gt-eq": "lt-eq", "eq": "eq", "not-eq": "not-eq"}
_UNARY: Mapping[str, Any] = {"is-null": IsNull, "not-null": NotNull}
_COMPARISONS: Mapping[str, Any] = {
    "lt": LessThan,
    "lt-eq": LessThanOrEqual,
    "gt": GreaterThan,
    "gt-eq": GreaterThanOrEqual,
    "eq": EqualTo,
}


def scan_filter_from_plain(plain: Any, schema: Schema, *, case_sensitive: bool = True) -> ScanFilter:
    """Return the condition that decoded JSON describes; None describes that there is none.

    Args:
        plain: The JSON.
        schema: The columns that it may use.
        case_sensitive: Whether names of columns have to be written as they are.

    Raises:
        InvalidExpressionError: If a part of it is unknown or malformed, or it is too large.
        UnknownColumnError: If it uses a column that does not exist.
    """
    reader = _Reader(schema, case_sensitive)
    return ScanFilter(tuple(reader.part(one) for one in _flat(True if plain is None else plain, "and")))


def _flat(plain: Any, kind: str) -> list[Any]:
    """Return what is joined by a chain of ``and`` or ``or``, however it is nested: engines nest it as deep as long."""
    found, waiting = [], [plain]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping) and one.get("type") == kind:
            waiting += [_given(one, "right"), _given(one, "left")]
        else:
            found.append(one)
        if len(found) > _MOST:
            raise InvalidExpressionError(f"The filter has more than {_MOST} conditions.", hint="Ask for less at once.")
    return found


@dataclass(frozen=True, slots=True)
class _Decided:
    """What statistics decide of a condition, from both sides."""

    pruning: BooleanExpression
    certain: BooleanExpression

    @classmethod
    def exactly(cls, expression: BooleanExpression) -> Self:
        """Return that they decide all of it."""
        return cls(expression, expression)

    @classmethod
    def at_most(cls, expression: BooleanExpression) -> Self:
        """Return that they tell where it is not true, and never that it is."""
        return cls(expression, AlwaysFalse())


_UNKNOWN = _Decided.at_most(AlwaysTrue())


@dataclass(frozen=True, slots=True)
class _Operand:
    """A column, perhaps transformed."""

    field: NestedField
    column: str
    plain: bool
    """Whether it is a top-level column as it is; of nothing else statistics are looked at."""


class _Reader:
    """Reads conditions on the columns of a schema, and which columns they use."""

    def __init__(self, schema: Schema, case_sensitive: bool) -> None:
        self._schema, self._case_sensitive = schema, case_sensitive
        self._used: list[str] = []

    def part(self, plain: PlainPredicate) -> FilterPart:
        """Return a condition."""
        self._used = []
        decided = self._of(plain, False, 0)
        return FilterPart(_balanced(plain), tuple(dict.fromkeys(self._used)), decided.pruning, decided.certain)

    def _of(self, plain: Any, negated: bool, depth: int) -> _Decided:
        if depth > _DEEPEST:
            raise InvalidExpressionError(f"The filter is nested more than {_DEEPEST} levels deep.")
        kind = (
            str(plain).lower() if isinstance(plain, bool) else plain.get("type") if isinstance(plain, Mapping) else None
        )
        match kind:
            case "true" | "false":
                return _Decided.exactly(AlwaysTrue() if (kind == "true") != negated else AlwaysFalse())
            case "not":
                return self._of(_given(plain, "child"), not negated, depth + 1)
            case "and" | "or":
                parts = [self._of(one, negated, depth + 1) for one in _flat(plain, kind)]
                join: Callable[..., BooleanExpression] = And if (kind == "and") != negated else Or
                return _Decided(join(*(one.pruning for one in parts)), join(*(one.certain for one in parts)))
            case str() if kind in _NEGATED:
                return self._predicate(plain, kind, _NEGATED[kind] if negated else kind)
            case _:
                known = ", ".join(sorted({"true", "false", "not", *_NEGATED}))
                raise InvalidExpressionError(f"There is no condition {_shown(kind)}.", hint=f"Known are: {known}.")

    def _predicate(self, plain: Mapping[str, Any], kind: str, meant: str) -> _Decided:
        if "null" in kind or "nan" in kind:
            return self._unary(self._operand(_either(plain, "child", "term")), meant)
        if kind.endswith("in"):
            operand = self._operand(_either(plain, "child", "term"))
            return _in(operand, _literals(_given(plain, "values")), meant)
        left, right = _either(plain, "left", "term"), _either(plain, "right", "value")
        if "left" in plain and not _is_operand(left):
            if not _is_operand(right) or kind not in _MIRRORED:
                raise InvalidExpressionError(f"The condition {kind!r} compares no column.")
            left, right, meant = right, left, _MIRRORED[meant]
        operand = self._operand(left)
        if "right" in plain and _is_operand(right):
            self._operand(right)
            return _UNKNOWN
        return _compared(operand, _literal(right), meant)

    def _unary(self, operand: _Operand, meant: str) -> _Decided:
        is_float = isinstance(operand.field.field_type, FloatType | DoubleType)
        if "nan" in meant and not is_float and operand.plain:
            raise InvalidExpressionError(f"{operand.column!r} is {operand.field.field_type}, which is never NaN.")
        if not operand.plain or meant == "not-nan":
            return _UNKNOWN
        if meant == "is-nan":
            return _Decided.at_most(IsNaN(term=operand.column))
        return _Decided.exactly(_UNARY[meant](operand.column))

    def _operand(self, plain: Any) -> _Operand:
        match plain:
            case str():
                return self._column(plain)
            case {"type": "reference", "id": int(number)} if not isinstance(number, bool):
                return self._column(self._schema.find_column_name(number) or f"#{number}")
            case {"type": "reference", "name": str(name)} | {"type": "reference", "term": str(name)}:
                return self._column(name)
            case {"type": "transform", "transform": str(transform), "term": str(name)}:
                return self._transformed(transform, self._column(name))
            case _:
                shown = _shown(plain.get("type") if isinstance(plain, Mapping) else plain)
                raise InvalidExpressionError(
                    f"{shown} is no column.", hint="Compare a column, or one with a partition transform."
                )

    def _column(self, name: str) -> _Operand:
        try:
            field = self._schema.find_field(name, case_sensitive=self._case_sensitive)
        except ValueError:
            names = ", ".join(one.name for one in self._schema.fields)
            raise UnknownColumnError(
                f"The filter names the column {name[:200]!r}, which does not exist.", hint=f"Columns: {names}."
            ) from None
        full = self._schema.find_column_name(field.field_id) or name
        same = (one for one in self._schema.fields if one.field_id == field.field_id)
        top = next(same, None) or next(one for one in self._schema.fields if full.startswith(f"{one.name}."))
        if isinstance(top.field_type, ListType | MapType) or not isinstance(field.field_type, PrimitiveType):
            raise InvalidExpressionError(f"{full!r} has not one value in every row, as a filter needs.")
        self._used.append(top.name)
        return _Operand(field, top.name, field.field_id == top.field_id)

    def _transformed(self, transform: str, operand: _Operand) -> _Operand:
        try:
            known = parse_transform(transform)
            fits = known.can_transform(operand.field.field_type)
        except (ValueError, TypeError):
            fits = False
        if not fits:
            raise InvalidExpressionError(f"{operand.column!r} cannot be transformed by {transform[:60]!r}.")
        return operand if transform == "identity" else _Operand(operand.field, operand.column, False)


def _balanced(plain: Any) -> PlainPredicate:
    """Return a condition without long chains; it was read already, so it is not deep otherwise."""
    match _kind(plain):
        case "and" | "or" as kind:
            return joined(kind, [_balanced(one) for one in _flat(plain, kind)])
        case "not":
            return {"type": "not", "child": _balanced(plain["child"])}
        case _:
            found: PlainPredicate = plain
            return found


def _shown(value: Any) -> str:
    """Return what errors call a value; one of parts may be as deep as it is long."""
    return repr(str(value)[:60]) if isinstance(value, str | int | float) else f"a {type(value).__name__}"


def _kind(plain: Any) -> Any:
    return str(plain).lower() if isinstance(plain, bool) else plain.get("type") if isinstance(plain, Mapping) else None


def _is_operand(plain: Any) -> bool:
    return isinstance(plain, Mapping) and plain.get("type") != "literal"


def _given(plain: Mapping[str, Any], name: str) -> Any:
    if name not in plain:
        raise InvalidExpressionError(f"The condition {_shown(plain.get('type'))} lacks the field {name!r}.")
    return plain[name]


def _either(plain: Mapping[str, Any], name: str, earlier: str) -> Any:
    """Return a field that had another name in earlier forms of the specification."""
    return plain[earlier] if earlier in plain and name not in plain else _given(plain, name)


def _literal(plain: Any) -> Any:
    value = _given(plain, "value") if isinstance(plain, Mapping) and plain.get("type") == "literal" else plain
    try:
        whole = isinstance(value, str | bool | int | float) and orjson.loads(orjson.dumps(value)) == value
    except TypeError:  # a number of more than 64 bits, or text that is none
        whole = False
    if not whole:
        raise InvalidExpressionError(f"A column cannot be compared with {_shown(value)}.")
    return value


def _literals(plain: Any) -> list[Any]:
    values = _given(plain, "values") if isinstance(plain, Mapping) and plain.get("type") == "literals" else plain
    if not isinstance(values, list) or len(values) > _MOST:
        raise InvalidExpressionError(f"The values of a condition are a list of {_MOST} at most.")
    return [_literal(value) for value in values]


def _compared(operand: _Operand, literal: Any, meant: str) -> _Decided:
    if not operand.plain:
        return _UNKNOWN
    kind, value = operand.field.field_type, _value(operand, literal)
    if meant.endswith("starts-with"):
        if not isinstance(kind, StringType | BinaryType | FixedType):
            raise InvalidExpressionError(f"{operand.column!r} is {kind}, which starts with nothing.")
        positive = meant == "starts-with" and value
        return _Decided.at_most(StartsWith(term=operand.column, value=value)) if positive else _UNKNOWN
    if value is None or meant not in _COMPARISONS:
        return _UNKNOWN
    decided = _COMPARISONS[meant](operand.column, value)
    if isinstance(kind, DoubleType):  # bounds omit NaN, and engines differ in where it stands
        return _Decided.at_most(Or(decided, IsNaN(term=operand.column)))
    return _Decided.exactly(decided)


def _in(operand: _Operand, literals: list[Any], meant: str) -> _Decided:
    values: list[Any] = [_value(operand, literal) for literal in literals] if operand.plain else [None]
    if meant == "not-in" or any(value is None for value in values):
        return _UNKNOWN
    kind = operand.field.field_type
    if isinstance(kind, IntegerType):
        values = [value for value in values if -(2**31) <= value < 2**31]
    decided = In(term=operand.column, literals=values)
    return _Decided.at_most(decided) if isinstance(kind, DoubleType) else _Decided.exactly(decided)


def _value(operand: _Operand, literal: Any) -> Any:
    """Return a literal to compare a column with, or None if statistics should not be asked about it.

    Raises:
        InvalidExpressionError: If the column can have no such value.
    """
    kind = operand.field.field_type
    try:
        return _read(kind, literal)
    except (ValueError, TypeError, ArithmeticError):
        raise InvalidExpressionError(
            f"{operand.column!r} is {kind} and cannot be compared with {_shown(literal)}."
        ) from None


def _read(kind: IcebergType, literal: Any) -> Any:
    match kind, literal:
        case BooleanType(), bool():
            return literal
        case IntegerType() | LongType() | DateType() | TimeType() | TimestampType() | TimestamptzType(), int() if (
            not isinstance(literal, bool) and abs(literal) < 2**63
        ):
            return literal  # dates and times may come as what they are to Iceberg
        case DoubleType(), int() | float() if not isinstance(literal, bool):
            return float(literal)
        case DecimalType(), str() | int() if not isinstance(literal, bool):
            return _decimal(kind, Decimal(literal))
        case StringType(), str():
            return literal
        case DateType() | TimestampType() | TimestamptzType(), str():
            return _instant(kind, literal)
        case TimeType(), str():
            at = time.fromisoformat(literal)
            return ((at.hour * 60 + at.minute) * 60 + at.second) * 1_000_000 + at.microsecond
        case FloatType(), int() | float() if not isinstance(literal, bool):
            pass  # who compares it may mean the literal in 32 bits or in 64
        case UUIDType(), str():
            UUID(literal)
        case BinaryType() | FixedType(), str():
            bytes.fromhex(literal)
        case TimestampNanoType() | TimestamptzNanoType(), str() | int() if not isinstance(literal, bool):
            pass
        case _:
            raise TypeError(f"no {kind}")
    return None


def _decimal(kind: DecimalType, value: Decimal) -> Decimal | None:
    exact = value.quantize(Decimal(1).scaleb(-kind.scale))
    return exact if exact == value and len(exact.as_tuple().digits) <= kind.precision else None


def _instant(kind: IcebergType, text: str) -> int | None:
    """Return a date or time as a number; without a zone where there could be one, it is UTC."""
    if datetime.fromisoformat(text).tzinfo is not None and isinstance(kind, TimestampType):
        raise ValueError(text)
    return instant(text, kind)
