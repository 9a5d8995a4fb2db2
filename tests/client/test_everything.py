"""Every operation between any others, on datasets of every write mode at once, against one model in plain dicts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import cordillera
from cordillera.client.dataset import Dataset
from cordillera.errors import (
    CordilleraError,
    DuplicateKeyError,
    NotAllowedError,
    SnapshotNotFoundError,
    WriteConflictError,
)
from cordillera.spec.schema_evolution import AddColumn, DropColumn, MoveColumn, RenameColumn, WidenColumn
from tests.client.everything_model import AMOUNT, ID, PLACE, REVISION, Column, Model, State
from tests.examples import examples

MODES = ("merge-on-read", "copy-on-write", "auto")
KEYS = st.integers(0, 25)
ROWS = st.lists(
    st.tuples(KEYS, st.integers(1, 4), st.none() | st.integers(0, 9), st.sampled_from(["n", "s", None])),
    min_size=1,
    max_size=8,
    unique_by=lambda row: row[0],
)
TERMS = st.sampled_from([(), ("place",), ("truncate(10, id)",), ("place", "truncate(10, id)")])
COMPACTIONS = st.sampled_from(
    [
        {"strategy": "bin-pack"},
        {"strategy": "bin-pack", "rewrite_all": True},
        {"strategy": "sort"},
        {"strategy": "z-order", "columns": ("id", "revision")},
    ]
)
BRANCHES = st.sampled_from(["main", "main", "one", "two"])
numbers = count()
lakes: list[cordillera.Lake] = []


@pytest.fixture(scope="module", autouse=True)
def lake() -> Iterator[None]:
    """One lake for all examples; each makes a namespace of its own."""
    with tempfile.TemporaryDirectory(prefix="cordillera-test-") as folder, cordillera.create(folder) as made:
        lakes.append(made)
        yield
        lakes.clear()


@dataclass
class Moment:
    """What a snapshot holds, and under which columns it was written."""

    state: State
    columns: list[Column]


@dataclass
class Branch:
    """A branch, and what it is made from: the snapshot of main, by mode; then its own snapshots."""

    base: dict[str, int]
    own: list[tuple[dict[str, int], State, State]]


class EverythingMachine(RuleBasedStateMachine):
    """Does everything to a dataset of each mode."""

    sequenced = False
    format_version = 3

    def __init__(self) -> None:
        super().__init__()
        namespace = lakes[0].create_namespace(f"n{next(numbers)}").name
        self.model = Model(sequenced=self.sequenced)
        self.datasets: dict[str, Dataset] = {
            mode: lakes[0].create_dataset(
                f"{namespace}.{mode.replace('-', '_')}",
                self.model.batch([]).schema,
                key=["id"],
                sequence="revision" if self.sequenced else None,
                write_mode=mode,
                format_version=self.format_version,
            )
            for mode in MODES
        }
        self.history: dict[str, dict[int, Moment]] = {mode: {} for mode in MODES}
        self.expired: dict[str, set[int]] = {mode: set() for mode in MODES}
        self.branches: dict[str, Branch] = {}
        self.tags: dict[str, Moment] = {}

    # --- helpers -------------------------------------------------------------------------------------------------

    def heads(self) -> dict[str, int]:
        return {mode: dataset.details().version.sequence_number for mode, dataset in self.datasets.items()}

    def everywhere(
        self, work: Callable[[Dataset], Any], refused: type[CordilleraError] | None = None
    ) -> dict[str, Any]:
        """Do the same to all datasets; they answer the same."""
        results = {}
        for mode, dataset in self.datasets.items():
            with pytest.raises(refused) if refused else nullcontext():
                results[mode] = work(dataset)
        return results

    def remember(self) -> None:
        """Note what the snapshots hold that readers see by now."""
        for mode, sequence in self.heads().items():
            columns = list(self.model.columns)
            self.history[mode].setdefault(sequence, Moment(self.model.copy_of("main"), columns))

    def write(
        self,
        operation: str,
        batch: pa.Table,
        change: Callable[[State], type[CordilleraError] | None],
        branch: str = "main",
        meanwhile: Callable[[Dataset], object] | None = None,
        **options: Any,
    ) -> None:
        """Write to all datasets and to the model."""
        branch = branch if branch in self.model.branches else "main"
        before = self.model.copy_of(branch)
        refused = change(self.model.branches[branch])

        def work(dataset: Dataset) -> Any:
            rows = batch if meanwhile is None else overtaken(batch, lambda: meanwhile(dataset))
            return dataset.write(rows, operation, branch=branch, **options)

        self.done(branch, before, self.everywhere(work, refused))

    def done(self, branch: str, before: State, results: dict[str, Any]) -> None:
        counts = [(r.rows_inserted, r.rows_updated, r.rows_deleted, r.rows_late) for r in results.values()]
        assert len(set(counts)) <= 1
        if branch == "main":
            self.remember()
        elif any(result.snapshot_committed for result in results.values()):
            sequences = {mode: result.sequence_number for mode, result in results.items()}
            self.branches[branch].own.append((sequences, before, self.model.copy_of(branch)))

    def stored(self, dataset: Dataset, as_of: Any = None) -> dict[int, tuple[Any, ...]]:
        rows = dataset.scan(as_of=as_of).to_arrow()
        found = {row["id"]: tuple(row.values()) for row in rows.to_pylist()}
        assert len(found) == rows.num_rows, "a key is stored twice"
        return found

    # --- writes --------------------------------------------------------------------------------------------------

    @rule(rows=ROWS, branch=BRANCHES)
    def append(self, rows: list[Any], branch: str) -> None:
        full = self.model.full(rows)
        self.write("append", self.model.batch(full), lambda state: self.model.append(state, full), branch)

    @rule(rows=ROWS, branch=BRANCHES)
    def upsert(self, rows: list[Any], branch: str) -> None:
        full = self.model.full(rows)
        self.write("upsert", self.model.batch(full), lambda state: self.model.upsert(state, full), branch)

    @rule(rows=ROWS, branch=BRANCHES, what=st.sampled_from([AMOUNT, PLACE]))
    def partial_update(self, rows: list[Any], branch: str, what: int) -> None:
        given = {ID, REVISION, what}
        part = [{number: value for number, value in row.items() if number in given} for row in self.model.full(rows)]
        batch = self.model.batch(part, given)
        self.write("partial_update", batch, lambda state: self.model.partial_update(state, part), branch)

    @rule(rows=ROWS, branch=BRANCHES)
    def delete(self, rows: list[Any], branch: str) -> None:
        full = self.model.full(rows)
        batch = self.model.batch(full, {ID, REVISION})
        self.write("delete", batch, lambda state: self.model.delete(state, full), branch)

    @rule(low=KEYS, width=st.integers(0, 8), branch=BRANCHES)
    def delete_where(self, low: int, width: int, branch: str) -> None:
        branch = branch if branch in self.model.branches else "main"
        before = self.model.copy_of(branch)
        self.model.delete_where(self.model.branches[branch], low, low + width)
        work = lambda dataset: dataset.delete_where(f"id BETWEEN {low} AND {low + width}", branch=branch)  # noqa: E731
        self.done(branch, before, self.everywhere(work))

    @rule(rows=ROWS, branch=BRANCHES)
    def replace(self, rows: list[Any], branch: str) -> None:
        full = self.model.full(rows)
        self.write("replace", self.model.batch(full), lambda state: self.model.replace(state, full), branch)

    @rule(rows=ROWS, low=st.sampled_from([0, 10]), branch=BRANCHES)
    def replace_where(self, rows: list[Any], low: int, branch: str) -> None:
        full = [row for row in self.model.full(rows) if low <= row[ID] <= low + 9]
        change = lambda state: self.model.replace(state, full, low, low + 9)  # noqa: E731
        self.write("replace", self.model.batch(full), change, branch, where=f"id BETWEEN {low} AND {low + 9}")

    @rule(rows=ROWS, branch=BRANCHES)
    def replace_partitions(self, rows: list[Any], branch: str) -> None:
        full = self.model.full(rows)
        change = lambda state: self.model.replace_partitions(state, full)  # noqa: E731
        self.write("replace_partitions", self.model.batch(full), change, branch)

    @precondition(lambda self: not self.sequenced)
    @rule(rows=ROWS, branch=BRANCHES)
    def merge(self, rows: list[Any], branch: str) -> None:
        branch = branch if branch in self.model.branches else "main"
        full, before, place = self.model.full(rows), self.model.copy_of(branch), self.model.name(PLACE)
        batch = self.model.batch(full)
        self.model.merge(self.model.branches[branch], full)

        def work(dataset: Dataset) -> Any:
            merging = dataset.merge(batch, branch).when_matched(f"target.{place} = 's'").delete()
            return merging.when_matched().update([place]).when_not_matched().insert().execute()

        self.done(branch, before, self.everywhere(work))

    @rule(
        rows=ROWS,
        others=ROWS,
        outer=st.sampled_from(["append", "upsert", "partial_update", "replace", "replace_partitions"]),
        what=st.sampled_from(
            ["upsert", "delete", "compact", "expire", "rewrite", "partition", "rename", "add", "drop"]
        ),
    )
    def overtaken_write(self, rows: list[Any], others: list[Any], outer: str, what: str) -> None:
        """A writer has read the table, and somebody else commits before it does."""
        model, main = self.model, self.model.branches["main"]
        full, given = model.full(rows), None
        if outer == "partial_update":
            given = {ID, REVISION, PLACE}
            full = [{number: row[number] for number in given} for row in full]
        batch = model.batch(full, given)
        at_once = getattr(model, outer)(
            deepcopy(main), full
        )  # what a writer is refused at once does not come to a race
        meanwhile = self.somebody_writes(what, others) if what in ("upsert", "delete") else self.somebody_works(what)

        def change(state: State) -> type[CordilleraError] | None:
            if at_once is None and what == "partition" and outer == "replace_partitions":
                return WriteConflictError
            return at_once or getattr(model, outer)(state, full)

        self.write(outer, batch, change, meanwhile=meanwhile)

    def somebody_writes(self, what: str, rows: list[Any]) -> Callable[[Dataset], object]:
        full = self.model.full(rows)
        batch = self.model.batch(full, {ID, REVISION} if what == "delete" else None)
        getattr(self.model, what)(self.model.branches["main"], full)
        return lambda dataset: dataset.write(batch, what)

    def somebody_works(self, what: str) -> Callable[[Dataset], object]:
        model = self.model
        match what:
            case "compact":
                return lambda dataset: dataset.compact(rewrite_all=True)
            case "expire":
                return lambda dataset: self.expire_one(dataset, 1)
            case "rewrite":
                return Dataset.rewrite_manifests
            case "partition":
                model.terms = ("place",) if model.terms != ("place",) else ("truncate(10, id)",)
                return lambda dataset: dataset.partition_by(*model.written_terms())
            case "rename":
                old, new = model.name(AMOUNT), f"amount_{next(numbers)}"
                model.change(AMOUNT, name=new)
                return lambda dataset: dataset.evolve(RenameColumn(old, new))
            case "add":
                added, kind = f"late_{model.numbers}", pa.string() if model.numbers % 2 else pa.int32()
                default = None if model.numbers % 3 else "7" if model.numbers % 2 else 7
                model.add(added, kind, default)
                return lambda dataset: dataset.evolve(AddColumn(added, kind, default=default))
            case _:
                drops = [DropColumn(column.name) for column in model.columns if column.number > PLACE]
                model.columns = [column for column in model.columns if column.number <= PLACE]
                return lambda dataset: dataset.evolve(*drops) if drops else None

    # --- evolution -----------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from([(pa.int32(), None), (pa.int32(), 7), (pa.string(), "d"), (pa.string(), None)]))
    def add_column(self, kind: tuple[pa.DataType, Any]) -> None:
        if len(self.model.columns) < 7:
            name = f"extra_{self.model.numbers}"
            self.model.add(name, *kind)
            self.everywhere(lambda dataset: dataset.evolve(AddColumn(name, kind[0], default=kind[1])))

    @rule(data=st.data())
    def rename_column(self, data: st.DataObject) -> None:
        column = data.draw(st.sampled_from([one for one in self.model.columns if one.number not in (ID, REVISION)]))
        base, _, again = column.name.partition("__")
        new = base if again else f"{base}__again"
        if column.number == PLACE and "place" in self.model.terms:
            event("a partition's column is renamed")
        self.model.change(column.number, name=new)
        self.everywhere(lambda dataset: dataset.evolve(RenameColumn(column.name, new)))

    @rule(data=st.data())
    def widen_column(self, data: st.DataObject) -> None:
        column = data.draw(st.sampled_from(self.model.columns))
        if column.kind == pa.int32():
            self.model.change(column.number, kind=pa.int64())
            self.everywhere(lambda dataset: dataset.evolve(WidenColumn(column.name, pa.int64())))

    @rule(data=st.data())
    def drop_column(self, data: st.DataObject) -> None:
        extras = [column for column in self.model.columns if column.number > PLACE]
        if extras:
            column = data.draw(st.sampled_from(extras))
            self.model.columns = [one for one in self.model.columns if one != column]
            self.everywhere(lambda dataset: dataset.evolve(DropColumn(column.name)))

    @rule(data=st.data())
    def move_column(self, data: st.DataObject) -> None:
        column, after = data.draw(st.permutations(self.model.columns))[:2]
        others = [one for one in self.model.columns if one != column]
        place = others.index(after) + 1
        self.model.columns = [*others[:place], column, *others[place:]]
        self.everywhere(lambda dataset: dataset.evolve(MoveColumn(column.name, after.name)))

    @rule(terms=TERMS)
    def partition_by(self, terms: tuple[str, ...]) -> None:
        self.model.terms = terms
        self.everywhere(lambda dataset: dataset.partition_by(*self.model.written_terms()))
        found = {dataset.details().version.partitioning for dataset in self.datasets.values()}
        assert found == {tuple(self.model.written_terms())}

    @precondition(lambda self: self.format_version == 2)
    @rule()
    def upgrade(self) -> None:
        self.everywhere(lambda dataset: dataset.upgrade(3))
        self.remember()

    # --- maintenance ---------------------------------------------------------------------------------------------

    @rule(options=COMPACTIONS)
    def compact(self, options: dict[str, Any]) -> None:
        self.everywhere(lambda dataset: dataset.compact(**options))
        self.remember()

    @rule()
    def rewrite_manifests(self) -> None:
        self.everywhere(lambda dataset: dataset.rewrite_manifests())
        self.remember()

    @rule(keep_last=st.integers(1, 4))
    def expire(self, keep_last: int) -> None:
        self.everywhere(lambda dataset: self.expire_one(dataset, keep_last))

    def expire_one(self, dataset: Dataset, keep_last: int) -> None:
        found = dataset.expire_snapshots(older_than=timedelta(0), keep_last=keep_last)
        mode = next(mode for mode, one in self.datasets.items() if one is dataset)
        self.expired[mode] |= set(found.snapshots)

    # --- branches, tags, going back --------------------------------------------------------------------------------

    @rule(name=st.sampled_from(["one", "two"]))
    def create_branch(self, name: str) -> None:
        if name not in self.branches:
            self.everywhere(lambda dataset: dataset.create_branch(name))
            self.branches[name] = Branch(self.heads(), [])
            self.model.branches[name] = self.model.copy_of("main")

    @precondition(lambda self: self.branches)
    @rule(data=st.data())
    def drop_branch(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.branches)))
        del self.branches[name], self.model.branches[name]
        self.everywhere(lambda dataset: dataset.drop_ref(name))

    @precondition(lambda self: self.branches)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.branches)))
        branch, heads = self.branches[name], self.heads()
        if not branch.own:
            return
        moved = {mode for mode in MODES if heads[mode] != branch.base[mode]}
        if moved:
            for mode in moved:
                with pytest.raises(NotAllowedError):
                    self.datasets[mode].publish(name)
            return
        self.model.branches["main"] = self.model.copy_of(name)
        self.everywhere(lambda dataset: dataset.publish(name))
        self.remember()
        self.branches[name] = Branch(self.heads(), [])

    @precondition(lambda self: self.branches)
    @rule(data=st.data())
    def fast_forward(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.branches)))
        if not self.branches[name].own:
            self.everywhere(lambda dataset: dataset.fast_forward(name))
            self.branches[name] = Branch(self.heads(), [])
            self.model.branches[name] = self.model.copy_of("main")

    @precondition(lambda self: any(branch.own for branch in self.branches.values()))
    @rule(data=st.data())
    def cherry_pick(self, data: st.DataObject) -> None:
        """It may be refused, in one mode sooner than in another; what it does is what the snapshot did."""
        picks = [pick for branch in self.branches.values() for pick in branch.own]
        sequences, before, after = data.draw(st.sampled_from(picks))
        heads, picked = self.heads(), []
        for mode, dataset in self.datasets.items():
            try:
                picked += [mode] if dataset.cherry_pick(sequences[mode]).snapshot_committed else []
            except (NotAllowedError, DuplicateKeyError, SnapshotNotFoundError):
                event(f"{mode}: cherry-pick refused")
        main, expected = self.model.branches["main"], self.model.copy_of("main")
        for key in before.rows.keys() | after.rows.keys():
            if (was := before.rows.get(key)) != (now := after.rows.get(key)):
                if picked:
                    assert main.rows.get(key) == was
                expected.rows.pop(key, None)
                expected.rows |= {key: now} if now is not None else {}
        expected.buried = deepcopy(after.buried)
        for mode in picked:
            assert self.stored(self.datasets[mode]) == self.model.seen(expected.rows)
            event(f"{mode}: cherry-picked")
        if set(picked) == set(MODES):
            self.model.branches["main"] = expected
        else:
            for mode in picked:
                self.go_back(self.datasets[mode], heads[mode])
        self.remember()

    def go_back(self, dataset: Dataset, sequence: int) -> None:
        if sequence:
            dataset.rollback(sequence)
        else:
            dataset.delete_where("true")

    @rule(name=st.sampled_from(["first", "second"]))
    def tag(self, name: str) -> None:
        if name in self.tags:
            del self.tags[name]
            self.everywhere(lambda dataset: dataset.drop_ref(name))
        elif all(self.heads().values()):
            self.tags[name] = self.history[MODES[0]][self.heads()[MODES[0]]]
            self.everywhere(lambda dataset: dataset.create_tag(name))

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        places = [index for index, moments in enumerate(self.common()) if moments]
        if places:
            sequences, moment = self.common()[data.draw(st.sampled_from(places))] or ({}, None)
            assert moment is not None
            for mode, dataset in self.datasets.items():
                dataset.rollback(sequences[mode])
            self.model.branches["main"] = deepcopy(moment.state)
            self.remember()

    def common(self) -> list[tuple[dict[str, int], Moment] | None]:
        """Moments that every dataset still has, each with its snapshots."""
        found: list[tuple[dict[str, int], Moment] | None] = []
        for moments in zip(*(self.distinct(mode) for mode in MODES), strict=False):
            same = all(moment.state == moments[0][1].state for _, moment in moments)
            there = all(sequence not in self.expired[mode] for mode, (sequence, _) in zip(MODES, moments, strict=True))
            sequences = {mode: sequence for mode, (sequence, _) in zip(MODES, moments, strict=True)}
            found.append((sequences, moments[0][1]) if same and there and all(sequences.values()) else None)
        return found

    def distinct(self, mode: str) -> list[tuple[int, Moment]]:
        """The moments of a dataset, without those at which nothing changed."""
        moments: list[tuple[int, Moment]] = []
        for sequence, moment in self.history[mode].items():
            if not moments or moments[-1][1].state != moment.state:
                moments.append((sequence, moment))
        return moments

    # --- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def datasets_equal_the_model(self) -> None:
        expected = self.model.seen(self.model.branches["main"].rows)
        names = [column.name for column in self.model.columns]
        for dataset in self.datasets.values():
            assert dataset.schema.names == names
            assert self.stored(dataset) == expected

    @precondition(lambda self: self.branches or self.tags)
    @rule()
    def branches_and_tags_hold_what_they_should(self) -> None:
        for dataset in self.datasets.values():
            for name in self.branches:
                assert self.stored(dataset, name) == self.model.seen(self.model.branches[name].rows)
            for name, moment in self.tags.items():
                assert self.stored(dataset, name) == self.model.seen(moment.state.rows, moment.columns)

    @rule(data=st.data())
    def time_travel(self, data: st.DataObject) -> None:
        for mode, dataset in self.datasets.items():
            sequences = [sequence for sequence in self.history[mode] if sequence]
            if not sequences:
                continue
            sequence = data.draw(st.sampled_from(sequences))
            moment = self.history[mode][sequence]
            try:
                found = self.stored(dataset, sequence)
            except SnapshotNotFoundError:
                assert sequence in self.expired[mode]
                continue
            assert found == self.model.seen(moment.state.rows, moment.columns)

    @rule(data=st.data())
    def changes_are_the_difference(self, data: st.DataObject) -> None:
        for mode, dataset in self.datasets.items():
            there = sorted((self.history[mode].keys() | {0}) - self.expired[mode])
            after, upto = sorted(data.draw(st.tuples(st.sampled_from(there), st.sampled_from(there))))
            if not upto:
                continue
            before, now = self.history[mode].get(after, Moment(State(), [])), self.history[mode][upto]
            old = self.model.seen(before.state.rows if after else {}, now.columns)
            new = self.model.seen(now.state.rows, now.columns)
            changes = dataset.changes(after, upto).to_arrow().to_pylist()
            told = [(row["_change_type"], row["id"], tuple(row.values())[: len(now.columns)]) for row in changes]
            expected = [("insert", key, new[key]) for key in new.keys() - old.keys()]
            expected += [("delete", key, old[key]) for key in old.keys() - new.keys()]
            for key in (key for key in old.keys() & new.keys() if old[key] != new[key]):
                expected += [("update_before", key, old[key]), ("update_after", key, new[key])]
            assert sorted(told, key=repr) == sorted(expected, key=repr)


def overtaken(batch: pa.Table, meanwhile: Callable[[], object]) -> pa.RecordBatchReader:
    """Return rows that take so long to read that something else happens."""

    def batches() -> Iterator[pa.RecordBatch]:
        meanwhile()
        yield from batch.to_batches()

    return pa.RecordBatchReader.from_batches(batch.schema, batches())


def machine(name: str, examples: int, steps: int, **settings_of_dataset: Any) -> Any:
    case = type(name, (EverythingMachine,), settings_of_dataset).TestCase
    case.settings = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return case


EXAMPLES = examples(3)
LONG = examples(150)
TestEverything = machine("Everything", EXAMPLES, 15)
TestEverythingInOrder = machine("EverythingInOrder", EXAMPLES, 15, sequenced=True)
TestEverythingUpgraded = machine("EverythingUpgraded", EXAMPLES, 15, format_version=2)
TestEverythingLong = pytest.mark.long(machine("EverythingLong", LONG, 40))
TestEverythingInOrderLong = pytest.mark.long(machine("EverythingInOrderLong", LONG, 40, sequenced=True))
TestEverythingUpgradedLong = pytest.mark.long(machine("EverythingUpgradedLong", LONG, 40, format_version=2))
