"""What webhooks do when something happens: it is put in line for each that wants to be told."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import Viewer, whole_principal
from cordillera.spec.event import Event
from cordillera.spec.webhook import DeliveryState, Webhook, WebhookDelivery

SEND = "webhook"
RESEND = "webhook_later"


def on_event(tx: Transaction, event: Event, clock: Clock) -> None:
    """Put an event in line for the webhooks that want it, as far as those they are for may know of it."""
    for webhook in tx.webhooks.wanting(event):
        if tx.events.seen(event.number, viewer_of(tx, webhook, clock.now())) is None:
            continue
        now = clock.now()
        tx.webhook_deliveries.insert(
            WebhookDelivery(
                clock.new_id(), webhook.id, _stream(tx, event), event.number, event.topic, event.dataset,
                DeliveryState.WAITING, 0, now, now, None, event.trace_id,
            )
        )  # fmt: skip
        enqueue_sending(tx, webhook.id, clock)


def viewer_of(tx: Transaction, webhook: Webhook, now: datetime) -> Viewer | None:
    """Return the one who has to be allowed to know what a webhook tells; None for the lake's operator."""
    principal = webhook.on_behalf_of
    return tx.grants.viewer(whole_principal(principal), now) if principal else None


def enqueue_sending(tx: Transaction, webhook_id: UUID, clock: Clock, due_at: datetime | None = None) -> None:
    """Have sent what is due to a webhook: now, or later.

    At most one task sends to a webhook at a time, which keeps streams in order. One that waits for later must not keep
    another from being done now, so it is of another kind, and has a key for each time.
    """
    key = str(webhook_id) if due_at is None else f"{webhook_id} {due_at.isoformat()}"
    kind = SEND if due_at is None else RESEND
    payload = {"webhook_id": str(webhook_id)}
    tx.tasks.enqueue(clock.new_id(), kind, key, payload, now=clock.now(), due_at=due_at, trace_id="")


def _stream(tx: Transaction, event: Event) -> str:
    """Return what an event is in order with: all that is about its dataset, however that is called later."""
    version = tx.dataset_versions.get(event.dataset_version_id) if event.dataset_version_id is not None else None
    if version is not None:
        return str(version.dataset_id)
    return event.dataset or event.topic
