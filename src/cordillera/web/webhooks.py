"""The pages of webhooks."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request

from cordillera.errors import WebhookNotFoundError
from cordillera.spec.webhook import DeliveryState
from cordillera.web.paging import slice_of, uuid_or_none
from cordillera.web.rendering import Page, PageRouter, backend_of

router = PageRouter()


@router.page("/webhooks")
def webhooks(request: Request, after: str = "") -> Page:
    """Show webhooks, and how they do."""
    lake, behind = backend_of(request), uuid_or_none(after)
    found = slice_of(lambda limit: lake.webhooks(behind, limit), lambda one: one.webhook.id)
    return Page("Webhooks", "webhooks.html", {"webhooks": found}, section="events")


@router.page("/webhooks/{webhook_id}")
def webhook(request: Request, webhook_id: str, state: str = "", before: str = "") -> Page:
    """Show a webhook, and what was or is to be sent to it."""
    lake, wanted, behind = backend_of(request), _id(webhook_id), uuid_or_none(before)
    found = slice_of(
        lambda limit: lake.webhook_deliveries(wanted, state=state or None, before=behind, limit=limit),
        lambda one: one.id,
    )
    data = {
        "status": lake.webhook(wanted),
        "filters": {"state": state},
        "states": list(DeliveryState),
        "deliveries": found,
    }
    return Page("Webhook", "webhook.html", data, section="events")


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise WebhookNotFoundError(
            f"There is no webhook {text[:60]!r}.", hint="Look for it in the list of webhooks."
        ) from None
