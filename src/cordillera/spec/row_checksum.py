"""Checksums of rows: by DuckDB's own hash where it sees the rows of both sides, else by texts that engines agree on.

A target that can compute them itself sends sums instead of rows. Every engine forms the same text of a value:

    ==================================  ============================================================================
    NULL                                nothing at all
    boolean                             ``1`` or ``0``
    int, long                           decimal digits
    decimal(P, S)                       decimal digits with S of them behind the point, and at least one before it
    float, double                       8 or 16 hexadecimal digits of the IEEE 754 bits; 0.0 for -0.0; NaN as ``NaN``
    date                                days since 1970-01-01
    time                                microseconds since midnight
    timestamp, timestamptz              16 hexadecimal digits of the microseconds since 2000-01-01, in UTC, in two's
                                        complement; ``.`` and the nanoseconds left over, for types that have them
    string                              the number of its bytes in UTF-8, ``:``, and the string
    uuid                                8-4-4-4-12 hexadecimal digits, lower case
    binary, fixed                       ``x`` and hexadecimal digits, lower case
    ==================================  ============================================================================

Structs, lists and maps have none: a table that has such columns is compared by its rows.

A row's text is its values' texts with ``,`` between them, which can be read in one way only. Its digest is the first 60
bits of the MD5 of that text. A table's checksum is the sum of its rows' digests, which no order changes, and which
differs for a row that is missing, unexpected, doubled or changed. A bucket is the first 16 bits of the MD5 of the key's
text, modulo the number of buckets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from cordillera.spec.sql import columns as columns_of
from cordillera.spec.sql import quote

MOST_BUCKETS = 65_536
SEPARATOR = ","
_MODULUS = 2**64
_MICROSECONDS_TO_2000 = 946_684_800_000_000


def spell(total: int) -> str:
    """Return a sum of digests as it is shown."""
    return f"{total % _MODULUS:016x}"


def buckets_for(rows: int) -> int:
    """Return in how many buckets a table is compared when its sum differs: a few rows each, but no more than 65,536."""
    return min(MOST_BUCKETS, max(1, 1 << (rows // 8).bit_length() - 1)) if rows >= 8 else 1


def value_text(name: str, kind: pa.DataType) -> str:
    """Return the DuckDB SQL of a column's agreed text, NULL where the value is."""
    value = quote(name)
    if pa.types.is_boolean(kind):
        return f"{value}::INTEGER::VARCHAR"
    if pa.types.is_floating(kind):
        same, bits, digits = ("FLOAT", "UINTEGER", 8) if kind == pa.float32() else ("DOUBLE", "UBIGINT", 16)
        number = _hexadecimal(f"({value} + 0.0)::{same}::BIT::{bits}", digits)
        return f"CASE WHEN isnan({value}) THEN 'NaN' ELSE {number} END"
    if pa.types.is_decimal(kind):
        text = f"{value}::VARCHAR"  # which spells 0.50 as .50 where there is room for no digit before the point
        return f"replace({text}, '.', '0.')" if kind.precision == kind.scale else text
    if pa.types.is_date(kind):
        return f"({value} - DATE '1970-01-01')::VARCHAR"
    if pa.types.is_timestamp(kind):
        micros = _hexadecimal(f"(epoch_us({value}) - {_MICROSECONDS_TO_2000})", 16)
        if kind.unit != "ns":
            return micros
        # DuckDB has no instants finer than a microsecond.
        rest = "0" if kind.tz else f"epoch_ns({value}) - epoch_us({value}) * 1000"
        return f"{micros} || '.' || ({rest})::VARCHAR"
    if pa.types.is_time(kind):
        return f"epoch_us({value})::VARCHAR"
    if pa.types.is_string(kind):
        return f"strlen({value}) || ':' || {value}"
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return f"'x' || lower(hex({value}))"
    return f"{value}::VARCHAR"


def _hexadecimal(number: str, digits: int) -> str:
    return f"lpad(lower(hex({number})), {digits}, '0')"


def row_text(columns: Iterable[tuple[str, pa.DataType]]) -> str:
    """Return the DuckDB SQL of the text of a row with these columns."""
    separator = f", '{SEPARATOR}', "
    return f"concat({separator.join(value_text(name, kind) for name, kind in columns)})"


@dataclass(frozen=True, slots=True)
class RowChecksum:
    """How the rows of one table are put into buckets and digested, as DuckDB's SQL.

    Attributes:
        columns: Every column, with its type.
        key: The names of the key columns.
        agreed: By the texts that engines agree on, not by DuckDB's own hash, which is faster.
    """

    columns: tuple[tuple[str, pa.DataType], ...]
    key: tuple[str, ...]
    agreed: bool

    def sums(self, source: str, buckets: int) -> str:
        """Return the query for the rows and the sum of digests of each bucket of a relation."""
        if self.agreed:
            digest = f"('0x' || left(md5({row_text(self.columns)}), 15))::BIGINT"
        else:
            digest = f"{_hash(name for name, _ in self.columns)}::HUGEINT"
        return (
            f"SELECT ({self.bucket(buckets)})::INTEGER AS bucket, count(*) AS rows, sum({digest})::HUGEINT AS total "
            f"FROM {source} GROUP BY 1"
        )

    def bucket(self, count: int) -> str:
        """Return the SQL of the bucket that a row belongs to."""
        if count == 1:
            return "0"
        if not self.agreed:
            return f"{_hash(self.key)} % {count}"
        types = dict(self.columns)
        return f"('0x' || left(md5({row_text((name, types[name]) for name in self.key)}), 4))::INTEGER % {count}"


def _hash(names: Iterable[str]) -> str:
    return f"hash(row({columns_of(names)}))"
