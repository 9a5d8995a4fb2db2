"""Identity providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cordillera.ports.identity import IdentityProvider, WorkloadProvider


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


def build_workload_provider(workloads: Sequence[Mapping[str, object]]) -> WorkloadProvider | None:
    """Return what identifies programs by the tokens of issuers that are trusted; None without any.

    Args:
        workloads: The setting of that name.

    Raises:
        InvalidConfigurationError: If an issuer cannot be used as it is set.
    """
    if not workloads:
        return None
    from cordillera.adapters.identity.workloads import JwtWorkloads, TrustedIssuer

    return JwtWorkloads([TrustedIssuer(**one) for one in workloads])  # type: ignore[arg-type]  # the settings checked
