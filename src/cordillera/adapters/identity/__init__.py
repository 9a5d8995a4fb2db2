"""Identity providers."""

from __future__ import annotations

from cordillera.ports.identity import IdentityProvider


def build_identity_provider(
    issuer: str, client_id: str, client_secret: str, *, scopes: str, name_claim: str, groups_claim: str
) -> IdentityProvider | None:
    """Return the provider of a lake's people; None without an issuer.

    Args:
        issuer: The provider's URL.
        client_id, client_secret: What the lake is called there, and its secret; empty for a public client.
        scopes: What is asked for, with spaces between.
        name_claim, groups_claim: Claims that hold a person's name, and his groups.

    Raises:
        InvalidConfigurationError: If the issuer's URL cannot be used, or there is no client id.
    """
    if not issuer:
        return None
    from cordillera.adapters.identity.oidc import OidcProvider

    return OidcProvider(
        issuer, client_id, client_secret, scopes=scopes, name_claim=name_claim, groups_claim=groups_claim
    )
