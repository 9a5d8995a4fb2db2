"""SQL over datasets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pyarrow as pa
from pyiceberg.schema import Schema

from cordillera.catalog.service import CatalogService, ResolvedDataset
from cordillera.catalog.tables import AsOf, TableService
from cordillera.errors import InvalidExpressionError, InvalidSqlError
from cordillera.ports.engine import QueryEngine, Relation
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.names import DatasetRef
from cordillera.spec.query import QueryInput, fold_constants, parse_query


class QueryService:
    """Runs SELECT statements whose tables are datasets.

    Args:
        catalog: Resolves names.
        tables: Reads rows.
        engine: Does the rest.
    """

    def __init__(self, catalog: CatalogService, tables: TableService, engine: QueryEngine) -> None:
        self._catalog, self._tables, self._engine = catalog, tables, engine

    def query(self, sql: str, as_of: Mapping[str, AsOf] | None = None) -> pa.RecordBatchReader:
        """Run a query and stream its result.

        Args:
            sql: One SELECT in DuckDB's dialect; tables are written ``namespace.dataset``.
            as_of: Dataset → sequence number or time to read it as of.

        Raises:
            InvalidSqlError: If it cannot be parsed, resolved or run.
            DatasetNotFoundError: If it names a dataset that does not exist.
        """
        parsed = parse_query(sql, self.schema_of)
        moments = as_of or {}
        relations: dict[str, Relation] = {
            one.relation: self._read(one, moments.get(one.ref.full_name)) for one in parsed.inputs
        }
        return self._engine.query(parsed.sql, relations)

    def schema_of(self, ref: DatasetRef) -> Schema:
        """Return the current schema of a dataset."""
        return self._tables.load(self._catalog.dataset(str(ref)).version).schema

    def _pushed(self, condition: str, target: ResolvedDataset) -> str | None:
        """Return a condition in a form the scan can use, or None: the query itself has it too, and checks it later."""
        try:
            folded = fold_constants(condition, self._value)
            parse_row_filter(folded, self._tables.load(target.version).schema)
        except (InvalidExpressionError, InvalidSqlError):
            return None
        return folded

    def _value(self, expression: str) -> Any:
        """Return the value of an expression without columns, or None for one that has no plain literal."""
        value = self._engine.table(f"SELECT {expression} AS value").column("value")[0].as_py()
        return value if isinstance(value, bool | int | str | date) else None

    def _read(self, one: QueryInput, as_of: AsOf) -> pa.RecordBatchReader:
        target = self._catalog.dataset(str(one.ref))
        where = self._pushed(one.condition, target) if one.condition else None
        return self._tables.scan(target.name, target.version, columns=one.columns, where=where, as_of=as_of)
