"""SQL over datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pyiceberg.schema import Schema
from sqlglot import exp

from cordillera.catalog.service import CatalogService, ResolvedDataset
from cordillera.catalog.tables import TableService
from cordillera.errors import InvalidSqlError
from cordillera.ports.engine import QueryEngine, Relation
from cordillera.spec.as_of import AsOf
from cordillera.spec.expression import columns_used, pruning_expression
from cordillera.spec.names import DatasetRef
from cordillera.spec.query import Query, dataset_names, fold_constants, parse_query
from cordillera.table.live_files import LruCache


@dataclass(frozen=True, slots=True)
class _Input:
    """A dataset that a query reads, and the moment and schema it is read at."""

    target: ResolvedDataset
    as_of: AsOf
    schema: Schema


class QueryService:
    """Runs SELECT statements whose tables are datasets.

    Args:
        catalog: Resolves names.
        tables: Reads rows.
        engine: Does the rest.
    """

    def __init__(self, catalog: CatalogService, tables: TableService, engine: QueryEngine) -> None:
        self._catalog, self._tables, self._engine = catalog, tables, engine
        self._parsed: LruCache[object, Query] = LruCache(500)
        self._names = lru_cache(maxsize=500)(dataset_names)

    def query(
        self,
        sql: str,
        as_of: Mapping[str, AsOf] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> pa.RecordBatchReader:
        """Run a query and stream its result.

        Args:
            sql: One SELECT in DuckDB's dialect; tables are written ``namespace.dataset``.
            as_of: Dataset → sequence number or time to read it as of.
            parameters: Values of ``$name`` in the query.

        Raises:
            InvalidSqlError: If it cannot be parsed, resolved or run.
            DatasetNotFoundError: If it names a dataset that does not exist.
        """
        moments = as_of or {}
        inputs = {ref: self._input(ref, moments.get(ref.full_name)) for ref in self._names(sql)}
        states = tuple((ref, one.target.version.id, one.schema.schema_id) for ref, one in inputs.items())
        parsed = self._parsed.get((sql, states), lambda: parse_query(sql, lambda ref: inputs[ref].schema))
        query = parsed.bind(parameters or {})
        filters = self._fold([one.condition or exp.true() for one in query.inputs])
        relations: dict[str, Relation] = {
            one.relation: self._read(inputs[one.ref], one.columns, condition)
            for one, condition in zip(query.inputs, filters, strict=True)
        }
        return self._engine.query(query.sql, relations)

    def schema_of(self, ref: DatasetRef) -> Schema:
        """Return the current schema of a dataset."""
        return self._tables.load(self._catalog.dataset(str(ref)).version).schema

    def _input(self, ref: DatasetRef, as_of: AsOf) -> _Input:
        target = self._catalog.dataset(str(ref))
        return _Input(target, as_of, self._tables.schema_then(target.name, target.version, as_of))

    def _fold(self, conditions: Sequence[exp.Expr]) -> list[exp.Expr]:
        try:
            return fold_constants(conditions, self._values)
        except InvalidSqlError:
            return list(conditions)  # whatever is wrong with an expression, the query itself will say so

    def _values(self, expressions: Sequence[str]) -> list[Any]:
        """Return the values of expressions without columns; None for one that has no plain literal."""
        columns = ", ".join(f"{expression} AS value_{index}" for index, expression in enumerate(expressions))
        values = self._engine.table(f"SELECT {columns}").to_pylist()[0].values()
        return [value if isinstance(value, bool | int | str | date) else None for value in values]

    def _read(self, one: _Input, columns: Sequence[str], condition: exp.Expr) -> pa.RecordBatchReader:
        pruning, used = pruning_expression(condition, one.schema), columns_used(condition, one.schema)
        return self._tables.candidates(one.target.name, one.target.version, columns, pruning, used, one.as_of)
