"""What a synchronizer must do that keeps histories, as tests. Needs pytest.

For those whose ``Capabilities.history`` is set: name :class:`HistorySuite` beside
:class:`~cordillera.testing.synchronizer_suite.SynchronizerSuite` among the bases of the test class.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from cordillera.errors import DuplicateKeyError, StorageUnavailableError, TargetDriftError
from cordillera.ports.synchronizer import (
    HISTORY_COLUMNS,
    ChecksumTarget,
    Cursor,
    Delivery,
    DeliveryResult,
    HistoryTarget,
    Synchronizer,
    TargetColumn,
    TargetTable,
)
from cordillera.spec.row_changes import COMMIT_SEQUENCE
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO
from cordillera.testing.synchronizer_deliveries import (
    APPLIED_ALREADY,
    ORDERS,
    OURS,
    THEIRS,
    breaking,
    deliver,
    reader_of,
    rows_of,
    spelled,
)

KEPT = TargetTable("orders", (*ORDERS.columns[:2], *HISTORY_COLUMNS), (*ORDERS.key, COMMIT_SEQUENCE))


def moment(minute: int) -> datetime:
    """Return a time in the first hour of 2026."""
    return datetime(2026, 1, 1, 0, minute, tzinfo=UTC)


def state(key: int, customer: str, since: int, until: int | None = None) -> dict[str, Any]:
    """Return a row of a history that holds from a commit, made at the minute of its number, until another."""
    return {
        "id": key,
        "customer": customer,
        COMMIT_SEQUENCE: since,
        VALID_FROM: moment(since),
        VALID_TO: None if until is None else moment(until),
        IS_CURRENT: until is None,
    }


def history(step: Any, states: Any, ends: dict[int, int] | Any, table: TargetTable = KEPT) -> Delivery:
    """Return a delivery to a history; ``ends`` has the commits by which keys end."""
    schema = pa.schema([pa.field(c.name, c.type, c.nullable) for c in table.ending_columns()])
    if isinstance(ends, dict):
        ends = reader_of(schema, [{schema.names[0]: key, VALID_TO: moment(at)} for key, at in ends.items()])
    return replace(deliver(table, step, states), endings=ends)


def told(rows: list[dict[str, Any]], table: TargetTable = KEPT) -> list[str]:
    """Return rows as a target's are spelled."""
    return spelled(pa.Table.from_pylist(rows, schema=table.arrow_schema()))


_SEVERAL_BATCHES = 12_000_000
"""How many bytes of rows a synchronizer sends in more than one piece."""
FIRST = history((None, 1), [state(1, "Ana", 1), state(2, "Bo", 1)], {})


class HistorySuite:
    """The behaviour of the port for histories. Every test needs an empty target of its own from the fixture."""

    longest_text: ClassVar[int] = 16_000_000
    """How many bytes a text may have."""

    def test_rows_end_before_those_that_follow_begin(self, synchronizer: Synchronizer) -> None:
        assert synchronizer.capabilities.history
        assert synchronizer.apply(FIRST) == DeliveryResult(2, 0)
        several = [state(1, "Anna", 2, 4), state(1, "Anne", 4), state(3, "Chloé", 3)]
        result = synchronizer.apply(history((1, 5), several, {1: 2, 2: 5, 3: 3, 77: 3}))
        assert result == DeliveryResult(5, 0)
        assert result.rows_updated in (2, None), "who can tell them apart does"
        assert rows_of(synchronizer, KEPT) == told([state(1, "Ana", 1, 2), *several, state(2, "Bo", 1, 5)])
        synchronizer.apply(history((5, 6), [state(2, "Bob", 6)], {1: 6}))
        ended = [state(1, "Ana", 1, 2), state(1, "Anna", 2, 4), state(1, "Anne", 4, 6), state(2, "Bo", 1, 5)]
        assert rows_of(synchronizer, KEPT) == told([*ended, state(2, "Bob", 6), state(3, "Chloé", 3)])

    def test_a_history_that_is_told_twice_stays_as_it_is(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(FIRST)
        again = history((1, 2), [state(1, "Anna", 2)], {1: 2, 2: 2})
        synchronizer.apply(again)
        assert synchronizer.apply(again) == APPLIED_ALREADY
        assert synchronizer.apply(FIRST) == APPLIED_ALREADY
        with pytest.raises(TargetDriftError):
            synchronizer.apply(history((1, 3), [], {1: 3}))
        expected = [state(1, "Ana", 1, 2), state(1, "Anna", 2), state(2, "Bo", 1, 2)]
        assert rows_of(synchronizer, KEPT) == told(expected)

    @pytest.mark.parametrize("stream", ["states", "endings"])
    def test_a_history_whose_delivery_breaks_stays_as_it_is(self, synchronizer: Synchronizer, stream: str) -> None:
        synchronizer.apply(FIRST)
        text = "x" * min(self.longest_text, _SEVERAL_BATCHES // 3)
        rows = [state(9 + n, text, 2) for n in range(_SEVERAL_BATCHES // len(text))]
        many: Any = pa.Table.from_pylist(rows, schema=KEPT.arrow_schema())
        ends = pa.table(
            [pa.array([1, 2]), pa.array([moment(2)] * 2, pa.timestamp("us", "UTC"))],
            schema=pa.schema([pa.field(c.name, c.type, c.nullable) for c in KEPT.ending_columns()]),
        )
        broken = (breaking(many), {1: 2}) if stream == "states" else (many, breaking(ends))
        with pytest.raises(StorageUnavailableError, match="lost the lake"):
            synchronizer.apply(history((1, 2), *broken))
        assert synchronizer.read_cursor(OURS) == Cursor(1, 0)
        assert rows_of(synchronizer, KEPT) == told([state(1, "Ana", 1), state(2, "Bo", 1)])

    def test_a_repair_puts_a_row_in_the_place_of_one_that_ends(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(FIRST)
        synchronizer.apply(history((1, 2), [state(1, "Anna", 2)], {1: 2}))
        right = replace(history((2, 2), [state(1, "Anne", 2), state(2, "Bob", 2)], {1: 2, 2: 2, 3: 2}), repair=True)
        for _ in range(2):
            assert not synchronizer.apply(right).already_applied
            expected = [state(1, "Ana", 1, 2), state(1, "Anne", 2), state(2, "Bo", 1, 2), state(2, "Bob", 2)]
            assert rows_of(synchronizer, KEPT) == told(expected)

    def test_keys_of_a_history_that_end_come_but_once(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(FIRST)
        schema = pa.schema([pa.field(c.name, c.type, c.nullable) for c in KEPT.ending_columns()])
        twice = reader_of(schema, [{"id": 1, VALID_TO: moment(at)} for at in (2, 3)])
        with pytest.raises(DuplicateKeyError):
            synchronizer.apply(history((1, 3), [], twice))
        assert rows_of(synchronizer, KEPT) == told([state(1, "Ana", 1), state(2, "Bo", 1)])

    def test_current_rows_are_read_and_summed_like_those_of_a_mirror(self, synchronizer: Synchronizer) -> None:
        held = [state(n, f"Ana {n}", 1 + n % 2) for n in range(40)]
        ended = [state(n, "Bo", 1, 2) for n in range(60) if n % 2]
        synchronizer.apply(history((None, 2), [*held, *ended], {}))
        mirror = TargetTable("mirrored", KEPT.columns[:2], KEPT.key[:-1])
        rows = [{"id": row["id"], "customer": row["customer"]} for row in held]
        synchronizer.apply(deliver(mirror, (None, 2), rows, subscription_id=THEIRS))
        current = replace(KEPT, current=True)
        assert rows_of(synchronizer, current) == told(held)
        assert rows_of(synchronizer, current, ["id", "customer"]) == spelled(rows)
        if isinstance(synchronizer, ChecksumTarget):
            for buckets in (1, 8):
                sums = [synchronizer.checksums(table, buckets) for table in (current, mirror)]
                assert all(spelled(one) == spelled(sums[0]) for one in sums if one is not None), buckets
            picked = [synchronizer.read_buckets(table, 8, [1, 5]).read_all() for table in (current, mirror)]
            assert 0 < picked[0].num_rows < len(rows)
            assert spelled(picked[0]) == spelled(picked[1])

    def test_times_that_cannot_be_are_counted_by_a_target_that_looks_for_them(self, synchronizer: Synchronizer) -> None:
        sound = [state(1, "a", 1, 4), state(1, "b", 5, 5), state(1, "c", 6), state(2, "only", 3)]
        synchronizer.apply(history((None, 6), sound, {}))
        if not isinstance(synchronizer, HistoryTarget):
            return
        assert synchronizer.count_unsound(KEPT) == 0
        overlapping = [state(3, "a", 1, 5), state(3, "b", 4)]
        both_current = [state(4, "a", 1), state(4, "b", 2)]
        contradictory = [{**state(5, "a", 1), IS_CURRENT: False}, {**state(6, "a", 1, 2), IS_CURRENT: True}]
        wrong = [*overlapping, *both_current, *contradictory, state(7, "backwards", 4, 3)]
        synchronizer.apply(history((6, 7), wrong, {}))
        assert synchronizer.count_unsound(KEPT) == 5

    def test_no_row_of_a_history_ends_before_it_began(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(history((None, 5), [state(1, "Ana", 5)], {}))
        synchronizer.apply(history((5, 6), [], {1: 3}))
        assert rows_of(synchronizer, KEPT) == told([state(1, "Ana", 5, 5)])

    def test_columns_of_a_history_change_with_those_of_its_dataset(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(FIRST)
        renamed = (replace(ORDERS.columns[0], name="number"), TargetColumn(9, "note", pa.string()))
        changed = TargetTable("orders", (*renamed, *HISTORY_COLUMNS), ("number", COMMIT_SEQUENCE))
        new = {**state(1, "", 2), "number": 1, "note": "new"}
        synchronizer.apply(history((1, (2, 1)), [new], {1: 2}, changed))
        rows = [(1, None, state(1, "", 1, 2)), (1, "new", state(1, "", 2)), (2, None, state(2, "", 1))]
        expected = [{**one, "number": number, "note": note} for number, note, one in rows]
        assert rows_of(synchronizer, changed) == told(expected, changed)
