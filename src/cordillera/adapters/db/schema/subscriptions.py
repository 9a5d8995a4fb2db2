"""Tables of targets and subscriptions."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Integer, Table, Text, Uuid

from cordillera.adapters.db.schema.base import index, metadata
from cordillera.adapters.db.types import Choice, Json, Name, Number, Texts, UtcDateTime
from cordillera.spec.delivery_reason import DeliveryReason
from cordillera.spec.skip import SkipState
from cordillera.spec.subscription import DELIVERING, CopyAtEnd, Equality, SubscriptionMode, SubscriptionState

TAKES_DELIVERIES = f"state IN ({', '.join(sorted(repr(state.value) for state in DELIVERING))})"
"""The condition of a partial index, which is used only if the planner sees it as it stands."""

targets = Table(
    "targets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Name, nullable=False),
    Column("kind", Text, nullable=False),
    Column("config", Json, nullable=False),
    Column("owner", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    index("ix_targets_name", "name", unique=True),
    index("ix_targets_owner", "owner"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("dataset_id", Uuid, ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False),
    Column("dataset_version_id", Uuid, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("columns", Texts, nullable=False),
    Column("row_filter", Text, nullable=False),
    Column("target", Name, nullable=False),
    Column("target_table", Text, nullable=False),
    Column("state", Choice(SubscriptionState), nullable=False),
    Column("cursor_sequence", BigInteger),
    Column("cursor_schema_id", Integer),
    Column("rows_delivered", BigInteger, nullable=False),
    Column("delivered_at", UtcDateTime),
    Column("last_error", Text, nullable=False),
    Column("error_code", Text, nullable=False, server_default=sa.text("''")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("on_behalf_of", Text, nullable=False, server_default=sa.text("''")),
    Column("shown", Text, nullable=False, server_default=sa.text("''")),
    Column("verify_every_seconds", Integer),
    Column("equality", Choice(Equality), nullable=False, server_default=sa.text("'unproven'")),
    Column("verified_at", UtcDateTime),
    Column("verified_sequence", BigInteger),
    Column("drift", Text, nullable=False, server_default=sa.text("''")),
    Column("cost_owner", Text, nullable=False, server_default=sa.text("''")),
    Column("expires_at", UtcDateTime),
    Column("copy_at_end", Choice(CopyAtEnd), nullable=False, server_default=sa.text("'freeze'")),
    Column("request_id", Uuid),
    Column("mode", Choice(SubscriptionMode), nullable=False, server_default=sa.text("'mirror'")),
    Column("trigger", Text, nullable=False, server_default=sa.text("'commit'")),
    index("ix_subscriptions_request", "request_id", "id", where="request_id IS NOT NULL"),
    index("ix_subscriptions_dataset", "dataset_id", "id"),
    index("ix_subscriptions_target", "target", "id"),
    index("ix_subscriptions_state", "state", "id"),
    index("ix_subscriptions_consumer", "consumer"),
    index("ix_subscriptions_created_by", "created_by"),
    index("ix_subscriptions_following", "dataset_version_id", "trigger", "id", where=TAKES_DELIVERIES),
    index("ix_subscriptions_on_behalf_of", "on_behalf_of", "id", where="on_behalf_of <> ''"),
    index(
        "ix_subscriptions_table",
        "target",
        "target_table",
        unique=True,
        where="state <> 'revoked' AND state <> 'expired' AND state <> 'refused'",
    ),
)

subscription_changes = Table(
    "subscription_changes",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("subscription_id", Uuid, ForeignKey("subscriptions.id", ondelete="CASCADE"), nullable=False),
    Column("state", Choice(SubscriptionState), nullable=False),
    Column("by", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    index("ix_subscription_changes_subscription", "subscription_id", "number"),
    sqlite_autoincrement=True,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("subscription_id", Uuid, ForeignKey("subscriptions.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("from_sequence", BigInteger),
    Column("to_sequence", BigInteger, nullable=False),
    Column("whole", Boolean, nullable=False),
    Column("rows_upserted", BigInteger, nullable=False),
    Column("rows_deleted", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("worker", Text, nullable=False),
    Column("cost_owner", Text, nullable=False),
    Column("rows_updated", BigInteger),
    Column("partitions", BigInteger),
    Column("why", Choice(DeliveryReason)),
    index("ix_deliveries_subscription", "subscription_id", "number"),
    sqlite_autoincrement=True,
)

delivery_costs = Table(
    "delivery_costs",
    metadata,
    Column("month", Text, primary_key=True),
    Column("cost_owner", Text, primary_key=True),
    Column("subscription_id", Uuid, ForeignKey("subscriptions.id", ondelete="CASCADE"), primary_key=True),
    Column("deliveries", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    index("ix_delivery_costs_subscription", "subscription_id", "month", "cost_owner"),
)

skips = Table(
    "skips",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("subscription_id", Uuid, ForeignKey("subscriptions.id", ondelete="CASCADE"), nullable=False),
    Column("first_sequence", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Choice(SkipState), nullable=False),
    index("ix_skips_subscription", "subscription_id", "number"),
    sqlite_autoincrement=True,
)

pointers = Table(
    "pointers",
    metadata,
    Column("subscription_id", Uuid, ForeignKey("subscriptions.id", ondelete="CASCADE"), primary_key=True),
    Column("metadata_location", Text, primary_key=True),
    Column("dataset_version_id", Uuid, nullable=False),
    Column("sequence_number", BigInteger, nullable=False),
    Column("held_at", UtcDateTime, nullable=False),
    index("ix_pointers_version", "dataset_version_id"),
)
