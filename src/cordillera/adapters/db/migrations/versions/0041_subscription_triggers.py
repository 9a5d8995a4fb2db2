"""What deliveries wait for: commits, completions, or times."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; subscriptions so far follow every commit."""
    op.add_column("subscriptions", sa.Column("trigger", sa.Text(), nullable=False, server_default=sa.text("'commit'")))
