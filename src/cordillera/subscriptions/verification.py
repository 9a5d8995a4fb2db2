"""Proving that targets equal the lake, and putting right what somebody else has changed in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pyarrow as pa

from cordillera.catalog.leases import fenced_write
from cordillera.catalog.trail import Trail
from cordillera.errors import (
    CommitConflictError,
    LifecycleError,
    SubscriptionNotFoundError,
    TargetDriftError,
    TargetUnreachableError,
    TerminalError,
)
from cordillera.metrics import VERIFICATIONS
from cordillera.ports.clock import Clock
from cordillera.ports.engine import QueryEngine
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.pointing import AnyTarget, PointingTarget
from cordillera.ports.synchronizer import Cursor, Delivery, DeliveryResult, Synchronizer
from cordillera.spec import sql
from cordillera.spec.event import Topic
from cordillera.spec.row_checksum import spell
from cordillera.spec.skip import SkipState
from cordillera.spec.subscription import (
    Equality,
    Repair,
    Subscription,
    SubscriptionMode,
    Verification,
    check_verified,
)
from cordillera.subscriptions.equality import Comparer, Comparison
from cordillera.subscriptions.following import Followed, Following, typed, watched
from cordillera.subscriptions.handlers import enqueue_verification
from cordillera.subscriptions.pointing import Pointing
from cordillera.subscriptions.row_history import compared_table, find_unsound, history_repair, history_table

_EXAMPLES = 5
_ATTEMPTS = 3


class VerificationService:
    """Compares targets with the lake, notes what that finds, and repairs.

    Args:
        store: Keeps subscriptions.
        following: Knows what they follow.
        pointing: Compares targets that rows are not carried to.
        engine: Compares.
        clock: Time.
    """

    def __init__(
        self, store: MetadataStore, following: Following, pointing: Pointing, engine: QueryEngine, clock: Clock
    ) -> None:
        self._store, self._following, self._pointing = store, following, pointing
        self._engine, self._clock = engine, clock

    def verify(self, subscription_id: UUID) -> Verification:
        """Compare a target with the lake, as of the target's cursor, by keyed checksum, and note the outcome.

        A target that points at the lake's files is compared by the file that its entry names, and by its columns.

        Raises:
            TargetDriftError: If the target's table or a column is gone, or it holds no cursor.
            TargetUnreachableError: If the target cannot be reached, or deliveries keep it from standing still.
            SnapshotNotFoundError: If the snapshot that the target holds has expired.
            NotAllowedError: If it keeps a log, which equals no snapshot, and which does not fold into rows.
        """
        with self._store.read() as tx:
            followed = self._followed(tx, subscription_id)
        with self._following.connected(followed) as driver:
            _check_comparable(followed, driver)
            return self._verified(followed, driver)

    def repair(self, subscription_id: UUID) -> Repair:
        """Put right the rows in which a target differs: deliver those again, remove what the lake does not have.

        All of it happens in one transaction of the target, which changes nothing else. A target that points at the
        lake's files points at them again.

        Raises:
            LifecycleError: If the subscription has ended.
            AccessDeniedError: If whoever asked for it may no longer read the dataset or write to the target.
            CommitConflictError: If something else is shown or wished for by the time that the rows have been read.
            TargetDriftError, TargetUnreachableError, SnapshotNotFoundError, NotAllowedError: As for ``verify``.
        """
        followed = self._repairable(subscription_id)
        with self._following.connected(followed) as driver:
            _check_comparable(followed, driver)
            if isinstance(driver, PointingTarget):
                return self._pointed_right(followed, driver)
            found, drift, delivery = self._found(followed, driver)
            done = DeliveryResult(0, 0)
            if drift:
                paced = self._following.paced(delivery, followed)
                rows = watched(paced.upserts, lambda: self._check_unchanged(followed))
                done = driver.apply(replace(paced, upserts=rows))
                self._audit(followed.subscription, drift, done)
            verified = self._verified(followed, driver)
        return Repair(found, done.rows_upserted, done.rows_deleted, verified)

    def perform(self, payload: Mapping[str, Any]) -> None:
        """Do a task that ``enqueue_verification`` made; see there."""
        subscription_id, every = UUID(payload["subscription_id"]), payload["every"]
        with self._store.read() as tx:
            standing = tx.subscriptions.standing(subscription_id)
        if standing is None or standing.subscription.is_over(self._clock.now()):
            return
        subscription = standing.subscription
        if every is not None and every != subscription.verify_every_seconds:
            return
        try:
            if subscription.cursor_sequence is not None:
                self.verify(subscription_id)
        except TerminalError:
            self._plan_next(subscription, every)
            raise
        self._plan_next(subscription, every)

    # --- comparing -----------------------------------------------------------------------------------------------

    def _verified(self, followed: Followed, driver: AnyTarget) -> Verification:
        """Compare, and note the outcome."""
        try:
            if isinstance(driver, PointingTarget):
                found = self._pointing.compare(followed, driver)
            else:
                found = self._compared(followed, driver)[1]
        except TargetDriftError as error:
            if followed.subscription.cursor_sequence is not None:
                self._note(followed, Equality.DRIFTED, followed.subscription.cursor_sequence, error.message)
            raise
        if not found.equal:
            with self._store.read() as tx:
                found = replace(found, skips=tuple(tx.subscriptions.skips(found.subscription_id, SkipState.SKIPPED)))
        equality = Equality.EQUAL if found.equal else Equality.DRIFTED
        self._note(followed, equality, found.sequence_number, found.in_words())
        return found

    def _compared(self, followed: Followed, synchronizer: Synchronizer) -> tuple[Comparison, Verification, Cursor]:
        """Compare; again, if a delivery came in between."""
        for _ in range(_ATTEMPTS):
            cursor = self._cursor(followed.subscription, synchronizer)
            comparison = self._comparison(followed.under_schema(cursor.schema_id), cursor, synchronizer)
            found = self._sound(
                followed, cursor, _verification(followed.subscription.id, cursor, comparison), synchronizer
            )
            if found.equal or synchronizer.read_cursor(followed.subscription.id) == cursor:
                return comparison, found, cursor
            with self._store.read() as tx:
                followed = self._followed(tx, followed.subscription.id)
        raise TargetUnreachableError(
            f"The target {followed.subscription.target} was delivered to while it was compared, again and again.",
            hint="Try again, or pause the subscription first.",
        )

    def _comparison(self, followed: Followed, cursor: Cursor, synchronizer: Synchronizer) -> Comparison:
        table = followed.table()

        def rows() -> pa.RecordBatchReader:
            return self._following.all_rows(followed, table, cursor.sequence_number)

        return Comparer(self._engine, compared_table(followed), rows, synchronizer).compare()

    def _sound(
        self, followed: Followed, cursor: Cursor, found: Verification, synchronizer: Synchronizer
    ) -> Verification:
        """Return an outcome with what is wrong about the times of a history, if the target keeps one."""
        if followed.subscription.mode is not SubscriptionMode.HISTORY:
            return found
        table = history_table(followed.under_schema(cursor.schema_id))
        wrong = find_unsound(self._engine, synchronizer, table)
        return replace(found, equal=found.equal and not wrong.keys, unsound=wrong.examples, keys_unsound=wrong.keys)

    def _cursor(self, subscription: Subscription, synchronizer: Synchronizer) -> Cursor:
        cursor = synchronizer.read_cursor(subscription.id)
        if cursor is None:
            raise TargetDriftError(
                f"The target {subscription.target} has had no delivery for {subscription.dataset}.",
                hint="Start a worker, and look at the subscription's last error.",
            )
        return cursor

    def _followed(self, tx: Transaction, subscription_id: UUID) -> Followed:
        followed = self._following.followed(tx, subscription_id)
        if followed is None:
            raise SubscriptionNotFoundError(
                f"There is no subscription {subscription_id}.", hint="See: cordillera subscription list."
            )
        return self._following.as_shown(tx, followed)

    # --- repairing -----------------------------------------------------------------------------------------------

    def _repairable(self, subscription_id: UUID) -> Followed:
        with self._store.read() as tx:
            followed = self._followed(tx, subscription_id)
            subscription = followed.subscription
            if subscription.is_over(self._clock.now()):
                raise LifecycleError(
                    f"The subscription of {subscription.consumer} to {subscription.dataset} has ended: its table is "
                    "no longer kept like the dataset.",
                    hint="Subscribe again.",
                )
            return self._following.admitted(tx, followed)

    def _check_unchanged(self, followed: Followed) -> None:
        """Make sure that a repair under way may be completed: as for a delivery, last before its end."""
        by_now = self._repairable(followed.subscription.id)
        if by_now.fingerprint != followed.fingerprint or not followed.is_wished(by_now.subscription):
            raise CommitConflictError(
                f"What is wished or shown of {followed.subscription.dataset} changed during a repair.",
                hint="Nothing was repaired; repeat it once that is delivered.",
            )

    def _pointed_right(self, followed: Followed, target: PointingTarget) -> Repair:
        found: Verification | None = None
        try:
            found = self._pointing.compare(followed, target)
            drift = found.in_words()
        except TargetDriftError as error:  # there is no entry any more, or it is not the subscription's
            drift = error.message
        if drift:
            self._following.check_files(followed)
            self._pointing.put_right(followed, target)
            self._audit(followed.subscription, drift, DeliveryResult(0, 0))
        return Repair(found, 0, 0, self._verified(followed, target))

    def _found(self, followed: Followed, synchronizer: Synchronizer) -> tuple[Verification | None, str, Delivery]:
        """Compare, and return the outcome, how the target differs in words, and the delivery that puts it right.

        What the target holds may not be readable as what it should be: its table or a column is gone, or another. Then
        everything comes anew; but for a history, which nothing could bring again.
        """
        merges = synchronizer.capabilities.merges
        try:
            comparison, found, cursor = self._compared(followed, synchronizer)
        except TargetDriftError as error:
            if followed.subscription.mode is SubscriptionMode.HISTORY:
                raise TargetDriftError(
                    f"{error.message} The history in {followed.subscription.target} cannot be repaired as it is.",
                    hint="Put back what is missing, or begin it anew: change the subscription's mode to mirror, and to "
                    "history again once that is delivered.",
                ) from error
            cursor = self._cursor(followed.subscription, synchronizer)
            return None, error.message, self._delivery(followed, cursor, None)
        return found, found.in_words(), self._delivery(followed, cursor, comparison if merges else None)

    def _delivery(self, followed: Followed, cursor: Cursor, comparison: Comparison | None) -> Delivery:
        """Return what brings the differing rows, and nothing else; everything, where they cannot be told apart."""
        followed = followed.under_schema(cursor.schema_id)
        table = followed.table()
        keys = pa.schema([table.arrow_schema().field(name) for name in table.key])
        wanted = gone = None
        keeps_history = followed.subscription.mode is SubscriptionMode.HISTORY
        if comparison is not None and (comparison.complete or keeps_history):
            wanted = comparison.keys("missing", "different").cast(keys)
            gone = comparison.keys("unexpected").cast(keys)

        def restored() -> pa.RecordBatchReader:
            rows = self._following.all_rows(followed, table, cursor.sequence_number)
            if wanted is None:
                return rows
            picked = f"SELECT l.* FROM lake AS l SEMI JOIN wanted AS w ON {sql.equal(table.key, 'l', 'w')}"
            return self._engine.query(picked, {"lake": rows, "wanted": wanted})

        if keeps_history and wanted is not None:
            keys_ended = pa.concat_tables([wanted, gone])
            return history_repair(followed, cursor, typed(restored, table), keys_ended)
        return Delivery(
            followed.subscription.id,
            table,
            from_cursor=cursor,
            to_cursor=cursor,
            replace=wanted is None,
            upserts=typed(restored, table),
            deletes=(keys.empty_table() if gone is None else gone).to_reader,
            repair=True,
            origin=followed.origin,
        )

    def _audit(self, subscription: Subscription, drift: str, done: DeliveryResult) -> None:
        details = {
            "dataset": subscription.dataset,
            "target": subscription.target,
            "drift": drift,
            "rows_restored": done.rows_upserted,
            "rows_removed": done.rows_deleted,
        }
        with self._store.write() as tx:
            Trail(tx, self._clock.now()).audit("subscription.repair", "subscription", str(subscription.id), details)

    # --- noting --------------------------------------------------------------------------------------------------

    def _note(self, followed: Followed, equality: Equality, sequence: int, drift: str) -> None:
        """Note an outcome, and tell of it if it is news."""
        subscription, now = followed.subscription, self._clock.now()
        VERIFICATIONS.labels(equality).inc()
        with fenced_write(self._store, now) as tx:
            if equality is Equality.EQUAL:
                tx.subscriptions.settle_skips(subscription.id, [SkipState.SKIPPED], SkipState.MADE_GOOD, upto=sequence)
            if tx.subscriptions.note_verification(
                subscription.id, equality, sequence_number=sequence, drift=drift, now=now
            ):
                payload = {
                    "subscription_id": str(subscription.id),
                    "equality": equality,
                    "sequence_number": sequence,
                    "drift": drift,
                }
                Trail(tx, now).event(
                    Topic.SUBSCRIPTION_VERIFIED, subscription.dataset, subscription.dataset_version_id, payload
                )

    def _plan_next(self, subscription: Subscription, every: int | None) -> None:
        if every is not None:
            with fenced_write(self._store, self._clock.now()) as tx:
                enqueue_verification(tx, subscription, self._clock, every)


def _check_comparable(followed: Followed, driver: AnyTarget) -> None:
    """Refuse to compare what the target keeps, unless it is rows, or a log that is read as the rows it tells of."""
    if isinstance(driver, PointingTarget) or not driver.capabilities.folds:
        check_verified(followed.subscription.mode)


def _verification(subscription_id: UUID, cursor: Cursor, comparison: Comparison) -> Verification:
    missing, unexpected, different = map(comparison.of_kind, ("missing", "unexpected", "different"))
    return Verification(
        subscription_id,
        cursor.sequence_number,
        comparison.equal,
        comparison.lake.rows,
        comparison.target.rows,
        spell(comparison.lake.total),
        spell(comparison.target.total),
        missing=_examples(missing),
        unexpected=_examples(unexpected),
        different=_examples(different),
        rows_missing=missing.num_rows,
        rows_unexpected=unexpected.num_rows,
        rows_different=different.num_rows,
        columns=comparison.columns(),
        complete=comparison.complete,
    )


def _examples(differences: pa.Table) -> tuple[str, ...]:
    return tuple(differences["spelling"].slice(0, _EXAMPLES).to_pylist())
