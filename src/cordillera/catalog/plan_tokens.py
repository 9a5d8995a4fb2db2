"""What clients are given to ask on with: any process of the lake understands it, and nobody else can make it."""

from __future__ import annotations

import hashlib
import hmac
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import orjson

from cordillera.catalog.lake_keys import lake_key
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore

_PURPOSE = "scan-plans"


class PlanTokens:
    """Writes and reads such tokens.

    Args:
        store: Keeps the key that signs them.
        clock: Tells when the key was made.
    """

    def __init__(self, store: MetadataStore, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def write(self, content: Mapping[str, Any]) -> str:
        """Return what stands for some JSON."""
        packed = zlib.compress(orjson.dumps(content))
        return f"{_text(packed)}.{_text(_mac(self._key(), packed))}"

    def read(self, token: str) -> dict[str, Any] | None:
        """Return what a token stands for; None if it is none of this lake's."""
        first, _, second = token.partition(".")
        try:
            packed, mac = urlsafe_b64decode(f"{first}=="), urlsafe_b64decode(f"{second}==")
        except ValueError:
            return None
        if not hmac.compare_digest(mac, _mac(self._key(), packed)):
            return None
        content: dict[str, Any] = orjson.loads(zlib.decompress(packed))
        return content

    def _key(self) -> bytes:
        return lake_key(self._store, self._clock, _PURPOSE).encode()


def _mac(key: bytes, packed: bytes) -> bytes:
    return hmac.digest(key, packed, hashlib.sha256)


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
