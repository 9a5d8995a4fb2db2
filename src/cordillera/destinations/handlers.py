"""What destinations do when something happens: it is put in line for each that wants to be told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from uuid import UUID

from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import Viewer, whole_principal
from cordillera.spec.destination import DeliveryState, Destination, EventDelivery
from cordillera.spec.event import Event

SEND = "destination"
RESEND = "destination_later"


def on_events(tx: Transaction, events: Sequence[Event], clock: Clock) -> None:
    """Put events in line for the destinations that want them, as far as those they are for may know of them."""
    streams = _Streams(tx)
    for destination, wanted in tx.destinations.wanting(events):
        now = clock.now()
        viewer = viewer_of(tx, destination, now)
        known = wanted if viewer is None else tx.events.seen([event.number for event in wanted], viewer)
        if not known:
            continue
        tx.event_deliveries.insert(
            [
                EventDelivery(
                    clock.new_id(), destination.id, streams.of(event), event.number, event.topic, event.dataset,
                    DeliveryState.WAITING, 0, now, now, None, event.trace_id,
                )
                for event in known
            ]
        )  # fmt: skip
        enqueue_sending(tx, destination.id, clock)


def viewer_of(tx: Transaction, destination: Destination, now: datetime) -> Viewer | None:
    """Return the one who has to be allowed to know what a destination tells; None for the lake's operator."""
    principal = destination.on_behalf_of
    return tx.grants.viewer(whole_principal(principal), now) if principal else None


def enqueue_sending(tx: Transaction, destination_id: UUID, clock: Clock, due_at: datetime | None = None) -> None:
    """Have sent what is due to a destination: now, or later.

    At most one task sends to a destination at a time, which keeps streams in order. One that waits for later must not
    keep another from being done now, so it is of another kind, and has a key for each time.
    """
    key = str(destination_id) if due_at is None else f"{destination_id} {due_at.isoformat()}"
    kind = SEND if due_at is None else RESEND
    payload = {"destination_id": str(destination_id)}
    tx.tasks.enqueue(clock.new_id(), kind, key, payload, now=clock.now(), due_at=due_at, trace_id="")


class _Streams:
    """What events are in order with: all that is about a dataset, however that is called later."""

    def __init__(self, tx: Transaction) -> None:
        self._version = cache(tx.dataset_versions.get)

    def of(self, event: Event) -> str:
        version = self._version(event.dataset_version_id) if event.dataset_version_id is not None else None
        return str(version.dataset_id) if version is not None else event.dataset or event.topic
