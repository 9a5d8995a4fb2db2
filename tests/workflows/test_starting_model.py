"""Runs start once for each state of all inputs, whatever the order of completions, events, workers and deaths.

The model is the plainest there is: how often each partition of each input was declared complete. Whenever all is
settled, each partition of a job whose inputs are complete has been run for just that state last, and for no state
twice; under ``ignore``, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from cordillera.adapters.db import open_metadata_store
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.completion import Completion
from cordillera.spec.event import Circumstances, Topic
from cordillera.spec.job_trigger import JobTrigger, Restatements
from cordillera.spec.workflow import Job, Run, RunState
from cordillera.testing.metadata_samples import add_dataset, job
from cordillera.workflows.execution import RunService
from cordillera.workflows.handlers import on_partitions_completed
from tests.conftest import MovableClock

FIRST = date(2026, 1, 1)
DAYS = [str(FIRST + timedelta(days=number)) for number in range(2)]
BEFORE, MONTH = "2025-12-31", "2026-01"
LABELS = {"day": DAYS, "trail": [BEFORE, *DAYS], "monthly": [MONTH], "rates": ["A", "B"]}
PARTITIONS = [(name, label) for name, labels in LABELS.items() for label in labels]
_numbers = count()


class KilledError(Exception):
    """A worker has died within a transaction."""


class Starting(RuleBasedStateMachine):
    """Two jobs over four inputs; completions, events handled in any portions, workers that die."""

    store: MetadataStore

    def __init__(self) -> None:
        super().__init__()
        self.space, self.clock = f"s{next(_numbers)}", MovableClock()
        self.revisions: dict[tuple[str, str], int] = {}
        self.began: dict[tuple[int, str], Run] = {}
        names = {name: f"{self.space}.{name}" for name in LABELS}
        mappings = {names["trail"]: "trailing 2 days", names["monthly"]: "month of day", names["rates"]: "latest"}
        with self.store.write() as tx:
            self.versions = {name: add_dataset(tx, full)[1].id for name, full in names.items()}
            self.jobs = [self.make_job(tx, policy, names, mappings) for policy in Restatements]
        parts: Any = None  # a run is begun and ended here, not computed
        self.runs = RunService(self.store, parts, parts, parts, self.clock)

    def make_job(self, tx: Transaction, policy: Restatements, names: dict[str, str], mappings: dict[str, str]) -> Job:
        made = job(f"{self.space}.{policy}", inputs=tuple(names.values()), trigger=JobTrigger(mappings, (), policy))
        tx.jobs.insert(made)
        return made

    # --- what happens ------------------------------------------------------------------------------------------------

    @initialize(some=st.permutations(PARTITIONS), left=st.integers(0, 4), handled=st.integers(0, 9))
    def begin_with(self, some: list[tuple[str, str]], left: int, handled: int) -> None:
        """Declare most partitions complete, the last ones late; examples would seldom come so far by themselves."""
        for one in sorted(some[left:], key=lambda one: one[0] == "rates"):
            if one[0] == "rates" or handled == 0:
                self.handle_events(1000, dies=False)
            handled -= 1
            self.declare(one)

    @rule(one=st.sampled_from(PARTITIONS))
    def declare(self, one: tuple[str, str]) -> None:
        name, label = one
        self.revisions[one] = revision = self.revisions.get(one, 0) + 1
        with self.store.write() as tx:
            tx.completions.insert([Completion(self.versions[name], label, revision, revision, "x", self.clock.now())])
            self.append(tx, name, label)

    @rule(one=st.sampled_from(PARTITIONS))
    def repeat_an_event(self, one: tuple[str, str]) -> None:
        if one in self.revisions:
            with self.store.write() as tx:
                self.append(tx, *one)

    @rule(limit=st.integers(1, 3), dies=st.booleans())
    def handle_events(self, limit: int, dies: bool) -> None:
        with self.dying(dies) as tx:
            found = tx.events.unhandled(limit)
            on_partitions_completed(tx, found, self.clock)
            tx.events.mark_handled([event.number for event in found], self.clock.now())

    @rule(which=st.integers(0, 1), day=st.sampled_from(DAYS))
    def begin(self, which: int, day: str) -> None:
        """A worker begins a run; nobody says that it will end it."""
        begun = self.runs._begin(self.jobs[which].name, day)
        if begun is not None:
            self.began[which, day] = begun[1]

    @rule(which=st.integers(0, 1), day=st.sampled_from(DAYS))
    def end(self, which: int, day: str) -> None:
        if (begun := self.began.pop((which, day), None)) is not None:
            self.finish(begun)

    # --- what holds --------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Let everything settle, and compare."""
        self.handle_events(1000, dies=False)
        for made in self.jobs:
            for day in DAYS:
                while (begun := self.runs._begin(made.name, day)) is not None:
                    self.finish(begun[1])
                self.compare(made, day)

    def compare(self, made: Job, day: str) -> None:
        before = str(date.fromisoformat(day) - timedelta(days=1))
        needed = {
            f"{self.space}.day": ("day", day),
            f"{self.space}.trail": ("trail", day),
            f"{self.space}.trail {before}": ("trail", before),
            f"{self.space}.monthly {MONTH}": ("monthly", MONTH),
        }
        ended = [run for run in self.runs_of(made, day) if run.state is RunState.SUCCEEDED]
        rates = any(name == "rates" for name, _ in self.revisions)
        if not rates or any(one not in self.revisions for one in needed.values()):
            assert ended == []
            return
        states = [tuple(sorted(run.input_revisions.items())) for run in self.runs_of(made, day)]
        assert len(states) == len(set(states))
        key = f"{self.space}.day"
        assert all(run.input_snapshots[key] == run.input_revisions[key] for run in ended)
        current = {key: self.revisions[one] for key, one in needed.items()}
        assert all(run.state in (RunState.SUCCEEDED, RunState.SUPERSEDED) for run in self.runs_of(made, day))
        if made.trigger.restatements is Restatements.RERUN:
            assert ended[0].input_revisions == current
        else:
            assert len(ended) == 1

    # --- helpers -----------------------------------------------------------------------------------------------------

    def append(self, tx: Transaction, name: str, label: str) -> None:
        dataset, now = f"{self.space}.{name}", self.clock.now()
        told = Circumstances(Topic.PARTITION_COMPLETED, now, "x", "x", dataset, self.versions[name])
        tx.events.append(told, {"partition": label})

    @contextmanager
    def dying(self, dies: bool) -> Iterator[Transaction]:
        try:
            with self.store.write() as tx:
                yield tx
                if dies:
                    raise KilledError
        except KilledError:
            pass

    def runs_of(self, made: Job, day: str) -> list[Run]:
        with self.store.read() as tx:
            return tx.runs.page(job=made.name, partition=day, limit=1000)

    def finish(self, begun: Run) -> None:
        """End a run, unless another was begun in its place; the lease on the task would not let it."""
        with self.store.write() as tx:
            found = tx.runs.get(begun.id)
            if found is not None and found.state is RunState.RUNNING:
                tx.runs.update(replace(found, state=RunState.SUCCEEDED))


def test_every_state_of_the_inputs_is_run_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = open_metadata_store(f"sqlite:///{tmp_path_factory.mktemp('model') / 'lake.db'}")
    store.migrate()
    machine = type("StartingHere", (Starting,), {"store": store})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=15, deadline=None))
    store.close()
