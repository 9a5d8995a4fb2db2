"""What every synchronizer must do, as tests. Needs pytest.

Subclass :class:`SynchronizerSuite` in a test module and provide the fixture ``synchronizer``::

    class TestMySynchronizer(SynchronizerSuite):
        @pytest.fixture
        def synchronizer(self):
            return MySynchronizer("an empty target")

Set ``streams = False`` for a target that keeps rows in this process, ``signed_zeros = False`` for one that does not
tell -0.0 from 0.0, ``odd_floats = False`` for one that refuses NaN and infinities, ``longest_text`` for one that takes
no long texts, and ``tells_removed = False`` for one that does not know which of the keys to remove it held.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from cordillera.errors import (
    MissingKeyError,
    StorageUnavailableError,
    TargetDriftError,
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
    THEIRS,
    breaking,
    deliver,
    reader_of,
    rows_of,
    spelled,
)
from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_schema_suite import SchemaChangeSuite
from cordillera.testing.synchronizer_table_suite import TableSuite
from cordillera.testing.synchronizer_value_suite import ValueSuite


class SynchronizerSuite(SchemaChangeSuite, ValueSuite, TableSuite):
    """The behaviour of the synchronizer port. Every test needs an empty target of its own from the fixture."""

    longest_text: ClassVar[int] = 16_000_000
    """How many bytes a text may have."""
    many_keys: ClassVar[int] = 4_000_000
    """How many keys to remove are more than one batch; fewer for a target to which each of them is a message."""

    def large_rows(self, **others: Any) -> list[dict[str, Any]]:
        """Return rows of many megabytes, whose ``id`` is their number and whose ``customer`` is long."""
        text = "x" * self.longest_text
        return [{"id": n, "customer": text, **others} for n in range(max(4, 32_000_000 // self.longest_text))]

    # --- deliveries -------------------------------------------------------------------------------------------------

    def test_first_delivery_creates_the_table_with_its_rows(self, synchronizer: Synchronizer) -> None:
        told = "one that keeps histories is tested by HistorySuite as well, and no other"
        assert synchronizer.capabilities.history == isinstance(self, HistorySuite), told
        result = synchronizer.apply(deliver(ORDERS, (None, 5), ORDER_ROWS))
        assert result == DeliveryResult(3, 0)
        assert synchronizer.read_cursor(OURS) == Cursor(5, 0)
        assert synchronizer.read_cursor(THEIRS) is None
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_upserts_insert_and_replace_and_deletes_remove(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        changed = {"id": 2, "customer": "Bo", "amount": None}
        new = {"id": 4, "customer": "Chloé", "amount": Decimal("99999999.99")}
        result = synchronizer.apply(deliver(ORDERS, (1, 2), [changed, new], [{"id": 1}, {"id": 77}]))
        assert result == DeliveryResult(rows_upserted=2, rows_deleted=1 if self.tells_removed else 2)
        assert result.rows_updated in (1, None), "who can tell them apart does"
        assert rows_of(synchronizer, ORDERS) == spelled([changed, ORDER_ROWS[2], new])
        assert synchronizer.read_cursor(OURS) == Cursor(2, 0)

    def test_deliveries_follow_one_another(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1)))
        for number in range(1, 6):
            row = {"id": number % 2, "customer": f"step {number}", "amount": None}
            synchronizer.apply(deliver(ORDERS, (number, number + 1), [row], [{"id": (number + 1) % 2}]))
            assert rows_of(synchronizer, ORDERS) == spelled([row])

    def test_empty_deliveries_move_the_cursor(self, synchronizer: Synchronizer) -> None:
        assert synchronizer.apply(deliver(ORDERS, (None, 1))) == DeliveryResult(0, 0)
        assert rows_of(synchronizer, ORDERS) == []
        assert synchronizer.apply(deliver(ORDERS, (1, 9))) == DeliveryResult(0, 0)
        assert synchronizer.read_cursor(OURS) == Cursor(9, 0)

    def test_replacing_leaves_nothing_of_what_was_there(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        fresh = [{"id": 3, "customer": "new", "amount": None}, {"id": 9, "customer": "nine", "amount": None}]
        result = synchronizer.apply(deliver(ORDERS, (1, 2), fresh, replacing=True))
        assert result.rows_upserted == 2
        assert rows_of(synchronizer, ORDERS) == spelled(fresh)
        synchronizer.apply(deliver(ORDERS, (2, 3), [], replacing=True))
        assert rows_of(synchronizer, ORDERS) == []

    def test_tables_without_a_key_append(self, synchronizer: Synchronizer) -> None:
        log = TargetTable("log", (TargetColumn(1, "line", pa.string()),), ())
        synchronizer.apply(deliver(log, (None, 1), [{"line": "a"}, {"line": None}]))
        synchronizer.apply(deliver(log, (1, 2), [{"line": "a"}]))
        assert rows_of(synchronizer, log) == spelled([{"line": "a"}, {"line": "a"}, {"line": None}])
        gone = pa.RecordBatch.from_struct_array(pa.array([{}], pa.struct([])))

        def deletes() -> pa.RecordBatchReader:
            return pa.RecordBatchReader.from_batches(gone.schema, [gone])

        with pytest.raises(MissingKeyError):
            synchronizer.apply(deliver(log, (2, 3), [], deletes))

    # --- exactly once -----------------------------------------------------------------------------------------------

    def test_repeated_delivery_changes_nothing(self, synchronizer: Synchronizer) -> None:
        first = deliver(ORDERS, (None, 1), ORDER_ROWS)
        second = deliver(ORDERS, (1, 2), [{"id": 7, "customer": "x", "amount": None}], [{"id": 1}])
        for delivery in (first, second):
            assert not synchronizer.apply(delivery).already_applied
            before = rows_of(synchronizer, ORDERS)
            assert synchronizer.apply(delivery) == APPLIED_ALREADY
            assert rows_of(synchronizer, ORDERS) == before

    def test_outdated_delivery_changes_nothing(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, (8, 3)), ORDER_ROWS))
        for outdated in ((None, (4, 1)), ((3, 1), (7, 3)), ((8, 2), (8, 3))):
            stale = [{"id": 1, "customer": "stale", "amount": None}]
            assert synchronizer.apply(deliver(ORDERS, outdated, stale)) == APPLIED_ALREADY
        assert synchronizer.read_cursor(OURS) == Cursor(8, 3)
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_delivery_from_another_cursor_is_refused(self, synchronizer: Synchronizer) -> None:
        with pytest.raises(TargetDriftError):
            synchronizer.apply(deliver(ORDERS, (1, 2), ORDER_ROWS))
        assert synchronizer.read_cursor(OURS) is None
        synchronizer.apply(deliver(ORDERS, (None, 5), ORDER_ROWS))
        for elsewhere in ((4, 6), (6, 7), (None, 6), ((5, 1), (6, 1))):
            with pytest.raises(TargetDriftError):
                synchronizer.apply(deliver(ORDERS, elsewhere, [], [{"id": 1}]))
        assert synchronizer.read_cursor(OURS) == Cursor(5, 0)
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_failing_first_delivery_leaves_nothing(self, synchronizer: Synchronizer) -> None:
        rows = pa.Table.from_pylist(self.large_rows(amount=None), schema=ORDERS.arrow_schema())
        with pytest.raises(StorageUnavailableError, match="lost the lake"):
            synchronizer.apply(deliver(ORDERS, (None, 1), breaking(rows)))
        assert synchronizer.read_cursor(OURS) is None
        with pytest.raises(TargetDriftError):
            synchronizer.read_rows(ORDERS).read_all()
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    @pytest.mark.parametrize("stream", ["upserts", "deletes", "replacement"])
    def test_failure_in_the_middle_changes_nothing(self, synchronizer: Synchronizer, stream: str) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        wider = replace(ORDERS, columns=(*ORDERS.columns[:2], TargetColumn(9, "note", pa.string())))
        upserts: Any = breaking(pa.Table.from_pylist(self.large_rows(note="written"), schema=wider.arrow_schema()))
        deletes: Any = None
        if stream == "deletes":
            keys = pa.table(
                [pa.array(range(self.many_keys), pa.int64())], schema=pa.schema([wider.arrow_schema().field("id")])
            )
            upserts, deletes = None, breaking(keys)
        with pytest.raises(StorageUnavailableError, match="lost the lake"):
            synchronizer.apply(deliver(wider, (1, (2, 1)), upserts, deletes, replacing=stream == "replacement"))
        assert synchronizer.read_cursor(OURS) == Cursor(1, 0)
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_concurrent_deliveries_apply_once(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        opened, rows = threading.Event(), [{"id": n, "customer": "once", "amount": None} for n in range(3, 40)]

        def slowly() -> pa.RecordBatchReader:
            opened.set()
            threading.Event().wait(0.3)  # long enough for the others to arrive
            return reader_of(ORDERS.arrow_schema(), rows)()

        delivery = deliver(ORDERS, (1, 2), slowly, [{"id": 1}])
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(synchronizer.apply, delivery)
            assert opened.wait(30)
            results = [f.result() for f in [first, *(pool.submit(synchronizer.apply, delivery) for _ in range(3))]]
        assert sorted(result.already_applied for result in results) == [False, True, True, True]
        assert rows_of(synchronizer, ORDERS) == spelled([ORDER_ROWS[1], *rows])

    def test_repairing_puts_right_the_rows_it_brings_and_nothing_else(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, (3, 1)), ORDER_ROWS))
        right = {"id": 2, "customer": "right", "amount": None}
        missing = {"id": 9, "customer": "missing", "amount": None}
        repair = replace(deliver(ORDERS, ((3, 1), (3, 1)), [right, missing], [{"id": 1}]), repair=True)
        assert synchronizer.apply(repair) == DeliveryResult(2, 1)
        assert rows_of(synchronizer, ORDERS) == spelled([right, ORDER_ROWS[2], missing])
        assert synchronizer.read_cursor(OURS) == Cursor(3, 1)
        outdated = replace(deliver(ORDERS, (2, 2), ORDER_ROWS), repair=True)
        with pytest.raises(TargetDriftError):
            synchronizer.apply(outdated)
        anew = replace(deliver(ORDERS, ((3, 1), (3, 1)), ORDER_ROWS, replacing=True), repair=True)
        assert synchronizer.apply(anew).rows_upserted == 3
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    # --- tables that are not ours -----------------------------------------------------------------------------------

    def test_table_of_another_subscription_is_left_untouched(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        with pytest.raises(TargetDriftError):
            synchronizer.apply(deliver(ORDERS, (None, 1), [], subscription_id=THEIRS))
        assert synchronizer.read_cursor(THEIRS) is None
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_table_that_nobody_keeps_is_left_untouched(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        synchronizer.drop(OURS, ORDERS, keep_rows=True)
        with pytest.raises(TargetDriftError):
            synchronizer.apply(deliver(ORDERS, (None, 1), []))
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)

    def test_subscription_keeps_one_table(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        with pytest.raises(TargetDriftError):
            synchronizer.apply(deliver(replace(ORDERS, name="elsewhere"), (1, 2), []))
        assert synchronizer.read_cursor(OURS) == Cursor(1, 0)
