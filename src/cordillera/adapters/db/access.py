"""Rows of API tokens and signing keys."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import signing_keys, tokens
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError
from cordillera.ports.metadata.access import Token

TOKEN = RowMap(Token, tokens)

_BY_HASH = TOKEN.lookup(tokens.c.hash)
_BY_PREVIOUS_HASH = TOKEN.lookup(tokens.c.previous_hash)
_BY_ID = TOKEN.lookup(tokens.c.id)


class SqlTokenRows:
    """See :class:`cordillera.ports.metadata.access.TokenRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, token: Token) -> None:
        """Add a token."""
        if not self._session.insert_new(tokens, TOKEN.values(token)):
            raise AlreadyExistsError(
                f"{token.principal} has a token named {token.name!r} already.", hint="Choose another name."
            )

    def by_hash(self, token_hash: str) -> Token | None:
        """Return the token of a hash, be it that of the secret before."""
        return _BY_HASH(self._session, token_hash) or _BY_PREVIOUS_HASH(self._session, token_hash)

    def rotate(self, token: Token) -> None:
        """Give a token another secret."""
        changed = ("hash", "previous_hash", "previous_until", "created_at", "expires_at")
        values = {name: value for name, value in TOKEN.values(token).items() if name in changed}
        self._session.write(sa.update(tokens).where(tokens.c.id == token.id).values(values))

    def get(self, token_id: UUID) -> Token | None:
        """Return a token by id."""
        return _BY_ID(self._session, token_id)

    def page(self, after: UUID | None, limit: int, *, of: str | None = None) -> list[Token]:
        """Return tokens by id behind ``after``, of one principal where given."""
        query = TOKEN.select() if of is None else TOKEN.select().where(tokens.c.principal == of)
        if after is not None:
            query = query.where(tokens.c.id > after)
        return TOKEN.all(self._session, query.order_by(tokens.c.id).limit(limit))

    def delete(self, token_id: UUID) -> bool:
        """Remove a token; False if there was none."""
        return self._session.write(sa.delete(tokens).where(tokens.c.id == token_id)) == 1

    def forget_ended(self, principal: str, prefix: str, now: datetime) -> None:
        """Remove a principal's tokens that have ended, of those whose name begins so."""
        mine = sa.and_(tokens.c.principal == principal, tokens.c.name.startswith(prefix, autoescape=True))
        self._session.write(sa.delete(tokens).where(mine, tokens.c.expires_at <= now))

    def touch(self, token_id: UUID, now: datetime) -> None:
        """Note that a token was used."""
        self._session.write(sa.update(tokens).where(tokens.c.id == token_id).values(last_used_at=now))


class SqlSigningKeyRows:
    """See :class:`cordillera.ports.metadata.access.SigningKeyRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, purpose: str) -> str | None:
        """Return a key."""
        found = self._session.scalar(sa.select(signing_keys.c.secret).where(signing_keys.c.purpose == purpose))
        return None if found is None else str(found)

    def insert(self, purpose: str, secret: str, now: datetime) -> None:
        """Add a key, unless there is one for the purpose."""
        self._session.insert_new(signing_keys, {"purpose": purpose, "secret": secret, "created_at": now})
