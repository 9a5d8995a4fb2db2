"""Checksums that PostgreSQL computes itself; ``cordillera.spec.row_checksum`` has the texts that they are made of."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from psycopg import sql

from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.adapters.synchronizers.deliveries import read_columns
from cordillera.adapters.synchronizers.postgres_tables import Connection, TableName, held
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec.row_checksum import SEPARATOR

_MOST_ARGUMENTS = 48  # PostgreSQL passes at most a hundred to a function, and every column brings a separator along


def computable(connection: Connection, columns: Sequence[TargetColumn]) -> bool:
    """Tell whether the server computes the agreed checksums: texts have to be UTF-8, and columns not nested."""
    return connection.info.parameter_status("server_encoding") == "UTF8" and not any(is_nested(c.type) for c in columns)


def sums(connection: Connection, table: TableName, compared: TargetTable, buckets: int) -> pa.Table:
    """Return the rows and the sum of digests of each bucket of a table, or of its rows that hold."""
    key = read_columns(compared, compared.key)
    statement = sql.SQL("SELECT {}, count(*), sum({}) FROM {} WHERE {} GROUP BY 1").format(
        bucket(key, buckets), _digest(compared.columns), table.sql, held(compared)
    )
    found = connection.execute(statement).fetchall()
    numbers, rows, totals = zip(*found, strict=True) if found else ((), (), ())
    return pa.table(
        {
            "bucket": pa.array(numbers, pa.int32()),
            "rows": pa.array(rows, pa.int64()),
            "total": pa.array(totals, pa.decimal128(38, 0)),
        }
    )


def bucket(key: Sequence[TargetColumn], count: int) -> sql.Composable:
    """Return the SQL of the bucket that a row belongs to."""
    if count == 1:
        return sql.SQL("0")
    return sql.SQL("('x' || left(md5({}), 4))::bit(16)::int % {}").format(_row_text(key), sql.Literal(count))


def _digest(columns: Sequence[TargetColumn]) -> sql.Composed:
    return sql.SQL("('x' || left(md5({}), 15))::bit(60)::bigint").format(_row_text(columns))


def _row_text(columns: Sequence[TargetColumn]) -> sql.Composable:
    separator = sql.SQL(f", '{SEPARATOR}', ")
    texts = [sql.SQL(_value_text(column.type)).format(sql.Identifier(column.name)) for column in columns]
    parts = [texts[start : start + _MOST_ARGUMENTS] for start in range(0, len(texts), _MOST_ARGUMENTS)]
    return sql.SQL(f" || '{SEPARATOR}' || ").join(
        [sql.SQL("concat({})").format(separator.join(part)) for part in parts]
    )


def _value_text(kind: pa.DataType) -> str:
    """Return the SQL, around ``{}`` for the column, of its agreed text, NULL where the value is.

    What Cordillera would never have written (infinite dates) gets a text that equals no other.
    """
    if pa.types.is_boolean(kind):
        return "{}::int::text"
    if pa.types.is_floating(kind):
        send, zero = ("float4send", "0::real") if kind == pa.float32() else ("float8send", "0")
        return f"CASE WHEN {{0}} = 'NaN' THEN 'NaN' ELSE encode({send}({{0}} + {zero}), 'hex') END"
    if pa.types.is_date(kind):
        return "CASE WHEN isfinite({0}) THEN ({0} - DATE '1970-01-01')::text ELSE {0}::text END"
    if pa.types.is_time(kind):
        return "(EXTRACT(epoch FROM {}) * 1000000)::bigint::text"
    if pa.types.is_timestamp(kind):
        text = f"encode({'timestamptz_send' if kind.tz else 'timestamp_send'}({{}}), 'hex')"
        return f"{text} || '.0'" if kind.unit == "ns" else text
    if pa.types.is_string(kind):
        return "octet_length({0}) || ':' || {0}"
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "'x' || encode({}, 'hex')"
    return "{}::text"
