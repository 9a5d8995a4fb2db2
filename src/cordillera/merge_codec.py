"""Clauses of conditional merges as JSON and YAML have them: a list of objects with the fields of ``MergeClause``."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from cordillera.errors import InvalidInputError
from cordillera.spec.merge_clauses import MergeClause

_FIELDS = ("when", "then", "condition", "columns", "set")
_CLAUSE = TypeAdapter(MergeClause)


def clauses_to_json(clauses: Sequence[MergeClause]) -> str:
    """Return clauses as a JSON list; what a clause does not say is left out."""
    plain = [{k: v for k, v in to_jsonable_python(clause).items() if v} for clause in clauses]
    return orjson.dumps(plain).decode()


def clauses_from_json(text: str) -> tuple[MergeClause, ...]:
    """Read a JSON list of clauses.

    Raises:
        InvalidInputError: If it is none.
    """
    try:
        return clauses_from_plain(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"The merge clauses are not valid JSON: {error}.", hint=_HINT) from error


def clauses_from_plain(plain: object) -> tuple[MergeClause, ...]:
    """Return the clauses that a decoded document holds: a list, or an object with the list under ``clauses``.

    Raises:
        InvalidInputError: Naming the clause that is none.
    """
    found = plain.get("clauses") if isinstance(plain, dict) else plain
    if not isinstance(found, list):
        raise InvalidInputError("The merge clauses are not a list.", hint=_HINT)
    return tuple(_clause(number, item) for number, item in enumerate(found, 1))


def _clause(number: int, item: object) -> MergeClause:
    if isinstance(item, dict) and (unknown := [str(name) for name in item if name not in _FIELDS]):
        raise InvalidInputError(
            f"Merge clause {number} has the field {unknown[0]!r}, which clauses do not have.",
            hint=f"Fields: {', '.join(_FIELDS)}.",
        )
    try:
        clause: MergeClause = _CLAUSE.validate_python(item)
        return clause
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "clause"
        raise InvalidInputError(f"Merge clause {number} is wrong at {place!r}: {first['msg']}.", hint=_HINT) from error


_HINT = 'For example: [{"when": "matched", "then": "update"}, {"when": "not_matched", "then": "insert"}].'
