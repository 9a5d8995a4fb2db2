"""Secret keys of the lake's own, made when they are first needed."""

from __future__ import annotations

import secrets

from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore


def lake_key(store: MetadataStore, clock: Clock, purpose: str) -> str:
    """Return the lake's key for a purpose. Of several that make one at once, the first one's is taken."""
    with store.read() as tx:
        key = tx.signing_keys.get(purpose)
    if key is None:
        with store.write() as tx:
            tx.signing_keys.insert(purpose, secrets.token_urlsafe(32), clock.now())
            key = tx.signing_keys.get(purpose)
        assert key is not None, "there is a key now"
    return key
