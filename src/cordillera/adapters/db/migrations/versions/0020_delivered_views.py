"""What was shown of the rows that a target holds, to whoever asked for the subscription."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of all that was delivered so far, everything was shown."""
    op.add_column("subscriptions", sa.Column("shown", sa.Text(), nullable=False, server_default=sa.text("''")))
