"""Any interleaving of commits, deliveries, crashes and redeliveries leaves every target equal to the lake."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import Context
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch
from uuid import UUID, uuid4

import duckdb
import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.app import Application, create_lake, open_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.errors import TargetUnreachableError
from cordillera.ports.metadata import Transaction
from cordillera.ports.synchronizer import Delivery, DeliveryResult, Synchronizer
from cordillera.spec.schema_evolution import AddColumn, DropColumn, RenameColumn, WidenColumn
from cordillera.testing.synchronizer_memory import MemorySynchronizer
from cordillera.worker import Worker
from tests.examples import examples

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("amount", pa.int32()), pa.field("note", pa.string())])
KEYED, KEYLESS, FILTERED = "a.keyed", "a.keyless", "a.filtered"
ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(-3, 3)), st.sampled_from(["", "x", None])),
    max_size=5,
    unique_by=lambda row: row[0],
)


class Crash(BaseException):
    """The process ends here; nothing catches it."""


class Trouble:
    """What is going to happen around the next delivery, to whatever target."""

    def __init__(self) -> None:
        self.kind = ""
        self.meanwhile: Callable[[], object] = lambda: None

    def take(self) -> str:
        kind, self.kind = self.kind, ""
        return kind


class FrailSynchronizer:
    """A target that is unreachable, whose client dies, or whose client stands still past its lease, when told to."""

    def __init__(self, target: Synchronizer, trouble: Trouble) -> None:
        self._target, self._trouble = target, trouble

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def apply(self, delivery: Delivery) -> DeliveryResult:
        trouble = self._trouble.take()
        if trouble == "unreachable":
            raise TargetUnreachableError("The target does not answer.")
        if trouble == "crash before":
            raise Crash
        if trouble == "stall":
            Context().run(self._trouble.meanwhile)  # outside the lease that this delivery is made under
        result = self._target.apply(delivery)
        if trouble == "crash after":
            raise Crash
        return result


def crash_at_transaction(app: Application, number: int, *, committed: bool) -> None:
    """Let the process end at the n-th writing transaction from now, before or behind its commit."""
    left, process = [number], threading.get_ident()

    def frail(original: Callable[[], AbstractContextManager[Transaction]]) -> Any:
        @contextmanager
        def transaction() -> Iterator[Transaction]:
            if threading.get_ident() != process:  # a heartbeat, whose time nobody knows
                with original() as tx:
                    yield tx
                return
            left[0] -= 1
            with original() as tx:
                yield tx
                if not left[0] and not committed:
                    raise Crash
            if not left[0]:
                raise Crash

        return transaction

    app.store.write, app.store.write_together = frail(app.store.write), frail(app.store.write_together)


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
        self.clock, self.memory, self.trouble = MovableClock(), MemorySynchronizer(), Trouble()
        self.trouble.meanwhile = self.stand_still
        path = Path(self.folder.name) / "lake"
        self.file = str(Path(self.folder.name) / "file.duckdb")
        self.app = create_lake(path, clock=self.clock)
        self.app.close()
        self.open()
        self.lake.create_namespace("a")
        for name in (KEYED, KEYLESS, FILTERED):
            self.lake.create_dataset(name, SCHEMA, key=() if name == KEYLESS else ("id",))
        self.lake.create_target("memory", "memory")
        self.lake.create_target("file", "duckdb", path=self.file)
        for name in (KEYED, KEYLESS, FILTERED):
            for target in ("memory", "file"):
                self.lake.dataset(name).subscribe(target, row_filter="amount > 0" if name == FILTERED else "")
        self.note, self.extra, self.wide, self.writes = "note", 0, False, 0

    def open(self) -> None:
        self.app = open_lake(Path(self.folder.name) / "lake", self.clock, self.synchronizer)
        self.lake = Lake(LocalBackend(self.app))
        self.worker = Worker(self.app, "worker")

    def synchronizer(self, kind: str, config: Mapping[str, str]) -> Synchronizer:
        target = self.memory if kind == "memory" else build_synchronizer(kind, config)
        return cast(Synchronizer, FrailSynchronizer(target, self.trouble))

    def reopen(self) -> None:
        self.app.close()
        self.trouble.kind = ""
        self.open()

    def stand_still(self) -> None:
        """What happens while a worker stands still: its lease ends, and another does its work, and more."""
        self.clock.moment += timedelta(minutes=20)
        Worker(self.app, "another").run_until_idle()

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

    def do(self, steps: int, together: bool) -> None:
        """Take steps of a worker: of one task each, or of all that are due."""
        with patch("cordillera.worker._TASKS_FOR_SECONDS", 60.0 if together else 0.0):
            for _ in range(steps):
                self.worker.step()

    # --- what workers do, and what befalls them ------------------------------------------------------------------

    @rule(steps=st.integers(1, 4), together=st.booleans())
    def work(self, steps: int, together: bool) -> None:
        self.do(steps, together)

    @rule(
        trouble=st.sampled_from(["unreachable", "crash before", "crash after", "stall"]),
        steps=st.integers(1, 4),
        together=st.booleans(),
    )
    def work_with_trouble(self, trouble: str, steps: int, together: bool) -> None:
        self.trouble.kind = trouble
        try:
            self.do(steps, together)
        except Crash:
            self.reopen()
        self.trouble.kind = ""

    @rule(number=st.integers(1, 5), committed=st.booleans())
    def work_until_a_crash(self, number: int, committed: bool) -> None:
        crash_at_transaction(self.app, number, committed=committed)
        with suppress(Crash):
            self.worker.run_until_idle()
        self.reopen()

    @rule(rows=ROWS, operation=st.sampled_from(["upsert", "replace"]), committed=st.booleans())
    def write_with_a_crash(self, rows: list[Any], operation: str, committed: bool) -> None:
        self.writes += 1
        write = {"operation": operation, "idempotency_key": f"write {self.writes}"}
        crash_at_transaction(self.app, 1, committed=committed)
        with suppress(Crash):
            self.lake.dataset(KEYED).write(self.batch(rows), **write)
        self.reopen()
        self.lake.dataset(KEYED).write(self.batch(rows), **write)
        if operation == "replace":
            assert self.lake.dataset(KEYED).details().version.rows == len(rows)

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
        self.do(1, together=False)
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
                cursor = (found.cursor_sequence, found.cursor_schema_id)
                assert cursor == (version.sequence_number, version.schema_id)
            self.look_into_the_file()
        finally:
            self.app.close()
            self.folder.cleanup()

    def look_into_the_file(self) -> None:
        """Compare by other means than Cordillera's own."""
        with duckdb.connect(self.file, read_only=True) as file:
            for name, where in ((KEYED, "true"), (FILTERED, "amount > 0"), (KEYLESS, "true")):
                names = ", ".join(self.lake.dataset(name).schema.names)
                rows = file.execute(f"SELECT {names} FROM {name.removeprefix('a.')} ORDER BY ALL").fetchall()
                expected = self.lake.sql(f"SELECT {names} FROM {name} WHERE {where} ORDER BY ALL").read_all()
                assert rows == [tuple(row.values()) for row in expected.to_pylist()]


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=examples(12), stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
