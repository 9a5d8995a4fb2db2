"""The main thread is told to stop, whichever thread is given the signal."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from cordillera.stop_signal import StopSignal

WAYS: dict[str, Callable[[StopSignal], None]] = {
    "a signal to the process": lambda _: os.kill(os.getpid(), signal.SIGTERM),
    "a signal that another thread is given": lambda _: signal.pthread_kill(threading.get_ident(), signal.SIGTERM),
    "a word from another thread": lambda stop: stop.tell(),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_main_thread_is_told_to_stop(way: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        telling = threading.Timer(0.05, WAYS[way], [stop])
        telling.start()
        stop.wait()
        telling.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_told_before_the_wait_ends_it() -> None:
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        stop.wait()


def test_other_signals_are_handled_and_do_not_end_the_wait() -> None:
    seen: list[int] = []
    handler = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            telling = threading.Timer(0.05, lambda: (seen.append(0), stop.tell()))
            telling.start()
            stop.wait()
            telling.join()
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert seen == [signal.SIGUSR1, 0]
