from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb as engine
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.adapters.synchronizers import duckdb
from cordillera.adapters.synchronizers import duckdb_tables as tables
from cordillera.adapters.synchronizers.duckdb import DuckDBSynchronizer
from cordillera.context import acting, current
from cordillera.errors import (
    DeliveryStoppedError,
    DuplicateKeyError,
    InvalidConfigurationError,
    InvalidNameError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, RowReader, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import (
    ORDER_ROWS,
    ORDERS,
    OURS,
    all_types,
    deliver,
    field,
    rows_of,
    spelled,
)
from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_suite import SynchronizerSuite

ID = TargetColumn(1, "id", pa.int64(), nullable=False)


class TestDuckDBSynchronizer(SynchronizerSuite, HistorySuite):
    signed_zeros = False

    @pytest.fixture
    def synchronizer(self, tmp_path: Path) -> DuckDBSynchronizer:
        return DuckDBSynchronizer(tmp_path / "target.duckdb")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "target.duckdb"


@pytest.fixture
def target(path: Path) -> DuckDBSynchronizer:
    return DuckDBSynchronizer(path)


def table_of(name: str, kind: pa.DataType) -> TargetTable:
    return TargetTable("things", (ID, TargetColumn(2, name, kind)), ("id",))


def query(path: Path, statement: str) -> list[Any]:
    with engine.connect(str(path)) as connection:
        return connection.execute(statement).fetchall()


@contextmanager
def held_by_another_process(path: Path, seconds: float) -> Iterator[None]:
    program = (
        f"import duckdb, time; c = duckdb.connect({str(path)!r}); print('open', flush=True); time.sleep({seconds})"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield
    finally:
        process.kill()
        process.communicate()


# --- how tables look to those who query them ------------------------------------------------------------------------


def test_table_has_native_types_and_comments(target: DuckDBSynchronizer, path: Path) -> None:
    values = all_types()
    columns = tuple(TargetColumn(n, name, v.type, doc=f"It's {name}") for n, (name, v) in enumerate(values.items(), 2))
    target.apply(deliver(TargetTable("types", (ID, *columns), ("id",)), (None, 1)))
    found = query(path, "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = 'types'")
    types = {name: kind for name, kind, _ in found}
    assert types["uuid"] == "UUID"
    assert types["wide_decimal"] == "DECIMAL(38,10)"
    assert types["map"] == "MAP(VARCHAR, DOUBLE)"
    assert types["matrix"] == "BIGINT[][]"
    assert types["struct_of_uuid"] == "STRUCT(u UUID)"
    assert types["timestamp_ns"] == "TIMESTAMP_NS"
    assert types["instant"] == "TIMESTAMP WITH TIME ZONE"
    assert {comment for name, _, comment in found if name != "id"} == {f"It's {name}" for name in values}


def test_table_can_live_in_a_schema_of_its_own(target: DuckDBSynchronizer, path: Path) -> None:
    target.apply(deliver(replace(ORDERS, name="sales.orders"), (None, 1), ORDER_ROWS))
    assert query(path, "SELECT count(*) FROM sales.orders") == [(3,)]
    assert rows_of(target, replace(ORDERS, name="sales.orders")) == spelled(ORDER_ROWS)


@pytest.mark.parametrize("name", ["main.duckdb", "temp.duckdb", "memory.duckdb", "sales.duckdb", "a 'b\".db", "select"])
def test_file_can_have_any_name(tmp_path: Path, name: str) -> None:
    target = DuckDBSynchronizer(tmp_path / name)
    for table in (ORDERS, replace(ORDERS, name="sales.orders")):
        target.apply(deliver(table, (None, 1), ORDER_ROWS))
        target.apply(deliver(table, (1, 2), [], [{"id": 1}]))
        assert rows_of(target, table) == spelled(ORDER_ROWS[1:])
        target.drop(OURS, table, keep_rows=False)


# --- values and names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.timestamp("ns", "UTC"), 1),
        (pa.list_(pa.timestamp("ns", "UTC")), [1]),
        (pa.map_(pa.string(), pa.struct([field(7, "at", pa.timestamp("ns", "UTC"))])), [("k", {"at": 1})]),
    ],
    ids=str,
)
def test_values_that_cannot_be_kept_are_refused_naming_the_column(
    target: DuckDBSynchronizer, kind: pa.DataType, value: Any
) -> None:
    table = table_of("odd column", kind)
    rows = pa.table([pa.array([1], pa.int64()), pa.array([value], kind)], schema=table.arrow_schema())
    with pytest.raises(TypeMismatchError, match="odd column"):
        target.apply(deliver(table, (None, 1), rows))
    assert target.read_cursor(OURS) is None


def test_what_postgres_refuses_is_kept(target: DuckDBSynchronizer) -> None:
    columns = (ID, TargetColumn(2, "text", pa.string()), TargetColumn(3, "ns", pa.timestamp("ns")))
    table = TargetTable("things", columns, ("id",))
    rows = pa.table([[1], ["nul\x00"], pa.array([1], pa.timestamp("ns"))], schema=table.arrow_schema())
    target.apply(deliver(table, (None, 1), rows))
    assert target.read_rows(table).read_all() == rows


@pytest.mark.parametrize("name", ["a.b.c", "", "a\x00", "_cordillera_cursors", "_Cordillera_Cursors"])
def test_names_that_cannot_be_kept_are_refused(target: DuckDBSynchronizer, name: str) -> None:
    with pytest.raises(InvalidNameError):
        target.apply(deliver(replace(ORDERS, name=name), (None, 1)))


def test_slices_of_structs_in_structs_are_read_at_their_offset(target: DuckDBSynchronizer) -> None:
    deep = pa.struct([field(3, "deep", pa.struct([field(4, "n", pa.int64())]))])
    table = TargetTable("nested", (ID, TargetColumn(2, "s", deep)), ("id",))
    values = [{"deep": {"n": n if n % 3 else None}} if n % 5 else None for n in range(50)]
    rows = pa.table([pa.array(range(50), pa.int64()), pa.array(values, deep)], schema=table.arrow_schema())
    target.apply(deliver(table, (None, 1), rows.slice(7, 40)))
    assert target.read_rows(table).read_all().sort_by("id")["s"].to_pylist() == values[7:47]


# --- rows that stream through ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_memory() -> Iterator[engine.DuckDBPyConnection]:
    with engine.connect() as connection:
        yield connection


@settings(max_examples=60)
@given(batches=st.lists(st.lists(st.integers(0, 12), max_size=4), max_size=4), ordered=st.booleans())
def test_keys_may_come_in_any_order_but_none_twice(
    in_memory: engine.DuckDBPyConnection, batches: list[list[int]], ordered: bool
) -> None:
    keys = [key for batch in batches for key in batch]
    rows = [sorted(keys)] if ordered else batches
    in_memory.execute("CREATE OR REPLACE TABLE keyed (id BIGINT)")
    loaded = (pa.record_batch([pa.array(batch, pa.int64())], names=["id"]) for batch in rows)
    if len(set(keys)) < len(keys):
        with pytest.raises(DuplicateKeyError):
            tables.load(in_memory, "keyed", [ID], ["id"], loaded)
    else:
        assert tables.load(in_memory, "keyed", [ID], ["id"], loaded) == len(keys)
        assert in_memory.execute("SELECT id FROM keyed ORDER BY id").fetchall() == [(key,) for key in sorted(keys)]


def test_rows_are_read_on_behalf_of_whoever_is_acting(target: DuckDBSynchronizer) -> None:
    seen = set()

    def rows() -> Iterator[pa.RecordBatch]:
        for number in range(8):
            seen.add(current().principal)
            ids, texts = (
                pa.array(range(number * 2_000, (number + 1) * 2_000), pa.int64()),
                pa.repeat("text" * 200, 2_000),
            )
            yield pa.record_batch([ids, texts], schema=table.arrow_schema())

    table = table_of("text", pa.string())
    with acting("user:alice"):
        target.apply(deliver(table, (None, 1), lambda: pa.RecordBatchReader.from_batches(table.arrow_schema(), rows())))
    assert seen == {"user:alice"}


def test_failure_of_the_source_comes_out_as_it_is(target: DuckDBSynchronizer) -> None:
    def rows() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([pa.array([1]), pa.array(["a"])], schema=table.arrow_schema())
        raise failure

    table, failure = table_of("text", pa.string()), DeliveryStoppedError("stopped")
    with pytest.raises(DeliveryStoppedError) as caught:
        target.apply(deliver(table, (None, 1), lambda: pa.RecordBatchReader.from_batches(table.arrow_schema(), rows())))
    assert caught.value is failure
    assert target.read_cursor(OURS) is None


# --- what others do to the target -----------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["TABLE orders (n INT)", "VIEW Orders AS SELECT 1 AS n"])
def test_foreign_object_of_that_name_is_left_untouched(target: DuckDBSynchronizer, path: Path, statement: str) -> None:
    query(path, f"CREATE {statement}")
    with pytest.raises(TargetDriftError):
        target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    assert target.read_cursor(OURS) is None
    assert query(path, "DESCRIBE orders")[0][0] == "n"


@pytest.mark.parametrize("gone", ["DROP TABLE base", "ALTER TABLE base DROP COLUMN n"])
def test_foreign_view_of_what_is_no_more_is_left_untouched(target: DuckDBSynchronizer, path: Path, gone: str) -> None:
    for statement in ("CREATE TABLE base (n INT, m INT)", "CREATE VIEW orders AS SELECT n FROM base", gone):
        query(path, statement)
    with pytest.raises(TargetDriftError, match="orders"):
        target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    assert target.read_cursor(OURS) is None
    assert query(path, "SELECT view_name FROM duckdb_views() WHERE NOT internal") == [("orders",)]


@pytest.mark.parametrize("gone", ["DROP TABLE o", "ALTER TABLE o DROP COLUMN amount"])
def test_table_that_became_a_view_of_what_is_no_more_is_drift(
    target: DuckDBSynchronizer, path: Path, gone: str
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    for statement in ("ALTER TABLE orders RENAME TO o", "CREATE VIEW orders AS FROM o", gone):
        query(path, statement)
    with pytest.raises(TargetDriftError, match="orders"):
        target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS))
    assert target.read_cursor(OURS) == Cursor(1, 0)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DROP TABLE orders", "not in the target"),
        ("ALTER TABLE orders DROP COLUMN customer", "'customer'.*missing"),
        ("ALTER TABLE orders ALTER COLUMN amount TYPE VARCHAR", r"VARCHAR, not DECIMAL\(10,2\)"),
        ("DELETE FROM _cordillera_cursors", "no cursor"),
    ],
)
def test_drift_is_noticed(target: DuckDBSynchronizer, path: Path, damage: str, words: str) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    query(path, damage)
    with pytest.raises(TargetDriftError, match=words):
        target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS))


def test_what_readers_add_does_no_harm(target: DuckDBSynchronizer, path: Path) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    query(path, "ALTER TABLE orders ADD COLUMN note VARCHAR DEFAULT 'theirs'")
    query(path, "CREATE VIEW ids AS SELECT id FROM orders")
    target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1], [{"id": 2}]))
    assert sorted(query(path, "FROM ids")) == [(1,), (3,)]
    target.apply(deliver(ORDERS, (2, 3), ORDER_ROWS, replacing=True))
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)


# --- the file -------------------------------------------------------------------------------------------------------


def test_file_held_by_another_process_is_waited_for(target: DuckDBSynchronizer, path: Path) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    with held_by_another_process(path, 0.5):
        assert not target.apply(deliver(ORDERS, (1, 2))).already_applied


def test_file_held_too_long_is_a_passing_trouble(
    target: DuckDBSynchronizer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb, "LOCK_WAIT_S", 0.3)
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    with held_by_another_process(path, 600):
        for attempt in (
            lambda: target.apply(deliver(ORDERS, (1, 2))),
            lambda: target.read_cursor(OURS),
            target.check,
            lambda: target.read_rows(ORDERS),
            lambda: target.drop(OURS, ORDERS, keep_rows=True),
        ):
            with pytest.raises(TargetUnreachableError, match="another program"):
                attempt()
    assert target.read_cursor(OURS) == Cursor(1, 0)


def test_file_open_in_this_process_otherwise_is_a_passing_trouble(
    target: DuckDBSynchronizer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb, "LOCK_WAIT_S", 0.3)
    with engine.connect(str(path)), pytest.raises(TargetUnreachableError):
        target.apply(deliver(ORDERS, (None, 1)))


def test_reading_goes_on_beside_a_delivery(target: DuckDBSynchronizer) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    reader = target.read_rows(ORDERS)
    first = reader.read_next_batch()
    target.apply(deliver(ORDERS, (1, 2), [], [{"id": 1}]))
    found = pa.Table.from_batches([first, *reader])
    assert spelled(found) == spelled(ORDER_ROWS)
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS[1:])


def test_nothing_is_created_before_the_first_delivery(target: DuckDBSynchronizer, path: Path) -> None:
    target.check()
    assert target.read_cursor(OURS) is None
    target.drop(OURS, ORDERS, keep_rows=False)
    assert not path.exists()


def test_file_is_closed_after_each_operation(target: DuckDBSynchronizer, path: Path) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    reader = target.read_rows(ORDERS)
    reader.read_next_batch()
    reader.close()
    del reader
    with held_by_another_process(path, 600):
        pass
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_is_no_duckdb_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    for path in (tmp_path / "text", tmp_path):
        for attempt in ("check", "apply"):
            target = DuckDBSynchronizer(path)
            with pytest.raises(InvalidConfigurationError):
                target.check() if attempt == "check" else target.apply(deliver(ORDERS, (None, 1)))
    with pytest.raises(InvalidConfigurationError, match="not a directory"):
        DuckDBSynchronizer(tmp_path / "no" / "where.duckdb").check()
    with pytest.raises(InvalidConfigurationError):
        DuckDBSynchronizer(tmp_path / "no" / "where.duckdb").apply(deliver(ORDERS, (None, 1)))


def test_delivery_larger_than_its_memory_spills(
    target: DuckDBSynchronizer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(duckdb._SETTINGS, "memory_limit", "60MB")
    count, size = 300, 5_000
    table = TargetTable("big", (TargetColumn(1, "id", pa.string(), False), TargetColumn(2, "n", pa.int64())), ("id",))

    def rows(mark: int) -> RowReader:
        def batches() -> Iterator[pa.RecordBatch]:
            for start in range(0, count * size, size):
                ids = pc.binary_join_element_wise(
                    "a key of many characters", pa.array(range(start, start + size)).cast(pa.string()), "-"
                )
                yield pa.record_batch([ids, pa.repeat(mark, size)], schema=table.arrow_schema())

        return lambda: pa.RecordBatchReader.from_batches(table.arrow_schema(), batches())

    assert target.apply(deliver(table, (None, 1), rows(1))).rows_upserted == count * size
    assert target.apply(deliver(table, (1, 2), rows(2))).rows_upserted == count * size
    whole = "SELECT count(*), count(DISTINCT id), min(n), max(n) FROM big"
    assert query(path, whole) == [(count * size, count * size, 2, 2)]
