"""Moving a subscription from one state to another: recorded in its history, audited, and told, in one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.errors import CordilleraError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.contract import parse_contract
from cordillera.spec.event import Topic
from cordillera.spec.lineage import Edge, Node, NodeKind
from cordillera.spec.subscription import CopyAtEnd, Subscription, SubscriptionState, check_transition
from cordillera.spec.wish_change import comes_anew, in_words
from cordillera.subscriptions.handlers import (
    enqueue_delivery,
    enqueue_expiry,
    enqueue_next_time,
    enqueue_verification,
    enqueue_withdrawal,
)

_STEPS = frozenset({SubscriptionState.PROVISIONING, SubscriptionState.FIRST_SYNC, SubscriptionState.LIVE})
"""Told by the history alone: nobody decided them, and there is one each."""


def move(
    tx: Transaction,
    subscription: Subscription,
    wanted: SubscriptionState,
    now: datetime,
    *,
    action: str = "",
    by: str = "",
    reason: str = "",
    error: CordilleraError | None = None,
) -> Subscription:
    """Move a subscription that the transaction has locked to another state.

    Args:
        tx: The transaction.
        subscription: As it stands.
        wanted: Where to.
        now: When.
        action: What is done, for the audit log.
        by: Who does it; whoever acts by default.
        reason: Why.
        error: What went wrong, to be shown until it goes right. The history tells its kind alone: it can quote rows.

    Raises:
        LifecycleError: If the state cannot follow the one it is in.
    """
    check_transition(subscription, wanted)
    text, code = (str(error), error.code) if error else ("", "")
    reason = f"a delivery failed: {code.replace('_', ' ')}" if error else reason
    tx.subscriptions.set_state(subscription.id, wanted, text, now, error_code=code)
    tx.subscriptions.note_change(subscription.id, wanted, by or current().principal, now, reason)
    moved = replace(subscription, state=wanted, last_error=text, error_code=code)
    tell(tx, moved, now, action or wanted.value, reason, audited=wanted not in _STEPS or bool(action))
    return moved


def tell(
    tx: Transaction, subscription: Subscription, now: datetime, action: str, reason: str = "", *, audited: bool = True
) -> None:
    """Tell those who follow the dataset, and auditors, what was done to a subscription."""
    trail = Trail(tx, now)
    payload = {"subscription_id": str(subscription.id), "state": subscription.state}
    trail.event(Topic.SUBSCRIPTION_CHANGED, subscription.dataset, subscription.dataset_version_id, payload)
    if audited:
        told = {"dataset": subscription.dataset, "target": subscription.target, "state": subscription.state}
        details = {**told, **({"reason": reason} if reason else {})}
        trail.audit(f"subscription.{action}", "subscription", str(subscription.id), details)


def begin(tx: Transaction, subscription: Subscription, clock: Clock) -> None:
    """Have an approved subscription delivered and verified, and ended when its time is over."""
    note_flow(tx, subscription, clock.now())
    enqueue_delivery(tx, subscription, clock)
    enqueue_expiry(tx, subscription, clock)
    enqueue_next_time(tx, subscription, clock)
    if subscription.verify_every_seconds is not None:
        enqueue_verification(tx, subscription, clock, subscription.verify_every_seconds)


def follow_names(tx: Transaction, subscription: Subscription, wished: Subscription, now: datetime) -> None:
    """Let the wishes of a subscription name columns as the schema does that has been delivered."""
    if not comes_anew(subscription, wished):
        return
    named = replace(subscription, columns=wished.columns, row_filter=wished.row_filter)
    tx.subscriptions.change_wishes(named, anew=False)
    told = f"columns have been renamed: {in_words(subscription, named)}"
    tx.subscriptions.note_change(named.id, named.state, current().principal, now, told)
    note_flow(tx, named, now)


def note_flow(tx: Transaction, subscription: Subscription, now: datetime) -> None:
    """Let lineage show which columns flow into the target."""
    columns = tuple((name, (name,)) for name in subscription.columns)
    tx.lineage.put([Edge(Node(NodeKind.DATASET, subscription.dataset), _copy(subscription), columns)], now)


def end(
    tx: Transaction,
    subscription: Subscription,
    state: SubscriptionState,
    clock: Clock,
    *,
    reason: str = "",
    keep_rows: bool = True,
) -> Subscription:
    """End a subscription, and have its copy frozen or removed: as the contract says, the subscription, or the call.

    Any of them that says that the copy goes is obeyed.
    """
    ended = move(tx, subscription, state, clock.now(), action=_ENDING[state], reason=reason)
    contract = tx.contracts.current(subscription.dataset_version_id)
    goes = subscription.copy_at_end is CopyAtEnd.REMOVE
    goes = goes or (contract is not None and parse_contract(contract.text).copies_go)
    enqueue_withdrawal(tx, ended, clock, keep_rows=keep_rows and not goes)
    tx.lineage.remove(_copy(ended))
    return ended


def expire(tx: Transaction, subscription: Subscription, clock: Clock) -> None:
    """End a subscription whose time is over."""
    end(tx, subscription, SubscriptionState.EXPIRED, clock, reason="its time was over")


def _copy(subscription: Subscription) -> Node:
    return Node(NodeKind.TARGET, f"{subscription.target}:{subscription.target_table}")


_ENDING = {SubscriptionState.EXPIRED: "expire", SubscriptionState.REVOKED: "revoke"}
