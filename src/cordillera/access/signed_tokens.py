"""Access tokens: short-lived, signed by the lake for itself, each standing for an API token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from cordillera.ports.metadata.access import StoredKey

if TYPE_CHECKING:
    from joserfc.jwk import OctKey

_ALGORITHM = "HS256"
_ISSUER = "cordillera"
_TOKEN = "token"  # noqa: S105 - a claim's name


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs and checks access tokens. joserfc takes long to import, and most processes never need it.

    Attributes:
        keys: The lake's keys whose signatures hold; the first one signs.
        lake_id: The lake; tokens of others are not valid here.
    """

    keys: Sequence[StoredKey]
    lake_id: UUID

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
        key = self.keys[0]
        header = {"alg": _ALGORITHM, "kid": str(key.id)}
        return jwt.encode(header, claims, OctKey.import_key(key.secret), [_ALGORITHM])

    def verified(self, text: str, now: datetime) -> UUID | None:
        """Return the id of the API token that an access token stands for; None if it is not valid."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        expected = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            iss={"essential": True, "value": _ISSUER},
            aud={"essential": True, "value": str(self.lake_id)},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(text, self._key_of(text), [_ALGORITHM]).claims
            expected.validate(claims)
            return UUID(claims[_TOKEN])
        except (JoseError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _key_of(self, text: str) -> OctKey:
        """Return the key that a token names. One of an older release names none: there was one key, now the oldest.

        Raises:
            JoseError, ValueError, KeyError: If the text is no token, or names a key that there is not.
        """
        from joserfc import jws
        from joserfc.jwk import OctKey

        known = {str(key.id): key for key in self.keys}
        wanted = jws.extract_compact(text.encode()).headers().get("kid", str(self.keys[-1].id))
        return OctKey.import_key(known[wanted].secret)
