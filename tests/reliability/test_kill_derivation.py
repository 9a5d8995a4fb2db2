"""kill -9 of a worker at every boundary between two steps of deriving completions, and of what they start."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.client import Lake
from cordillera.spec.completion_rule import CompletionRule
from tests.reliability.processes import end_leases, run_and_kill, settled

DERIVATION = "cordillera.completion.derivation:DerivationService"
IN_SHORT = [f"{DERIVATION}._advance:after", f"{DERIVATION}._settled:after"]
POINTS = [
    "cordillera.completion.handlers:enqueue_derivation:after",
    "cordillera.operations.service:OperationsService.dispatch_events:after",
    f"{DERIVATION}._advance:before",
    f"{DERIVATION}._watermark:after",
    f"{DERIVATION}._conclude:after",
    f"{DERIVATION}.derive:after",
]


def days_of(*days: int) -> pa.Table:
    return pa.table({"id": pa.array(days, pa.int64()), "day": pa.array([f"2026-01-{day:02}" for day in days])}).cast(
        pa.schema([("id", pa.int64()), ("day", pa.date32())])
    )


def revisions(lake: Lake, name: str) -> dict[str, int]:
    return {one.partition: one.revision for one in lake.dataset(name).completions()}


@pytest.mark.parametrize(
    "point",
    [*IN_SHORT, *(pytest.param(point, marks=pytest.mark.long) for point in POINTS)],
    ids=lambda point: point.split(":", 1)[1],
)
def test_a_killed_worker_completes_nothing_twice_and_forgets_nothing(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    with cordillera.create(path) as lake:
        lake.create_namespace("a")
        events = lake.create_dataset("a.events", days_of(1).schema, key=["id"], completion_unit="day")
        copies = lake.create_dataset("a.copies", days_of(1).schema, key=["id"], completion_unit="day")
        events.put_completion_rule(CompletionRule("day", lateness_seconds=0))
        copies.put_completion_rule(CompletionRule("day", min_rows=1, upstream={"a.events": "same"}))
        events.write(days_of(1, 2), "upsert")
        copies.write(days_of(1, 2, 3), "upsert")
        lake.run_pending()
        assert revisions(lake, "a.copies") == {"2026-01-01": 1}
        events.write(days_of(4), "upsert")
        copies.write(days_of(1).select(["id"]), "delete")
        copies.write(pa.table({"id": [9], "day": days_of(1)["day"]}), "upsert")
    run_and_kill(path, "work", point)
    with cordillera.open(path) as lake:
        end_leases(lake)
        lake.run_pending()
        assert settled(lake)
        assert revisions(lake, "a.events") == {"2026-01-01": 1, "2026-01-02": 1, "2026-01-03": 1}
        assert revisions(lake, "a.copies") == {"2026-01-01": 2, "2026-01-02": 1, "2026-01-03": 1}
