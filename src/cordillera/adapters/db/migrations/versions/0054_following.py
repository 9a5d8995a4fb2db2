"""Whom an event wakes is found by an index: of a dataset version's subscriptions those that take deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0056"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    where = sa.text("state IN ('approved', 'first_sync', 'live', 'provisioning')")
    columns = ["dataset_version_id", "trigger", "id"]
    op.create_index("ix_subscriptions_following", "subscriptions", columns, postgresql_where=where, sqlite_where=where)
