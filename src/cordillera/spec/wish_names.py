"""What the names in a subscription's wishes mean after columns have been renamed. Pure rules.

A wish is about columns, not about names: it follows those it named, whatever they are called by now and whatever has
taken their names since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pyiceberg.schema import Schema

from cordillera.spec.column_paths import Path, ids_by_path, known_part, lowered, paths
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
        columns=tuple(called((name,))[0] for name in subscription.columns),
        row_filter=_filter(subscription.row_filter, called),
    )


def _names(schema: Schema, held: Sequence[Schema], ever: Sequence[Schema]) -> Callable[[Path], Path]:
    """Return what tells the names under a schema of what wishes call otherwise."""
    known = ids_by_path(held), ids_by_path([schema]), ids_by_path([*ever, schema])
    now = {field_id: path for path, field_id in paths(schema)}

    def called(path: Path) -> Path:
        part = known_part(path, *known)
        for ids in known:
            found = [now[one] for one in ids.get(part, ()) if one in now]
            if len(found) == 1:
                return (*found[0], *path[len(part) :])
        return path

    return called


def filtered_by(wished: Subscription, schema: Schema) -> frozenset[int]:
    """Return the field ids of what a subscription's condition on rows names: columns of a schema, or fields inside."""
    ids, named = ids_by_path([schema]), set[int]()

    def noted(path: Path) -> Path:
        named.update(ids.get(known_part(path, ids), ()))
        return path

    _filter(wished.row_filter, noted)
    return frozenset(named)


def _filter(text: str, called: Callable[[Path], Path]) -> str:
    """Return a condition with the names of today; as it was written where they are the same."""
    renamed = []

    def noted(path: Path) -> Path:
        now = called(path)
        renamed.append(lowered(now) != lowered(path))
        return now

    otherwise = with_columns_called(text, noted) if text else text
    return otherwise if any(renamed) else text
