"""What the subscriptions domain does when access changes: that which subscriptions wait for, or which they need."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

from cordillera.catalog.lookup import Lookup
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, TargetNotFoundError, error_code
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import SecurableKind
from cordillera.spec.access_request import AccessRequest, RequestState
from cordillera.spec.event import Event
from cordillera.spec.subscription import Subscription, SubscriptionState
from cordillera.subscriptions.handlers import enqueue_delivery
from cordillera.subscriptions.lifecycle import check_following
from cordillera.subscriptions.moves import begin, move

_PAGE = 500
_DENIED = frozenset(map(error_code, (AccessDeniedError, TargetNotFoundError)))
"""What deliveries fail by whose asker may not do what they do."""


def on_access_request_changed(tx: Transaction, event: Event, clock: Clock) -> None:
    """Approve or refuse the subscriptions that an access request was made for, as it was.

    What counts is how the request stands by now: events that come late or twice change nothing.
    """
    request_id = UUID(event.payload["request"])
    waiting = [one for one in tx.subscriptions.asked_by(request_id) if one.state is SubscriptionState.REQUESTED]
    request = tx.access_requests.get(request_id) if waiting else None
    if request is None or request.state is RequestState.REQUESTED:
        return
    for subscription in waiting:
        _decide(tx, subscription, request, clock)


def _decide(tx: Transaction, subscription: Subscription, request: AccessRequest, clock: Clock) -> None:
    decision, now = request.steps[-1], clock.now()
    if request.state is not RequestState.APPROVED:
        reason = f"access {request.state}{f': {decision.reason}' if decision.reason else ''}"
        move(tx, subscription, SubscriptionState.REFUSED, now, action="refuse", by=decision.by, reason=reason)
        return
    move(tx, subscription, SubscriptionState.APPROVED, now, action="approve", by=decision.by, reason=decision.reason)
    ends = [moment for moment in (subscription.expires_at, request.expires_at) if moment is not None]
    expires_at = min(ends, default=None)
    tx.subscriptions.set_expiry(subscription.id, expires_at)
    begin(tx, replace(subscription, state=SubscriptionState.APPROVED, expires_at=expires_at), clock)


def on_access_changed(store: MetadataStore, lookup: Lookup, payload: Mapping[str, Any], clock: Clock) -> None:
    """Have every subscription looked at that is delivered on behalf of somebody whose access may have changed: one that
    may not go on stops, and one goes on that had failed because it might not.

    Args:
        store: Keeps them.
        lookup: Knows who may do what by now.
        payload: Of the task: whose access has changed, or to what (``cordillera.catalog.waking``).
        clock: Time and ids.
    """
    inside = (SecurableKind(payload["kind"]), UUID(payload["securable_id"])) if "kind" in payload else None
    principal, after = payload.get("principal", ""), None
    while True:
        with store.write() as tx:
            page = tx.subscriptions.entrusted(principal=principal, inside=inside, after=after, limit=_PAGE)
            for subscription in page:
                _look_at(tx, lookup, subscription, clock)
        if len(page) < _PAGE:
            return
        after = page[-1].id


def _look_at(tx: Transaction, lookup: Lookup, subscription: Subscription, clock: Clock) -> None:
    if subscription.state is not SubscriptionState.FAILED or subscription.error_code not in _DENIED:
        enqueue_delivery(tx, subscription, clock)
        return
    found = tx.subscriptions.lock(subscription.id)
    if found is None or found.state is not SubscriptionState.FAILED or found.is_over(clock.now()):
        return
    with suppress(AccessDeniedError, TargetNotFoundError):
        with acting(found.on_behalf_of):
            check_following(tx, lookup, found)
        reason = "what it needs is allowed again"
        enqueue_delivery(tx, move(tx, found, found.on_resuming, clock.now(), action="resume", reason=reason), clock)
