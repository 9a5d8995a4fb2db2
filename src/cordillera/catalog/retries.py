"""How often, and how fast, a commit that lost a race is tried again."""

from __future__ import annotations

from collections.abc import Iterable

import stamina

from cordillera.errors import CommitConflictError

_ATTEMPTS = 30
_PATIENCE_SECONDS = 120.0


def attempts() -> Iterable[stamina.Attempt]:
    """Yield attempts until one of them does not raise ``CommitConflictError``."""
    return stamina.retry_context(
        on=CommitConflictError,
        attempts=_ATTEMPTS,
        timeout=_PATIENCE_SECONDS,
        wait_initial=0.01,
        wait_max=1.0,
        wait_jitter=0.05,
    )
