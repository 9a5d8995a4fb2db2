"""The synchronizer of MariaDB, on a real server."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from tests.adapters.synchronizers.through_a_lake import (
    STATES,
    assert_history_kept_and_repaired,
    assert_proven_equal_and_repaired,
)
from tests.servers_mariadb import PASSWORD, USER, MariaDB

from cordillera.adapters.synchronizers import mariadb as mariadb_module
from cordillera.adapters.synchronizers import mariadb_session
from cordillera.adapters.synchronizers.mariadb import MariaDBSynchronizer
from cordillera.adapters.synchronizers.mariadb_session import Session
from cordillera.adapters.synchronizers.mariadb_types import column_types
from cordillera.client import Lake
from cordillera.errors import (
    DuplicateKeyError,
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
    deliver,
    field,
    reader_of,
    rows_of,
    spelled,
)
from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_suite import SynchronizerSuite


@pytest.fixture
def target(mariadb: MariaDB) -> MariaDBSynchronizer:
    return mariadb.target()


class TestMariaDBSynchronizer(HistorySuite, SynchronizerSuite):
    signed_zeros = False
    odd_floats = False
    longest_text = 1_000_000  # a server takes longer ones, up to its max_allowed_packet
    many_keys, batch_rows = 1_060_000, 100  # as many bytes in fewer rows, each of which costs the server something

    @pytest.fixture
    def synchronizer(self, target: MariaDBSynchronizer) -> MariaDBSynchronizer:
        return target


def own_tables(mariadb: MariaDB) -> list[str]:
    found = mariadb.execute("SHOW TABLES")
    return [name for (name,) in found if name.startswith("_cordillera_")]


# --- what readers see -----------------------------------------------------------------------------------------------


def test_types_are_native_keys_are_primary_and_documentation_becomes_comments(
    mariadb: MariaDB, target: MariaDBSynchronizer
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    found = mariadb.execute(
        f"""SELECT column_name, column_type, column_comment, column_key FROM information_schema.columns
            WHERE table_schema = '{mariadb.database}' AND table_name = 'orders' ORDER BY ordinal_position"""
    )
    assert found == [
        ("id", "bigint(20)", "", "PRI"),
        ("customer", "longtext", "Who ordered", ""),
        ("amount", "decimal(10,2)", "", ""),
    ]
    assert mariadb.execute("SELECT amount FROM orders WHERE customer = 'Ana'") == [(Decimal("10.00"),)]
    assert mariadb.execute("SELECT amount FROM orders WHERE customer = 'ana '") == []


def test_readers_see_all_rows_of_a_delivery_or_none(mariadb: MariaDB, target: MariaDBSynchronizer) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    seen: list[Any] = []

    def watched(replacing: bool) -> None:
        def rows() -> pa.RecordBatchReader:
            seen.extend(mariadb.execute("SELECT COUNT(*), SUM(id > 10) FROM orders"))
            return reader_of(ORDERS.arrow_schema(), [{"id": n, "customer": "x", "amount": None} for n in (11, 12)])()

        step = (2, 3) if replacing else (1, 2)
        target.apply(deliver(ORDERS, step, rows, [] if replacing else [{"id": 1}], replacing=replacing))
        seen.extend(mariadb.execute("SELECT COUNT(*), SUM(id > 10) FROM orders"))

    with mariadb.connect() as patient, patient.cursor() as cursor:
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        watched(False)
        cursor.execute("SELECT COUNT(*) FROM orders")
        assert cursor.fetchall() == ((3,),)
    watched(True)
    assert seen == [(3, 0), (4, 2), (4, 2), (2, 2)]
    assert own_tables(mariadb) == ["_cordillera_cursors"]


def test_what_readers_add_stays_and_tables_follow_in_place(mariadb: MariaDB, target: MariaDBSynchronizer) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    mariadb.execute("ALTER TABLE orders ADD COLUMN loud LONGTEXT AS (UPPER(customer)), ADD INDEX (customer(10))")
    mariadb.execute("ALTER TABLE orders ADD COLUMN note TEXT DEFAULT 'theirs'")
    wider = replace(ORDERS, columns=(*ORDERS.columns[:2], replace(ORDERS.columns[2], type=pa.decimal128(20, 2))))
    target.apply(deliver(wider, (1, (2, 1)), [{"id": 9, "customer": "zoë", "amount": None}]))
    assert mariadb.execute("SELECT loud, note FROM orders WHERE id = 9") == [("ZOË", "theirs")]
    target.apply(deliver(wider, ((2, 1), (3, 1)), ORDER_ROWS, replacing=True))
    assert mariadb.execute("SELECT loud FROM orders WHERE id = 1") == [("ANA",)]
    assert mariadb.execute("SHOW INDEX FROM orders WHERE Key_name = 'customer'")


def test_a_unique_index_of_a_reader_never_has_another_row_written_over(
    mariadb: MariaDB, target: MariaDBSynchronizer
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    mariadb.execute("ALTER TABLE orders ADD UNIQUE INDEX (amount)")
    with pytest.raises(DuplicateKeyError, match="unique index") as caught:
        target.apply(deliver(ORDERS, (1, 2), [{"id": 8, "customer": "secret", "amount": Decimal("10.00")}]))
    assert "10.00" not in str(caught.value)
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)
    assert target.read_cursor(OURS) == Cursor(1, 0)


# --- what somebody else does ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DROP TABLE orders", "not in the target"),
        ("ALTER TABLE orders DROP COLUMN customer", "'customer'.*missing"),
        ("ALTER TABLE orders MODIFY customer LONGTEXT COLLATE utf8mb4_general_ci", "general_ci, not longtext"),
        ("ALTER TABLE orders DROP PRIMARY KEY", r"primary key .* is \(\), not \(id\)"),
        ("ALTER TABLE orders ADD COLUMN owed INT NOT NULL", "'owed'.*no default"),
        ("RENAME TABLE orders TO old; CREATE TABLE orders (n INT)", "'id'.*missing"),
    ],
)
def test_drift_is_noticed_and_repairing_everything_makes_the_table_anew(
    mariadb: MariaDB, target: MariaDBSynchronizer, damage: str, words: str
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    for statement in damage.split("; "):
        mariadb.execute(statement)
    with pytest.raises(TargetDriftError, match=words):
        target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS))
    assert target.read_cursor(OURS) == Cursor(1, 0)
    target.apply(replace(deliver(ORDERS, (1, 1), ORDER_ROWS, replacing=True), repair=True))
    target.apply(deliver(ORDERS, (1, 2), [], [{"id": 1}]))
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS[1:])


def test_a_comment_by_somebody_else_and_a_view_change_nothing(mariadb: MariaDB, target: MariaDBSynchronizer) -> None:
    mariadb.execute("CREATE VIEW orders AS SELECT 1 AS n")
    with pytest.raises(TargetDriftError, match="view"):
        target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    mariadb.execute("DROP VIEW orders")
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    mariadb.execute("ALTER TABLE orders COMMENT = 'ours'")
    wider = replace(
        ORDERS, columns=(*ORDERS.columns, TargetColumn(9, "note", pa.string(), doc="🏔 isn't \\ \U0001f3d4"))
    )
    assert target.apply(deliver(wider, (1, (2, 1)), [], [{"id": 1}])).rows_deleted == 1
    assert target.read_cursor(OURS) == Cursor(2, 1)


# --- values and names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.float64(), float("nan")),
        (pa.float32(), float("-inf")),
        (pa.timestamp("ns"), 1),
        (pa.date32(), -719163),
        (pa.timestamp("us", "UTC"), 253402300800000000),
        (pa.string(), "x" * 17_000_000),
    ],
    ids=lambda value: str(value)[:20],
)
def test_values_that_cannot_be_kept_are_refused_naming_the_column(
    target: MariaDBSynchronizer, kind: pa.DataType, value: Any
) -> None:
    table = TargetTable("things", (ORDERS.columns[0], TargetColumn(2, "odd column", kind)), ("id",))
    rows = pa.table([pa.array([1], pa.int64()), pa.array([value], kind)], schema=table.arrow_schema())
    with pytest.raises(TypeMismatchError, match="odd column"):
        target.apply(deliver(table, (None, 1), rows))
    assert target.read_cursor(OURS) is None


def test_texts_in_a_key_share_its_bytes_and_longer_ones_are_refused(target: MariaDBSynchronizer) -> None:
    columns = (
        TargetColumn(1, "n", pa.decimal128(38, 9), False),
        TargetColumn(2, "a", pa.string(), False),
        TargetColumn(3, "b", pa.binary(), False),
    )
    table = TargetTable("keyed", columns, ("n", "a", "b"))
    assert column_types(columns, table.key)["a"] == "varchar(381)"
    row = {"n": Decimal("1.000000000"), "a": "é\U0001f3d4" * 190, "b": b"\x00" * 1526}
    target.apply(deliver(table, (None, 1), [row, {**row, "a": "", "b": b""}]))
    assert rows_of(target, table) == spelled([row, {**row, "a": "", "b": b""}])
    with pytest.raises(TypeMismatchError, match="too long for column 'a'"):
        target.apply(deliver(table, (1, 2), [{**row, "a": "x" * 382}]))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (replace(ORDERS, name="t" * 65), "65 characters"),
        (replace(ORDERS, name="a.b.c"), "database.table"),
        (replace(ORDERS, name="orders "), "blank"),
        (replace(ORDERS, name="\U0001f3d4"), "emoji"),
        (replace(ORDERS, name="_cordillera_cursors"), "Cordillera's own"),
        (replace(ORDERS, columns=(*ORDERS.columns, TargetColumn(4, "ID", pa.int32()))), "'id' and 'ID'"),
    ],
)
def test_names_that_cannot_be_kept_are_refused(target: MariaDBSynchronizer, table: TargetTable, words: str) -> None:
    with pytest.raises(InvalidNameError, match=words):
        target.apply(deliver(table, (None, 1)))


# --- deaths ---------------------------------------------------------------------------------------------------------


class Died(BaseException):
    """The worker is gone: nothing of it runs any more."""


def apply_dying(target: MariaDBSynchronizer, delivery: Delivery, at: int) -> bool:
    """Deliver, but die before a statement, the first being 1; tell whether there were as many."""
    left, run = at, Session.run

    def die_or_run(session: Session, statement: str | bytes, values: Sequence[Any] = ()) -> int:
        nonlocal left
        left -= 1
        if left <= 0:
            raise Died
        return run(session, statement, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "run", die_or_run)
        try:
            target.apply(delivery)
        except Died:
            return True
    return False


NESTED = TargetColumn(5, "s", pa.struct([field(51, "a", pa.int32())]))
WIDER = TargetColumn(5, "s", pa.struct([field(51, "b", pa.int64())]))


@pytest.mark.parametrize("what", ["first", "rows", "columns", "fields", "replacement"])
def test_a_worker_that_dies_between_any_two_statements_leaves_rows_before_or_after(
    mariadb_server: MariaDB, what: str
) -> None:
    before = replace(ORDERS, columns=(*ORDERS.columns, NESTED)) if what == "fields" else ORDERS
    rows = [{**row, "s": {"a": row["id"]}} if what == "fields" else row for row in ORDER_ROWS]
    after = before
    if what == "fields":
        after = replace(before, columns=(*ORDERS.columns, WIDER))
    if what == "columns":
        renamed = tuple(replace(column, name=name) for column, name in zip(before.columns, "abc", strict=True))
        after = replace(before, columns=renamed, key=("a",))
    names = [column.name for column in after.columns]
    new = dict.fromkeys(names) | {names[0]: 2}
    step = (None, (2, 1)) if what == "first" else (1, (2, 1))
    upserts = rows if what == "first" else [new]
    deletes = [{names[0]: 1}] if what in ("rows", "columns", "fields") else []
    delivery = deliver(after, step, upserts, deletes, replacing=what == "replacement")
    every_row = "SELECT * FROM orders ORDER BY 1"
    expected: set[Any] = set()
    for at in range(1, 100):
        mariadb = mariadb_server.another_database()
        target = mariadb.target()
        if what != "first":
            target.apply(deliver(before, (None, 1), rows))
            there = mariadb.execute(every_row)
        died = apply_dying(target, delivery, at)
        done = target.read_cursor(OURS) == Cursor(2, 1)
        if not done and what != "first":
            assert mariadb.execute(every_row) == there
        assert target.apply(delivery).already_applied == done
        expected.add(tuple(mariadb.execute(every_row)))
        target.apply(deliver(after, ((2, 1), (3, 1)), [], replacing=True))  # which removes what was left behind
        assert own_tables(mariadb) == ["_cordillera_cursors"]
        assert mariadb.execute("SELECT COUNT(*) FROM _cordillera_cursors") == [(1,)]
        mariadb.execute(f"DROP DATABASE {mariadb.database}")
        if not died:
            break
    assert 6 < at < 25
    assert len(expected) == 1


def test_a_worker_that_waits_for_another_gives_up_in_time(
    mariadb: MariaDB, target: MariaDBSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mariadb_module, "LOCK_TIMEOUT_S", 0)
    opened, over = threading.Event(), threading.Event()

    def slowly() -> pa.RecordBatchReader:
        opened.set()
        assert over.wait(30)
        return reader_of(ORDERS.arrow_schema(), ORDER_ROWS)()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(target.apply, deliver(ORDERS, (None, 1), slowly))
        assert opened.wait(30)
        with pytest.raises(TargetUnreachableError, match="another worker"):
            target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        over.set()
        assert first.result().rows_upserted == 3


def test_a_worker_whose_lock_is_lost_changes_nothing(mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, quick = mariadb.target(), mariadb.target()
    slow.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    monkeypatch.setattr(MariaDBSynchronizer, "_take_lock", lambda *_: None)

    def overtaken() -> pa.RecordBatchReader:
        quick.apply(deliver(ORDERS, (1, 2), [], [{"id": 1}]))
        return reader_of(ORDERS.arrow_schema(), ORDER_ROWS)()

    with pytest.raises(TargetUnreachableError, match="another worker"):
        slow.apply(deliver(ORDERS, (1, 2), overtaken))
    assert rows_of(slow, ORDERS) == spelled(ORDER_ROWS[1:])


# --- connections ----------------------------------------------------------------------------------------------------


def test_who_is_refused_is_told_so_without_the_password(mariadb: MariaDB) -> None:
    for target, words in (
        (MariaDBSynchronizer(mariadb.place, lambda: "hunter3"), "Access denied"),
        (MariaDBSynchronizer(replace(mariadb.place, database="mysql"), lambda: PASSWORD), "Access denied"),
        (MariaDBSynchronizer(replace(mariadb.place, encrypted=True), lambda: PASSWORD), "SSL"),
    ):
        with pytest.raises(InvalidConfigurationError, match=words) as caught:
            target.check()
        assert "hunter" not in repr(caught.value) + repr(target)
    with pytest.raises(TargetUnreachableError, match=r"127\.0\.0\.1"):
        MariaDBSynchronizer(replace(mariadb.place, port=1), lambda: PASSWORD).check()


def test_a_stream_that_is_left_in_the_middle_leaves_no_connection(
    mariadb: MariaDB, target: MariaDBSynchronizer
) -> None:
    target.apply(deliver(ORDERS, (None, 1), [{"id": n, "customer": "x", "amount": None} for n in range(2_000)]))
    reader = target.read_rows(ORDERS)
    assert reader.read_next_batch().num_rows < 2_000
    reader.close()
    del reader
    gc.collect()
    count = f"SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{USER}' AND db = '{mariadb.database}'"
    deadline = time.monotonic() + 30
    while mariadb.execute(count) != [(0,)]:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("version", ["8.0.36", "10.6.18-MariaDB", "5.5.5-10.11.6-MariaDB"])
def test_another_server_is_refused_and_an_old_prefix_is_no_version(version: str, mariadb: MariaDB) -> None:
    if version.startswith("5.5.5-"):
        mariadb_session._check_version(version, mariadb.place)
        return
    with pytest.raises(InvalidConfigurationError, match=r"10\.11 or newer"):
        mariadb_session._check_version(version, mariadb.place)


# --- a lake ---------------------------------------------------------------------------------------------------------


def test_a_subscription_is_delivered_proven_equal_and_repaired(
    timed_lake: Lake, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = [
        "DELETE FROM orders WHERE id IN (5, 6)",
        "UPDATE orders SET amount = 0.1 WHERE id = 7",
        "INSERT INTO orders VALUES (-1, NULL, NULL)",
    ]
    settings = settings_of(mariadb, monkeypatch)
    assert_proven_equal_and_repaired(timed_lake, "mariadb", settings, mariadb.execute, spoilt)


def test_a_history_is_kept_proven_equal_and_repaired(
    timed_lake: Lake, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_history_kept_and_repaired(
        timed_lake,
        "mariadb",
        settings_of(mariadb, monkeypatch),
        lambda: mariadb.execute(STATES),
        lambda: mariadb.execute("UPDATE orders SET amount = 98 WHERE id = 1 AND _is_current"),
    )


def settings_of(mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("MARIADB_PASSWORD", PASSWORD)
    place = {"host": "127.0.0.1", "port": str(mariadb.port), "user": USER, "database": mariadb.database}
    return {**place, "password_env": "MARIADB_PASSWORD"}
