"""Webhooks: in this process, and over the HTTP API."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from cordillera.app import Application
from cordillera.client.connection import Connection, path
from cordillera.codec import Page, decode
from cordillera.spec.webhook import WebhookDelivery, WebhookStatus
from cordillera.webhooks.service import NewWebhook


class LocalWebhooks:
    """The part of ``LakeBackend`` that is about webhooks, on the services of an application."""

    app: Application

    def create_webhook(
        self, url: str, *, topics: Sequence[str] = (), within: Sequence[str] = (), description: str = ""
    ) -> NewWebhook:
        """Have events sent to an address."""
        return self.app.webhooks.create(url, topics=topics, within=within, description=description)

    def webhook(self, webhook_id: UUID) -> WebhookStatus:
        """Return a webhook, and how it does."""
        return self.app.webhooks.status(webhook_id)

    def webhooks(self, after: UUID | None = None, limit: int = 100) -> list[WebhookStatus]:
        """Return a page of webhooks by id."""
        return self.app.webhooks.page(after, limit)

    def remove_webhook(self, webhook_id: UUID) -> None:
        """Send nothing more."""
        self.app.webhooks.remove(webhook_id)

    def rotate_webhook(self, webhook_id: UUID, *, keep_hours: int = 24) -> NewWebhook:
        """Give a webhook a new secret."""
        return self.app.webhooks.rotate(webhook_id, keep_hours=keep_hours)

    def test_webhook(self, webhook_id: UUID) -> WebhookDelivery:
        """Send a test now."""
        return self.app.webhooks.test(webhook_id)

    def webhook_deliveries(
        self, webhook_id: UUID, *, state: str | None = None, before: UUID | None = None, limit: int = 100
    ) -> list[WebhookDelivery]:
        """Return a page of deliveries, newest first."""
        return self.app.webhooks.deliveries(webhook_id, state=state, before=before, limit=limit)

    def replay_webhook(self, webhook_id: UUID, delivery_id: UUID | None = None) -> int:
        """Try again what was given up: one delivery, or all; return how many that are."""
        return self.app.webhooks.replay(webhook_id, delivery_id)


class RemoteWebhooks:
    """The part of ``LakeBackend`` that is about webhooks, over the HTTP API."""

    _server: Connection

    def create_webhook(
        self, url: str, *, topics: Sequence[str] = (), within: Sequence[str] = (), description: str = ""
    ) -> NewWebhook:
        """Have events sent to an address."""
        body = {"url": url, "topics": list(topics), "within": list(within), "description": description}
        return self._server.post(NewWebhook, "/webhooks", body)

    def webhook(self, webhook_id: UUID) -> WebhookStatus:
        """Return a webhook, and how it does."""
        return self._server.get(WebhookStatus, _path(webhook_id))

    def webhooks(self, after: UUID | None = None, limit: int = 100) -> list[WebhookStatus]:
        """Return a page of webhooks by id."""
        return self._server.get(Page[WebhookStatus], "/webhooks", after=after, limit=limit).items

    def remove_webhook(self, webhook_id: UUID) -> None:
        """Send nothing more."""
        self._server.request("DELETE", _path(webhook_id))

    def rotate_webhook(self, webhook_id: UUID, *, keep_hours: int = 24) -> NewWebhook:
        """Give a webhook a new secret."""
        return self._server.post(NewWebhook, _path(webhook_id) + "/rotate", {"keep_hours": keep_hours})

    def test_webhook(self, webhook_id: UUID) -> WebhookDelivery:
        """Send a test now."""
        return self._server.post(WebhookDelivery, _path(webhook_id) + "/test")

    def webhook_deliveries(
        self, webhook_id: UUID, *, state: str | None = None, before: UUID | None = None, limit: int = 100
    ) -> list[WebhookDelivery]:
        """Return a page of deliveries, newest first."""
        address = _path(webhook_id) + "/deliveries"
        return self._server.get(Page[WebhookDelivery], address, state=state, before=before, limit=limit).items

    def replay_webhook(self, webhook_id: UUID, delivery_id: UUID | None = None) -> int:
        """Try again what was given up: one delivery, or all; return how many that are."""
        body = {"delivery_id": delivery_id and str(delivery_id)}
        return decode(int, self._server.request("POST", _path(webhook_id) + "/replay", json=body))


def _path(webhook_id: UUID) -> str:
    return path("webhooks", str(webhook_id))
