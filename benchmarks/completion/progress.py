"""How far a long part of the benchmark has come, told every few seconds."""

from __future__ import annotations

import sys
import time

_EVERY_SECONDS = 10.0


class Progress:
    """Tells on stderr how much is done.

    Args:
        what: What is done.
        whole: How much there is to do.
    """

    def __init__(self, what: str, whole: int) -> None:
        self._what, self._whole = what, whole
        self._begun = self._told = time.monotonic()

    def tell(self, done: int) -> None:
        """Say how much is done, unless that was said just now."""
        now = time.monotonic()
        if now - self._told >= _EVERY_SECONDS:
            self._told = now
            speed = done / (now - self._begun)
            print(f"  {self._what}: {done:,} of {self._whole:,}, {speed:,.0f} a second", file=sys.stderr, flush=True)
