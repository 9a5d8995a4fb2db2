"""The timeline of a subscription. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cordillera.spec.subscription import SubscriptionState, SubscriptionStatus
from cordillera.web.dataset_views import lag
from cordillera.web.levels import Level

_STOPPED = {
    SubscriptionState.PAUSED: ("Paused", Level.WARN, "deliveries have been stopped; the cursor stays"),
    SubscriptionState.FAILED: ("Failed", Level.BAD, "a delivery failed for a reason that a retry will not cure"),
    SubscriptionState.REVOKED: ("Revoked", Level.NONE, "ended for good"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A step in a subscription's life.

    Attributes:
        level: ``ok`` for what is done, ``info`` for what goes on, ``none`` for what is still to come.
        at: When it happened, where that is known.
    """

    name: str
    level: Level
    note: str
    at: datetime | None = None


def timeline(status: SubscriptionStatus, now: datetime) -> tuple[Step, ...]:
    """Return the steps from the request to the live subscription, and where it is now."""
    one = status.subscription
    delivered = one.cursor_sequence is not None
    purpose = f" for {one.purpose}" if one.purpose else ""
    requested = Step("Requested", Level.OK, f"by {one.created_by} on behalf of {one.consumer}{purpose}", one.created_at)
    if delivered:
        provisioned = Step("Provisioned", Level.OK, f"table {one.target_table} in {one.target}")
        synced = Step("First sync", Level.OK, "made")
    else:
        provisioned = Step("Provisioning", _doing(one.state), f"table {one.target_table} in {one.target}")
        synced = Step("First sync", Level.NONE, "follows as soon as a worker is free")
    if one.state in _STOPPED:
        name, level, note = _STOPPED[one.state]
        return requested, provisioned, synced, Step(name, level, f"{note}; {lag(status, now)}", one.delivered_at)
    if not delivered:
        return requested, provisioned, synced, Step("Live", Level.NONE, "after the first sync")
    level = Level.OK if status.in_step else Level.INFO
    return requested, provisioned, synced, Step("Live", level, lag(status, now), one.delivered_at)


def _doing(state: SubscriptionState) -> Level:
    return Level.INFO if state is SubscriptionState.PROVISIONING else Level.NONE
