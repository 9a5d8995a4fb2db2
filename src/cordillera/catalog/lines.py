"""Commits to one table line up within a process: what others prepare meanwhile would be in vain."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

_PATIENCE_SECONDS = 0.5
"""Whoever has waited for so long goes ahead: the line saves work, and who wins is decided in the database."""


class Lines:
    """A line for each table that is being committed to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def wait(self, names: Iterable[str]) -> Iterator[None]:
        """Wait until nobody else in this process is committing to tables, though not for ever."""
        with ExitStack() as stack:
            for name in sorted(set(names)):  # always in one order: nobody waits for one who waits for him
                stack.enter_context(self._at(name))
            yield

    @contextmanager
    def _at(self, name: str) -> Iterator[None]:
        with self._lock:
            turn, waiting = self._lines.get(name, (threading.Lock(), 0))
            self._lines[name] = turn, waiting + 1
        mine = turn.acquire(timeout=_PATIENCE_SECONDS)
        try:
            yield
        finally:
            if mine:
                turn.release()
            with self._lock:
                turn, waiting = self._lines[name]
                if waiting > 1:
                    self._lines[name] = turn, waiting - 1
                else:
                    del self._lines[name]
