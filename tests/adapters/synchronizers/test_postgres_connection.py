"""A PostgreSQL server that stops answering: deliveries to it end, and those that only take long do not."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from psycopg import conninfo

from cordillera.adapters.synchronizers import postgres_connection
from cordillera.adapters.synchronizers.postgres import PostgresSynchronizer
from cordillera.errors import TargetUnreachableError
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, OURS, deliver


class Proxy:
    """Passes bytes between clients and a server, until it is told to hang: then to nobody, and to nobody new."""

    def __init__(self, dsn: str) -> None:
        parts = conninfo.conninfo_to_dict(dsn)
        self._server = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.dsn = f"host=127.0.0.1 port={port} user={parts['user']} dbname={parts['dbname']} connect_timeout=2"
        self.hangs_after: bytes | None = None
        self._hangs = threading.Event()
        self._partner: dict[socket.socket, socket.socket] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._listener, selectors.EVENT_READ)
            while not self._stopped:
                for key, _ in waiting.select(0.05):
                    if self._hangs.is_set():
                        continue
                    if key.fileobj is self._listener:
                        client, server = self._listener.accept()[0], socket.socket(socket.AF_UNIX)
                        server.connect(self._server)
                        self._partner |= {client: server, server: client}
                        for side in (client, server):
                            waiting.register(side, selectors.EVENT_READ)
                    else:
                        assert isinstance(key.fileobj, socket.socket)
                        self._pass_on(waiting, key.fileobj)

    def _pass_on(self, waiting: selectors.BaseSelector, side: socket.socket) -> None:
        with suppress(OSError):
            if data := side.recv(1 << 16):
                if self.hangs_after and self.hangs_after in data:
                    self._hangs.set()
                else:
                    self._partner[side].sendall(data)
                return
        waiting.unregister(side)
        side.close()

    def close(self) -> None:
        self._stopped = True
        self._thread.join()
        for one in (self._listener, *self._partner):
            one.close()


@pytest.fixture
def proxy(postgres_database: str) -> Iterator[Proxy]:
    made = Proxy(postgres_database)
    yield made
    made.close()


@pytest.mark.parametrize("moment", [b"pg_advisory_xact_lock", b"COPY ", b"COMMIT"], ids=["first", "rows", "end"])
def test_a_server_that_answers_nobody_any_more_is_given_up(
    proxy: Proxy, postgres_database: str, monkeypatch: pytest.MonkeyPatch, moment: bytes
) -> None:
    monkeypatch.setattr(postgres_connection.AttentiveConnection, "silence_s", 0.2)
    proxy.hangs_after = moment
    with pytest.raises(TargetUnreachableError, match="answered nobody"):
        PostgresSynchronizer(proxy.dsn).apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    proxy.close()  # the server learns that its client is gone
    assert PostgresSynchronizer(postgres_database).apply(deliver(ORDERS, (None, 1), ORDER_ROWS)).rows_upserted == 3


def test_a_statement_may_take_as_long_as_it_likes(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_connection.AttentiveConnection, "silence_s", 0.05)
    synchronizer = PostgresSynchronizer(postgres_database)
    synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    with psycopg.connect(postgres_database) as blocker:
        blocker.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        ended = threading.Timer(1.0, blocker.rollback)
        ended.start()
        assert synchronizer.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1])).rows_upserted == 1
        ended.join()
    assert synchronizer.read_cursor(OURS) is not None
