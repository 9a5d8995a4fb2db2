"""What can be asked of a lake about webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from cordillera.spec.webhook import WebhookDelivery, WebhookStatus
from cordillera.webhooks.service import NewWebhook


class WebhookBackend(Protocol):
    """The part of ``LakeBackend`` that is about webhooks."""

    def create_webhook(
        self, url: str, *, topics: Sequence[str] = (), within: Sequence[str] = (), description: str = ""
    ) -> NewWebhook: ...
    def webhook(self, webhook_id: UUID) -> WebhookStatus: ...
    def webhooks(self, after: UUID | None = None, limit: int = 100) -> list[WebhookStatus]: ...
    def remove_webhook(self, webhook_id: UUID) -> None: ...
    def rotate_webhook(self, webhook_id: UUID, *, keep_hours: int = 24) -> NewWebhook: ...
    def test_webhook(self, webhook_id: UUID) -> WebhookDelivery: ...
    def webhook_deliveries(
        self, webhook_id: UUID, *, state: str | None = None, before: UUID | None = None, limit: int = 100
    ) -> list[WebhookDelivery]: ...
    def replay_webhook(self, webhook_id: UUID, delivery_id: UUID | None = None) -> int: ...
