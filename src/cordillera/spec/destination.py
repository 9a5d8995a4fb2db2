"""Destinations of events: who is sent which, in what order, and what is done when that fails."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from cordillera.spec.event import Event
from cordillera.spec.event_filter import EventFilter

PING = "destination.ping"
"""The topic of what is sent as a test."""
MOST_ATTEMPTS = 12
OLDEST = timedelta(hours=24)
"""What is older and fails once more is dead."""
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = timedelta(seconds=5), timedelta(hours=4), 4
_SECRET_PREFIX = "whsec_"  # noqa: S105 - how Standard Webhooks marks secrets
_TYPE_PREFIX = "cordillera."


class DestinationKind(StrEnum):
    """How events come to a destination."""

    WEBHOOK = "webhook"
    KAFKA = "kafka"
    SNS = "sns"
    SQS = "sqs"
    EVENTBRIDGE = "eventbridge"


class DeliveryState(StrEnum):
    """How far the delivery of an event to a destination is."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


class DestinationState(StrEnum):
    """How a destination does."""

    HEALTHY = "healthy"
    FAILING = "failing"
    DISABLED = "disabled"


class Failure(StrEnum):
    """What a failed attempt means for those to come."""

    PASSING = "passing"
    """The same may succeed later."""
    EVENT = "event"
    """This event is never taken there."""
    DESTINATION = "destination"
    """Nothing is taken there any more."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where events are sent to.

    Attributes:
        kind: How they come there.
        config: Where that is, by the settings of the kind; a webhook's URL may hold a secret of whoever receives.
        topics, within: Which events, see ``EventFilter``.
        owner: Who made it, and manages it.
        on_behalf_of: Who has to be allowed to discover what an event is about when it is sent; empty where the lake's
            operator made the destination.
        secret_number: Counts the secrets it has had; only a webhook has any.
        previous_until: Until when the secret before signs too; None for no longer.
        failing_since: When the first of the attempts failed that no successful one has followed; None while all is
            well.
        last_error: Why the last attempt failed, unless a successful one has followed.
        disabled_at: Since when nothing is sent, because the destination said that it is gone; None while it is not.
    """

    id: UUID
    kind: DestinationKind
    config: Mapping[str, str]
    description: str
    topics: tuple[str, ...]
    within: tuple[str, ...]
    owner: str
    on_behalf_of: str
    created_at: datetime
    secret_number: int = 1
    previous_until: datetime | None = None
    failing_since: datetime | None = None
    last_delivered_at: datetime | None = None
    last_error: str = ""
    disabled_at: datetime | None = None

    @property
    def state(self) -> DestinationState:
        """How it does."""
        if self.disabled_at is not None:
            return DestinationState.DISABLED
        return DestinationState.HEALTHY if self.failing_since is None else DestinationState.FAILING

    @property
    def place(self) -> str:
        """Where that is, for people to know it by: of a URL the host alone, since the rest may be a secret."""
        if self.kind is DestinationKind.WEBHOOK:
            return urlsplit(self.config["url"]).hostname or ""
        return self.config["topic" if self.kind is DestinationKind.KAFKA else "arn"]

    @property
    def filter(self) -> EventFilter:
        """Which events it wants."""
        return EventFilter(self.topics, self.within)

    def signing_numbers(self, now: datetime) -> tuple[int, ...]:
        """Return the numbers of the secrets that sign now, the newest first."""
        previous = self.previous_until is not None and now < self.previous_until
        return (self.secret_number, self.secret_number - 1) if previous else (self.secret_number,)


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """A destination, and how it does.

    Attributes:
        waiting: Events that are still to be delivered.
        dead: Events that were given up.
    """

    destination: Destination
    state: DestinationState
    waiting: int
    dead: int


@dataclass(frozen=True, slots=True)
class EventDelivery:
    """One event on its way to one destination.

    Attributes:
        id: What the receiver knows it by, the same at every attempt.
        stream: What it is in order with: only when it is delivered or dead, the next of the stream is sent.
        event_number: The event; None for a test.
        due_at: When the next attempt is due; None when there is none to come.
        status: The HTTP status of the last answer; None if there was none, or it came otherwise.
        error: Why the last attempt failed.
        seconds: How long the last attempt took.
    """

    id: UUID
    destination_id: UUID
    stream: str
    event_number: int | None
    topic: str
    dataset: str
    state: DeliveryState
    attempts: int
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    trace_id: str
    status: int | None = None
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of sending something once.

    Attributes:
        status: The HTTP status of the answer; None if there was none, or it came otherwise.
        error: Why it failed; empty if it did not.
        seconds: How long it took.
        retry_after: What the receiver asks to wait; None for nothing.
        failure: What a failure means for later attempts.
    """

    status: int | None
    error: str
    seconds: float
    retry_after: timedelta | None = None
    failure: Failure = Failure.PASSING

    @property
    def unanswered(self) -> bool:
        """Whether the receiver gave no answer that tells how it does."""
        return bool(self.error) and self.status is None and self.failure is Failure.PASSING


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to a destination.

    Attributes:
        id: What the receiver knows the delivery by, the same at every attempt.
        stream: What it is in order with.
        event: The CloudEvent.
        at: When the attempt begins.
        secrets: What signs it, where the kind signs.
    """

    id: UUID
    stream: str
    event: Mapping[str, Any]
    at: datetime
    secrets: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def body(self) -> bytes:
        """The CloudEvent in its JSON form."""
        return json.dumps(self.event, ensure_ascii=False, separators=(",", ":")).encode()


def after_attempt(delivery: EventDelivery, attempt: Attempt, now: datetime, luck: float) -> EventDelivery:
    """Return a delivery as it is after an attempt.

    After a failure it is due again later, each time four times as long as before, up to four hours; less up to a half,
    so that many that failed together do not come together again. After twelve attempts it is dead, and so it is when it
    is a day old, or will never be taken.

    Args:
        delivery: As it was.
        attempt: What came of it.
        now: When the attempt ended.
        luck: A random number from 0 up to 1.
    """
    tried = replace(
        delivery,
        attempts=delivery.attempts + 1,
        status=attempt.status,
        error=attempt.error,
        seconds=attempt.seconds,
        due_at=None,
        finished_at=now,
    )
    if not attempt.error:
        return replace(tried, state=DeliveryState.DELIVERED)
    hopeless = attempt.failure is not Failure.PASSING
    if hopeless or tried.attempts >= MOST_ATTEMPTS or now - tried.created_at >= OLDEST:
        return replace(tried, state=DeliveryState.DEAD)
    pause = min(_FIRST_PAUSE * _GROWTH ** (tried.attempts - 1), _LONGEST_PAUSE) * (1 - luck / 2)
    asked = min(attempt.retry_after or timedelta(), _LONGEST_PAUSE)
    return replace(tried, state=DeliveryState.WAITING, due_at=now + max(pause, asked), finished_at=None)


def revived(delivery: EventDelivery, now: datetime) -> EventDelivery:
    """Return a dead delivery as it is when it is to be tried anew, under the same id."""
    return replace(delivery, state=DeliveryState.WAITING, attempts=0, created_at=now, due_at=now, finished_at=None)


def after_outcome(destination: Destination, attempt: Attempt, now: datetime) -> Destination:
    """Return a destination as it is after an attempt: healthy, failing, or disabled where it said that it is gone."""
    if not attempt.error:
        return replace(destination, failing_since=None, last_error="", last_delivered_at=now, disabled_at=None)
    gone = now if attempt.failure is Failure.DESTINATION else None
    return replace(
        destination,
        failing_since=destination.failing_since or now,
        last_error=attempt.error,
        disabled_at=destination.disabled_at or gone,
    )


# --- what is sent ---------------------------------------------------------------------------------------------------


def webhook_secret(lake_key: str, destination_id: UUID, number: int) -> bytes:
    """Return a destination's secret: it follows from the lake's key, so that none is kept with the destination."""
    return hmac.digest(lake_key.encode(), f"{destination_id} {number}".encode(), hashlib.sha256)


def secret_text(secret: bytes) -> str:
    """Return a secret as receivers are given it (Standard Webhooks)."""
    return _SECRET_PREFIX + base64.b64encode(secret).decode()


def signed_headers(message_id: str, at: datetime, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """Return the headers by which a receiver knows who sent a body, and when (Standard Webhooks 1.0.0).

    Args:
        message_id: The same however often it is sent.
        at: When it is sent.
        body: What is sent.
        secrets: Each signs; the receiver needs one of them.
    """
    timestamp = str(int(at.timestamp()))
    content = f"{message_id}.{timestamp}.".encode() + body
    digests = (base64.b64encode(hmac.digest(one, content, hashlib.sha256)).decode() for one in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{digest}" for digest in digests),
    }


def cloud_event(event: Event, lake_id: UUID) -> dict[str, Any]:
    """Return an event as a CloudEvent 1.0 in its structured JSON form."""
    data = {
        "dataset": event.dataset,
        "dataset_version_id": event.dataset_version_id and str(event.dataset_version_id),
        "principal": event.principal,
        "trace_id": event.trace_id,
        "payload": dict(event.payload),
    }
    return _cloud_event(str(event.number), lake_id, event.topic, event.at, event.dataset, data)


def ping_event(delivery: EventDelivery, lake_id: UUID) -> dict[str, Any]:
    """Return what is sent as a test."""
    return _cloud_event(str(delivery.id), lake_id, PING, delivery.created_at, "", {})


def _cloud_event(
    event_id: str, lake_id: UUID, topic: str, at: datetime, subject: str, data: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": f"urn:uuid:{lake_id}",
        "type": f"{_TYPE_PREFIX}{topic}",
        **({"subject": subject} if subject else {}),
        "time": at.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": dict(data),
    }
