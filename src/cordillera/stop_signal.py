"""Waiting in the main thread to be told to stop."""

from __future__ import annotations

import signal
import socket
from types import TracebackType


class StopSignal:
    """SIGTERM, or a word from another thread, for the main thread to wait for while the block runs.

    The wait is for a descriptor that the signal writes to (``signal.set_wakeup_fd``), not for a lock: the system may
    give a signal to any thread, and Python runs the handler only when the main thread next runs. One that waits for a
    lock would sleep on.
    """

    def __enter__(self) -> StopSignal:
        self._told, self._telling = socket.socketpair()
        self._telling.setblocking(False)
        self._descriptor = signal.set_wakeup_fd(self._telling.fileno(), warn_on_full_buffer=False)
        self._handler = signal.signal(signal.SIGTERM, lambda *_: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._handler)
        signal.set_wakeup_fd(self._descriptor)
        self._told.close()
        self._telling.close()

    def wait(self) -> None:
        """Return once told to stop; other signals are handled meanwhile."""
        while signal.SIGTERM not in self._told.recv(64):
            pass

    def tell(self) -> None:
        """End the wait, from any thread."""
        self._telling.send(bytes([signal.SIGTERM]))
