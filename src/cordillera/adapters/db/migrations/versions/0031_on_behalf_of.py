"""Subscriptions are found by whose access they need."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    some = sa.text("on_behalf_of <> ''")
    op.create_index(
        "ix_subscriptions_on_behalf_of", "subscriptions", ["on_behalf_of", "id"], sqlite_where=some,
        postgresql_where=some,
    )  # fmt: skip
