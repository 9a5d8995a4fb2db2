"""Tables of destinations and of what is delivered to them."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text, Uuid

from cordillera.adapters.db.schema.base import index, metadata
from cordillera.adapters.db.types import Choice, Json, Name, Number, Texts, UtcDateTime
from cordillera.spec.destination import DeliveryState, DestinationKind

destinations = Table(
    "destinations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Choice(DestinationKind), nullable=False),
    Column("config", Json, nullable=False),
    Column("description", Text, nullable=False),
    Column("topics", Texts, nullable=False),
    Column("within", Texts, nullable=False),
    Column("owner", Name, nullable=False),
    Column("on_behalf_of", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("secret_number", Integer, nullable=False),
    Column("previous_until", UtcDateTime),
    Column("failing_since", UtcDateTime),
    Column("last_delivered_at", UtcDateTime),
    Column("last_error", Text, nullable=False),
    Column("disabled_at", UtcDateTime),
    index("ix_destinations_owner", "owner", "id"),
    index("ix_destinations_failing", "id", where="failing_since IS NOT NULL"),
)

destination_scopes = Table(
    "destination_scopes",
    metadata,
    Column("scope", Name, primary_key=True),
    Column("destination_id", Uuid, ForeignKey("destinations.id", ondelete="CASCADE"), primary_key=True),
    index("ix_destination_scopes_destination", "destination_id"),
)

event_deliveries = Table(
    "event_deliveries",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", Uuid, nullable=False),
    Column("destination_id", Uuid, ForeignKey("destinations.id", ondelete="CASCADE"), nullable=False),
    Column("stream", Name, nullable=False),
    Column("event_number", Number),
    Column("topic", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("state", Choice(DeliveryState), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("trace_id", Text, nullable=False),
    Column("status", Integer),
    Column("error", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    index("ix_event_deliveries_id", "id", unique=True),
    index("ix_event_deliveries_destination", "destination_id", "number"),
    index("ix_event_deliveries_state", "state", "destination_id", "number"),
    index("ix_event_deliveries_waiting", "destination_id", "stream", "number", where="state = 'waiting'"),
    sqlite_autoincrement=True,
)
