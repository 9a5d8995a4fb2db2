"""Checksums that ClickHouse computes itself; ``cordillera.spec.row_checksum`` has the texts they are made of."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from cordillera.adapters.synchronizers.clickhouse_statements import TableName, held, quote
from cordillera.adapters.synchronizers.columns import is_nested
from cordillera.adapters.synchronizers.deliveries import read_columns
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec.row_checksum import SEPARATOR
from cordillera.spec.sql import where

_MICROSECONDS_TO_2000 = 946_684_800_000_000


def computable(columns: Sequence[TargetColumn]) -> bool:
    """Tell whether all columns have an agreed text: nested ones have none."""
    return not any(is_nested(column.type) for column in columns)


def sums(table: TableName, compared: TargetTable, buckets: int) -> str:
    """Return the query for the rows and the sum of digests, as text, of each bucket of what is compared."""
    digest = f"bitShiftRight({_leading(_row_text(compared.columns), 64)}, 4)"
    return (
        f"SELECT {bucket(read_columns(compared, compared.key), buckets)} AS bucket, count(), "
        f"toString(sum(toUInt128({digest}))) FROM {table.sql}{where(held(compared))} GROUP BY bucket"
    )


def bucket(key: Sequence[TargetColumn], count: int) -> str:
    """Return the SQL of the bucket that a row belongs to."""
    return "toInt32(0)" if count == 1 else f"toInt32({_leading(_row_text(key), 16)} % {count})"


def _leading(text: str, bits: int) -> str:
    """Return the SQL of the first bits of a text's MD5 as a number."""
    return f"reinterpretAsUInt{bits}(reverse(substring(MD5({text}), 1, {bits // 8})))"


def _row_text(columns: Sequence[TargetColumn]) -> str:
    texts = [f"ifNull({_value_text(quote(column.name), column.type)}, '')" for column in columns]
    separator = f", '{SEPARATOR}', "
    return f"concat({separator.join(texts)}, '')"


def _value_text(value: str, kind: pa.DataType) -> str:
    """Return the SQL of a value's agreed text, NULL where the value is."""
    if pa.types.is_boolean(kind):
        return f"toString(toUInt8({value}))"
    if pa.types.is_floating(kind):
        bits = 32 if kind == pa.float32() else 64
        number = _hexadecimal(f"reinterpretAsUInt{bits}(toFloat{bits}({value} + 0.0))", bits // 4)
        return f"if(isNaN({value}), 'NaN', {number})"
    if pa.types.is_decimal(kind):
        return f"toDecimalString({value}, {kind.scale})"
    if pa.types.is_date(kind):
        return f"toString(toInt32({value}))"
    if pa.types.is_time(kind):
        return f"toString(toUnixTimestamp64Micro(toDateTime64({value}, 6, 'UTC')))"
    if pa.types.is_timestamp(kind):
        return _timestamp_text(value, kind)
    if pa.types.is_string(kind):
        return f"concat(toString(length({value})), ':', {value})"
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return f"concat('x', lower(hex({value})))"
    return f"toString({value})"


def _timestamp_text(value: str, kind: pa.DataType) -> str:
    if kind.unit == "us":
        return _hexadecimal(_signed(f"toUnixTimestamp64Micro({value}) - {_MICROSECONDS_TO_2000}"), 16)
    nanos = f"toUnixTimestamp64Nano({value})"
    rest = "0" if kind.tz else f"{nanos} % 1000"  # rounded towards 1970, as the lake's engine does
    micros = _signed(f"intDiv({nanos}, 1000) - {_MICROSECONDS_TO_2000}")
    return f"concat({_hexadecimal(micros, 16)}, '.', toString({rest}))"


def _signed(number: str) -> str:
    return f"reinterpretAsUInt64(toInt64({number}))"


def _hexadecimal(number: str, digits: int) -> str:
    return f"leftPad(lower(hex({number})), {digits}, '0')"
