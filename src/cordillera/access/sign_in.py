"""Signing in with an identity provider: from the first redirection to a session."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import timedelta

from cordillera.access.service import AccessService, NewToken
from cordillera.catalog.lake_keys import lake_key, usable_keys
from cordillera.catalog.trail import Trail
from cordillera.catalog.waking import wake_principal
from cordillera.context import acting
from cordillera.errors import AuthenticationError, InvalidInputError
from cordillera.ports.clock import Clock
from cordillera.ports.identity import Identity, IdentityProvider
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.access import StoredKey
from cordillera.spec.access import Membership, parse_principal
from cordillera.spec.lake_key import KeyPurpose

_SECONDS = 600


@dataclass(frozen=True, slots=True)
class SignInBegun:
    """A sign-in that has begun.

    Attributes:
        url: Where the browser goes.
        state: What it has to bring back, and to have kept itself.
    """

    url: str
    state: str


class SignInService:
    """Lets people in whom a provider identifies.

    Nothing is kept between the two halves of a sign-in: nonce and verifier follow from the state by the lake's key
    that it names, so any of several servers can complete what another began.

    Args:
        store: Keeps the key, and who is in which group.
        access: Makes sessions.
        provider: Identifies people.
        clock: Time.
        hours: How long a session lasts, and what the provider said of groups.
    """

    def __init__(
        self, store: MetadataStore, access: AccessService, provider: IdentityProvider, clock: Clock, hours: int
    ) -> None:
        self._store, self._access, self._provider = store, access, provider
        self._clock, self._lasts = clock, timedelta(hours=hours)

    @property
    def issuer(self) -> str:
        """The provider's URL."""
        return self._provider.issuer

    def begin(self, redirect_uri: str) -> SignInBegun:
        """Return where a browser goes to sign in.

        Raises:
            IdentityProviderError: If the provider does not answer.
        """
        key = lake_key(self._store, self._clock, KeyPurpose.SIGN_IN)
        state = f"{int(self._clock.now().timestamp())}.{key.id.hex}.{secrets.token_urlsafe(24)}"
        url = self._provider.authorization_url(
            redirect_uri, state=state, nonce=_derived(key, "nonce", state), verifier=_derived(key, "verifier", state)
        )
        return SignInBegun(url, state)

    def complete(self, code: str, state: str, kept_state: str, redirect_uri: str) -> NewToken:
        """Return a session for whoever a provider has identified.

        Args:
            code: What the provider gave the browser.
            state: What the browser brought back with it.
            kept_state: What the browser has kept since it began.
            redirect_uri: As it was then.

        Raises:
            AuthenticationError: If that browser did not begin this sign-in, or too long ago, or nobody is identified.
            IdentityProviderError: If the provider does not answer.
        """
        if not state or not hmac.compare_digest(state.encode(), kept_state.encode()):
            raise AuthenticationError("This browser did not begin this sign-in.", hint="Begin again.")
        begun, key_id, *_ = (*state.split("."), "")
        age = self._clock.now().timestamp() - (int(begun) if begun.isdecimal() and len(begun) < 15 else 0)
        keys = usable_keys(self._store, self._clock, KeyPurpose.SIGN_IN)
        key = next((key for key in keys if key.id.hex == key_id), None)
        if key is None or not 0 <= age + 1 <= _SECONDS:
            raise AuthenticationError("The sign-in took too long.", hint="Begin again.")
        who = self._provider.identify(
            code, redirect_uri, nonce=_derived(key, "nonce", state), verifier=_derived(key, "verifier", state)
        )
        return self._let_in(who)

    def _let_in(self, who: Identity) -> NewToken:
        """Note the groups that somebody is in now, and make a session."""
        try:
            principal = parse_principal(f"user:{who.name}")
        except InvalidInputError as error:
            raise AuthenticationError(f"{who.name[:100]!r} cannot be a user's name here.") from error
        with acting(principal), self._store.write() as tx:
            self._note_groups(tx, principal, who)
            Trail(tx, self._clock.now()).audit("access.sign_in", "principal", principal, {"issuer": who.issuer})
        return self._access.create_session(principal, self._lasts)

    def _note_groups(self, tx: Transaction, principal: str, who: Identity) -> None:
        """Let somebody be in the provider's groups, and in no others of it, for as long as the session lasts."""
        now, source = self._clock.now(), f"oidc:{who.issuer}"
        tx.memberships.delete_from(principal, source)
        for group in sorted(who.groups):
            try:
                container = parse_principal(f"group:{group}")
            except InvalidInputError:
                continue  # a name that no grant can have
            tx.memberships.put(Membership(container, principal, source, now, now + self._lasts))
        wake_principal(tx, principal, self._clock, now + self._lasts if who.groups else None)


def _derived(key: StoredKey, purpose: str, state: str) -> str:
    derived = hmac.digest(key.secret.encode(), f"{purpose} {state}".encode(), hashlib.sha256)
    return urlsafe_b64encode(derived).rstrip(b"=").decode()
