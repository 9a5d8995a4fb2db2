"""A worker that stands still past its lease, between any two of its steps: what it does afterwards is refused.

With real processes this is shown in test_workers_on_postgres; here, time passes when told to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import Context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cordillera.app import Application, open_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.errors import NotAllowedError
from cordillera.spec.schema_evolution import AddColumn
from cordillera.testing.synchronizer_memory import MemorySynchronizer
from cordillera.worker import Worker
from tests.conftest import MovableClock

Meanwhile = Callable[[], None]


class StallingSynchronizer(MemorySynchronizer):
    """A target during whose next delivery something else happens first, and which may then refuse it."""

    meanwhile: Meanwhile | None = None
    refusal: Exception | None = None

    def apply(self, delivery: Any) -> Any:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
            if self.refusal:
                raise self.refusal
        return super().apply(delivery)


@pytest.fixture
def target() -> StallingSynchronizer:
    return StallingSynchronizer()


@pytest.fixture
def apps(timed_lake: Lake, tmp_path: Path, clock: MovableClock, target: MemorySynchronizer) -> Iterator[Any]:
    """Open the lake twice more: for the worker that stalls and for the one that takes over."""

    def build(kind: str, config: Mapping[str, str]) -> MemorySynchronizer:
        return target

    with open_lake(tmp_path / "lake", clock, build) as stalled, open_lake(tmp_path / "lake", clock, build) as other:
        lake = Lake(LocalBackend(other))
        lake.create_namespace("a")
        lake.create_dataset("a.b", {"id": pa.int64()}, key=["id"], completion_unit="day")
        lake.create_target("t", "memory")
        yield stalled, other


def elsewhere(work: Callable[[], object]) -> None:
    """Do something outside the task in hand: as another process would, without its lease."""
    Context().run(work)


@pytest.mark.parametrize("refusal", [None, NotAllowedError("The target refuses.")], ids=["it works", "it fails"])
def test_a_late_delivery_changes_nothing(
    apps: tuple[Application, Application],
    clock: MovableClock,
    target: StallingSynchronizer,
    refusal: Exception | None,
) -> None:
    stalled, other = apps
    lake = Lake(LocalBackend(other))
    lake.dataset("a.b").write([{"id": 1}], "upsert")
    subscription = lake.dataset("a.b").subscribe("t")

    def take_over() -> None:
        clock.advance(minutes=5)
        lake.dataset("a.b").evolve(AddColumn("note", pa.string()))
        Worker(other, "fast").run_until_idle()

    target.meanwhile, target.refusal = lambda: elsewhere(take_over), refusal
    Worker(stalled, "slow").run_until_idle()
    status = lake.backend.subscription(subscription.id)
    assert (status.subscription.state, status.subscription.last_error) == ("live", "")
    assert status.in_step
    version = lake.dataset("a.b").details().version
    assert status.subscription.cursor_schema_id == version.schema_id
    assert lake.backend.verify_subscription(subscription.id).equal
    assert lake.backend.tasks() == []


@pytest.mark.parametrize("refusal", [None, NotAllowedError("The query fails.")], ids=["it works", "it fails"])
def test_a_late_run_changes_nothing(
    apps: tuple[Application, Application],
    clock: MovableClock,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Exception | None,
) -> None:
    stalled, other = apps
    lake = Lake(LocalBackend(other))
    lake.create_dataset("a.c", {"day": pa.date32(), "n": pa.int64()}, key=["day"], completion_unit="day")
    lake.create_job(
        "a.c", "SELECT $partition::DATE AS day, count(*) AS n FROM a.b", output_condition="day = $partition"
    )
    lake.dataset("a.b").write([{"id": 1}], "upsert", completes="2026-01-01")
    original = stalled.queries.query

    def slow_query(*arguments: Any) -> Any:
        monkeypatch.setattr(stalled.queries, "query", original)
        clock.advance(minutes=5)
        elsewhere(Worker(other, "fast").run_until_idle)
        if refusal:
            raise refusal
        return original(*arguments)

    monkeypatch.setattr(stalled.queries, "query", slow_query)
    Worker(stalled, "slow").run_until_idle()
    (run,) = lake.backend.runs(job="a.c")
    assert (run.state, run.error, run.rows_written) == ("succeeded", "", 1)
    assert [event.topic for event in lake.backend.events(dataset="a.c")].count("run.finished") == 1
    assert lake.dataset("a.c").details().version.sequence_number == 1
    assert [c.revision for c in lake.dataset("a.c").completions()] == [1]
    assert lake.backend.tasks() == []
