"""What a metadata store must promise to transactions that run side by side, as tests with real threads."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Barrier, Event, Lock
from typing import TypeVar
from uuid import UUID

import pytest

from cordillera.errors import AlreadyExistsError, InvalidInputError, NamespaceNotFoundError, NotEmptyError
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.metadata.contracts import ContractDocument
from cordillera.spec.catalog import DatasetVersion
from cordillera.spec.event import Task
from cordillera.spec.workflow import RunState
from cordillera.testing.metadata_samples import (
    NOW,
    PRINCIPAL,
    append_event,
    dataset,
    enqueue,
    job,
    later,
    manifest,
    namespace,
    run,
    snapshot,
    stored_dataset,
    target,
)

T = TypeVar("T")


class RacesSuite:
    """Transactions, alone and side by side."""

    # --- one transaction --------------------------------------------------------------------------------------------

    def test_an_exception_rolls_everything_back(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)

        def write_and_fail() -> None:
            with store.write() as tx:
                tx.namespaces.insert(namespace("other"))
                tx.snapshots.insert(snapshot(version.id, 1), manifest())
                after = replace(version, metadata_location="1.json")
                assert tx.dataset_versions.swap(after, [], expected_location=version.metadata_location)
                append_event(tx, version.id)
                enqueue(tx)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            write_and_fail()
        with store.read() as tx:
            assert tx.namespaces.get("other") is None
            assert tx.dataset_versions.get(version.id) == version
            assert tx.snapshots.page(version.id, None, 9) == []
            assert tx.snapshots.manifest(version.id, 1) is None
            assert tx.events.page(limit=9) == []
            assert tx.tasks.page(limit=9) == []

    def test_transactions_written_together_are_each_whole(self, store: MetadataStore) -> None:
        def write(number: int) -> None:
            with suppress(ZeroDivisionError), store.write_together() as tx:
                tx.namespaces.insert(namespace(f"a{number}"))
                tx.namespaces.insert(namespace(f"b{number}"))
                if number % 3 == 0:
                    raise ZeroDivisionError

        _at_once([partial(write, number) for number in range(9)])
        with store.read() as tx:
            found = {space.name for space in tx.namespaces.page("", 99)}
        assert found == {f"{letter}{number}" for letter in "ab" for number in range(9) if number % 3}

    def test_a_refused_row_leaves_the_transaction_usable(self, store: MetadataStore) -> None:
        with store.write() as tx:
            tx.namespaces.insert(namespace("a"))
            with pytest.raises(AlreadyExistsError):
                tx.namespaces.insert(namespace("a"))
            tx.namespaces.insert(namespace("b"))
        with store.read() as tx:
            assert [space.name for space in tx.namespaces.page("", 9)] == ["a", "b"]

    @pytest.mark.parametrize("once", [False, True])
    def test_writing_in_a_transaction_for_reading_is_refused(self, store: MetadataStore, once: bool) -> None:
        _, version = stored_dataset(store)
        writes: list[Callable[[], object]] = []
        with store.read_once() if once else store.read() as tx:
            writes += [
                lambda: tx.namespaces.insert(namespace("b")),
                lambda: tx.namespaces.delete("sales"),
                lambda: tx.datasets.update(dataset()),
                lambda: tx.datasets.purge(version.dataset_id),
                lambda: tx.dataset_versions.swap(version, None, expected_location=version.metadata_location),
                lambda: tx.targets.insert(target()),
                lambda: tx.search.remove(version.dataset_id),
                lambda: tx.jobs.delete("none"),
                lambda: append_event(tx, version.id),
                lambda: tx.events.unhandled(1),
                lambda: enqueue(tx),
                lambda: tx.tasks.lease("me", now=NOW, until=later(1), kinds=["deliver"]),
                lambda: tx.tasks.holds(version.id, 1, now=NOW),
            ]
            for write in writes:
                with pytest.raises(InvalidInputError, match="reading"):
                    write()
            assert tx.dataset_versions.get(version.id) == version

    def test_a_reader_sees_one_state_while_others_write(self, store: MetadataStore) -> None:
        stored_dataset(store)
        with store.read() as reading:
            assert reading.datasets.count() == 1
            with store.write() as tx:
                tx.namespaces.insert(namespace("other"))
                tx.datasets.insert(dataset("other.new"))
                assert reading.datasets.get("other", "new") is None
            assert reading.datasets.get("other", "new") is None
            assert reading.datasets.count() == 1
            assert reading.namespaces.get("other") is None
        with store.read() as reading:
            assert reading.datasets.count() == 2

    def test_readers_never_see_half_a_transaction(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        stop = Event()

        def read_until_stopped() -> int:
            reads = 0
            while not stop.is_set():
                with store.read() as tx:
                    current = tx.dataset_versions.get(version.id)
                    newest = tx.snapshots.page(version.id, None, 1)
                assert current is not None
                assert current.sequence_number == (newest[0].sequence_number if newest else 0)
                reads += 1
            return reads

        with ThreadPoolExecutor(2) as threads:
            readers = [threads.submit(read_until_stopped) for _ in range(2)]
            try:
                state = version
                for _ in range(30):
                    state = _advance(store, state)
            finally:
                stop.set()
            assert all(reader.result() > 0 for reader in readers)

    # --- races ------------------------------------------------------------------------------------------------------

    def test_of_two_swaps_one_wins(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        for number in range(10):

            def swap(writer: int, number: int = number) -> bool:
                after = replace(version, metadata_location=f"{number + 1}", rows=writer)
                expected = str(number) if number else version.metadata_location
                with store.write() as tx:
                    return tx.dataset_versions.swap(after, None, expected_location=expected)

            won = _at_once([lambda: swap(1), lambda: swap(2)])
            assert sorted(won) == [False, True]
            with store.read() as tx:
                stored = tx.dataset_versions.get(version.id)
            assert stored is not None
            assert stored.rows == won.index(True) + 1

    def test_a_swap_that_waits_for_a_contract_to_be_put_in_force_fails(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)

        def swap() -> bool:
            after = replace(version, metadata_location="1.json")
            with store.write() as tx:
                return tx.dataset_versions.swap(after, None, expected_location=version.metadata_location)

        with ThreadPoolExecutor(1) as threads:
            with store.write() as tx:
                tx.contracts.insert(ContractDocument(version.id, 1, "text", PRINCIPAL, NOW))
                swapped = threads.submit(swap)
                with pytest.raises(FutureTimeoutError):
                    swapped.result(timeout=0.1)
            assert not swapped.result(timeout=60), "what it commits was not held to the contract"
        with store.read() as reading:
            assert reading.dataset_versions.get(version.id) == replace(version, contract_revision=1)

    def test_of_many_writers_of_a_name_one_wins(self, store: MetadataStore) -> None:
        with store.write() as tx:
            tx.namespaces.insert(namespace())

        def insert() -> bool:
            try:
                with store.write() as tx:
                    tx.datasets.insert(dataset())
            except AlreadyExistsError:
                return False
            return True

        assert sum(_at_once([insert] * 8)) == 1
        with store.read() as tx:
            assert tx.datasets.count() == 1

    def test_nothing_is_put_into_a_namespace_that_is_going(self, store: MetadataStore) -> None:
        for number in range(8):
            space = namespace(f"n{number}")
            with store.write() as tx:
                tx.namespaces.insert(space)

            def insert(name: str = space.name) -> str:
                try:
                    with store.write() as tx:
                        tx.datasets.insert(dataset(f"{name}.orders"))
                except NamespaceNotFoundError:
                    return "refused"
                return "inserted"

            def delete(name: str = space.name) -> str:
                try:
                    with store.write() as tx:
                        tx.namespaces.delete(name)
                except NotEmptyError:
                    return "refused"
                return "deleted"

            outcome = _at_once([insert, delete])
            assert outcome in (["inserted", "refused"], ["refused", "deleted"])

    def test_of_many_who_queue_a_task_one_does(self, store: MetadataStore) -> None:
        def queue() -> bool:
            with store.write() as tx:
                return enqueue(tx)

        assert sum(_at_once([queue] * 8)) == 1

    def test_workers_share_tasks_without_overlap(self, store: MetadataStore) -> None:
        tasks = 200
        with store.write() as tx:
            for number in range(tasks):
                assert enqueue(tx, ("deliver", "run")[number % 2], f"k{number}")

        def work() -> list[UUID]:
            done: list[UUID] = []
            while task := _lease(store):
                with store.write() as tx:
                    assert tx.tasks.finish(task.id, task.fencing_token, now=NOW)
                done.append(task.id)
            return done

        done = [task_id for worker in _at_once([work] * 8) for task_id in worker]
        assert len(done) == len(set(done)) == tasks
        with store.read() as tx:
            assert tx.tasks.counts() == {}

    def test_a_lease_that_has_passed_is_taken_over_once(self, store: MetadataStore) -> None:
        with store.write() as tx:
            for number in range(5):
                enqueue(tx, key=f"k{number}")
        assert all(_lease(store, 0) for _ in range(5))
        taken = _at_once([lambda: _lease(store, 100)] * 8)
        tokens = Counter((task.id, task.fencing_token) for task in taken if task)
        assert len(tokens) == 5
        assert set(tokens.values()) == {1}
        assert {token for _, token in tokens} == {2}

    def test_of_one_kind_and_key_one_runs_at_a_time_whoever_asks(self, store: MetadataStore) -> None:
        running, busiest, lock = 0, 0, Lock()

        def work() -> None:
            nonlocal running, busiest
            for _ in range(10):
                with store.write() as tx:
                    enqueue(tx)
                if task := _lease(store):
                    with lock:
                        running += 1
                        busiest = max(busiest, running)
                    with lock:
                        running -= 1
                    with store.write() as tx:
                        assert tx.tasks.finish(task.id, task.fencing_token, now=NOW)

        _at_once([work] * 4)
        assert busiest == 1

    def test_a_task_is_not_taken_before_what_it_is_about_is_there(self, store: MetadataStore) -> None:
        with store.write() as tx:
            enqueue(tx)
        with ThreadPoolExecutor(1) as threads:
            with store.write() as tx:
                tx.namespaces.insert(namespace())
                assert not enqueue(tx)
                early: Future[Task | None] = threads.submit(_lease, store)
                with suppress(FutureTimeoutError):  # a store may also make it wait
                    assert early.result(timeout=0.5) is None
            task = early.result(timeout=60) or _lease(store)
        assert task is not None
        with store.read() as tx:
            assert tx.namespaces.get("sales") is not None

    def test_events_of_a_dataset_version_are_handled_in_order(self, store: MetadataStore) -> None:
        versions = [stored_dataset(store, f"sales.d{number}")[1].id for number in range(3)]
        for _ in range(20):
            with store.write() as tx:
                for version_id in [*versions, None]:
                    append_event(tx, version_id)
        handled: dict[UUID | None, list[int]] = {version_id: [] for version_id in [*versions, None]}
        lock = Lock()

        def consume() -> int:
            number, idle = 0, 0
            while idle < 3:
                with store.write() as tx:
                    events = tx.events.unhandled(5)
                    with lock:  # before the transaction ends, so that nobody else can have come in between
                        for event in events:
                            handled[event.dataset_version_id].append(event.number)
                    tx.events.mark_handled([event.number for event in events], NOW)
                number += len(events)
                idle = 0 if events else idle + 1
            return number

        assert sum(_at_once([consume] * 2)) == 80
        for version_id in versions:
            assert handled[version_id] == sorted(handled[version_id])
            assert len(handled[version_id]) == 20
        assert len(set(handled[None])) == 20
        with store.read() as tx:
            assert tx.events.unhandled_count() == 0

    def test_events_are_numbered_in_the_order_of_commits(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)

        def append(writer: int) -> None:
            for _ in range(10):
                with store.write() as tx:
                    seen = tx.events.page(limit=1)
                    number = append_event(tx, version.id, writer=writer)
                    newest = tx.events.page(limit=1)
                    assert newest[0].number == number  # nobody who began later has committed
                    assert not seen or seen[0].number < number

        _at_once([lambda: append(1), lambda: append(2), lambda: append(3)])
        with store.read() as tx:
            assert len(tx.events.page(limit=99)) == 30

    def test_runs_end_counted_whoever_ends_them(self, store: MetadataStore) -> None:
        made = job()
        runs = [run(made, revision=number) for number in range(40)]
        with store.write() as tx:
            tx.jobs.insert(made)
            for one in runs:
                tx.runs.insert(one)

        def end(mine: slice) -> None:
            for one in runs[mine]:
                with store.write() as tx:
                    tx.runs.update(replace(one, state=RunState.SUCCEEDED))

        _at_once([lambda: end(slice(0, 20)), lambda: end(slice(20, 40)), lambda: end(slice(10, 30))])
        with store.read() as tx:
            assert tx.runs.counts() == {(made.name, RunState.SUCCEEDED): 40}

    def test_a_sequence_number_is_given_once(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)

        def commit() -> int:
            lost = 0
            for _ in range(10):
                while not try_to_advance(store, version.id):
                    lost += 1
            return lost

        _at_once([commit] * 4)
        with store.read() as tx:
            state = tx.dataset_versions.get(version.id)
            assert state is not None
            assert (state.sequence_number, state.rows) == (40, 40)
            numbers = [one.sequence_number for one in tx.snapshots.page(version.id, None, 99)]
        assert numbers == list(range(40, 0, -1))


def try_to_advance(store: MetadataStore, version_id: UUID) -> bool:
    """Read a dataset version, then commit its next snapshot, like any writer; False if another was faster."""
    with store.read() as tx:
        before = tx.dataset_versions.get(version_id)
    assert before is not None
    return _commit(store, before) is not None


def _advance(store: MetadataStore, before: DatasetVersion) -> DatasetVersion:
    after = _commit(store, before)
    assert after is not None, "nobody else writes"
    return after


def _commit(store: MetadataStore, before: DatasetVersion) -> DatasetVersion | None:
    number = before.sequence_number + 1
    after = replace(before, metadata_location=f"{number}.json", sequence_number=number, rows=before.rows + 1)
    with store.write() as tx:
        if not tx.dataset_versions.swap(after, None, expected_location=before.metadata_location):
            return None
        tx.snapshots.insert(snapshot(before.id, number), manifest())
        append_event(tx, before.id, sequence_number=number)
    return after


def _lease(store: MetadataStore, seconds: float = 0) -> Task | None:
    now = later(seconds)
    with store.write() as tx:
        return tx.tasks.lease("me", now=now, until=now + timedelta(seconds=60), kinds=["deliver", "run"])


def _at_once(actions: list[Callable[[], T]]) -> list[T]:
    """Run actions in threads that start together, and return what they return."""
    barrier = Barrier(len(actions), timeout=60)

    def start(action: Callable[[], T]) -> T:
        barrier.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as threads:
        return list(threads.map(start, actions))
