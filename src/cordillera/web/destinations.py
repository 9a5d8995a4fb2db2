"""The pages of destinations."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request

from cordillera.errors import DestinationNotFoundError
from cordillera.spec.destination import DeliveryState
from cordillera.web.paging import slice_of, uuid_or_none
from cordillera.web.rendering import Page, PageRouter, backend_of

router = PageRouter()


@router.page("/destinations")
def destinations(request: Request, after: str = "") -> Page:
    """Show destinations, and how they do."""
    lake, behind = backend_of(request), uuid_or_none(after)
    found = slice_of(lambda limit: lake.destinations(behind, limit), lambda one: one.destination.id)
    return Page("Destinations", "destinations.html", {"destinations": found}, section="events")


@router.page("/destinations/{destination_id}")
def destination(request: Request, destination_id: str, state: str = "", before: str = "") -> Page:
    """Show a destination, and what was or is to be sent to it."""
    lake, wanted, behind = backend_of(request), _id(destination_id), uuid_or_none(before)
    found = slice_of(
        lambda limit: lake.event_deliveries(wanted, state=state or None, before=behind, limit=limit),
        lambda one: one.id,
    )
    data = {
        "status": lake.destination(wanted),
        "filters": {"state": state},
        "states": list(DeliveryState),
        "deliveries": found,
    }
    return Page("Destination", "destination.html", data, section="events")


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise DestinationNotFoundError(
            f"There is no destination {text[:60]!r}.", hint="Look for it in the list of destinations."
        ) from None
