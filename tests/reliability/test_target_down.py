"""A target that is down: whoever asks is told, deliveries are tried again ever later, and catch up once it is back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, pairwise
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from psycopg import conninfo

from cordillera.client import Lake
from cordillera.errors import TargetUnreachableError
from cordillera.operations.doctor import Verdict
from cordillera.spec.event import Task
from tests.conftest import MovableClock
from tests.servers import start_postgres

HOUR, LONGEST_PAUSE = 3600, 600


class RestartableServer:
    """A PostgreSQL server that can be stopped and started; its address stays."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._running = folder, ExitStack()
        self.dsn = f"host={folder / 's'} user=postgres dbname=postgres connect_timeout=2"

    def start(self) -> None:
        dsn = self._running.enter_context(start_postgres(self._folder / "server"))
        link = self._folder / "s"
        link.unlink(missing_ok=True)
        link.symlink_to(conninfo.conninfo_to_dict(dsn)["host"])

    def stop(self) -> None:
        self._running.close()


@pytest.fixture
def server() -> Iterator[RestartableServer]:
    with tempfile.TemporaryDirectory(prefix="cordillera-pg-down-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        server = RestartableServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def only_task(lake: Lake) -> Task:
    (task,) = lake.backend.tasks()
    return task


def test_a_target_that_is_down(timed_lake: Lake, clock: MovableClock, server: RestartableServer) -> None:
    lake = timed_lake
    lake.create_namespace("a")
    orders = lake.create_dataset("a.orders", {"id": pa.int64(), "amount": pa.int64()}, key=["id"])
    lake.create_target("warehouse", "postgres", dsn=server.dsn)
    orders.write(pa.table({"id": range(100), "amount": [1] * 100}), "append")
    subscription = orders.subscribe("warehouse")
    lake.run_pending()

    server.stop()
    with pytest.raises(TargetUnreachableError) as caught:
        lake.create_target("another", "postgres", dsn=server.dsn)
    assert "postgres" in caught.value.message
    assert caught.value.hint.endswith(".")
    assert (caught.value.status, caught.value.exit_code) == (503, 75)
    assert [target.name for target in lake.backend.targets()] == ["warehouse"]
    for ask in (lake.backend.check_target, lambda name: lake.backend.verify_subscription(subscription.id)):
        with pytest.raises(TargetUnreachableError):
            ask("warehouse")

    orders.write(pa.table({"id": range(50, 150), "amount": [7] * 100}), "upsert")
    orders.write(pa.table({"id": range(10)}), "delete")
    pauses: list[float] = []
    for attempt in count(1):
        lake.run_pending()
        task = only_task(lake)
        assert (task.kind, task.state, task.attempts) == ("deliver", "queued", attempt)
        assert task.last_error.startswith("TargetUnreachableError")
        pauses.append((task.due_at - clock.moment).total_seconds())
        clock.moment = task.due_at
        if sum(pauses) > HOUR:
            break
    assert all(later > 1.5 * earlier for earlier, later in pairwise(pauses) if later < LONGEST_PAUSE - 1), pauses
    assert max(pauses) <= LONGEST_PAUSE
    assert len(pauses) < 20, "a target that is down is asked again and again"
    status = lake.backend.subscription(subscription.id)
    assert (status.subscription.state, status.snapshots_behind) == ("live", 2)
    assert "cannot be reached" in status.subscription.last_error
    findings = {finding.check: finding for finding in lake.backend.examine()}
    assert findings["targets"].verdict is Verdict.ERROR
    assert "warehouse" in findings["targets"].message

    server.start()
    clock.advance(minutes=10)
    lake.run_pending()
    status = lake.backend.subscription(subscription.id)
    assert status.in_step
    assert status.subscription.last_error == ""
    assert lake.backend.verify_subscription(subscription.id).equal
    assert lake.backend.tasks() == []
    with psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT count(*), sum(amount) FROM orders").fetchone() == (140, 40 + 700)


def test_a_target_may_be_down_when_it_is_subscribed(
    timed_lake: Lake, clock: MovableClock, server: RestartableServer
) -> None:
    lake = timed_lake
    lake.create_namespace("a")
    orders = lake.create_dataset("a.orders", {"id": pa.int64()}, key=["id"])
    lake.create_target("warehouse", "postgres", dsn=server.dsn)
    orders.write(pa.table({"id": range(10)}), "append")
    server.stop()
    subscription = orders.subscribe("warehouse")
    lake.run_pending()
    assert "TargetUnreachableError" in only_task(lake).last_error
    assert lake.backend.subscription(subscription.id).subscription.state == "provisioning"
    server.start()
    clock.advance(minutes=1)
    lake.run_pending()
    assert lake.backend.subscription(subscription.id).subscription.state == "live"
    assert lake.backend.verify_subscription(subscription.id).equal
