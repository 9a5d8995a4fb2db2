"""What an OpenID Connect provider publishes about itself: its endpoints and its keys, kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx2
from joserfc import jws
from joserfc.jwk import KeySet

from cordillera.errors import IdentityProviderError, InvalidConfigurationError

_FRESH_SECONDS, _LEAST_SECONDS = 3600.0, 30.0
_MOST_BYTES = 1_000_000
_TIMEOUT = httpx2.Timeout(10.0)


class ProviderDocuments:
    """The discovery document and the key set of a provider.

    Both are read again after an hour. Keys are also read again when a token names one that is not among them, as it
    does when the provider has changed its keys, but every half minute at most: tokens come from anybody.

    Args:
        issuer: The provider's URL.
        transport: Carries the requests; for tests.

    Raises:
        InvalidConfigurationError: If the URL cannot be used.
    """

    def __init__(self, issuer: str, transport: httpx2.BaseTransport | None = None) -> None:
        self.issuer = issuer
        if not _is_safe(issuer) or urlsplit(issuer).query or urlsplit(issuer).fragment:
            raise InvalidConfigurationError(
                f"The issuer {issuer[:100]!r} cannot be used.",
                hint="Give its https:// URL; http:// is for this machine alone.",
            )
        direct = _is_this_machine(issuer)  # no proxy leads back to this machine
        self._client = httpx2.Client(timeout=_TIMEOUT, transport=transport, trust_env=not direct)
        self._lock = threading.Lock()
        self._described: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    def get(self, name: str) -> Any:
        """Return what the provider says of itself under a name; None for nothing."""
        with self._lock:
            if self._described is None or _age(self._described[0]) > _FRESH_SECONDS:
                found = asked(
                    self.request("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"), self.issuer
                )
                if found.get("issuer") != self.issuer:
                    raise IdentityProviderError(
                        f"The provider at {self.issuer} calls itself {str(found.get('issuer'))[:100]!r}.",
                        hint="Set the issuer to exactly that, if it is the right one.",
                    )
                self._described = (time.monotonic(), found)
            return self._described[1].get(name)

    def endpoint(self, name: str) -> str:
        """Return the URL of an endpoint."""
        url = self.get(name)
        if not isinstance(url, str) or not _is_safe(url) or _leads_inside(url, self.issuer):
            raise IdentityProviderError(f"The identity provider {self.issuer} has no {name} that is safe to use.")
        return url

    def keys_for(self, token: str) -> KeySet:
        """Return the provider's keys, read anew if a token needs one that is not among them.

        Raises:
            JoseError, ValueError: If the token is none.
        """
        wanted = jws.extract_compact(token.encode()).headers().get("kid")
        url = self.endpoint("jwks_uri")
        with self._lock:
            kept = self._keys
            known = kept is not None and (wanted is None or any(key.kid == wanted for key in kept[1].keys))
            if kept is None or _age(kept[0]) > (_FRESH_SECONDS if known else _LEAST_SECONDS):
                kept = self._keys = (time.monotonic(), _signing_keys(asked(self.request("GET", url), self.issuer)))
            return kept[1]

    def request(self, method: str, url: str, **more: Any) -> httpx2.Response:
        """Ask the provider; redirections are not followed.

        Raises:
            IdentityProviderError: If it does not answer, or with too much.
        """
        try:
            with self._client.stream(method, url, **{"auth": None, **more}) as response:
                received = bytearray()
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > _MOST_BYTES:
                        raise IdentityProviderError(f"The identity provider {self.issuer} answers with too much.")
                return httpx2.Response(response.status_code, content=bytes(received))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise IdentityProviderError(
                f"The identity provider {self.issuer} does not answer: {type(error).__name__}.",
                hint="Try again soon, or log in with an API token.",
            ) from error


def asked(response: httpx2.Response, issuer: str) -> Mapping[str, Any]:
    """Return the object that an answer holds.

    Raises:
        IdentityProviderError: If it holds none, or is a failure.
    """
    try:
        found = response.json() if response.status_code == 200 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise IdentityProviderError(
            f"The identity provider {issuer} answered with status {response.status_code}, and not as OpenID Connect "
            "has it.",
            hint="Try again soon, or log in with an API token.",
        )
    return found


def _signing_keys(document: Mapping[str, Any]) -> KeySet:
    """Return the keys that sign; a shared one among them would let whoever reads this sign too."""
    listed = document.get("keys")
    keys = [
        key
        for key in (listed if isinstance(listed, list) else [])
        if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"
    ]
    return KeySet.import_key_set({"keys": keys})


def _age(since: float) -> float:
    return time.monotonic() - since


def _is_safe(url: str) -> bool:
    """Tell whether what goes to a URL is seen by nobody on the way."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(url)))
    except ValueError:
        return False


def _leads_inside(url: str, issuer: str) -> bool:
    """Tell whether a provider elsewhere has this machine ask itself."""
    return _is_this_machine(url) and not _is_this_machine(issuer)


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
