"""What the subscriptions domain does when something happens in the lake: it enqueues deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from cordillera.catalog.leases import fenced_write
from cordillera.context import current
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.operations import NewTask
from cordillera.spec.delivery_trigger import ON_COMMIT, ON_COMPLETION, next_time
from cordillera.spec.event import Event
from cordillera.spec.subscription import DELIVERING, Subscription

DELIVER = "deliver"
WITHDRAW = "withdraw"
EXPIRE = "expire_subscription"
VERIFY = "verify"
ON_TIME = "deliver_on_time"
_PAGE = 500


def on_dataset_moved(tx: Transaction, event: Event, clock: Clock) -> None:
    """Enqueue a delivery for every subscription that follows each commit to the dataset version an event is about.

    The task says nothing but "look again": what to deliver follows from the target's cursor, so that events which come
    late, twice or out of order do no harm, and many commits become one delivery.
    """
    _wake(tx, event, clock, ON_COMMIT)


def on_datasets_completed(tx: Transaction, events: Sequence[Event], clock: Clock) -> None:
    """The same, when partitions have become complete, for those that wait for that."""
    first = {event.dataset_version_id: event for event in reversed(events) if event.dataset_version_id is not None}
    for version_id in sorted(tx.subscriptions.followed(list(first), ON_COMPLETION)):
        _wake(tx, first[version_id], clock, ON_COMPLETION)


def on_dataset_changed(tx: Transaction, event: Event, clock: Clock) -> None:
    """Have targets that point at a dataset's files look again when it is renamed, described, deleted, or restored.

    What has no delivery to come points at files that are about to go: its entry is removed.
    """
    version = tx.dataset_versions.get(event.dataset_version_id) if event.dataset_version_id else None
    if version is None:
        return
    for subscription in tx.pointers.subscriptions(version.dataset_id):
        if subscription.state in DELIVERING:
            enqueue_delivery(tx, subscription, clock, trace_id=event.trace_id)
        elif event.payload.get("change") == "deleted":
            enqueue_withdrawal(tx, subscription, clock, keep_rows=False)


def _wake(tx: Transaction, event: Event, clock: Clock, trigger: str) -> None:
    version_id, after = event.dataset_version_id, None
    while version_id is not None:
        page = tx.subscriptions.following(version_id, trigger, after=after, limit=_PAGE)
        deliveries = [_delivery(one, clock) for one in page]
        tx.tasks.enqueue_all(DELIVER, deliveries, now=clock.now(), trace_id=event.trace_id)
        if len(page) < _PAGE:
            return
        after = page[-1].id


def on_time(store: MetadataStore, payload: Mapping[str, Any], clock: Clock) -> None:
    """Enqueue a delivery that a cron expression has named the time for, and the time after it.

    Times that passed while no worker was there are one: what is delivered then brings everything missed.
    """
    with fenced_write(store, clock.now()) as tx:
        found = tx.subscriptions.get(UUID(payload["subscription_id"]))
        if found is None or found.is_over(clock.now()):
            return
        if payload.get("trigger", found.trigger) == found.trigger:  # else it has another since, with tasks of its own
            enqueue_delivery(tx, found, clock)
            enqueue_next_time(tx, found, clock)


def enqueue_next_time(tx: Transaction, subscription: Subscription, clock: Clock) -> None:
    """Have a subscription delivered to at the next time that its trigger names, if it names times."""
    now = clock.now()
    due_at = next_time(subscription.trigger, now)
    if due_at is not None:
        payload = {"subscription_id": str(subscription.id), "trigger": subscription.trigger}
        key = f"{subscription.id} {subscription.trigger}"
        tx.tasks.enqueue(clock.new_id(), ON_TIME, key, payload, now=now, due_at=due_at, trace_id="")


def enqueue_delivery(tx: Transaction, subscription: Subscription, clock: Clock, trace_id: str = "") -> None:
    """Enqueue a delivery unless the subscription takes none, or one is waiting already."""
    if subscription.state not in DELIVERING:
        return
    tx.tasks.enqueue_all(DELIVER, [_delivery(subscription, clock)], now=clock.now(), trace_id=trace_id)


def _delivery(subscription: Subscription, clock: Clock) -> NewTask:
    key = str(subscription.id)
    return NewTask(clock.new_id(), key, {"subscription_id": key}, subscription.target)


def enqueue_withdrawal(tx: Transaction, subscription: Subscription, clock: Clock, *, keep_rows: bool) -> None:
    """Have the target forget a subscription that has ended."""
    tx.tasks.enqueue(
        clock.new_id(),
        WITHDRAW,
        str(subscription.id),
        {"subscription_id": str(subscription.id), "keep_rows": keep_rows},
        now=clock.now(),
        trace_id=current().trace_id,
        target=subscription.target,
    )


def enqueue_expiry(tx: Transaction, subscription: Subscription, clock: Clock) -> None:
    """Have a subscription looked at when its time is over; each time it is given has a task of its own."""
    if subscription.expires_at is not None:
        tx.tasks.enqueue(
            clock.new_id(),
            EXPIRE,
            f"{subscription.id} {subscription.expires_at.isoformat()}",
            {"subscription_id": str(subscription.id)},
            now=clock.now(),
            due_at=subscription.expires_at,
            trace_id="",
        )


def enqueue_verification(tx: Transaction, subscription: Subscription, clock: Clock, every: int | None = None) -> None:
    """Enqueue a comparison of target and lake: now or, with ``every``, after so many seconds, and then again.

    A task waits under the interval it was made for, so that one made for an earlier interval finds that it has changed.
    """
    key = str(subscription.id) if every is None else f"{subscription.id} every {every}"
    now = clock.now()
    tx.tasks.enqueue(
        clock.new_id(),
        VERIFY,
        key,
        {"subscription_id": str(subscription.id), "every": every},
        now=now,
        due_at=now + timedelta(seconds=every or 0),
        trace_id="",
        target=subscription.target,
    )
