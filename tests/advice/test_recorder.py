from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
import pytest

import cordillera
from cordillera.advice.recorder import ScanRecorder
from cordillera.app import Application, open_lake
from cordillera.client import Lake
from cordillera.errors import MetadataStoreBusyError
from cordillera.ports.clock import SystemClock
from cordillera.spec.scan_statistics import ALL_COLUMNS, ColumnReport, ColumnScans, ColumnUse, ScanReport
from tests.conftest import MovableClock

DAYS, PER_DAY = 8, 100
LONG_AGO = date(2000, 1, 1)


@pytest.fixture
def app(lake: Lake) -> Application:
    backend: Any = lake.backend
    lake.create_namespace("sales")
    orders = lake.create_dataset(
        "sales.orders", pa.schema({"id": pa.int64(), "day": pa.date32(), "place": pa.string()}), key=["id"]
    )
    first = date(2026, 1, 1)
    for day in range(DAYS):  # a file a day
        ids = range(day * PER_DAY, (day + 1) * PER_DAY)
        rows = pa.table({"id": ids, "day": [first + timedelta(days=day)] * PER_DAY, "place": ["here"] * PER_DAY})
        orders.write(rows, "append")
    made: Application = backend.app
    return made


def _totals(app: Application) -> dict[tuple[int, ColumnUse], ColumnScans]:
    app.scans.flush()
    with app.store.read() as tx:
        version = app.catalog.dataset("sales.orders").version.id
        return {(one.column_id, one.use): one for one in tx.scans.totals(version, LONG_AGO)}


def test_scans_are_counted_by_column_and_use(lake: Lake, app: Application) -> None:
    orders = lake.dataset("sales.orders")
    orders.scan().to_arrow()
    orders.scan(where="day >= DATE '2026-01-07'").to_arrow()
    orders.scan(where="id BETWEEN 100 AND 199").to_arrow()
    orders.scan(where="id IN (1, 2) AND place = 'here'").to_arrow()
    orders.scan(where="upper(place) = 'HERE'").to_arrow()
    totals = _totals(app)
    assert set(totals) == {
        (ALL_COLUMNS, ColumnUse.ANY),
        (1, ColumnUse.RANGE),
        (1, ColumnUse.EQUALITY),
        (2, ColumnUse.RANGE),
        (3, ColumnUse.EQUALITY),
        (3, ColumnUse.OTHER),
    }
    everything = totals[ALL_COLUMNS, ColumnUse.ANY]
    assert (everything.scans, everything.files, everything.files_read) == (5, 40, 8 + 2 + 1 + 1 + 8)
    assert 0 < everything.bytes_read < everything.bytes
    days = totals[2, ColumnUse.RANGE]
    assert (days.scans, days.alone, days.files_read, days.measured, days.fraction) == (1, 1, 2, 1, 0.25)
    keys = totals[1, ColumnUse.RANGE]
    assert (keys.files_read, keys.measured, keys.fraction) == (1, 1, 0.125)
    assert totals[1, ColumnUse.EQUALITY] == ColumnScans(
        1, ColumnUse.EQUALITY, 1, 0, 8, 1, everything.bytes // 5, totals[1, ColumnUse.EQUALITY].bytes_read, 2
    )
    assert totals[3, ColumnUse.OTHER].alone == 0


def test_queries_count_as_scans(lake: Lake, app: Application) -> None:
    lake.sql("SELECT count(*) FROM sales.orders o WHERE o.day = DATE '2026-01-03' AND o.place LIKE 'h%'").read_all()
    totals = _totals(app)
    assert totals[2, ColumnUse.EQUALITY].files_read == 1
    assert totals[2, ColumnUse.EQUALITY].alone == 1
    assert totals[3, ColumnUse.OTHER].scans == 1


def test_changes_and_maintenance_do_not_count(lake: Lake, app: Application) -> None:
    orders = lake.dataset("sales.orders")
    orders.changes(after=1).to_arrow()
    orders.compact()
    orders.delete_where("id = 7")
    assert _totals(app) == {}


def test_no_value_of_a_condition_is_stored(tmp_path: Path) -> None:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales")
        people = lake.create_dataset("sales.people", pa.schema({"name": pa.string(), "born": pa.int64()}))
        people.write([{"name": "x", "born": 1}], "append")
        people.scan(where="name = 'Erika Mustermann' AND born > 19640812").to_arrow()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "lake").glob("*.db*"))
    assert b"scan_statistics" in stored
    assert b"Mustermann" not in stored
    assert b"19640812" not in stored


def test_an_embedded_lake_writes_them_down_when_it_is_closed(tmp_path: Path) -> None:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales")
        lake.create_dataset("sales.orders", pa.schema({"id": pa.int64()}))
        lake.dataset("sales.orders").scan().to_arrow()
    with open_lake(tmp_path / "lake") as app:
        assert _totals(app)[ALL_COLUMNS, ColumnUse.ANY].scans == 1


def test_a_long_lived_process_writes_them_down_after_a_while(app: Application) -> None:
    version = app.catalog.dataset("sales.orders").version.id
    recorder = ScanRecorder(app.store, app.clock, interval=0.01)
    for _ in range(2):  # the timer starts again
        before = _scans(app, version)
        recorder.scanned(version, _report)
        deadline = time.monotonic() + 30
        while _scans(app, version) == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    recorder.close()
    assert _scans(app, version) == 2


def _scans(app: Application, version: UUID) -> int:
    with app.store.read() as tx:
        return sum(one.scans for one in tx.scans.totals(version, LONG_AGO))


def _report() -> ScanReport:
    return ScanReport((), 8, 800, 4, 400)


def test_processes_that_write_down_at_once_add_up(tmp_path: Path) -> None:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales")
        lake.create_dataset("sales.orders", pa.schema({"id": pa.int64()}))
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(2)
    processes = [spawn.Process(target=_scan_often, args=(tmp_path / "lake", ready)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    with open_lake(tmp_path / "lake") as app:
        totals = _totals(app)
    assert totals[ALL_COLUMNS, ColumnUse.ANY].scans == 2 * 5 * 3
    assert totals[1, ColumnUse.RANGE].fraction == 2 * 5 * 3 * 0.5


def _scan_often(path: Path, ready: Any) -> None:
    with open_lake(path) as app:
        version = app.catalog.dataset("sales.orders").version.id
        report = ScanReport((ColumnReport(1, ColumnUse.RANGE, fraction=0.5),), 8, 800, 4, 400)
        ready.wait(60)
        for _ in range(5):
            for _ in range(3):
                app.scans.scanned(version, lambda: report)
            app.scans.flush()


def test_what_is_older_than_a_quarter_of_a_year_is_forgotten(timed_lake: Lake, clock: MovableClock) -> None:
    backend: Any = timed_lake.backend
    timed_lake.create_namespace("sales")
    orders = timed_lake.create_dataset("sales.orders", pa.schema({"id": pa.int64()}))
    orders.scan().to_arrow()
    backend.app.scans.flush()
    clock.advance(days=80)
    orders.scan().to_arrow()
    backend.app.scans.flush()
    assert backend.app.scans.forget_old() == 0
    clock.advance(days=20)
    assert backend.app.scans.forget_old() == 1
    assert _totals(backend.app)[ALL_COLUMNS, ColumnUse.ANY].scans == 1


class _BrokenStore:
    """A store that cannot be written to."""

    def __init__(self) -> None:
        self.tried = 0

    @contextmanager
    def write(self) -> Any:
        self.tried += 1
        raise MetadataStoreBusyError("The database is away.")
        yield


def test_a_store_that_cannot_be_written_to_disturbs_nobody() -> None:
    store: Any = _BrokenStore()
    recorder = ScanRecorder(store, SystemClock())
    recorder.scanned(uuid4(), _report)
    recorder.flush()
    recorder.close()
    assert store.tried == 1  # what was lost is not tried again


def test_a_report_that_fails_disturbs_no_scan() -> None:
    store: Any = _BrokenStore()
    recorder = ScanRecorder(store, SystemClock())

    def broken() -> ScanReport:
        raise ZeroDivisionError

    recorder.scanned(uuid4(), broken)
    recorder.close()
    assert store.tried == 0


def test_what_is_gathered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cordillera.advice.recorder._MOST_SUMS", 10)
    store: Any = _BrokenStore()
    recorder = ScanRecorder(store, SystemClock())
    scanned: Callable[[UUID], None] = lambda version: recorder.scanned(version, _report)  # noqa: E731
    for _ in range(100):
        scanned(uuid4())
    assert len(recorder._gathered) == 10
    recorder.close()


def test_a_lake_whose_database_is_read_only_can_be_scanned(tmp_path: Path) -> None:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales")
        lake.create_dataset("sales.orders", pa.schema({"id": pa.int64()}))
        lake.dataset("sales.orders").write([{"id": 1}], "append")
    with open_lake(tmp_path / "lake") as app:
        version = app.catalog.dataset("sales.orders").version
        writer = app.store._database.writer
        with writer.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
        assert app.tables.scan("sales.orders", version).read_all().num_rows == 1
        app.scans.flush()
        assert _scans(app, version.id) == 0
