"""What can be asked of a lake about destinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from cordillera.destinations.service import NewDestination
from cordillera.spec.destination import DestinationStatus, EventDelivery


class DestinationBackend(Protocol):
    """The part of ``LakeBackend`` that is about destinations."""

    def create_destination(
        self,
        kind: str,
        config: Mapping[str, str],
        *,
        topics: Sequence[str] = (),
        within: Sequence[str] = (),
        description: str = "",
    ) -> NewDestination: ...
    def destination(self, destination_id: UUID) -> DestinationStatus: ...
    def destinations(self, after: UUID | None = None, limit: int = 100) -> list[DestinationStatus]: ...
    def remove_destination(self, destination_id: UUID) -> None: ...
    def rotate_destination(self, destination_id: UUID, *, keep_hours: int = 24) -> NewDestination: ...
    def test_destination(self, destination_id: UUID) -> EventDelivery: ...
    def event_deliveries(
        self, destination_id: UUID, *, state: str | None = None, before: UUID | None = None, limit: int = 100
    ) -> list[EventDelivery]: ...
    def replay_destination(self, destination_id: UUID, delivery_id: UUID | None = None) -> int: ...
