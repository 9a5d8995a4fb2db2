"""How a synchronizer follows schema changes, as tests: a part of ``SynchronizerSuite``. Needs pytest."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cordillera.errors import (
    IncompatibleSchemaError,
)
from cordillera.ports.synchronizer import (
    Cursor,
    DeliveryResult,
    Synchronizer,
    TargetColumn,
    TargetTable,
)
from cordillera.testing.synchronizer_deliveries import (
    APPLIED_ALREADY,
    ORDER_ROWS,
    ORDERS,
    OURS,
    deliver,
    field,
    rows_of,
    spelled,
)


class SchemaChangeSuite:
    """Columns added, renamed, swapped, dropped, widened and made optional, each with rows after it."""

    def test_added_columns_are_null_in_old_rows(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS[:2]))
        table = replace(ORDERS, columns=(*ORDERS.columns, TargetColumn(4, "note", pa.string(), doc="New")))
        new = {"id": 3, "customer": None, "amount": None, "note": "n"}
        synchronizer.apply(deliver(table, (1, (2, 1)), [new]))
        assert rows_of(synchronizer, table) == spelled([{**row, "note": None} for row in ORDER_ROWS[:2]] + [new])
        assert synchronizer.read_cursor(OURS) == Cursor(2, 1)

    def test_schema_changes_travel_without_rows(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 3), ORDER_ROWS))
        table = replace(ORDERS, columns=(*ORDERS.columns, TargetColumn(4, "note", pa.string())))
        assert synchronizer.apply(deliver(table, (3, (3, 1)))) == DeliveryResult(0, 0)
        assert synchronizer.read_cursor(OURS) == Cursor(3, 1)
        assert rows_of(synchronizer, table) == spelled([{**row, "note": None} for row in ORDER_ROWS])
        back = deliver(ORDERS, ((3, 1), (3, 0)))  # another engine has made the earlier schema current again
        assert synchronizer.apply(back) == DeliveryResult(0, 0)
        assert synchronizer.apply(back) == APPLIED_ALREADY
        assert synchronizer.read_cursor(OURS) == Cursor(3, 0)
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_renamed_columns_keep_their_values_key_included(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        names = {"id": "order_id", "customer": "Customer", "amount": "total"}
        renamed = tuple(replace(column, name=names[column.name]) for column in ORDERS.columns)
        table = replace(ORDERS, columns=renamed, key=("order_id",))
        changed = {"order_id": 1, "Customer": "Zoë", "total": None}
        synchronizer.apply(deliver(table, (1, (2, 1)), [changed], [{"order_id": 2}]))
        last = {names[name]: value for name, value in ORDER_ROWS[2].items()}
        assert rows_of(synchronizer, table) == spelled([changed, last])

    def test_columns_can_swap_and_rotate_their_names(self, synchronizer: Synchronizer) -> None:
        names = ("a", "b", "c")
        columns = tuple(TargetColumn(i + 2, name, pa.string()) for i, name in enumerate(names))
        table = TargetTable("swap", (TargetColumn(1, "id", pa.int64(), False), *columns), ("id",))
        synchronizer.apply(deliver(table, (None, 1), [{"id": 1, "a": "A", "b": "B", "c": "C"}]))
        for step, order in enumerate(("bac", "cba", "acb"), 1):
            moved = tuple(replace(c, name=name) for c, name in zip(columns, order, strict=True))
            table = replace(table, columns=(table.columns[0], *moved))
            synchronizer.apply(deliver(table, ((step, step - 1), (step + 1, step))))
            expected = {"id": 1, **dict(zip(order, "ABC", strict=True))}
            assert rows_of(synchronizer, table) == spelled([{c.name: expected[c.name] for c in table.columns}])

    def test_dropped_columns_go_and_their_names_can_come_back(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        table = replace(ORDERS, columns=(*ORDERS.columns[:2], TargetColumn(9, "amount", pa.string())))
        new = {"id": 4, "customer": None, "amount": "text now"}
        synchronizer.apply(deliver(table, (1, (2, 1)), [new]))
        assert rows_of(synchronizer, table) == spelled([{**row, "amount": None} for row in ORDER_ROWS] + [new])
        bare = replace(ORDERS, columns=ORDERS.columns[:1])
        synchronizer.apply(deliver(bare, ((2, 1), (3, 2)), [{"id": 5}]))
        assert rows_of(synchronizer, bare) == spelled([{"id": n} for n in (1, 2, 3, 4, 5)])

    def test_drop_rename_and_add_in_one_delivery(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        key, customer, _ = ORDERS.columns
        columns = (TargetColumn(4, "customer", pa.int32()), replace(customer, name="amount"), key)
        table = replace(ORDERS, columns=columns)
        new = {"customer": 7, "amount": "Dee", "id": 4}
        synchronizer.apply(deliver(table, (1, (2, 1)), [new], [{"id": 3}]))
        old = [{"customer": None, "amount": row["customer"], "id": row["id"]} for row in ORDER_ROWS[:2]]
        assert rows_of(synchronizer, table) == spelled([*old, new])

    def test_widened_columns_keep_their_values_key_included(self, synchronizer: Synchronizer) -> None:
        kinds = {"i": pa.int32(), "f": pa.float32(), "d": pa.decimal128(5, 2)}
        wider = {"i": pa.int64(), "f": pa.float64(), "d": pa.decimal128(30, 2)}
        narrow_columns = tuple(TargetColumn(n, name, kind) for n, (name, kind) in enumerate(kinds.items()))
        wide_columns = tuple(TargetColumn(n, name, kind) for n, (name, kind) in enumerate(wider.items()))
        table = TargetTable("widths", narrow_columns, ("i",))
        old = {"i": -(2**31), "f": 1.100000023841858, "d": Decimal("-999.99")}
        synchronizer.apply(deliver(table, (None, 1), [old]))
        table = replace(table, columns=wide_columns)
        new = {"i": 2**63 - 1, "f": 0.1, "d": Decimal("1234567890123456789012345678.01")}
        synchronizer.apply(deliver(table, (1, (2, 1)), [new]))
        assert rows_of(synchronizer, table) == spelled([old, new])

    def test_required_columns_become_optional(self, synchronizer: Synchronizer) -> None:
        required = replace(ORDERS, columns=(*ORDERS.columns[:2], replace(ORDERS.columns[2], nullable=False)))
        synchronizer.apply(deliver(required, (None, 1), ORDER_ROWS[:2]))
        synchronizer.apply(deliver(ORDERS, (1, (2, 1)), ORDER_ROWS[2:]))
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_reordered_columns_change_nothing(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS[:2]))
        table = replace(ORDERS, columns=ORDERS.columns[::-1])
        rows = [{name: row[name] for name in ("amount", "customer", "id")} for row in ORDER_ROWS]
        synchronizer.apply(deliver(table, (1, (2, 1)), rows[2:]))
        assert rows_of(synchronizer, table) == spelled(rows)

    @pytest.mark.parametrize("change", ["type", "key", "required", "new required"])
    def test_change_that_loses_rows_is_refused_unless_they_are_replaced(
        self, synchronizer: Synchronizer, change: str
    ) -> None:
        key, customer, amount = ORDERS.columns
        table = {
            "type": replace(ORDERS, columns=(key, customer, replace(amount, type=pa.float64()))),
            "key": replace(ORDERS, columns=(key, replace(customer, nullable=False), amount), key=("customer",)),
            "required": replace(ORDERS, columns=(key, customer, replace(amount, nullable=False))),
            "new required": replace(ORDERS, columns=(*ORDERS.columns, TargetColumn(7, "x", pa.int32(), False))),
        }[change]
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        with pytest.raises(IncompatibleSchemaError):
            synchronizer.apply(deliver(table, (1, (2, 1)), []))
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)
        row: dict[str, Any] = {"id": 1, "customer": "c", "amount": Decimal("1.50"), "x": 1}
        row["amount"] = 1.5 if change == "type" else row["amount"]
        row = {column.name: row[column.name] for column in table.columns}
        synchronizer.apply(deliver(table, (1, (2, 1)), [row], replacing=True))
        assert rows_of(synchronizer, table) == spelled([row])
        changed = {**row, "customer": "c"}
        synchronizer.apply(deliver(table, ((2, 1), (3, 1)), [changed]))
        assert rows_of(synchronizer, table) == spelled([changed])

    def test_replacing_delivery_brings_its_schema_changes(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        columns = (ORDERS.columns[0], replace(ORDERS.columns[1], name="buyer"), TargetColumn(4, "n", pa.int32()))
        table, row = replace(ORDERS, columns=columns), {"id": 1, "buyer": "b", "n": 1}
        synchronizer.apply(deliver(table, (1, (2, 1)), [row], replacing=True))
        assert rows_of(synchronizer, table) == spelled([row])

    def test_fields_inside_nested_columns_change_too(self, synchronizer: Synchronizer) -> None:
        def nested(inner: list[pa.Field]) -> TargetTable:
            struct = pa.struct(inner)
            columns = (
                TargetColumn(1, "id", pa.int64(), False),
                TargetColumn(2, "s", struct),
                TargetColumn(3, "l", pa.list_(struct)),
                TargetColumn(4, "m", pa.map_(pa.string(), pa.list_(struct))),
                TargetColumn(5, "d", pa.struct([field(50, "deep", struct)])),
            )
            return TargetTable("nested", columns, ("id",))

        def row(number: int, value: dict[str, Any] | None) -> dict[str, Any]:
            return {"id": number, "s": value, "l": [value, None], "m": [("k", [value])], "d": {"deep": value}}

        before = nested([field(11, "a", pa.int32()), field(12, "b", pa.string()), field(13, "gone", pa.float32())])
        after = nested([field(12, "a", pa.string()), field(11, "A b", pa.int64()), field(14, "new", pa.bool_())])
        empty = {"id": 3, "s": None, "l": None, "m": None, "d": None}
        old = [
            row(1, {"a": 5, "b": "x", "gone": 1.5}),
            row(2, None),
            empty,
            row(5, {"a": None, "b": None, "gone": None}),
        ]
        synchronizer.apply(deliver(before, (None, 1), old))
        new = row(4, {"a": "y", "A b": 2**40, "new": True})
        synchronizer.apply(deliver(after, (1, (2, 1)), [new]))
        kept = [row(1, {"a": "x", "A b": 5, "new": None}), row(2, None), empty]
        kept += [row(5, {"a": None, "A b": None, "new": None}), new]
        assert rows_of(synchronizer, after) == spelled(kept)
