"""Exports that are killed at every step they take in their storage: run as a process by test_killed_exports.

Each round forks: one process delivers and is killed by SIGKILL before its n-th step, which is after the one before it;
another looks at what is left and repeats the delivery. Tells how many rounds there were.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cordillera.adapters.storage.local import LocalStorage
from cordillera.adapters.synchronizers.file_formats import FORMATS
from cordillera.adapters.synchronizers.files import FilesSynchronizer
from cordillera.ports.synchronizer import Delivery
from cordillera.testing.synchronizer_deliveries import (
    BY_CUSTOMER,
    ORDER_ROWS,
    ORDERS,
    OURS,
    reader_of,
    rows_of,
    spelled,
    swapped,
    whole,
)

NEVER = 1000


class DeadlyStorage(LocalStorage):
    """Kills its process before its n-th step."""

    def __init__(self, root: str, fatal: int) -> None:
        super().__init__(root)
        self.fatal, self.taken = fatal, 0

    def step(self) -> None:
        if self.taken == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.taken += 1

    def write(self, uri: str, data: bytes) -> None:
        self.step()
        super().write(uri, data)

    def delete(self, uris: Any) -> None:
        self.step()
        super().delete(uris)

    @contextmanager
    def open_output(self, uri: str) -> Any:
        with super().open_output(uri) as sink:
            self.step()
            yield sink
            self.step()


def in_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own, and return the status it ended with."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


@dataclass(frozen=True)
class Scene:
    """What a target holds, what is delivered to it, and what it holds then."""

    before: list[dict[str, Any]] | None
    delivery: Delivery
    after: list[dict[str, Any]]


_ANEW = [{"id": 9, "customer": "Ana", "amount": None}]
SCENES = {
    "first": Scene(None, whole(ORDERS, (None, 1), ORDER_ROWS), ORDER_ROWS),
    "whole": Scene(ORDER_ROWS[:1], whole(ORDERS, (1, 2), ORDER_ROWS), ORDER_ROWS),
    "partitions": Scene(
        ORDER_ROWS,
        swapped(BY_CUSTOMER, (1, 2), _ANEW, ["customer=Ana", "customer="]),
        [*_ANEW, ORDER_ROWS[2]],
    ),
}


def exports(storage: LocalStorage) -> FilesSynchronizer:
    return FilesSynchronizer(storage, FORMATS["parquet"], keep=1, by_partition=True)


def attempt(root: Path, fatal: int, delivery: Delivery) -> None:
    exports(DeadlyStorage(str(root), fatal)).apply(delivery)


def look(root: Path, scene: Scene) -> None:
    """Whoever comes next finds the old or the new export whole, and completes the work."""
    target, delivery = exports(LocalStorage(str(root))), scene.delivery
    cursor = target.read_cursor(OURS)
    assert cursor in (delivery.from_cursor, delivery.to_cursor), cursor
    done = cursor == delivery.to_cursor
    if cursor is not None:
        assert rows_of(target, delivery.table) == spelled(scene.after if done else scene.before or [])
    assert target.apply(delivery).already_applied == done
    assert target.read_cursor(OURS) == delivery.to_cursor
    assert rows_of(target, delivery.table) == spelled(scene.after)


def rounds(root: Path, scene: Scene) -> int:
    """Kill one delivery after the other, each a step later, until one comes to its end."""
    for number in range(NEVER):
        place = root / str(number)
        if scene.before is not None:
            assert in_child(partial(attempt, place, NEVER, whole(scene.delivery.table, (None, 1), scene.before))) == 0
        status = in_child(partial(attempt, place, number, scene.delivery))
        assert status in (0, signal.SIGKILL), status
        assert in_child(partial(look, place, scene)) == 0, number
        if status == 0:
            return number
    raise AssertionError("An export that never ends.")


if __name__ == "__main__":
    spelled(reader_of(ORDERS.arrow_schema(), ORDER_ROWS)().read_all())  # what that imports, no process imports again
    sys.stdout.write(" ".join(str(rounds(Path(sys.argv[1]) / name, scene)) for name, scene in SCENES.items()))
