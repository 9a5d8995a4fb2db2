"""How often somebody may ask: sign-ins that fail, and requests altogether. Each server process counts for itself."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cordillera.errors import AuthenticationError, RateLimitedError

_MOST_KEYS = 20_000
_PREFIX = len("cdl_") + 8
_NETWORK_BITS = 64


class Rate:
    """A number of turns at once and one more after each interval, for each of many keys (GCRA, a leaky bucket).

    Memory is bounded: of too many keys those that were not used for longest are forgotten.

    Args:
        burst: Turns that can be taken at once.
        interval: Seconds after which one more can be taken.
        clock: Seconds that only go on.
    """

    def __init__(self, burst: int, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ahead, self._interval, self._clock = (burst - 1) * interval, interval, clock
        self._free_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: str) -> float:
        """Return in how many seconds a key has a turn; 0 for now."""
        with self._lock:
            return max(0.0, self._free_at.get(key, 0.0) - self._ahead - self._clock())

    def take(self, key: str) -> float:
        """Take a turn if there is one, and return 0; else return in how many seconds there will be."""
        now = self._clock()
        with self._lock:
            free_at = max(self._free_at.get(key, 0.0), now)
            if free_at - self._ahead > now:
                return free_at - self._ahead - now
            self._free_at[key] = free_at + self._interval
            self._free_at.move_to_end(key)
            if len(self._free_at) > _MOST_KEYS:
                self._free_at.popitem(last=False)
        return 0.0


class SignInLimits:
    """Bounds how often sign-ins may fail, by address and by the secret's beginning.

    A program that repeats an expired token soon is refused for that token alone: it uses its address's turns more
    slowly than they come back. Whoever tries one secret after the other is refused for his address.

    Args:
        clock: Seconds that only go on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._by_address, self._by_secret = Rate(100, 2.0, clock), Rate(10, 10.0, clock)

    @contextmanager
    def attempt(self, address: str, secret: str) -> Iterator[None]:
        """Count the block as failed if it raises ``AuthenticationError``.

        Args:
            address: Where the request comes from.
            secret: What somebody signs in with.

        Raises:
            RateLimitedError: If there have been too many before; the block is not entered then.
        """
        network, beginning = _network(address), _beginning(secret)
        wait = max(self._by_address.wait(network), self._by_secret.wait(beginning))
        if wait:
            raise _limited("Too many sign-ins have failed.", wait)
        try:
            yield
        except AuthenticationError:
            self._by_address.take(network)
            self._by_secret.take(beginning)
            raise


class RequestLimit:
    """Bounds how many requests each principal may make.

    Args:
        per_second: How many, on average; five seconds' worth may come at once. 0 for any number.
        clock: Seconds that only go on.
    """

    def __init__(self, per_second: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = Rate(max(1, round(5 * per_second)), 1 / per_second, clock) if per_second else None

    def check(self, principal: str) -> None:
        """Count a request.

        Raises:
            RateLimitedError: If it is one too many.
        """
        if self._rate is not None and (wait := self._rate.take(principal)):
            raise _limited(f"{principal} makes more requests than the lake's server takes.", wait)


def _limited(message: str, wait: float) -> RateLimitedError:
    seconds = math.ceil(wait)
    return RateLimitedError(
        message, hint=f"Try again in {seconds} s, and less often.", details={"retry_after_seconds": seconds}
    )


def _network(address: str) -> str:
    """Return what stands for whoever has an address: of IPv6, where one has many, the network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, _NETWORK_BITS), strict=False))
    return address


def _beginning(secret: str) -> str:
    """Return what stands for a secret and those like it; signed tokens all begin alike, so the whole counts there."""
    if secret.startswith("cdl_"):
        return secret[:_PREFIX]
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
