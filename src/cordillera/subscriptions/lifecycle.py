"""The life of subscriptions after they were asked for: paused, resumed, given more time, ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from cordillera.catalog.lookup import Lookup, page_limit
from cordillera.context import current
from cordillera.errors import AccessDeniedError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.delivery_cost import CostQuery, DeliveryCost, month_of
from cordillera.spec.delivery_record import DeliveryRecord
from cordillera.spec.subscription import (
    ENDED,
    Subscription,
    SubscriptionChange,
    SubscriptionState,
    check_transition,
    check_verification_interval,
    check_verified,
    expiry,
)
from cordillera.spec.texts import check_texts
from cordillera.subscriptions.handlers import enqueue_delivery, enqueue_expiry, enqueue_verification, enqueue_withdrawal
from cordillera.subscriptions.moves import begin, end, move, tell
from cordillera.subscriptions.telling import Told


class SubscriptionLifecycle:
    """Changes subscriptions, and tells what became of them. It takes one who may alter them; to end them, one who
    administers them.

    Args:
        store: Keeps them.
        lookup: Knows who may see and do what.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, clock: Clock) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock

    def history(
        self, subscription_id: UUID, *, before: int | None = None, limit: int = 100
    ) -> list[SubscriptionChange]:
        """Return a page of what happened to a subscription, newest first."""
        with self._store.read() as tx:
            self._lookup.subscription(tx, subscription_id)
            return tx.subscriptions.history(subscription_id, before=before, limit=page_limit(limit))

    def deliveries(self, subscription_id: UUID, *, before: int | None = None, limit: int = 100) -> list[DeliveryRecord]:
        """Return a page of what a subscription's deliveries did and took, newest first.

        Raises:
            AccessDeniedError: If whoever asks may not read the subscription.
        """
        with self._store.read() as tx:
            self._lookup.subscription(tx, subscription_id, Privilege.READ)
            return tx.subscriptions.deliveries(subscription_id, before=before, limit=page_limit(limit))

    def costs(self, asked: CostQuery, *, after: str = "", limit: int = 100) -> list[DeliveryCost]:
        """Return a page of what deliveries cost whom, by month, cost owner and subscription.

        Whoever asks gets what those subscriptions cost that he may read; sums are of these.

        Raises:
            InvalidInputError: If ``after`` is no place in the list.
            SubscriptionNotFoundError, AccessDeniedError: If one is asked for that he may not discover, or not read.
        """
        asked = replace(asked, since=asked.since or month_of(self._clock.now()))
        with self._store.read() as tx:
            if asked.subscription_id is not None:
                self._lookup.subscription(tx, asked.subscription_id, Privilege.READ)
            viewer = self._lookup.viewer(tx)
            return tx.subscriptions.costs(asked, after=after, limit=page_limit(limit), viewer=viewer)

    def pause(self, subscription_id: UUID, reason: str = "") -> Subscription:
        """Stop deliveries; the cursor stays where it is."""
        with self._store.write() as tx:
            found = self._locked(tx, subscription_id, reason)
            return move(tx, found, SubscriptionState.PAUSED, self._clock.now(), action="pause", reason=reason)

    def resume(self, subscription_id: UUID, reason: str = "") -> Subscription:
        """Deliver again, beginning with everything missed, and from now on behalf of whoever acts.

        Raises:
            AccessDeniedError: If he may not read the dataset, or not write to the target.
        """
        with self._store.write() as tx:
            found = self._locked(tx, subscription_id, reason)
            check_transition(found, found.on_resuming)
            check_following(tx, self._lookup, found)
            tx.subscriptions.entrust(subscription_id, current().authority)
            changed = replace(found, on_behalf_of=current().authority)
            changed = move(tx, changed, found.on_resuming, self._clock.now(), action="resume", reason=reason)
            if found.state is SubscriptionState.REQUESTED:
                begin(tx, changed, self._clock)
            else:
                enqueue_delivery(tx, changed, self._clock)
        return changed

    def renew(self, subscription_id: UUID, days: int | None) -> Subscription:
        """Let a subscription end so many days from now; None for it not to end by itself.

        Raises:
            InvalidInputError: If it cannot be for so many.
            AccessDeniedError: If whoever acts may not read the dataset, or not write to the target; or if it would last
                longer than was approved for an access request, and he does not administer the dataset.
            LifecycleError: If it has ended.
        """
        with self._store.write() as tx:
            found = self._locked(tx, subscription_id)
            check_transition(found, SubscriptionState.REVOKED)  # what has ended is not given more time
            check_following(tx, self._lookup, found)
            now = self._clock.now()
            changed = replace(found, expires_at=expiry(days, now))
            if found.expires_at is not None and (changed.expires_at is None or changed.expires_at > found.expires_at):
                check_approves(tx, self._lookup, found, ["a later end"])
            tx.subscriptions.set_expiry(subscription_id, changed.expires_at)
            enqueue_expiry(tx, changed, self._clock)
            told = f"until {changed.expires_at:%Y-%m-%d %H:%M} UTC" if changed.expires_at else "for good"
            tx.subscriptions.note_change(found.id, found.state, current().principal, now, f"renewed {told}")
            tell(tx, changed, now, "renew", told)
            return Told(tx, self._lookup).of(changed)

    def revoke(self, subscription_id: UUID, *, keep_rows: bool = True, reason: str = "") -> Subscription:
        """End a subscription for good. What becomes of its table in the target, the contract says, or the subscription.

        A frozen entry that points at the lake's files can be removed later as well: the lake keeps them for it.

        Args:
            subscription_id: Which.
            keep_rows: False to remove the table whatever they say.
            reason: Why.

        Raises:
            AccessDeniedError: If whoever acts does not administer the subscription; or rows are to go, and he may not
                write to the target.
        """
        with self._store.write() as tx:
            found = self._locked(tx, subscription_id, reason, needed=Privilege.ADMINISTER)
            if not keep_rows:
                self._lookup.target(tx, found.target, Privilege.WRITE)
            if not keep_rows and found.state in ENDED and tx.pointers.of(found.id):
                enqueue_withdrawal(tx, found, self._clock, keep_rows=False)
                tell(tx, found, self._clock.now(), "withdraw", reason)
                return Told(tx, self._lookup).of(found)
            return end(tx, found, SubscriptionState.REVOKED, self._clock, reason=reason, keep_rows=keep_rows)

    def schedule_verification(self, subscription_id: UUID, every_seconds: int | None) -> Subscription:
        """Say how often a subscription's target is compared with the lake; None for not by itself.

        Raises:
            InvalidInputError: If it is too often to be of use.
            AccessDeniedError: If whoever acts may not read the dataset, or not write to the target.
            NotAllowedError: If it keeps a log, which equals no snapshot.
        """
        check_verification_interval(every_seconds)
        with self._store.write() as tx:
            found = self._locked(tx, subscription_id)
            check_verified(found.mode)
            check_following(tx, self._lookup, found)
            changed = replace(found, verify_every_seconds=every_seconds)
            tx.subscriptions.set_verification_interval(subscription_id, every_seconds)
            if every_seconds is not None:
                enqueue_verification(tx, changed, self._clock, every_seconds)
            tell(tx, changed, self._clock.now(), "schedule_verification")
            return Told(tx, self._lookup).of(changed)

    def _locked(
        self, tx: Transaction, subscription_id: UUID, reason: str = "", *, needed: Privilege = Privilege.ALTER
    ) -> Subscription:
        check_texts("subscription", str(subscription_id), reason=reason)
        return self._lookup.subscription(tx, subscription_id, needed, lock=True)


def check_approves(tx: Transaction, lookup: Lookup, subscription: Subscription, more: Sequence[str]) -> None:
    """Make sure that whoever acts may give a subscription more than was approved, where somebody had to approve it.

    Args:
        tx: The transaction.
        lookup: Knows who may do what.
        subscription: As it was approved.
        more: What goes beyond that, in words.

    Raises:
        AccessDeniedError: If he does not administer the dataset.
    """
    dataset = tx.datasets.get_by_id(subscription.dataset_id)
    if subscription.request_id is None or not more or dataset is None:
        return
    try:
        lookup.require(tx, dataset, Privilege.ADMINISTER)
    except AccessDeniedError as error:
        raise AccessDeniedError(
            f"The subscription of {subscription.consumer} to {subscription.dataset} was approved without "
            f"{' or '.join(more)}. {error.message}",
            hint="Ask who administers the dataset to make this change.",
            details=error.details,
        ) from None


def check_following(tx: Transaction, lookup: Lookup, subscription: Subscription) -> None:
    """Make sure that whoever acts may have a subscription's rows delivered.

    Raises:
        AccessDeniedError: If he may not read the dataset, or not write to the target.
    """
    dataset = tx.datasets.get_by_id(subscription.dataset_id)
    if dataset is not None:
        lookup.rows(tx, dataset, tx.dataset_versions.get(subscription.dataset_version_id))
    lookup.target(tx, subscription.target, Privilege.WRITE)
