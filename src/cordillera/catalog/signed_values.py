"""What clients are given to come back with: any process of the lake understands it, and nobody else can make it."""

from __future__ import annotations

import hashlib
import hmac
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import orjson

from cordillera.catalog.lake_keys import lake_key, usable_keys
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.metadata.access import StoredKey
from cordillera.spec.lake_key import KeyPurpose


class SignedValues:
    """Writes and reads such texts.

    Args:
        store: Keeps the keys that sign them.
        clock: Tells which keys hold.
        purpose: What the keys are for.
    """

    def __init__(self, store: MetadataStore, clock: Clock, purpose: KeyPurpose) -> None:
        self._store, self._clock, self._purpose = store, clock, purpose

    def write(self, content: Mapping[str, Any]) -> str:
        """Return what stands for some JSON."""
        packed = zlib.compress(orjson.dumps(content))
        return f"{_text(packed)}.{_text(_mac(lake_key(self._store, self._clock, self._purpose), packed))}"

    def read(self, text: str) -> dict[str, Any] | None:
        """Return what a text stands for; None if it is none of this lake's, or its key has retired."""
        first, _, second = text.partition(".")
        try:
            packed, mac = urlsafe_b64decode(f"{first}=="), urlsafe_b64decode(f"{second}==")
        except ValueError:
            return None
        keys = usable_keys(self._store, self._clock, self._purpose)
        if not any(hmac.compare_digest(mac, _mac(key, packed)) for key in keys):
            return None
        content: dict[str, Any] = orjson.loads(zlib.decompress(packed))
        return content


def _mac(key: StoredKey, packed: bytes) -> bytes:
    return hmac.digest(key.secret.encode(), packed, hashlib.sha256)


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
