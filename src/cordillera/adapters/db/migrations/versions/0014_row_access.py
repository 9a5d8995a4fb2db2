"""Row filters and column masks of grants, and masks that come with policy tags of columns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; the grants there are stay as wide as they were."""
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("grants", sa.Column("row_filter", sa.Text(), nullable=False, server_default=sa.text("''")))
    for name in ("masks", "tag_masks"):
        op.add_column("grants", sa.Column(name, json, nullable=False, server_default=sa.text("'{}'")))
    op.add_column("policy_tags", sa.Column("mask", sa.Text(), nullable=False, server_default=sa.text("''")))
