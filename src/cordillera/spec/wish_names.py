"""What the names in a subscription's wishes mean after columns have been renamed. Pure rules.

A wish is about columns, not about names: it follows those it named, whatever they are called by now and whatever has
taken their names since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pyiceberg.schema import Schema

from cordillera.spec.expression import with_columns_called
from cordillera.spec.subscription import Subscription


def wished_under(
    subscription: Subscription, schema: Schema, ever: Sequence[Schema], *, made_since: bool = False
) -> Subscription:
    """Return a subscription whose wishes use the names of a schema; they use those that were last delivered.

    Names of columns that are not there any more stay as they are.

    Args:
        subscription: With the wishes.
        schema: The schema whose names to use.
        ever: Every schema that the table has had.
        made_since: Whether the wishes were made since the last delivery. Then, or if there was none, a name means the
            column that is called so or, if none is, the only one that ever was.
    """
    held_id = None if made_since else subscription.cursor_schema_id
    if held_id == schema.schema_id or not (subscription.columns or subscription.row_filter):
        return subscription
    called = _names(schema, [one for one in ever if one.schema_id == held_id], ever)
    return replace(
        subscription,
        columns=tuple(map(called, subscription.columns)),
        row_filter=_filter(subscription.row_filter, called),
    )


def _names(schema: Schema, held: Sequence[Schema], ever: Sequence[Schema]) -> Callable[[str], str]:
    """Return what tells the name under a schema of what wishes call otherwise."""
    meant, present, once = _ids(held), _ids([schema]), _ids([*ever, schema])
    now = {field.field_id: field.name for field in schema.fields}

    def called(name: str) -> str:
        for known in (meant, present, once):
            found = [now[one] for one in known.get(name.lower(), ()) if one in now]
            if len(found) == 1:
                return found[0]
        return name

    return called


def _ids(schemas: Sequence[Schema]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for field in (field for schema in schemas for field in schema.fields):
        found.setdefault(field.name.lower(), set()).add(field.field_id)
    return found


def filtered_by(wished: Subscription, schema: Schema) -> frozenset[int]:
    """Return the field ids of the columns of a schema that a subscription's condition on rows is about."""
    named: list[str] = []

    def noted(name: str) -> str:
        named.append(name.lower())
        return name

    _filter(wished.row_filter, noted)
    return frozenset(field.field_id for field in schema.fields if field.name.lower() in named)


def _filter(text: str, called: Callable[[str], str]) -> str:
    """Return a condition with the names of today; as it was written where they are the same."""
    renamed = []

    def noted(name: str) -> str:
        now = called(name)
        renamed.append(now.lower() != name.lower())
        return now

    otherwise = with_columns_called(text, noted) if text else text
    return otherwise if any(renamed) else text
