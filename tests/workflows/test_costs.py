"""What an event costs does not depend on how many jobs wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pyarrow as pa
from sqlalchemy import event

from cordillera.client import Lake
from cordillera.spec.job_trigger import JobTrigger
from cordillera.spec.workflow import WantedJob
from tests.conftest import app_of

SQL = "SELECT $partition AS region, sum(value)::BIGINT AS total FROM a.orders"


@contextmanager
def statements(lake: Lake) -> Iterator[list[str]]:
    """Gather the statements that the lake's database gets to write."""
    writer: Any = app_of(lake).store._database.writer
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(writer, "before_cursor_execute", note)
    yield found
    event.remove(writer, "before_cursor_execute", note)


def test_an_event_takes_the_same_statements_however_many_jobs_wait_for_others(lake: Lake) -> None:
    app = app_of(lake)
    lake.create_namespace("a")
    lake.create_dataset("a.orders", {"value": pa.int64()}, completion_unit="value")
    lake.create_dataset("a.totals", {"region": pa.string(), "total": pa.int64()}, completion_unit="value")
    job = app.workflows.create_job(
        WantedJob("a.totals", SQL, output_condition="region = $partition", trigger=JobTrigger(partitions=("r0",)))
    )
    app.operations.dispatch_events()
    taken = []
    for number in range(3):
        lake.dataset("a.orders").complete(f"r{number}")
        with statements(lake) as found:
            assert app.operations.dispatch_events() == 1
        taken.append([one for one in found if not one.startswith("BEGIN")])
        with app.store.write() as tx:
            for other in range(30 * number, 30 * (number + 1)):
                trigger = JobTrigger(partitions=(f"other {other}",))
                tx.jobs.insert(replace(job, id=uuid4(), name=f"a.j{other}", trigger=trigger))
    assert [run.partition for run in lake.backend.runs()] == ["r0"]
    assert taken[1] == taken[2]
    assert len(taken[1]) <= 9


def test_events_that_are_handled_together_take_the_statements_of_one(lake: Lake) -> None:
    app = app_of(lake)
    lake.create_namespace("a")
    lake.create_dataset("a.orders", {"value": pa.int64()}, completion_unit="value")
    lake.create_dataset("a.totals", {"region": pa.string(), "total": pa.int64()}, completion_unit="value")
    app.workflows.create_job(
        WantedJob("a.totals", SQL, output_condition="region = $partition", trigger=JobTrigger(partitions=("r0",)))
    )
    app.operations.dispatch_events()
    taken = []
    for labels in (["r1"], ["r2", "r3", "r4"], ["r5", "r5", "r0"]):
        for label in labels:
            lake.dataset("a.orders").complete(label)
        with statements(lake) as found:
            assert app.operations.dispatch_events() == len(labels)
        taken.append([one for one in found if not one.startswith("BEGIN")])
    assert taken[0] == taken[1]
    assert [run.partition for run in lake.backend.runs()] == ["r0"]
    assert len(taken[2]) <= len(taken[0]) + 14
