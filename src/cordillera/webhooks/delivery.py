"""Sending events to webhooks: at least once each, in order for each dataset."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from cordillera.catalog.lake_keys import usable_keys
from cordillera.catalog.leases import fenced_write
from cordillera.context import current
from cordillera.metrics import WEBHOOK_ATTEMPTS
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.webhook_sender import WebhookSender
from cordillera.spec.event import told
from cordillera.spec.lake_key import KeyPurpose
from cordillera.spec.webhook import (
    PING,
    Attempt,
    DeliveryState,
    Webhook,
    WebhookDelivery,
    after_attempt,
    cloud_event,
    ping_event,
    signed_headers,
    webhook_secret,
)
from cordillera.webhooks.handlers import enqueue_sending, viewer_of

_TURN_SECONDS = 5.0
_STREAMS_AT_ONCE = 100
_KEPT = {DeliveryState.DELIVERED: 1_000, DeliveryState.DEAD: 10_000}
_CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


class WebhookDeliveryService:
    """Sends what is in line for webhooks.

    Args:
        store: Keeps what is in line.
        sender: Sends.
        clock: Time and ids.
        luck: Gives random numbers from 0 up to 1.
    """

    def __init__(
        self, store: MetadataStore, sender: WebhookSender, clock: Clock, luck: Callable[[], float] = random.random
    ) -> None:
        self._store, self._sender, self._clock, self._luck = store, sender, clock, luck

    def send_due(self, webhook_id: UUID) -> None:
        """Send what is due to a webhook, for a limited time; what is left is left to another task.

        Streams take turns. What fails holds back what follows it in its stream, and that alone. Where nobody answers,
        no other is tried for as long as that took, so that a webhook takes half of a worker's time at most.
        """
        ends_at, rest = time.monotonic() + _TURN_SECONDS, 0.0
        turns = self._due(webhook_id)
        while turns and not rest and time.monotonic() < ends_at:
            delivery = turns.popleft()
            done = self._send(delivery)
            if done is not None and done.status is None:
                rest = done.seconds
            elif done is None or done.state is not DeliveryState.WAITING:
                turns.extend(self._following(delivery))
        self._arrange_next(webhook_id, timedelta(seconds=rest))

    def ping(self, webhook: Webhook) -> WebhookDelivery:
        """Send a test, now and once, and return what came of it. If it is taken, all that waits is due at once."""
        now = self._clock.now()
        made = WebhookDelivery(
            self._clock.new_id(), webhook.id, PING, None, PING, "", DeliveryState.WAITING, 0, now, None, None,
            current().trace_id,
        )  # fmt: skip
        body = orjson.dumps(ping_event(made, self._lake_id()))
        attempt = self._sender.send(webhook.url, self._headers(webhook, made.id, body), body)
        state, now = DeliveryState.DEAD if attempt.error else DeliveryState.DELIVERED, self._clock.now()
        done = replace(after_attempt(made, attempt, now, 0.0), state=state, due_at=None, finished_at=now)
        with self._store.write() as tx:
            if tx.webhooks.get(webhook.id, lock=True) is not None:
                tx.webhook_deliveries.insert(done)
                _note_health(tx, webhook.id, attempt, now)
                if not attempt.error:
                    tx.webhook_deliveries.make_due(webhook.id, now)
                    enqueue_sending(tx, webhook.id, self._clock)
        return done

    def wake(self, payload: Mapping[str, Any]) -> None:
        """Have sent what has become due to a webhook."""
        with self._store.write() as tx:
            enqueue_sending(tx, UUID(payload["webhook_id"]), self._clock)

    # --- what is sent ----------------------------------------------------------------------------------------------

    def _send(self, delivery: WebhookDelivery) -> WebhookDelivery | None:
        """Send one delivery and note what came of it; return it as it is since, None if there is nothing to send.

        The note comes after: whoever is killed in between sends it again, under the same id.
        """
        made = self._message(delivery)
        if made is None:
            self._withhold(delivery)
            return None
        webhook, body = made
        attempt = self._sender.send(webhook.url, self._headers(webhook, delivery.id, body), body)
        now = self._clock.now()
        tried = after_attempt(delivery, attempt, now, self._luck())
        with fenced_write(self._store, now) as tx:
            if tx.webhooks.get(delivery.webhook_id, lock=True) is None:
                return None
            tx.webhook_deliveries.update(tried)
            _note_health(tx, delivery.webhook_id, attempt, now)
        WEBHOOK_ATTEMPTS.labels("failed" if tried.state is DeliveryState.WAITING else tried.state.value).inc()
        return tried

    def _following(self, delivery: WebhookDelivery) -> list[WebhookDelivery]:
        with self._store.read() as tx:
            found = tx.webhook_deliveries.next_of(delivery.webhook_id, delivery.stream)
        return [found] if found is not None and found.due_at is not None and found.due_at <= self._clock.now() else []

    def _due(self, webhook_id: UUID) -> deque[WebhookDelivery]:
        now = self._clock.now()
        with self._store.read() as tx:
            heads = tx.webhook_deliveries.heads(webhook_id, _STREAMS_AT_ONCE)
        return deque(head for head in heads if head.due_at is not None and head.due_at <= now)

    def _message(self, delivery: WebhookDelivery) -> tuple[Webhook, bytes] | None:
        """Return whom to send what; None if that is nobody's business any more."""
        with self._store.read() as tx:
            webhook = tx.webhooks.get(delivery.webhook_id)
            if webhook is None or delivery.event_number is None:
                return None
            viewer = viewer_of(tx, webhook, self._clock.now())
            event = tx.events.seen(delivery.event_number, viewer)
        return None if event is None else (webhook, orjson.dumps(cloud_event(told(event, viewer), self._lake_id())))

    def _headers(self, webhook: Webhook, message_id: UUID, body: bytes) -> dict[str, str]:
        now, keys = self._clock.now(), usable_keys(self._store, self._clock, KeyPurpose.WEBHOOKS)
        numbers = webhook.signing_numbers(now)
        secrets = [webhook_secret(key.secret, webhook.id, number) for key in keys for number in numbers]
        return {"content-type": _CONTENT_TYPE, **signed_headers(str(message_id), now, body, secrets)}

    def _lake_id(self) -> UUID:
        with self._store.read() as tx:
            info = tx.lake.get()
        assert info is not None, "a lake that is open is described"
        return info.id

    def _withhold(self, delivery: WebhookDelivery) -> None:
        """Forget what whoever the webhook is for may not know of any more; not even that it was there is told."""
        with fenced_write(self._store, self._clock.now()) as tx:
            tx.webhook_deliveries.delete(delivery.id)

    def _arrange_next(self, webhook_id: UUID, rest: timedelta) -> None:
        now = self._clock.now()
        with fenced_write(self._store, now) as tx:
            for state, keep in _KEPT.items():
                tx.webhook_deliveries.forget(webhook_id, state, keep)
            for head in tx.webhook_deliveries.heads(webhook_id, 1):
                due_at = max(head.due_at or now, now + rest)
                enqueue_sending(tx, webhook_id, self._clock, due_at if due_at > now else None)


def _note_health(tx: Transaction, webhook_id: UUID, attempt: Attempt, now: datetime) -> None:
    webhook = tx.webhooks.get(webhook_id)
    assert webhook is not None, "it is locked"
    if attempt.error:
        changed = replace(webhook, failing_since=webhook.failing_since or now, last_error=attempt.error)
    else:
        changed = replace(webhook, failing_since=None, last_error="", last_delivered_at=now)
    tx.webhooks.update(changed)
