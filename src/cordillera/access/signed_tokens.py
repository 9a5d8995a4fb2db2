"""Access tokens: short-lived, signed by the lake for itself, each standing for an API token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

_ALGORITHM = "HS256"
_ISSUER = "cordillera"
_TOKEN = "token"  # noqa: S105 - a claim's name


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs and checks access tokens. joserfc takes long to import, and most processes never need it.

    Attributes:
        key: The lake's secret key.
        lake_id: The lake; tokens of others are not valid here.
    """

    key: str
    lake_id: UUID

    def __repr__(self) -> str:
        return f"Signer(lake_id={self.lake_id!r}, key=…)"

    def sign(self, token_id: UUID, principal: str, expires_at: datetime) -> str:
        """Return an access token that stands for an API token until it expires."""
        from joserfc import jwt
        from joserfc.jwk import OctKey

        claims = {
            "iss": _ISSUER,
            "aud": str(self.lake_id),
            "sub": principal,
            "exp": int(expires_at.timestamp()),
            _TOKEN: str(token_id),
        }
        return jwt.encode({"alg": _ALGORITHM}, claims, OctKey.import_key(self.key), [_ALGORITHM])

    def verified(self, text: str, now: datetime) -> UUID | None:
        """Return the id of the API token that an access token stands for; None if it is not valid."""
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import OctKey

        expected = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            iss={"essential": True, "value": _ISSUER},
            aud={"essential": True, "value": str(self.lake_id)},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(text, OctKey.import_key(self.key), [_ALGORITHM]).claims
            expected.validate(claims)
            return UUID(claims[_TOKEN])
        except (JoseError, ValueError, KeyError, TypeError, AttributeError):
            return None
