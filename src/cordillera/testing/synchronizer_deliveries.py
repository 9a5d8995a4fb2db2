"""Deliveries and values for testing synchronizers: what :mod:`cordillera.testing.synchronizer_suite` is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import NestedField, StringType

from cordillera.errors import StorageUnavailableError
from cordillera.ports.synchronizer import (
    Cursor,
    Delivery,
    DeliveryResult,
    RowReader,
    Synchronizer,
    TargetColumn,
    TargetTable,
)
from cordillera.spec.arrow_types import FIELD_ID_KEY
from cordillera.spec.partition_layout import PartitionLayout

OURS = UUID("00000000-0000-4000-8000-000000000001")
THEIRS = UUID("00000000-0000-4000-8000-000000000002")
APPLIED_ALREADY = DeliveryResult(0, 0, already_applied=True)

ORDERS = TargetTable(
    "orders",
    (
        TargetColumn(1, "id", pa.int64(), nullable=False),
        TargetColumn(2, "customer", pa.string(), doc="Who ordered"),
        TargetColumn(3, "amount", pa.decimal128(10, 2)),
    ),
    ("id",),
)
BY_CUSTOMER = replace(
    ORDERS,
    layout=PartitionLayout.of(
        PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "customer")),
        Schema(NestedField(2, "customer", StringType())),
        [2],
    ),
)
"""The same, of a dataset that is partitioned by customer."""
ORDER_ROWS: list[dict[str, Any]] = [
    {"id": 1, "customer": "Ana", "amount": Decimal("10.00")},
    {"id": 2, "customer": "", "amount": Decimal("-0.01")},
    {"id": 3, "customer": None, "amount": None},
]


# --- making deliveries ----------------------------------------------------------------------------------------------


def reader_of(schema: pa.Schema, rows: list[dict[str, Any]] | pa.Table) -> RowReader:
    """Return what opens a stream of ``rows`` again and again, two to a batch so that there is more than one."""
    if isinstance(rows, list):
        rows = pa.Table.from_pylist(rows, schema=schema) if rows else pa.Table.from_batches([], schema)
    found = rows
    return lambda: found.to_reader(max_chunksize=2)


def failing_reader(schema: pa.Schema, batches: list[pa.RecordBatch], error: Exception) -> RowReader:
    """Return what opens a stream that breaks after ``batches``."""

    def stream() -> Iterator[pa.RecordBatch]:
        yield from batches
        raise error

    return lambda: pa.RecordBatchReader.from_batches(schema, stream())


def deliver(
    table: TargetTable,
    step: tuple[int | tuple[int, int] | None, int | tuple[int, int]],
    upserts: list[dict[str, Any]] | pa.Table | RowReader | None = None,
    deletes: list[dict[str, Any]] | pa.Table | RowReader | None = None,
    *,
    subscription_id: UUID = OURS,
    replacing: bool | None = None,
) -> Delivery:
    """Return a delivery over ``step``: (from, to), each a sequence number or (sequence number, schema id)."""
    from_cursor, to_cursor = (_cursor(at) for at in step)
    schema = table.arrow_schema()
    keys = pa.schema([schema.field(name) for name in table.key])
    assert to_cursor is not None
    return Delivery(
        subscription_id=subscription_id,
        table=table,
        from_cursor=from_cursor,
        to_cursor=to_cursor,
        replace=from_cursor is None if replacing is None else replacing,
        upserts=upserts if callable(upserts) else reader_of(schema, upserts or []),
        deletes=deletes if callable(deletes) else reader_of(keys, deletes or []),
    )


def whole(table: TargetTable, step: Any, rows: Any = None, **more: Any) -> Delivery:
    """Return a delivery of everything."""
    return deliver(table, step, rows, replacing=True, **more)


def swapped(table: TargetTable, step: Any, rows: Any, folders: Sequence[str]) -> Delivery:
    """Return a delivery of everything in some partitions."""
    return replace(deliver(table, step, rows, replacing=False), swap=frozenset(folders))


def _cursor(at: int | tuple[int, int] | None) -> Cursor | None:
    if at is None:
        return None
    return Cursor(at, 0) if isinstance(at, int) else Cursor(*at)


def rows_of(synchronizer: Synchronizer, table: TargetTable, columns: list[str] | None = None) -> list[str]:
    """Return the target's rows as sorted text, in which NaN equals NaN and -0.0 differs from 0.0."""
    return spelled(synchronizer.read_rows(table, columns).read_all())


def spelled(rows: pa.Table | list[dict[str, Any]]) -> list[str]:
    """Return rows as sorted text; see ``rows_of``."""
    return sorted(repr(row) for row in (rows if isinstance(rows, list) else rows.to_pylist()))


def field(field_id: int, name: str, kind: pa.DataType) -> pa.Field:
    """Return a nested field with its field id."""
    return pa.field(name, kind, metadata={FIELD_ID_KEY: str(field_id).encode()})


def breaking(rows: pa.Table) -> RowReader:
    """Return what opens a stream that breaks, as a lost object store does, after ``rows``.

    Give it rows of many megabytes: a synchronizer may gather small batches before it sends any.
    """
    batches = rows.to_batches(max_chunksize=max(1, rows.num_rows // 2))
    return failing_reader(rows.schema, batches, StorageUnavailableError("We lost the lake."))


# --- values ---------------------------------------------------------------------------------------------------------


def array_of(kind: pa.DataType, values: list[Any]) -> pa.Array:
    """Return an array; of uuids from their bytes."""
    if isinstance(kind, pa.UuidType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, pa.binary(16)))
    return pa.array(values, kind)


def plain(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values; timestamps as counts, since Python's end with the year 9999 and at microseconds."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return list(column.to_pylist())


def all_types() -> dict[str, pa.Array]:
    """Return a column of every type a dataset can have, with the values that get lost first."""
    second = datetime(2024, 2, 29, 23, 59, 59, 999999)  # noqa: DTZ001 - without a zone on purpose
    floats = [0.1, -0.0, 0.0, float("nan"), float("inf"), float("-inf"), 1.5e-7, 16777217.0, None]
    texts = [
        "",
        " ",
        "NULL",
        "null",
        "\\N",
        "\\.",
        "a\tb\nc\r\nd",
        'say "hi"',
        "it's",
        "日本 🏔 é e\u0301",
        "\x01\x7f",
        None,
    ]
    uuids = [UUID(int=0).bytes, UUID("12345678-1234-5678-1234-567812345678").bytes, None]
    instants = [0, -1, 1, 1709251199999999, -62135596800000000, 253402300799999999, None]
    inner = pa.struct([field(101, "x", pa.float64()), field(102, "when", pa.timestamp("us", "UTC"))])
    person = pa.struct(
        [
            field(110, "name", pa.string()),
            field(111, "ok", pa.bool_()),
            field(112, "price", pa.decimal128(20, 4)),
            field(113, "raw", pa.binary()),
            field(114, "day", pa.date32()),
            field(115, "at", pa.time64("us")),
            field(116, "points", pa.list_(inner)),
            field(117, "ratio", pa.float32()),
            field(118, "big", pa.int64()),
            field(119, "local", pa.timestamp("us")),
            field(120, "fixed", pa.binary(2)),
        ]
    )
    empty = dict.fromkeys(f.name for f in person)
    full = {
        "name": 'é "q" \\ \n\t\x01\u2028',
        "ok": True,
        "price": Decimal("-1234567890123456.7891"),
        "raw": b"\x00\xff",
        "day": date(1, 1, 1),
        "at": time(23, 59, 59, 999999),
        "points": [{"x": value, "when": second.replace(tzinfo=UTC)} for value in floats] + [None],
        "ratio": 0.10000000149011612,
        "big": -(2**63),
        "local": second,
        "fixed": b"\x01\x00",
    }
    return {
        "boolean": pa.array([True, False, None]),
        "int": pa.array([-(2**31), 2**31 - 1, 0, None], pa.int32()),
        "long": pa.array([-(2**63), 2**63 - 1, 0, None], pa.int64()),
        "float": pa.array([*floats[:-2], 1e-45, 3.4028234663852886e38, None], pa.float32()),
        "double": pa.array([*floats, 5e-324, 1.7976931348623157e308, 0.1 + 0.2], pa.float64()),
        "decimal": pa.array([Decimal("0.00"), Decimal("-0.01"), Decimal("99999999.99"), None], pa.decimal128(10, 2)),
        "wide_decimal": pa.array(
            [Decimal("9" * 28 + "." + "9" * 10), Decimal("-0.0000000001"), None], pa.decimal128(38, 10)
        ),
        "date": pa.array([date(1, 1, 1), date(1582, 10, 10), date(2024, 2, 29), date(9999, 12, 31), None]),
        "time": pa.array([time(0), time(23, 59, 59, 999999), time(1, 2, 3), None], pa.time64("us")),
        "timestamp": pa.array(instants, pa.timestamp("us")),
        "instant": pa.array(instants, pa.timestamp("us", "UTC")),
        "timestamp_ns": pa.array([0, 1709251199999999000, None], pa.timestamp("ns")),
        "string": pa.array(texts),
        "uuid": array_of(pa.uuid(), uuids),
        "binary": pa.array([b"", b"\x00", bytes(range(256)), b"\\x41", None], pa.binary()),
        "fixed": pa.array([b"\x00\x00\x00", b"abc", None], pa.binary(3)),
        "strings": pa.array([[], ["", None, "a,b", '"'], [None], None], pa.list_(pa.string())),
        "matrix": pa.array([[[1], [], None], [[2**63 - 1, None]], None], pa.list_(pa.list_(pa.int64()))),
        "map": pa.array([[], [("a", 1.5), ("", None)], None], pa.map_(pa.string(), pa.float64())),
        "map_of_dates": pa.array([[(date(2024, 1, 1), [1])], None], pa.map_(pa.date32(), pa.list_(pa.int32()))),
        "struct": pa.array([full, empty, None, {**empty, "points": []}], person),
        "struct_of_uuid": pa.StructArray.from_arrays([array_of(pa.uuid(), uuids)], fields=[field(130, "u", pa.uuid())]),
    }
