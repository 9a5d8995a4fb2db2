"""Proof that whoever ends something began it (PKCE, RFC 7636): he tells a hash first, and what it is of at the end."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


def challenge_of(verifier: str) -> str:
    """Return what may be told of a secret before the secret itself is: its SHA-256 in base 64 for URLs (S256)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def is_challenge(text: str) -> bool:
    """Tell whether a text can be a challenge."""
    return _CHALLENGE.fullmatch(text) is not None


def is_proof(verifier: str, challenge: str) -> bool:
    """Tell whether a secret is the one that a challenge was made of."""
    return hmac.compare_digest(challenge_of(verifier).encode(), challenge.encode())
