"""SQL over datasets."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from pyiceberg.schema import Schema

from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import AsOf, TableService
from cordillera.errors import InvalidExpressionError
from cordillera.ports.engine import QueryEngine, Relation
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.names import DatasetRef
from cordillera.spec.query import QueryInput, parse_query


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

    def _read(self, one: QueryInput, as_of: AsOf) -> pa.RecordBatchReader:
        target = self._catalog.dataset(str(one.ref))
        where = one.condition or None
        if where is not None:
            try:
                parse_row_filter(where, self._tables.load(target.version).schema)
            except InvalidExpressionError:
                where = None  # the query itself has the condition too; it is only evaluated later then
        return self._tables.scan(target.name, target.version, columns=one.columns, where=where, as_of=as_of)
