"""Sort orders as people write them: ``ordered_at``, ``amount desc nulls last``, ``bucket(16, id)``.

Follows the Iceberg specification, "Sorting": an order is no promise about a table but says how files are to be written
from now on, and each file says by which it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyiceberg.schema import Schema
from pyiceberg.transforms import parse_transform

from cordillera.errors import InvalidSchemaError
from cordillera.spec.partitioning import AnyTransform, bound_term, check_transform, describe_term
from cordillera.spec.table_metadata import UNSORTED, TableMetadata

_TERM = re.compile(
    r"\s*(?P<what>.+?)(?:\s+(?P<direction>asc|desc))?(?:\s+nulls\s+(?P<nulls>first|last))?\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class SortTerm:
    """One of the things that rows are sorted by.

    Attributes:
        source_id: Field id of the column.
        transform: What is made of its values first.
        descending: Whether large values come first.
        nulls_first: Whether NULL comes before all values.
    """

    source_id: int
    transform: AnyTransform
    descending: bool = False
    nulls_first: bool = True

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> SortTerm:
        """Read a sort field of table metadata."""
        return cls(
            raw["source-id"],
            parse_transform(raw["transform"]),
            raw["direction"] == "desc",
            raw["null-order"] == "nulls-first",
        )

    def to_plain(self) -> dict[str, Any]:
        """Return the term as table metadata has it."""
        return {
            "source-id": self.source_id,
            "transform": str(self.transform),
            "direction": "desc" if self.descending else "asc",
            "null-order": "nulls-first" if self.nulls_first else "nulls-last",
        }


def parse_sort_order(
    terms: Sequence[str], schema: Schema, earlier: Sequence[Mapping[str, Any]] = (UNSORTED,)
) -> Mapping[str, Any]:
    """Return the sort order that ``terms`` describe over ``schema``, as table metadata has it.

    Args:
        terms: What to sort by, each with ``asc`` or ``desc`` and ``nulls first`` or ``nulls last`` behind it where it
            is not to be ascending; NULL comes first in ascending and last in descending order. None for no order.
        schema: The table's columns.
        earlier: The table's orders so far; one that says the same is returned.

    Raises:
        InvalidSchemaError: If a term has another form, names an unknown column, its transform cannot take the type, or
            another term says the same.
    """
    parsed = [_parse_term(term, schema) for term in terms]
    if len({(term.source_id, str(term.transform)) for term in parsed}) != len(parsed):
        raise InvalidSchemaError(f"The sort order {list(terms)} uses the same term twice.", hint="Name it once.")
    if not parsed:
        return UNSORTED
    same = (order for order in earlier if terms_of(order) == tuple(parsed))
    number = max((order["order-id"] for order in earlier), default=0) + 1
    return next(same, {"order-id": number, "fields": [term.to_plain() for term in parsed]})


def check_sort_order(order: Mapping[str, Any], schema: Schema) -> None:
    """Refuse a sort order that somebody else made, if no rows can be sorted by it.

    Args:
        order: An object as table metadata has it.
        schema: The table's columns.

    Raises:
        InvalidSchemaError: If it has an unknown transform, or one that its column's type does not allow.
    """
    for term in terms_of(order):
        check_transform(term.source_id, term.transform, schema, f"sort order {order['order-id']}")


def terms_of(order: Mapping[str, Any]) -> tuple[SortTerm, ...]:
    """Return what a sort order of table metadata sorts by; nothing where that is more than this version knows."""
    if any("source-id" not in field for field in order["fields"]):
        return ()
    return tuple(map(SortTerm.of, order["fields"]))


def describe_sort_order(metadata: TableMetadata) -> tuple[str, ...]:
    """Return the terms that new files of a table are sorted by, as people write them."""
    described = []
    for term in terms_of(metadata.sort_order):
        text = describe_term(term.source_id, term.transform, metadata.schema)
        text += " desc" if term.descending else ""
        if term.nulls_first is term.descending:
            text += f" nulls {'first' if term.nulls_first else 'last'}"
        described.append(text)
    return tuple(described)


def sort_sources(metadata: TableMetadata) -> frozenset[int]:
    """Return the field ids of the columns that new files are sorted by."""
    return frozenset(term.source_id for term in terms_of(metadata.sort_order))


def _parse_term(text: str, schema: Schema) -> SortTerm:
    if any(field.name == text for field in schema.fields):
        return SortTerm(*_source(text, schema))
    matched = _TERM.fullmatch(text)
    if not matched:
        raise InvalidSchemaError(
            f"The sort order {text!r} cannot be read.", hint="Write a column, or for example: amount desc nulls last."
        )
    descending = (matched["direction"] or "asc").lower() == "desc"
    nulls_first = matched["nulls"].lower() == "first" if matched["nulls"] else not descending
    return SortTerm(*_source(matched["what"], schema), descending, nulls_first)


def _source(term: str, schema: Schema) -> tuple[int, AnyTransform]:
    column, transform = bound_term(term, schema, "sort order")
    return column.field_id, transform
