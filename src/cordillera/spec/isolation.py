"""How writers that work at the same time are kept apart."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from cordillera.errors import InvalidSchemaError

ISOLATION_PROPERTY = "write.isolation"


class Isolation(StrEnum):
    """What a writer that loses a race does about rows that changed while it worked."""

    SNAPSHOT = "snapshot"
    """Work its rows out again, against the rows as they are now."""
    SERIALIZABLE = "serializable"
    """Give up, if rows that it looked at have changed: whoever writes may have decided by them."""


def isolation_of(properties: Mapping[str, str]) -> Isolation:
    """Return the isolation that a table's properties ask for.

    Raises:
        InvalidSchemaError: If they ask for one that there is not.
    """
    text = properties.get(ISOLATION_PROPERTY, Isolation.SNAPSHOT)
    try:
        return Isolation(text)
    except ValueError:
        raise InvalidSchemaError(
            f"There is no isolation {text[:40]!r}.", hint=f"Set {ISOLATION_PROPERTY} to one of: {', '.join(Isolation)}."
        ) from None
