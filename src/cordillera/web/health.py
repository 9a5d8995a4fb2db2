"""One answer to "can I trust this dataset": the worst of its freshness, its deliveries and its contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cordillera.client.contract_backend import ContractDetails
from cordillera.spec.counting import counted
from cordillera.spec.delivery_trigger import ON_COMMIT
from cordillera.spec.freshness import Freshness, FreshnessState
from cordillera.spec.subscription import ENDED, SubscriptionState, SubscriptionStatus
from cordillera.web.formatting import duration, relative
from cordillera.web.levels import Level, worst

_SLOW_DELIVERY = timedelta(minutes=15)
_NOT_FOLLOWED = ENDED | {SubscriptionState.REQUESTED}
_WORDS = {
    Level.NONE: "Not measured",
    Level.OK: "Healthy",
    Level.INFO: "Healthy, catching up",
    Level.WARN: "Needs attention",
    Level.BAD: "Unhealthy",
}


@dataclass(frozen=True, slots=True)
class HealthPart:
    """One part of the health: what was looked at, how it stands, and the tab that tells more."""

    name: str
    level: Level
    word: str
    message: str
    tab: str


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a dataset version."""

    level: Level
    word: str
    parts: tuple[HealthPart, ...]


def health_of(parts: Sequence[HealthPart]) -> Health:
    """Return the health made of its parts: the worst of them counts."""
    level = worst(part.level for part in parts)
    return Health(level, _WORDS[level], tuple(parts))


def freshness_part(freshness: Freshness, now: datetime) -> HealthPart:
    """Return how current the data is."""
    newest, level, word = freshness.newest, Level.NONE, "No promise"
    last = f"{newest.partition} complete, {relative(newest.declared_at, now)}" if newest else "Nothing is complete yet"
    match freshness.state:
        case FreshnessState.ON_TIME:
            level, word = Level.OK, "On time"
        case FreshnessState.LATE:
            level, word = Level.WARN, "Late"
        case FreshnessState.BREACHED:
            level, word = Level.BAD, "Breached"
        case FreshnessState.ENDED:
            word = "Promise ended"
        case FreshnessState.UNPROMISED if freshness.promise and newest is None:
            level, word = Level.WARN, "Nothing complete"
    due = ""
    if freshness.due_at is not None:
        due = f"; {freshness.due_partition} {'is' if freshness.due_at > now else 'was'} due"
        due += f" {relative(freshness.due_at, now)}"
    return HealthPart("Freshness", level, word, f"{last}{due}", "completions")


def sync_part(subscriptions: Sequence[SubscriptionStatus], now: datetime) -> HealthPart:
    """Return how the targets follow the dataset."""
    followed = [status for status in subscriptions if status.subscription.state not in _NOT_FOLLOWED]
    failed = [status for status in followed if status.subscription.state is SubscriptionState.FAILED]
    paused = [status for status in followed if status.subscription.state is SubscriptionState.PAUSED]
    stopped = [*failed, *paused]
    behind = [
        one for one in followed if not one.in_step and one not in stopped and one.subscription.trigger == ON_COMMIT
    ]
    since = min((status.behind_since for status in behind if status.behind_since), default=now)
    message = f"{counted(len(followed) - len(behind) - len(failed) - len(paused), 'target')} in step"
    level, word = Level.OK, "In step"
    if not followed:
        level, word, message = Level.NONE, "None to see", "You see no target that follows this dataset"
    elif failed:
        level, word, message = Level.BAD, "Failed", f"{counted(len(failed), 'delivery', 'deliveries')} failed"
    elif behind:
        slow = now - since > _SLOW_DELIVERY
        level, word = (Level.WARN, "Behind") if slow else (Level.INFO, "Catching up")
        message = f"{counted(len(behind), 'target')} behind by {duration(now - since)}"
    elif paused:
        level, word, message = Level.WARN, "Paused", f"{counted(len(paused), 'subscription')} paused"
    return HealthPart("Deliveries", level, word, message, "subscriptions")


def contract_part(contract: ContractDetails | None) -> HealthPart:
    """Return what is promised about the data, and whether it is checked."""
    if contract is None:
        return HealthPart("Contract", Level.NONE, "No contract", "Nothing is promised about the rows", "contract")
    message = f"{counted(len(contract.rules), 'rule')} checked on every write"
    if contract.problems:
        # No reason to worry: a contract that promises what the dataset cannot keep is refused when it is put.
        message += f", {counted(len(contract.problems), 'column or property', 'columns or properties')} beyond it"
    return HealthPart("Contract", Level.OK, "In force", message, "contract")
