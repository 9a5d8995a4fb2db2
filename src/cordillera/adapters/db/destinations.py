"""Rows of destinations and of what is delivered to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import destination_scopes, destinations, event_deliveries, events
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.visibility import destinations_seen, events_seen
from cordillera.spec.access import Viewer
from cordillera.spec.destination import DeliveryState, Destination, EventDelivery
from cordillera.spec.event import Event
from cordillera.spec.names import enclosing_names

DESTINATION = RowMap(Destination, destinations)
DELIVERY = RowMap(EventDelivery, event_deliveries)

_EVERYWHERE = ""
"""The scope of a destination that wants events about anything."""
# Spelled like the conditions of the partial indexes, which are used only if the planner sees them.
_WAITING = sa.text("event_deliveries.state = 'waiting'")
_FAILING = sa.text("destinations.failing_since IS NOT NULL")
_WITHIN = (
    DESTINATION.select()
    .where(
        destinations.c.id.in_(
            sa.select(destination_scopes.c.destination_id).where(
                destination_scopes.c.scope.in_(sa.bindparam("scopes", expanding=True))
            )
        ),
        destinations.c.disabled_at.is_(None),
    )
    .order_by(destinations.c.id)
)
_COUNTED = (DeliveryState.WAITING, DeliveryState.DEAD)
_CHANGE = ("state", "attempts", "created_at", "due_at", "finished_at", "status", "error", "seconds")
"""The fields of a delivery that are not the same for good."""
_UPDATE = (
    sa.update(event_deliveries)
    .where(event_deliveries.c.id == sa.bindparam("mine"))
    .values({name: sa.bindparam(f"new_{name}") for name in _CHANGE})
)
_before, _later = event_deliveries.alias("before"), event_deliveries.alias("later")
_next_number = (
    sa.select(sa.func.min(_later.c.number))
    .where(
        _later.c.destination_id == _before.c.destination_id,
        _later.c.stream == _before.c.stream,
        _later.c.number > _before.c.number,
        sa.text("later.state = 'waiting'"),
    )
    .correlate(_before)
    .scalar_subquery()
)
_FOLLOWING = DELIVERY.select().where(
    event_deliveries.c.number.in_(
        sa.select(_next_number).where(_before.c.id.in_(sa.bindparam("those", expanding=True)))
    )
)


class SqlDestinationRows:
    """See :class:`cordillera.ports.metadata.destinations.DestinationRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, destination: Destination) -> None:
        """Add a destination."""
        self._session.write(sa.insert(destinations), DESTINATION.values(destination))
        scopes = destination.within or (_EVERYWHERE,)
        self._session.write(
            sa.insert(destination_scopes), [{"scope": scope, "destination_id": destination.id} for scope in scopes]
        )

    def get(self, destination_id: UUID, *, lock: bool = False) -> Destination | None:
        """Return a destination."""
        mine = destinations.c.id == destination_id
        if lock:
            self._session.lock(sa.select(destinations.c.id).where(mine).with_for_update())
        return DESTINATION.one(self._session, DESTINATION.select().where(mine))

    def page(self, after: UUID | None, limit: int, *, viewer: Viewer | None = None) -> list[Destination]:
        """Return destinations by id."""
        query = DESTINATION.select().where(*destinations_seen(viewer))
        if after is not None:
            query = query.where(destinations.c.id > after)
        return DESTINATION.all(self._session, query.order_by(destinations.c.id).limit(limit))

    def count_of(self, owner: str) -> int:
        """Return how many destinations somebody owns."""
        query = sa.select(sa.func.count()).select_from(destinations).where(destinations.c.owner == owner)
        return int(self._session.scalar(query))

    def wanting(self, events: Sequence[Event]) -> list[tuple[Destination, list[Event]]]:
        """Return the destinations whose filter any of the events passes, by id, each with those that pass."""
        scopes = {_EVERYWHERE}.union(*(enclosing_names(dataset) for dataset in {event.dataset for event in events}))
        found = DESTINATION.all(self._session, _WITHIN, {"scopes": sorted(scopes)})
        wanted = ((one, [event for event in events if one.filter.wants(event.topic, event.dataset)]) for one in found)
        return [(one, those) for one, those in wanted if those]

    def update(self, destination: Destination) -> None:
        """Store a destination's changed fields."""
        self._session.write(
            sa.update(destinations).where(destinations.c.id == destination.id).values(DESTINATION.values(destination))
        )

    def delete(self, destination_id: UUID) -> None:
        """Remove a destination with all that belongs to it."""
        self._session.write(sa.delete(destinations).where(destinations.c.id == destination_id))

    def failing_count(self) -> int:
        """Return how many destinations fail."""
        return int(self._session.scalar(sa.select(sa.func.count()).select_from(destinations).where(_FAILING)))


class SqlEventDeliveryRows:
    """See :class:`cordillera.ports.metadata.destinations.EventDeliveryRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, deliveries: Sequence[EventDelivery]) -> None:
        """Add deliveries, each behind all others of its stream."""
        if deliveries:
            self._session.write(sa.insert(event_deliveries), [DELIVERY.values(one) for one in deliveries])

    def get(self, delivery_id: UUID) -> EventDelivery | None:
        """Return a delivery."""
        return DELIVERY.one(self._session, DELIVERY.select().where(event_deliveries.c.id == delivery_id))

    def update(self, deliveries: Sequence[EventDelivery]) -> None:
        """Store the changed fields of deliveries."""
        if deliveries:
            changed = [
                {"mine": one.id, **{f"new_{name}": getattr(one, name) for name in _CHANGE}} for one in deliveries
            ]
            self._session.write(_UPDATE, changed)

    def delete(self, delivery_ids: Sequence[UUID]) -> None:
        """Remove deliveries."""
        if delivery_ids:
            self._session.write(sa.delete(event_deliveries).where(event_deliveries.c.id.in_(delivery_ids)))

    def heads(self, destination_id: UUID, limit: int) -> list[EventDelivery]:
        """Return the first waiting delivery of each stream, that which is due first first."""
        mine, earlier = event_deliveries, event_deliveries.alias("earlier")
        first = ~sa.exists(sa.literal(1)).where(
            earlier.c.destination_id == mine.c.destination_id,
            earlier.c.stream == mine.c.stream,
            earlier.c.number < mine.c.number,
            sa.text("earlier.state = 'waiting'"),
        )
        query = DELIVERY.select().where(mine.c.destination_id == destination_id, _WAITING, first)
        return DELIVERY.all(self._session, query.order_by(mine.c.due_at, mine.c.number).limit(limit))

    def following(self, delivery_ids: Sequence[UUID]) -> list[EventDelivery]:
        """Return of each delivery the waiting one that follows it in its stream, if there is one."""
        return DELIVERY.all(self._session, _FOLLOWING, {"those": delivery_ids})

    def page(
        self,
        destination_id: UUID,
        *,
        state: DeliveryState | None = None,
        before: UUID | None = None,
        limit: int,
        viewer: Viewer | None = None,
    ) -> list[EventDelivery]:
        """Return the deliveries of a destination, newest first."""
        mine = event_deliveries.c
        query = DELIVERY.select().where(mine.destination_id == destination_id, *_told(viewer))
        if state is not None:
            query = query.where(mine.state == state)
        if before is not None:
            last = event_deliveries.alias("last")
            query = query.where(mine.number < sa.select(last.c.number).where(last.c.id == before).scalar_subquery())
        return DELIVERY.all(self._session, query.order_by(mine.number.desc()).limit(limit))

    def counts(self, destination_id: UUID, viewer: Viewer | None = None) -> Mapping[DeliveryState, int]:
        """Return how many deliveries of a destination wait and are dead."""
        return self._counts(event_deliveries.c.destination_id == destination_id, *_told(viewer))

    def totals(self) -> Mapping[DeliveryState, int]:
        """Return how many deliveries in the lake wait and are dead."""
        return self._counts()

    def make_due(self, destination_id: UUID, now: datetime) -> None:
        """Make every waiting delivery of a destination due."""
        mine = event_deliveries.c
        late = sa.update(event_deliveries).where(mine.destination_id == destination_id, _WAITING, mine.due_at > now)
        self._session.write(late.values(due_at=now))

    def forget(self, destination_id: UUID, state: DeliveryState, keep: int) -> None:
        """Remove the deliveries of a destination in a state, but for the newest."""
        mine = event_deliveries.c
        those = sa.and_(mine.destination_id == destination_id, mine.state == state)
        last = sa.select(mine.number).where(those).order_by(mine.number.desc()).offset(keep).limit(1)
        number = self._session.scalar(last)
        if number is not None:
            self._session.write(sa.delete(event_deliveries).where(those, mine.number <= number))

    def _counts(self, *conditions: sa.ColumnElement[bool]) -> Mapping[DeliveryState, int]:
        state: Any = event_deliveries.c.state
        query = (
            sa.select(state, sa.func.count())
            .where(state.in_(_COUNTED), event_deliveries.c.event_number.is_not(None), *conditions)
            .group_by(state)
        )
        return {row[0]: int(row[1]) for row in self._session.read(query)}


def _told(viewer: Viewer | None) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition on deliveries of events about what a viewer may discover, and of tests."""
    seen = events_seen(viewer)
    if not seen:
        return ()
    number = event_deliveries.c.event_number
    known = sa.select(events.c.number).where(events.c.number == number, *seen).correlate(event_deliveries)
    return (sa.or_(number.is_(None), known.exists()),)
