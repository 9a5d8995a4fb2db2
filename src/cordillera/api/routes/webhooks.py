"""Webhooks: addresses that events are sent to."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cordillera.api.parameters import Backend, Limit, Text
from cordillera.codec import Page, page
from cordillera.spec.webhook import WebhookDelivery, WebhookStatus
from cordillera.webhooks.service import NewWebhook

router = APIRouter(prefix="/webhooks", tags=["webhooks"])


class WantedWebhook(BaseModel, extra="forbid"):
    """A webhook to be made."""

    url: Text = Field(description="Where events are sent.", examples=["https://hooks.example.com/lake"])
    topics: list[Text] = Field([], max_length=100, description="Topics of events; none for all.")
    within: list[Text] = Field([], description="Datasets, views and namespaces that they are about; none for all.")
    description: Text = ""


class WantedSecret(BaseModel, extra="forbid"):
    """A new secret for a webhook."""

    keep_hours: int = Field(24, ge=0, le=720, description="For how long the old one signs too.")


class WantedReplay(BaseModel, extra="forbid"):
    """What is to be tried again."""

    delivery_id: UUID | None = Field(None, description="One dead delivery; by default the newest thousand.")


@router.get("", summary="List webhooks")
def list_webhooks(backend: Backend, after: UUID | None = None, limit: Limit = 100) -> Page[WebhookStatus]:
    """The caller's, or everybody's for whoever administers the lake; without their secrets."""
    return page(backend.webhooks(after, limit), limit, lambda one: one.webhook.id)


@router.post("", status_code=201, summary="Create a webhook")
def create_webhook(backend: Backend, wanted: WantedWebhook) -> NewWebhook:
    """Have events sent to an address, as far as the caller may discover what they are about. The secret that signs
    them is shown this once.
    """
    return backend.create_webhook(
        wanted.url, topics=wanted.topics, within=wanted.within, description=wanted.description
    )


@router.get("/{webhook_id}", summary="Show a webhook")
def show_webhook(backend: Backend, webhook_id: UUID) -> WebhookStatus:
    """What it is, and how it does."""
    return backend.webhook(webhook_id)


@router.delete("/{webhook_id}", status_code=204, summary="Remove a webhook")
def remove_webhook(backend: Backend, webhook_id: UUID) -> None:
    """Send nothing more; what waits is dropped."""
    backend.remove_webhook(webhook_id)


@router.post("/{webhook_id}/rotate", summary="Give a webhook a new secret")
def rotate_webhook(backend: Backend, webhook_id: UUID, wanted: WantedSecret) -> NewWebhook:
    """The new secret is shown this once."""
    return backend.rotate_webhook(webhook_id, keep_hours=wanted.keep_hours)


@router.post("/{webhook_id}/test", summary="Test a webhook")
def test_webhook(backend: Backend, webhook_id: UUID) -> WebhookDelivery:
    """Send a test now, and answer what came of it. If it is taken, all that waits is sent at once."""
    return backend.test_webhook(webhook_id)


@router.get("/{webhook_id}/deliveries", summary="List a webhook's deliveries")
def list_webhook_deliveries(
    backend: Backend,
    webhook_id: UUID,
    state: Annotated[Text | None, Query(description="waiting, delivered or dead.")] = None,
    before: Annotated[UUID | None, Query(description="The `next` of the page before.")] = None,
    limit: Limit = 100,
) -> Page[WebhookDelivery]:
    """Newest first: all that waits, the last thousand delivered, the last ten thousand dead."""
    found = backend.webhook_deliveries(webhook_id, state=state, before=before, limit=limit)
    return page(found, limit, lambda one: one.id)


@router.post("/{webhook_id}/replay", summary="Try dead deliveries again")
def replay_webhook(backend: Backend, webhook_id: UUID, wanted: WantedReplay) -> int:
    """How many are sent again, under the ids that they had."""
    return backend.replay_webhook(webhook_id, wanted.delivery_id)
