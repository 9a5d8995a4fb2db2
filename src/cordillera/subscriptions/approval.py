"""What the subscriptions domain does when somebody has decided about the access that subscriptions wait for."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.access_request import AccessRequest, RequestState
from cordillera.spec.event import Event
from cordillera.spec.subscription import Subscription, SubscriptionState
from cordillera.subscriptions.moves import begin, move


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
