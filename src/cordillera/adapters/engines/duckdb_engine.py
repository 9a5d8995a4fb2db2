"""The query engine of one machine: DuckDB in process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa

from cordillera.adapters.arrow_streams import read_by_duckdb
from cordillera.errors import InvalidSqlError
from cordillera.ports.engine import Relation
from cordillera.spec.sql import quote

_SETTINGS = {
    "TimeZone": "UTC",
    "arrow_lossless_conversion": True,
    "preserve_insertion_order": False,
    # DuckDB pushes a join's value range into the Arrow scan, where NaN and -0.0 compare differently: rows get lost.
    # A window that keeps one row of a group becomes an aggregate of rows, in which -0.0 becomes 0.0.
    "disabled_optimizers": "join_filter_pushdown,top_n_window_elimination",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "enable_external_access": False,
}
_BATCH_ROWS = 122_880
_PUSHDOWN = "Arrow Scan Pushdown Filter"
_WIDE = pa.decimal128(38, 0)


class DuckDBEngine:
    """Implements ``QueryEngine``.

    Args:
        memory_limit: Most memory the engine may use before it spills, in DuckDB's notation (``1GB``).
        threads: Worker threads; None leaves it to DuckDB.
    """

    def __init__(self, memory_limit: str = "1GB", threads: int | None = None) -> None:
        # DuckDB makes this folder when it first spills, and removes it when the connection closes.
        spill = Path(tempfile.gettempdir()) / f"cordillera-spill-{uuid4()}"
        self._connection = duckdb.connect(":memory:", config={"temp_directory": str(spill)})
        self._connection.execute(f"SET memory_limit = '{memory_limit}'")
        if threads:
            self._connection.execute(f"SET threads = {int(threads)}")
        for name, value in _SETTINGS.items():
            self._connection.execute(f"SET {name} = {value!r}")
        self._connection.execute("SET lock_configuration = true")

    def query(
        self, sql: str, relations: Mapping[str, Relation] | None = None, parameters: Sequence[Any] = ()
    ) -> pa.RecordBatchReader:
        """Run a query and stream its result."""
        failures: list[BaseException] = []
        cursor = self._execute(sql, relations or {}, parameters, failures)
        reader = cursor.to_arrow_reader(_BATCH_ROWS)
        schema = _understood(reader.schema)
        return pa.RecordBatchReader.from_batches(schema, _drain(cursor, reader, schema, failures))

    def table(
        self, sql: str, relations: Mapping[str, Relation] | None = None, parameters: Sequence[Any] = ()
    ) -> pa.Table:
        """Run a query and return its whole result."""
        failures: list[BaseException] = []
        cursor = self._execute(sql, relations or {}, parameters, failures)
        try:
            result = cursor.to_arrow_table()
            schema = _understood(result.schema)
            return pa.Table.from_batches([_as_understood(batch, schema) for batch in result.to_batches()], schema)
        except (duckdb.Error, pa.ArrowException) as error:
            raise _cause(error, failures) from error
        finally:
            cursor.close()

    def close(self) -> None:
        """Release memory and spill files."""
        self._connection.close()

    def _execute(
        self,
        sql: str,
        relations: Mapping[str, Relation],
        parameters: Sequence[Any],
        failures: list[BaseException],
    ) -> duckdb.DuckDBPyConnection:
        cursor = self._connection.cursor()
        known = {name: _watched(relation, failures) for name, relation in relations.items()}
        try:
            try:
                return _run(cursor, sql, known, parameters)
            except duckdb.NotImplementedException as error:
                if _PUSHDOWN not in str(error):
                    raise
                # It pushes some conditions down that its scan of Arrow then cannot do. No row has been read yet.
                return _run(cursor, sql, known, parameters, opaque=True)
        except (duckdb.Error, pa.ArrowException) as error:
            cursor.close()
            raise _cause(error, failures) from error


def _run(
    cursor: duckdb.DuckDBPyConnection,
    sql: str,
    relations: Mapping[str, Relation],
    parameters: Sequence[Any],
    *,
    opaque: bool = False,
) -> duckdb.DuckDBPyConnection:
    for name, relation in relations.items():
        _register(cursor, name, relation, opaque=opaque)
    return cursor.execute(sql, list(parameters)) if parameters else cursor.execute(sql)


def _register(cursor: duckdb.DuckDBPyConnection, name: str, relation: Relation, *, opaque: bool) -> None:
    """Make a relation known to a cursor.

    Of a stream DuckDB gets the bare capsule: into that it pushes nothing, and nobody reads ahead of it. A table may be
    read more than once. There DuckDB pushes plain comparisons into the Arrow scan, where NaN compares by other rules,
    and rows get lost. A column with floats therefore passes through an expression that changes nothing, but cannot be
    pushed down; every column where ``opaque``.
    """
    if isinstance(relation, pa.RecordBatchReader):
        cursor.register(name, relation.__arrow_c_stream__())
        return
    columns = [_opaque(field) if opaque else _shielded(field) for field in relation.schema]
    if columns == [quote(field.name) for field in relation.schema]:
        cursor.register(name, relation)
        return
    if opaque:
        cursor.unregister(name)
    cursor.register(f"{name}__arrow", relation)
    cursor.execute(
        f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT {', '.join(columns)} FROM {quote(f'{name}__arrow')}"
    )


def _shielded(field: pa.Field) -> str:
    name = quote(field.name)
    if pa.types.is_floating(field.type):
        return f"-(-{name}) AS {name}"
    if pa.types.is_nested(field.type) and _has_floats(field.type):
        return _opaque(field)
    return name


def _opaque(field: pa.Field) -> str:
    name = quote(field.name)
    return f"CASE WHEN {name} IS NULL THEN NULL ELSE {name} END AS {name}"


def _has_floats(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_floats(kind.field(index).type) for index in range(kind.num_fields))
    return bool(pa.types.is_floating(kind))


def _watched(relation: Relation, failures: list[BaseException]) -> Relation:
    if isinstance(relation, pa.Table):
        if not any(pa.types.is_nested(field.type) for field in relation.schema):
            return relation
        relation = relation.to_reader()
    return read_by_duckdb(relation.schema, relation, failures)


def _drain(
    cursor: duckdb.DuckDBPyConnection,
    reader: pa.RecordBatchReader,
    schema: pa.Schema,
    failures: list[BaseException],
) -> Iterator[pa.RecordBatch]:
    try:
        for batch in reader:
            yield _as_understood(batch, schema)
    except (duckdb.Error, pa.ArrowException) as error:
        raise _cause(error, failures) from error
    finally:
        cursor.close()


def _understood(schema: pa.Schema) -> pa.Schema:
    """Return a result's schema with 128-bit integers, which Arrow lacks and sums have, as decimals without fraction."""
    return pa.schema([field.with_type(_WIDE) if _is_wide(field.type) else field for field in schema])


def _as_understood(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.equals(schema):
        return batch
    columns = [_as_decimal(c) if _is_wide(c.type) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _is_wide(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.OpaqueType) and kind.type_name == "hugeint"


def _as_decimal(column: pa.ExtensionArray) -> pa.Array:
    """Read DuckDB's 128-bit integers as decimals: both are sixteen bytes, little end first, in two's complement."""
    stored = column.storage
    return pa.Array.from_buffers(_WIDE, len(stored), stored.buffers(), stored.null_count, stored.offset)


def _cause(error: Exception, failures: list[BaseException]) -> BaseException:
    if failures:
        return failures[0]
    return InvalidSqlError(f"The query failed: {str(error).split('LINE 1')[0].strip()}")
