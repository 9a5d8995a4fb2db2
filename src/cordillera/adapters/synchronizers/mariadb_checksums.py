"""Checksums that MariaDB computes itself; ``cordillera.spec.row_checksum`` has the texts that they are made of.

No function shows the bits of a float, but the binary form of a point has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.adapters.synchronizers.deliveries import read_columns
from cordillera.adapters.synchronizers.mariadb_statements import TableName, held, quote
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec.row_checksum import SEPARATOR
from cordillera.spec.sql import where

_FIRST_DIGIT = 19  # of the first number of a point, behind its reference system, its byte order and its type
_SMALLEST_FLOAT, _FLOATS_BELOW = "POW(2, -126)", "POW(2, 149)"
_BIAS = (1023 - 127) << 23  # by which exponents of doubles and floats differ, where a float has its exponent


def computable(columns: Sequence[TargetColumn]) -> bool:
    """Tell whether all columns have an agreed text: nested ones have none."""
    return not any(is_nested(column.type) for column in columns)


def sums(table: TableName, compared: TargetTable, buckets: int) -> str:
    """Return the query for the rows, the sum of digests, and the number of digests of each bucket of a table.

    Of a history it may be asked for the rows that hold.

    A row whose text is larger than what the server sends at once has no digest.
    """
    digest = f"CAST(CONV(LEFT(MD5({_row_text(compared.columns)}), 15), 16, 10) AS UNSIGNED)"
    numbers, rows = bucket(read_columns(compared, compared.key), buckets), f"{table.sql}{where(held(compared))}"
    return (
        f"SELECT bucket, COUNT(*), COALESCE(SUM(digest), 0), COUNT(digest) FROM "
        f"(SELECT {numbers} AS bucket, {digest} AS digest FROM {rows}) AS digests GROUP BY bucket"
    )


def bucket(key: Sequence[TargetColumn], count: int) -> str:
    """Return the SQL of the bucket that a row belongs to."""
    return "0" if count == 1 else f"CAST(CONV(LEFT(MD5({_row_text(key)}), 4), 16, 10) AS UNSIGNED) % {count}"


def _row_text(columns: Sequence[TargetColumn]) -> str:
    named = [(quote(column.name), column.type) for column in columns]
    texts = [f"IF({value} IS NULL, '', {_value_text(value, kind)})" for value, kind in named]
    separator = f", '{SEPARATOR}', "
    return f"CONCAT({separator.join(texts)})"


def _value_text(value: str, kind: pa.DataType) -> str:
    """Return the SQL of a value's agreed text."""
    if pa.types.is_floating(kind):
        return _double_text(value) if kind == pa.float64() else _float_text(value)
    if pa.types.is_date(kind):
        return f"DATEDIFF({value}, '1970-01-01')"
    if pa.types.is_time(kind):
        return f"TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ADDTIME('1970-01-01 00:00:00', {value}))"
    if pa.types.is_timestamp(kind):
        text = _hexadecimal(f"TIMESTAMPDIFF(MICROSECOND, '2000-01-01', {value})", 16)
        return f"CONCAT({text}, '.0')" if kind.unit == "ns" else text
    if pa.types.is_string(kind):
        return f"CONCAT(OCTET_LENGTH({value}), ':', {value})"
    if isinstance(kind, pa.UuidType):
        return f"CAST({value} AS CHAR)"
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return f"CONCAT('x', LOWER(HEX({value})))"
    return f"CAST({value} AS CHAR)"


def _double_text(value: str) -> str:
    """Return the SQL of the 16 digits of a double, whose bytes a point has in the other order."""
    point = f"HEX(POINT({value} + 0e0, 0))"
    pairs = (f"SUBSTR({point}, {_FIRST_DIGIT + 2 * place}, 2)" for place in range(7, -1, -1))
    return f"LOWER(CONCAT({', '.join(pairs)}))"


def _float_text(value: str) -> str:
    """Return the SQL of the 8 digits of a float, made of those of the double that it equals."""
    bits = f"CAST(CONV({_double_text(f'ABS({value})')}, 16, 10) AS UNSIGNED)"
    small = f"CAST(ABS(CAST({value} AS DOUBLE)) * {_FLOATS_BELOW} AS UNSIGNED)"
    number = f"IF(ABS({value}) < {_SMALLEST_FLOAT}, {small}, ({bits} >> 29) - {_BIAS}) | IF({value} < 0, 1 << 31, 0)"
    return _hexadecimal(number, 8)


def _hexadecimal(number: str, digits: int) -> str:
    return f"LPAD(LOWER(HEX({number})), {digits}, '0')"
