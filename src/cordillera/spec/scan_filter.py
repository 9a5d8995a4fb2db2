"""What a client that plans its scans here wants to see of a table: a condition, in parts that all have to be true.

The client evaluates the condition itself, as it is written. What statistics decide of it is known here: which files may
hold rows that it is true for, and of which files it is true for every row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression

PlainPredicate: TypeAlias = bool | Mapping[str, Any]
"""A condition as the Iceberg REST specification has it in JSON ("Predicate")."""


@dataclass(frozen=True, slots=True)
class FilterPart:
    """One of the conditions that all have to be true.

    Attributes:
        plain: It, as the client wrote it.
        columns: The top-level columns that it uses.
        pruning, certain: What statistics can decide of it from both sides; see ``RowFilter``.
    """

    plain: PlainPredicate
    columns: tuple[str, ...]
    pruning: BooleanExpression
    certain: BooleanExpression


@dataclass(frozen=True, slots=True)
class ScanFilter:
    """A condition, checked against a schema."""

    parts: tuple[FilterPart, ...] = ()

    @property
    def pruning(self) -> BooleanExpression:
        """What statistics can decide of the whole."""
        return And(AlwaysTrue(), AlwaysTrue(), *(part.pruning for part in self.parts))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every top-level column that it uses."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.columns))


def all_of(parts: Sequence[FilterPart]) -> PlainPredicate:
    """Return the condition that all of some parts are true."""
    return joined("and", [part.plain for part in parts]) if parts else True


def joined(kind: str, conditions: Sequence[PlainPredicate]) -> PlainPredicate:
    """Return conditions joined by ``and`` or ``or``, nested no deeper than need be: encoders have their limits."""
    if len(conditions) == 1:
        return conditions[0]
    half = len(conditions) // 2
    return {"type": kind, "left": joined(kind, conditions[:half]), "right": joined(kind, conditions[half:])}
