"""The figures of deliveries that were made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cordillera.spec.delivery_reason import DeliveryReason

MOST_KEPT = 500
"""Of how many deliveries the figures of a subscription are kept; older ones go."""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """What one delivery did, and what it took.

    Attributes:
        number: Orders the deliveries of a lake.
        subscription_id: Whose it was.
        at: When it was done.
        seconds: How long it took, from looking for the target's cursor to the target's commit.
        from_sequence: Sequence number of the snapshot that the target held before; None if it held none.
        to_sequence: Of the one that it has held since.
        whole: Whether it brought every row, in the place of whatever the target held.
        rows_upserted, rows_deleted: What the target says that it put in, in the place of others or not, and took out.
        rows_updated: Of the rows put in, those in the place of a row of the same key; None if that is not known.
        bytes: Size of what was sent, as it is in Arrow.
        attempt: Which one it was, with those that failed or were given up; 1 for the first.
        worker: Who made it.
        cost_owner: Who paid for it then.
        partitions: How many partitions it put anew, or took out, of a target that takes whole ones; None if it was of
            another kind.
        why: What decided what it brought; None where nothing was to be decided, and of deliveries long ago.
    """

    number: int
    subscription_id: UUID
    at: datetime
    seconds: float
    from_sequence: int | None
    to_sequence: int
    whole: bool
    rows_upserted: int
    rows_deleted: int
    bytes: int
    attempt: int
    worker: str
    cost_owner: str
    rows_updated: int | None = None
    partitions: int | None = None
    why: DeliveryReason | None = None

    @property
    def rows_inserted(self) -> int | None:
        """Of the rows put in, those that are new in the target; None if that is not known."""
        return None if self.rows_updated is None else self.rows_upserted - self.rows_updated
