"""Tables of webhooks and of what is delivered to them."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text, Uuid

from cordillera.adapters.db.schema.base import index, metadata
from cordillera.adapters.db.types import Choice, Name, Number, Texts, UtcDateTime
from cordillera.spec.webhook import DeliveryState

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
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
    index("ix_webhooks_owner", "owner", "id"),
    index("ix_webhooks_failing", "id", where="failing_since IS NOT NULL"),
)

webhook_scopes = Table(
    "webhook_scopes",
    metadata,
    Column("scope", Name, primary_key=True),
    Column("webhook_id", Uuid, ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    index("ix_webhook_scopes_webhook", "webhook_id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", Uuid, nullable=False),
    Column("webhook_id", Uuid, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
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
    index("ix_webhook_deliveries_id", "id", unique=True),
    index("ix_webhook_deliveries_webhook", "webhook_id", "number"),
    index("ix_webhook_deliveries_state", "state", "webhook_id", "number"),
    index("ix_webhook_deliveries_waiting", "webhook_id", "stream", "number", where="state = 'waiting'"),
    sqlite_autoincrement=True,
)
