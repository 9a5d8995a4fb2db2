"""Histories in targets: the log of a dataset's changes folded into the times for which each row held.

A row of a history holds from the commit that made it so, inclusive, until the commit that changed or removed it,
exclusive. A key has one current row, or none while it is deleted. Everything is said in SQL for the query engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from cordillera.spec import sql
from cordillera.spec.row_changes import CHANGE_TYPE, COMMIT_SEQUENCE, COMMITTED_AT, ChangeType

VALID_FROM, VALID_TO, IS_CURRENT = "_valid_from", "_valid_to", "_is_current"
_NEXT, _FROM = "_cdl_next", sql.quote(VALID_FROM)
_TO, _CURRENT = sql.quote(VALID_TO), sql.quote(IS_CURRENT)
_AT, _SEQUENCE = sql.quote(COMMITTED_AT), sql.quote(COMMIT_SEQUENCE)
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Unsound:
    """Keys of a history whose times cannot be: those of their rows overlap, end before they begin, or do not end.

    Attributes:
        keys: How many there are.
        examples: Up to five of them, spelled.
    """

    keys: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Folding:
    """Folds a log of changes, the relation ``log``, into what becomes of a history.

    Of every commit the log has at most one change for a key, besides the image before an update; commits have times
    that do not go back. In another order of rows it folds into the same.

    Attributes:
        schema: Of the rows, without what tells of changes.
        key: The columns of the key.
        restated: Whether there is a relation ``restated`` as well, of the same columns: a row for each key that there
            is in the end. Of keys that the log does not tell of, it says what their rows are from then on.
    """

    schema: pa.Schema
    key: tuple[str, ...]
    restated: bool = False

    def states(self) -> str:
        """Return the query for the rows that the history gets, which began with a change of the log."""
        by = f"PARTITION BY {sql.sort_terms(self.key, self.schema, 'c')} ORDER BY c.{_SEQUENCE}"
        return (
            f"{self._changes()} SELECT {sql.columns(self.schema.names, 'c')}, c.{_SEQUENCE}, c.{_AT} AS {_FROM}, "
            f"lead(c.{_AT}) OVER w AS {_TO}, lead(c.{_AT}) OVER w IS NULL AS {_CURRENT} FROM changes c "
            f"WHERE c.{sql.quote(CHANGE_TYPE)} <> {sql.literal(ChangeType.UPDATE_BEFORE)} WINDOW w AS ({by}) "
            f"QUALIFY c.{sql.quote(CHANGE_TYPE)} <> {sql.literal(ChangeType.DELETE)}"
        )

    def endings(self) -> str:
        """Return the query for the keys whose row so far ends, and when: with the first change of the log.

        Keys that are new in the log are among them: if the history has a current row of one all the same, it ends.
        """
        return (
            f"{self._changes()} SELECT {sql.columns(self.key, 'c')}, min(c.{_AT}) AS {_TO} FROM changes c "
            f"GROUP BY {sql.columns(self.key, 'c')}"
        )

    def _changes(self) -> str:
        if not self.restated:
            return "WITH changes AS (FROM log)"
        return (
            f"WITH told AS MATERIALIZED (FROM log), changes AS (FROM told UNION ALL BY NAME SELECT r.* FROM restated r "
            f"ANTI JOIN told t ON {sql.equal(self.key, 'r', 't')})"
        )


def unsound(schema: pa.Schema, key: Sequence[str]) -> str:
    """Return the query for keys whose times cannot be, in the relation ``history``: a ``spelling`` and the number of
    ``keys`` in each of the first rows.

    Args:
        schema: Of the relation.
        key: The columns of the dataset's key.
    """
    by = f"PARTITION BY {sql.sort_terms(key, schema, 'h')} ORDER BY h.{_SEQUENCE}"
    return (
        f"WITH followed AS (SELECT h.*, lead(h.{_FROM}) OVER ({by}) AS {sql.quote(_NEXT)} FROM history h), "
        f"wrong AS (SELECT DISTINCT row({sql.columns(key)})::VARCHAR AS spelling FROM followed "
        f"WHERE {_wrong(sql.quote)}) "
        f"SELECT spelling, count(*) OVER () AS keys FROM wrong ORDER BY spelling LIMIT {_EXAMPLES}"
    )


def count_unsound(
    source: str,
    partition: str,
    quoted: Callable[[str], str] = sql.quote,
    following: str = "LEAD({value}) OVER ({window})",
) -> str:
    """Return the query for the number of rows whose times cannot be, or not with those of the next, for any engine.

    Args:
        source: The history, as the engine names it.
        partition: What makes rows those of one key, as the engine compares them.
        quoted: Quotes names as the engine does.
        following: How the engine says a column's value in the next row of a ``window``, NULL in the last.
    """
    window = f"PARTITION BY {partition} ORDER BY {quoted(COMMIT_SEQUENCE)}"
    columns = ", ".join(quoted(name) for name in (VALID_FROM, VALID_TO, IS_CURRENT))
    following = following.format(value=quoted(VALID_FROM), window=window)
    followed = f"SELECT {columns}, {following} AS {quoted(_NEXT)} FROM {source}"
    return f"SELECT COUNT(*) FROM ({followed}) AS followed WHERE {_wrong(quoted)}"


def _wrong(quoted: Callable[[str], str]) -> str:
    """Return the condition, in words that all engines have, for the times of a row and the next to be wrong."""
    since, to, current, following = (quoted(name) for name in (VALID_FROM, VALID_TO, IS_CURRENT, _NEXT))
    return (
        f"{since} IS NULL OR {current} IS NULL OR ({current} AND {to} IS NOT NULL) OR (NOT {current} AND {to} IS NULL) "
        f"OR {to} < {since} OR ({following} IS NOT NULL AND ({to} IS NULL OR {to} > {following}))"
    )


def read_unsound(found: pa.Table) -> Unsound:
    """Return what the query ``unsound`` found."""
    return Unsound(found["keys"][0].as_py() if found.num_rows else 0, tuple(found["spelling"].to_pylist()))
