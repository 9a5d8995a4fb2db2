"""Which allocator Arrow takes memory from."""

from __future__ import annotations

import os
from contextlib import suppress

import pyarrow as pa


def prefer_jemalloc() -> None:
    """Let Arrow allocate with jemalloc from now on, in the whole process.

    mimalloc, Arrow's default, returns large blocks to the system at once and has each page mapped anew: merging a
    million rows takes half as much CPU time again. Whoever has chosen an allocator, by ``ARROW_DEFAULT_MEMORY_POOL``
    or ``pyarrow.set_memory_pool``, keeps it.
    """
    if "ARROW_DEFAULT_MEMORY_POOL" in os.environ or pa.default_memory_pool().backend_name != "mimalloc":
        return
    with suppress(NotImplementedError):  # pyarrow is built without it on some systems
        pa.set_memory_pool(pa.jemalloc_memory_pool())
