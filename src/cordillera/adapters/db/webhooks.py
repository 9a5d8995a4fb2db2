"""Rows of webhooks and of what is delivered to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import events, webhook_deliveries, webhook_scopes, webhooks
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.visibility import events_seen, webhooks_seen
from cordillera.spec.access import Viewer
from cordillera.spec.event import Event
from cordillera.spec.names import enclosing_names
from cordillera.spec.webhook import DeliveryState, Webhook, WebhookDelivery

WEBHOOK = RowMap(Webhook, webhooks)
DELIVERY = RowMap(WebhookDelivery, webhook_deliveries)

_EVERYWHERE = ""
"""The scope of a webhook that wants events about anything."""
# Spelled like the conditions of the partial indexes, which are used only if the planner sees them.
_WAITING = sa.text("webhook_deliveries.state = 'waiting'")
_FAILING = sa.text("webhooks.failing_since IS NOT NULL")
_WITHIN = (
    WEBHOOK.select()
    .where(
        webhooks.c.id.in_(
            sa.select(webhook_scopes.c.webhook_id).where(
                webhook_scopes.c.scope.in_(sa.bindparam("scopes", expanding=True))
            )
        )
    )
    .order_by(webhooks.c.id)
)
_COUNTED = (DeliveryState.WAITING, DeliveryState.DEAD)


class SqlWebhookRows:
    """See :class:`cordillera.ports.metadata.webhooks.WebhookRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, webhook: Webhook) -> None:
        """Add a webhook."""
        self._session.write(sa.insert(webhooks), WEBHOOK.values(webhook))
        scopes = webhook.within or (_EVERYWHERE,)
        self._session.write(sa.insert(webhook_scopes), [{"scope": scope, "webhook_id": webhook.id} for scope in scopes])

    def get(self, webhook_id: UUID, *, lock: bool = False) -> Webhook | None:
        """Return a webhook."""
        mine = webhooks.c.id == webhook_id
        if lock:
            self._session.lock(sa.select(webhooks.c.id).where(mine).with_for_update())
        return WEBHOOK.one(self._session, WEBHOOK.select().where(mine))

    def page(self, after: UUID | None, limit: int, *, viewer: Viewer | None = None) -> list[Webhook]:
        """Return webhooks by id."""
        query = WEBHOOK.select().where(*webhooks_seen(viewer))
        if after is not None:
            query = query.where(webhooks.c.id > after)
        return WEBHOOK.all(self._session, query.order_by(webhooks.c.id).limit(limit))

    def count_of(self, owner: str) -> int:
        """Return how many webhooks somebody owns."""
        query = sa.select(sa.func.count()).select_from(webhooks).where(webhooks.c.owner == owner)
        return int(self._session.scalar(query))

    def wanting(self, event: Event) -> list[Webhook]:
        """Return the webhooks whose filter an event passes."""
        scopes = (_EVERYWHERE, *enclosing_names(event.dataset))
        found = WEBHOOK.all(self._session, _WITHIN, {"scopes": scopes})
        return [webhook for webhook in found if webhook.filter.wants(event.topic, event.dataset)]

    def update(self, webhook: Webhook) -> None:
        """Store a webhook's changed fields."""
        self._session.write(sa.update(webhooks).where(webhooks.c.id == webhook.id).values(WEBHOOK.values(webhook)))

    def delete(self, webhook_id: UUID) -> None:
        """Remove a webhook with all that belongs to it."""
        self._session.write(sa.delete(webhooks).where(webhooks.c.id == webhook_id))

    def failing_count(self) -> int:
        """Return how many webhooks fail."""
        return int(self._session.scalar(sa.select(sa.func.count()).select_from(webhooks).where(_FAILING)))


class SqlWebhookDeliveryRows:
    """See :class:`cordillera.ports.metadata.webhooks.WebhookDeliveryRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, delivery: WebhookDelivery) -> None:
        """Add a delivery behind all others of its stream."""
        self._session.write(sa.insert(webhook_deliveries), DELIVERY.values(delivery))

    def get(self, delivery_id: UUID) -> WebhookDelivery | None:
        """Return a delivery."""
        return DELIVERY.one(self._session, DELIVERY.select().where(webhook_deliveries.c.id == delivery_id))

    def update(self, delivery: WebhookDelivery) -> None:
        """Store a delivery's changed fields."""
        mine = webhook_deliveries.c.id == delivery.id
        self._session.write(sa.update(webhook_deliveries).where(mine).values(DELIVERY.values(delivery)))

    def delete(self, delivery_id: UUID) -> None:
        """Remove a delivery."""
        self._session.write(sa.delete(webhook_deliveries).where(webhook_deliveries.c.id == delivery_id))

    def heads(self, webhook_id: UUID, limit: int) -> list[WebhookDelivery]:
        """Return the first waiting delivery of each stream, that which is due first first."""
        mine, earlier = webhook_deliveries, webhook_deliveries.alias("earlier")
        first = ~sa.exists(sa.literal(1)).where(
            earlier.c.webhook_id == mine.c.webhook_id,
            earlier.c.stream == mine.c.stream,
            earlier.c.number < mine.c.number,
            sa.text("earlier.state = 'waiting'"),
        )
        query = DELIVERY.select().where(mine.c.webhook_id == webhook_id, _WAITING, first)
        return DELIVERY.all(self._session, query.order_by(mine.c.due_at, mine.c.number).limit(limit))

    def next_of(self, webhook_id: UUID, stream: str) -> WebhookDelivery | None:
        """Return the first waiting delivery of a stream."""
        mine = webhook_deliveries.c
        query = DELIVERY.select().where(mine.webhook_id == webhook_id, mine.stream == stream, _WAITING)
        return DELIVERY.one(self._session, query.order_by(mine.number))

    def page(
        self,
        webhook_id: UUID,
        *,
        state: DeliveryState | None = None,
        before: UUID | None = None,
        limit: int,
        viewer: Viewer | None = None,
    ) -> list[WebhookDelivery]:
        """Return the deliveries of a webhook, newest first."""
        mine = webhook_deliveries.c
        query = DELIVERY.select().where(mine.webhook_id == webhook_id, *_told(viewer))
        if state is not None:
            query = query.where(mine.state == state)
        if before is not None:
            last = webhook_deliveries.alias("last")
            query = query.where(mine.number < sa.select(last.c.number).where(last.c.id == before).scalar_subquery())
        return DELIVERY.all(self._session, query.order_by(mine.number.desc()).limit(limit))

    def counts(self, webhook_id: UUID, viewer: Viewer | None = None) -> Mapping[DeliveryState, int]:
        """Return how many deliveries of a webhook wait and are dead."""
        return self._counts(webhook_deliveries.c.webhook_id == webhook_id, *_told(viewer))

    def totals(self) -> Mapping[DeliveryState, int]:
        """Return how many deliveries in the lake wait and are dead."""
        return self._counts()

    def make_due(self, webhook_id: UUID, now: datetime) -> None:
        """Make every waiting delivery of a webhook due."""
        mine = webhook_deliveries.c
        late = sa.update(webhook_deliveries).where(mine.webhook_id == webhook_id, _WAITING, mine.due_at > now)
        self._session.write(late.values(due_at=now))

    def forget(self, webhook_id: UUID, state: DeliveryState, keep: int) -> None:
        """Remove the deliveries of a webhook in a state, but for the newest."""
        mine = webhook_deliveries.c
        those = sa.and_(mine.webhook_id == webhook_id, mine.state == state)
        last = sa.select(mine.number).where(those).order_by(mine.number.desc()).offset(keep).limit(1)
        number = self._session.scalar(last)
        if number is not None:
            self._session.write(sa.delete(webhook_deliveries).where(those, mine.number <= number))

    def _counts(self, *conditions: sa.ColumnElement[bool]) -> Mapping[DeliveryState, int]:
        state: Any = webhook_deliveries.c.state
        query = (
            sa.select(state, sa.func.count())
            .where(state.in_(_COUNTED), webhook_deliveries.c.event_number.is_not(None), *conditions)
            .group_by(state)
        )
        return {row[0]: int(row[1]) for row in self._session.read(query)}


def _told(viewer: Viewer | None) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition on deliveries of events about what a viewer may discover, and of tests."""
    seen = events_seen(viewer)
    if not seen:
        return ()
    number = webhook_deliveries.c.event_number
    known = sa.select(events.c.number).where(events.c.number == number, *seen).correlate(webhook_deliveries)
    return (sa.or_(number.is_(None), known.exists()),)
