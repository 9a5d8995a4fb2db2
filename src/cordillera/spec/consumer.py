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
class Reads:
    """What somebody has read of a dataset version.

    Attributes:
        principal: Who.
        reads: How often: his reads through the server, and how often he got a way to read the files himself.
        bytes_read: The size of the data files that the server had to look into for him, in bytes.
        last_at: When that was last.
    """

    principal: str
    reads: int
    bytes_read: int
    last_at: datetime

    def plus(self, later: Reads) -> Reads:
        """Return both together."""
        both = (self.reads + later.reads, self.bytes_read + later.bytes_read, max(self.last_at, later.last_at))
        return Reads(self.principal, *both)


@dataclass(frozen=True, slots=True)
class Consumer:
    """Somebody who relies on a dataset version, or on the one that takes its place.

    Attributes:
        consumer: A principal, group or team.
        uses: What of his reads the dataset version, for example ``subscription of bi:orders`` or ``job:sales.daily``.
        successor_uses: What of his reads the one that takes its place.
        reads: How often he has read the dataset version of late, himself; see ``Reads``.
        bytes_read: How much of its files the server had to look into for that, in bytes.
        last_read: When he last did, of late; None if he did not.
        successor_last_read: When he last read the one that takes its place, likewise.
        migration: How far he has moved; None where nothing takes its place.
    """

    consumer: str
    uses: tuple[str, ...]
    successor_uses: tuple[str, ...]
    reads: int
    bytes_read: int
    last_read: datetime | None
    successor_last_read: datetime | None
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
    reads: Mapping[str, Reads],
    successor_reads: Mapping[str, Reads],
) -> tuple[Consumer, ...]:
    """Return those who rely on a dataset version or its successor.

    Args:
        uses: What reads the dataset version, by consumer.
        successor_uses: What reads its successor; None if there is none.
        reads: What principals have read of the dataset version themselves.
        successor_reads: What they have read of its successor.
    """
    later = successor_uses or {}
    return tuple(
        _consumer(
            name,
            tuple(uses.get(name, ())),
            tuple(later.get(name, ())),
            reads.get(name),
            successor_reads.get(name),
            has_successor=successor_uses is not None,
        )
        for name in sorted({*uses, *later, *reads, *successor_reads})
    )


def _consumer(
    name: str,
    uses: tuple[str, ...],
    later: tuple[str, ...],
    read: Reads | None,
    later_read: Reads | None,
    *,
    has_successor: bool,
) -> Consumer:
    return Consumer(
        name,
        uses,
        later,
        read.reads if read else 0,
        read.bytes_read if read else 0,
        read.last_at if read else None,
        later_read.last_at if later_read else None,
        _migration(bool(uses or read), bool(later or later_read)) if has_successor else None,
    )


def _migration(old: bool, new: bool) -> Migration:
    if not old:
        return Migration.MOVED
    return Migration.BOTH if new else Migration.NOT_STARTED
