"""The timeline of a subscription. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cordillera.spec.subscription import SubscriptionChange, SubscriptionState, SubscriptionStatus
from cordillera.web.dataset_views import lag
from cordillera.web.levels import Level

_AHEAD = {
    SubscriptionState.REQUESTED: ("Approved", "when whoever asked may read the dataset"),
    SubscriptionState.APPROVED: ("Provisioning", "follows as soon as a worker is free"),
    SubscriptionState.PROVISIONING: ("First sync", "everything is delivered once"),
    SubscriptionState.FIRST_SYNC: ("Live", "after the first sync"),
}
"""What comes after a state if all goes well."""
_LEVELS = {
    SubscriptionState.PAUSED: Level.WARN,
    SubscriptionState.FAILED: Level.BAD,
    SubscriptionState.REFUSED: Level.BAD,
    SubscriptionState.EXPIRED: Level.NONE,
    SubscriptionState.REVOKED: Level.NONE,
}
"""How those states are shown in which a subscription does not follow."""


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


def timeline(status: SubscriptionStatus, history: Sequence[SubscriptionChange], now: datetime) -> tuple[Step, ...]:
    """Return the steps of a subscription so far, oldest first, where it is now, and what comes next.

    Args:
        status: The subscription.
        history: What happened to it, newest first.
        now: When it is looked at.
    """
    state = status.subscription.state
    done = [Step(_name(one.state), Level.OK, _note(one), one.at) for one in reversed(history)]
    if done:
        level = _LEVELS.get(state, Level.OK if status.in_step else Level.INFO)
        note = f"{done[-1].note}; {lag(status, now)}" if status.subscription.cursor_sequence else done[-1].note
        done[-1] = replace(done[-1], level=level, note=note)
    ahead = _AHEAD.get(state)
    return (*done, *([Step(ahead[0], Level.NONE, ahead[1])] if ahead else []))


def _name(state: SubscriptionState) -> str:
    return state.in_words.capitalize()


def _note(change: SubscriptionChange) -> str:
    told = f"by {change.by}" if change.by else "it is not known by whom"
    return f"{told}: {change.reason}" if change.reason else told
