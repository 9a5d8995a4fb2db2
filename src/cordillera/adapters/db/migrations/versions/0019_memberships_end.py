"""Memberships can end: those that an identity provider brings do, unless it brings them again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; memberships so far have no end."""
    op.add_column("memberships", sa.Column("expires_at", sa.DateTime(timezone=True)))
