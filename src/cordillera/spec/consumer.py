"""Consumers of a dataset version: who relies on it, and how far each has moved to the one that takes its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Migration(StrEnum):
    """How far a consumer has moved to the dataset version that takes the place of an older one."""

    NOT_STARTED = "not started"
    BOTH = "both"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Consumer:
    """Somebody who relies on a dataset version, or on the one that takes its place.

    Attributes:
        consumer: A principal, group or team.
        uses: What of his reads the dataset version, for example ``subscription of bi:orders`` or ``job:sales.daily``.
        successor_uses: What of his reads the one that takes its place.
        last_read: When he last got credentials to read the dataset version's files by, of late; None if he did not.
        migration: How far he has moved; None where nothing takes its place.
    """

    consumer: str
    uses: tuple[str, ...]
    successor_uses: tuple[str, ...]
    last_read: datetime | None
    migration: Migration | None


@dataclass(frozen=True, slots=True)
class Consumers:
    """Those who rely on a dataset version.

    Attributes:
        dataset: The dataset version.
        successor: The dataset version that takes its place; empty if none does.
        deprecated_from: From when on its contract promises no more partitions: an ISO 8601 date or time; or empty.
        retired_on: Until when its contract promises that it can be read; or empty.
        consumers: By name.
    """

    dataset: str
    successor: str
    deprecated_from: str
    retired_on: str
    consumers: tuple[Consumer, ...]


def consumers(
    uses: Mapping[str, Iterable[str]],
    successor_uses: Mapping[str, Iterable[str]] | None,
    reads: Mapping[str, datetime],
) -> tuple[Consumer, ...]:
    """Return those who rely on a dataset version or its successor.

    Args:
        uses: What reads the dataset version, by consumer.
        successor_uses: What reads its successor; None if there is none.
        reads: When principals last read the dataset version's files.
    """
    later = successor_uses or {}
    return tuple(
        Consumer(
            name,
            tuple(uses.get(name, ())),
            tuple(later.get(name, ())),
            reads.get(name),
            None if successor_uses is None else _migration(name in uses or name in reads, name in later),
        )
        for name in sorted({*uses, *later, *reads})
    )


def _migration(old: bool, new: bool) -> Migration:
    if not old:
        return Migration.MOVED
    return Migration.BOTH if new else Migration.NOT_STARTED
