"""Snapshots that a subscription's deliveries leave out, because somebody has said so, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from cordillera.errors import InvalidInputError


class SkipState(StrEnum):
    """What has become of a skip."""

    WAITING = "waiting"
    """Deliveries have not come to its snapshots yet; it can be withdrawn."""
    PASSING = "passing"
    """A delivery is about to pass them, or has, without that being known yet."""
    SKIPPED = "skipped"
    """They have passed them: what those changed is not in the target."""
    MADE_GOOD = "made_good"
    """The target has it all the same: everything came anew, or it was repaired, and was found equal."""


AHEAD = (SkipState.WAITING, SkipState.PASSING)
"""The states of what lies ahead of a target, as far as is known."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A range of snapshots whose changes are not delivered.

    Attributes:
        number: Orders the skips of a lake.
        subscription_id: Whose deliveries leave them out.
        first_sequence, last_sequence: Sequence numbers of the first and the last snapshot left out.
        by: Who said so.
        at: When.
        reason: Why.
        state: What has become of it.
    """

    number: int
    subscription_id: UUID
    first_sequence: int
    last_sequence: int
    by: str
    at: datetime
    reason: str
    state: SkipState = SkipState.WAITING

    @property
    def snapshots(self) -> str:
        """The range in words."""
        if self.first_sequence == self.last_sequence:
            return f"snapshot {self.first_sequence:,}"
        return f"snapshots {self.first_sequence:,} to {self.last_sequence:,}"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a target's way from one snapshot to another.

    Attributes:
        upto: Sequence number of the snapshot that it ends at.
        skipped: Whether the cursor moves there without the rows.
    """

    upto: int
    skipped: bool = False


def stretches(held: int, latest: int, skips: Iterable[Skip]) -> tuple[Stretch, ...]:
    """Return how a target that holds one snapshot gets to another, in order; it is never nothing.

    Args:
        held: Sequence number of the snapshot that the target holds; 0 for none.
        latest: Of the one that it is to hold.
        skips: What is left out, in any order; what lies outside counts for nothing.
    """
    found: list[Stretch] = []
    at = held
    for skip in sorted(skips, key=lambda one: one.first_sequence):
        first, last = max(skip.first_sequence, at + 1), min(skip.last_sequence, latest)
        if first > last:
            continue
        if first > at + 1:
            found.append(Stretch(first - 1))
        found.append(Stretch(last, skipped=True))
        at = last
    if at < latest or not found:
        found.append(Stretch(latest))
    return tuple(found)


def cut(way: Iterable[Stretch], held: int, sizes: Mapping[int, int], most: int) -> tuple[Stretch, ...]:
    """Return a way with long stretches cut at commits, so that none that is delivered brings more than it may.

    A commit that is larger by itself is a stretch of its own: what it changed appears at once.

    Args:
        way: From one snapshot to another.
        held: Sequence number of the snapshot that it begins at.
        sizes: How much the commits on it wrote, in bytes, by sequence number; it is cut at these only.
        most: How much a stretch may bring, in bytes.
    """
    found: list[Stretch] = []
    for stretch in way:
        size, before = 0, held
        for number in sorted(one for one in sizes if not stretch.skipped and held < one <= stretch.upto):
            if size and size + sizes[number] > most:
                found.append(Stretch(before))
                size = 0
            size, before = size + sizes[number], number
        found.append(stretch)
        held = stretch.upto
    return tuple(found)


def check_range(first: int, last: int, *, held: int, latest: int, waiting: Iterable[Skip]) -> None:
    """Refuse a range of snapshots that deliveries cannot leave out.

    Args:
        first, last: The range.
        held: Sequence number of the snapshot that the target holds.
        latest: Of the dataset's latest.
        waiting: What is to be left out already.

    Raises:
        InvalidInputError: If it ends before it begins, is delivered already or not there yet, or meets another.
    """
    told = f"The snapshots {first:,} to {last:,} cannot be skipped"
    if first > last:
        raise InvalidInputError(f"{told}: they end before they begin.", hint="Give the first, then the last.")
    if first <= held:
        raise InvalidInputError(
            f"{told}: the target holds snapshot {held:,} already.", hint=f"Begin with {held + 1:,} or later."
        )
    if last > latest:
        raise InvalidInputError(f"{told}: the latest is {latest:,}.", hint=f"End with {latest:,} or earlier.")
    met = next((one for one in waiting if one.first_sequence <= last and first <= one.last_sequence), None)
    if met is not None:
        raise InvalidInputError(
            f"{told}: {met.by} has said so of {met.snapshots} already.", hint="Choose snapshots beside those."
        )
