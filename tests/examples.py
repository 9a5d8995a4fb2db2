"""How many examples the property tests that take seconds each look at."""

from __future__ import annotations

import os


def examples(usual: int) -> int:
    """Return how many examples to take: ``CORDILLERA_EXAMPLES`` if it is set, else as many as usual.

    On a CI machine half of that: there they are the same every time.
    """
    wanted = os.environ.get("CORDILLERA_EXAMPLES")
    return int(wanted) if wanted else (usual + 1) // 2 if os.environ.get("CI") else usual
