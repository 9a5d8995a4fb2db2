"""Deliveries to another lake that are killed at the steps they take: run as a process by test_killed_replication.

Each round forks: one process delivers and is killed by SIGKILL before its n-th step, which is after the one before;
another looks at what is left and repeats the delivery. Steps are what changes something: requests to the catalog,
before they are made and before their answer is heard, and files. Prints how many rounds there were for a first
delivery, a second one, and a second one to a history.

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
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
import pyarrow as pa
from tests.adapters.synchronizers.killed_export import in_child

from cordillera.adapters.storage.local import LocalStorage
from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.adapters.synchronizers.iceberg import IcebergSynchronizer
from cordillera.adapters.synchronizers.iceberg_catalog import Access, RestCatalog
from cordillera.ports.synchronizer import Delivery, TargetTable
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, OURS, deliver, reader_of, rows_of, spelled
from cordillera.testing.synchronizer_history_suite import history, state

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


@dataclass(frozen=True)
class Case:
    """A delivery that is killed, the one before it, and the rows that there are after each."""

    before: Delivery | None
    killed: Delivery
    rows_before: list[dict[str, Any]]
    rows_after: list[dict[str, Any]]

    @property
    def table(self) -> TargetTable:
        return self.killed.table

    def told(self, rows: list[dict[str, Any]]) -> list[str]:
        return spelled(pa.Table.from_pylist(rows, schema=self.table.arrow_schema()))


FIRST = deliver(ORDERS, (None, 1), ORDER_ROWS)
SECOND = deliver(ORDERS, (1, 2), [CHANGED], [{"id": 1}])
BEGUN, HELD = [state(1, "Ana", 1), state(2, "Bo", 1)], [state(1, "Anna", 2), state(3, "Chloé", 2)]
MADE, MIRRORED = Case(None, FIRST, [], ORDER_ROWS), Case(FIRST, SECOND, ORDER_ROWS, AFTER)
HISTORY = Case(
    history((None, 1), BEGUN, {}),
    history((1, 2), HELD, {1: 2, 2: 2}),
    BEGUN,
    [*HELD, state(1, "Ana", 1, 2), state(2, "Bo", 1, 2)],
)
CASES = {"commit": (MADE, HISTORY), "all": (MADE, MIRRORED, HISTORY)}
"""The commit of a second delivery is the same whatever it brings."""


def attempt(settings: Mapping[str, str], fatal: int, delivery: Delivery) -> Blow:
    blow = Blow(fatal)
    access = Access(settings["uri"], token=lambda: os.environ[settings["token_env"]])
    catalog = DeadlyCatalog(access, settings["namespace"], blow)
    target = IcebergSynchronizer(catalog, lambda location, _: DeadlyStorage(location, blow))
    target.apply(delivery)
    return blow


def look(settings: Mapping[str, str], case: Case) -> None:
    """Whoever comes next finds the table as it was before or after the delivery, and completes the work."""
    target = build_synchronizer("iceberg", settings)
    after, cursor = case.killed.to_cursor, target.read_cursor(OURS)
    assert cursor in (case.killed.from_cursor, after), cursor
    if cursor is not None:
        assert rows_of(target, case.table) == case.told(case.rows_after if cursor == after else case.rows_before)
    done = target.apply(case.killed)
    assert done.already_applied == (cursor == after)
    assert target.read_cursor(OURS) == after
    assert rows_of(target, case.table) == case.told(case.rows_after)


def rounds(settings: dict[str, str], namespaces: Iterator[str], case: Case, only_commit: bool) -> int:
    """Kill one delivery after the other, each a step later, until one comes to its end."""
    steps = (-1, -2) if only_commit else range(NEVER)
    for count, number in enumerate(steps):
        place = {**settings, "namespace": next(namespaces)}
        if case.before is not None:
            assert in_child(partial(attempt, place, NEVER, case.before)) == 0
        fatal = number if number >= 0 else _last(settings, next(namespaces), case) + number
        status = in_child(partial(attempt, place, fatal, case.killed))
        assert status in (0, signal.SIGKILL), status
        assert in_child(partial(look, place, case)) == 0, number
        if status == 0:
            return count
    return len(steps)


def _last(settings: Mapping[str, str], namespace: str, case: Case) -> int:
    """Return how many steps a delivery takes; the last two are around the commit."""
    place, (reader, writer) = {**settings, "namespace": namespace}, os.pipe()

    def count() -> None:
        if case.before is not None:
            attempt(place, NEVER, case.before)
        os.write(writer, str(attempt(place, NEVER, case.killed).taken).encode())

    assert in_child(count) == 0
    return int(os.read(reader, 10))


if __name__ == "__main__":
    spelled(reader_of(ORDERS.arrow_schema(), ORDER_ROWS)().read_all())  # what that imports, no process imports again
    found = json.loads(sys.argv[1])
    names = iter(found.pop("namespaces"))
    only = sys.argv[2] == "commit"
    sys.stdout.write(" ".join(str(rounds(found, names, case, only)) for case in CASES[sys.argv[2]]))
