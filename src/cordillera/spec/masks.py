"""Masks: what somebody sees in the place of a column's values. A masked column keeps its type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
)

from cordillera.errors import InvalidInputError

HASH_KEY = "$1"
"""How SQL that hashes names the lake's key: it is a parameter, so that no message can show it."""
_KEPT_CHARACTERS = 4
_CONSTANTS: Mapping[type[IcebergType], str] = {
    StringType: "'****'",
    BooleanType: "false",
    IntegerType: "CAST(0 AS INTEGER)",
    LongType: "CAST(0 AS BIGINT)",
    FloatType: "CAST(0 AS FLOAT)",
    DoubleType: "CAST(0 AS DOUBLE)",
    DecimalType: "0",
    DateType: "DATE '1970-01-01'",
    TimestampType: "TIMESTAMP '1970-01-01'",
    TimestamptzType: "TIMESTAMPTZ '1970-01-01 00:00:00+00'",
}


class Mask(StrEnum):
    """What is seen of a column, the most first: where several apply to a row by several grants, the first counts."""

    CLEAR = "clear"
    """The value."""
    MONTH = "month"
    """The beginning of a date's month."""
    YEAR = "year"
    """The beginning of a date's year."""
    LAST4 = "last4"
    """The last four characters of a text, behind four asterisks."""
    HASH = "hash"
    """A keyed hash: equal values have equal ones, in all of the lake, and nobody can work out which."""
    CONSTANT = "constant"
    """The same for every row: asterisks, zero, 1970-01-01."""
    NULL = "null"
    """Nothing."""
    HIDDEN = "hidden"
    """Nothing, and the column is left out."""


_LENIENCY = {mask: rank for rank, mask in enumerate(Mask)}


def parse_mask(text: str) -> Mask:
    """Read the name of a mask.

    Raises:
        InvalidInputError: If there is none of that name.
    """
    try:
        return Mask(text)
    except ValueError:
        raise InvalidInputError(f"There is no mask {text[:40]!r}.", hint=f"Use one of: {', '.join(Mask)}.") from None


def strictest(masks: Iterable[Mask]) -> Mask:
    """Return the mask of some that shows least; the value is clear where there is none."""
    return max(masks, key=_LENIENCY.__getitem__, default=Mask.CLEAR)


def by_leniency(masks: Iterable[Mask]) -> list[Mask]:
    """Return masks, each once, the one that shows most first."""
    return sorted(set(masks), key=_LENIENCY.__getitem__)


def fits(mask: Mask, kind: IcebergType) -> bool:
    """Tell whether values of a type can be masked so."""
    match mask:
        case Mask.MONTH | Mask.YEAR:
            return isinstance(kind, DateType | TimestampType | TimestamptzType)
        case Mask.LAST4:
            return isinstance(kind, StringType)
        case Mask.HASH:
            return isinstance(kind, StringType | LongType | BinaryType)
        case Mask.CONSTANT:
            return type(kind) in _CONSTANTS
        case _:
            return True


def masked(mask: Mask, column: str, kind: IcebergType) -> str:
    """Return SQL for a masked column; where the mask does not fit the type, nothing is shown.

    Args:
        mask: The mask.
        column: The column, quoted.
        kind: Its type.
    """
    if not fits(mask, kind):
        return _nothing(column)
    match mask:
        case Mask.CLEAR:
            return column
        case Mask.MONTH | Mask.YEAR:
            begun = f"date_trunc('{mask}', {column})"
            return f"CAST({begun} AS DATE)" if isinstance(kind, DateType) else begun
        case Mask.LAST4:
            kept = (
                f"CASE WHEN length({column}) > {_KEPT_CHARACTERS} THEN right({column}, {_KEPT_CHARACTERS}) ELSE '' END"
            )
            return f"'****' || {kept}"
        case Mask.HASH:
            return _hash(column, kind)
        case Mask.CONSTANT:
            constant = _CONSTANTS[type(kind)]
            return f"CAST({constant} AS {str(kind).upper()})" if isinstance(kind, DecimalType) else constant
        case _:
            return _nothing(column)


def _nothing(column: str) -> str:
    return f"CASE WHEN false THEN {column} END"  # NULL of the column's type


def _hash(column: str, kind: IcebergType) -> str:
    """Return SQL for a column's keyed hash: hashed with the key twice, so that no hash leads to another."""
    value = column if isinstance(kind, BinaryType) else f"encode(CAST({column} AS VARCHAR))"
    digest = f"sha256({HASH_KEY} || sha256(encode({HASH_KEY}) || {value}))"
    if isinstance(kind, LongType):
        return f"CAST(md5_number_lower({digest}) >> 1 AS BIGINT)"  # 63 bits: no long is negative by it
    return f"unhex({digest})" if isinstance(kind, BinaryType) else digest
