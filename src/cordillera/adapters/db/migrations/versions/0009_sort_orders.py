"""Dataset versions say what rows are sorted by within files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No dataset version has been sorted so far; what other engines had declared shows with the next commit."""
    kind = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("dataset_versions", sa.Column("sort_order", kind, nullable=False, server_default="[]"))
