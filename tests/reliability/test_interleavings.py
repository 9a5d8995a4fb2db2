"""Any interleaving of commits, deliveries, crashes and redeliveries leaves every target equal to the lake."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from cordillera.app import create_lake, open_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.errors import TargetUnreachableError
from cordillera.ports.synchronizer import Delivery, DeliveryResult
from cordillera.spec.schema_evolution import AddColumn, DropColumn, RenameColumn, WidenColumn
from cordillera.testing.synchronizer_memory import MemorySynchronizer
from cordillera.worker import Worker

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("amount", pa.int32()), pa.field("note", pa.string())])
KEYED, KEYLESS, FILTERED = "a.keyed", "a.keyless", "a.filtered"
ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(-3, 3)), st.sampled_from(["", "x", None])),
    max_size=5,
    unique_by=lambda row: row[0],
)


class Crash(BaseException):
    """The process ends here; nothing catches it."""


class FrailSynchronizer(MemorySynchronizer):
    """A target that is unreachable, or whose client dies, when told to."""

    trouble: str = ""

    def apply(self, delivery: Delivery) -> DeliveryResult:
        trouble, self.trouble = self.trouble, ""
        if trouble == "unreachable":
            raise TargetUnreachableError("The target does not answer.")
        if trouble == "crash before":
            raise Crash
        result = super().apply(delivery)
        if trouble == "crash after":
            raise Crash
        return result


class MovableClock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.moment += timedelta(milliseconds=1)
        return self.moment

    def new_id(self) -> UUID:
        return uuid4()


class Interleavings(RuleBasedStateMachine):
    """Commits, worker steps, crashes and restarts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="cordillera-test-")
        self.clock, self.target = MovableClock(), FrailSynchronizer()
        path = Path(self.folder.name) / "lake"
        self.app = create_lake(path, clock=self.clock)
        self.app.close()
        self.open()
        self.lake.create_namespace("a")
        for name in (KEYED, KEYLESS, FILTERED):
            self.lake.create_dataset(name, SCHEMA, key=() if name == KEYLESS else ("id",))
        self.lake.create_target("memory", "memory")
        for name in (KEYED, KEYLESS, FILTERED):
            self.lake.dataset(name).subscribe("memory", row_filter="amount > 0" if name == FILTERED else "")
        self.note, self.extra, self.wide = "note", 0, False

    def open(self) -> None:
        self.app = open_lake(Path(self.folder.name) / "lake", self.clock, self.synchronizer)
        self.lake = Lake(LocalBackend(self.app))
        self.worker = Worker(self.app, "worker")

    def synchronizer(self, kind: str, config: Mapping[str, str]) -> FrailSynchronizer:
        return self.target

    # --- what publishers do --------------------------------------------------------------------------------------

    def batch(self, rows: list[Any]) -> pa.Table:
        values = [{"id": i, "amount": amount, self.note: note} for i, amount, note in rows]
        return pa.Table.from_pylist(values, schema=self.lake.dataset(KEYED).schema)

    @rule(rows=ROWS)
    def upsert(self, rows: list[Any]) -> None:
        for name in (KEYED, FILTERED):
            self.lake.dataset(name).write(self.batch(rows), "upsert")

    @rule(rows=ROWS)
    def append_and_replace(self, rows: list[Any]) -> None:
        self.lake.dataset(KEYLESS).write(self.batch(rows), "append")
        self.lake.dataset(KEYED).write(self.batch(rows), "replace")

    @rule(ids=st.lists(st.integers(0, 9), max_size=4, unique=True))
    def delete(self, ids: list[int]) -> None:
        for name in (KEYED, FILTERED):
            self.lake.dataset(name).write(pa.table({"id": pa.array(ids, pa.int64())}), "delete")
        self.lake.dataset(KEYLESS).delete_where(f"id IN ({', '.join(map(str, ids or [-1]))})")

    @precondition(lambda self: self.extra < 3)
    @rule()
    def add_column(self) -> None:
        self.extra += 1
        for name in (KEYED, KEYLESS, FILTERED):
            default = 7 if self.extra == 2 else None
            self.lake.dataset(name).evolve(AddColumn(f"extra_{self.extra}", pa.int64(), default=default))

    @precondition(lambda self: self.extra == 3)
    @rule()
    def drop_column(self) -> None:
        self.extra = 4
        for name in (KEYED, KEYLESS, FILTERED):
            self.lake.dataset(name).evolve(DropColumn("extra_1"))

    @rule()
    def rename_column(self) -> None:
        new = "remark" if self.note == "note" else "note"
        for name in (KEYED, KEYLESS, FILTERED):
            self.lake.dataset(name).evolve(RenameColumn(self.note, new))
        self.note = new

    @precondition(lambda self: not self.wide)
    @rule()
    def widen_column(self) -> None:
        self.wide = True
        for name in (KEYED, KEYLESS, FILTERED):
            self.lake.dataset(name).evolve(WidenColumn("amount", pa.int64()))

    # --- what workers do, and what befalls them ------------------------------------------------------------------

    @rule(steps=st.integers(1, 4))
    def work(self, steps: int) -> None:
        for _ in range(steps):
            self.worker.step()

    @rule(trouble=st.sampled_from(["unreachable", "crash before", "crash after"]), steps=st.integers(1, 4))
    def work_with_trouble(self, trouble: str, steps: int) -> None:
        self.target.trouble = trouble
        try:
            for _ in range(steps):
                self.worker.step()
        except Crash:
            self.app.close()
            self.open()
        self.target.trouble = ""

    @rule(minutes=st.sampled_from([1, 20]))
    def time_passes(self, minutes: int) -> None:
        self.clock.moment += timedelta(minutes=minutes)

    @rule()
    def deliver_again(self) -> None:
        for status in self.lake.backend.subscriptions():
            self.app.deliveries.deliver(status.subscription.id)

    @rule()
    def pause_and_resume(self) -> None:
        status, *_ = self.lake.backend.subscriptions()
        self.lake.backend.pause_subscription(status.subscription.id)
        self.worker.step()
        self.lake.backend.resume_subscription(status.subscription.id)

    # --- what must hold ------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            for _ in range(20):
                self.clock.moment += timedelta(minutes=20)
                self.worker.run_until_idle()
            for status in self.lake.backend.subscriptions():
                found = status.subscription
                assert status.in_step, found
                verification = self.lake.backend.verify_subscription(found.id)
                assert verification.equal, verification
                version = self.lake.dataset(found.dataset).details().version
                cursor = self.target.read_cursor(found.id)
                assert cursor is not None
                assert (cursor.sequence_number, cursor.schema_id) == (version.sequence_number, version.schema_id)
        finally:
            self.app.close()
            self.folder.cleanup()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
