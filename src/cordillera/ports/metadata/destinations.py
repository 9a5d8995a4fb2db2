"""Rows of destinations and of what is delivered to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.access import Viewer
from cordillera.spec.destination import DeliveryState, Destination, EventDelivery
from cordillera.spec.event import Event


class DestinationRows(Protocol):
    """Destinations."""

    def insert(self, destination: Destination) -> None:
        """Add a destination."""

    def get(self, destination_id: UUID, *, lock: bool = False) -> Destination | None:
        """Return a destination, locked until the transaction ends if asked."""

    def page(self, after: UUID | None, limit: int, *, viewer: Viewer | None = None) -> list[Destination]:
        """Return destinations by id behind ``after``; to a viewer his own, or all if he administers the lake."""

    def count_of(self, owner: str) -> int:
        """Return how many destinations somebody owns."""

    def wanting(self, events: Sequence[Event]) -> list[tuple[Destination, list[Event]]]:
        """Return the destinations whose filter any of the events passes, by id, each with those that pass.

        Those that are disabled are not among them.
        """

    def update(self, destination: Destination) -> None:
        """Store a destination's changed fields; its filter never changes."""

    def delete(self, destination_id: UUID) -> None:
        """Remove a destination with all that belongs to it."""

    def failing_count(self) -> int:
        """Return how many destinations fail."""


class EventDeliveryRows(Protocol):
    """Events on their way to destinations. Those of one stream of a destination are in the order of their addition."""

    def insert(self, deliveries: Sequence[EventDelivery]) -> None:
        """Add deliveries, each behind all others of its stream."""

    def get(self, delivery_id: UUID) -> EventDelivery | None:
        """Return a delivery."""

    def update(self, deliveries: Sequence[EventDelivery]) -> None:
        """Store the changed fields of deliveries."""

    def delete(self, delivery_ids: Sequence[UUID]) -> None:
        """Remove deliveries."""

    def heads(self, destination_id: UUID, limit: int) -> list[EventDelivery]:
        """Return the first waiting delivery of each stream of a destination, that which is due first first."""

    def following(self, delivery_ids: Sequence[UUID]) -> list[EventDelivery]:
        """Return of each delivery the waiting one that follows it in its stream, if there is one."""

    def page(
        self,
        destination_id: UUID,
        *,
        state: DeliveryState | None = None,
        before: UUID | None = None,
        limit: int,
        viewer: Viewer | None = None,
    ) -> list[EventDelivery]:
        """Return the deliveries of a destination, newest first, behind that with the id ``before``.

        A viewer gets those of events about what he may discover.
        """

    def counts(self, destination_id: UUID, viewer: Viewer | None = None) -> Mapping[DeliveryState, int]:
        """Return how many deliveries of a destination wait and are dead, of those that ``page`` gives a viewer."""

    def totals(self) -> Mapping[DeliveryState, int]:
        """Return how many deliveries in the lake wait and are dead."""

    def make_due(self, destination_id: UUID, now: datetime) -> None:
        """Make every waiting delivery of a destination due."""

    def forget(self, destination_id: UUID, state: DeliveryState, keep: int) -> None:
        """Remove the deliveries of a destination in a state, but for the newest."""
