"""Destinations: in this process, and over the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from cordillera.app import Application
from cordillera.client.connection import Connection, path
from cordillera.codec import Page, decode
from cordillera.destinations.service import NewDestination
from cordillera.spec.destination import DestinationStatus, EventDelivery


class LocalDestinations:
    """The part of ``LakeBackend`` that is about destinations, on the services of an application."""

    app: Application

    def create_destination(
        self,
        kind: str,
        config: Mapping[str, str],
        *,
        topics: Sequence[str] = (),
        within: Sequence[str] = (),
        description: str = "",
    ) -> NewDestination:
        """Have events sent somewhere."""
        return self.app.destinations.create(kind, config, topics=topics, within=within, description=description)

    def destination(self, destination_id: UUID) -> DestinationStatus:
        """Return a destination, and how it does."""
        return self.app.destinations.status(destination_id)

    def destinations(self, after: UUID | None = None, limit: int = 100) -> list[DestinationStatus]:
        """Return a page of destinations by id."""
        return self.app.destinations.page(after, limit)

    def remove_destination(self, destination_id: UUID) -> None:
        """Send nothing more."""
        self.app.destinations.remove(destination_id)

    def rotate_destination(self, destination_id: UUID, *, keep_hours: int = 24) -> NewDestination:
        """Give a destination a new secret."""
        return self.app.destinations.rotate(destination_id, keep_hours=keep_hours)

    def test_destination(self, destination_id: UUID) -> EventDelivery:
        """Send a test now."""
        return self.app.destinations.test(destination_id)

    def event_deliveries(
        self, destination_id: UUID, *, state: str | None = None, before: UUID | None = None, limit: int = 100
    ) -> list[EventDelivery]:
        """Return a page of deliveries, newest first."""
        return self.app.destinations.deliveries(destination_id, state=state, before=before, limit=limit)

    def replay_destination(self, destination_id: UUID, delivery_id: UUID | None = None) -> int:
        """Try again what was given up: one delivery, or all; return how many that are."""
        return self.app.destinations.replay(destination_id, delivery_id)


class RemoteDestinations:
    """The part of ``LakeBackend`` that is about destinations, over the HTTP API."""

    _server: Connection

    def create_destination(
        self,
        kind: str,
        config: Mapping[str, str],
        *,
        topics: Sequence[str] = (),
        within: Sequence[str] = (),
        description: str = "",
    ) -> NewDestination:
        """Have events sent somewhere."""
        body = {
            "kind": kind,
            "config": dict(config),
            "topics": list(topics),
            "within": list(within),
            "description": description,
        }
        return self._server.post(NewDestination, "/destinations", body)

    def destination(self, destination_id: UUID) -> DestinationStatus:
        """Return a destination, and how it does."""
        return self._server.get(DestinationStatus, _path(destination_id))

    def destinations(self, after: UUID | None = None, limit: int = 100) -> list[DestinationStatus]:
        """Return a page of destinations by id."""
        return self._server.get(Page[DestinationStatus], "/destinations", after=after, limit=limit).items

    def remove_destination(self, destination_id: UUID) -> None:
        """Send nothing more."""
        self._server.request("DELETE", _path(destination_id))

    def rotate_destination(self, destination_id: UUID, *, keep_hours: int = 24) -> NewDestination:
        """Give a destination a new secret."""
        return self._server.post(NewDestination, _path(destination_id) + "/rotate", {"keep_hours": keep_hours})

    def test_destination(self, destination_id: UUID) -> EventDelivery:
        """Send a test now."""
        return self._server.post(EventDelivery, _path(destination_id) + "/test")

    def event_deliveries(
        self, destination_id: UUID, *, state: str | None = None, before: UUID | None = None, limit: int = 100
    ) -> list[EventDelivery]:
        """Return a page of deliveries, newest first."""
        address = _path(destination_id) + "/deliveries"
        return self._server.get(Page[EventDelivery], address, state=state, before=before, limit=limit).items

    def replay_destination(self, destination_id: UUID, delivery_id: UUID | None = None) -> int:
        """Try again what was given up: one delivery, or all; return how many that are."""
        body = {"delivery_id": delivery_id and str(delivery_id)}
        return decode(int, self._server.request("POST", _path(destination_id) + "/replay", json=body))


def _path(destination_id: UUID) -> str:
    return path("destinations", str(destination_id))
