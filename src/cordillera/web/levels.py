"""How good or bad a state is: what decides a badge's colour and icon."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Level(StrEnum):
    """From nothing to say to bad, in the order in which the worse wins."""

    NONE = "none"
    OK = "ok"
    INFO = "info"
    WARN = "warn"
    BAD = "bad"


_ORDER = list(Level)
_LEVELS = {
    Level.OK: (
        "active",
        "live",
        "succeeded",
        "ok",
        "complete",
        "in step",
        "enabled",
        "backfilled",
        "approved",
        "healthy",
        "delivered",
    ),
    Level.INFO: (
        "unreleased",
        "provisioning",
        "queued",
        "running",
        "restated",
        "behind",
        "requested",
        "first_sync",
        "waiting",
        "retiring",
    ),
    Level.WARN: ("deprecated", "paused", "warning", "late", "expired"),
    Level.BAD: ("failed", "error", "breached", "refused", "failing", "dead"),
}
_LEVEL_OF = {state: level for level, states in _LEVELS.items() for state in states}


def level_of(state: str) -> Level:
    """Return how good or bad a state of a dataset version, subscription, run or finding is."""
    return _LEVEL_OF.get(state, Level.NONE)


def worst(levels: Iterable[Level]) -> Level:
    """Return the worst of some levels; ``none`` of none."""
    return max(levels, key=_ORDER.index, default=Level.NONE)
