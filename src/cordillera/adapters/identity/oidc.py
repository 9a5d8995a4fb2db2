"""OpenID Connect: people are identified by a provider, with the authorization code flow and PKCE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError

from cordillera.adapters.identity.documents import ProviderDocuments, asked
from cordillera.errors import AuthenticationError, InvalidConfigurationError
from cordillera.ports.identity import Identity
from cordillera.spec.proof_key import challenge_of

ALGORITHMS = [f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)] + ["EdDSA"]
"""Only signatures by keys that are not shared: with those, nobody but the provider can sign."""
_LEEWAY_SECONDS = 60
_MOST_GROUPS = 1000


class OidcProvider:
    """Implements ``cordillera.ports.identity.IdentityProvider``.

    Args:
        issuer: The provider's URL.
        client_id, client_secret: What the lake is called there, and its secret; empty for a public client.
        scopes: What is asked for, with spaces between.
        name_claim, groups_claim: Claims that hold a person's name, and his groups.
        transport: Carries the requests; for tests.

    Raises:
        InvalidConfigurationError: If the issuer's URL cannot be used, or there is no client id.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str = "",
        *,
        scopes: str = "openid email profile",
        name_claim: str = "email",
        groups_claim: str = "groups",
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        if not client_id:
            raise InvalidConfigurationError(
                "There is an oidc_issuer and no oidc_client_id.", hint="Register the lake there, and set the id."
            )
        self._documents = ProviderDocuments(issuer, transport)
        self._client_id, self._secret = client_id, client_secret
        self._scopes, self._name_claim, self._groups_claim = scopes, name_claim, groups_claim

    def __repr__(self) -> str:
        return f"OidcProvider({self.issuer!r}, {self._client_id!r})"

    @property
    def issuer(self) -> str:
        """The provider's URL."""
        return self._documents.issuer

    def authorization_url(self, redirect_uri: str, *, state: str, nonce: str, verifier: str) -> str:
        """Return where a browser goes to have its person identified."""
        endpoint = self._documents.endpoint("authorization_endpoint")
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": self._scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    def identify(self, code: str, redirect_uri: str, *, nonce: str, verifier: str) -> Identity:
        """Return who is behind a code."""
        answer = self._redeem(code, redirect_uri, verifier)
        claims = self._verified(str(answer.get("id_token", "")), nonce)
        if self._name_claim not in claims or self._groups_claim not in claims:
            claims = {**self._user_info(str(answer.get("access_token", "")), claims["sub"]), **claims}
        return Identity(self.issuer, self._name(claims), self._groups(claims))

    def _redeem(self, code: str, redirect_uri: str, verifier: str) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        methods = self._documents.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        auth = None
        if self._secret and "client_secret_basic" in methods:
            auth = httpx2.BasicAuth(_form_encoded(self._client_id), _form_encoded(self._secret))
        else:
            form |= {"client_id": self._client_id} | ({"client_secret": self._secret} if self._secret else {})
        endpoint = self._documents.endpoint("token_endpoint")
        response = self._documents.request("POST", endpoint, data=form, auth=auth)
        if 400 <= response.status_code < 500:
            raise AuthenticationError(
                f"The identity provider {self.issuer} did not take the sign-in.", hint="Sign in once more."
            )
        return asked(response, self.issuer)

    def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token that the provider has signed, for this lake, now, and for this sign-in."""
        try:
            decoded = jwt.decode(token, self._documents.keys_for(token), ALGORITHMS)
            registry = jwt.JWTClaimsRegistry(
                leeway=_LEEWAY_SECONDS,
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
                iss={"essential": True, "value": self.issuer},
                aud={"essential": True, "value": self._client_id},
                nonce={"essential": True, "value": nonce},
            )
            registry.validate(decoded.claims)
            claims = dict(decoded.claims)
            audience, party = claims["aud"], claims.get("azp")
            several = isinstance(audience, list) and len(audience) > 1
            if party != self._client_id and (several or party is not None):
                raise ValueError("azp")
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise AuthenticationError(
                f"What the identity provider {self.issuer} says of this sign-in cannot be trusted.",
                hint="Sign in once more; if that does not help, an administrator should compare its settings.",
                details={"reason": type(error).__name__},
            ) from error
        return claims

    def _user_info(self, access_token: str, subject: str) -> Mapping[str, Any]:
        """Return what the provider tells of a person beside the ID token."""
        if not access_token or not self._documents.get("userinfo_endpoint"):
            return {}
        headers = {"Authorization": f"Bearer {access_token}"}
        response = self._documents.request("GET", self._documents.endpoint("userinfo_endpoint"), headers=headers)
        claims = asked(response, self.issuer)
        if claims.get("sub") != subject:
            raise AuthenticationError(f"The identity provider {self.issuer} tells of somebody else.")
        return claims

    def _name(self, claims: Mapping[str, Any]) -> str:
        name = claims.get(self._name_claim)
        if not isinstance(name, str) or not name:
            raise AuthenticationError(
                f"The identity provider {self.issuer} does not tell your {self._name_claim}.",
                hint="An administrator can set oidc_name_claim, or have the provider tell it.",
            )
        if self._name_claim == "email" and claims.get("email_verified") is not True:
            raise AuthenticationError(
                f"The identity provider {self.issuer} has not verified the address {name}.",
                hint="Verify it there; or an administrator sets oidc_name_claim to a claim that is sure.",
            )
        return name

    def _groups(self, claims: Mapping[str, Any]) -> frozenset[str]:
        found = claims.get(self._groups_claim)
        groups = found if isinstance(found, list) else []
        return frozenset(group for group in groups[:_MOST_GROUPS] if isinstance(group, str))


def _form_encoded(text: str) -> str:
    """Return a client's id or secret as RFC 6749 wants it in a header."""
    return urlencode({"": text})[1:]
