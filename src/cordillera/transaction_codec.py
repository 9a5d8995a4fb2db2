"""Writes of transactions as JSON and YAML have them: a list of objects with the fields of ``DatasetWrite`` but rows."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from cordillera.catalog.requests import DatasetWrite
from cordillera.errors import InvalidInputError
from cordillera.spec.table_metadata import MAIN_BRANCH


class _Write(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dataset: str
    operation: str = "append"
    where: str | None = None
    completes: str | None = None
    branch: str = MAIN_BRANCH


def writes_to_json(writes: Sequence[DatasetWrite]) -> str:
    """Return writes as a JSON list; what a write does not say is left out."""
    fields = ("dataset", "operation", "where", "completes", "branch")
    plain = [{name: value for name in fields if (value := getattr(write, name)) is not None} for write in writes]
    return orjson.dumps(plain).decode()


def writes_from_json(text: str) -> list[DatasetWrite]:
    """Read a JSON list of writes, which have no rows yet.

    Raises:
        InvalidInputError: If it is none.
    """
    try:
        plain = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"The writes are not valid JSON: {error}.", hint=_HINT) from error
    if not isinstance(plain, list):
        raise InvalidInputError("The writes are not a list.", hint=_HINT)
    return [write_from_plain(number, item) for number, item in enumerate(plain, 1)]


def write_from_plain(number: int, item: object) -> DatasetWrite:
    """Return the write that a decoded object describes, without rows.

    Args:
        number: Which one it is, for error messages.
        item: The object.

    Raises:
        InvalidInputError: Naming the field that is wrong.
    """
    try:
        found = _Write.model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "write"
        raise InvalidInputError(f"Write {number} is wrong at {place!r}: {first['msg']}.", hint=_HINT) from error
    return DatasetWrite(
        found.dataset, found.operation, where=found.where, completes=found.completes, branch=found.branch
    )


_HINT = 'For example: [{"dataset": "sales.orders", "operation": "upsert"}].'
