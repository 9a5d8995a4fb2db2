"""Namespaces have properties."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Those there are have none."""
    document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("namespaces", sa.Column("properties", document, nullable=False, server_default="{}"))
