"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from cordillera.errors import InvalidInputError
from cordillera.spec.job_trigger import JobTrigger

Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
"""A JSON document."""

Name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text that lists are ordered by: by code point, whatever the database's locale."""

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A 64-bit integer that the database can count up."""


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An instant, to the microsecond, as an aware ``datetime`` in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the value in UTC; SQLite keeps it without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise InvalidInputError(f"The time {value.isoformat()} has no time zone.", hint="Give it in UTC.")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the stored value in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Choice(sa.types.TypeDecorator[StrEnum]):
    """A member of one of several enumerations, kept as its value. No value is in two of them."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, *kinds: type[StrEnum]) -> None:
        super().__init__()
        self.kinds = kinds
        self._members = {one.value: one for kind in kinds for one in kind}

    def process_bind_param(self, value: StrEnum | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        """Return the value of a member."""
        return None if value is None else self._member(value).value

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> StrEnum | None:  # noqa: ARG002
        """Return the member of a stored value."""
        return None if value is None else self._member(value)

    def _member(self, value: str) -> StrEnum:
        found = self._members.get(value)
        return self.kinds[0](value) if found is None else found  # which says that it has none


class Texts(sa.types.TypeDecorator[tuple[str, ...]]):
    """A tuple of texts, in order."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Keep it as ``Json`` is kept."""
        return dialect.type_descriptor(postgresql.JSONB() if dialect.name == "postgresql" else sa.JSON())

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: sa.Dialect) -> list[str] | None:  # noqa: ARG002
        """Return the texts as a JSON list."""
        return None if value is None else list(value)

    def process_result_value(self, value: list[str] | None, dialect: sa.Dialect) -> tuple[str, ...] | None:  # noqa: ARG002
        """Return a stored JSON list as a tuple."""
        return None if value is None else tuple(value)


class Trigger(sa.types.TypeDecorator[JobTrigger]):
    """The trigger of a job; an empty object is one that says nothing."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Keep it as ``Json`` is kept."""
        return dialect.type_descriptor(postgresql.JSONB() if dialect.name == "postgresql" else sa.JSON())

    def process_bind_param(self, value: JobTrigger | None, dialect: sa.Dialect) -> dict[str, Any] | None:  # noqa: ARG002
        """Return the trigger as a JSON object."""
        return None if value is None else value.plain

    def process_result_value(self, value: dict[str, Any] | None, dialect: sa.Dialect) -> JobTrigger | None:  # noqa: ARG002
        """Return the trigger of a stored JSON object."""
        return None if value is None else JobTrigger.of_plain(value)


def dump_json(value: Any) -> str:
    """Return a value as JSON text.

    Raises:
        InvalidInputError: If JSON has nothing like it.
    """
    try:
        return orjson.dumps(value, default=_plain).decode()
    except orjson.JSONEncodeError as error:
        raise InvalidInputError(f"A value cannot be written as JSON: {error}.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"JSON has no {type(value).__name__}.")
