"""Leaving out snapshots that a target cannot take or is not to have: asked for with a reason, and told ever after.

The cursor passes them without their rows. A mirror differs from the lake then, which comparing it tells, until it is
repaired or those rows change again; so does a history. A log never tells what was left out.
"""

from __future__ import annotations

from uuid import UUID

from cordillera.catalog.leases import fenced_write
from cordillera.catalog.lookup import Lookup
from cordillera.catalog.tables import TableService
from cordillera.context import current
from cordillera.errors import (
    CommitConflictError,
    InvalidInputError,
    LifecycleError,
    NotAllowedError,
    SkipNotFoundError,
    TargetNotFoundError,
)
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.pointing import PointingTarget
from cordillera.ports.synchronizer import Cursor, Delivery, TargetTable
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import DatasetVersion
from cordillera.spec.refs import ancestors
from cordillera.spec.skip import AHEAD, Skip, SkipState, check_range
from cordillera.spec.subscription import Subscription, SubscriptionMode
from cordillera.spec.texts import check_texts
from cordillera.subscriptions.following import Followed
from cordillera.subscriptions.handlers import enqueue_delivery, enqueue_verification
from cordillera.subscriptions.moves import tell
from cordillera.subscriptions.service import SynchronizerFactory


class SkipService:
    """Takes note of what deliveries are to leave out.

    Args:
        store: Keeps subscriptions.
        lookup: Knows who may see and do what.
        tables: Knows the snapshots there are.
        synchronizers: Builds synchronizers, which know what their kind can do.
        clock: Time.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        tables: TableService,
        synchronizers: SynchronizerFactory,
        clock: Clock,
    ) -> None:
        self._store, self._lookup, self._tables = store, lookup, tables
        self._synchronizers, self._clock = synchronizers, clock

    def skip(self, subscription_id: UUID, last: int, *, first: int | None = None, reason: str) -> Skip:
        """Have deliveries leave out the changes of some snapshots, when they come to them.

        Args:
            subscription_id: Whose.
            last: Sequence number of the last snapshot left out.
            first: Of the first; by default the one behind that which the target holds.
            reason: Why.

        Raises:
            SubscriptionNotFoundError: If there is no such subscription that whoever acts may see.
            AccessDeniedError: If he may not alter it.
            LifecycleError: If it has ended, or nothing has been delivered yet.
            NotAllowedError: If its target takes whole contents only, which leave nothing out.
            InvalidInputError: If no reason is given, or the range cannot be.
        """
        check_texts("subscription", str(subscription_id), reason=reason)
        if not reason.strip():
            raise InvalidInputError("Snapshots are not skipped without a reason.", hint="Say why: it is told to all.")
        with self._store.read() as tx:
            known = self._snapshots(tx, self._lookup.subscription(tx, subscription_id, Privilege.ALTER))
        with self._store.write() as tx:
            found = self._lookup.subscription(tx, subscription_id, Privilege.ALTER, lock=True)
            self._check_skips(tx, found)
            held, now = found.cursor_sequence or 0, self._clock.now()
            begins = held + 1 if first is None else first
            waiting = tx.subscriptions.skips(subscription_id, *AHEAD)
            check_range(begins, last, held=held, latest=max(known, default=0), waiting=waiting)
            _check_known({*known, held}, found, begins - 1, last)
            tx.subscriptions.add_skip(
                Skip(0, subscription_id, begins, last, current().principal, now, reason.strip())  # numbered when stored
            )
            made = tx.subscriptions.skips(subscription_id, SkipState.WAITING)[-1]
            told = f"{made.snapshots} to be skipped: {made.reason}"
            tx.subscriptions.note_change(found.id, found.state, made.by, now, told)
            tell(tx, found, now, "skip", told)
            enqueue_delivery(tx, found, self._clock)
        return made

    def withdraw(self, subscription_id: UUID, number: int, *, reason: str = "") -> Skip:
        """Have deliveries bring all the same what they were to leave out, and return that.

        Args:
            subscription_id: Whose.
            number: The number of the skip.
            reason: Why.

        Raises:
            SubscriptionNotFoundError: If there is no such subscription that whoever acts may see.
            AccessDeniedError: If he may not alter it.
            SkipNotFoundError: If it leaves nothing out under that number.
            LifecycleError: If deliveries have come to the snapshots.
        """
        check_texts("subscription", str(subscription_id), reason=reason)
        with self._store.write() as tx:
            found = self._lookup.subscription(tx, subscription_id, Privilege.ALTER, lock=True)
            skips = {one.number: one for one in tx.subscriptions.skips(subscription_id)}
            if number not in skips:
                raise SkipNotFoundError(
                    f"The subscription of {found.consumer} to {found.dataset} has no skip {number}.",
                    hint=f"See: cordillera subscription show {subscription_id}.",
                )
            skip, now = skips[number], self._clock.now()
            if not tx.subscriptions.remove_skip(number):
                raise LifecycleError(
                    f"It is too late: deliveries have come to {skip.snapshots} of {found.dataset}, and leave them out.",
                    hint=f"What is missing in the target, a repair brings: cordillera subscription repair {found.id}.",
                )
            told = f"{skip.snapshots} not to be skipped any more" + (f": {reason.strip()}" if reason.strip() else "")
            tx.subscriptions.note_change(found.id, found.state, current().principal, now, told)
            tell(tx, found, now, "withdraw_skip", told)
            enqueue_delivery(tx, found, self._clock)
        return skip

    def _snapshots(self, tx: Transaction, subscription: Subscription) -> set[int]:
        """Return the sequence numbers of the commits that can be delivered up to."""
        version: DatasetVersion | None = tx.dataset_versions.get(subscription.dataset_version_id)
        if version is None:
            return set()
        metadata = self._tables.load(version)
        return {one.sequence_number for one in ancestors(metadata, metadata.current_snapshot_id)}

    def _check_skips(self, tx: Transaction, subscription: Subscription) -> None:
        if subscription.is_over(self._clock.now()) or subscription.cursor_sequence is None:
            what = "has delivered nothing yet" if subscription.cursor_sequence is None else "has ended"
            raise LifecycleError(
                f"The subscription of {subscription.consumer} to {subscription.dataset} {what}: there is no skipping.",
                hint="A first delivery brings the rows there are, whichever snapshots they are from.",
            )
        target = tx.targets.get(subscription.target)
        if target is None:
            raise TargetNotFoundError(f"The target {subscription.target} of a subscription is gone.")
        driver = self._synchronizers(target.kind, target.config)
        try:
            leaves_out = not isinstance(driver, PointingTarget) and driver.capabilities.merges
        finally:
            driver.close()
        if not leaves_out:
            raise NotAllowedError(
                f"The target {target.name} has the whole of {subscription.dataset} at every delivery: no snapshot can "
                "be left out.",
                hint="Pause the subscription until the dataset is as it should be.",
            )


def _check_known(known: set[int], subscription: Subscription, *ends: int) -> None:
    missing = next((number for number in ends if number not in known), None)
    if missing is not None:
        raise InvalidInputError(
            f"{subscription.dataset} has no snapshot {missing:,} that the target could be brought to: it has expired, "
            "or is of a branch.",
            hint=f"See: cordillera snapshot list {subscription.dataset}.",
        )


# --- when deliveries are made -----------------------------------------------------------------------------------------


def nothing(followed: Followed, table: TargetTable, cursor: Cursor) -> Delivery:
    """Return a delivery that moves the cursor and changes columns, but brings no rows."""
    rows = table.arrow_schema().empty_table()
    return Delivery(
        followed.subscription.id,
        table,
        cursor,
        followed.latest,
        replace=False,
        upserts=rows.to_reader,
        deletes=rows.select(list(table.key)).to_reader,
        origin=followed.origin,
    )


def note_passing(store: MetadataStore, followed: Followed, clock: Clock) -> None:
    """Note that a target is about to pass snapshots without their rows: from now on nobody can withdraw that.

    Raises:
        CommitConflictError: If somebody has, meanwhile.
    """
    subscription, reached = followed.subscription, followed.latest.sequence_number
    with fenced_write(store, clock.now()) as tx:
        tx.subscriptions.settle_skips(subscription.id, [SkipState.WAITING], SkipState.PASSING, upto=reached)
        passing = tx.subscriptions.skips(subscription.id, SkipState.PASSING)
        if not any(one.first_sequence <= reached <= one.last_sequence for one in passing):
            raise CommitConflictError(
                f"Snapshot {reached:,} of {subscription.dataset} is not to be skipped any more.",
                hint="Nothing was delivered; the next delivery brings it.",
            )


def note_skipped(tx: Transaction, subscription: Subscription, reached: int, clock: Clock) -> None:
    """Note that a target has passed snapshots without their rows, and have it compared: it tells how it differs."""
    for one in tx.subscriptions.skips(subscription.id, *AHEAD):
        if one.last_sequence <= reached:
            told = f"{one.snapshots} skipped, as {one.by} had said: {one.reason}"
            tx.subscriptions.note_change(subscription.id, subscription.state, current().principal, clock.now(), told)
    tx.subscriptions.settle_skips(subscription.id, AHEAD, SkipState.SKIPPED, upto=reached)
    if subscription.mode is not SubscriptionMode.LOG:
        enqueue_verification(tx, subscription, clock)


def check_not_skipped(tx: Transaction, followed: Followed, cursor: Cursor) -> None:
    """Make sure that nobody has said meanwhile that what is delivered is to be left out.

    Raises:
        CommitConflictError: If somebody has.
    """
    subscription, reached = followed.subscription, followed.latest.sequence_number
    for one in tx.subscriptions.skips(subscription.id, *AHEAD):
        if one.first_sequence <= reached and cursor.sequence_number < one.last_sequence:
            raise CommitConflictError(
                f"{one.by} has said that {one.snapshots} of {subscription.dataset} are to be skipped, while they were "
                "delivered.",
                hint="Nothing was delivered; the next delivery leaves them out.",
            )
