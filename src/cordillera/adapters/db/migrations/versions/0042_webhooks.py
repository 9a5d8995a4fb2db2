"""Events are sent to webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0042"
down_revision = "0044"
branch_labels = None
depends_on = None

_NAME = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_TEXTS = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("topics", _TEXTS, nullable=False),
        sa.Column("within", _TEXTS, nullable=False),
        sa.Column("owner", _NAME, nullable=False),
        sa.Column("on_behalf_of", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("secret_number", sa.Integer(), nullable=False),
        sa.Column("previous_until", _TIME),
        sa.Column("failing_since", _TIME),
        sa.Column("last_delivered_at", _TIME),
        sa.Column("last_error", sa.Text(), nullable=False),
    )
    op.create_table(
        "webhook_scopes",
        sa.Column("scope", _NAME, primary_key=True),
        sa.Column("webhook_id", sa.Uuid(), sa.ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("stream", _NAME, nullable=False),
        sa.Column("event_number", _NUMBER),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("finished_at", _TIME),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sqlite_autoincrement=True,
    )
    failing, waiting = sa.text("failing_since IS NOT NULL"), sa.text("state = 'waiting'")
    op.create_index("ix_webhooks_owner", "webhooks", ["owner", "id"])
    op.create_index("ix_webhooks_failing", "webhooks", ["id"], postgresql_where=failing, sqlite_where=failing)
    op.create_index("ix_webhook_scopes_webhook", "webhook_scopes", ["webhook_id"])
    deliveries = "webhook_deliveries"
    op.create_index("ix_webhook_deliveries_id", deliveries, ["id"], unique=True)
    op.create_index("ix_webhook_deliveries_webhook", deliveries, ["webhook_id", "number"])
    op.create_index("ix_webhook_deliveries_state", deliveries, ["state", "webhook_id", "number"])
    op.create_index(
        "ix_webhook_deliveries_waiting",
        deliveries,
        ["webhook_id", "stream", "number"],
        postgresql_where=waiting,
        sqlite_where=waiting,
    )
