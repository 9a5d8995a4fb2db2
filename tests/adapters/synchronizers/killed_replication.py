"""Deliveries to another lake that are killed at the steps they take: run as a process by test_killed_replication.

Each round forks: one process delivers and is killed by SIGKILL before its n-th step, which is after the one before;
another looks at what is left and repeats the delivery. Steps are what changes something: requests to the catalog,
before they are made and before their answer is heard, and files. Prints how many rounds there were for the first and
for the second delivery.

Arguments: the settings of a target as JSON, with a namespace for each round as ``namespaces``; which rounds: ``all``,
or ``commit`` for those around the commit alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx2
import pyarrow as pa
from tests.adapters.synchronizers.killed_export import in_child

from cordillera.adapters.storage.local import LocalStorage
from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.adapters.synchronizers.iceberg import IcebergSynchronizer
from cordillera.adapters.synchronizers.iceberg_catalog import Access, RestCatalog
from cordillera.ports.synchronizer import Cursor, Delivery
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, OURS, deliver, reader_of, rows_of, spelled

NEVER = 1000
CHANGED = {"id": 2, "customer": "Bo", "amount": None}
AFTER = [CHANGED, ORDER_ROWS[2]]


class Blow:
    """Kills its process before its n-th step."""

    def __init__(self, fatal: int) -> None:
        self.fatal, self.taken = fatal, 0

    def step(self) -> None:
        if self.taken == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.taken += 1


class DeadlyCatalog(RestCatalog):
    def __init__(self, access: Access, namespace: str, blow: Blow) -> None:
        super().__init__(access, namespace)
        self.blow = blow

    def _request(self, method: str, url: str, **further: Any) -> httpx2.Response:
        if method == "GET":
            return super()._request(method, url, **further)
        self.blow.step()
        answer = super()._request(method, url, **further)
        self.blow.step()
        return answer


class DeadlyStorage(LocalStorage):
    def __init__(self, root: str, blow: Blow) -> None:
        super().__init__(root)
        self.blow = blow

    def write(self, uri: str, data: bytes) -> None:
        self.blow.step()
        super().write(uri, data)

    @contextmanager
    def open_output(self, uri: str) -> Iterator[pa.NativeFile]:
        with super().open_output(uri) as sink:
            self.blow.step()
            yield sink
            self.blow.step()


def first() -> Delivery:
    return deliver(ORDERS, (None, 1), ORDER_ROWS)


def second() -> Delivery:
    return deliver(ORDERS, (1, 2), [CHANGED], [{"id": 1}])


def attempt(settings: Mapping[str, str], fatal: int, is_first: bool) -> Blow:
    blow = Blow(fatal)
    access = Access(settings["uri"], token=lambda: os.environ[settings["token_env"]])
    catalog = DeadlyCatalog(access, settings["namespace"], blow)
    target = IcebergSynchronizer(catalog, lambda location, _: DeadlyStorage(location, blow))
    target.apply(first() if is_first else second())
    return blow


def look(settings: Mapping[str, str], is_first: bool) -> None:
    """Whoever comes next finds the table as it was before or after the delivery, and completes the work."""
    target = build_synchronizer("iceberg", settings)
    before = (None, []) if is_first else (Cursor(1, 0), ORDER_ROWS)
    after = (Cursor(1, 0), ORDER_ROWS) if is_first else (Cursor(2, 0), AFTER)
    cursor = target.read_cursor(OURS)
    assert cursor in (before[0], after[0]), cursor
    if cursor is not None:
        assert rows_of(target, ORDERS) == spelled(after[1] if cursor == after[0] else before[1])
    done = target.apply(first() if is_first else second())
    assert done.already_applied == (cursor == after[0])
    assert target.read_cursor(OURS) == after[0]
    assert rows_of(target, ORDERS) == spelled(after[1])


def rounds(settings: dict[str, str], namespaces: Iterator[str], is_first: bool, only_commit: bool) -> int:
    """Kill one delivery after the other, each a step later, until one comes to its end."""
    steps = (-1, -2) if only_commit else range(NEVER)
    for count, number in enumerate(steps):
        place = {**settings, "namespace": next(namespaces)}
        if not is_first:
            assert in_child(partial(attempt, place, NEVER, True)) == 0
        fatal = number if number >= 0 else _last(settings, next(namespaces), is_first) + number
        status = in_child(partial(attempt, place, fatal, is_first))
        assert status in (0, signal.SIGKILL), status
        assert in_child(partial(look, place, is_first)) == 0, number
        if status == 0:
            return count
    return len(steps)


def _last(settings: Mapping[str, str], namespace: str, is_first: bool) -> int:
    """Return how many steps a delivery takes; the last two are around the commit."""
    place, (reader, writer) = {**settings, "namespace": namespace}, os.pipe()

    def count() -> None:
        if not is_first:
            attempt(place, NEVER, True)
        os.write(writer, str(attempt(place, NEVER, is_first).taken).encode())

    assert in_child(count) == 0
    return int(os.read(reader, 10))


if __name__ == "__main__":
    spelled(reader_of(ORDERS.arrow_schema(), ORDER_ROWS)().read_all())  # what that imports, no process imports again
    found = json.loads(sys.argv[1])
    names = iter(found.pop("namespaces"))
    only = sys.argv[2] == "commit"
    sys.stdout.write(f"{rounds(found, names, True, only)} {rounds(found, names, False, only)}")
