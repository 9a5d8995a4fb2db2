"""Rows of webhooks and of what is delivered to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.access import Viewer
from cordillera.spec.event import Event
from cordillera.spec.webhook import DeliveryState, Webhook, WebhookDelivery


class WebhookRows(Protocol):
    """Webhooks."""

    def insert(self, webhook: Webhook) -> None:
        """Add a webhook."""

    def get(self, webhook_id: UUID, *, lock: bool = False) -> Webhook | None:
        """Return a webhook, locked until the transaction ends if asked."""

    def page(self, after: UUID | None, limit: int, *, viewer: Viewer | None = None) -> list[Webhook]:
        """Return webhooks by id behind ``after``; to a viewer his own, or all if he administers the lake."""

    def count_of(self, owner: str) -> int:
        """Return how many webhooks somebody owns."""

    def wanting(self, event: Event) -> list[Webhook]:
        """Return the webhooks whose filter an event passes."""

    def update(self, webhook: Webhook) -> None:
        """Store a webhook's changed fields; its filter never changes."""

    def delete(self, webhook_id: UUID) -> None:
        """Remove a webhook with all that belongs to it."""

    def failing_count(self) -> int:
        """Return how many webhooks fail."""


class WebhookDeliveryRows(Protocol):
    """Events on their way to webhooks. Those of one stream of a webhook are in the order in which they were added."""

    def insert(self, delivery: WebhookDelivery) -> None:
        """Add a delivery behind all others of its stream."""

    def get(self, delivery_id: UUID) -> WebhookDelivery | None:
        """Return a delivery."""

    def update(self, delivery: WebhookDelivery) -> None:
        """Store a delivery's changed fields."""

    def delete(self, delivery_id: UUID) -> None:
        """Remove a delivery."""

    def heads(self, webhook_id: UUID, limit: int) -> list[WebhookDelivery]:
        """Return the first waiting delivery of each stream of a webhook, that which is due first first."""

    def next_of(self, webhook_id: UUID, stream: str) -> WebhookDelivery | None:
        """Return the first waiting delivery of a stream."""

    def page(
        self,
        webhook_id: UUID,
        *,
        state: DeliveryState | None = None,
        before: UUID | None = None,
        limit: int,
        viewer: Viewer | None = None,
    ) -> list[WebhookDelivery]:
        """Return the deliveries of a webhook, newest first, behind that with the id ``before``.

        A viewer gets those of events about what he may discover.
        """

    def counts(self, webhook_id: UUID, viewer: Viewer | None = None) -> Mapping[DeliveryState, int]:
        """Return how many deliveries of a webhook wait and are dead, of those that ``page`` gives a viewer."""

    def totals(self) -> Mapping[DeliveryState, int]:
        """Return how many deliveries in the lake wait and are dead."""

    def make_due(self, webhook_id: UUID, now: datetime) -> None:
        """Make every waiting delivery of a webhook due."""

    def forget(self, webhook_id: UUID, state: DeliveryState, keep: int) -> None:
        """Remove the deliveries of a webhook in a state, but for the newest."""
