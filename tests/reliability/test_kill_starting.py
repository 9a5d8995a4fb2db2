"""kill -9 of a worker between what completes the inputs of a job, the decision to run it, and the run; two go on."""

from __future__ import annotations

import signal
from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.client import Lake
from cordillera.spec.job_trigger import JobTrigger
from tests.reliability.processes import command, end_leases, eventually, settled

DAYS = ["2026-01-01", "2026-01-02", "2026-01-03"]
POINTS = [
    "cordillera.workflows.handlers:start_run:after",
    pytest.param("cordillera.operations.service:OperationsService.dispatch_events:after", marks=pytest.mark.long),
    "cordillera.workflows.execution:RunService._begin:after",
]


def put(lake: Lake, name: str, value: int, *days: str) -> None:
    for day in days:
        rows = pa.table({"day": pa.array([day]).cast(pa.date32()), "value": pa.array([value], pa.int64())})
        lake.dataset(name).write(rows, "upsert", completes=day)


@pytest.mark.parametrize("point", POINTS, ids=["decided", "committed", "begun"])
def test_two_workers_after_one_that_was_killed_run_each_state_once(
    tmp_path: Path, metadata_url: str, point: str
) -> None:
    path = tmp_path / "lake"
    with cordillera.create(path, metadata_url=metadata_url) as lake:
        lake.create_namespace("a")
        for name in ("sales", "rates", "totals"):
            schema = {"day": pa.date32(), "value": pa.int64()}
            lake.create_dataset(f"a.{name}", schema, key=["day"], completion_unit="day")
        lake.create_job(
            "a.totals",
            "SELECT $partition::DATE AS day, (SELECT sum(value) FROM a.sales)::BIGINT + sum(value)::BIGINT AS value "
            "FROM a.rates",
            output_condition="day = $partition::DATE",
            trigger=JobTrigger({"a.rates": "trailing 2 days"}),
        )
        put(lake, "a.sales", 1, *DAYS)
        put(lake, "a.rates", 1, *DAYS)
        put(lake, "a.rates", 2, DAYS[0])
    with command("worker", path, point=point) as doomed:
        assert doomed.wait() == -signal.SIGKILL, doomed.written()
    with cordillera.open(path) as lake:
        end_leases(lake)
        with command("worker", path), command("worker", path):
            put(lake, "a.sales", 5, DAYS[2])
            eventually(lambda: settled(lake), lake.backend.tasks)
            runs = lake.backend.runs(job="a.totals")
            states = [(run.partition, *sorted(run.input_revisions.items())) for run in runs]
            assert len(states) == len(set(states))
            assert {run.state for run in runs} <= {"succeeded", "superseded"}
            last = {run.partition: dict(run.input_revisions) for run in reversed(runs) if run.state == "succeeded"}
            assert last == {
                DAYS[1]: {"a.sales": 1, f"a.rates {DAYS[0]}": 2, "a.rates": 1},
                DAYS[2]: {"a.sales": 2, f"a.rates {DAYS[1]}": 1, "a.rates": 1},
            }
            written = lake.dataset("a.totals").completions()
            succeeded = [run.partition for run in runs if run.state == "succeeded"]
            assert {one.partition: one.revision for one in written} == {day: succeeded.count(day) for day in DAYS[1:]}
