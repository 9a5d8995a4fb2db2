"""API tokens: who is calling."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from cordillera.context import current
from cordillera.errors import AuthenticationError, InvalidInputError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.access import Token
from cordillera.spec.texts import check_texts

_PREFIX = "cdl_"
_TOUCH_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. The secret is shown this once; only its hash is kept."""

    token: Token
    secret: str

    def __repr__(self) -> str:
        return f"NewToken({self.token!r}, secret=…)"


class AccessService:
    """Makes, lists, revokes and checks API tokens.

    Args:
        store: Keeps their hashes.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def create_token(self, name: str, *, principal: str = "", days: int | None = 90) -> NewToken:
        """Make a token.

        Args:
            name: What it is for.
            principal: Who calls with it; the caller by default.
            days: How long it is valid; None for ever.
        """
        if not name or len(name) > 120:
            raise InvalidInputError("A token needs a name of 1 to 120 characters.")
        if days is not None and not 1 <= days <= 3650:
            raise InvalidInputError(f"A token cannot be valid for {days} days.", hint="Use 1 to 3650.")
        check_texts("token", name, principal=principal)
        secret, now = _PREFIX + secrets.token_urlsafe(32), self._clock.now()
        expires = now + timedelta(days=days) if days is not None else None
        token = Token(self._clock.new_id(), name, principal or current().principal, _hash(secret), now, expires, None)
        with self._store.write() as tx:
            tx.tokens.insert(token)
            self._audit(tx, "token.create", token.name, {"principal": token.principal})
        return NewToken(token, secret)

    def tokens(self, after: UUID | None = None, limit: int = 100) -> list[Token]:
        """Return a page of tokens."""
        with self._store.read() as tx:
            return tx.tokens.page(after, limit)

    def revoke_token(self, token_id: UUID) -> None:
        """Make a token useless at once."""
        with self._store.write() as tx:
            if not tx.tokens.delete(token_id):
                raise NotFoundError(f"There is no token {token_id}.", hint="See: cordillera token list.")
            self._audit(tx, "token.revoke", str(token_id), {})

    def authenticate(self, secret: str) -> str:
        """Return the principal that a token stands for.

        Raises:
            AuthenticationError: If the token is unknown or has expired; the message does not tell which.
        """
        now = self._clock.now()
        with self._store.read() as tx:
            token = tx.tokens.by_hash(_hash(secret)) if secret.startswith(_PREFIX) else None
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            raise AuthenticationError(
                "The token is not valid.", hint="Make a new one with: cordillera token create NAME."
            )
        if token.last_used_at is None or now - token.last_used_at > _TOUCH_EVERY:
            with self._store.write() as tx:
                tx.tokens.touch(token.id, now)
        return token.principal

    def _audit(self, tx: Transaction, action: str, name: str, details: dict[str, object]) -> None:
        context = current()
        tx.audit.append(
            at=self._clock.now(),
            principal=context.principal,
            action=action,
            object_kind="token",
            object_name=name,
            details=details,
            trace_id=context.trace_id,
        )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
