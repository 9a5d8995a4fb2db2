"""The query engine: vectorised SQL over Arrow data, in memory or spilling to disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

Relation: TypeAlias = pa.Table | pa.RecordBatchReader


class QueryEngine(Protocol):
    """Runs SELECT statements, in DuckDB's dialect, over the relations it is given and nothing else.

    A query can reach neither files nor the network, nor another query's relations. NaN equals NaN, ``-0.0`` equals
    ``0.0``, strings compare by code point and timestamps with a zone by instant, as ``cordillera.spec.merge`` requires.
    """

    def query(
        self, sql: str, relations: Mapping[str, Relation] | None = None, parameters: Sequence[Any] = ()
    ) -> pa.RecordBatchReader:
        """Run a query and stream its result.

        Args:
            sql: One SELECT statement.
            relations: Tables by the name the statement uses. A reader is consumed.
            parameters: Values for ``$1``, ``$2`` … (or ``?``) in the statement.

        Raises:
            InvalidSqlError: If the statement cannot be parsed, bound or executed, in the engine's words.
        """

    def table(
        self, sql: str, relations: Mapping[str, Relation] | None = None, parameters: Sequence[Any] = ()
    ) -> pa.Table:
        """Run a query and return its whole result; for results known to be small."""
