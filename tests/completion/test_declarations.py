"""Partitions declared complete together: in one transaction, beside others, and by whom it may be done."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import cordillera
from cordillera.client import Lake
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, LifecycleError
from cordillera.spec.event import Event, Topic
from cordillera.spec.job_trigger import JobTrigger
from tests.conftest import app_of
from tests.workflows.test_costs import statements

LABELS = [f"r{number}" for number in range(5)]
SQL = "SELECT $partition AS region, count(*)::BIGINT AS total FROM a.orders"


def prepare(lake: Lake) -> None:
    lake.create_namespace("a")
    lake.create_dataset("a.orders", {"value": pa.int64()}, completion_unit="value")
    lake.create_dataset("a.totals", {"region": pa.string(), "total": pa.int64()}, completion_unit="value")
    trigger = JobTrigger(partitions=("r1", "r3"))
    lake.create_job("a.totals", SQL, output_condition="region = $partition", trigger=trigger)
    lake.run_pending()


def told(lake: Lake) -> list[Event]:
    found = lake.backend.events(dataset="a.orders", limit=1000)
    return [event for event in found if event.topic is Topic.PARTITION_COMPLETED]


def check_concurrently(lake: Lake) -> None:
    """Declare the same partitions in several threads, in any order, and see that no declaration and no run is lost."""
    orders, threads = lake.dataset("a.orders"), 4
    with ThreadPoolExecutor(threads) as pool:
        calls = [LABELS, LABELS[::-1], LABELS[2:] + LABELS[:2], LABELS[::-1]]
        made = [one for found in pool.map(orders.complete_all, calls) for one in found]
    assert sorted((one.partition, one.revision) for one in made) == sorted(
        (label, revision) for label in LABELS for revision in range(1, threads + 1)
    )
    assert len(told(lake)) == len(made)
    lake.run_pending()
    assert sorted(run.partition for run in lake.backend.runs()) == ["r1", "r3"]
    assert {run.input_revisions["a.orders"] for run in lake.backend.runs()} == {threads}


def test_nothing_is_lost_between_threads_on_sqlite(lake: Lake) -> None:
    prepare(lake)
    check_concurrently(lake)


def test_nothing_is_lost_between_threads_on_postgresql(tmp_path: Path, metadata_url: str) -> None:
    with cordillera.create(tmp_path / "lake", metadata_url=metadata_url) as lake:
        prepare(lake)
        check_concurrently(lake)


def test_a_thousand_take_the_statements_of_two(lake: Lake) -> None:
    prepare(lake)
    taken = []
    for count in (2, 1000):
        with statements(lake) as found:
            assert len(lake.dataset("a.orders").complete_all([f"{count} {n}" for n in range(count)])) == count
        taken.append(found)
    assert taken[0] == taken[1]


def test_a_partition_is_found_by_index_however_many_its_dataset_has(lake: Lake) -> None:
    prepare(lake)
    with statements(lake) as found:
        lake.dataset("a.orders").complete("r1")
    [looked_up] = [one for one in found if one.startswith("SELECT latest_completions")]
    database: Any = app_of(lake).store._database
    with sqlite3.connect(database.file) as connection:
        parameters = [None] * looked_up.count("?")
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {looked_up}", parameters).fetchall())
    connection.close()
    assert "(dataset_version_id=? AND partition=?)" in plan


def test_one_decision_is_one_entry_for_auditors(lake: Lake) -> None:
    prepare(lake)
    lake.dataset("a.orders").complete_all(LABELS)
    [entry] = [one for one in lake.backend.audit(object_name="a.orders") if one.action == "dataset.complete"]
    assert entry.details == {"sequence_number": 0, "completed": LABELS}


def test_who_may_not_write_declares_nothing(lake: Lake) -> None:
    prepare(lake)
    app = app_of(lake)
    lake.grant("user:reader", "read", "a.orders")
    with acting("user:reader", operator=False), pytest.raises(AccessDeniedError, match="write"):
        app.declarations.complete("a.orders", LABELS)
    assert told(lake) == []


def test_a_retired_dataset_version_takes_none(lake: Lake) -> None:
    prepare(lake)
    version = lake.dataset("a.orders")
    for state in ("deprecated", "retired"):
        lake.backend.set_lifecycle("a.orders_v1", state)
    with pytest.raises(LifecycleError, match="retired"):
        version.complete_all(LABELS)
