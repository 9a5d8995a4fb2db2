"""What deliveries took, added up by month and by who pays: figures of single deliveries are not kept for ever."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0067"
down_revision = "0066"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; it begins with the deliveries whose figures are kept still."""
    op.create_table(
        "delivery_costs",
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("cost_owner", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("deliveries", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscriptions.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("month", "cost_owner", "subscription_id"),
    )
    op.create_index("ix_delivery_costs_subscription", "delivery_costs", ["subscription_id", "month", "cost_owner"])
    is_postgres = op.get_bind().dialect.name == "postgresql"
    month = "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM')" if is_postgres else "strftime('%Y-%m', at)"
    op.execute(
        sa.text(
            "INSERT INTO delivery_costs (month, cost_owner, subscription_id, deliveries, rows, bytes, seconds) "
            f"SELECT {month}, cost_owner, subscription_id, count(*), sum(rows_upserted + rows_deleted), sum(bytes), "
            f"sum(seconds) FROM deliveries GROUP BY {month}, cost_owner, subscription_id"
        )
    )
