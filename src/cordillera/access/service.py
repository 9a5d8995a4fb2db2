"""API tokens, and the access tokens that stand for them: who is calling."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from cordillera.access.signed_tokens import Signer
from cordillera.catalog.lake_keys import lake_key, usable_keys
from cordillera.catalog.lookup import Lookup
from cordillera.catalog.trail import Trail
from cordillera.context import acting, current
from cordillera.errors import AuthenticationError, InvalidInputError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.access import StoredKey, Token
from cordillera.spec.access import Privilege, whole_principal
from cordillera.spec.access_explanation import WhoAmI
from cordillera.spec.lake_key import KeyPurpose
from cordillera.spec.texts import check_texts

_PREFIX = "cdl_"
_WEB, _TERMINAL, _WORKLOAD = _SESSIONS = ("web session ", "terminal session ", "workload session ")
_TOUCH_EVERY = timedelta(minutes=1)
_KEY_PREFIX = "CDL"
_ACCESS_TIME = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. The secret is shown this once; only its hash is kept."""

    token: Token
    secret: str

    def __repr__(self) -> str:
        return f"NewToken({self.token!r}, secret=…)"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What stands for an API token for a while."""

    secret: str
    expires_in: int
    """Seconds."""

    def __repr__(self) -> str:
        return f"AccessToken(secret=…, expires_in={self.expires_in})"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What stands for an API token where requests are signed rather than carry it (AWS Signature Version 4)."""

    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:
        return f"SigningKey({self.access_key_id!r}, secret_access_key=…)"


class AccessService:
    """Makes, lists, revokes and checks API tokens, and access tokens that stand for them for an hour.

    Args:
        store: Keeps their hashes, and the key that signs access tokens.
        lookup: Knows who administers the lake, and so the tokens of others.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, clock: Clock) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock

    def create_token(
        self, name: str, *, principal: str = "", days: int | None = 90, read_only: bool = False
    ) -> NewToken:
        """Make a token.

        Args:
            name: What it is for.
            principal: Who calls with it; the caller by default.
            days: How long it is valid; None for ever.
            read_only: Whether nothing can be changed with it, whatever the principal may do.

        Raises:
            AccessDeniedError: If it is for another, and the caller does not administer the lake.
        """
        if not name or len(name) > 120 or name.startswith(_SESSIONS):
            raise InvalidInputError(
                "A token needs a name of 1 to 120 characters.", hint=f"Do not begin it with {' or '.join(_SESSIONS)}."
            )
        if days is not None and not 1 <= days <= 3650:
            raise InvalidInputError(f"A token cannot be valid for {days} days.", hint="Use 1 to 3650.")
        check_texts("token", name, principal=principal)
        secret, now = _PREFIX + secrets.token_urlsafe(32), self._clock.now()
        expires = now + timedelta(days=days) if days is not None else None
        whose = principal or current().principal
        token = Token(self._clock.new_id(), name, whose, _hash(secret), now, expires, None, read_only)
        with self._store.write() as tx:
            if not _is_own(token):
                self._lookup.lake(tx, Privilege.ADMINISTER)
            tx.tokens.insert(token)
            details = {"principal": token.principal, "read_only": read_only}
            Trail(tx, now).audit("token.create", "token", token.name, details)
        return NewToken(token, secret)

    def rotate_token(self, token_id: UUID, *, keep_hours: int = 24) -> NewToken:
        """Give a token a new secret, valid for as long as the old one was meant to be.

        Args:
            token_id: The token.
            keep_hours: For how long the old secret is good too, so that whoever has it can be told the new one. Its
                signing key is another at once.

        Raises:
            NotFoundError: If there is no such token, or it is somebody else's and the caller administers nothing.
        """
        if not 0 <= keep_hours <= 24 * 30:
            raise InvalidInputError(f"An old secret cannot be kept for {keep_hours} hours.", hint="Use 0 to 720.")
        secret, now = _PREFIX + secrets.token_urlsafe(32), self._clock.now()
        with self._store.write() as tx:
            old = self._manageable(tx, token_id)
            until = now + timedelta(hours=keep_hours)
            until = until if old.expires_at is None else min(until, old.expires_at)
            expires = None if old.expires_at is None else now + (old.expires_at - old.created_at)
            token = replace(
                old,
                hash=_hash(secret),
                previous_hash=old.hash,
                previous_until=until,
                created_at=now,
                expires_at=expires,
            )
            tx.tokens.rotate(token)
            Trail(tx, now).audit("token.rotate", "token", token.name, {"principal": token.principal})
        return NewToken(token, secret)

    def create_session(self, principal: str, lasts: timedelta) -> NewToken:
        """Make a token for somebody's browser, in the place of his that have ended."""
        token_id, now = self._clock.new_id(), self._clock.now()
        return self._session(Token(token_id, f"{_WEB}{token_id}", principal, "", now, now + lasts, None), _WEB)

    def create_terminal_session(self, browser: UUID, mark: str, lasts: timedelta) -> NewToken:
        """Make a token for somebody's terminal, which may do what the one in his browser may, and lasts no longer.

        Args:
            browser: The id of that token.
            mark: What the session is known by; of each mark there is one.
            lasts: Longest time.

        Raises:
            AuthenticationError: If the token in the browser is not valid any more.
            AlreadyExistsError: If there is a session of that mark.
        """
        with self._store.read() as tx:
            allowed = self._checked(tx.tokens.get(browser))
        now = self._clock.now()
        until = now + lasts if allowed.expires_at is None else min(now + lasts, allowed.expires_at)
        whose, name = allowed.principal, f"{_TERMINAL}{mark}"
        token = Token(self._clock.new_id(), name, whose, "", now, until, None, allowed.read_only)
        made = self._session(token, _TERMINAL)
        with acting(whose), self._store.write() as tx:
            Trail(tx, now).audit("access.terminal", "principal", whose, {"token": str(token.id)})
        return made

    def create_workload_session(self, principal: str, until: datetime) -> NewToken:
        """Make a token for a program that somebody trusted vouches for."""
        token_id, now = self._clock.new_id(), self._clock.now()
        return self._session(Token(token_id, f"{_WORKLOAD}{token_id}", principal, "", now, until, None), _WORKLOAD)

    def _session(self, wanted: Token, prefix: str) -> NewToken:
        """Give a token its secret and keep it, in the place of those like it that have ended."""
        secret = _PREFIX + secrets.token_urlsafe(32)
        token = replace(wanted, hash=_hash(secret))
        with self._store.write() as tx:
            tx.tokens.forget_ended(token.principal, prefix, token.created_at)
            tx.tokens.insert(token)
        return NewToken(token, secret)

    def end_session(self, secret: str) -> None:
        """Make the token of a session useless; an API token that was pasted into a browser is not."""
        with self._store.write() as tx:
            token = tx.tokens.by_hash(_hash(secret))
            if token is not None and token.name.startswith(_SESSIONS):
                tx.tokens.delete(token.id)

    def whoami(self) -> WhoAmI:
        """Return who acts, and the groups and roles he is in."""
        context = current()
        mine = whole_principal(context.principal)
        with self._store.read() as tx:
            found = tx.grants.viewer(mine, self._clock.now()).principals
        return WhoAmI(context.principal, tuple(sorted(found - {mine})), context.operator, context.read_only)

    def tokens(self, after: UUID | None = None, limit: int = 100) -> list[Token]:
        """Return a page of tokens: the caller's own, or everybody's for whoever administers the lake."""
        with self._store.read() as tx:
            return tx.tokens.page(after, limit, of=self._only_of(tx))

    def revoke_token(self, token_id: UUID) -> None:
        """Make a token useless at once."""
        with self._store.write() as tx:
            self._manageable(tx, token_id)
            tx.tokens.delete(token_id)
            Trail(tx, self._clock.now()).audit("token.revoke", "token", str(token_id), {})

    def signing_key(self, token_id: UUID) -> SigningKey:
        """Return what requests are signed with in an API token's name, for as long as that is valid.

        It follows from the token by the lake's key, so that the lake keeps no secret for each, and is another when
        that key is.

        Raises:
            NotFoundError: If there is no such token, or it is somebody else's.
        """
        key = lake_key(self._store, self._clock, KeyPurpose.REQUEST_SIGNATURES)
        with self._store.write() as tx:
            token = tx.tokens.get(token_id)
            if token is None or not (current().operator or _is_own(token)):
                raise NotFoundError(f"You have no token {token_id}.", hint="See: cordillera token list.")
            Trail(tx, self._clock.now()).audit("token.signing_key", "token", token.name, {"principal": token.principal})
        return SigningKey(f"{_KEY_PREFIX}{token.id.hex.upper()}", _signing_secret(key, token))

    def signed_by(self, access_key_id: str) -> tuple[Token, list[str]]:
        """Return the API token in whose name an access key id signs, and the secrets that go with it: today's first.

        Raises:
            AuthenticationError: If it is none of a valid token's.
        """
        try:
            token_id = UUID(hex=access_key_id.removeprefix(_KEY_PREFIX))
        except ValueError:
            token_id = None
        with self._store.read() as tx:
            token = tx.tokens.get(token_id) if token_id is not None else None
        token = self._checked(token if access_key_id.startswith(_KEY_PREFIX) else None)
        keys = usable_keys(self._store, self._clock, KeyPurpose.REQUEST_SIGNATURES)
        return token, [_signing_secret(key, token) for key in keys]

    def issue(self, client_id: str, secret: str) -> AccessToken:
        """Return an access token for client credentials.

        Args:
            client_id: The id or the name of an API token.
            secret: Its secret.

        Raises:
            AuthenticationError: If they are not those of a valid API token.
        """
        token = self._valid(secret) if secret.startswith(_PREFIX) else None
        names = (str(token.id), token.name) if token is not None else ("", "")
        same = [hmac.compare_digest(client_id.encode(), name.encode()) for name in names]
        if token is None or not any(same):
            raise AuthenticationError(
                "The client id and the secret are not those of an API token.", hint="See: cordillera token list."
            )
        return self._issue(token)

    def renew(self, secret: str) -> AccessToken:
        """Return a new access token for an access token, or an API token's secret, that is valid.

        Raises:
            AuthenticationError: If it is not.
        """
        return self._issue(self.identify(secret))

    def authenticate(self, secret: str) -> str:
        """Return the principal that an API token, or an access token, stands for.

        Raises:
            AuthenticationError: If the token is unknown or has expired; the message does not tell which.
        """
        return self.identify(secret).principal

    def note_use(self, token: Token) -> None:
        """Note that a token was used; to the minute, so that not every request writes."""
        now = self._clock.now()
        if token.last_used_at is None or now - token.last_used_at > _TOUCH_EVERY:
            with self._store.write() as tx:
                tx.tokens.touch(token.id, now)

    def _only_of(self, tx: Transaction) -> str | None:
        """Return whose tokens the caller may see; None for everybody's."""
        every = Privilege.ADMINISTER in self._lookup.authorizer.on_lake(tx)
        return None if every else current().principal

    def _manageable(self, tx: Transaction, token_id: UUID) -> Token:
        """Return a token that is the caller's, or anybody's for whoever administers the lake."""
        found, only_of = tx.tokens.get(token_id), self._only_of(tx)
        if found is None or (only_of is not None and found.principal != only_of):
            raise NotFoundError(f"There is no token {token_id}.", hint="See: cordillera token list.")
        return found

    def identify(self, secret: str) -> Token:
        """Return the API token that a secret is of, or that an access token stands for; see ``authenticate``."""
        token = self._checked(self._valid(secret))
        self.note_use(token)
        return token

    def _checked(self, token: Token | None) -> Token:
        """Return a token that is there and has not ended."""
        if token is None or (token.expires_at is not None and token.expires_at <= self._clock.now()):
            raise AuthenticationError(
                "The token is not valid.", hint="Make a new one with: cordillera token create NAME."
            )
        return token

    def _valid(self, secret: str) -> Token | None:
        """Return the API token that a secret is of, or that an access token stands for, as long as it is valid."""
        now = self._clock.now()
        if secret.startswith(_PREFIX):
            digest = _hash(secret)
            with self._store.read_once() as tx:
                token = tx.tokens.by_hash(digest)
            if token is not None and token.hash != digest:  # it is the secret before
                token = token if token.previous_until is not None and token.previous_until > now else None
        else:
            with self._store.read() as tx:
                keys = tx.signing_keys.usable(KeyPurpose.ACCESS_TOKENS, now)
                token_id = Signer(keys, _lake_id(tx)).verified(secret, now) if keys else None
                token = tx.tokens.get(token_id) if token_id is not None else None
        return None if token is None or (token.expires_at is not None and token.expires_at <= now) else token

    def _issue(self, token: Token) -> AccessToken:
        keys = usable_keys(self._store, self._clock, KeyPurpose.ACCESS_TOKENS)
        with self._store.read() as tx:
            signer = Signer(keys, _lake_id(tx))
        now = self._clock.now()
        until = now + _ACCESS_TIME
        until = until if token.expires_at is None else min(until, token.expires_at)
        return AccessToken(signer.sign(token.id, token.principal, until), int((until - now).total_seconds()))


def _signing_secret(key: StoredKey, token: Token) -> str:
    """Return the secret that requests are signed with; the hash of the token's own makes it the token's."""
    made = hmac.digest(key.secret.encode(), f"{token.id} {token.hash}".encode(), hashlib.sha256)
    return urlsafe_b64encode(made).rstrip(b"=").decode()


def _is_own(token: Token) -> bool:
    """Tell whether a token is for whoever makes it, which the operator may do for anybody."""
    context = current()
    return context.operator or whole_principal(token.principal) == whole_principal(context.principal)


def _lake_id(tx: Transaction) -> UUID:
    lake = tx.lake.get()
    assert lake is not None, "who can be asked for a token opened a lake"
    return lake.id


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
