"""The lives of subscriptions: each step with who, when and why; their ends, and who pays for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0031"
branch_labels = None
depends_on = None

_NOT_ENDED = sa.text("state <> 'revoked' AND state <> 'expired' AND state <> 'refused'")
_STEP = 'INSERT INTO subscription_changes (subscription_id, state, "by", at, reason) SELECT id, '


def upgrade() -> None:
    """Add them; of subscriptions so far it is known who asked for them and how they stand."""
    op.add_column("subscriptions", sa.Column("cost_owner", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("subscriptions", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.add_column(
        "subscriptions", sa.Column("copy_at_end", sa.Text(), nullable=False, server_default=sa.text("'freeze'"))
    )
    op.add_column("subscriptions", sa.Column("request_id", sa.Uuid()))
    asked = sa.text("request_id IS NOT NULL")
    op.create_index(
        "ix_subscriptions_request", "subscriptions", ["request_id", "id"], postgresql_where=asked, sqlite_where=asked
    )
    op.drop_index("ix_subscriptions_table", "subscriptions")
    op.create_index(
        "ix_subscriptions_table",
        "subscriptions",
        ["target", "target_table"],
        unique=True,
        postgresql_where=_NOT_ENDED,
        sqlite_where=_NOT_ENDED,
    )
    op.create_table(
        "subscription_changes",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name=op.f("fk_subscription_changes_subscription_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_subscription_changes")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_subscription_changes_subscription", "subscription_changes", ["subscription_id", "number"])
    op.execute(_STEP + "'requested', created_by, created_at, purpose FROM subscriptions ORDER BY id")
    op.execute(_STEP + "state, '', updated_at, last_error FROM subscriptions ORDER BY id")
