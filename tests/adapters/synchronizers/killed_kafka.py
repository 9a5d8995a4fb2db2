"""Deliveries to Kafka that are killed at every step they take there: run as a process by test_kafka_synchronizer.

Each round forks: one process delivers and is killed by SIGKILL before its n-th step, which is after the one before it;
another looks at what is left and repeats the delivery. Tells how many steps there were. Rounds know nothing of one
another and wait for the broker most of the time, so that several go on at once.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from uuid import UUID

import pyarrow as pa
from tests.servers_kafka import TellingCluster

from cordillera.adapters.synchronizers.kafka import KafkaSynchronizer
from cordillera.adapters.synchronizers.kafka_cluster import Writer
from cordillera.ports.synchronizer import Cursor, Delivery
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, deliver, reader_of, rows_of, spelled

NEVER = 1000
_LANES = 3


class Steps:
    """Kills its process before the n-th step."""

    fatal, taken = NEVER, 0

    @classmethod
    def step(cls) -> None:
        if cls.taken == cls.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        cls.taken += 1


class DeadlyCluster(TellingCluster):
    def create(self, topic: str, partitions: int, replication: int, settings: Mapping[str, str]) -> None:
        Steps.step()
        super().create(topic, partitions, replication, settings)

    def append(self, topic: str, key: bytes, value: bytes | None) -> None:
        Steps.step()
        super().append(topic, key, value)

    @contextmanager
    def writer(self, transactional_id: str) -> Iterator[Writer]:
        Steps.step()
        with super().writer(transactional_id) as opened:
            yield DeadlyWriter(self, opened._producer, opened._heard)


class DeadlyWriter(Writer):
    def send(self, topic: str, messages: pa.RecordBatch) -> None:
        Steps.step()
        super().send(topic, messages)
        self._settle()

    def put(self, topic: str, key: bytes, value: bytes) -> None:
        super().put(topic, key, value)
        self._settle()
        Steps.step()

    def commit(self) -> None:
        Steps.step()
        super().commit()
        Steps.step()


def delivery_of(first: bool, number: int, *, begin: bool) -> Delivery:
    """Return the delivery of a round, or the one before it."""
    table, whose = replace(ORDERS, name=f"orders-{first}-{number}"), UUID(int=2 * number + first + 1)
    if first or begin:
        return deliver(table, (None, 1), ORDER_ROWS, subscription_id=whose)
    return deliver(table, (1, 2), [{"id": 4, "customer": "new", "amount": None}], [{"id": 1}], subscription_id=whose)


def attempt(server: str, first: bool, number: int, fatal: int, begin: bool = False) -> None:
    Steps.fatal = fatal
    KafkaSynchronizer(DeadlyCluster(server, {})).apply(delivery_of(first, number, begin=begin))


def look(server: str, first: bool, number: int) -> None:
    """Whoever comes next finds all of it or nothing, and completes the work."""
    target, delivery = KafkaSynchronizer(TellingCluster(server, {})), delivery_of(first, number, begin=False)
    after = spelled(ORDER_ROWS if first else [*ORDER_ROWS[1:], {"id": 4, "customer": "new", "amount": None}])
    cursor = target.read_cursor(delivery.subscription_id)
    assert cursor in (delivery.from_cursor, delivery.to_cursor), cursor
    if cursor is not None:
        assert rows_of(target, delivery.table) == (spelled(ORDER_ROWS) if cursor == Cursor(1, 0) else after)
    applied = target.apply(delivery).already_applied
    assert applied or cursor != delivery.to_cursor  # a commit that Kafka was about to show may be seen only now
    assert target.read_cursor(delivery.subscription_id) == delivery.to_cursor
    assert (left := rows_of(target, delivery.table)) == after, (applied, cursor, left)
    found = sum(batch.num_rows for batch in target._cluster.messages(delivery.table.name, 1))
    assert found == (3 if first else 3 + 3), found  # each once: the second tells of a row, a removal, its tombstone


def in_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own, and return the status it ended with."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitpid(child, 0)[1]


def rounds(server: str, first: bool, lane: int) -> int:
    """Kill one delivery after the other, each as many steps later as there are lanes, until one comes to its end."""
    for number in range(lane, NEVER, _LANES):
        if not first:
            assert in_child(partial(attempt, server, first, number, NEVER, begin=True)) == 0
        status = in_child(partial(attempt, server, first, number, number))
        assert status in (0, signal.SIGKILL), status
        assert in_child(partial(look, server, first, number)) == 0, number
        if status == 0:
            return number
    raise AssertionError("A delivery that never ends.")


if __name__ == "__main__":
    spelled(reader_of(ORDERS.arrow_schema(), ORDER_ROWS)().read_all())  # what that imports, no process imports again
    with ProcessPoolExecutor(2 * _LANES, get_context("fork")) as pool:
        ended = [[pool.submit(rounds, sys.argv[1], first, lane) for lane in range(_LANES)] for first in (True, False)]
        sys.stdout.write(" ".join(str(min(one.result() for one in lanes)) for lanes in ended))
