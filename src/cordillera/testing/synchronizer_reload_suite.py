"""What a synchronizer must do that takes whole contents only, as tests. Needs pytest.

For those whose ``Capabilities.merges`` is false. Subclass :class:`ReloadingSynchronizerSuite` as you would
:class:`~cordillera.testing.synchronizer_suite.SynchronizerSuite`.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ClassVar

import pyarrow as pa
import pytest

from cordillera.errors import (
    NotAllowedError,
    NullKeyError,
    StorageUnavailableError,
    TargetDriftError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, DeliveryResult, Synchronizer, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import (
    APPLIED_ALREADY,
    ORDER_ROWS,
    ORDERS,
    OURS,
    THEIRS,
    all_types,
    breaking,
    deliver,
    field,
    plain,
    rows_of,
    spelled,
)
from cordillera.testing.synchronizer_table_suite import TableSuite


class ReloadingSynchronizerSuite(TableSuite):
    """The behaviour of the port, for targets that take whole contents. Every test needs an empty target."""

    replacing = True
    streams: ClassVar[bool] = True
    """Whether the target keeps rows outside this process, so that a delivery takes bounded memory here."""

    def test_it_says_so_and_refuses_changes(self, synchronizer: Synchronizer) -> None:
        assert not synchronizer.capabilities.merges
        synchronizer.apply(self.delivery(ORDERS, (None, 1), ORDER_ROWS))
        with pytest.raises(NotAllowedError):
            synchronizer.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1]))
        assert synchronizer.read_cursor(OURS) == Cursor(1, 0)
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    # --- deliveries -------------------------------------------------------------------------------------------------

    def test_deliveries_follow_one_another(self, synchronizer: Synchronizer) -> None:
        assert synchronizer.apply(self.delivery(ORDERS, (None, 5), ORDER_ROWS)) == DeliveryResult(3, 0)
        assert synchronizer.read_cursor(OURS) == Cursor(5, 0)
        assert synchronizer.read_cursor(THEIRS) is None
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)
        for number in range(5, 10):
            rows = [{"id": number, "customer": f"step {number}", "amount": None}]
            assert synchronizer.apply(self.delivery(ORDERS, (number, number + 1), rows)).rows_upserted == 1
            assert rows_of(synchronizer, ORDERS) == spelled(rows)
        synchronizer.apply(self.delivery(ORDERS, (10, 11)))
        assert rows_of(synchronizer, ORDERS) == []
        assert synchronizer.read_cursor(OURS) == Cursor(11, 0)

    def test_any_schema_follows_any_other(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(self.delivery(ORDERS, (None, 1), ORDER_ROWS))
        columns = (
            TargetColumn(3, "id", pa.string(), False),
            TargetColumn(1, "n", pa.struct([field(9, "x", pa.int32())])),
        )
        other, rows = TargetTable("orders", columns, ("id",)), [{"id": "a", "n": {"x": 1}}, {"id": "b", "n": None}]
        synchronizer.apply(self.delivery(other, (1, (1, 1)), rows))
        assert synchronizer.read_cursor(OURS) == Cursor(1, 1)
        assert rows_of(synchronizer, other) == spelled(rows)
        with pytest.raises(TargetDriftError):
            synchronizer.read_rows(ORDERS).read_all()

    # --- exactly once -----------------------------------------------------------------------------------------------

    def test_repeated_and_outdated_deliveries_change_nothing(self, synchronizer: Synchronizer) -> None:
        stale = [{"id": 1, "customer": "stale", "amount": None}]
        for step in ((None, (8, 3)), (None, (8, 3)), (None, (4, 1)), ((3, 1), (7, 3)), ((8, 2), (8, 3))):
            result = synchronizer.apply(
                self.delivery(ORDERS, step, ORDER_ROWS if step[0] is None and step[1] == (8, 3) else stale)
            )
        assert result == APPLIED_ALREADY
        assert synchronizer.read_cursor(OURS) == Cursor(8, 3)
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_delivery_from_another_cursor_is_refused(self, synchronizer: Synchronizer) -> None:
        with pytest.raises(TargetDriftError):
            synchronizer.apply(self.delivery(ORDERS, (1, 2), ORDER_ROWS))
        assert synchronizer.read_cursor(OURS) is None
        synchronizer.apply(self.delivery(ORDERS, (None, 4), ORDER_ROWS))
        with pytest.raises(TargetDriftError):
            synchronizer.apply(self.delivery(ORDERS, (3, 5)))
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_a_stream_that_breaks_leaves_everything_as_it_was(self, synchronizer: Synchronizer) -> None:
        schema = ORDERS.arrow_schema()
        many = pa.table(
            [pa.array(range(20_000), pa.int64()), pa.array(["x" * 900] * 20_000), pa.nulls(20_000, schema.types[2])],
            schema=schema,
        )
        for step in ((None, 1), (1, 2)):
            with pytest.raises(StorageUnavailableError, match="lost the lake"):
                synchronizer.apply(self.delivery(ORDERS, step, breaking(many)))
            if step[0] is None:
                assert synchronizer.read_cursor(OURS) is None
                synchronizer.apply(self.delivery(ORDERS, step, ORDER_ROWS))
        assert synchronizer.read_cursor(OURS) == Cursor(1, 0)
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_concurrent_deliveries_apply_once(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(self.delivery(ORDERS, (None, 1)))
        together = threading.Barrier(4)

        def run(_: int) -> DeliveryResult:
            together.wait(30)
            return synchronizer.apply(self.delivery(ORDERS, (1, 2), ORDER_ROWS))

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(run, range(4)))
        assert sorted(result.already_applied for result in results) == [False, True, True, True]
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_repairing_brings_everything_anew_under_the_same_cursor(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(self.delivery(ORDERS, (None, 3), ORDER_ROWS[:1]))
        for rows in (ORDER_ROWS, ORDER_ROWS[1:]):
            assert synchronizer.apply(replace(self.delivery(ORDERS, (3, 3), rows), repair=True)).rows_upserted == len(
                rows
            )
            assert rows_of(synchronizer, ORDERS) == spelled(rows)
        assert synchronizer.read_cursor(OURS) == Cursor(3, 0)
        with pytest.raises(TargetDriftError):
            synchronizer.apply(replace(self.delivery(ORDERS, (2, 2), ORDER_ROWS), repair=True))

    # --- tables that are not ours -----------------------------------------------------------------------------------

    def test_a_table_of_another_subscription_is_left_untouched(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(self.delivery(ORDERS, (None, 1), ORDER_ROWS))
        with pytest.raises(TargetDriftError):
            synchronizer.apply(self.delivery(ORDERS, (None, 1), subscription_id=THEIRS))
        assert synchronizer.read_cursor(THEIRS) is None
        with pytest.raises(TargetDriftError):
            synchronizer.apply(self.delivery(replace(ORDERS, name="elsewhere"), (1, 2)))
        synchronizer.drop(OURS, ORDERS, keep_rows=True)
        for subscription_id in (OURS, THEIRS):
            with pytest.raises(TargetDriftError):
                synchronizer.apply(self.delivery(ORDERS, (None, 1), subscription_id=subscription_id))
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    # --- values, names, size ----------------------------------------------------------------------------------------

    def test_rows_that_cannot_be_are_refused(self, synchronizer: Synchronizer) -> None:
        loose = replace(ORDERS, columns=(replace(ORDERS.columns[0], nullable=True), *ORDERS.columns[1:]))
        with pytest.raises(NullKeyError):
            synchronizer.apply(self.delivery(loose, (None, 1), [*ORDER_ROWS, {"id": None}]))
        with pytest.raises(TypeMismatchError):
            synchronizer.apply(self.delivery(ORDERS, (None, 1), pa.table({"id": pa.array([1], pa.int64())})))
        assert synchronizer.read_cursor(OURS) is None

    def test_every_type_comes_back_exactly(self, synchronizer: Synchronizer) -> None:
        values = all_types()
        columns = [TargetColumn(n, name, column.type) for n, (name, column) in enumerate(values.items(), 2)]
        table = TargetTable("types", (TargetColumn(1, "id", pa.int64(), False), *columns), ("id",))
        length = max(len(column) for column in values.values())
        padded = [pa.concat_arrays([c, pa.nulls(length - len(c), c.type)]) for c in values.values()]
        rows = pa.table([pa.array(range(length), pa.int64()), *padded], schema=table.arrow_schema())
        synchronizer.apply(self.delivery(table, (None, 1), rows))
        found = synchronizer.read_rows(table).read_all().sort_by("id")
        assert found.schema.equals(table.arrow_schema())
        for name in found.column_names:
            assert repr(plain(found[name])) == repr(plain(rows[name])), name

    @pytest.mark.parametrize("name", ["select", "Mixed Case", "a.b", 'quo"te', "per%cent {brace}/..", "naïve 表"])
    def test_reserved_and_odd_names(self, synchronizer: Synchronizer, name: str) -> None:
        table = TargetTable(name, (TargetColumn(1, name, pa.int64(), False, doc="It's 100%"),), (name,))
        synchronizer.apply(self.delivery(table, (None, 1), [{name: 1}]))
        assert rows_of(synchronizer, table) == spelled([{name: 1}])
        synchronizer.drop(OURS, table, keep_rows=False)

    def test_many_batches_stream_through(self, synchronizer: Synchronizer) -> None:
        count, size, peak, base = 64, 2_000, 0, pa.total_allocated_bytes()
        columns = (TargetColumn(1, "id", pa.int64(), False), TargetColumn(2, "text", pa.string()))
        table = TargetTable("many", columns, ("id",))

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal peak
            for number in range(count):
                peak = max(peak, pa.total_allocated_bytes() - base)
                ids = pa.array(range(number * size, (number + 1) * size), pa.int64())
                yield pa.record_batch([ids, pa.array([str(number) * 500] * size)], schema=table.arrow_schema())

        stream = self.delivery(
            table, (None, 1), lambda: pa.RecordBatchReader.from_batches(table.arrow_schema(), batches())
        )
        assert synchronizer.apply(stream).rows_upserted == count * size
        seen = 0
        for batch in synchronizer.read_rows(table):
            peak, seen = max(peak, pa.total_allocated_bytes() - base), seen + batch.num_rows
        assert seen == count * size
        if self.streams:
            assert peak < 60_000_000, "the table's 128 MB were held in memory"
