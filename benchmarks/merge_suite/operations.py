"""The operations, and how much of the table each is about.

A source is sampled from the table as the operation finds it: of a share ``files`` of the partitions, a share
``matched`` of the rows (changed, with their keys) and a share ``new`` of the rows (under keys that are not stored).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ORDER, ITEM, DAY = "wr_order_number", "wr_item_sk", "wr_returned_date"
KEY = (ORDER, ITEM)


class Kind(StrEnum):
    """What an operation does."""

    INSERT = "insert"
    """When not matched, insert."""
    INSERT_BY_CASE = "insert, two clauses"
    """When not matched and the item is even, insert; when not matched and it is odd, insert."""
    DELETE_MATCHED = "delete matched"
    """When matched, delete; the source has whole rows."""
    UPSERT = "upsert"
    """When matched, update all columns; when not matched, insert."""
    DELETE_KEYS = "delete by key"
    """Delete the rows of the source's keys."""
    DELETE_WHERE = "delete by condition"
    """Delete the rows that a condition is true for; there is no source."""


@dataclass(frozen=True)
class Operation:
    """One operation: what it does, and to how much of the table."""

    name: str
    kind: Kind
    files: float = 0
    matched: float = 0
    new: float = 0
    where: str = ""

    @property
    def number(self) -> int:
        """Its place in the order, from 1."""
        return int(self.name[1:])


def _between(first: str, end: str) -> str:
    return f"{DAY} >= DATE '{first}' AND {DAY} < DATE '{end}'"


_UPSERTS = [
    (0.05, 0.1, 0.01),
    (0.05, 0, 0.1),
    (0.05, 0.01, 0.1),
    (0.05, 0.1, 0),
    (0.5, 0.01, 0.001),
    (1, 0.01, 0.001),
    (0.05, 0.5, 0.001),
    (0.05, 0.99, 0.001),
    (0.05, 1, 0.001),
]
_DELETES = [
    *((0.05, matched) for matched in (0.001, 0.01, 0.1, 0.5, 1)),
    *((0.5, matched) for matched in (0.0001, 0.001, 0.01, 0.1, 0.5)),
    *((1, matched) for matched in (0.0001, 0.001, 0.01)),
]
_CONDITIONS = [
    _between("2002-06-01", "2002-07-01"),
    _between("2001-01-01", "2001-04-01"),
    _between("2000-01-01", "2001-01-01"),
    _between("2002-03-15", "2002-03-16"),
    f"{DAY} < DATE '1998-11-15'",
    "wr_reason_sk = 1",
    f"{ORDER} BETWEEN {{low}} AND {{high}}",  # 1% of the rows
]
WHOLE_PARTITIONS = ("m30", "m31", "m32")
"""Operations that delete whole partitions and nothing else, so that metadata alone has to change."""
CHANGES_NOTHING = "m37"

_DRAFTS = [
    *(Operation("", Kind.INSERT, 0.05, new=new) for new in (0.05, 0.5, 1)),
    *(Operation("", Kind.INSERT_BY_CASE, 0.05, new=new) for new in (0.05, 0.5, 1)),
    Operation("", Kind.DELETE_MATCHED, 0.05, 0.05),
    *(Operation("", Kind.UPSERT, *shares) for shares in _UPSERTS),
    *(Operation("", Kind.DELETE_KEYS, *shares) for shares in _DELETES),
    *(Operation("", Kind.DELETE_WHERE, where=where) for where in _CONDITIONS),
    Operation("", Kind.DELETE_KEYS, 0.05, new=0.01),
]
OPERATIONS = [
    Operation(f"m{number}", one.kind, one.files, one.matched, one.new, one.where)
    for number, one in enumerate(_DRAFTS, 1)
]
