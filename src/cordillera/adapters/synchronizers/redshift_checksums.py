"""Checksums that Amazon Redshift computes itself; ``cordillera.spec.row_checksum`` has the texts they are made of.

Redshift has no function that shows the bits of a float, so a table with one is compared by its rows, as one with nested
columns is. A row's text has to fit into a VARCHAR: ``longest`` tells whether it does before it is made.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from cordillera.adapters.synchronizers.columns import is_bytes, is_nested
from cordillera.adapters.synchronizers.deliveries import read_columns
from cordillera.adapters.synchronizers.redshift_statements import TableName, held
from cordillera.adapters.synchronizers.redshift_types import microseconds
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec.row_checksum import SEPARATOR
from cordillera.spec.sql import quote, where

_LONGEST_PLAIN = 45  # digits, sign and point of a decimal, and the separator
_HALF = 2**60  # more microseconds than there are between 2000 and any year of four digits


def computable(columns: Sequence[TargetColumn]) -> bool:
    """Tell whether Redshift has functions for the agreed texts of all columns."""
    return not any(is_nested(column.type) or pa.types.is_floating(column.type) for column in columns)


def longest(table: TableName, compared: TargetTable) -> str:
    """Return the query for an upper bound of the bytes of a row's text; NULL for a table without rows."""
    parts = [str(_LONGEST_PLAIN * len(compared.columns))]
    for column in compared.columns:
        if pa.types.is_string(column.type):
            parts.append(f"COALESCE(OCTET_LENGTH({quote(column.name)}), 0)")
        elif is_bytes(column.type):
            parts.append(f"2 * COALESCE(OCTET_LENGTH({quote(column.name)}), 0)")
    return f"SELECT MAX({' + '.join(parts)}) FROM {table.sql}{where(held(compared))}"


def sums(table: TableName, compared: TargetTable, buckets: int) -> str:
    """Return the query for the rows and the sum of digests of each bucket of a table, or of its rows that hold."""
    digest = f"STRTOL(LEFT(MD5({_row_text(compared.columns)}), 15), 16)"
    numbers = bucket(read_columns(compared, compared.key), buckets)
    return f"SELECT {numbers}, COUNT(*), SUM({digest}) FROM {table.sql}{where(held(compared))} GROUP BY 1"


def bucket(key: Sequence[TargetColumn], count: int) -> str:
    """Return the SQL of the bucket that a row belongs to."""
    if count == 1:
        return "0 + 0"  # a bare number in GROUP BY is the place of a column
    return f"MOD(STRTOL(LEFT(MD5({_row_text(key)}), 4), 16), {count})"


def _row_text(columns: Sequence[TargetColumn]) -> str:
    texts = [f"COALESCE({_value_text(quote(column.name), column.type)}, '')" for column in columns]
    return f" || '{SEPARATOR}' || ".join(texts)


def _value_text(value: str, kind: pa.DataType) -> str:
    """Return the SQL of a value's agreed text, NULL where the value is."""
    if pa.types.is_boolean(kind):
        return f"CASE WHEN {value} THEN '1' WHEN NOT {value} THEN '0' END"
    if pa.types.is_date(kind):
        return f"CAST(DATEDIFF(day, DATE '1970-01-01', {value}) AS VARCHAR(20))"
    if pa.types.is_time(kind):
        since_midnight = microseconds(f"DATE '1970-01-01' + {value}", "1970-01-01")
        return f"CAST({since_midnight} AS VARCHAR(20))"
    if pa.types.is_timestamp(kind):
        text = _hexadecimal(microseconds(f"{value} AT TIME ZONE 'UTC'" if kind.tz else value, "2000-01-01"))
        return f"{text} || '.0'" if kind.unit == "ns" else text
    if pa.types.is_string(kind):
        return f"CAST(OCTET_LENGTH({value}) AS VARCHAR(20)) || ':' || {value}"
    if isinstance(kind, pa.UuidType):
        return value
    if is_bytes(kind):
        return f"'x' || LOWER(TO_HEX({value}))"
    return f"CAST({value} AS VARCHAR(45))"


def _hexadecimal(number: str) -> str:
    """Return the SQL of a number's 16 hexadecimal digits in two's complement, made of numbers that are not negative."""
    return (
        f"CASE WHEN {number} < 0 THEN 'f' || LPAD(TO_HEX({number} + {_HALF}), 15, '0') "
        f"ELSE LPAD(TO_HEX({number}), 16, '0') END"
    )
