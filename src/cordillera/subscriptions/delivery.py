"""Deliveries: bringing a target to where its dataset is, exactly once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from cordillera.catalog.leases import fenced_write, last_write
from cordillera.catalog.tables import TableService
from cordillera.context import current
from cordillera.errors import (
    CommitConflictError,
    CordilleraError,
    DeliveryStoppedError,
    DeliveryUnderWayError,
    IncompatibleSchemaError,
    NotAllowedError,
    TargetDriftError,
    TerminalError,
    TransientError,
)
from cordillera.metrics import BYTES_DELIVERED, DELIVERY_SECONDS
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.metadata.subscriptions import ANEW
from cordillera.ports.pointing import PointingTarget
from cordillera.ports.synchronizer import Cursor, Delivery, DeliveryResult, Synchronizer
from cordillera.spec.delivery_reason import DeliveryReason
from cordillera.spec.delivery_record import DeliveryRecord
from cordillera.spec.skip import AHEAD, Skip, SkipState, Stretch, cut, stretches
from cordillera.spec.subscription import (
    DELIVERING,
    ENDED,
    Subscription,
    SubscriptionMode,
    SubscriptionState,
    may_become,
)
from cordillera.subscriptions.change_log import log_delivery
from cordillera.subscriptions.following import Followed, Following, watched
from cordillera.subscriptions.handlers import DELIVER, enqueue_verification
from cordillera.subscriptions.measuring import Measured, count_cost, count_rows
from cordillera.subscriptions.moves import expire, follow_names, move, tell
from cordillera.subscriptions.planning import Planner
from cordillera.subscriptions.pointing import Pointing
from cordillera.subscriptions.row_history import history_delivery, kept_table
from cordillera.subscriptions.service import check_mode
from cordillera.subscriptions.skips import check_not_skipped, note_passing, note_skipped, nothing

MOST_BYTES = 1024**3
"""How many bytes of files the commits of one delivery wrote, if there are several of them."""


class DeliveryService:
    """Delivers changes to targets.

    Args:
        store: Keeps subscriptions.
        following: Knows what they follow.
        pointing: Keeps targets that rows are not carried to.
        tables: Tells what changed.
        clock: Time.
    """

    def __init__(
        self, store: MetadataStore, following: Following, pointing: Pointing, tables: TableService, clock: Clock
    ) -> None:
        self._store, self._following, self._pointing = store, following, pointing
        self._tables, self._clock = tables, clock
        self._planner = Planner(following, tables)

    def deliver(self, subscription_id: UUID) -> DeliveryResult | None:
        """Bring a subscription's target to the dataset's current snapshot.

        What to deliver is worked out from the cursor that the target itself holds. A failure that a retry will not
        cure puts the subscription into the state failed, with the reason; another is noted as its last error.

        Returns:
            What the delivery did; None if there was nothing to do.

        Raises:
            TransientError: If a retry may help.
        """
        try:
            with self._store.read() as tx:
                followed = self._following.followed(tx, subscription_id)
                if followed is None or followed.subscription.state not in DELIVERING:
                    return None
                if followed.subscription.is_over(self._clock.now()):
                    self.expire(subscription_id)
                    return None
                self._step(followed, SubscriptionState.PROVISIONING)
                followed = self._following.admitted(tx, followed)
            with self._following.connected(followed) as driver:
                if isinstance(driver, PointingTarget):
                    return self._point(followed, driver)
                return self._bring_up(followed, driver)
        except DeliveryStoppedError:
            return None  # it was stopped under way; nothing has come of it
        except TerminalError as error:
            self._fail(subscription_id, error)
            raise
        except TransientError as error:
            # Not with a lease that was lost, for instance: then it is another worker's to tell.
            with suppress(CordilleraError), fenced_write(self._store, self._clock.now()) as tx:
                tx.subscriptions.note_error(subscription_id, str(error), self._clock.now(), error_code=error.code)
            raise

    def expire(self, subscription_id: UUID) -> None:
        """End a subscription if its time is over, by now: it may have been given more."""
        with fenced_write(self._store, self._clock.now()) as tx:
            found = tx.subscriptions.lock(subscription_id)
            if found is not None and found.state not in ENDED and found.is_over(self._clock.now()):
                expire(tx, found, self._clock)

    def withdraw(self, subscription_id: UUID, *, keep_rows: bool) -> None:
        """Make a target forget a subscription that has ended, and note what has become of its copy.

        Raises:
            DeliveryUnderWayError: If a worker has it in hand, who may have seen too late that nothing is to come.
        """
        with self._store.read() as tx:
            followed = self._following.followed(tx, subscription_id)
        if followed is None:
            return
        one = followed.subscription
        with self._store.read() as tx:
            if tx.tasks.is_running(DELIVER, str(subscription_id)):
                raise DeliveryUnderWayError(
                    f"{one.dataset} is just being delivered to {one.target}.",
                    hint="When that is over, what there is of it goes.",
                )
        table = f"the table {one.target_table} in {one.target}"
        try:
            with self._following.connected(followed) as driver:
                if not isinstance(driver, PointingTarget):
                    driver.drop(subscription_id, followed.table(), keep_rows=keep_rows)
                elif not keep_rows:
                    self._pointing.remove(one, driver)
        except TerminalError as error:
            left = f"{table} could not be {'let go' if keep_rows else 'removed'}: {error.code.replace('_', ' ')}"
            self._note_copy(one, "leave_copy", left)
            raise
        if keep_rows:
            self._note_copy(one, "freeze_copy", f"{table} stays as it is")
        else:
            self._note_copy(one, "remove_copy", f"{table} was removed")

    # --- planning ------------------------------------------------------------------------------------------------

    def _point(self, followed: Followed, target: PointingTarget) -> DeliveryResult | None:
        self._following.check_files(followed)
        subscription, taken = followed.subscription, Measured(self._clock.now())
        held = subscription.cursor_sequence
        if held is None:
            self._step(followed, SubscriptionState.FIRST_SYNC)
        pointed = self._pointing.bring_up(followed, target, lambda: self._check_wanted(followed))
        if pointed is None:
            return None
        record, result = None, DeliveryResult(0, 0, already_applied=not pointed.changed)
        if pointed.changed:
            reached = pointed.newest.latest.sequence_number
            record = taken.record(subscription, result, self._clock, held=held, reached=reached, whole=False)
            DELIVERY_SECONDS.labels(subscription.target).observe(record.seconds)
        self._advance(pointed.newest, record, whole=held is None)
        return result

    def _bring_up(self, followed: Followed, synchronizer: Synchronizer) -> DeliveryResult | None:
        subscription = followed.subscription
        if not followed.has_row_ids:
            return None
        taken = Measured(self._clock.now())
        cursor = synchronizer.read_cursor(subscription.id)
        if cursor is not None and followed.is_behind(cursor):
            followed = self._by_now(followed, cursor)
        self._prove_unnoted(subscription, cursor)
        anew = followed.held_rows != followed.fingerprint
        mirrors = subscription.mode is SubscriptionMode.MIRROR
        skips = self._waiting_skips(followed, cursor)
        if cursor is None:
            self._step(followed, SubscriptionState.FIRST_SYNC)
        if cursor == followed.latest and not anew:
            compared = subscription.mode is not SubscriptionMode.LOG
            self._advance(followed, whole=compared and subscription.cursor_sequence is None)
            return None
        result = None
        changes = synchronizer.capabilities.merges and not anew
        if anew or (mirrors and cursor is not None and not followed.can_follow_from(cursor)):
            skips, changes = [], False  # everything comes anew, which leaves nothing out
        for stretch in _way(followed, cursor, skips, in_parts=changes):
            part = followed.upto(stretch.upto)
            if stretch.skipped and cursor is not None:
                result = self._skip(part, cursor, synchronizer)
            else:
                result = self._bring(part, cursor, synchronizer, taken)
            cursor, taken = part.latest, Measured(self._clock.now())
        return result

    def _prove_unnoted(self, subscription: Subscription, cursor: Cursor | None) -> None:
        """Have a target compared that is further than the lake has noted.

        A worker has died before he could note it; or an earlier state of the lake was put back, whose snapshots of the
        same numbers have other rows than those that were delivered.
        """
        noted = subscription.cursor_sequence
        behind = cursor is not None and noted is not None and noted < cursor.sequence_number
        if behind and subscription.mode is not SubscriptionMode.LOG:
            with fenced_write(self._store, self._clock.now()) as tx:
                enqueue_verification(tx, subscription, self._clock)

    def _by_now(self, followed: Followed, cursor: Cursor) -> Followed:
        """Return what is followed, read after the target's cursor.

        Where that is ahead, another worker has been further or, if it still is, an earlier schema is current again.

        Raises:
            TargetDriftError: If the lake has no snapshot that is so new.
        """
        with self._store.read() as tx:
            if (found := self._following.followed(tx, followed.subscription.id)) is not None:
                followed = self._following.admitted(tx, found)
        one, newest = followed.subscription, followed.latest.sequence_number
        if cursor.sequence_number > newest:
            raise TargetDriftError(
                f"{one.target} holds snapshot {cursor.sequence_number} of {one.dataset}, whose newest is {newest}: an "
                "earlier state of the lake was put back.",
                hint="What came between is in the target only. Revoke the subscription, with --delete-rows if that is "
                "not needed any more, and subscribe again.",
            )
        return followed

    def _bring(
        self, followed: Followed, cursor: Cursor | None, synchronizer: Synchronizer, taken: Measured
    ) -> DeliveryResult:
        """Deliver what takes a target from its cursor to a snapshot, by what was shown of the rows it holds."""
        if followed.subscription.mode is not SubscriptionMode.MIRROR:
            return self._append(followed, cursor, synchronizer, taken)
        if followed.held_rows != followed.fingerprint and cursor is not None:
            delivery = self._planner.everything(followed, cursor, DeliveryReason.SHOWN_OTHERWISE)
        else:
            delivery = self._planner.plan(synchronizer.capabilities, followed, cursor)
        try:
            result = synchronizer.apply(taken.of(self._watched(delivery, followed)))
        except IncompatibleSchemaError:
            if delivery.replace:
                raise
            # The target cannot change its table in place; what it would refuse of the old rows, it takes anew.
            delivery = self._planner.everything(followed, cursor, DeliveryReason.TABLE_DIFFERS)
            result = synchronizer.apply(taken.of(self._watched(delivery, followed)))
        self._delivered(followed, delivery, result, taken)
        return result

    def _skip(self, followed: Followed, cursor: Cursor, synchronizer: Synchronizer) -> DeliveryResult:
        """Move a target's cursor to a snapshot without the rows; schema changes travel all the same."""
        self._check_wanted(followed)
        note_passing(self._store, followed, self._clock)
        result = synchronizer.apply(nothing(followed, kept_table(followed), cursor))
        self._advance(followed, passed=SkipState.SKIPPED)
        return result

    def _append(
        self, followed: Followed, cursor: Cursor | None, synchronizer: Synchronizer, taken: Measured
    ) -> DeliveryResult:
        """Append to a log or a history what has changed since; what it holds is never delivered anew, unless it was
        none.

        Raises:
            NotAllowedError: If what may be shown of the rows is not what it was: the table tells what was shown before;
                or if the target cannot keep such a table.
        """
        subscription, shown = followed.subscription, followed.held_rows
        check_mode(subscription, synchronizer.capabilities)
        goes_on = cursor is None or shown == ANEW or (shown == followed.fingerprint and followed.filters_as(cursor))
        if not goes_on:
            raise NotAllowedError(
                f"What is shown of {subscription.dataset} for this subscription has changed; its {subscription.mode} "
                f"in {subscription.target} tells what was shown before.",
                hint=f"Revoke it, with --delete-rows if the {subscription.mode} may not stay, and subscribe again.",
            )
        planned = log_delivery if subscription.mode is SubscriptionMode.LOG else history_delivery
        delivery = planned(self._tables, followed, cursor, anew=cursor is not None and shown == ANEW)
        result = synchronizer.apply(taken.of(self._watched(delivery, followed)))
        self._delivered(followed, delivery, result, taken)
        return result

    def _delivered(self, followed: Followed, delivery: Delivery, result: DeliveryResult, taken: Measured) -> None:
        target = followed.subscription.target
        record = None
        if not result.already_applied:
            held = delivery.from_cursor.sequence_number if delivery.from_cursor else None
            reached = delivery.to_cursor.sequence_number
            record = taken.record(
                followed.subscription,
                result,
                self._clock,
                held=held,
                reached=reached,
                whole=delivery.replace,
                why=delivery.why,
            )
            count_rows(target, record)
            BYTES_DELIVERED.labels(target).inc(record.bytes)
            DELIVERY_SECONDS.labels(target).observe(record.seconds)
        self._advance(followed, record, whole=delivery.replace)

    def _waiting_skips(self, followed: Followed, cursor: Cursor | None) -> list[Skip]:
        """Return what is to be left out, having noted what the target has passed without that being known here."""
        held = cursor.sequence_number if cursor else 0
        if any(one.last_sequence <= held for one in followed.skips):
            with fenced_write(self._store, self._clock.now()) as tx:
                note_skipped(tx, followed.subscription, held, self._clock)
        return [one for one in followed.skips if one.last_sequence > held]

    # --- stopping ------------------------------------------------------------------------------------------------

    def _watched(self, delivery: Delivery, followed: Followed) -> Delivery:
        """Return the same at the target's pace; it breaks off once it is not wanted, last before its end."""

        follows_on = delivery.from_cursor if not delivery.replace else None
        paced = self._following.paced(delivery, followed)
        return replace(paced, upserts=watched(paced.upserts, lambda: self._check_wanted(followed, follows_on)))

    def _check_wanted(self, followed: Followed, follows_on: Cursor | None = None) -> None:
        """Make sure that a delivery under way may be completed.

        Args:
            followed: What was followed when it began.
            follows_on: Where the changes begin that it brings, which might be skipped by now; None for no changes.

        Raises:
            DeliveryStoppedError: If the subscription was stopped meanwhile.
            AccessDeniedError: If whoever asked for it may not read the dataset, or not write to the target, any more.
            CommitConflictError: If he is shown something else by now, or changes are to be skipped.
        """
        with self._store.read() as tx:
            standing = tx.subscriptions.standing(followed.subscription.id)
            if standing is None or not self._takes_deliveries(standing.subscription):
                raise DeliveryStoppedError(
                    f"The subscription to {followed.subscription.dataset} was stopped during a delivery.",
                    hint="Nothing of it was delivered.",
                )
            found = standing.subscription
            if not followed.is_wished(found):
                raise CommitConflictError(
                    f"What is wished of {found.dataset} in {found.target} changed during a delivery.",
                    hint="Nothing was delivered; the next delivery brings what is wished for now.",
                )
            by_now = self._following.admitted(tx, followed.now(standing))
            if by_now.fingerprint != followed.fingerprint:
                raise CommitConflictError(
                    f"What {found.on_behalf_of} is shown of {found.dataset} changed during a delivery.",
                    hint="Nothing was delivered; the next delivery follows what is shown now.",
                )
            if follows_on is not None and standing.leaves_out:
                check_not_skipped(tx, followed, follows_on)

    def _takes_deliveries(self, subscription: Subscription) -> bool:
        return subscription.state in DELIVERING and not subscription.is_over(self._clock.now())

    # --- noting --------------------------------------------------------------------------------------------------

    def _step(self, followed: Followed, wanted: SubscriptionState) -> None:
        """Note how far a first delivery has come."""
        if followed.subscription.state is SubscriptionState.LIVE:
            return
        with fenced_write(self._store, self._clock.now()) as tx:
            found = tx.subscriptions.lock(followed.subscription.id)
            if found is not None and may_become(found.state, wanted):
                move(tx, found, wanted, self._clock.now(), reason=_STEPS[wanted])

    def _fail(self, subscription_id: UUID, error: TerminalError) -> None:
        """Note a failure; one that was stopped meanwhile stays so."""
        with fenced_write(self._store, self._clock.now()) as tx:
            found = tx.subscriptions.lock(subscription_id)
            if found is not None and may_become(found.state, SubscriptionState.FAILED):
                move(tx, found, SubscriptionState.FAILED, self._clock.now(), action="fail", error=error)

    def _advance(
        self,
        followed: Followed,
        record: DeliveryRecord | None = None,
        *,
        whole: bool = False,
        passed: SkipState = SkipState.MADE_GOOD,
    ) -> None:
        """Note a delivery, with its figures if they are known; one of the whole content is to be verified. The last
        one's task ends with that.

        Args:
            followed: What was followed, and where to.
            record: The figures.
            whole: Whether every row was brought.
            passed: What has become of snapshots that were to be left out, and lie behind the target by now.
        """
        write = fenced_write if followed.goes_on else last_write
        with write(self._store, self._clock.now()) as tx:
            found = tx.subscriptions.lock(followed.subscription.id)
            if found is None:
                return
            now = self._clock.now()
            if found.state not in (SubscriptionState.LIVE, SubscriptionState.PAUSED) and may_become(
                found.state, SubscriptionState.LIVE
            ):
                reason = f"equal to snapshot {followed.latest.sequence_number}"
                move(tx, found, SubscriptionState.LIVE, now, reason=reason)
            tx.subscriptions.advance(
                found.id,
                sequence_number=followed.latest.sequence_number,
                schema_id=followed.latest.schema_id,
                rows=record.rows_upserted + record.rows_deleted if record else 0,
                now=now,
                shown=followed.fingerprint if followed.is_wished(found) else ANEW,
            )
            if followed.is_wished(found):
                follow_names(tx, found, followed.wished(), now)
            if record is not None:
                tx.subscriptions.note_delivery(record)
                count_cost(record)
            reached = followed.latest.sequence_number
            if passed is SkipState.SKIPPED:
                note_skipped(tx, found, reached, self._clock)
            else:
                tx.subscriptions.settle_skips(found.id, AHEAD, passed, upto=reached)
            if whole:
                tx.subscriptions.settle_skips(found.id, [SkipState.SKIPPED], SkipState.MADE_GOOD, upto=reached)
            if whole and found.mode is not SubscriptionMode.LOG:
                enqueue_verification(tx, followed.subscription, self._clock)

    def _note_copy(self, subscription: Subscription, action: str, told: str) -> None:
        with fenced_write(self._store, self._clock.now()) as tx:
            now = self._clock.now()
            tx.subscriptions.note_change(subscription.id, subscription.state, current().principal, now, told)
            tell(tx, subscription, now, action, told)


def _way(followed: Followed, cursor: Cursor | None, skips: list[Skip], *, in_parts: bool) -> tuple[Stretch, ...]:
    """Return how a target gets to where the dataset is: in one delivery, but for what is left out and for long runs.

    A delivery is one transaction. What many commits wrote while a target was away would be a long one, which begins
    from the start if anything goes wrong.
    """
    held = cursor.sequence_number if cursor else 0
    way = stretches(held, followed.latest.sequence_number, skips)
    sizes = followed.sizes() if in_parts and held else {}
    return cut(way, held, sizes, MOST_BYTES) if held in sizes else way


_STEPS = {SubscriptionState.PROVISIONING: "a worker has begun", SubscriptionState.FIRST_SYNC: "the first delivery"}
