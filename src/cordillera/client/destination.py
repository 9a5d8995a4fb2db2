"""Destinations as people work with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from cordillera.client.backend import LakeBackend
from cordillera.spec.destination import DestinationStatus, EventDelivery


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination of a lake, by id."""

    backend: LakeBackend
    id: UUID

    def status(self) -> DestinationStatus:
        """Return what it is and how it does: healthy, failing or disabled, how much waits, how much is dead."""
        return self.backend.destination(self.id)

    def test(self) -> EventDelivery:
        """Send a test now and return what came of it. If it is taken, all that waits is sent at once."""
        return self.backend.test_destination(self.id)

    def rotate(self, keep_hours: int = 24) -> str:
        """Return a new secret of a webhook, shown this once; the old one signs too for some hours more."""
        return self.backend.rotate_destination(self.id, keep_hours=keep_hours).secret or ""

    def deliveries(self, state: str | None = None) -> Iterator[EventDelivery]:
        """Yield what was or is to be delivered, newest first: all, or what is waiting, delivered or dead."""
        before = None
        while page := self.backend.event_deliveries(self.id, state=state, before=before):
            yield from page
            before = page[-1].id

    def replay(self, delivery_id: UUID | None = None) -> int:
        """Try again what was given up, one delivery or the newest thousand; return how many that are."""
        return self.backend.replay_destination(self.id, delivery_id)

    def remove(self) -> None:
        """Send nothing more; what waits is dropped."""
        self.backend.remove_destination(self.id)


class Destinations:
    """The part of ``Lake`` that is about destinations."""

    backend: LakeBackend

    def create_destination(
        self,
        kind: str,
        *,
        topics: Sequence[str] = (),
        within: Sequence[str] = (),
        description: str = "",
        **config: str,
    ) -> tuple[Destination, str | None]:
        """Have events sent somewhere from now on, as CloudEvents: ``create_destination("webhook", url="https://…")``.

        Args:
            kind: ``webhook``, which anybody may make; ``kafka``, ``sns``, ``sqs`` or ``eventbridge``, to which the lake
                goes with credentials of its own, so whoever administers it makes those.
            topics: Which events; by default all.
            within: Datasets, views and namespaces that they are about; by default all.
            description: What it is for.
            config: Settings of the kind.

        Returns:
            The destination; and the secret that signs, which is shown this once, if it is a webhook.
        """
        made = self.backend.create_destination(kind, config, topics=topics, within=within, description=description)
        return Destination(self.backend, made.destination.id), made.secret

    def destination(self, destination_id: UUID) -> Destination:
        """Return a destination that exists."""
        return Destination(self.backend, self.backend.destination(destination_id).destination.id)

    def destinations(self) -> Iterator[Destination]:
        """Yield one's destinations; to whoever administers the lake, all."""
        after = None
        while page := self.backend.destinations(after):
            yield from (Destination(self.backend, found.destination.id) for found in page)
            after = page[-1].destination.id
