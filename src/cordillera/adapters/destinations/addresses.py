"""Looking hosts up, within a limited time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence

Resolver = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host."""


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system finds them, without repetitions."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def look_up_within(seconds: float, resolver: Resolver, host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host.

    The system's own search knows no limit and cannot be broken off, so it runs in a thread that nobody waits for any
    longer.

    Raises:
        TimeoutError: If they are not found in time.
        OSError: If there are none.
    """
    found: list[Sequence[str]] = []
    failed: list[Exception] = []

    def search() -> None:
        try:
            found.append(resolver(host, port))
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=search, daemon=True)
    thread.start()
    thread.join(max(seconds, 0.0))
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"the host {host} is not found within {seconds:.0f} s")
    return found[0]
