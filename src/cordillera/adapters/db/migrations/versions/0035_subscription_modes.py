"""What subscriptions keep in their targets: the rows as they are, or every change of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; subscriptions so far mirror."""
    op.add_column("subscriptions", sa.Column("mode", sa.Text(), nullable=False, server_default=sa.text("'mirror'")))
