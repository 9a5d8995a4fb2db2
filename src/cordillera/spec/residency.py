"""Where data may be kept: the policy tag ``residency`` of what is delivered, and the targets' setting of that name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pyiceberg.schema import Schema

from cordillera.errors import InvalidConfigurationError

RESIDENCY = "residency"
"""The name of the policy tag, and of the setting that targets of every kind may have."""
_PLACE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a target breaks.

    Attributes:
        allowed: What the policy tag says.
        column: The column that it is of; empty if it is the dataset's.
    """

    allowed: str
    column: str = ""


def residency_of(config: Mapping[str, str]) -> str:
    """Return where a target with these settings keeps its data; empty if it does not say.

    Raises:
        InvalidConfigurationError: If it is no name of a place.
    """
    place = config.get(RESIDENCY, "")
    if place and not _PLACE.fullmatch(place):
        raise InvalidConfigurationError(
            f"{place[:60]!r} is no {RESIDENCY}.",
            hint="Use lower-case letters, digits and hyphens, such as eu-central-1.",
        )
    return place


def names_had(columns: Collection[str], schema: Schema, ever: Sequence[Schema]) -> dict[str, frozenset[str]]:
    """Return every name, in lower case, that columns of a schema have had. Policy tags name columns by any of them.

    Args:
        columns: Names of columns.
        schema: The schema that they are in.
        ever: Every schema that the table has had.
    """
    had: dict[int, set[str]] = {}
    for field in (field for one in (*ever, schema) for field in one.fields):
        had.setdefault(field.field_id, set()).add(field.name.lower())
    return {field.name: frozenset(had[field.field_id]) for field in schema.fields if field.name in columns}


def violated(
    tags: tuple[str, Mapping[str, str]], kept_in: str, columns: Mapping[str, Collection[str]]
) -> Violation | None:
    """Return a rule that a target breaks, or None.

    Args:
        tags: The residency of the dataset, places with commas between or empty for anywhere; and of columns that have
            one of their own, which holds beside the dataset's.
        kept_in: Where the target keeps its data; empty if it does not say, which no rule allows for.
        columns: The columns delivered, each with every name that it has had, in lower case.
    """
    whole, own = tags
    if whole and not _allows(whole, kept_in):
        return Violation(whole)
    for column, names in sorted(columns.items()):
        for tagged, allowed in own.items():
            if tagged.lower() in names and not _allows(allowed, kept_in):
                return Violation(allowed, column)
    return None


def _allows(tag: str, kept_in: str) -> bool:
    return kept_in in (place.strip() for place in tag.split(",")) and bool(kept_in)
