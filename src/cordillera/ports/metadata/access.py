"""Rows of API tokens and signing keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


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


class SigningKeyRows(Protocol):
    """Secret keys that the lake signs with, by purpose. They are made once."""

    def get(self, purpose: str) -> str | None:
        """Return a key."""

    def insert(self, purpose: str, secret: str, now: datetime) -> None:
        """Add a key, unless there is one for the purpose."""
