"""Secret keys of the lake's own, made when they are first needed.

They are read from the metadata store whenever they are used, and kept nowhere else: every process signs with a new key
and refuses a retired one from the moment when that is committed.
"""

from __future__ import annotations

import secrets

from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.metadata.access import StoredKey
from cordillera.spec.lake_key import KeyPurpose


def lake_key(store: MetadataStore, clock: Clock, purpose: KeyPurpose) -> StoredKey:
    """Return the key that signs for a purpose now."""
    return usable_keys(store, clock, purpose)[0]


def usable_keys(store: MetadataStore, clock: Clock, purpose: KeyPurpose) -> list[StoredKey]:
    """Return the keys whose signatures for a purpose hold: the one that signs now, then those that were before it.

    Of several processes that make the first one at once, the first one's is taken.
    """
    with store.read() as tx:
        keys = tx.signing_keys.usable(purpose, clock.now())
    if keys and keys[0].retires_at is None:
        return keys
    with store.write() as tx:
        tx.signing_keys.insert(new_key(purpose, clock))
        return tx.signing_keys.usable(purpose, clock.now())


def new_key(purpose: KeyPurpose, clock: Clock) -> StoredKey:
    """Return a key that was not there before."""
    return StoredKey(clock.new_id(), purpose, secrets.token_urlsafe(32), clock.now())
