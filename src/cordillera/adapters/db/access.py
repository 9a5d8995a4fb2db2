"""Rows of API tokens and signing keys."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import signing_keys, tokens
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError
from cordillera.ports.metadata.access import StoredKey, Token
from cordillera.spec.lake_key import KeyPurpose

TOKEN = RowMap(Token, tokens)
KEY = RowMap(StoredKey, signing_keys)

_BY_HASH = TOKEN.lookup(tokens.c.hash)
_BY_PREVIOUS_HASH = TOKEN.lookup(tokens.c.previous_hash)
_BY_ID = TOKEN.lookup(tokens.c.id)
_KEY_BY_ID = KEY.lookup(signing_keys.c.id)
_USABLE = Prepared(
    KEY.select().where(
        signing_keys.c.purpose == sa.bindparam("purpose"),
        sa.or_(signing_keys.c.retires_at.is_(None), signing_keys.c.retires_at > sa.bindparam("now")),
    )
)


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

    def usable(self, purpose: KeyPurpose, now: datetime) -> list[StoredKey]:
        """Return the keys of a purpose that have not retired: the active one, then the others, younger ones first."""
        found = KEY.every(self._session, _USABLE, {"purpose": purpose, "now": now})
        return sorted(found, key=lambda key: (key.retires_at is None, key.created_at), reverse=True)

    def get(self, key_id: UUID) -> StoredKey | None:
        """Return a key by id."""
        return _KEY_BY_ID(self._session, key_id)

    def page(self, after: UUID | None, limit: int) -> list[StoredKey]:
        """Return keys by id behind ``after``."""
        query = KEY.select() if after is None else KEY.select().where(signing_keys.c.id > after)
        return KEY.all(self._session, query.order_by(signing_keys.c.id).limit(limit))

    def insert(self, key: StoredKey) -> bool:
        """Add the active key of a purpose; False if there is one."""
        return self._session.insert_new(signing_keys, KEY.values(key))

    def retire(self, key_id: UUID, at: datetime) -> None:
        """Note when a key retires."""
        self._session.write(sa.update(signing_keys).where(signing_keys.c.id == key_id).values(retires_at=at))

    def forget_secrets(self, now: datetime) -> None:
        """Remove the secrets of keys that have retired."""
        self._session.write(sa.update(signing_keys).where(signing_keys.c.retires_at <= now).values(secret=""))
