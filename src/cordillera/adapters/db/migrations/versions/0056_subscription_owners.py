"""Subscriptions are found by who they are of, for the grants and access requests on them."""

from __future__ import annotations

from alembic import op

revision = "0056"
down_revision = "0063"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes."""
    for column in ("consumer", "created_by"):
        op.create_index(f"ix_subscriptions_{column}", "subscriptions", [column])
