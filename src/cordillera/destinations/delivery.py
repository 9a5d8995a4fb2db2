"""Sending events to destinations: at least once each, in order for each dataset."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class _Parcel:
    """What goes to a destination together.

    Attributes:
        events: Deliveries of different streams, and what is sent of each.
        withheld: Deliveries that are nobody's business any more.
        following: What follows them, by stream.
    """

    destination: Destination
    events: Sequence[tuple[EventDelivery, Mapping[str, Any]]]
    withheld: list[EventDelivery]
    following: Mapping[str, EventDelivery]


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

        Streams take turns, as many together as the destination takes at once. What fails holds back what follows it in
        its stream, and that alone. Where nobody answers, no other is tried for as long as that took, so that a
        destination takes half of a worker's time at most.
        """
        ends_at, rest = time.monotonic() + _TURN_SECONDS, 0.0
        turns = self._due(destination_id)
        while turns and not rest and time.monotonic() < ends_at:
            rest = self._send_first(destination_id, turns)
        self._arrange_next(destination_id, timedelta(seconds=rest))

    def ping(self, destination: Destination) -> EventDelivery:
        """Send a test, now and once, and return what came of it. If it is taken, all that waits is due at once."""
        now = self._clock.now()
        made = EventDelivery(
            self._clock.new_id(), destination.id, PING, None, PING, "", DeliveryState.WAITING, 0, now, None, None,
            current().trace_id,
        )  # fmt: skip
        with self._store.read() as tx:
            event = ping_event(made, _lake_id(tx))
        (attempt,) = self._attempt(destination, [(made, event)])
        state, now = DeliveryState.DEAD if attempt.error else DeliveryState.DELIVERED, self._clock.now()
        done = replace(after_attempt(made, attempt, now, 0.0), state=state, due_at=None, finished_at=now)
        with self._store.write() as tx:
            found = tx.destinations.get(destination.id, lock=True)
            if found is not None:
                tx.event_deliveries.insert([done])
                _note_health(tx, found, [attempt], now)
                if not attempt.error:
                    tx.event_deliveries.make_due(destination.id, now)
                    enqueue_sending(tx, destination.id, self._clock)
        return done

    def wake(self, payload: Mapping[str, Any]) -> None:
        """Have sent what has become due to a destination."""
        with self._store.write() as tx:
            enqueue_sending(tx, UUID(payload["destination_id"]), self._clock)

    # --- what is sent ----------------------------------------------------------------------------------------------

    def _send_first(self, destination_id: UUID, turns: deque[EventDelivery]) -> float:
        """Send together what has the first turns, note what came of it, and give turns to what follows.

        The note comes after: whoever is killed in between sends it again, under the same ids.

        Returns:
            For how many seconds the destination is to rest.
        """
        parcel = self._parcel(destination_id, turns)
        if parcel is None:
            turns.clear()
            return 0.0
        attempts = self._attempt(parcel.destination, parcel.events) if parcel.events else []
        now = self._clock.now()
        tried = [
            after_attempt(delivery, attempt, now, self._luck())
            for (delivery, _), attempt in zip(parcel.events, attempts, strict=False)
        ]
        if not self._note(parcel, tried, attempts, now):
            turns.clear()
            return 0.0
        turns.extendleft(delivery for delivery, _ in reversed(parcel.events[len(tried) :]))
        ended = parcel.withheld + [one for one in tried if one.state is not DeliveryState.WAITING]
        turns.extend(_due_at(now, [parcel.following[one.stream] for one in ended if one.stream in parcel.following]))
        return max((attempt.seconds for attempt in attempts if attempt.unanswered), default=0.0)

    def _parcel(self, destination_id: UUID, turns: deque[EventDelivery]) -> _Parcel | None:
        """Take from the turns what goes together; None if the destination takes nothing any more."""
        with self._store.read() as tx:
            destination = tx.destinations.get(destination_id)
            if destination is None or destination.disabled_at is not None:
                return None
            first = [turns.popleft() for _ in range(min(len(turns), self._sender.at_once(destination.kind)))]
            viewer = viewer_of(tx, destination, self._clock.now())
            numbers = [one.event_number for one in first if one.event_number is not None]
            events = {event.number: event for event in tx.events.seen(numbers, viewer)}
            following = {one.stream: one for one in tx.event_deliveries.following([one.id for one in first])}
            lake_id = _lake_id(tx)
        told_of = [
            (one, cloud_event(told(events[one.event_number], viewer), lake_id))
            for one in first
            if one.event_number in events
        ]
        return _Parcel(destination, told_of, [one for one in first if one.event_number not in events], following)

    def _note(
        self, parcel: _Parcel, tried: Sequence[EventDelivery], attempts: Sequence[Attempt], now: datetime
    ) -> bool:
        """Note what came of attempts; False if the destination is gone.

        What whoever the destination is for may not know of any more is forgotten; not even that it was there is told.
        """
        with fenced_write(self._store, now) as tx:
            destination = tx.destinations.get(parcel.destination.id, lock=True)
            if destination is None:
                return False
            tx.event_deliveries.delete([one.id for one in parcel.withheld])
            tx.event_deliveries.update(tried)
            _note_health(tx, destination, attempts, now)
        for one in tried:
            DESTINATION_ATTEMPTS.labels("failed" if one.state is DeliveryState.WAITING else one.state.value).inc()
        return True

    def _attempt(
        self, destination: Destination, events: Sequence[tuple[EventDelivery, Mapping[str, Any]]]
    ) -> list[Attempt]:
        now = self._clock.now()
        secrets = self._secrets(destination, now)
        messages = [Message(delivery.id, delivery.stream, event, now, secrets) for delivery, event in events]
        return self._sender.send(destination.kind, destination.config, messages)

    def _due(self, destination_id: UUID) -> deque[EventDelivery]:
        now = self._clock.now()
        with self._store.read() as tx:
            if not _takes(tx, destination_id):
                return deque()
            return deque(_due_at(now, tx.event_deliveries.heads(destination_id, _STREAMS_AT_ONCE)))

    def _secrets(self, destination: Destination, now: datetime) -> tuple[bytes, ...]:
        """Return what signs: for webhooks only; whatever else there is knows the lake by its own credentials."""
        if destination.kind is not DestinationKind.WEBHOOK:
            return ()
        keys, numbers = usable_keys(self._store, self._clock, KeyPurpose.WEBHOOKS), destination.signing_numbers(now)
        return tuple(webhook_secret(key.secret, destination.id, number) for key in keys for number in numbers)

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


def _due_at(now: datetime, deliveries: Sequence[EventDelivery]) -> list[EventDelivery]:
    return [one for one in deliveries if one.due_at is not None and one.due_at <= now]


def _lake_id(tx: Transaction) -> UUID:
    info = tx.lake.get()
    assert info is not None, "a lake that is open is described"
    return info.id


def _note_health(tx: Transaction, destination: Destination, attempts: Sequence[Attempt], now: datetime) -> None:
    changed = destination
    for attempt in attempts:
        changed = after_outcome(changed, attempt, now)
    if changed != destination:
        tx.destinations.update(changed)
    if changed.disabled_at is not None and destination.disabled_at is None:
        details = {"kind": changed.kind, "place": changed.place, "owner": changed.owner, "reason": changed.last_error}
        Trail(tx, now).audit("destination.disable", "destination", str(changed.id), details)
