"""Sending events to destinations: at least once each, in order for each dataset."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cordillera.catalog.lake_keys import usable_keys
from cordillera.catalog.leases import fenced_write
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.destinations.handlers import enqueue_sending, viewer_of
from cordillera.metrics import DESTINATION_ATTEMPTS
from cordillera.ports.clock import Clock
from cordillera.ports.event_sender import EventSender
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.destination import (
    PING,
    Attempt,
    DeliveryState,
    Destination,
    DestinationKind,
    EventDelivery,
    Message,
    after_attempt,
    after_outcome,
    cloud_event,
    ping_event,
    webhook_secret,
)
from cordillera.spec.event import told
from cordillera.spec.lake_key import KeyPurpose

_TURN_SECONDS = 5.0
_STREAMS_AT_ONCE = 100
_KEPT = {DeliveryState.DELIVERED: 1_000, DeliveryState.DEAD: 10_000}


class EventDeliveryService:
    """Sends what is in line for destinations.

    Args:
        store: Keeps what is in line.
        sender: Sends.
        clock: Time and ids.
        luck: Gives random numbers from 0 up to 1.
    """

    def __init__(
        self, store: MetadataStore, sender: EventSender, clock: Clock, luck: Callable[[], float] = random.random
    ) -> None:
        self._store, self._sender, self._clock, self._luck = store, sender, clock, luck

    def send_due(self, destination_id: UUID) -> None:
        """Send what is due to a destination, for a limited time; what is left is left to another task.

        Streams take turns. What fails holds back what follows it in its stream, and that alone. Where nobody answers,
        no other is tried for as long as that took, so that a destination takes half of a worker's time at most.
        """
        ends_at, rest = time.monotonic() + _TURN_SECONDS, 0.0
        turns = self._due(destination_id)
        while turns and not rest and time.monotonic() < ends_at:
            delivery = turns.popleft()
            done = self._send(delivery)
            if done is not None and done.error and done.status is None:
                rest = done.seconds
            elif done is None or done.state is not DeliveryState.WAITING:
                turns.extend(self._following(delivery))
            if done is not None and done.state is DeliveryState.DEAD:
                turns = self._due(destination_id)  # none, if it has said that it is gone
        self._arrange_next(destination_id, timedelta(seconds=rest))

    def ping(self, destination: Destination) -> EventDelivery:
        """Send a test, now and once, and return what came of it. If it is taken, all that waits is due at once."""
        now = self._clock.now()
        made = EventDelivery(
            self._clock.new_id(), destination.id, PING, None, PING, "", DeliveryState.WAITING, 0, now, None, None,
            current().trace_id,
        )  # fmt: skip
        attempt = self._attempt(destination, made, ping_event(made, self._lake_id()))
        state, now = DeliveryState.DEAD if attempt.error else DeliveryState.DELIVERED, self._clock.now()
        done = replace(after_attempt(made, attempt, now, 0.0), state=state, due_at=None, finished_at=now)
        with self._store.write() as tx:
            if tx.destinations.get(destination.id, lock=True) is not None:
                tx.event_deliveries.insert(done)
                _note_health(tx, destination.id, attempt, now)
                if not attempt.error:
                    tx.event_deliveries.make_due(destination.id, now)
                    enqueue_sending(tx, destination.id, self._clock)
        return done

    def wake(self, payload: Mapping[str, Any]) -> None:
        """Have sent what has become due to a destination."""
        with self._store.write() as tx:
            enqueue_sending(tx, UUID(payload["destination_id"]), self._clock)

    # --- what is sent ----------------------------------------------------------------------------------------------

    def _send(self, delivery: EventDelivery) -> EventDelivery | None:
        """Send one delivery and note what came of it; return it as it is since, None if there is nothing to send.

        The note comes after: whoever is killed in between sends it again, under the same id.
        """
        made = self._message(delivery)
        if made is None:
            self._withhold(delivery)
            return None
        attempt = self._attempt(made[0], delivery, made[1])
        now = self._clock.now()
        tried = after_attempt(delivery, attempt, now, self._luck())
        with fenced_write(self._store, now) as tx:
            if tx.destinations.get(delivery.destination_id, lock=True) is None:
                return None
            tx.event_deliveries.update(tried)
            _note_health(tx, delivery.destination_id, attempt, now)
        DESTINATION_ATTEMPTS.labels("failed" if tried.state is DeliveryState.WAITING else tried.state.value).inc()
        return tried

    def _attempt(self, destination: Destination, delivery: EventDelivery, event: Mapping[str, Any]) -> Attempt:
        now = self._clock.now()
        message = Message(delivery.id, delivery.stream, event, now, self._secrets(destination, now))
        return self._sender.send(destination.kind, destination.config, message)

    def _following(self, delivery: EventDelivery) -> list[EventDelivery]:
        with self._store.read() as tx:
            found = tx.event_deliveries.next_of(delivery.destination_id, delivery.stream)
        return [found] if found is not None and found.due_at is not None and found.due_at <= self._clock.now() else []

    def _due(self, destination_id: UUID) -> deque[EventDelivery]:
        now = self._clock.now()
        with self._store.read() as tx:
            if not _takes(tx, destination_id):
                return deque()
            heads = tx.event_deliveries.heads(destination_id, _STREAMS_AT_ONCE)
        return deque(head for head in heads if head.due_at is not None and head.due_at <= now)

    def _message(self, delivery: EventDelivery) -> tuple[Destination, Mapping[str, Any]] | None:
        """Return where to send what; None if that is nobody's business any more."""
        with self._store.read() as tx:
            destination = tx.destinations.get(delivery.destination_id)
            if destination is None or delivery.event_number is None:
                return None
            viewer = viewer_of(tx, destination, self._clock.now())
            event = tx.events.seen(delivery.event_number, viewer)
        return None if event is None else (destination, cloud_event(told(event, viewer), self._lake_id()))

    def _secrets(self, destination: Destination, now: datetime) -> tuple[bytes, ...]:
        """Return what signs: for webhooks only; whatever else there is knows the lake by its own credentials."""
        if destination.kind is not DestinationKind.WEBHOOK:
            return ()
        keys, numbers = usable_keys(self._store, self._clock, KeyPurpose.WEBHOOKS), destination.signing_numbers(now)
        return tuple(webhook_secret(key.secret, destination.id, number) for key in keys for number in numbers)

    def _lake_id(self) -> UUID:
        with self._store.read() as tx:
            info = tx.lake.get()
        assert info is not None, "a lake that is open is described"
        return info.id

    def _withhold(self, delivery: EventDelivery) -> None:
        """Forget what whoever the destination is for may not know of any more; not even that it was there is told."""
        with fenced_write(self._store, self._clock.now()) as tx:
            tx.event_deliveries.delete(delivery.id)

    def _arrange_next(self, destination_id: UUID, rest: timedelta) -> None:
        now = self._clock.now()
        with fenced_write(self._store, now) as tx:
            for state, keep in _KEPT.items():
                tx.event_deliveries.forget(destination_id, state, keep)
            if not _takes(tx, destination_id):
                return
            for head in tx.event_deliveries.heads(destination_id, 1):
                due_at = max(head.due_at or now, now + rest)
                enqueue_sending(tx, destination_id, self._clock, due_at if due_at > now else None)


def _takes(tx: Transaction, destination_id: UUID) -> bool:
    destination = tx.destinations.get(destination_id)
    return destination is not None and destination.disabled_at is None


def _note_health(tx: Transaction, destination_id: UUID, attempt: Attempt, now: datetime) -> None:
    destination = tx.destinations.get(destination_id)
    assert destination is not None, "it is locked"
    changed = after_outcome(destination, attempt, now)
    tx.destinations.update(changed)
    if changed.disabled_at is not None and destination.disabled_at is None:
        details = {"kind": changed.kind, "place": changed.place, "owner": changed.owner, "reason": attempt.error}
        Trail(tx, now).audit("destination.disable", "destination", str(changed.id), details)
