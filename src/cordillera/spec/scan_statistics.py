"""What scans ask for and what they read: the figures that advice about a table's layout stands on.

A scan's condition is reduced to which columns it uses, and how. The values it compares with may be personal data: they
are looked at while the scan is planned, and go no further.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from pyiceberg.expressions import (
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    LessThan,
    LessThanOrEqual,
    LiteralPredicate,
    Or,
    Reference,
)

ALL_COLUMNS = 0
"""Stands in the place of a column's id where every scan is counted, whatever it filters by."""


class ColumnUse(StrEnum):
    """How a condition uses a column."""

    EQUALITY = "equality"
    """It allows one value, or some."""
    RANGE = "range"
    """It allows the values between two, or on one side of one."""
    OTHER = "other"
    """In a way that statistics of files cannot decide."""
    ANY = "any"
    """In whatever way, or not at all: of ``ALL_COLUMNS``."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """How the condition of a scan at hand narrows a column; never stored.

    Attributes:
        use: How.
        values: How many values an equality allows.
        low, high: Where a range begins and ends, in Iceberg's internal form; None on a side that is open.
    """

    use: ColumnUse
    values: int = 0
    low: Any = None
    high: Any = None


_OTHER = Narrowing(ColumnUse.OTHER)


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """How a scan used a column.

    Attributes:
        column_id: The column's field id.
        use: How.
        values: How many values an equality allowed.
        fraction: The share of the table's rows that a range allowed, as statistics tell; None if they don't.
    """

    column_id: int
    use: ColumnUse
    values: int = 0
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan asked for and what it had to read.

    Attributes:
        columns: The columns its condition used.
        files, bytes: Data files of the table, and their size.
        files_read, bytes_read: Those that pruning left to be read.
    """

    columns: tuple[ColumnReport, ...]
    files: int
    bytes: int
    files_read: int
    bytes_read: int


@dataclass(frozen=True, slots=True)
class ColumnScans:
    """Sums over the scans that used a column in one way.

    Attributes:
        column_id: The column's field id; ``ALL_COLUMNS`` for the sums over all scans.
        use: How they used it.
        scans: How many there were.
        alone: How many of them were narrowed by no other column.
        files, files_read, bytes, bytes_read: As in ``ScanReport``, summed.
        values: As in ``ColumnReport``, summed.
        measured: Of how many the fraction is known.
        fraction: The sum of these fractions.
    """

    column_id: int
    use: ColumnUse
    scans: int = 0
    alone: int = 0
    files: int = 0
    files_read: int = 0
    bytes: int = 0
    bytes_read: int = 0
    values: int = 0
    measured: int = 0
    fraction: float = 0.0

    def plus(self, other: ColumnScans) -> Self:
        """Return the sums of both."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in MEASURES}
        return type(self)(self.column_id, self.use, **sums)


MEASURES = tuple(field.name for field in fields(ColumnScans) if field.name not in ("column_id", "use"))
"""The fields of ``ColumnScans`` that are sums."""


def counts_of(report: ScanReport) -> Iterable[ColumnScans]:
    """Return what a scan adds to the sums of its table and of each column it used."""
    narrowing = sum(column.use is not ColumnUse.OTHER for column in report.columns)
    everything = ColumnReport(ALL_COLUMNS, ColumnUse.ANY)
    for column in (everything, *report.columns):
        yield ColumnScans(
            column.column_id,
            column.use,
            scans=1,
            alone=int(column.use in (ColumnUse.EQUALITY, ColumnUse.RANGE) and narrowing == 1),
            files=report.files,
            files_read=report.files_read,
            bytes=report.bytes,
            bytes_read=report.bytes_read,
            values=column.values,
            measured=int(column.fraction is not None),
            fraction=column.fraction or 0.0,
        )


def narrowings(expression: BooleanExpression, columns: Sequence[str] = ()) -> dict[str, Narrowing]:
    """Return how a condition narrows each column that it uses.

    Args:
        expression: The part of it that statistics can decide, not bound to a schema.
        columns: Every column it uses.
    """
    return {**dict.fromkeys(columns, _OTHER), **_narrowed(expression)}


def _narrowed(expression: BooleanExpression) -> dict[str, Narrowing]:
    match expression:
        case And(left=left, right=right):
            return _joined(_narrowed(left), _narrowed(right))
        case Or(left=left, right=right):
            return _either(_narrowed(left), _narrowed(right))
        case In(term=Reference(name=name)):
            return {name: Narrowing(ColumnUse.EQUALITY, len(expression.literals))}
        case EqualTo(term=Reference(name=name)):
            return {name: Narrowing(ColumnUse.EQUALITY, 1)}
        case LessThan(term=Reference(name=name)) | LessThanOrEqual(term=Reference(name=name)):
            return {name: Narrowing(ColumnUse.RANGE, high=_value(expression))}
        case GreaterThan(term=Reference(name=name)) | GreaterThanOrEqual(term=Reference(name=name)):
            return {name: Narrowing(ColumnUse.RANGE, low=_value(expression))}
        case _:
            return {}


def _value(predicate: LiteralPredicate) -> Any:
    return predicate.literal.value


def _joined(left: dict[str, Narrowing], right: dict[str, Narrowing]) -> dict[str, Narrowing]:
    """Return how two conditions narrow that both have to hold."""
    both = {name: _meet(left[name], right[name]) for name in left.keys() & right.keys()}
    return {**left, **right, **both}


def _meet(one: Narrowing, other: Narrowing) -> Narrowing:
    if ColumnUse.OTHER in (one.use, other.use):
        return other if one.use is ColumnUse.OTHER else one
    if ColumnUse.EQUALITY in (one.use, other.use):
        return one if one.use is ColumnUse.EQUALITY else other
    lows, highs = _ends(one.low, other.low), _ends(one.high, other.high)
    return Narrowing(ColumnUse.RANGE, low=max(lows, default=None), high=min(highs, default=None))


def _either(left: dict[str, Narrowing], right: dict[str, Narrowing]) -> dict[str, Narrowing]:
    """Return how two conditions narrow of which one has to hold: only what both narrow is narrow at all."""
    narrow = {name: _cover(left[name], right[name]) for name in left.keys() & right.keys()}
    return {**dict.fromkeys([*left, *right], _OTHER), **narrow}


def _cover(one: Narrowing, other: Narrowing) -> Narrowing:
    uses = {one.use, other.use}
    if uses == {ColumnUse.EQUALITY}:
        return Narrowing(ColumnUse.EQUALITY, one.values + other.values)
    if uses == {ColumnUse.RANGE}:
        lows, highs = _ends(one.low, other.low), _ends(one.high, other.high)  # open on one side is open
        return Narrowing(
            ColumnUse.RANGE,
            low=min(lows) if len(lows) == 2 else None,
            high=max(highs) if len(highs) == 2 else None,
        )
    return _OTHER


def _ends(*ends: Any) -> list[Any]:
    """Return the ends of ranges that are not open."""
    return [end for end in ends if end is not None]
