"""Rows of API tokens and signing keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.lake_key import KeyPurpose


@dataclass(frozen=True, slots=True)
class Token:
    """An API token. The secret itself is not kept, only its hash.

    Attributes:
        created_at: When its secret was made.
        read_only: Whether it is for requests that change nothing.
        previous_hash, previous_until: Of the secret before this one, and for how long that is valid too.
    """

    id: UUID
    name: str
    principal: str
    hash: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    read_only: bool = False
    previous_hash: str | None = None
    previous_until: datetime | None = None


class TokenRows(Protocol):
    """API tokens by the hash of their secret."""

    def insert(self, token: Token) -> None:
        """Add a token; raises ``AlreadyExistsError`` if the principal has one of that name."""

    def by_hash(self, token_hash: str) -> Token | None:
        """Return the token of a hash, be it that of the secret before."""

    def rotate(self, token: Token) -> None:
        """Give a token another secret."""

    def get(self, token_id: UUID) -> Token | None:
        """Return a token by id."""

    def page(self, after: UUID | None, limit: int, *, of: str | None = None) -> list[Token]:
        """Return tokens by id behind ``after``, of one principal where given."""

    def delete(self, token_id: UUID) -> bool:
        """Remove a token; False if there was none."""

    def forget_ended(self, principal: str, prefix: str, now: datetime) -> None:
        """Remove a principal's tokens that have ended, of those whose name begins so."""

    def touch(self, token_id: UUID, now: datetime) -> None:
        """Note that a token was used."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A secret key of the lake's own.

    Attributes:
        secret: Empty once it is forgotten.
        retires_at: When what it has signed holds no more; None while it is the one that signs.
    """

    id: UUID
    purpose: KeyPurpose
    secret: str
    created_at: datetime
    retires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"StoredKey({str(self.id)!r}, {self.purpose.value!r}, secret=…)"


class SigningKeyRows(Protocol):
    """Secret keys of the lake's own. Of each purpose one at most is active: it signs, and has no end yet."""

    def usable(self, purpose: KeyPurpose, now: datetime) -> list[StoredKey]:
        """Return the keys of a purpose that have not retired: the active one, then the others, younger ones first."""

    def get(self, key_id: UUID) -> StoredKey | None:
        """Return a key by id."""

    def page(self, after: UUID | None, limit: int) -> list[StoredKey]:
        """Return keys by id behind ``after``."""

    def insert(self, key: StoredKey) -> bool:
        """Add the active key of a purpose; False if there is one."""

    def retire(self, key_id: UUID, at: datetime) -> None:
        """Note when a key retires."""

    def forget_secrets(self, now: datetime) -> None:
        """Remove the secrets of keys that have retired."""
