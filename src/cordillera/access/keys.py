"""The lake's own keys: which there are, and how they give way to others."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from cordillera.catalog.lake_keys import new_key
from cordillera.catalog.lookup import Lookup
from cordillera.catalog.trail import Trail
from cordillera.errors import CommitConflictError, NotAllowedError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.access import StoredKey
from cordillera.spec.access import Privilege
from cordillera.spec.lake_key import KeyPurpose, KeyState, LakeKey, check_rotation, state_of


class LakeKeyService:
    """Rotates and retires the lake's own keys. It takes one who administers the lake; secrets are shown to nobody.

    Args:
        store: Keeps them.
        lookup: Knows who administers the lake.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, clock: Clock) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock

    def page(self, after: UUID | None = None, limit: int = 100) -> list[LakeKey]:
        """Return keys by id behind ``after``, retired ones too.

        Raises:
            AccessDeniedError: If whoever asks does not administer the lake.
        """
        with self._store.read() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
            found = tx.signing_keys.page(after, limit)
        now = self._clock.now()
        return [_shown(key, now) for key in found]

    def rotate(self, purpose: KeyPurpose, *, keep_hours: int = 24) -> LakeKey:
        """Let another key sign for a purpose from now on, in every process, and return it.

        Args:
            purpose: What for.
            keep_hours: For how long what the old key has signed still holds; 0 if somebody else may have got it.

        Raises:
            AccessDeniedError: If whoever acts does not administer the lake.
            NotAllowedError: If the key has to stay.
            CommitConflictError: If somebody else has just done so.
        """
        check_rotation(purpose, keep_hours)
        made, now = new_key(purpose, self._clock), self._clock.now()
        with self._store.write() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
            old = next((key for key in tx.signing_keys.usable(purpose, now) if key.retires_at is None), None)
            details = {"key": str(made.id), "keep_hours": keep_hours}
            if old is not None:
                self._retire(tx, old, now + timedelta(hours=keep_hours), now)
                details["old_key"] = str(old.id)
            if not tx.signing_keys.insert(made):
                raise CommitConflictError(
                    f"Somebody else has just rotated the key for {purpose}.",
                    hint="See whether that is enough: cordillera lake-key list.",
                )
            Trail(tx, now).audit("lake_key.rotate", "lake_key", purpose, details)
        return _shown(made, now)

    def retire(self, key_id: UUID) -> LakeKey:
        """Let nothing hold any more that a key has signed before another took its place.

        Raises:
            AccessDeniedError: If whoever acts does not administer the lake.
            NotFoundError: If there is no such key.
            NotAllowedError: If it is the one that signs.
        """
        now = self._clock.now()
        with self._store.write() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
            key = tx.signing_keys.get(key_id)
            if key is None:
                raise NotFoundError(f"The lake has no key {key_id}.", hint="See: cordillera lake-key list.")
            if key.retires_at is None:
                raise NotAllowedError(
                    f"The key {key_id} is the one that signs for {key.purpose}.",
                    hint=f"Let another sign first: cordillera lake-key rotate {key.purpose} --keep-hours 0.",
                )
            if state_of(key.retires_at, now) is KeyState.RETIRING:
                key = self._retire(tx, key, now, now)
                Trail(tx, now).audit("lake_key.retire", "lake_key", key.purpose, {"key": str(key_id)})
        return _shown(key, now)

    @staticmethod
    def _retire(tx: Transaction, key: StoredKey, at: datetime, now: datetime) -> StoredKey:
        """Note when a key retires, and forget the secrets of those that have."""
        tx.signing_keys.retire(key.id, at)
        tx.signing_keys.forget_secrets(now)
        return replace(key, retires_at=at)


def _shown(key: StoredKey, now: datetime) -> LakeKey:
    return LakeKey(key.id, key.purpose, state_of(key.retires_at, now), key.created_at, key.retires_at)
