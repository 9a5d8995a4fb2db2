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
from functools import partial
from pathlib import Path
from typing import Any

from cordillera.adapters.storage.local import LocalStorage
from cordillera.adapters.synchronizers.file_formats import FORMATS
from cordillera.adapters.synchronizers.files import FilesSynchronizer
from cordillera.ports.synchronizer import Cursor
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, OURS, reader_of, rows_of, spelled, whole

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


def attempt(root: Path, fatal: int, first: bool) -> None:
    exports = FilesSynchronizer(DeadlyStorage(str(root), fatal), FORMATS["parquet"], keep=1)
    exports.apply(whole(ORDERS, (None, 1), ORDER_ROWS[:1]) if first else whole(ORDERS, (1, 2), ORDER_ROWS))


def look(root: Path, first: bool) -> None:
    """Whoever comes next finds the old or the new export whole, and completes the work."""
    exports = FilesSynchronizer(LocalStorage(str(root)), FORMATS["parquet"], keep=1)
    none, one, two = (None, []), (Cursor(1, 0), ORDER_ROWS[:1]), (Cursor(2, 0), ORDER_ROWS)
    before, after = (none, one) if first else (one, two)
    cursor = exports.read_cursor(OURS)
    assert cursor in (before[0], after[0]), cursor
    if cursor is not None:
        assert rows_of(exports, ORDERS) == spelled(after[1] if cursor == after[0] else before[1])
    step = (None, 1) if first else (1, 2)
    assert exports.apply(whole(ORDERS, step, after[1])).already_applied == (cursor == after[0])
    assert exports.read_cursor(OURS) == after[0]
    assert rows_of(exports, ORDERS) == spelled(after[1])


def rounds(root: Path, first: bool) -> int:
    """Kill one delivery after the other, each a step later, until one comes to its end."""
    for number in range(NEVER):
        place = root / f"{first}-{number}"
        if not first:
            assert in_child(partial(attempt, place, NEVER, True)) == 0
        status = in_child(partial(attempt, place, number, first))
        assert status in (0, signal.SIGKILL), status
        assert in_child(partial(look, place, first)) == 0, number
        if status == 0:
            return number
    raise AssertionError("An export that never ends.")


if __name__ == "__main__":
    spelled(reader_of(ORDERS.arrow_schema(), ORDER_ROWS)().read_all())  # what that imports, no process imports again
    sys.stdout.write(f"{rounds(Path(sys.argv[1]), True)} {rounds(Path(sys.argv[1]), False)}")
