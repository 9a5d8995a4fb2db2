"""The synchronizer of ClickHouse, on its stand-in (see ``clickhouse_stand_in``): the engine is real, the server not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.adapters.synchronizers.clickhouse_stand_in import PASSWORD, USER, StandIn, start_stand_in
from tests.adapters.synchronizers.through_a_lake import assert_proven_equal_and_repaired

from cordillera.adapters.synchronizers import clickhouse_tables
from cordillera.adapters.synchronizers.clickhouse import ClickHouseSynchronizer
from cordillera.adapters.synchronizers.clickhouse_session import Place, Session
from cordillera.adapters.synchronizers.clickhouse_tables import Attempt
from cordillera.adapters.synchronizers.clickhouse_types import EVERY_YEAR, OLDER_YEARS, encode, sent_schema, sql_type
from cordillera.client import Lake
from cordillera.errors import (
    CorruptDataError,
    InvalidConfigurationError,
    InvalidNameError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, Delivery, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import (
    ORDER_ROWS,
    ORDERS,
    OURS,
    all_types,
    deliver,
    reader_of,
    rows_of,
    spelled,
)
from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_suite import SynchronizerSuite


@pytest.fixture
def target(clickhouse: StandIn) -> ClickHouseSynchronizer:
    return clickhouse.target()


class TestClickHouseSynchronizerOnAStandIn(HistorySuite, SynchronizerSuite):
    longest_text = 1_000_000  # it takes longer ones, which take longer

    @pytest.fixture
    def synchronizer(self, target: ClickHouseSynchronizer) -> ClickHouseSynchronizer:
        return target


def own_tables(clickhouse: StandIn) -> list[str]:
    found = clickhouse.execute("SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name")
    return [name for (name,) in found if name.startswith("_cordillera_")]


# --- what readers see -----------------------------------------------------------------------------------------------


def test_a_plain_select_sees_a_delivery_at_once_and_nothing_is_left_behind(
    clickhouse: StandIn, target: ClickHouseSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    seen: list[tuple[int, int]] = []
    run = Session.run

    def watched(session: Session, *statement: Any) -> None:
        run(session, *statement)
        seen.extend((int(n), int(k)) for n, k in clickhouse.execute("SELECT count(), countIf(id > 10) FROM orders"))

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", watched)
        rows = [{"id": n, "customer": "new", "amount": None} for n in range(11, 31)]
        target.apply(deliver(ORDERS, (1, 2), rows, [{"id": 1}, {"id": 2}]))
    assert sorted(set(seen)) == [(3, 0), (21, 20)]
    assert seen == sorted(seen)
    assert own_tables(clickhouse) == ["_cordillera_cursors"]


def test_types_are_native_keys_sort_and_documentation_becomes_comments(
    clickhouse: StandIn, target: ClickHouseSynchronizer
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    columns = "SELECT name, type, comment, is_in_sorting_key FROM system.columns WHERE table = 'orders'"
    assert clickhouse.execute(f"{columns} AND database = currentDatabase()") == [
        ("id", "Int64", "", 1),
        ("customer", "Nullable(String)", "Who ordered", 0),
        ("amount", "Nullable(Decimal(10, 2))", "", 0),
    ]
    assert {sql_type(values.type) for values in all_types().values()} == {
        "Bool", "Int32", "Int64", "Float32", "Float64", "Decimal(10, 2)", "Decimal(38, 10)", "Date32", "Time64(6)",
        "DateTime64(6, 'UTC')", "DateTime64(9, 'UTC')", "String", "UUID", "FixedString(3)",
    }  # fmt: skip


def test_what_readers_add_stays_and_tables_follow_in_place(clickhouse: StandIn, target: ClickHouseSynchronizer) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    clickhouse.execute("ALTER TABLE orders ADD COLUMN loud String ALIAS upper(ifNull(customer, '?'))")
    clickhouse.execute("ALTER TABLE orders ADD INDEX by_customer customer TYPE bloom_filter")
    wider = replace(ORDERS, columns=(*ORDERS.columns[:2], replace(ORDERS.columns[2], type=pa.decimal128(20, 2))))
    target.apply(deliver(wider, (1, (2, 1)), [{"id": 9, "customer": "zoë", "amount": None}]))
    assert clickhouse.execute("SELECT loud FROM orders WHERE id IN (1, 9) ORDER BY id") == [("ANA",), ("ZOë",)]
    target.apply(deliver(wider, ((2, 1), (3, 1)), ORDER_ROWS, replacing=True))
    indexes = "SELECT name FROM system.data_skipping_indices WHERE database = currentDatabase()"
    assert clickhouse.execute(indexes) == [("by_customer",)]
    assert clickhouse.execute("SELECT loud FROM orders WHERE id = 3") == [("?",)]


def test_many_small_deliveries_leave_few_parts_and_few_states(
    clickhouse: StandIn, target: ClickHouseSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse_tables, "MOST_PARTS", 2)
    monkeypatch.setattr(clickhouse_tables, "MOST_STATES", 3)
    target.apply(deliver(ORDERS, (None, 1)))
    for n in range(1, 8):
        target.apply(deliver(ORDERS, (n, n + 1), [{"id": n, "customer": "c", "amount": None}]))
    parts = "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'orders' AND active"
    assert int(clickhouse.execute(parts)[0][0]) <= 3
    assert int(clickhouse.execute("SELECT count() FROM _cordillera_cursors")[0][0]) <= 4
    assert target.read_cursor(OURS) == Cursor(8, 0)


# --- what somebody else does ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DROP TABLE orders SYNC", "not in the target"),
        ("ALTER TABLE orders DROP COLUMN customer", "'customer'.*missing"),
        ("ALTER TABLE orders MODIFY COLUMN amount Nullable(Decimal(12, 2))", r"Decimal\(12, 2\)\), not"),
        ("CREATE OR REPLACE TABLE orders AS orders", "another than the one"),
    ],
)
def test_drift_is_noticed_and_repairing_everything_makes_the_table_anew(
    clickhouse: StandIn, target: ClickHouseSynchronizer, damage: str, words: str
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    clickhouse.execute(damage)
    with pytest.raises(TargetDriftError, match=words):
        target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS))
    assert target.read_cursor(OURS) == Cursor(1, 0)
    target.apply(replace(deliver(ORDERS, (1, 1), ORDER_ROWS, replacing=True), repair=True))
    target.apply(deliver(ORDERS, (1, 2), [], [{"id": 1}]))
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS[1:])


def test_a_table_that_somebody_made_instead_is_not_dropped(clickhouse: StandIn, target: ClickHouseSynchronizer) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    clickhouse.execute("CREATE OR REPLACE TABLE orders (mine Int8) ENGINE = Memory")
    target.drop(OURS, ORDERS, keep_rows=False)
    assert clickhouse.execute("SELECT count() FROM orders") == [(0,)]
    assert target.read_cursor(OURS) is None


# --- deaths and other workers ---------------------------------------------------------------------------------------


class Died(BaseException):
    """Stands for the end of a process: nothing that runs after it is to have an effect."""


def apply_dying(target: ClickHouseSynchronizer, delivery: Delivery, at: int) -> bool:
    """Apply a delivery, but die before a statement; tell whether it came to that."""
    run, insert, left = Session.run, Session.insert, at

    def dying(statement: Callable[..., None]) -> Callable[..., None]:
        def die_or_run(*arguments: Any) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                raise Died
            statement(*arguments)

        return die_or_run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "run", dying(run))
        patch.setattr(Session, "insert", dying(insert))
        try:
            target.apply(delivery)
        except Died:
            return True
    return False


def test_a_first_delivery_that_dies_between_any_two_statements_comes_anew(clickhouse_server: StandIn) -> None:
    for at in range(1, 100):
        clickhouse = clickhouse_server.another_database()
        target, delivery = clickhouse.target(), deliver(ORDERS, (None, 1), ORDER_ROWS)
        died = apply_dying(target, delivery, at)
        published = target.read_cursor(OURS) == Cursor(1, 0)
        assert target.apply(delivery).already_applied == published
        assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)
        if not died:
            break
        target.apply(deliver(ORDERS, (1, 2), [], [{"id": 1}]))
        assert own_tables(clickhouse) == ["_cordillera_cursors"]
        target.close()
    assert 5 < at < 20


def test_a_worker_that_dies_between_any_two_statements_leaves_before_or_after(clickhouse: StandIn) -> None:
    target, step, expected = clickhouse.target(), 1, {row["id"]: row for row in ORDER_ROWS}
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    for at in range(1, 100):
        changed = {"id": step, "customer": f"step {step}", "amount": None}
        delivery = deliver(ORDERS, (step, step + 1), [changed], [{"id": step + 1}])
        died = apply_dying(target, delivery, at)
        if target.read_cursor(OURS) == Cursor(step + 1, 0):
            assert target.apply(delivery).already_applied
            expected[step] = changed
            expected.pop(step + 1, None)
            step += 1
        assert rows_of(target, ORDERS) == spelled(list(expected.values()))
        if not died:
            break
    assert 10 < at < 50
    assert not target.apply(deliver(ORDERS, (step, step + 1))).already_applied
    assert own_tables(clickhouse) == ["_cordillera_cursors"]


@pytest.mark.parametrize("first", [True, False])
def test_of_two_workers_at_one_delivery_the_later_to_publish_changes_nothing(
    clickhouse: StandIn, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    slow, quick = clickhouse.target(), clickhouse.target()
    monkeypatch.setattr(ClickHouseSynchronizer, "_turn", lambda *_: nullcontext())  # as if they were two processes
    if not first:
        slow.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    step = (None, 2) if first else (1, 2)
    publish = Attempt._publish

    def overtaken(made: Attempt, *arguments: Any) -> None:
        monkeypatch.setattr(Attempt, "_publish", publish)
        assert not quick.apply(deliver(ORDERS, step, ORDER_ROWS[:1])).already_applied
        quick.apply(deliver(ORDERS, (2, 3), [{"id": 8, "customer": "later", "amount": None}]))
        publish(made, *arguments)

    monkeypatch.setattr(Attempt, "_publish", overtaken)
    before = rows_of(quick, ORDERS) if not first else []
    with pytest.raises(TargetUnreachableError, match="Another worker"):
        slow.apply(deliver(ORDERS, step, ORDER_ROWS[:1]))
    assert slow.apply(deliver(ORDERS, step, ORDER_ROWS[:1])).already_applied
    later = spelled([{"id": 8, "customer": "later", "amount": None}])
    assert rows_of(slow, ORDERS) == sorted((before or spelled(ORDER_ROWS[:1])) + later)
    assert slow.read_cursor(OURS) == Cursor(3, 0)
    assert own_tables(clickhouse) == ["_cordillera_cursors"]


def test_a_worker_that_looks_before_and_swaps_after_another_has_nothing_to_swap(
    clickhouse: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = clickhouse.target(), clickhouse.target()
    monkeypatch.setattr(ClickHouseSynchronizer, "_turn", lambda *_: nullcontext())
    slow.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    run = Session.run

    def overtaken(session: Session, statement: str, *more: Any) -> None:
        if statement.startswith("EXCHANGE"):
            monkeypatch.setattr(Session, "run", run)
            quick.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1]))
            quick.apply(deliver(ORDERS, (2, 3), [], [{"id": 1}]))
        run(session, statement, *more)

    monkeypatch.setattr(Session, "run", overtaken)
    with pytest.raises(TargetUnreachableError, match="Another worker"):
        slow.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1]))
    assert slow.read_cursor(OURS) == Cursor(3, 0)
    assert rows_of(slow, ORDERS) == spelled(ORDER_ROWS[1:])


def test_a_server_that_ends_and_comes_back_has_all_or_nothing(tmp_path: Path) -> None:
    with start_stand_in(tmp_path / "data") as first:
        target, port = first.target(), first.port
        target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))

        def ending() -> pa.RecordBatchReader:
            first.process.kill()
            first.process.wait()
            return reader_of(ORDERS.arrow_schema(), ORDER_ROWS[:1])()

        with pytest.raises(TargetUnreachableError, match="cannot be reached"):
            target.apply(deliver(ORDERS, (1, 2), ending, [{"id": 2}]))
        with pytest.raises(TargetUnreachableError):
            target.read_cursor(OURS)
    with start_stand_in(tmp_path / "data", port):
        assert target.read_cursor(OURS) == Cursor(1, 0)
        assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)
        assert not target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1], [{"id": 2}])).already_applied
        assert rows_of(target, ORDERS) == spelled([ORDER_ROWS[0], ORDER_ROWS[2]])
        target.close()


# --- check, names, errors -------------------------------------------------------------------------------------------


def test_check_tells_what_is_missing_and_changes_nothing(clickhouse: StandIn, target: ClickHouseSynchronizer) -> None:
    target.check()
    assert own_tables(clickhouse) == []
    with pytest.raises(InvalidConfigurationError, match="no such database"):
        replace(clickhouse, database="mart").target().check()
    with pytest.raises(InvalidConfigurationError, match="engine of the database is Memory"):
        replace(clickhouse, database="system").target().check()
    place = Place("127.0.0.1", clickhouse.port, False, "loader", clickhouse.database)
    with pytest.raises(InvalidConfigurationError, match="AUTHENTICATION_FAILED") as caught:
        ClickHouseSynchronizer(place, lambda: "wrong-secret").check()
    assert "wrong-secret" not in repr(caught.value)
    with pytest.raises(TargetUnreachableError, match=r"127\.0\.0\.1:1/") as unreachable:
        ClickHouseSynchronizer(replace(place, port=1), lambda: "hunter2").check()
    assert "hunter2" not in repr(unreachable.value)


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("a.b.c", "x", "does not name a table"),
        ("_cordillera_mine", "x", "kept for Cordillera's own"),
        ("表" * 20, "x", "too long"),
        ("t", "a.b", "behind a point"),
        ("t", "_row_exists", "uses itself"),
        ("t", "", "cannot keep"),
    ],
)
def test_names_that_cannot_be_are_refused(target: ClickHouseSynchronizer, table: str, column: str, words: str) -> None:
    with pytest.raises(InvalidNameError, match=words):
        target.apply(deliver(TargetTable(table, (TargetColumn(1, column, pa.int64(), False),), ()), (None, 1)))


def test_backslashes_and_quotes_in_names_and_comments_are_characters(
    clickhouse: StandIn, target: ClickHouseSynchronizer
) -> None:
    odd = "a\\n`b'\"\\"
    table = TargetTable(odd, (TargetColumn(1, odd, pa.int64(), False, doc=odd),), (odd,))
    target.apply(deliver(table, (None, 1), [{odd: 1}, {odd: 2}]))
    target.apply(deliver(table, (1, 2), [], [{odd: 1}]))
    assert rows_of(target, table) == spelled([{odd: 2}])
    assert clickhouse.execute(
        "SELECT comment FROM system.columns WHERE database = currentDatabase() AND comment != ''"
    ) == [(odd,)]


def test_dates_that_a_release_does_not_keep_are_refused() -> None:
    for kind, value in (
        (pa.date32(), date(1899, 12, 31)),
        (pa.timestamp("us"), datetime(2300, 1, 1)),
        (pa.timestamp("ns", "UTC"), datetime(1899, 12, 31, 23, 59, 59, 999999, UTC)),
    ):
        schema = sent_schema([TargetColumn(1, "day", kind)])
        batch = pa.record_batch([pa.array([value, None], kind)], names=["day"])
        encode(batch, schema, EVERY_YEAR)
        with pytest.raises(TypeMismatchError, match=r"'day'.*1900 to 2299"):
            encode(batch, schema, OLDER_YEARS)
    for count in (-719_163, 2_932_897):  # the last day of the year 0, the first of 10000
        batch = pa.record_batch([pa.array([count], pa.int32()).cast(pa.date32())], names=["day"])
        with pytest.raises(TypeMismatchError, match=r"'day'.*1 to 9999"):
            encode(batch, sent_schema([TargetColumn(1, "day", pa.date32())]), EVERY_YEAR)


def test_rows_that_are_lost_on_the_way_are_noticed(
    target: ClickHouseSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    insert = Session.insert

    def losing(session: Session, into: str, rows: Any) -> None:
        if "cordillera_cursors" not in into:
            for _ in rows:
                pass
            return
        insert(session, into, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "insert", losing)
        with pytest.raises(CorruptDataError, match="0 of the 3 rows"):
            target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS))
    assert target.read_cursor(OURS) == Cursor(1, 0)


# --- a lake ---------------------------------------------------------------------------------------------------------


def test_a_subscription_is_delivered_proven_equal_and_repaired(
    timed_lake: Lake, clickhouse: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = [
        "DELETE FROM orders WHERE id IN (5, 6)",
        "ALTER TABLE orders UPDATE amount = nan WHERE id = 7 SETTINGS mutations_sync = 2",
        "INSERT INTO orders VALUES (-1, NULL, NULL)",
    ]
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", PASSWORD)
    settings = {"url": f"http://127.0.0.1:{clickhouse.port}", "user": USER, "database": clickhouse.database}
    settings |= {"password_env": "CLICKHOUSE_PASSWORD"}
    assert_proven_equal_and_repaired(timed_lake, "clickhouse", settings, clickhouse.execute, spoilt)
