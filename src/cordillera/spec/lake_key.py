"""Secret keys of the lake's own: what each is for, and how one follows another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from cordillera.errors import InvalidInputError, NotAllowedError

MOST_KEEP_HOURS = 24 * 30


class KeyPurpose(StrEnum):
    """What a key of the lake's own is for."""

    ACCESS_TOKENS = "access-tokens"
    """Signs the access tokens that stand for API tokens."""
    REQUEST_SIGNATURES = "request-signatures"
    """Makes the signing key of an API token."""
    SCAN_PLANS = "scan-plans"
    """Signs what clients ask on with for the parts of a scan's plan."""
    SIGN_IN = "sign-in"
    """Ties the two halves of a sign-in together."""
    WEBHOOKS = "webhooks"
    """Makes the secrets of webhooks."""
    HASHES = "hashes"
    """Makes the hashes that are shown in the place of masked values."""


class KeyState(StrEnum):
    """How far a key's life has gone."""

    ACTIVE = "active"
    """It signs; of each purpose one does."""
    RETIRING = "retiring"
    """What it has signed still holds, for a while."""
    RETIRED = "retired"
    """Nothing that it has signed holds. Its secret is forgotten when the next key is rotated or retired."""


@dataclass(frozen=True, slots=True)
class LakeKey:
    """A key of the lake's own, as people see it: without its secret.

    Attributes:
        id: What tokens name it by (``kid``).
        retires_at: When what it has signed holds no more; None as long as it is the one that signs.
    """

    id: UUID
    purpose: KeyPurpose
    state: KeyState
    created_at: datetime
    retires_at: datetime | None


def state_of(retires_at: datetime | None, now: datetime) -> KeyState:
    """Return the state of a key that retires at a time."""
    if retires_at is None:
        return KeyState.ACTIVE
    return KeyState.RETIRING if retires_at > now else KeyState.RETIRED


def parse_key_purpose(text: str) -> KeyPurpose:
    """Return the purpose of a name.

    Raises:
        InvalidInputError: If there is none.
    """
    try:
        return KeyPurpose(text)
    except ValueError:
        raise InvalidInputError(
            f"The lake has no keys for {text[:40]!r}.", hint=f"Use one of: {', '.join(KeyPurpose)}."
        ) from None


def check_rotation(purpose: KeyPurpose, keep_hours: int) -> None:
    """Make sure that a purpose's key may give way to another.

    Raises:
        NotAllowedError: If it has to stay.
        InvalidInputError: If the old one cannot be kept for so long.
    """
    if purpose is KeyPurpose.HASHES:
        raise NotAllowedError(
            "The key for hashes stays as it is: with another, the hash that is shown in the place of a masked value "
            "would change everywhere, and copies in targets would neither equal the lake nor join with each other.",
            hint="Mask the column otherwise if its hashes must not be compared: constant, null or hidden.",
        )
    if not 0 <= keep_hours <= MOST_KEEP_HOURS:
        raise InvalidInputError(
            f"What a key has signed cannot be kept for {keep_hours} hours.", hint=f"Use 0 to {MOST_KEEP_HOURS}."
        )
