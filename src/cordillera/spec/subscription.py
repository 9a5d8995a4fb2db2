"""Subscriptions: a standing wish "keep this target like that dataset", and the states it goes through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cordillera.errors import InvalidInputError, LifecycleError, NotAllowedError
from cordillera.spec.delivery_trigger import ON_COMMIT
from cordillera.spec.skip import Skip

MOST_DAYS = 3650
_SHORTEST_INTERVAL, _LONGEST_INTERVAL = 60, 366 * 24 * 60 * 60


class SubscriptionState(StrEnum):
    """Where a subscription is in its life."""

    REQUESTED = "requested"
    """Whoever asked may not read the dataset, and has asked for that too."""
    REFUSED = "refused"
    """He may not."""
    APPROVED = "approved"
    """He may read it; a worker has not begun yet."""
    PROVISIONING = "provisioning"
    """A worker has begun: it connects to the target and works out what to deliver."""
    FIRST_SYNC = "first_sync"
    """The first delivery is under way."""
    LIVE = "live"
    """The target follows."""
    PAUSED = "paused"
    """Somebody stopped it; the cursor stays."""
    FAILED = "failed"
    """A delivery failed for a reason that a retry will not cure."""
    EXPIRED = "expired"
    """Its time is over."""
    REVOKED = "revoked"
    """Ended for good."""

    @property
    def in_words(self) -> str:
        """The state as people say it."""
        return self.value.replace("_", " ")


DELIVERING = frozenset(
    {
        SubscriptionState.APPROVED,
        SubscriptionState.PROVISIONING,
        SubscriptionState.FIRST_SYNC,
        SubscriptionState.LIVE,
    }
)
"""The states in which changes are delivered."""
ENDED = frozenset({SubscriptionState.REFUSED, SubscriptionState.EXPIRED, SubscriptionState.REVOKED})
"""The states that nothing follows."""

_STOPPED = frozenset({SubscriptionState.PAUSED, SubscriptionState.FAILED})
_ENDS = frozenset({SubscriptionState.EXPIRED, SubscriptionState.REVOKED})
_BEGINS = frozenset({SubscriptionState.APPROVED, SubscriptionState.LIVE})
_TRANSITIONS: Mapping[SubscriptionState, frozenset[SubscriptionState]] = {
    SubscriptionState.REQUESTED: _ENDS | {SubscriptionState.APPROVED, SubscriptionState.REFUSED},
    SubscriptionState.APPROVED: _ENDS | _STOPPED | {SubscriptionState.PROVISIONING, SubscriptionState.LIVE},
    SubscriptionState.PROVISIONING: _ENDS | _STOPPED | {SubscriptionState.FIRST_SYNC, SubscriptionState.LIVE},
    SubscriptionState.FIRST_SYNC: _ENDS | _STOPPED | {SubscriptionState.LIVE},
    SubscriptionState.LIVE: _ENDS | _STOPPED,
    SubscriptionState.PAUSED: _ENDS | _BEGINS,
    SubscriptionState.FAILED: _ENDS | _BEGINS | {SubscriptionState.PAUSED},
}


class SubscriptionMode(StrEnum):
    """What a subscription keeps in its target."""

    MIRROR = "mirror"
    """The rows as they are now."""
    LOG = "log"
    """Every change, one row for each image, which is never changed again."""
    HISTORY = "history"
    """Every state of the rows, each with the time for which it held."""


class CopyAtEnd(StrEnum):
    """What becomes of a target's table when its subscription ends."""

    FREEZE = "freeze"
    """It stays as it is."""
    REMOVE = "remove"
    """It is removed."""


class Equality(StrEnum):
    """What the last comparison of a target with the lake found."""

    UNPROVEN = "unproven"
    """They have not been compared yet."""
    EQUAL = "equal"
    """The target held the rows of the snapshot it had been brought to."""
    DRIFTED = "drifted"
    """It did not: somebody else changed its rows, or its table."""


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
        error_code: The kind of that error, as the classes of errors are named; empty while all is well.
        on_behalf_of: The principal who has to be allowed to read the dataset whenever something is delivered; empty
            where the lake's operator asked for it.
        verify_every_seconds: How often the target is compared with the lake, besides after deliveries of everything;
            None for not at all.
        equality: What the last comparison found.
        verified_at: When that was.
        verified_sequence: Sequence number of the snapshot that the target was compared with.
        drift: How the target differed, in plain words; empty where it did not.
        cost_owner: Who pays for it; empty for the consumer.
        expires_at: When it ends by itself; None for never.
        copy_at_end: What becomes of the target's table then, unless the contract says that it goes.
        request_id: The access request whose approval it waits for, or waited for.
        mode: What the target's table holds.
        trigger: What deliveries wait for; see ``cordillera.spec.delivery_trigger``.
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
    verify_every_seconds: int | None = None
    equality: Equality = Equality.UNPROVEN
    verified_at: datetime | None = None
    verified_sequence: int | None = None
    drift: str = ""
    error_code: str = ""
    cost_owner: str = ""
    expires_at: datetime | None = None
    copy_at_end: CopyAtEnd = CopyAtEnd.FREEZE
    request_id: UUID | None = None
    mode: SubscriptionMode = SubscriptionMode.MIRROR
    trigger: str = ON_COMMIT

    def is_over(self, now: datetime) -> bool:
        """Tell whether nothing is to be delivered any more, whether the end of its time is recorded or not."""
        return self.state in ENDED or (self.expires_at is not None and self.expires_at <= now)

    @property
    def on_resuming(self) -> SubscriptionState:
        """The state in which deliveries go on."""
        return SubscriptionState.APPROVED if self.cursor_sequence is None else SubscriptionState.LIVE


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """A step in a subscription's life.

    Attributes:
        number: Orders the steps.
        state: Where it stood afterwards.
        by: Who did it.
        reason: Why.
    """

    number: int
    subscription_id: UUID
    state: SubscriptionState
    by: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """A subscription with its distance from the dataset."""

    subscription: Subscription
    latest_sequence: int
    behind_since: datetime | None
    """When the first snapshot that the target lacks was committed; None if it lacks none."""
    skips: tuple[Skip, ...] = ()
    """Snapshots that deliveries leave out, or have left out and nothing has made good."""

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
        rows_missing, rows_unexpected, rows_different: How many there are of each.
        columns: The columns in which unequal rows differ.
        complete: Whether these are all rows that differ; if so many do that not all were looked at, it is not.
        differences: Of a target that points at the lake's files, and has no checksums therefore: how its entry differs
            from one that points at that snapshot.
        unsound: Of a history: up to five example keys whose times cannot be, as they overlap or do not end.
        keys_unsound: How many there are.
        skips: What deliveries have left out, if the sides differ: it may be why.
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
    rows_missing: int = 0
    rows_unexpected: int = 0
    rows_different: int = 0
    columns: tuple[str, ...] = ()
    complete: bool = True
    differences: tuple[str, ...] = ()
    unsound: tuple[str, ...] = ()
    keys_unsound: int = 0
    skips: tuple[Skip, ...] = ()

    def in_words(self) -> str:
        """Return how the target differs, without naming rows; empty if it does not."""
        if self.equal:
            return ""
        if self.differences:
            return f"The entry differs: {'; '.join(self.differences)}."
        counts = {"missing": self.rows_missing, "unexpected": self.rows_unexpected, "different": self.rows_different}
        words = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
        columns = f" (in {', '.join(self.columns)})" if self.columns else ""
        rows = f"Rows that differ: {'' if self.complete else 'at least '}{words or 'some, but not any more'}{columns}."
        times = f"Keys whose times overlap or do not end: {self.keys_unsound:,}."
        found = [rows] if words or not self.keys_unsound else []
        found += [times] if self.keys_unsound else []
        return " ".join([*found, *(f"Skipped: {one.snapshots}, by {one.by}: {one.reason}." for one in self.skips)])


@dataclass(frozen=True, slots=True)
class Repair:
    """What putting a target right did.

    Attributes:
        found: How it compared before; None if it could not be read any more.
        rows_restored, rows_removed: Rows delivered again, and rows taken out that the lake does not have.
        verified: How it compares since.
    """

    found: Verification | None
    rows_restored: int
    rows_removed: int
    verified: Verification


def check_verification_interval(seconds: int | None) -> None:
    """Refuse to verify more often than is of use.

    Raises:
        InvalidInputError: If there are to be less than 60 seconds between two verifications, or more than a year.
    """
    if seconds is not None and not _SHORTEST_INTERVAL <= seconds <= _LONGEST_INTERVAL:
        raise InvalidInputError(
            f"A target cannot be verified every {seconds:,} seconds.",
            hint=f"Give {_SHORTEST_INTERVAL} to {_LONGEST_INTERVAL:,} seconds, or none for it not to happen by itself.",
        )


def check_verified(mode: SubscriptionMode) -> None:
    """Refuse to compare with a snapshot what is none.

    Raises:
        NotAllowedError: If the target's table is a log.
    """
    if mode is SubscriptionMode.LOG:
        raise NotAllowedError(
            "A log of changes is not compared with the lake: it equals no snapshot.",
            hint="Subscribe in mode mirror or history for a copy that is proven equal.",
        )


def may_become(state: SubscriptionState, wanted: SubscriptionState) -> bool:
    """Tell whether one state may follow another."""
    return wanted in _TRANSITIONS.get(state, ())


def check_transition(subscription: Subscription, wanted: SubscriptionState) -> None:
    """Refuse a change of state that the rules do not allow.

    Raises:
        LifecycleError: Naming the states that could follow.
    """
    if not may_become(subscription.state, wanted):
        following = ", ".join(sorted(_TRANSITIONS.get(subscription.state, ())))
        raise LifecycleError(
            f"The subscription of {subscription.consumer} to {subscription.dataset} is "
            f"{subscription.state.in_words} and cannot become {wanted.in_words}.",
            hint=f"Possible: {following}." if following else f"None: {subscription.state} is final. Subscribe again.",
        )


def expiry(days: int | None, now: datetime) -> datetime | None:
    """Return when something ends that is asked for, for so many days from now; None for never.

    Raises:
        InvalidInputError: If it cannot be for so many.
    """
    if days is None:
        return None
    if not 1 <= days <= MOST_DAYS:
        raise InvalidInputError(f"A subscription cannot be for {days:,} days.", hint=f"Use 1 to {MOST_DAYS:,}.")
    return now + timedelta(days=days)


def parse_mode(text: str) -> SubscriptionMode:
    """Read the name of a mode.

    Raises:
        InvalidInputError: If there is none of that name.
    """
    try:
        return SubscriptionMode(text)
    except ValueError:
        raise InvalidInputError(
            f"There is no subscription mode {text[:40]!r}.", hint=f"Use one of: {', '.join(SubscriptionMode)}."
        ) from None


def parse_copy_at_end(text: str) -> CopyAtEnd:
    """Read what becomes of a copy at the end.

    Raises:
        InvalidInputError: If there is no such thing.
    """
    try:
        return CopyAtEnd(text)
    except ValueError:
        raise InvalidInputError(
            f"A copy cannot be {text[:40]!r} at the end of its subscription.",
            hint=f"Use one of: {', '.join(CopyAtEnd)}.",
        ) from None
