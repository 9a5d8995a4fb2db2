"""What a synchronizer must do that takes whole partitions, as tests. Needs pytest.

For those whose ``Capabilities.swaps`` is true: add :class:`SwappingSuite` to the bases of the test class, before
:class:`~cordillera.testing.synchronizer_reload_suite.ReloadingSynchronizerSuite`.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from cordillera.errors import (
    CorruptDataError,
    IncompatibleSchemaError,
    NotAllowedError,
    StorageUnavailableError,
    TargetDriftError,
)
from cordillera.ports.synchronizer import Cursor, DeliveryResult, Synchronizer
from cordillera.spec.partition_layout import NO_VALUE
from cordillera.testing.synchronizer_deliveries import (
    APPLIED_ALREADY,
    BY_CUSTOMER,
    ORDER_ROWS,
    ORDERS,
    OURS,
    breaking,
    deliver,
    reader_of,
    rows_of,
    spelled,
    swapped,
    whole,
)

ANA, BO, NAMELESS, NOBODY = "customer=Ana", "customer=Bo", "customer=", f"customer={NO_VALUE}"
"""Partitions of ``BY_CUSTOMER``."""


def _orders(**customers: int) -> list[dict[str, Any]]:
    return [{"id": number, "customer": name, "amount": None} for name, number in customers.items()]


class SwappingSuite:
    """Deliveries of partitions, to tables of customers: Ana, one whose name is empty, and none."""

    def test_partitions_take_the_place_of_those_there(self, synchronizer: Synchronizer) -> None:
        assert synchronizer.capabilities.swaps
        synchronizer.apply(whole(BY_CUSTOMER, (None, 1), ORDER_ROWS))
        done = synchronizer.apply(swapped(BY_CUSTOMER, (1, 2), _orders(Ana=9), [ANA]))
        assert (done, done.partitions) == (DeliveryResult(1, 1), 1)
        assert rows_of(synchronizer, BY_CUSTOMER) == spelled([*_orders(Ana=9), *ORDER_ROWS[1:]])
        done = synchronizer.apply(swapped(BY_CUSTOMER, (2, 3), _orders(Bo=3), [NOBODY, BO, "customer=Cy"]))
        assert (done, done.partitions) == (DeliveryResult(1, 1), 2)
        assert rows_of(synchronizer, BY_CUSTOMER) == spelled([*_orders(Ana=9, Bo=3), ORDER_ROWS[1]])
        assert synchronizer.apply(swapped(BY_CUSTOMER, (3, 4), [], [])).partitions == 0
        assert synchronizer.apply(swapped(BY_CUSTOMER, (4, 5), [], [ANA, BO])).rows_deleted == 2
        assert rows_of(synchronizer, BY_CUSTOMER) == spelled(ORDER_ROWS[1:2])
        synchronizer.apply(swapped(BY_CUSTOMER, (5, 6), [], [NAMELESS]))
        assert rows_of(synchronizer, BY_CUSTOMER) == []
        assert synchronizer.read_cursor(OURS) == Cursor(6, 0)

    def test_partitions_that_come_again_or_late_change_nothing(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(whole(BY_CUSTOMER, (None, 1), ORDER_ROWS))
        synchronizer.apply(swapped(BY_CUSTOMER, (1, 2), _orders(Ana=9), [ANA]))
        assert synchronizer.apply(swapped(BY_CUSTOMER, (1, 2), _orders(Ana=7), [ANA])) == APPLIED_ALREADY
        with pytest.raises(TargetDriftError):
            synchronizer.apply(swapped(BY_CUSTOMER, (1, 3), _orders(Ana=7), [ANA]))
        assert rows_of(synchronizer, BY_CUSTOMER) == spelled([*_orders(Ana=9), *ORDER_ROWS[1:]])

    def test_partitions_that_several_deliver_at_once_appear_once(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(whole(BY_CUSTOMER, (None, 1), ORDER_ROWS))
        together = threading.Barrier(3)

        def run(_: int) -> DeliveryResult:
            together.wait(30)
            return synchronizer.apply(swapped(BY_CUSTOMER, (1, 2), _orders(Ana=9), [ANA]))

        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(run, range(3)))
        assert sorted(result.already_applied for result in results) == [False, True, True]
        assert rows_of(synchronizer, BY_CUSTOMER) == spelled([*_orders(Ana=9), *ORDER_ROWS[1:]])

    def test_a_delivery_of_partitions_that_fails_leaves_everything_as_it_was(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(whole(BY_CUSTOMER, (None, 1), ORDER_ROWS))
        rows = reader_of(BY_CUSTOMER.arrow_schema(), _orders(Ana=9))().read_all()
        with pytest.raises(StorageUnavailableError):
            synchronizer.apply(swapped(BY_CUSTOMER, (1, 2), breaking(rows), [ANA]))
        with pytest.raises(CorruptDataError, match=ANA):
            synchronizer.apply(swapped(BY_CUSTOMER, (1, 2), _orders(Ana=9), [NOBODY]))
        with pytest.raises(NotAllowedError):
            synchronizer.apply(deliver(BY_CUSTOMER, (1, 2), _orders(Ana=9)))
        assert synchronizer.read_cursor(OURS) == Cursor(1, 0)
        assert rows_of(synchronizer, BY_CUSTOMER) == spelled(ORDER_ROWS)

    def test_partitions_are_refused_where_columns_or_layout_differ(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(whole(ORDERS, (None, 1), ORDER_ROWS))
        with pytest.raises(IncompatibleSchemaError):
            synchronizer.apply(swapped(BY_CUSTOMER, (1, 2), _orders(Ana=9), [ANA]))
        synchronizer.apply(whole(BY_CUSTOMER, (1, 2), ORDER_ROWS))
        fewer = replace(BY_CUSTOMER, columns=BY_CUSTOMER.columns[:2])
        with pytest.raises(IncompatibleSchemaError):
            synchronizer.apply(swapped(fewer, (2, 3), [{"id": 1, "customer": "Ana"}], [ANA]))
        told = replace(BY_CUSTOMER, columns=tuple(replace(column, doc="New.") for column in BY_CUSTOMER.columns))
        synchronizer.apply(swapped(told, (2, 3), _orders(Ana=9), [ANA]))
        assert rows_of(synchronizer, BY_CUSTOMER) == spelled([*_orders(Ana=9), *ORDER_ROWS[1:]])
