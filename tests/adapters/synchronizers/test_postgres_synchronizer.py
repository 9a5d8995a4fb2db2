from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import conninfo

from cordillera.adapters.synchronizers import postgres
from cordillera.adapters.synchronizers.postgres import PostgresSynchronizer
from cordillera.errors import (
    CordilleraError,
    DuplicateKeyError,
    InvalidConfigurationError,
    InvalidNameError,
    NotAllowedError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import (
    ORDER_ROWS,
    ORDERS,
    OURS,
    THEIRS,
    deliver,
    field,
    reader_of,
    rows_of,
    spelled,
)
from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_suite import SynchronizerSuite

ID = TargetColumn(1, "id", pa.int64(), nullable=False)


class TestPostgresSynchronizer(SynchronizerSuite, HistorySuite):
    @pytest.fixture
    def synchronizer(self, postgres_dsn: str) -> PostgresSynchronizer:
        return PostgresSynchronizer(postgres_dsn)


@pytest.fixture
def target(postgres_dsn: str) -> PostgresSynchronizer:
    return PostgresSynchronizer(postgres_dsn)


@pytest.fixture
def sql(postgres_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """What a reader or an administrator of the target does to it."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        yield connection


def table_of(name: str, kind: pa.DataType) -> TargetTable:
    return TargetTable("things", (ID, TargetColumn(2, name, kind)), ("id",))


# --- how tables look to those who query them ------------------------------------------------------------------------


def test_table_has_native_types_a_primary_key_and_comments(
    target: PostgresSynchronizer, sql: psycopg.Connection[Any]
) -> None:
    columns = (*ORDERS.columns, TargetColumn(4, "tags", pa.map_(pa.string(), pa.float64())))
    table = replace(ORDERS, columns=columns)
    row = {**ORDER_ROWS[0], "tags": [("a", 1.5), ("b", float("nan"))]}
    target.apply(deliver(table, (None, 1), [row]))
    found = sql.execute(
        """SELECT attname, format_type(atttypid, atttypmod), attnotnull, col_description(attrelid, attnum)
           FROM pg_attribute WHERE attrelid = 'public.orders'::regclass AND attnum > 0 ORDER BY attnum"""
    ).fetchall()
    assert found == [
        ("id", "bigint", True, None),
        ("customer", "text", False, "Who ordered"),
        ("amount", "numeric(10,2)", False, None),
        ("tags", "jsonb", False, None),
    ]
    key = sql.execute("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p'").fetchall()
    assert ("PRIMARY KEY (id)",) in key
    (tags,) = sql.execute("SELECT tags FROM orders").fetchone() or ((),)
    assert tags == [{"key": "a", "value": 1.5}, {"key": "b", "value": "NaN"}]


def test_documentation_travels_with_schema_changes(target: PostgresSynchronizer, sql: psycopg.Connection[Any]) -> None:
    target.apply(deliver(ORDERS, (None, 1)))
    documented = replace(ORDERS.columns[2], doc="In euro, 'net'")
    target.apply(deliver(replace(ORDERS, columns=(ID, replace(ORDERS.columns[1], doc=None), documented)), (1, (2, 1))))
    comments = sql.execute("SELECT col_description('orders'::regclass, n) FROM generate_series(2, 3) n").fetchall()
    assert comments == [(None,), ("In euro, 'net'",)]


def test_table_can_live_in_another_schema(target: PostgresSynchronizer, sql: psycopg.Connection[Any]) -> None:
    table = replace(ORDERS, name="sales.orders")
    with pytest.raises(InvalidConfigurationError, match="sales"):
        target.apply(deliver(table, (None, 1), ORDER_ROWS))
    sql.execute("CREATE SCHEMA sales")
    target.apply(deliver(table, (None, 1), ORDER_ROWS))
    assert sql.execute("SELECT count(*) FROM sales.orders").fetchone() == (3,)
    target.apply(deliver(replace(ORDERS, name="public.orders"), (None, 1), [], subscription_id=THEIRS))
    target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1], subscription_id=THEIRS))
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS[:1])


def test_settings_of_the_role_change_nothing(
    target: PostgresSynchronizer, sql: psycopg.Connection[Any], postgres_dsn: str
) -> None:
    database = conninfo.conninfo_to_dict(postgres_dsn)["dbname"]
    for setting in (
        "TimeZone = 'Asia/Tokyo'",
        "DateStyle = 'German'",
        "extra_float_digits = -10",
        "bytea_output = 'escape'",
        "search_path = 'nowhere'",
        "default_transaction_isolation = 'serializable'",
        "standard_conforming_strings = off",
        "client_encoding = 'LATIN1'",
    ):
        sql.execute(f"ALTER DATABASE {database} SET {setting}")
    TestPostgresSynchronizer().test_concurrent_deliveries_apply_once(target)
    target.drop(OURS, ORDERS, keep_rows=False)
    TestPostgresSynchronizer().test_every_type_comes_back_exactly(target)


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.string(), "nul\x00"),
        (pa.list_(pa.string()), ["nul\x00"]),
        (pa.struct([field(9, "inner", pa.string())]), {"inner": "\x00"}),
        (pa.timestamp("ns"), 1),
        (pa.timestamp("ns", "UTC"), 1),
        (pa.list_(pa.timestamp("ns")), [1]),
        (pa.timestamp("us"), 2**63 - 1),
        (pa.timestamp("us"), -(2**60)),
        (pa.date32(), -2440589),
        (pa.date32(), -(2**25)),
        (pa.date32(), 2145042906),
        (pa.list_(pa.date32()), [-719163]),
        (pa.list_(pa.timestamp("us")), [253402300800000000]),
    ],
    ids=str,
)
def test_values_that_cannot_be_kept_are_refused_naming_the_column(
    target: PostgresSynchronizer, kind: pa.DataType, value: Any
) -> None:
    table = table_of("odd column", kind)
    rows = pa.table([pa.array([1], pa.int64()), pa.array([value], kind)], schema=table.arrow_schema())
    with pytest.raises(TypeMismatchError, match="odd column"):
        target.apply(deliver(table, (None, 1), rows))
    assert target.read_cursor(OURS) is None


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        (pa.date32(), [-2440588, -719529, -719528, -719163, -719162, 2932896, 2932897, 11248737, 2145042905]),
        (pa.timestamp("us"), [-62167219200000001, -62135596800000001, -(2**57), 253402300800000000, 2**59, 2**63 - 2]),
        (pa.timestamp("us", "UTC"), [-62167219200000001, -62135596800000001, -(2**57), 253402300800000000, 2**62]),
    ],
    ids=str,
)
def test_dates_beyond_four_digit_years_come_back(
    target: PostgresSynchronizer, kind: pa.DataType, counts: list[int]
) -> None:
    table, plain = table_of("at", kind), pa.int32() if kind == pa.date32() else pa.int64()
    ids, values = pa.array(range(len(counts)), pa.int64()), pa.array(counts, plain).cast(kind)
    target.apply(deliver(table, (None, 1), pa.table([ids, values], schema=table.arrow_schema())))
    found = target.read_rows(table).read_all().sort_by("id")["at"]
    assert found.cast(plain).to_pylist() == counts


def test_texts_larger_than_a_chunk_come_back(target: PostgresSynchronizer) -> None:
    table = table_of("text", pa.string())
    rows = [{"id": n, "text": ('"line"\n' * 10**6) if n % 2 else ""} for n in range(4)]
    target.apply(deliver(table, (None, 1), rows))
    found = target.read_rows(table).read_all().sort_by("id")
    assert found.to_pylist() == rows


def test_key_too_large_for_an_index_is_refused(target: PostgresSynchronizer) -> None:
    table = TargetTable("wide", (TargetColumn(1, "k", pa.string(), False),), ("k",))
    with pytest.raises(TypeMismatchError, match="index"):
        target.apply(deliver(table, (None, 1), [{"k": Random(1).randbytes(10_000).hex()}]))


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (replace(ORDERS, name="t" * 64), "64 bytes"),
        (replace(ORDERS, name="ä" * 32), "64 bytes"),
        (replace(ORDERS, name="a.b.c"), "schema.table"),
        (replace(ORDERS, name=""), "table name"),
        (replace(ORDERS, name="a\x00"), "table name"),
        (replace(ORDERS, name="_cordillera_cursors"), "cursors"),
        (replace(ORDERS, columns=(ID, TargetColumn(2, "c" * 64, pa.int32()))), "column name"),
        (replace(ORDERS, columns=(ID, TargetColumn(2, "ctid", pa.int32()))), "ctid"),
    ],
)
def test_names_that_cannot_be_kept_are_refused(target: PostgresSynchronizer, table: TargetTable, words: str) -> None:
    with pytest.raises(InvalidNameError, match=words):
        target.apply(deliver(table, (None, 1)))


def test_names_as_long_as_can_be(target: PostgresSynchronizer) -> None:
    name = "n" * 63
    table = TargetTable(name, (replace(ID, name=name), TargetColumn(2, "v", pa.string())), (name,))
    target.apply(deliver(table, (None, 1), [{name: 1, "v": "a"}]))
    target.apply(deliver(table, (1, 2), [{name: 1, "v": "b"}]))
    assert rows_of(target, table) == spelled([{name: 1, "v": "b"}])


# --- what others do to the target -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    ["TABLE orders (n int)", "VIEW orders AS SELECT 1 AS n", "TYPE orders AS (n int)", "SEQUENCE orders"],
)
def test_foreign_object_of_that_name_is_left_untouched(
    target: PostgresSynchronizer, sql: psycopg.Connection[Any], statement: str
) -> None:
    sql.execute(f"CREATE {statement}")
    with pytest.raises(TargetDriftError):
        target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    assert target.read_cursor(OURS) is None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DROP TABLE orders", "not in the target"),
        ("ALTER TABLE orders DROP COLUMN customer", "'customer'.*missing"),
        ("ALTER TABLE orders ALTER COLUMN amount TYPE text", "text, not numeric"),
        ("ALTER TABLE orders RENAME COLUMN id TO number", "'id'.*missing"),
        ("ALTER TABLE orders DROP CONSTRAINT orders_pkey", "no primary key"),
        ("DELETE FROM _cordillera_cursors", "no cursor"),
    ],
)
def test_drift_is_noticed(target: PostgresSynchronizer, sql: psycopg.Connection[Any], damage: str, words: str) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    sql.execute(damage)
    with pytest.raises(TargetDriftError, match=words):
        target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS))


def test_what_readers_add_does_no_harm(target: PostgresSynchronizer, sql: psycopg.Connection[Any]) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    sql.execute("ALTER TABLE orders ADD COLUMN note text DEFAULT 'theirs'")
    sql.execute("CREATE INDEX ON orders (customer)")
    sql.execute("CREATE VIEW big_orders AS SELECT id FROM orders WHERE amount > 5")
    target.apply(deliver(ORDERS, (1, 2), [{"id": 9, "customer": "n", "amount": Decimal(6)}], [{"id": 2}]))
    assert sql.execute("SELECT id FROM big_orders ORDER BY 1").fetchall() == [(1,), (9,)]
    assert target.apply(deliver(ORDERS, (2, 3), ORDER_ROWS, replacing=True)).rows_deleted == 3
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)


def test_column_that_a_view_needs_is_not_dropped(target: PostgresSynchronizer, sql: psycopg.Connection[Any]) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    sql.execute("CREATE VIEW amounts AS SELECT amount FROM orders")
    narrow = replace(ORDERS, columns=ORDERS.columns[:2])
    with pytest.raises(NotAllowedError, match="depend"):
        target.apply(deliver(narrow, (1, (2, 1)), [{"id": 1, "customer": "changed"}]))
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)
    assert target.read_cursor(OURS) == Cursor(1, 0)


def test_errors_do_not_quote_rows(target: PostgresSynchronizer, sql: psycopg.Connection[Any]) -> None:
    with pytest.raises(DuplicateKeyError) as caught:
        target.apply(deliver(TargetTable("t", (ID,), ("id",)), (None, 1), [{"id": 4711}, {"id": 4711}]))
    assert "4711" not in str(caught.value)
    assert caught.value.__suppress_context__


# --- readers and other workers --------------------------------------------------------------------------------------


def test_readers_never_see_a_half_or_empty_table(
    target: PostgresSynchronizer, sql: psycopg.Connection[Any], postgres_dsn: str
) -> None:
    count = "SELECT count(*) FROM orders"
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    with psycopg.connect(postgres_dsn) as patient:
        patient.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert patient.execute(count).fetchone() == (3,)
        seen: list[Any] = []

        def watched() -> pa.RecordBatchReader:
            seen.append(sql.execute(count).fetchone())
            return reader_of(ORDERS.arrow_schema(), ORDER_ROWS[:1])()

        target.apply(deliver(ORDERS, (1, 2), watched, replacing=True))
        assert seen == [(3,)]
        assert sql.execute(count).fetchone() == (1,)
        assert patient.execute(count).fetchone() == (3,)


def test_busy_table_is_a_passing_trouble(
    target: PostgresSynchronizer, sql: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_SETTINGS", postgres._SETTINGS.replace(str(postgres.LOCK_TIMEOUT_MS), "200"))
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    delivery = deliver(replace(ORDERS, columns=(ID, ORDERS.columns[1])), (1, (2, 1)))
    with sql.transaction():
        sql.execute("LOCK TABLE orders IN ACCESS SHARE MODE")
        with pytest.raises(TargetUnreachableError, match="lock"):
            target.apply(delivery)
    assert not target.apply(delivery).already_applied


def test_worker_waiting_for_another_gives_up_in_time(
    target: PostgresSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, release = threading.Event(), threading.Event()

    def slowly() -> pa.RecordBatchReader:
        opened.set()
        assert release.wait(60)
        return reader_of(ORDERS.arrow_schema(), ORDER_ROWS)()

    results: list[Any] = []
    worker = threading.Thread(target=lambda: results.append(target.apply(deliver(ORDERS, (None, 1), slowly))))
    worker.start()
    assert opened.wait(60)
    monkeypatch.setattr(postgres, "_SETTINGS", postgres._SETTINGS.replace(str(postgres.LOCK_TIMEOUT_MS), "200"))
    try:
        with pytest.raises(TargetUnreachableError):
            target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    finally:
        release.set()
        worker.join(60)
    assert [result.already_applied for result in results] == [False]


def test_lost_connection_is_a_passing_trouble(target: PostgresSynchronizer, sql: psycopg.Connection[Any]) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))

    def cut() -> pa.RecordBatchReader:
        sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cordillera'")
        return reader_of(ORDERS.arrow_schema(), [{"id": 8, "customer": None, "amount": None}])()

    with pytest.raises(TargetUnreachableError):
        target.apply(deliver(ORDERS, (1, 2), cut))
    assert target.read_cursor(OURS) == Cursor(1, 0)
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)


def test_no_connection_stays_behind(target: PostgresSynchronizer, sql: psycopg.Connection[Any]) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    target.read_cursor(OURS)
    reader = target.read_rows(ORDERS)
    reader.read_next_batch()
    reader.close()
    del reader
    target.close()
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cordillera'"
    for _ in range(100):
        if sql.execute(others).fetchone() == (0,):
            return
        threading.Event().wait(0.05)
    raise AssertionError("a connection of the synchronizer is still open")


# --- check ----------------------------------------------------------------------------------------------------------


def test_check_tells_what_is_missing(
    target: PostgresSynchronizer, sql: psycopg.Connection[Any], postgres_dsn: str
) -> None:
    with pytest.raises(InvalidConfigurationError, match="no schema 'mart'"):
        PostgresSynchronizer(postgres_dsn, schema="mart").check()
    sql.execute("CREATE SCHEMA mart")
    sql.execute("DROP ROLE IF EXISTS guest")
    sql.execute("CREATE ROLE guest LOGIN")
    guest = PostgresSynchronizer(conninfo.make_conninfo(postgres_dsn, user="guest"), schema="mart")
    with pytest.raises(InvalidConfigurationError, match="may not create tables"):
        guest.check()
    with pytest.raises(InvalidConfigurationError, match="permission denied"):
        guest.apply(deliver(ORDERS, (None, 1)))
    sql.execute("GRANT USAGE, CREATE ON SCHEMA mart TO guest")
    guest.check()
    guest.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    assert target.read_cursor(OURS) is None
    database = conninfo.conninfo_to_dict(postgres_dsn)["dbname"]
    sql.execute(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    with pytest.raises(InvalidConfigurationError, match="temporary"):
        guest.check()


def test_check_changes_nothing(target: PostgresSynchronizer, sql: psycopg.Connection[Any]) -> None:
    target.check()
    target.drop(OURS, ORDERS, keep_rows=False)
    assert sql.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").fetchone() == (0,)


def test_representation_and_errors_hide_the_password() -> None:
    target = PostgresSynchronizer("host=127.0.0.1 port=1 dbname=x user=u password=hunter2", password="hunter3")
    with pytest.raises(CordilleraError) as caught:
        target.check()
    assert "hunter" not in repr(target) + repr(caught.value) + repr(caught.value.__cause__)
