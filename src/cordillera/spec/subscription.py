"""Subscriptions: a standing wish "keep this target like that dataset", and the states it goes through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from cordillera.errors import LifecycleError


class SubscriptionState(StrEnum):
    """Where a subscription is in its life."""

    PROVISIONING = "provisioning"
    """Accepted; the first delivery has not been made."""
    LIVE = "live"
    """The target follows."""
    PAUSED = "paused"
    """Somebody stopped it; the cursor stays."""
    FAILED = "failed"
    """A delivery failed for a reason that a retry will not cure."""
    REVOKED = "revoked"
    """Ended for good."""


_TRANSITIONS = {
    SubscriptionState.PROVISIONING: {
        SubscriptionState.LIVE,
        SubscriptionState.PAUSED,
        SubscriptionState.FAILED,
    },
    SubscriptionState.LIVE: {SubscriptionState.PAUSED, SubscriptionState.FAILED},
    SubscriptionState.PAUSED: {SubscriptionState.LIVE, SubscriptionState.PROVISIONING},
    SubscriptionState.FAILED: {
        SubscriptionState.LIVE,
        SubscriptionState.PROVISIONING,
        SubscriptionState.PAUSED,
    },
    SubscriptionState.REVOKED: set(),
}
DELIVERING = frozenset({SubscriptionState.PROVISIONING, SubscriptionState.LIVE})


@dataclass(frozen=True, slots=True)
class Target:
    """A configured destination.

    Attributes:
        kind: The synchronizer that drives it (``postgres``, ``duckdb``).
        config: Its settings. Secrets are not among them, only the names of environment variables that hold them.
    """

    id: UUID
    name: str
    kind: str
    config: Mapping[str, str]
    owner: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a consumer asked for, and how far the target has followed.

    Attributes:
        dataset_version_id: The dataset version followed: the one that was active when the subscription was made.
        columns: Columns wanted; empty for all, also those added later.
        row_filter: SQL condition on rows, or empty.
        target_table: The table's name in the target.
        cursor_sequence: Sequence number of the snapshot the target equals; None before the first delivery.
        cursor_schema_id: Schema under which it was delivered.
        delivered_at: When the last delivery was made.
        last_error: In plain words; empty while all is well.
        on_behalf_of: The principal who has to be allowed to read the dataset whenever something is delivered; empty
            where the lake's operator asked for it.
    """

    id: UUID
    dataset_id: UUID
    dataset: str
    dataset_version_id: UUID
    consumer: str
    purpose: str
    columns: tuple[str, ...]
    row_filter: str
    target: str
    target_table: str
    state: SubscriptionState
    cursor_sequence: int | None
    cursor_schema_id: int | None
    rows_delivered: int
    delivered_at: datetime | None
    last_error: str
    created_at: datetime
    created_by: str
    on_behalf_of: str = ""


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """A subscription with its distance from the dataset."""

    subscription: Subscription
    latest_sequence: int
    behind_since: datetime | None
    """When the first snapshot that the target lacks was committed; None if it lacks none."""

    @property
    def snapshots_behind(self) -> int:
        """How many snapshots the target lacks."""
        return self.latest_sequence - (self.subscription.cursor_sequence or 0)

    @property
    def in_step(self) -> bool:
        """Whether the target equals the dataset's current snapshot."""
        return self.subscription.cursor_sequence == self.latest_sequence


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of comparing a target with the lake by keyed checksum.

    Attributes:
        equal: Whether they hold the same rows.
        rows_lake, rows_target: Row counts of either side.
        checksum_lake, checksum_target: Order-free checksums of either side.
        missing, unexpected, different: Up to five example keys: only in the lake, only in the target, unequal rows.
    """

    subscription_id: UUID
    sequence_number: int
    equal: bool
    rows_lake: int
    rows_target: int
    checksum_lake: str
    checksum_target: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    different: tuple[str, ...] = ()


def check_transition(subscription: Subscription, wanted: SubscriptionState) -> None:
    """Refuse a change of state that the rules do not allow.

    Raises:
        LifecycleError: Naming the states that could follow.
    """
    possible = _TRANSITIONS[subscription.state]
    if subscription.state is not SubscriptionState.REVOKED:
        possible = possible | {SubscriptionState.REVOKED}
    if wanted not in possible:
        following = ", ".join(sorted(possible)) or "none: revoked is final"
        raise LifecycleError(
            f"The subscription of {subscription.consumer} to {subscription.dataset} is {subscription.state} and cannot "
            f"become {wanted}.",
            hint=f"Possible: {following}.",
        )
