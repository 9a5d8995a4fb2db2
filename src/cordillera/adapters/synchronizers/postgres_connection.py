"""Connections to PostgreSQL that do not wait for ever on a server that answers nobody any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg
from psycopg.errors import ConnectionTimeout

CONNECT_TIMEOUT_S = 10
SILENCE_S = 30.0
"""For how long a server may say nothing before it is asked on another connection whether it answers at all."""
ALIVE: dict[str, str | int] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
"""Parameters by which it is noticed that the server's machine, or the way to it, is gone."""

_Result = TypeVar("_Result")


class AttentiveConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that looks whether anybody is there while it waits.

    A statement may take as long as it likes. But a server that has said nothing for a while is asked something on
    another connection; if it does not answer there either, this one is given up: it raises ``ConnectionTimeout``.
    """

    silence_s = SILENCE_S
    answers: Callable[[], bool] = staticmethod(lambda: False)
    """Tells whether the server answers on another connection; by default it is taken not to."""

    def wait(self, gen: Generator[Any, Any, _Result], *args: Any, **options: Any) -> _Result:
        """Wait for a statement's end, as psycopg does."""
        return super().wait(self._attended(gen), *args, **options)

    def _attended(self, statement: Generator[Any, Any, _Result]) -> Generator[Any, Any, _Result]:
        heard_at = time.monotonic()
        try:
            wanted = next(statement)
            while True:
                ready = yield wanted
                if ready:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > self.silence_s:
                    self._look()
                    heard_at = time.monotonic()
                wanted = statement.send(ready)
        except StopIteration as end:
            result: _Result = end.value
            return result

    def _look(self) -> None:
        if not self.answers():
            self.pgconn.finish()  # nothing more is sent on it, such as a ROLLBACK that nobody would answer
            raise ConnectionTimeout(f"the server has answered nobody for {self.silence_s:.0f} seconds")


def connect(dsn: str) -> AttentiveConnection:
    """Open a connection whose statements are transactions by themselves.

    Raises:
        psycopg.Error: If it cannot be opened.
    """
    connection = _connect(dsn)
    connection.answers = lambda: _answers(dsn)
    return connection


def _connect(dsn: str) -> AttentiveConnection:
    return AttentiveConnection.connect(dsn, autocommit=True, prepare_threshold=None)


def _answers(dsn: str) -> bool:
    try:
        with _connect(dsn) as probe:
            probe.silence_s = CONNECT_TIMEOUT_S
            probe.execute("SELECT 1")
    except ConnectionTimeout:
        return False
    except psycopg.Error:
        return True  # somebody is there to refuse it
    return True
