"""What every synchronizer does with tables and their cursors, whether it merges changes or takes whole contents."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from cordillera.errors import TargetDriftError
from cordillera.ports.synchronizer import Cursor, Delivery, DeliveryResult, Synchronizer, TargetTable
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, OURS, THEIRS, deliver, rows_of, spelled


class TableSuite:
    """What the suites of synchronizers share."""

    replacing: ClassVar[bool] = False
    """Whether every delivery brings everything."""
    tells_removed: ClassVar[bool] = True
    """Whether it tells how many of the keys to remove it held; if not, it counts them all."""

    @pytest.fixture
    def synchronizer(self) -> Iterator[Synchronizer]:
        """Return the synchronizer to test."""
        raise NotImplementedError("Override the fixture 'synchronizer' in the subclass.")

    def delivery(self, table: TargetTable, step: Any, rows: Any = None, **more: Any) -> Delivery:
        """Return a delivery as the target takes it."""
        return deliver(table, step, rows, replacing=self.replacing, **more)

    def test_nothing_is_there_before_the_first_delivery(self, synchronizer: Synchronizer) -> None:
        synchronizer.check()
        assert synchronizer.read_cursor(OURS) is None
        with pytest.raises(TargetDriftError):
            synchronizer.read_rows(ORDERS).read_all()

    def test_rows_are_read_in_the_types_and_columns_asked_for(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(self.delivery(ORDERS, (None, 1), ORDER_ROWS))
        assert synchronizer.read_rows(ORDERS).schema.equals(ORDERS.arrow_schema())
        assert rows_of(synchronizer, ORDERS, ["customer"]) == spelled([{"customer": r["customer"]} for r in ORDER_ROWS])
        assert synchronizer.read_rows(ORDERS, ["amount", "id"]).schema.names == ["amount", "id"]
        with pytest.raises(TargetDriftError):
            synchronizer.read_rows(ORDERS, ["nowhere"]).read_all()

    def test_two_subscriptions_keep_a_table_each(self, synchronizer: Synchronizer) -> None:
        copy = replace(ORDERS, name="orders_copy")
        synchronizer.apply(self.delivery(ORDERS, (None, 1), ORDER_ROWS[:1]))
        synchronizer.apply(self.delivery(copy, (None, 4), ORDER_ROWS[1:], subscription_id=THEIRS))
        assert (synchronizer.read_cursor(OURS), synchronizer.read_cursor(THEIRS)) == (Cursor(1, 0), Cursor(4, 0))
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS[:1])
        assert rows_of(synchronizer, copy) == spelled(ORDER_ROWS[1:])

    def test_concurrent_first_deliveries_apply_once(self, synchronizer: Synchronizer) -> None:
        together = threading.Barrier(4)

        def run(_: int) -> DeliveryResult:
            together.wait(30)
            return synchronizer.apply(self.delivery(ORDERS, (None, 1), ORDER_ROWS))

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(run, range(4)))
        assert sorted(result.already_applied for result in results) == [False, True, True, True]
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    @pytest.mark.parametrize("keep_rows", [True, False])
    def test_drop_forgets_the_cursor_and_perhaps_the_rows(self, synchronizer: Synchronizer, keep_rows: bool) -> None:
        synchronizer.drop(OURS, ORDERS, keep_rows=keep_rows)
        synchronizer.apply(self.delivery(ORDERS, (None, 1), ORDER_ROWS))
        synchronizer.drop(THEIRS, ORDERS, keep_rows=False)
        for _ in range(2):
            synchronizer.drop(OURS, ORDERS, keep_rows=keep_rows)
            assert synchronizer.read_cursor(OURS) is None
            if keep_rows:
                assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)
            else:
                with pytest.raises(TargetDriftError):
                    synchronizer.read_rows(ORDERS).read_all()
        if not keep_rows:
            synchronizer.apply(self.delivery(ORDERS, (None, 2), ORDER_ROWS[:1]))
            assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS[:1])
