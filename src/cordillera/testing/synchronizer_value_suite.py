"""How a synchronizer keeps keys, values and names, as tests: a part of ``SynchronizerSuite``. Needs pytest."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cordillera.errors import (
    DuplicateKeyError,
    NullKeyError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import (
    DeliveryResult,
    RowReader,
    Synchronizer,
    TargetColumn,
    TargetTable,
)
from cordillera.testing.synchronizer_deliveries import (
    ORDER_ROWS,
    ORDERS,
    OURS,
    all_types,
    array_of,
    deliver,
    field,
    plain,
    reader_of,
    rows_of,
    spelled,
)

ODD_KEYS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "string": (pa.string(), ["", " ", "a", "A", "ä", "a\u0308", "日本", "it's", '"', "a,b", "\n", "\\", "NULL"]),
    "integer": (pa.int32(), [-(2**31), -1, 0, 2**31 - 1]),
    "double": (pa.float64(), [float("nan"), 0.0, 1.5, float("inf"), float("-inf"), 5e-324, 1e308]),
    "float": (pa.float32(), [float("nan"), 0.0, 0.5, float("inf"), float("-inf")]),
    "boolean": (pa.bool_(), [True, False]),
    "decimal": (pa.decimal128(38, 9), [Decimal("0E-9"), Decimal("12345678901234567890123456789.123456789")]),
    "date": (pa.date32(), [date(1, 1, 1), date(1970, 1, 1), date(9999, 12, 31)]),
    "instant": (pa.timestamp("us", "UTC"), [datetime(1, 1, 1, tzinfo=UTC), datetime(2024, 5, 6, 7, 8, 9, 1, UTC)]),
    "binary": (pa.binary(), [b"", b"\x00", b"\xff\x00"]),
    "uuid": (pa.uuid(), [UUID(int=0).bytes, UUID(int=2**128 - 1).bytes]),
}
"""Keys that something on the way may take for another, or for nothing."""


class ValueSuite:
    """Odd keys, every type, odd names, and more rows than belong in memory."""

    tells_removed: ClassVar[bool]

    streams: ClassVar[bool] = True
    """Whether the target keeps rows outside this process, so that a delivery takes bounded memory here."""

    batch_rows: ClassVar[int] = 2_000
    """How many rows make a megabyte; fewer, with longer texts, for a target to which each of them is a message."""

    signed_zeros: ClassVar[bool] = True
    """Whether the target keeps 0.0 and -0.0 apart."""

    odd_floats: ClassVar[bool] = True
    """Whether the target keeps NaN and infinities; if not, it refuses them."""

    def same_values(self, found: list[Any], expected: list[Any]) -> bool:
        """Compare values by how they are spelled, in which NaN equals NaN and -0.0 differs from 0.0 (if it can)."""
        spellings = repr(found), repr(expected)
        left, right = spellings if self.signed_zeros else (text.replace("-0.0", "0.0") for text in spellings)
        return left == right

    def _kept(self, values: pa.Array) -> pa.Array:
        """Return values without those that the target does not keep: NULL is in their place."""
        if self.odd_floats or not pa.types.is_floating(values.type):
            return values
        return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))

    # --- keys -------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", list(ODD_KEYS))
    def test_odd_keys_are_values_like_any_other(self, synchronizer: Synchronizer, kind: str) -> None:
        key_type, values = ODD_KEYS[kind]
        keys = self._kept(array_of(key_type, values)).drop_null()
        table = TargetTable("keyed", (TargetColumn(1, "k", key_type, False), TargetColumn(2, "n", pa.int64())), ("k",))
        schema = table.arrow_schema()

        def rows(offset: int, chosen: pa.Array = keys) -> pa.Table:
            return pa.table([chosen, pa.array(range(offset, offset + len(chosen)), pa.int64())], schema=schema)

        synchronizer.apply(deliver(table, (None, 1), rows(0)))
        synchronizer.apply(deliver(table, (1, 2), rows(100)))
        assert rows_of(synchronizer, table) == spelled(rows(100))
        gone = pa.table([keys[:1]], schema=pa.schema([schema.field("k")]))
        assert synchronizer.apply(deliver(table, (2, 3), [], gone)).rows_deleted == 1
        assert rows_of(synchronizer, table) == spelled(rows(101, keys[1:]))

    @pytest.mark.parametrize("kind", [pa.float32(), pa.float64()], ids=str)
    def test_negative_zero_is_the_key_zero(self, synchronizer: Synchronizer, kind: pa.DataType) -> None:
        table = TargetTable("zeros", (TargetColumn(1, "k", kind, False), TargetColumn(2, "n", pa.int64())), ("k",))
        synchronizer.apply(deliver(table, (None, 1), [{"k": 0.0, "n": 1}, {"k": 1.0, "n": 1}]))
        synchronizer.apply(deliver(table, (1, 2), [{"k": -0.0, "n": 2}]))
        expected = spelled([{"k": -0.0, "n": 2}, {"k": 1.0, "n": 1}])
        assert self.same_values(rows_of(synchronizer, table), expected)
        assert synchronizer.apply(deliver(table, (2, 3), [], [{"k": 0.0}])).rows_deleted == 1
        assert rows_of(synchronizer, table) == spelled([{"k": 1.0, "n": 1}])

    def test_composite_keys_match_as_a_whole(self, synchronizer: Synchronizer) -> None:
        columns = (
            TargetColumn(1, "n", pa.int64()),
            TargetColumn(2, "b", pa.string(), False),
            TargetColumn(3, "a", pa.date32(), False),
        )
        table = TargetTable("composite", columns, ("a", "b"))
        one, two = date(2024, 1, 1), date(2024, 1, 2)
        first = [{"n": 0, "b": b, "a": a} for a in (one, two) for b in ("", "x")]
        synchronizer.apply(deliver(table, (None, 1), first))
        changed = {"n": 5, "b": "x", "a": one}
        result = synchronizer.apply(deliver(table, (1, 2), [changed], [{"a": two, "b": ""}, {"a": two, "b": "z"}]))
        assert result == DeliveryResult(1, 1 if self.tells_removed else 2)
        assert rows_of(synchronizer, table) == spelled([first[0], changed, first[3]])

    def test_null_and_repeated_keys_are_refused(self, synchronizer: Synchronizer) -> None:
        loose = replace(ORDERS, columns=(replace(ORDERS.columns[0], nullable=True), *ORDERS.columns[1:]))
        twice = [ORDER_ROWS[0], ORDER_ROWS[1], ORDER_ROWS[2], ORDER_ROWS[0]]
        for step in ((None, 1), (1, 2)):
            with pytest.raises(NullKeyError):
                synchronizer.apply(deliver(loose, step, [*ORDER_ROWS, {"id": None}]))
            with pytest.raises(DuplicateKeyError):
                synchronizer.apply(deliver(ORDERS, step, twice))
            if step[0] is None:
                synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        with pytest.raises(NullKeyError):
            synchronizer.apply(deliver(loose, (1, 2), [], [{"id": None}]))
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_rows_of_another_shape_are_refused(self, synchronizer: Synchronizer) -> None:
        narrow = pa.table({"id": pa.array([1], pa.int64())})
        other = pa.table({"id": pa.array([1], pa.int64()), "customer": ["a"], "amount": pa.array([1.5])})
        required = replace(ORDERS, columns=(*ORDERS.columns[:2], replace(ORDERS.columns[2], nullable=False)))
        loosely = reader_of(ORDERS.arrow_schema(), ORDER_ROWS)
        for table, rows in ((ORDERS, narrow), (ORDERS, other), (required, loosely)):
            with pytest.raises(TypeMismatchError):
                synchronizer.apply(deliver(table, (None, 1), rows))
        assert synchronizer.read_cursor(OURS) is None

    # --- values and names -------------------------------------------------------------------------------------------

    def test_every_type_comes_back_exactly(self, synchronizer: Synchronizer) -> None:
        values = {name: self._kept(column) for name, column in all_types().items()}
        columns = [TargetColumn(n, name, column.type) for n, (name, column) in enumerate(values.items(), 2)]
        table = TargetTable("types", (TargetColumn(1, "id", pa.int64(), False), *columns), ("id",))

        def rows(start: int) -> pa.Table:
            length = max(len(column) for column in values.values())
            ids = pa.array(range(start, start + length), pa.int64())
            padded = [pa.concat_arrays([c, pa.nulls(length - len(c), c.type)]) for c in values.values()]
            return pa.table([ids, *padded], schema=table.arrow_schema())

        synchronizer.apply(deliver(table, (None, 1), rows(0)))
        synchronizer.apply(deliver(table, (1, 2), rows(1000)))
        found = synchronizer.read_rows(table).read_all().sort_by("id")
        assert found.schema.equals(table.arrow_schema())
        expected = pa.concat_tables([rows(0), rows(1000)])
        for name in found.column_names:
            assert self.same_values(plain(found[name]), plain(expected[name])), name

    @pytest.mark.parametrize("name", ["select", "Mixed Case", "user", 'quo"te', "per%cent {brace}", "naïve 表"])
    def test_reserved_and_odd_names(self, synchronizer: Synchronizer, name: str) -> None:
        columns = (
            TargetColumn(1, name, pa.int64(), False, doc='It\'s 100% "quoted"'),
            TargetColumn(2, "table", pa.string()),
            TargetColumn(3, "order", pa.struct([field(4, name, pa.int32())])),
        )
        table = TargetTable(name, columns, (name,))
        rows = [{name: n, "table": "t", "order": {name: n}} for n in range(3)]
        synchronizer.apply(deliver(table, (None, 1), rows))
        changed = {name: 0, "table": None, "order": None}
        synchronizer.apply(deliver(table, (1, 2), [changed], [{name: 1}]))
        assert rows_of(synchronizer, table) == spelled([changed, rows[2]])
        fresh = replace(table, columns=(replace(columns[0], name="from"), columns[1], columns[2]), key=("from",))
        synchronizer.apply(deliver(fresh, (2, (3, 1)), [], [{"from": 0}]))
        assert rows_of(synchronizer, fresh, ["from"]) == spelled([{"from": 2}])
        synchronizer.drop(OURS, fresh, keep_rows=False)

    # --- size -------------------------------------------------------------------------------------------------------

    def test_many_batches_stream_through(self, synchronizer: Synchronizer) -> None:
        count, size = 64, self.batch_rows
        text = 1_000_000 // size
        table = TargetTable(
            "many", (TargetColumn(1, "id", pa.int64(), False), TargetColumn(2, "text", pa.string())), ("id",)
        )
        schema, base, peak = table.arrow_schema(), pa.total_allocated_bytes(), 0

        def batches(mark: str) -> Iterator[pa.RecordBatch]:
            nonlocal peak
            for number in range(count):
                peak = max(peak, pa.total_allocated_bytes() - base)
                ids = pa.array(range(number * size, (number + 1) * size), pa.int64())
                yield pa.record_batch([ids, pa.array([mark * text] * size)], schema=schema)

        def stream(mark: str) -> RowReader:
            return lambda: pa.RecordBatchReader.from_batches(schema, batches(mark))

        first = synchronizer.apply(deliver(table, (None, 1), stream("a")))
        second = synchronizer.apply(deliver(table, (1, 2), stream("b")))
        assert (first.rows_upserted, second.rows_upserted) == (count * size, count * size)
        if self.streams:
            assert peak < 32_000_000, "the delivery's 64 MB were held in memory"
        seen, marks = 0, set()
        for batch in synchronizer.read_rows(table):
            peak = max(peak, pa.total_allocated_bytes() - base)
            seen += batch.num_rows
            marks |= set(batch.column("text").unique().to_pylist())
        assert (seen, marks) == (count * size, {"b" * text})
        if self.streams:
            assert peak < 40_000_000, "the table's 64 MB were held in memory"
