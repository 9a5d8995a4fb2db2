"""Positions of events become visible in their order, whatever transactions do: who follows them misses none."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from cordillera.adapters.db import open_metadata_store
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.event import Event
from cordillera.spec.event_filter import EventFilter
from cordillera.testing.metadata_samples import NOW, append_event, stored_dataset

EVERYTHING = EventFilter()


@pytest.fixture
def store(url: str) -> Iterator[MetadataStore]:
    made = open_metadata_store(url)
    yield made
    made.close()


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[MetadataStore]:
    made = open_metadata_store(postgres_url)
    yield made
    made.close()


def follow(store: MetadataStore, after: int) -> list[Event]:
    with store.read() as tx:
        return tx.events.follow(EVERYTHING, after, tx.events.last_position(), 1000)


def handle(store: MetadataStore) -> int:
    with store.write() as tx:
        found = tx.events.unhandled(100)
        tx.events.mark_handled([event.number for event in found], NOW)
    return len(found)


def test_events_are_followed_once_they_are_handled(store: MetadataStore) -> None:
    with store.write() as tx:
        numbers = [append_event(tx) for _ in range(3)]
    assert follow(store, 0) == []
    assert handle(store) == 3
    assert [(event.number, event.position) for event in follow(store, 0)] == list(zip(numbers, (1, 2, 3), strict=True))
    assert [event.position for event in follow(store, 2)] == [3]
    with store.write() as tx:
        tx.events.mark_handled(numbers, NOW)
        append_event(tx)
    assert handle(store) == 1
    assert [event.position for event in follow(store, 2)] == [3, 4]


def test_an_event_that_is_committed_late_is_not_missed(postgres: MetadataStore) -> None:
    """It has the lower number and comes second: who went by numbers would have passed it over."""
    with postgres.write() as late:
        first = append_event(late)
        with ThreadPoolExecutor(1) as other:
            second = other.submit(_commit, postgres).result()
            assert first < second
            assert other.submit(handle, postgres).result() == 1
            (seen,) = other.submit(follow, postgres, 0).result()
            assert seen.number == second
            assert seen.position is not None
    assert handle(postgres) == 1
    assert [event.number for event in follow(postgres, seen.position)] == [first]


def _commit(store: MetadataStore) -> int:
    with store.write() as tx:
        return append_event(tx)


def test_whoever_gives_positions_at_the_same_time_waits(postgres: MetadataStore) -> None:
    one, two = _commit(postgres), _commit(postgres)
    with ThreadPoolExecutor(1) as other:
        with postgres.write() as tx:
            tx.events.mark_handled([one], NOW)
            waiting = other.submit(_mark, postgres, two)
            assert not threading.Event().wait(0.2)
            assert not waiting.done()
        waiting.result()
    assert [event.number for event in follow(postgres, 0)] == [one, two]


def _mark(store: MetadataStore, number: int) -> None:
    with store.write() as tx:
        tx.events.mark_handled([number], NOW)


class Bustle:
    """Writers whose transactions commit in any order, several that handle, and one that follows."""

    def __init__(self, store: MetadataStore) -> None:
        self.store, self.done, self.lock = store, threading.Event(), threading.Lock()
        self.versions = [stored_dataset(store, f"sales.n{number}")[1].id for number in range(3)]
        self.written: dict[UUID, list[int]] = defaultdict(list)
        self.seen: list[Event] = []
        self.handlers = [threading.Thread(target=self.keep_handling) for _ in range(2)]

    def write(self, seed: int) -> None:
        luck = random.Random(seed)
        for _ in range(20):
            version = luck.choice(self.versions)
            with self.store.write() as tx:
                if luck.random() < 0.5:
                    append_event(tx)  # takes a number early, and locks nothing
                threading.Event().wait(luck.random() / 200)
                number = append_event(tx, version)
                with self.lock:  # until it ends, the transaction has the version: this is the order of commits
                    self.written[version].append(number)

    def keep_handling(self) -> None:
        while handle(self.store) or not self.done.is_set():
            pass

    def keep_following(self) -> None:
        after = 0
        while True:
            ended = not any(one.is_alive() for one in self.handlers)
            found = follow(self.store, after)
            self.seen.extend(found)
            after = (found[-1].position or 0) if found else after
            if ended and not found:
                return

    def run(self) -> None:
        follower = threading.Thread(target=self.keep_following)
        for thread in (*self.handlers, follower):
            thread.start()
        with ThreadPoolExecutor(4) as writers:
            list(writers.map(self.write, range(4)))
        self.done.set()
        for thread in (*self.handlers, follower):
            thread.join()


def test_a_follower_sees_every_event_once_and_each_dataset_version_in_order(postgres: MetadataStore) -> None:
    bustle = Bustle(postgres)
    bustle.run()
    with postgres.read() as tx:
        everything = [event.number for event in tx.events.page(limit=1000)]
    numbers = [event.number for event in bustle.seen]
    assert sorted(numbers) == sorted(everything)
    assert len(numbers) > 80
    for version in bustle.versions:
        assert [event.number for event in bustle.seen if event.dataset_version_id == version] == bustle.written[version]
