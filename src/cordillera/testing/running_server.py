"""A real server for tests, on a free loopback port, in a thread of the test's process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from cordillera.server import listen, make_engine


@contextmanager
def running_server(server: FastAPI) -> Iterator[str]:
    """Serve an application for the length of the block, and yield its URL."""
    engine = make_engine(server)
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=engine.run, kwargs={"sockets": [listener]}, name="test-server")
        thread.start()
        try:
            yield url
        finally:
            engine.should_exit = True
            thread.join()
