"""Webhooks as people work with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from cordillera.client.backend import LakeBackend
from cordillera.spec.webhook import WebhookDelivery, WebhookStatus


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook of a lake, by id."""

    backend: LakeBackend
    id: UUID

    def status(self) -> WebhookStatus:
        """Return what it is and how it does: healthy or failing, how much waits, how much is dead."""
        return self.backend.webhook(self.id)

    def test(self) -> WebhookDelivery:
        """Send a test now and return what came of it. If it is taken, all that waits is sent at once."""
        return self.backend.test_webhook(self.id)

    def rotate(self, keep_hours: int = 24) -> str:
        """Return a new secret, shown this once; the old one signs too for some hours more."""
        return self.backend.rotate_webhook(self.id, keep_hours=keep_hours).secret

    def deliveries(self, state: str | None = None) -> Iterator[WebhookDelivery]:
        """Yield what was or is to be delivered, newest first: all, or what is waiting, delivered or dead."""
        before = None
        while page := self.backend.webhook_deliveries(self.id, state=state, before=before):
            yield from page
            before = page[-1].id

    def replay(self, delivery_id: UUID | None = None) -> int:
        """Try again what was given up, one delivery or the newest thousand; return how many that are."""
        return self.backend.replay_webhook(self.id, delivery_id)

    def remove(self) -> None:
        """Send nothing more; what waits is dropped."""
        self.backend.remove_webhook(self.id)


class Webhooks:
    """The part of ``Lake`` that is about webhooks."""

    backend: LakeBackend

    def create_webhook(
        self, url: str, *, topics: Sequence[str] = (), within: Sequence[str] = (), description: str = ""
    ) -> tuple[Webhook, str]:
        """Have events sent to an address from now on, as CloudEvents that are signed (Standard Webhooks).

        Args:
            url: The address; https, unless the lake's settings allow this machine.
            topics: Which events; by default all.
            within: Datasets, views and namespaces that they are about; by default all.
            description: What it is for.

        Returns:
            The webhook, and the secret that signs, which is shown this once.
        """
        made = self.backend.create_webhook(url, topics=topics, within=within, description=description)
        return Webhook(self.backend, made.webhook.id), made.secret

    def webhook(self, webhook_id: UUID) -> Webhook:
        """Return a webhook that exists."""
        return Webhook(self.backend, self.backend.webhook(webhook_id).webhook.id)

    def webhooks(self) -> Iterator[Webhook]:
        """Yield one's webhooks; to whoever administers the lake, all."""
        after = None
        while page := self.backend.webhooks(after):
            yield from (Webhook(self.backend, found.webhook.id) for found in page)
            after = page[-1].webhook.id
