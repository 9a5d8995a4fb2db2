"""Who people are, as an identity provider elsewhere says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
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


@dataclass(frozen=True, slots=True)
class Workload:
    """A program that runs elsewhere, as its platform vouches for it.

    Attributes:
        issuer: The platform.
        subject: What the platform calls the program.
        principal: In whose name it acts here.
        expires_at: Until when the platform vouches for it.
        bearer: Whether the platform's token may be used as it is, without being exchanged.
    """

    issuer: str
    subject: str
    principal: str
    expires_at: datetime
    bearer: bool


class WorkloadProvider(Protocol):
    """Identifies programs by tokens that their platform has signed for them (JWT)."""

    def claims(self, token: str) -> bool:
        """Tell whether a token says that a platform which is trusted has signed it; that is not known yet."""

    def identify(self, token: str, now: datetime) -> Workload:
        """Return which program a token was signed for, if it holds now.

        Raises:
            AuthenticationError: If the token is not to be trusted, or its program is nobody here.
            IdentityProviderError: If the platform does not tell its keys; trying again may help.
        """
