"""Destinations: where events are sent to."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cordillera.api.parameters import Backend, Limit, Text
from cordillera.codec import Page, page
from cordillera.destinations.service import NewDestination
from cordillera.spec.destination import DestinationStatus, EventDelivery

router = APIRouter(prefix="/destinations", tags=["destinations"])


class WantedDestination(BaseModel, extra="forbid"):
    """A destination to be made."""

    kind: Text = Field(description="webhook, kafka, sns, sqs or eventbridge.", examples=["webhook"])
    config: dict[str, Text] = Field(
        max_length=20, description="Settings of the kind.", examples=[{"url": "https://hooks.example.com/lake"}]
    )
    topics: list[Text] = Field([], max_length=100, description="Topics of events; none for all.")
    within: list[Text] = Field([], description="Datasets, views and namespaces that they are about; none for all.")
    description: Text = ""


class WantedSecret(BaseModel, extra="forbid"):
    """A new secret for a webhook."""

    keep_hours: int = Field(24, ge=0, le=720, description="For how long the old one signs too.")


class WantedReplay(BaseModel, extra="forbid"):
    """What is to be tried again."""

    delivery_id: UUID | None = Field(None, description="One dead delivery; by default the newest thousand.")


@router.get("", summary="List destinations")
def list_destinations(backend: Backend, after: UUID | None = None, limit: Limit = 100) -> Page[DestinationStatus]:
    """The caller's, or everybody's for whoever administers the lake; without their secrets."""
    return page(backend.destinations(after, limit), limit, lambda one: one.destination.id)


@router.post("", status_code=201, summary="Create a destination")
def create_destination(backend: Backend, wanted: WantedDestination) -> NewDestination:
    """Have events sent somewhere, as far as the caller may discover what they are about. The secret that signs those
    of a webhook is shown this once. Other kinds are made by whoever administers the lake.
    """
    return backend.create_destination(
        wanted.kind,
        wanted.config,
        topics=wanted.topics,
        within=wanted.within,
        description=wanted.description,
    )


@router.get("/{destination_id}", summary="Show a destination")
def show_destination(backend: Backend, destination_id: UUID) -> DestinationStatus:
    """What it is, and how it does."""
    return backend.destination(destination_id)


@router.delete("/{destination_id}", status_code=204, summary="Remove a destination")
def remove_destination(backend: Backend, destination_id: UUID) -> None:
    """Send nothing more; what waits is dropped."""
    backend.remove_destination(destination_id)


@router.post("/{destination_id}/rotate", summary="Give a webhook a new secret")
def rotate_destination(backend: Backend, destination_id: UUID, wanted: WantedSecret) -> NewDestination:
    """The new secret is shown this once."""
    return backend.rotate_destination(destination_id, keep_hours=wanted.keep_hours)


@router.post("/{destination_id}/test", summary="Test a destination")
def test_destination(backend: Backend, destination_id: UUID) -> EventDelivery:
    """Send a test now, and answer what came of it. If it is taken, all that waits is sent at once."""
    return backend.test_destination(destination_id)


@router.get("/{destination_id}/deliveries", summary="List a destination's deliveries")
def list_event_deliveries(
    backend: Backend,
    destination_id: UUID,
    state: Annotated[Text | None, Query(description="waiting, delivered or dead.")] = None,
    before: Annotated[UUID | None, Query(description="The `next` of the page before.")] = None,
    limit: Limit = 100,
) -> Page[EventDelivery]:
    """Newest first: all that waits, the last thousand delivered, the last ten thousand dead."""
    found = backend.event_deliveries(destination_id, state=state, before=before, limit=limit)
    return page(found, limit, lambda one: one.id)


@router.post("/{destination_id}/replay", summary="Try dead deliveries again")
def replay_destination(backend: Backend, destination_id: UUID, wanted: WantedReplay) -> int:
    """How many are sent again, under the ids that they had."""
    return backend.replay_destination(destination_id, wanted.delivery_id)
