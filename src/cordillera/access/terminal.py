"""Terminals act in the name of people who have allowed it in their browser.

It is the authorization code flow with PKCE (RFC 6749, RFC 7636) over a redirection to loopback (RFC 8252), in which the
lake itself gives the code. So a terminal gets in by whatever lets its person into the pages, and the identity provider
needs to know of no terminal.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from cordillera.access.service import AccessService, NewToken
from cordillera.catalog.signed_values import SignedValues
from cordillera.errors import AlreadyExistsError, AuthenticationError, InvalidInputError
from cordillera.ports.clock import Clock
from cordillera.spec.proof_key import is_challenge, is_proof

_CODE_SECONDS = 120


class TerminalService:
    """Gives terminals sessions. A code is kept nowhere: it says by itself what it is for, and is good once.

    Args:
        access: Knows the sessions of browsers, and makes those of terminals.
        codes: Writes and reads codes.
        clock: Time.
        hours: Longest time that a session lasts.
    """

    def __init__(self, access: AccessService, codes: SignedValues, clock: Clock, hours: int) -> None:
        self._access, self._codes, self._clock, self._lasts = access, codes, clock, timedelta(hours=hours)

    def allow(self, secret: str, challenge: str) -> str:
        """Return a code for a terminal that somebody allows to act in his name.

        Args:
            secret: The token in the browser where he does.
            challenge: The SHA-256 of what the terminal alone knows, in base 64 for URLs.

        Raises:
            AuthenticationError: If the token is not valid.
            InvalidInputError: If the challenge is none.
        """
        if not is_challenge(challenge):
            raise InvalidInputError("The terminal's request is damaged.", hint=_AGAIN)
        token = self._access.identify(secret)
        return self._codes.write({"token": token.id.hex, "challenge": challenge, "at": self._clock.now().timestamp()})

    def redeem(self, code: str, verifier: str) -> NewToken:
        """Return a session for a code. It ends with the browser's at the latest, and may do no more than that.

        Args:
            code: What the browser was given.
            verifier: What the terminal alone knows.

        Raises:
            AuthenticationError: If the code is none of this lake's, too old, used, or another terminal's.
        """
        content = self._codes.read(code)
        if content is None or not 0 <= self._clock.now().timestamp() - content["at"] <= _CODE_SECONDS:
            raise AuthenticationError("The code is not valid, or too old.", hint=_AGAIN)
        challenge: str = content["challenge"]
        if not is_proof(verifier, challenge):
            raise AuthenticationError("The code was given to another terminal.", hint=_AGAIN)
        try:
            return self._access.create_terminal_session(UUID(hex=content["token"]), challenge, self._lasts)
        except AlreadyExistsError:
            raise AuthenticationError("The code has been used.", hint=_AGAIN) from None


_AGAIN = "Begin again with: cordillera login."
