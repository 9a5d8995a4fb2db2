"""Who people are, as an identity provider elsewhere says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody whom a provider has identified.

    Attributes:
        issuer: The provider.
        name: The person's name among the lake's users.
        groups: The groups that the provider says he is in.
    """

    issuer: str
    name: str
    groups: frozenset[str]


class IdentityProvider(Protocol):
    """Identifies people in their browsers (OpenID Connect, authorization code flow with PKCE).

    Every method raises ``IdentityProviderError`` if the provider does not answer as it should; trying again may help.
    """

    @property
    def issuer(self) -> str:
        """The provider's name for itself, a URL."""

    def authorization_url(self, redirect_uri: str, *, state: str, nonce: str, verifier: str) -> str:
        """Return where a browser goes to have its person identified.

        Args:
            redirect_uri: Where it comes back to.
            state: What it brings back.
            nonce: What the provider writes into the ID token.
            verifier: What only whoever began this knows.
        """

    def identify(self, code: str, redirect_uri: str, *, nonce: str, verifier: str) -> Identity:
        """Return who is behind a code that a browser has brought back.

        Raises:
            AuthenticationError: If the provider does not take the code, or what it says is not to be trusted.
        """
