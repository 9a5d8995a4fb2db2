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

from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.catalog.tables import TableService
from cordillera.catalog.views import ViewService, lake_name
from cordillera.errors import InvalidSqlError
from cordillera.ports.engine import QueryEngine, Relation
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.as_of import AsOf, last_moment, read_as_of
from cordillera.spec.catalog import DatasetVersion
from cordillera.spec.expression import columns_used, pruning_expression
from cordillera.spec.names import DatasetRef
from cordillera.spec.narrowed import Narrowed, marked
from cordillera.spec.query import Query, dataset_names, fold_constants, parse_query
from cordillera.spec.row_access import RowView
from cordillera.spec.view_query import expand_views
from cordillera.table.live_files import LruCache


@dataclass(frozen=True, slots=True)
class _Input:
    """A dataset that a query reads, the moment and schema it is read at, what is shown of it if not all is, and what
    is not."""

    target: ResolvedDataset
    as_of: AsOf
    schema: Schema
    view: RowView | None
    less: tuple[Narrowed, ...] = ()

    @property
    def told(self) -> Schema:
        """The columns whose statistics may be asked about."""
        return self.schema if self.view is None else self.view.clear_schema


class QueryService:
    """Runs SELECT statements whose tables are datasets and views.

    Args:
        store, lookup: Resolve names.
        views: Knows what views stand for.
        tables: Reads rows.
        engine: Does the rest.
    """

    def __init__(
        self, store: MetadataStore, lookup: Lookup, views: ViewService, tables: TableService, engine: QueryEngine
    ) -> None:
        self._store, self._lookup, self._views = store, lookup, views
        self._tables, self._engine = tables, engine
        self._parsed: LruCache[object, Query] = LruCache(500)
        self._names = lru_cache(maxsize=500)(dataset_names)

    def query(
        self,
        sql: str,
        as_of: Mapping[str, AsOf] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> pa.RecordBatchReader:
        """Run a query and stream its result. All its datasets are read as they are in one state of the lake.

        Args:
            sql: One SELECT in DuckDB's dialect; tables are written ``namespace.dataset`` or ``namespace.view``.
            as_of: Dataset, as the query names it → sequence number or time to read it as of.
            parameters: Values of ``$name`` in the query.

        Raises:
            InvalidSqlError: If it cannot be parsed, resolved or run.
            DatasetNotFoundError: If it names a dataset that does not exist.
            NotAllowedError: If a view reads itself.
            AccessDeniedError: If it names something, or reads it by way of a view, that whoever asks may not read.
        """
        sql, inputs = self._inputs(sql, as_of or {})
        states = tuple(
            (ref, one.target.version.id, one.schema.schema_id, tuple(field.name for field in one.schema.fields))
            for ref, one in inputs.items()
        )
        parsed = self._parsed.get((sql, states), lambda: parse_query(sql, lambda ref: inputs[ref].schema))
        query = parsed.bind(parameters or {})
        filters = self._fold([one.condition or exp.true() for one in query.inputs])
        relations: dict[str, Relation] = {
            one.relation: self._read(inputs[one.ref], one.columns, condition)
            for one, condition in zip(query.inputs, filters, strict=True)
        }
        return marked(self._engine.query(query.sql, relations), [less for one in inputs.values() for less in one.less])

    def result_schema(self, sql: str) -> pa.Schema:
        """Return the columns of a query's result; raises as ``query`` does."""
        return self.query(f"SELECT * FROM ({sql}\n) AS described LIMIT 0").schema

    def without_views(self, sql: str) -> str:
        """Return a query that reads the datasets which another one reads, by itself or by way of views."""
        with self._store.read() as tx:
            return self._expanded(tx, sql)

    def schema_of(self, ref: DatasetRef) -> Schema:
        """Return the current schema of a dataset, for a query that reads it."""
        with self._store.read() as tx:
            target = self._lookup.readable(tx, ref)
        return self._input(target, None).schema

    def _inputs(self, sql: str, moments: Mapping[str, AsOf]) -> tuple[str, dict[DatasetRef, _Input]]:
        """Return a query without views, and the datasets that it reads."""
        with self._store.read() as tx:  # one for all: no commit, also not to several datasets, happens in between
            sql = self._expanded(tx, sql)
            targets = {ref: self._lookup.readable(tx, ref) for ref in self._names(sql)}
            pinned = {ref: _pinned(tx, found.version, moments.get(str(ref))) for ref, found in targets.items()}
        return sql, {ref: self._input(target, pinned[ref]) for ref, target in targets.items()}

    def _input(self, target: ResolvedDataset, as_of: AsOf) -> _Input:
        schema = self._tables.schema_then(target.name, target.version, as_of)
        view = None if target.rows is None else self._tables.view(target.version, target.rows, schema)
        if view is None:
            return _Input(target, as_of, schema, None)
        return _Input(target, as_of, view.schema, view, view.narrowed(target.name, schema))

    def _expanded(self, tx: Transaction, sql: str) -> str:
        if not any(self._views.readable(tx, ref) for ref in self._names(sql)):
            return sql
        return expand_views(sql, lambda ref: self._views.readable(tx, ref), lake_name(tx))

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
        pruning, used = pruning_expression(condition, one.told), columns_used(condition, one.told)
        return self._tables.candidates(one.target.name, one.target.version, columns, pruning, used, one.as_of, one.view)


def _pinned(tx: Transaction, version: DatasetVersion, as_of: AsOf) -> AsOf:
    """Return the sequence number that a time means in this state; a time to come would mean another in a later one."""
    moment = read_as_of(as_of)
    found = tx.snapshots.at(version.id, last_moment(moment)) if isinstance(moment, date) else None
    return found.sequence_number if found else moment
