"""Programs that run elsewhere, identified by the tokens that their platform signs for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx2
from joserfc import jws, jwt
from joserfc.errors import JoseError

from cordillera.adapters.identity.documents import ProviderDocuments
from cordillera.adapters.identity.oidc import ALGORITHMS
from cordillera.errors import AuthenticationError, InvalidConfigurationError
from cordillera.ports.identity import Workload
from cordillera.spec.access import parse_principal

_LEEWAY_SECONDS = 60
_SERVICE = "service:"


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """Who may vouch for programs, and for which.

    Attributes:
        issuer: Its URL; its tokens name it exactly so, and its keys are found by its discovery document.
        audience: What its tokens have to be made for: this lake alone.
        claim: The claim that says which program it is.
        principals: The value of that claim, whole → the service principal.
        bearer: Whether its tokens may be used as they are.
    """

    issuer: str
    audience: str
    claim: str
    principals: Mapping[str, str]
    bearer: bool = False


class JwtWorkloads:
    """Implements ``cordillera.ports.identity.WorkloadProvider``.

    Args:
        issuers: Who may vouch for programs.
        transport: Carries the requests; for tests.

    Raises:
        InvalidConfigurationError: If an issuer cannot be used as it is set.
    """

    def __init__(self, issuers: list[TrustedIssuer], transport: httpx2.BaseTransport | None = None) -> None:
        self._issuers = {one.issuer: one for one in issuers}
        self._documents = {one.issuer: ProviderDocuments(one.issuer, transport) for one in issuers}
        if len(self._issuers) < len(issuers):
            raise InvalidConfigurationError(
                "Two entries of workloads have the same issuer.", hint="Put their principals into one."
            )
        for one in issuers:
            wrong = [name for name in one.principals.values() if parse_principal(name) != name or not _is_service(name)]
            if wrong or not one.audience:
                raise InvalidConfigurationError(
                    f"The workloads of {one.issuer} lack an audience, or name a principal that is no service: {wrong}.",
                    hint="Set audience to this lake's URL, and write principals like service:etl.",
                )

    def claims(self, token: str) -> bool:
        """Tell whether a token says that a trusted issuer has signed it."""
        try:
            return _claimed_issuer(token) in self._issuers
        except (JoseError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def identify(self, token: str, now: datetime) -> Workload:
        """Return which program a token was signed for."""
        try:
            trusted = self._issuers[_claimed_issuer(token)]
        except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _refused("is of no issuer that this lake trusts", error) from error
        try:
            decoded = jwt.decode(token, self._documents[trusted.issuer].keys_for(token), ALGORITHMS)
            registry = jwt.JWTClaimsRegistry(
                now=int(now.timestamp()),
                leeway=_LEEWAY_SECONDS,
                exp={"essential": True},
                iss={"essential": True, "value": trusted.issuer},
                aud={"essential": True, "value": trusted.audience},
            )
            registry.validate(decoded.claims)
            subject, ends = decoded.claims[trusted.claim], datetime.fromtimestamp(decoded.claims["exp"], UTC)
            if ends <= now:  # clocks may differ about the beginning, but what has ended gives nothing
                raise ValueError("exp")
        except (JoseError, ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
            raise _refused(f"is not valid as one of {trusted.issuer}", error) from error
        principal = trusted.principals.get(subject) if isinstance(subject, str) else None
        if principal is None:
            raise _refused(f"of {trusted.issuer} is for a program that is nobody here", None)
        return Workload(trusted.issuer, subject, principal, ends, trusted.bearer)


def _claimed_issuer(token: str) -> str:
    """Return who a token says has signed it, which is not known yet."""
    payload = jws.extract_compact(token.encode()).payload
    try:
        return str(json.loads(payload)["iss"])
    except RecursionError as error:
        raise ValueError("its claims are nested too deeply") from error


def _is_service(name: str) -> bool:
    return name.startswith(_SERVICE)


def _refused(what: str, error: Exception | None) -> AuthenticationError:
    return AuthenticationError(
        f"The token {what}.",
        hint="An administrator can compare it with the setting workloads.",
        details={"reason": type(error).__name__ if error is not None else "principals"},
    )
