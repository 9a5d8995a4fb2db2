"""Checksums that Snowflake computes itself; ``cordillera.spec.row_checksum`` has the texts they are made of.

Snowflake shows the bits of no float, so a table with one is compared by its rows, as one with nested columns is. A
row's text has to fit into a VARCHAR: ``longest`` tells whether it does before it is made.

A division of numbers is rounded to some digits in Snowflake, and made of floats in its emulator. So only such are
divided as leave no rest, and bits are cut off by taking away what they are worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from cordillera.adapters.synchronizers.columns import is_bytes, is_nested
from cordillera.adapters.synchronizers.deliveries import read_columns
from cordillera.adapters.synchronizers.snowflake_table_statements import TableName, held
from cordillera.adapters.synchronizers.snowflake_types import EPOCH_DAY, MIDNIGHT
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec.row_checksum import SEPARATOR
from cordillera.spec.sql import quote, where

DIGEST_UNIT, BUCKET_UNIT = 2**4, 2**48
"""What is to be divided by: the upper half of an MD5 has four bits more than a digest, and 48 more than a bucket's."""

_LONGEST_PLAIN = 45  # digits, sign and point of a decimal, and the separator
_MICROSECONDS_TO_2000 = 946_684_800_000_000
_HALF = 2**60  # more microseconds than there are between 2000 and any year of four digits
_DIGITS = 15
_SUMMED = "NUMBER(37,0)"  # the emulator makes 64 bits of a NUMBER(38,0), and a double of what is summed as it is


def computable(columns: Sequence[TargetColumn]) -> bool:
    """Tell whether Snowflake has functions for the agreed texts of all columns."""
    return not any(is_nested(column.type) or pa.types.is_floating(column.type) for column in columns)


def longest(table: TableName, compared: TargetTable) -> str:
    """Return the query for an upper bound of the bytes of a row's text; NULL for a table without rows."""
    parts = [str(_LONGEST_PLAIN * len(compared.columns))]
    for column in compared.columns:
        if pa.types.is_string(column.type):
            parts.append(f"COALESCE({_bytes(quote(column.name))}, 0)")
        elif is_bytes(column.type):
            parts.append(f"2 * COALESCE(LENGTH({quote(column.name)}), 0)")
    return f'SELECT MAX({" + ".join(parts)}) AS "longest" FROM {table.sql}{where(held(compared))}'


def sums(table: TableName, compared: TargetTable, buckets: int) -> str:
    """Return the query for the rows and the sum of digests of each bucket of a table, or of its rows that hold.

    Numbers of buckets are multiplied by ``BUCKET_UNIT``, sums by ``DIGEST_UNIT``.
    """
    md5, number = _half(compared.columns), bucket(read_columns(compared, compared.key), buckets)
    digests = f'SELECT {number} AS "bucket", {md5} AS "half" FROM {table.sql}{where(held(compared))}'
    return (
        f'SELECT "bucket", COUNT(*) AS "rows", SUM(("half" - MOD("half", {DIGEST_UNIT}))::{_SUMMED}) AS "total" '
        f'FROM ({digests}) AS digests GROUP BY "bucket"'
    )


def bucket(key: Sequence[TargetColumn], count: int) -> str:
    """Return the SQL of the bucket that a row belongs to, multiplied by ``BUCKET_UNIT``."""
    half = _half(key)
    return "0" if count == 1 else f"MOD({half} - MOD({half}, {BUCKET_UNIT}), {count * BUCKET_UNIT})"


def _half(columns: Sequence[TargetColumn]) -> str:
    """Return the SQL of the number that the first 64 bits are of the MD5 of a row's text."""
    texts = [f"COALESCE({_value_text(quote(column.name), column.type)}, '')" for column in columns]
    row_text = f" || '{SEPARATOR}' || ".join(texts)
    return f"MD5_NUMBER_UPPER64({row_text})"


def _value_text(value: str, kind: pa.DataType) -> str:
    """Return the SQL of a value's agreed text, NULL where the value is."""
    if pa.types.is_boolean(kind):
        return f"CASE WHEN {value} THEN '1' WHEN NOT {value} THEN '0' END"
    if pa.types.is_date(kind):
        return f"DATEDIFF(DAY, {EPOCH_DAY}, {value})::VARCHAR"
    if pa.types.is_time(kind):
        return f"DATEDIFF(MICROSECOND, {MIDNIGHT}, {value})::VARCHAR"
    if pa.types.is_timestamp(kind):
        text = _hexadecimal(f"(DATE_PART(EPOCH_MICROSECOND, {value}) - {_MICROSECONDS_TO_2000})")
        return f"{text} || '.0'" if kind.unit == "ns" else text
    if pa.types.is_string(kind):
        return f"{_bytes(value)}::VARCHAR || ':' || {value}"
    if isinstance(kind, pa.UuidType):
        return value
    if is_bytes(kind):
        return f"'x' || LOWER(HEX_ENCODE({value}))"
    return f"{value}::VARCHAR"


def _bytes(value: str) -> str:
    return f"OCTET_LENGTH({value}::VARCHAR)"


def _hexadecimal(number: str) -> str:
    """Return the SQL of a number's 16 hexadecimal digits in two's complement: of its sign, and of what is above it."""
    above = f"MOD({number} + {_HALF}, {_HALF})"
    digits = [
        f"SUBSTR('0123456789abcdef', ((MOD({above}, {16 ** (place + 1)}) - MOD({above}, {16**place})) / {16**place})"
        "::INTEGER + 1, 1)"
        for place in reversed(range(_DIGITS))
    ]
    return f"CASE WHEN {number} < 0 THEN 'f' ELSE '0' END || {' || '.join(digits)}"
